"""Waits, without a worker, until an office is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.triggers.base import TriggerEvent

from include.hours import hours_from
from listkeeper.masking import MaskedTrigger

LONGEST_NAP = 60.0
"""Seconds between two looks at the clock: it may be set, and a machine may have slept."""


class AfterHoursTrigger(MaskedTrigger):
    """
    Wait until the office is closed, and stays closed for a while. The event is `{"status": "after_hours"}`.

    :param hours: office hours as plain data (`OfficeHours.model_dump(mode="json")`); None waits for `not_before` only.
    :param not_before: ISO time before which nobody wants to know.
    :param at_least_minutes: how long the office must stay closed from then on.
    """

    def __init__(
        self,
        *,
        hours: dict[str, Any] | None = None,
        not_before: str | None = None,
        at_least_minutes: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.hours = hours
        self.not_before = not_before
        self.at_least_minutes = at_least_minutes

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "hours": self.hours,
            "not_before": self.not_before,
            "at_least_minutes": self.at_least_minutes,
        }

    async def watch(self) -> AsyncIterator[TriggerEvent]:
        """Nap until the moment has come."""
        # Public holidays come from a library that is slow to import: not in the event loop.
        hours = hours_from(self.hours)
        not_before = datetime.fromisoformat(self.not_before) if self.not_before else None
        at_least = timedelta(minutes=self.at_least_minutes)
        while True:
            now = datetime.now(UTC)
            until = max(now, not_before or now)
            if hours is not None:
                until = await asyncio.to_thread(hours.next_window, until, at_least)
            if until <= now:
                yield TriggerEvent({"status": "after_hours"})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(min((until - now).total_seconds(), LONGEST_NAP))
