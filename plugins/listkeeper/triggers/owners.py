"""Waits until flows of higher priority have claimed their numbers of a night, without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import TriggerEvent

from listkeeper.hooks.ledger import aledger_url, open_ledger
from listkeeper.masking import MaskedTrigger

NAP = 15.0
"""Seconds between two looks at the ledger."""


class OwnersTrigger(MaskedTrigger):
    """
    Wait until some flows have claimed their numbers. The event is `{"status": "claimed"}`, or `"late"`.

    :param group: the group of the flows.
    :param night: the night of the numbers.
    :param flows: DAG ids of the flows to wait for.
    :param deadline: when to give up (ISO 8601).
    """

    def __init__(self, *, group: str, night: str, flows: Sequence[str], deadline: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.group = group
        self.night = night
        self.flows = list(flows)
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "group": self.group,
            "night": self.night,
            "flows": self.flows,
            "deadline": self.deadline,
        }

    async def watch(self) -> AsyncIterator[TriggerEvent]:
        """Look at the ledger, nap, look again."""
        from include.owners import missing

        url = await aledger_url()
        deadline = datetime.fromisoformat(self.deadline)
        while True:
            late = await asyncio.to_thread(
                lambda: missing(open_ledger(url), self.group, self.night, self.flows)
            )
            left = (deadline - datetime.now(UTC)).total_seconds()
            if not late or left <= 0:
                yield TriggerEvent({"status": "late" if late else "claimed"})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(min(NAP, left))
