"""Reads the file of rejects that a person has fixed: a workbook (.xlsx) or a CSV, one row a lead, known by `row_key`.

What a person may fix are the lead's phone fields, its time zone, its customer key and its free fields (`data.<field>`);
a cell that is empty leaves the lead as it is. The other columns of a reject file (`state`, `code`, ...) are passed
over, and a column that is neither is an error: it would be a fix that nobody applies.

A row that cannot be used is refused with its place and the rule; the others go on.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from include.report.rejects import REJECT_COLUMNS

KEY: Final = "row_key"
FIXABLE: Final = ("phone1", "phone2", "phone3", "timezone", "customer_key")
FIELD: Final = "data."
MAX_ROWS: Final = 100_000
MAX_BYTES: Final = 50 * 1024 * 1024
MAX_CELL: Final = 4000

_BLANKS: Final = " \t\r\n\u00a0\u200b\ufeff"


class FixedFileError(ValueError):
    """The file as a whole cannot be used; the message says what to change in it."""


@dataclass(frozen=True)
class Problem:
    """A row that is not used. :param code: a code of `include.leads.reasons`; `detail` names row, column and rule."""

    row_key: str
    code: str
    detail: str


@dataclass(frozen=True)
class Fix:
    """A row of the file: its number as a person sees it, and what stands in the columns that may be fixed."""

    row: int
    row_key: str
    values: dict[str, str]


@dataclass(frozen=True)
class FixedFile:
    """What a file holds. :param columns: those that may be fixed, in order."""

    columns: tuple[str, ...]
    fixes: tuple[Fix, ...]
    problems: tuple[Problem, ...]


def read_fixed(name: str, content: bytes) -> FixedFile:
    """Read a file by the ending of its name. Raises FixedFileError; a row's own mistake is a problem, no error."""
    if len(content) > MAX_BYTES:
        raise FixedFileError(f"The file has more than {MAX_BYTES >> 20} MB. Split it.")
    if name.lower().endswith(".xlsx"):
        rows = _workbook(content)
    elif name.lower().endswith(".csv"):
        rows = _csv(content)
    else:
        raise FixedFileError("The file must be a workbook (.xlsx) or a CSV (.csv).")
    header = next(rows, (0, []))[1]
    columns = _columns([_text(cell) for cell in header])
    fixes: list[Fix] = []
    problems: list[Problem] = []
    for count, (row, cells) in enumerate(rows):
        if count == MAX_ROWS:
            raise FixedFileError(f"The file has more than {MAX_ROWS:,} rows. Split it.")
        if any(_text(cell) for cell in cells):
            read = _row(row, cells, columns)
            if isinstance(read, Fix):
                fixes.append(read)
            else:
                problems.append(read)
    seen = Counter(fix.row_key for fix in fixes)
    problems += [
        Problem(fix.row_key, "fix_repeated", f"row {fix.row}: {seen[fix.row_key]} rows have this row_key")
        for fix in fixes
        if seen[fix.row_key] > 1
    ]
    return FixedFile(
        tuple(column for column in columns if column and column != KEY),
        tuple(fix for fix in fixes if seen[fix.row_key] == 1),
        tuple(problems),
    )


@dataclass(frozen=True)
class _Formula:
    """A cell that would be computed."""


def _workbook(content: bytes) -> Iterator[tuple[int, Sequence[Any]]]:
    """The rows of the first sheet with their numbers."""
    from openpyxl import load_workbook

    try:
        # No cell is computed: what stands in the file is what counts.
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=False)
    except Exception:  # whatever the library stumbles over: its words may be those of a cell
        raise FixedFileError("The file is no workbook that can be opened. Save it as .xlsx again.") from None
    number = 0
    try:
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # what a writer says of its size may be wrong
        for number, cells in enumerate(sheet.iter_rows(), 1):
            yield number, [_Formula() if cell.data_type == "f" else cell.value for cell in cells]
    except Exception:
        raise FixedFileError(
            f"The workbook cannot be read behind row {number}: a cell there is not what it says it is, such as a text "
            "marked as a number. Save it as .xlsx again, in Excel or LibreOffice."
        ) from None
    finally:
        book.close()


def _csv(content: bytes) -> Iterator[tuple[int, Sequence[Any]]]:
    """The records of a CSV with the number of their last line; the separator is that of the header."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FixedFileError('The CSV is not UTF-8. Save it as "CSV UTF-8", or as a workbook.') from None
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for cells in reader:
            yield reader.line_num, [_without_apostrophe(cell) for cell in cells]
    except csv.Error:
        raise FixedFileError(
            f"The CSV cannot be read behind line {reader.line_num}. Save it again."
        ) from None


def _without_apostrophe(cell: str) -> str:
    """Our reject CSV begins a cell that Excel would compute with an apostrophe."""
    return cell[1:] if cell.startswith(("'=", "'+", "'-", "'@")) else cell


def _columns(header: list[str]) -> list[str]:
    """The column of each cell, empty where it is passed over."""
    if KEY not in header:
        raise FixedFileError(f"The first row must name the columns, and one of them must be {KEY}.")
    wrong = [
        str(number)
        for number, name in enumerate(header, 1)
        if name
        and name != KEY
        and name not in FIXABLE
        and name not in REJECT_COLUMNS
        and not (name.startswith(FIELD) and len(name) > len(FIELD))
    ]
    # Columns are named by their place: what stands in the first row may be somebody's data.
    if wrong:
        raise FixedFileError(
            f"Column {', '.join(wrong)} cannot be fixed, by its name. Name it {', '.join(FIXABLE)} or {FIELD}<field>, "
            "or remove it."
        )
    used = ["" if name in REJECT_COLUMNS and name != KEY else name for name in header]
    twice = [str(used.index(name) + 1) for name, count in Counter(used).items() if name and count > 1]
    if twice:
        raise FixedFileError(f"Column {', '.join(twice)} stands there twice. Remove one of the two.")
    if not any(name and name != KEY for name in used):
        raise FixedFileError(
            f"There is no column to fix. Beside {KEY}, add those that you correct, such as {FIXABLE[0]} or "
            f"{FIELD}state."
        )
    return used


def _row(row: int, cells: Sequence[Any], columns: Sequence[str]) -> Fix | Problem:
    key = _text(next((cell for cell, name in zip(cells, columns, strict=False) if name == KEY), None))
    if not key:
        return Problem(f"row {row}", "fix_no_key", f"row {row}, column {KEY}: empty")
    values = {}
    for name, cell in zip(columns, cells, strict=False):
        if not name or name == KEY:
            continue
        if isinstance(cell, _Formula):
            return Problem(key, "fix_cell", f"row {row}, column {name}: a formula; write its value")
        text = _text(cell)
        if len(text) > MAX_CELL:
            return Problem(key, "fix_cell", f"row {row}, column {name}: more than {MAX_CELL:,} characters")
        if text:
            values[name] = text
    return Fix(row, key, values)


def _text(cell: Any) -> str:
    """A cell as text: a number as people write it, a date in ISO 8601."""
    if cell is None or isinstance(cell, _Formula):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, (datetime, date)):
        return cell.isoformat()
    return str(cell).strip(_BLANKS)
