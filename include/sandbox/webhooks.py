"""How PureCallerID calls back: in order, with its headers, 10 s to answer, never a second time (PC-7, PC-8).

Rules in force may lose, delay, double, reorder or forge a call.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import orjson

from include.sandbox.faults import Faults

HEADERS: Final = {
    "content-type": "application/json",
    "x-event-type": "CampaignList",
    "x-event-origin": "purecallerid.app",
}
TIMEOUT_SECONDS: Final = 10.0
MADE_UP_TOKEN: Final = "0" * 43
MADE_UP_ID: Final = "f" * 24


class Webhooks:
    """Delivers the events of all loads; `journal` tells testers what was sent and what came back."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.journal: deque[dict[str, Any]] = deque(maxlen=10_000)
        self._tasks: set[asyncio.Task[None]] = set()

    def line(self, url: str) -> asyncio.Queue[dict[str, Any] | None]:
        """Open a queue of events to one URL; `None` ends it."""
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._spawn(self._deliver(url, events))
        return events

    def cancel(self) -> None:
        """Forget everything that was still to be sent."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, url: str, events: asyncio.Queue[dict[str, Any] | None]) -> None:
        held: list[dict[str, Any]] = []
        async with _client() as client:
            while (event := await events.get()) is not None:
                rules = {
                    rule.fault: rule for rule in self._faults.fire("purecallerid", "webhook", "webhook", url)
                }
                if "webhook_forged" in rules:
                    await self._post(client, _made_up(url), event)
                    await self._post(client, url, {**event, "id": MADE_UP_ID, "status": "FINALIZED"})
                if "webhook_reordered" in rules:
                    held.append(event)
                    continue
                if "webhook_late" in rules:
                    self._spawn(self._late(url, event, rules["webhook_late"].seconds))
                elif "webhook_lost" not in rules:
                    for _ in range(2 if "webhook_doubled" in rules else 1):
                        await self._post(client, url, event)
                while held:
                    await self._post(client, url, held.pop(0))
            for event in held:
                await self._post(client, url, event)

    async def _late(self, url: str, event: dict[str, Any], seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with _client() as client:
            await self._post(client, url, event)

    async def _post(self, client: httpx.AsyncClient, url: str, event: dict[str, Any]) -> None:
        try:
            answer: int | str = (await client.post(url, content=orjson.dumps(event))).status_code
        except httpx.HTTPError as error:
            answer = type(error).__name__
        self.journal.append({"url": url, "id": event["id"], "status": event["status"], "answer": answer})


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=TIMEOUT_SECONDS, headers=HEADERS, trust_env=False, verify=_trust())


@cache
def _trust() -> ssl.SSLContext:
    """Load the machine's certificates once: it takes longer than a load of a small list."""
    return ssl.create_default_context()


def _made_up(url: str) -> str:
    """Return the URL with its last segment, the token, replaced by one that nobody gave out."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{MADE_UP_TOKEN}"))
