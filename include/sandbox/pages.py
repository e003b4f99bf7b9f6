"""Cursor pages of the Platform API (contract section 4), and what can go wrong with them.

A cursor is opaque to callers: it holds the id after which the page starts, and a salt, so that two cursors
can stand for the same place. It holds no filters: those travel in `nextUri`, and a caller who loses one walks
on through other rows.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from include.sandbox.clock import pause
from include.sandbox.faults import Faults, Rule
from include.sandbox.gate import json_response
from include.sandbox.switches import PlatformSwitches

Json = dict[str, Any]
PREFIX: Final = "/platform-api"
T = TypeVar("T")


class FieldError(HTTPException):
    """A parameter is not valid: 400, with the complaint under the parameter's name."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(400, "The request is not valid.")
        self.errors = {field: [text]}


def cursor(after: int, salt: int = 0) -> str:
    """Write the cursor of the page that starts after an id."""
    return base64.urlsafe_b64encode(f"after:{after}:{salt}".encode()).decode()


def read_cursor(text: str | None) -> tuple[int, int]:
    """Return the id and the salt of a cursor, (0, 0) for none; a cursor that we never wrote answers 400."""
    if not text:
        return 0, 0
    try:
        word, after, salt = base64.urlsafe_b64decode(text).decode().split(":")
        if word == "after":
            return int(after), int(salt)
    except (binascii.Error, UnicodeDecodeError, ValueError):
        pass
    raise FieldError("cursor", "The cursor is not valid.")


class Walk:
    """One caller's question to a list operation: its filters, and where in the answer the caller is."""

    def __init__(self, path: str, query: QueryParams) -> None:
        self.filters = [(name, value) for name, value in query.multi_items() if name != "cursor"]
        self.path = path
        asked = query.get("cursor") if query.get("cursor") != "null" else None  # null is no cursor
        self.after, self.salt = read_cursor(asked)
        self.own = self.uri(self.after, self.salt) if asked else self.uri()

    def uri(
        self, after: int | None = None, salt: int = 0, filters: list[tuple[str, str]] | None = None
    ) -> str:
        """Return the URI of a page of this question; without `after`, of the first one."""
        query = self.filters if filters is None else filters
        query = [*query, ("cursor", cursor(after, salt))] if after is not None else query
        return f"{self.path}?{urlencode(query)}" if query else self.path


class Pager:
    """Cuts rows into pages, and lets the rules in force spoil them."""

    def __init__(self, switches: PlatformSwitches, faults: Faults) -> None:
        self._switches = switches
        self._faults = faults
        self._last: dict[str, str] = {}  # question -> the URI last asked

    def walk(self, request: Request) -> Walk:
        """Read the cursor and the filters of a call."""
        return Walk(self.uri(request.url.path.removeprefix(PREFIX)), request.query_params)

    def uri(self, path: str) -> str:
        """Write the URI of a path below the prefix (contract section 1)."""
        return path if self._switches.uri_without_prefix else PREFIX + path

    async def answer(
        self,
        request: Request,
        walk: Walk,
        rows: Iterator[T],
        place: Callable[[T], int],
        shape: Callable[[T], Json],
    ) -> Response:
        """Answer with one page off `rows`, which are in order of `place` and begin after the walk's cursor."""
        await pause(self._switches.page_delay_ms / 1000)
        rules = self._faults.fire(
            "platform", "page", request.scope["sandbox.operation"], request.scope["sandbox.uri"]
        )
        return json_response(self._page(walk, rows, place, shape, rules))

    def _page(
        self,
        walk: Walk,
        rows: Iterator[T],
        place: Callable[[T], int],
        shape: Callable[[T], Json],
        rules: Iterable[Rule],
    ) -> Json:
        items = list(islice(rows, self._switches.page_size))
        more = next(rows, None) is not None
        page: Json = {
            "metadata": {"nextUri": walk.uri(place(items[-1])) if more else None},
            "items": [shape(item) for item in items],
        }
        question = walk.uri()
        earlier = self._last.get(question, walk.own)
        self._last[question] = walk.own
        for rule in rules:
            _spoil(page, rule.fault, walk, earlier)
        return page


def _spoil(page: Json, fault: str, walk: Walk, earlier: str) -> None:
    """Do one page fault to a page; `earlier` is the page that the caller came from."""
    next_uri = page["metadata"]["nextUri"]
    if fault == "repeated_cursor":
        page["metadata"]["nextUri"] = walk.own
    elif fault == "looping_cursor":
        page["metadata"]["nextUri"] = earlier
    elif fault == "changed_filter" and next_uri and walk.filters:
        (name, value), *others = walk.filters
        after = read_cursor(QueryParams(next_uri.split("?")[1])["cursor"])[0]
        page["metadata"]["nextUri"] = walk.uri(
            after, filters=[(name, str(int(value) + 1)), *others] if value.isdigit() else others
        )
    elif fault == "no_metadata":
        del page["metadata"]
    elif fault == "empty_page":
        page.update({"metadata": {"nextUri": walk.uri(walk.after, walk.salt + 1)}, "items": []})
