"""How vendors call back: in order, 10 s to answer, never a second time (PC-7, PC-8, OZ-12).

Rules in force may lose, delay, double, reorder, spoil or forge a call.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx

from include.sandbox.clock import pause
from include.sandbox.faults import Faults

TIMEOUT_SECONDS: Final = 10.0
HELD_SECONDS: Final = 2.0
"""How long a call that shall come after the next one waits for it."""

MADE_UP_TOKEN: Final = "0" * 43

Json = dict[str, Any]
Line = asyncio.Queue[tuple[str, Json] | None]
"""Events on their way: (URL, event); `None` ends it."""


@dataclass(frozen=True)
class Style:
    """How one vendor calls back."""

    vendor: str
    write: Callable[[Json], tuple[bytes, dict[str, str]]]
    """Event -> body and headers."""

    forge: Callable[[Json], Json]
    """Event -> one of its kind about something that was never loaded."""

    told: tuple[str, ...]
    """Keys of an event that testers are told."""


class Webhooks:
    """Delivers a vendor's events; `journal` tells testers what was sent and what came back."""

    def __init__(self, style: Style, faults: Faults) -> None:
        self._style = style
        self._faults = faults
        self.journal: deque[Json] = deque(maxlen=10_000)
        self._tasks: set[asyncio.Task[None]] = set()

    def line(self) -> Line:
        """Open a queue of events, which are delivered in its order."""
        events: Line = asyncio.Queue()
        self._spawn(self._deliver(events))
        return events

    def cancel(self) -> None:
        """Forget everything that was still to be sent."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, events: Line) -> None:
        held: list[tuple[str, Json]] = []
        vendor = self._style.vendor
        async with _client() as client:
            while True:
                try:
                    async with asyncio.timeout(HELD_SECONDS if held else None):
                        item = await events.get()
                except TimeoutError:  # nothing came after the one that was held back
                    await self._post(client, *held.pop(0))
                    continue
                if item is None:
                    break
                url, event = item
                rules = {rule.fault: rule for rule in self._faults.fire(vendor, "webhook", "webhook", url)}
                if "webhook_forged" in rules:
                    await self._post(client, _made_up(url), event)
                    await self._post(client, url, self._style.forge(event))
                if "webhook_reordered" in rules:
                    held.append(item)
                    continue
                if "webhook_late" in rules:
                    self._spawn(self._late(url, event, rules["webhook_late"].seconds))
                elif "webhook_lost" not in rules:
                    for _ in range(2 if "webhook_doubled" in rules else 1):
                        await self._post(client, url, event, garbage="webhook_garbage" in rules)
                while held:
                    await self._post(client, *held.pop(0))
            for item in held:
                await self._post(client, *item)

    async def _late(self, url: str, event: Json, seconds: float) -> None:
        await pause(seconds)
        async with _client() as client:
            await self._post(client, url, event)

    async def _post(self, client: httpx.AsyncClient, url: str, event: Json, *, garbage: bool = False) -> None:
        body, headers = self._style.write(event)
        try:
            sent = await client.post(
                url, content=body[: len(body) // 2] if garbage else body, headers=headers
            )
            answer: int | str = sent.status_code
        except Exception as error:  # an address may be anything, and none may end the calls to the others
            answer = type(error).__name__
        self.journal.append({"url": url, **{key: event[key] for key in self._style.told}, "answer": answer})


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False, verify=_trust())


@cache
def _trust() -> ssl.SSLContext:
    """Load the machine's certificates once: it takes longer than a load of a small list."""
    return ssl.create_default_context()


def _made_up(url: str) -> str:
    """Return the URL with its last segment, the token, replaced by one that nobody gave out."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{MADE_UP_TOKEN}"))
