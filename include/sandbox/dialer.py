"""The dialers behind PureCallerID: ordered row stores with the loading rules of Five9 and RingCX.

A row is kept as the JSON text of `{columnId: value}`, so that a million of them fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import orjson

FIVE9_LISTS: Final = ("Nightly callers", "Weekend callers", "Renewals", "Callbacks", "Win-back")
RINGCX_LISTS: Final = ("RingCX nightly", "RingCX weekend")
FIVE9_PHONE: Final = "number1"
RINGCX_PHONE: Final = "leadPhone"
REMOVE_ALL_EXISTING: Final = "RING_REMOVE_ALL_EXISTING"
REMOVE_FROM_LIST: Final = "RING_REMOVE_FROM_LIST"
RETAIN_ALL: Final = "RING_RETAIN_ALL"
DEDUPES: Final = (REMOVE_ALL_EXISTING, REMOVE_FROM_LIST, RETAIN_ALL)

Row = dict[str, str]


def _text(row: Row) -> bytes:
    """Write a row in no more memory than it needs: orjson's own bytes keep the 1 to 4 kB that it wrote them in."""
    return bytes(memoryview(orjson.dumps(row)))


class Loading(Protocol):
    """A load on its way into one list."""

    def add(self, rows: Iterable[Row]) -> None:
        """Take clean rows, in order."""


class Dialer(Protocol):
    """A dialer with lists."""

    phone_column: str
    lists: dict[str, list[bytes]]

    def open(self, list_id: str, mode: str, dedupe: str | None, unique_id_column: str | None) -> Loading:
        """Begin a load; `REPLACE` empties the list now. Raises KeyError when there is no such list."""


@dataclass
class Five9:
    """Five9: `APPEND` adds or, by the mapped Reserved Unique ID Field, updates; `REPLACE` empties first."""

    phone_column: str = FIVE9_PHONE
    lists: dict[str, list[bytes]] = field(default_factory=lambda: {name: [] for name in FIVE9_LISTS})

    def open(self, list_id: str, mode: str, dedupe: str | None, unique_id_column: str | None) -> Loading:
        """Begin a load; `unique_id_column` is given when the load maps it."""
        rows = self.lists[list_id]
        if mode == "REPLACE":
            rows.clear()
        return _Five9Loading(rows, unique_id_column)


class _Five9Loading:
    def __init__(self, rows: list[bytes], unique: str | None) -> None:
        self._rows = rows
        self._unique = unique
        self._places: dict[str, int] = {}
        if unique is not None:
            for place, row in enumerate(rows):
                self._places.setdefault(orjson.loads(row).get(unique, ""), place)
        self._places.pop("", None)  # a lead without a unique id is never matched

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            key = row.get(self._unique, "") if self._unique else ""
            place = self._places.get(key)
            if place is not None:
                self._rows[place] = _text(orjson.loads(self._rows[place]) | row)
                continue
            if key:
                self._places[key] = len(self._rows)
            self._rows.append(_text(row))


@dataclass
class RingCx:
    """RingCX: always appends, after removing repeats of `leadPhone` as `dedupe` says."""

    phone_column: str = RINGCX_PHONE
    lists: dict[str, list[bytes]] = field(default_factory=lambda: {name: [] for name in RINGCX_LISTS})
    _held: set[int] = field(
        default_factory=set
    )  # numbers that earlier loads brought with REMOVE_ALL_EXISTING

    def open(self, list_id: str, mode: str, dedupe: str | None, unique_id_column: str | None) -> Loading:
        """Begin a load; `mode` is ignored."""
        rows = self.lists[list_id]
        if dedupe == REMOVE_ALL_EXISTING:
            earlier = frozenset(self._held)
            return _RingCxLoading(rows, earlier, self._held, within=False)
        return _RingCxLoading(rows, frozenset(), set(), within=dedupe == REMOVE_FROM_LIST)


class _RingCxLoading:
    def __init__(self, rows: list[bytes], earlier: frozenset[int], held: set[int], *, within: bool) -> None:
        self._rows = rows
        self._earlier = earlier
        self._held = held
        self._within = within

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            number = int(row[RINGCX_PHONE])
            if number in self._earlier or (self._within and number in self._held):
                continue
            self._held.add(number)
            self._rows.append(_text(row))
