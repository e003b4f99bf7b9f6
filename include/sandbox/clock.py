"""The sandbox's own clock: real time, until somebody sets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Tells the time in UTC; once set, it runs on from the time that it was set to."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """Return the sandbox's present time, aware, in UTC."""
        return datetime.now(UTC) + self._ahead

    def set(self, now: datetime | None) -> None:
        """Let the clock run on from `now` (aware); `None` goes back to real time."""
        self._ahead = timedelta(0) if now is None else now - datetime.now(UTC)
