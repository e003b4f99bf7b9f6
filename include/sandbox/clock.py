"""The sandbox's own clock: real time, until somebody sets it or lets it run faster."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

_TICK = 0.002
"""Seconds that a sleep may end early at most: the server's event loop rounds time and delay to whole milliseconds."""


async def pause(seconds: float) -> None:
    """Sleep for at least so many real seconds; nothing for 0."""
    await asyncio.sleep(seconds + _TICK if seconds > 0 else 0)


class Clock:
    """Tells the time in UTC; once set, it runs on from the time that it was set to, at the speed that was set."""

    def __init__(self) -> None:
        self.set(None)

    def now(self) -> datetime:
        """Return the sandbox's present time, aware, in UTC."""
        if self._from is None:
            return datetime.now(UTC)
        return self._from + timedelta(seconds=(time.monotonic() - self._since) * self.speed)

    def set(self, now: datetime | None, speed: float = 1.0) -> None:
        """Let the clock run on from `now` (aware; `None` is real time) at a speed; 1 is as fast as real time."""
        if now is None and speed != 1:
            now = datetime.now(UTC)
        self._from = now and now.astimezone(UTC)
        self._since = time.monotonic()
        self.speed = speed

    async def sleep(self, seconds: float) -> None:
        """Sleep for at least so many seconds of this clock, at the speed that it has now."""
        await pause(seconds / self.speed)
