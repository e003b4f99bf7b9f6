"""When a person may answer in a real Airflow: `dag.test()` overwrites what comes while it still holds the task."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tests.waiting import until


class _Waiting(logging.Handler):
    """Counts how often `dag.test()` has said that it waits for a person."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.times = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.times += str(record.msg).startswith("Waiting for Human-in-the-loop input")


def until_asked(asked: Callable[[], bool]) -> None:
    """Wait until a task asks (`asked` tells), and `dag.test()` has let go of it."""
    log, waiting = logging.getLogger("airflow.sdk.definitions.dag"), _Waiting()
    log.addHandler(waiting)
    try:
        until(asked, "a task to ask")
        before = waiting.times
        until(lambda: waiting.times > before, "dag.test() to wait for a person")
    finally:
        log.removeHandler(waiting)
