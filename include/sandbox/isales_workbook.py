"""The workbook as iSales reads it: the contract's section 3, with the readings of IS-7."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

COLUMNS: Final = (
    "sessionId",
    "called",
    "caller",
    "callData",
    "customField",
    "recycleTime",
    "priority",
)
LONGEST_DELAY: Final = 7200
_LONGEST: Final = {"sessionId": 32, "caller": 24, "callData": 1024, "customField": 200}
_NUMBER: Final = re.compile(r"[0-9*#]{1,24}", re.ASCII)
_LONG_NUMBER: Final = re.compile(r":\s*[0-9]{19}")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", re.ASCII)


class WorkbookError(Exception):
    """The file cannot be imported at all; `reason` is a key of `FAILURES` in `isales_imports`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RowError(Exception):
    """A row fails."""


@dataclass(frozen=True)
class Record:
    """A row that can be dialed: its cells as text, and the numbers of its customer in order."""

    cells: dict[str, str]
    numbers: tuple[str, ...]


def read_records(file: Path, most: int, *, call_data_is_json: bool) -> Iterator[Record | None]:
    """Open a workbook and return its records in order, None for a row that fails.

    The checks of the whole file are done before this returns: unreadable, no column `called`, more than
    `most` records. Rows without any value are no records.
    """
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        sheet = CalamineWorkbook.from_path(str(file)).get_sheet_by_index(0)
        top_is_used = sheet.start is not None and sheet.start[0] == 0
        rows = sheet.iter_rows()
        header = [_name(cell) for cell in next(rows)] if top_is_used else []
    except (CalamineError, OSError, StopIteration):
        raise WorkbookError("unreadable") from None
    if "called" not in header:
        raise WorkbookError("no_called")
    if sheet.height - 1 > most and sum(any(map(_text, row)) for row in sheet.iter_rows()) - 1 > most:
        raise WorkbookError("too_many")
    places: dict[str, int] = {name: header.index(name) for name in COLUMNS if name in header}
    return _records(rows, places, call_data_is_json=call_data_is_json)


def _records(
    rows: Iterator[list[Any]], places: dict[str, int], *, call_data_is_json: bool
) -> Iterator[Record | None]:
    for row in rows:
        if not any(map(_text, row)):
            continue
        cells = {name: text for name, place in places.items() if (text := _text(row[place])) not in ("", "-")}
        try:
            yield _record(cells, call_data_is_json=call_data_is_json)
        except RowError:
            yield None


def _name(cell: Any) -> str:
    """Return a header's name: what stands before the blank or bracket."""
    return re.split(r"[\s(（]", _text(cell), maxsplit=1)[0]


def _text(cell: Any) -> str:
    """Read a cell as text; a number without decimals loses its point."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _length(text: str) -> int:
    """Count characters as a Java server does: one beyond the basic plane counts twice."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _record(cells: dict[str, str], *, call_data_is_json: bool) -> Record:
    if any(_length(cells.get(name, "")) > longest for name, longest in _LONGEST.items()):
        raise RowError
    if call_data_is_json and "callData" in cells:
        _read(orjson.loads, cells["callData"])
    if "recycleTime" in cells:
        if not _TIME.fullmatch(cells["recycleTime"]):
            raise RowError
        _read(datetime.fromisoformat, cells["recycleTime"])
    return Record(cells, tuple(map(_number, _called(cells.get("called", "")))))


def _called(text: str) -> list[Any]:
    """Read the list of numbers: JSON, or the template's with single quotes."""
    try:
        # orjson makes a float of a bare number with more digits than 64 bits hold.
        entries = json.loads(text) if _LONG_NUMBER.search(text) else orjson.loads(text)
    except ValueError:
        entries = _read(json.loads, text.replace("'", '"'))
    if not isinstance(entries, list) or not entries:
        raise RowError
    return entries


def _number(entry: Any) -> str:
    if not isinstance(entry, dict) or type(entry.get("calledNo")) not in (str, int):
        raise RowError
    number, delay = str(entry["calledNo"]), entry.get("delayTime")
    delay = 0 if delay is None else delay
    if isinstance(delay, str) and delay.isdecimal():
        delay = int(delay)
    if not _NUMBER.fullmatch(number) or type(delay) is not int or not 0 <= delay <= LONGEST_DELAY:
        raise RowError
    return number


def _read(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except (ValueError, RecursionError):
        raise RowError from None
