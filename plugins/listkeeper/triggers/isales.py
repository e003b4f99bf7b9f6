"""Waits for imports of iSales, without a worker. It only asks, so it may be started again at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseHook
from airflow.triggers.base import TriggerEvent

from include.vendors.errors import VendorError
from listkeeper.hooks.isales import IsalesHook
from listkeeper.masking import MaskedTrigger


class ImportTasksTrigger(MaskedTrigger):
    """
    Wait until all import tasks have ended, or the time is up. The event is `{"status": "ended" | "deadline"}`.

    A task that the vendor does not show yet has not ended. What asking again does not cure (a key that is not taken,
    an unknown campaign) ends the waiting, so that the task meets it itself.

    :param connection: Airflow connection of type isales.
    :param task_ids: the tasks' ids.
    :param deadline: ISO time after which waiting ends.
    :param poll_seconds: seconds before the first question, and between two.
    """

    def __init__(
        self,
        *,
        connection: str,
        vdn_id: int,
        campaign: str,
        task_ids: Sequence[str],
        deadline: str,
        poll_seconds: float = 30.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connection = connection
        self.vdn_id, self.campaign = vdn_id, campaign
        self.task_ids = list(task_ids)
        self.deadline = deadline
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "connection": self.connection,
            "vdn_id": self.vdn_id,
            "campaign": self.campaign,
            "task_ids": self.task_ids,
            "deadline": self.deadline,
            "poll_seconds": self.poll_seconds,
        }

    def _ended(self, hook: IsalesHook) -> bool:
        try:
            tasks = hook.tasks(vdn_id=self.vdn_id, campaign=self.campaign, task_ids=self.task_ids)
        except VendorError as error:
            if not error.again:
                return True
            self.log.warning("%s Asking again.", error)
            return False
        return {task.id for task in tasks if task.ended} >= set(self.task_ids)

    async def watch(self) -> AsyncIterator[TriggerEvent]:
        """Ask, then compare with the clock: what ended just before the deadline is never called late."""
        hook = IsalesHook(self.connection)
        hook.use(await BaseHook.aget_connection(self.connection))
        deadline = datetime.fromisoformat(self.deadline)
        try:
            while True:
                left = (deadline - datetime.now(UTC)).total_seconds()
                await asyncio.sleep(min(self.poll_seconds, max(0.0, left)))  # whoever defers has just asked
                if await asyncio.to_thread(self._ended, hook):
                    yield TriggerEvent({"status": "ended"})  # type: ignore[no-untyped-call]
                    return
                if datetime.now(UTC) >= deadline:
                    yield TriggerEvent({"status": "deadline"})  # type: ignore[no-untyped-call]
                    return
        finally:
            hook.close()
