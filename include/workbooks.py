"""Large workbooks (.xlsx) of text cells, written as a stream by a compiled writer, split into files of a size.

Every cell is text: what begins with = stays text, leading zeros and twenty digits stay as they are. Memory does not
grow with the rows. The small workbooks that people read are `include.report.rejects`'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

MAX_ROWS: Final = 1_048_575
"""Rows of a sheet below its header."""

MAX_TEXT: Final = 32_767
"""Characters of a cell, as Excel counts them."""

NOT_IN_XML: Final = ["\ufffe", "\uffff"]
"""Characters that no sheet can hold; control characters are written as Excel writes them."""

_BLOCK: Final = 4 * 1024 * 1024


class WorkbookError(Exception):
    """What no workbook can hold; the message names column and row."""


@dataclass(frozen=True)
class Workbook:
    """A workbook that was written: file, rows below the header, size, and SHA-256 in hex."""

    path: Path
    rows: int
    bytes: int
    sha256: str


def write_workbook(path: Path, headers: Mapping[str, str], frames: Iterable[pl.DataFrame]) -> Workbook:
    """Write one sheet of text cells; a null is an empty cell.

    :param headers: column of the frames -> its header, in order; a column that a frame lacks stays empty.
    :param frames: the rows, piece by piece, all columns text.

    Raises WorkbookError for a text or a number of rows that no sheet can hold.
    """
    from rustpy_xlsxwriter import write_worksheet

    rows = 0

    def records() -> Iterator[dict[str, Any]]:
        nonlocal rows
        for frame in frames:
            _check(frame, rows)
            rows += frame.height
            yield from frame.select(
                _column(frame, name).alias(title) for name, title in headers.items()
            ).iter_rows(named=True)
        if not rows:  # the writer takes the headers from the first row
            yield dict.fromkeys(headers.values())

    write_worksheet(records(), str(path), sheet_name="Sheet1")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Workbook(path, rows, path.stat().st_size, digest)


def write_workbooks(
    frames: Iterable[pl.DataFrame],
    headers: Mapping[str, str],
    folder: Path,
    stem: str,
    max_rows: int,
    first_rows: int | None = None,
) -> list[Workbook]:
    """Write rows into as many workbooks as they need, `<stem>-001.xlsx` and so on; no rows make no workbook.

    :param first_rows: most rows of the first, where that is another number.
    """
    pieces = split(frames, max_rows, first_rows)
    return [
        write_workbook(folder / f"{stem}-{number:03d}.xlsx", headers, piece)
        for number, piece in enumerate(pieces, 1)
    ]


def split(
    frames: Iterable[pl.DataFrame], max_rows: int, first_rows: int | None = None
) -> Iterator[Iterator[pl.DataFrame]]:
    """Cut a stream of rows into streams of `max_rows` at most; each must be used up before the next is asked for."""
    source = (frame for frame in frames if frame.height)
    rest = next(source, None)

    def piece(left: int) -> Iterator[pl.DataFrame]:
        nonlocal rest
        while left and rest is not None:
            head, tail = rest.head(left), rest.slice(left)
            left -= head.height
            rest = tail if tail.height else next(source, None)
            yield head

    most = first_rows or max_rows
    while rest is not None:
        yield piece(most)
        most = max_rows


def csv_frames(path: Path) -> Iterator[pl.DataFrame]:
    """The rows of a CSV with a header, piece by piece, every cell text as it stands.

    The file is cut here, at ends of records: polars' own reader of batches holds several hundred megabytes ahead.
    """
    with path.open("rb") as file:
        header = file.readline()
        rest = b""
        while block := file.read(_BLOCK):
            piece = rest + block
            end = _last_record_end(piece)
            if end:
                yield pl.read_csv(header + piece[:end], infer_schema=False)
            rest = piece[end:]
        if rest:
            yield pl.read_csv(header + rest, infer_schema=False)


def _last_record_end(piece: bytes) -> int:
    """Where the last whole record of a piece ends: at a line end that is not inside quotes; 0 when there is none."""
    end = piece.rfind(b"\n") + 1
    while end and piece.count(b'"', 0, end) % 2:
        end = piece.rfind(b"\n", 0, end - 1) + 1
    return end


def utf16_length(text: pl.Expr) -> pl.Expr:
    """Length of a text as Excel and Java count it: a character beyond the basic plane counts twice."""
    return text.str.len_chars() + text.str.count_matches(r"[\x{10000}-\x{10FFFF}]")


def _column(frame: pl.DataFrame, name: str) -> pl.Expr:
    return pl.col(name) if name in frame.columns else pl.lit(None, pl.String)


def _check(frame: pl.DataFrame, rows_before: int) -> None:
    if rows_before + frame.height > MAX_ROWS:
        raise WorkbookError(f"A sheet holds {MAX_ROWS:,} rows below its header, not more. Split the list.")
    for name in frame.columns:
        text = pl.col(name)
        # Bytes are counted fast, and there are at least as many of them as characters.
        longest = frame.select(text.str.len_bytes().max()).item() or 0
        too_long = utf16_length(text) > MAX_TEXT if longest > MAX_TEXT else pl.lit(value=False)
        wrong = frame.select(too_long | text.str.contains_any(NOT_IN_XML)).to_series()
        if wrong.any():
            row = rows_before + (wrong.arg_true()[0] or 0) + 1
            raise WorkbookError(
                f"Column {name}, row {row:,}: a cell holds {MAX_TEXT:,} characters at most, and no U+FFFE or U+FFFF."
            )
