"""Puts `include.masking` where Airflow 3.3 writes: under the log lines, the XComs and the errors of our tasks.

Airflow sends all logging of a process through the processors of structlog, be it structlog's own or the standard
library's. `mask_logs` adds one to them, right before a line is written. A task's process does so when Airflow tells
its listeners that the task runs; triggers and web pages do so for what they do themselves: other people's lines in a
process that we share are none of our business.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

import structlog
from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from include.masking import Quietly, mask_value

OUR_LOGGERS: Final = ("listkeeper", "include")

KEPT: Final = frozenset(
    {"timestamp", "level", "logger", "filename", "lineno", "dag_id", "task_id", "run_id", "ti_id"}
)
"""What Airflow itself writes beside a line; ids and times, by which lines are found."""

PEOPLE: Final = ("approved_by", "approval")
"""Keys of results that name a user of Airflow, who may be called by an address; a reason is masked in the ledger."""

TALKATIVE: Final = ("botocore", "aiobotocore", "boto3", "s3fs", "fsspec", "pymysql")
"""Libraries that print what they send and get when debugging: rows, whose names no pattern finds."""

log = logging.getLogger(__name__)


_ours: ContextVar[bool] = ContextVar("listkeeper_ours", default=False)
"""Set while a trigger or a web page of ours is at work."""


class LineMask:
    """A processor of structlog: masks the texts of a line of ours."""

    whole_process = False
    """Whether all lines of this process are ours, as in a task of ours."""

    def __call__(self, logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Mask one line, its traceback included."""
        if not (self.whole_process or _ours.get() or str(line.get("logger")).startswith(OUR_LOGGERS)):
            return line
        if line.get("exc_info"):
            line = structlog.processors.format_exc_info(logger, method, line)
        for name, value in line.items():
            if name not in KEPT and not name.startswith("_"):
                line[name] = mask_value(value)
        return line


_mask = LineMask()


def mask_logs(*, whole_process: bool = False) -> None:
    """Mask log lines from now on: all of this process, or those of our modules and of what is at work here."""
    _ours.set(True)
    if whole_process:
        LineMask.whole_process = True
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger(name).level))
    chains: list[Any] = [structlog.get_config()["processors"]]
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            chains.append(handler.formatter.processors)
    for chain in chains:
        # In place: loggers that are in use already hold this very list.
        if isinstance(chain, list) and _mask not in chain:
            chain.insert(len(chain) - 1, _mask)


def _masked(execute: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(execute)
    def wrapped(self: Any, context: Any, **kwargs: Any) -> Any:
        with Quietly():
            return masked_result(execute(self, context, **kwargs))

    return wrapped


def masked_result(result: Any) -> Any:
    """What a task returns, as it may become an XCom. It holds ids, paths and counts; anything else is a mistake."""
    shown = mask_value(result, kept=PEOPLE)
    if shown != result:
        log.warning("What this task returns held personal data or a key. It is masked; please report it.")
    return shown


class Masked:
    """
    Base of all our operators and sensors: what they raise quotes no row, what they return holds no personal data.

    It stands before Airflow's own base in the list of bases.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "execute" in vars(cls):
            cls.execute = _masked(vars(cls)["execute"])  # type: ignore[attr-defined]

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        with Quietly():
            return masked_result(super().resume_execution(next_method, next_kwargs, context))  # type: ignore[misc]


class MaskedTrigger(BaseTrigger):
    """Base of our triggers: Airflow stores the traceback of a trigger that fails, so it quotes no row."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        mask_logs()
        with Quietly():
            async for event in self.watch():
                yield event

    def watch(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the event: what `run` is in other triggers."""
        raise NotImplementedError


def is_ours(task: Any) -> bool:
    """Whether a task is one of our operators, or belongs to one of our DAGs."""
    if isinstance(task, Masked):
        return True
    return isinstance(task, BaseOperator) and task.has_dag() and "listkeeper" in task.dag.tags  # type: ignore[no-untyped-call]
