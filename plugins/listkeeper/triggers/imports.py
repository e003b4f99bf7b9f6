"""Waits for imports that the Platform API works off, without a worker. It only asks, so it may be started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseHook
from airflow.triggers.base import TriggerEvent

from include.vendors.errors import AuthenticationError, VendorError
from include.vendors.platform import NotFoundError
from listkeeper.hooks.platform import PlatformHook
from listkeeper.masking import MaskedTrigger


class PlatformImportTrigger(MaskedTrigger):
    """
    Wait until all imports have ended, or the time is up.

    The event is `{"status": "ended" | "deadline"}`. A status word that nobody knows is "not ended"; an import that the
    vendor does not know, or a token that it does not take, ends the waiting, so that the task meets it itself.

    :param connection: Airflow connection of type platform.
    :param uuids: the imports; none, to wait for the time alone.
    :param until: ISO time after which waiting ends.
    :param poll_seconds: seconds between two questions; a wait that goes on takes longer ones, up to half a minute.
    """

    def __init__(
        self, *, connection: str, uuids: Sequence[str], until: str, poll_seconds: float = 2.0
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connection = connection
        self.uuids = list(uuids)
        self.until = until
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "connection": self.connection,
            "uuids": self.uuids,
            "until": self.until,
            "poll_seconds": self.poll_seconds,
        }

    def _open(self, hook: PlatformHook, uuids: list[str]) -> list[str]:
        """Those of the imports that have not ended; one that the vendor takes in order is asked for first."""
        while uuids:
            try:
                if hook.bulk_status(uuids[0]).state == "open":
                    break
            except (AuthenticationError, NotFoundError):
                return []
            except VendorError as error:
                self.log.warning("%s Asking again.", error)
                break
            uuids = uuids[1:]
        return uuids

    async def watch(self) -> AsyncIterator[TriggerEvent]:
        """Ask, then compare with the clock: what ended just before the deadline is never called late."""
        hook = PlatformHook(self.connection)
        hook.use(await BaseHook.aget_connection(self.connection))
        until, waiting, pause = datetime.fromisoformat(self.until), self.uuids, self.poll_seconds
        try:
            while True:
                if waiting:
                    waiting = await asyncio.to_thread(self._open, hook, waiting)
                    if not waiting:
                        yield TriggerEvent({"status": "ended"})  # type: ignore[no-untyped-call]
                        return
                left = (until - datetime.now(UTC)).total_seconds()
                if left <= 0:
                    yield TriggerEvent({"status": "deadline"})  # type: ignore[no-untyped-call]
                    return
                await asyncio.sleep(min(pause, left))
                pause = min(pause * 1.2, 30.0)
        finally:
            hook.close()
