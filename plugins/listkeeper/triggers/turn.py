"""Waits for a turn to call a vendor whose rate the ledger holds, without a worker.

It takes no turn: whoever is woken asks for one, and waits again if somebody else was faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.triggers.base import TriggerEvent

from include.ledger import Pace
from listkeeper.hooks.ledger import aledger_url, open_ledger
from listkeeper.masking import MaskedTrigger

WAKE_EARLY = 5.0
"""Seconds before the turn at which a worker is asked for: starting the task takes about as long."""

LONGEST_NAP = 30.0
"""Seconds between two looks: somebody may take the turn meanwhile, or the vendor ask for a longer wait."""


class TurnTrigger(MaskedTrigger):
    """
    Wait until an account has a turn free, or nearly so. The event is `{"status": "turn"}`.

    :param account: name of the account in the ledger's pace.
    :param calls: so many calls in any `window_seconds`; `spacing_seconds` is the shortest time between two.
    """

    def __init__(self, *, account: str, calls: int, window_seconds: float, spacing_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.account = account
        self.calls = calls
        self.window_seconds = window_seconds
        self.spacing_seconds = spacing_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "account": self.account,
            "calls": self.calls,
            "window_seconds": self.window_seconds,
            "spacing_seconds": self.spacing_seconds,
        }

    async def watch(self) -> AsyncIterator[TriggerEvent]:
        """Look at the ledger, nap, look again."""
        url = await aledger_url()
        pace = Pace(
            self.calls,
            timedelta(seconds=self.window_seconds),
            spacing=timedelta(seconds=self.spacing_seconds),
        )
        while True:
            free = await asyncio.to_thread(lambda: open_ledger(url).next_turn(self.account, pace))
            wait = (free - datetime.now(UTC)).total_seconds() - WAKE_EARLY
            if wait <= 0:
                yield TriggerEvent({"status": "turn"})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(min(wait, LONGEST_NAP))
