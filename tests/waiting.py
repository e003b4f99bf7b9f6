"""Waiting in tests: for a condition, and never for a time that a busy machine could outlast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

LIMIT = 120.0
"""Seconds after which a wait is in vain. Only a red test takes so long, so it can be generous."""

STILL = 0.001
"""A speed of the sandbox's clock at which no second of it passes in a test: for what depends on the second."""


def until(seen: Callable[[], T], what: str = "what never came") -> T:
    """Wait until `seen` returns something true, and return it. AssertionError after `LIMIT` seconds."""
    deadline = time.monotonic() + LIMIT
    while not (found := seen()):
        assert time.monotonic() < deadline, f"waited in vain for {what}, the last look gave {found!r}"
        time.sleep(0.01)
    return found


def before_it_comes(*delays: float) -> Iterator[float]:
    """
    Yield one delay after the other, until the body of the loop takes less time than its delay.

    For what must be done before something comes that the sandbox was told to do later. The body begins anew each time;
    behind the loop, its last round was quicker than the delay of that round.
    """
    for delay in delays:
        began = time.monotonic()
        yield delay
        if time.monotonic() - began < delay:
            return
    raise AssertionError(f"whatever the delay (at most {delays[-1]} s), this machine was slower")
