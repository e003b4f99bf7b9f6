"""The gate before every vendor: it names the operation, keeps the journal, lets fault rules strike calls."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from include.sandbox.clock import Clock, pause
from include.sandbox.faults import Faults

Refuse = Callable[[str, HTTPException], Response]
"""(vendor, error) -> the answer in the vendor's own shape."""

_CLOSE: Final = "sandbox.close"
CRASHED: Final = "sandbox.crashed"
"""A vendor sets this in the scope of a call that it did not survive: there is no answer."""


class ClosableProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, with a way for the app to close the connection without an answer."""

    def on_message_begin(self) -> None:
        """Begin a request; its scope gets the means to close the connection."""
        super().on_message_begin()
        self.scope[_CLOSE] = self.transport.close  # type: ignore[typeddict-unknown-key]


class Journal:
    """What was called: how often each operation, and the newest calls with time and status (None: no answer)."""

    def __init__(self) -> None:
        self.calls: dict[str, Counter[str]] = {}
        self.requests: dict[str, deque[dict[str, Any]]] = {}

    def note(self, vendor: str, op: str, uri: str, came: datetime, status: int | None) -> None:
        """Write down one call."""
        self.calls.setdefault(vendor, Counter())[op] += 1
        self.requests.setdefault(vendor, deque(maxlen=10_000)).append(
            {"op": op, "uri": uri, "time": came, "status": status}
        )

    def state(self, vendor: str) -> dict[str, Any]:
        """Tell what was called at one vendor."""
        return {"calls": self.calls.get(vendor, {}), "requests": list(self.requests.get(vendor, ()))}


class Gate:
    """ASGI app around the router."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[Route],
        refuse: Refuse,
        faults: Faults,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self.app = app
        self.routes = list(routes)
        self.refuse = refuse
        self.faults = faults
        self.journal = journal
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call; paths of no vendor pass through."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if len(scope["path"]) > 1:
            scope["path"] = scope["path"].rstrip("/")  # optional everywhere, and never a redirect (PL-4)
        # A path may have several methods; a call with another one is counted as the first of them.
        matches = [(route.matches(scope)[0].value, route.name) for route in self.routes]
        match, name = max(matches, key=lambda found: found[0])
        if match == Match.NONE.value:
            return await self.app(scope, receive, send)
        vendor, op = name.split(":")
        uri = (scope["raw_path"] + b"?" * bool(scope["query_string"]) + scope["query_string"]).decode(
            "latin-1"
        )
        scope["sandbox.operation"], scope["sandbox.uri"] = op, uri
        came = self.clock.now()
        status = await self._serve(vendor, op, scope, receive, send)
        self.journal.note(vendor, op, uri, came, status)
        return None

    async def _serve(self, vendor: str, op: str, scope: Scope, receive: Receive, send: Send) -> int | None:
        """Answer a call, struck or not; return the status that the caller sees, None for no answer."""
        rules = {rule.fault: rule for rule in self.faults.fire(vendor, "call", op, scope["sandbox.uri"])}
        if "delay" in rules:
            await pause(rules["delay"].seconds)
        if "drop_before" in rules:
            await _hang_up(scope, receive)
            return None
        if (rule := rules.get("status") or rules.get("expired_token")) is not None:
            status = 401 if rule.fault == "expired_token" else rule.status
            headers = None if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
            await self.refuse(vendor, HTTPException(status, "Not now.", headers))(scope, receive, send)
            return status
        answer = _Answer()
        try:
            await self.app(scope, receive, answer.take)
        except ClientDisconnect:  # the caller went away in the middle of its body: there is nobody to answer
            return None
        if "late_answer" in rules:
            await pause(rules["late_answer"].seconds)
        if "drop_after" in rules or CRASHED in scope:
            await _hang_up(scope, receive)
            return None
        if "broken_json" in rules:
            await answer.give(send, answer.body[: len(answer.body) // 2])
        elif "truncated" in rules:
            await answer.give(send, answer.body[: len(answer.body) // 2], promised=len(answer.body))
            await _hang_up(scope, receive)
        else:
            await answer.give(send, answer.body)
        return answer.status


class _Answer:
    """Holds the vendor's answer back, so that it can still be lost or spoiled."""

    def __init__(self) -> None:
        self.start: Message = {}
        self.body = b""

    @property
    def status(self) -> int:
        return int(self.start["status"])

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message.get("body", b"")

    async def give(self, send: Send, body: bytes, promised: int | None = None) -> None:
        """Send the answer with this body; with `promised` bytes in Content-Length, its end never comes."""
        length = str(len(body) if promised is None else promised).encode()
        headers = [(name, value) for name, value in self.start["headers"] if name != b"content-length"]
        await send({**self.start, "headers": [*headers, (b"content-length", length)]})
        await send({"type": "http.response.body", "body": body, "more_body": promised is not None})


async def _hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection as it is, and wait until it is closed."""
    scope[_CLOSE]()
    while (await receive())["type"] != "http.disconnect":
        pass


def json_response(content: Any, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(content), status, media_type="application/json")
