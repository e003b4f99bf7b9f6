"""Waits for what a vendor calls back, without a worker: the trigger looks into the ledger, where the receiver writes.

With `LISTKEEPER_RELAY` set it also collects what a relay dropped. It only reads at the vendor's side, so it may be
started again at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import TriggerEvent

from include import settings
from include.callbacks import collect
from include.ledger import Ledger
from include.vendors import ozonetel, purecallerid
from listkeeper.hooks.ledger import aledger_url, open_ledger
from listkeeper.masking import MaskedTrigger


class CallbackTrigger(MaskedTrigger):
    """
    Wait until the callbacks of a load tell how it ended, or the deadline has passed.

    A vendor's trigger says when that is. The event is `{"status": "ended" | "deadline", "load": id}`.

    :param load: id of the load in the ledger.
    :param deadline: ISO time after which waiting ends.
    :param poll_seconds: seconds between two looks.
    """

    vendor: str

    def __init__(self, *, load: str, deadline: str, poll_seconds: float = 2.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.load = load
        self.deadline = deadline
        self.poll_seconds = poll_seconds

    def arguments(self) -> dict[str, Any]:
        """What rebuilds this trigger after a restart."""
        return {"load": self.load, "deadline": self.deadline, "poll_seconds": self.poll_seconds}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments; ids only, never a token or an address."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments()

    def ended(self, ledger: Ledger) -> bool:
        """Whether the ledger holds the end of the load."""
        raise NotImplementedError

    def _look(self, url: str) -> bool:
        ledger = open_ledger(url)
        relay = settings.relay_url()
        if relay is not None:
            collect(ledger, self.vendor, relay)
        return self.ended(ledger)

    async def watch(self) -> AsyncIterator[TriggerEvent]:
        """Look, then compare with the clock: what ended just before the deadline is never called late."""
        url = await aledger_url()
        deadline = datetime.fromisoformat(self.deadline)
        while True:
            if await asyncio.to_thread(self._look, url):
                yield TriggerEvent({"status": "ended", "load": self.load})  # type: ignore[no-untyped-call]
                return
            if datetime.now(UTC) >= deadline:
                yield TriggerEvent({"status": "deadline", "load": self.load})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(self.poll_seconds)


class PureCallerIdTrigger(CallbackTrigger):
    """
    Wait for the webhook with which PureCallerID ends a load.

    :param campaign: campaign, dialer_list and file_name tell our load from others while the vendor's id is unknown.
    :param seq: which batch of the load.
    """

    vendor = purecallerid.VENDOR

    def __init__(
        self, *, campaign: str, dialer_list: str, file_name: str, seq: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.campaign = campaign
        self.dialer_list = dialer_list
        self.file_name = file_name
        self.seq = seq

    def arguments(self) -> dict[str, Any]:
        return {
            **super().arguments(),
            "campaign": self.campaign,
            "dialer_list": self.dialer_list,
            "file_name": self.file_name,
            "seq": self.seq,
        }

    def ended(self, ledger: Ledger) -> bool:
        return (
            purecallerid_outcome(ledger, self.load, self.campaign, self.dialer_list, self.file_name, self.seq)
            is not None
        )


class OzonetelTrigger(CallbackTrigger):
    """Wait for the callback of any batch that is on its way; each is read at once, its failed rows are kept a day."""

    vendor = ozonetel.VENDOR

    def ended(self, ledger: Ledger) -> bool:
        return any(
            ozonetel.find_callback(
                (event.body for event in ledger.events(self.load, batch.seq)),
                batch.vendor_ref,
                batch.attempts,
            )
            for batch in ledger.batches(self.load)
            if batch.state in ("intended", "accepted")
        )


def purecallerid_outcome(
    ledger: Ledger, load: str, campaign: str, dialer_list: str, file_name: str, seq: int = 1
) -> purecallerid.ListLoad | None:
    """How a batch of a PureCallerID load ended by the callbacks in the ledger, None while nobody knows."""
    batches = ledger.batches(load)
    if not batches:
        return None
    batch = batches[seq - 1]
    return purecallerid.find_outcome(
        (event.body for event in ledger.events(load, batch.seq)),
        vendor_ref=batch.vendor_ref,
        campaign=campaign,
        dialer_list=dialer_list,
        file_name=file_name,
    )
