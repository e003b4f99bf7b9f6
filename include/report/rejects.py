"""The rows that were not delivered, as a CSV with all of them and a workbook that opens at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from include.leads.reasons import REASONS

REJECT_COLUMNS: Final[Mapping[str, int]] = {
    "row_key": 18,
    "state": 12,
    "code": 26,
    "reason": 60,
    "how_to_fix": 60,
    "detail": 40,
    "batch": 8,
}
"""Columns of a reject file, and their widths in a workbook, in characters."""

WORKBOOK_ROWS: Final = 100_000
"""Rows of a workbook that still opens at once. The CSV always holds all."""

_CHUNK: Final = 20_000

_FORMULA: Final = r"^\s*[=+\-@＝＋－＠]"

_NOT_IN_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

_EXCEL_ESCAPE: Final = re.compile(r"_(x[0-9A-Fa-f]{4}_)")


def write_rejects(outcome_files: Sequence[Path], folder: Path) -> int:
    """Write every row that was not delivered to `rejects.csv` and `rejects.xlsx`; return how many there are.

    :param outcome_files: Parquet files of outcome frames (`include.leads.schema.OUTCOME_COLUMNS`).

    The CSV is UTF-8 with a byte order mark, so that Excel reads it right; a cell that Excel would run as a
    formula begins with an apostrophe there. In the workbook such cells are text as they are. Memory stays flat.
    """
    rows = 0
    with (folder / "rejects.csv").open("wb") as file:
        file.write(b"\xef\xbb\xbf" + (",".join(REJECT_COLUMNS) + "\r\n").encode())

        def chunks() -> Iterator[pl.DataFrame]:
            nonlocal rows
            for frame in _rejects(outcome_files):
                rows += frame.height
                _harmless(frame).write_csv(file, include_header=False, line_terminator="\r\n")
                yield frame

        _write_workbook(folder / "rejects.xlsx", chunks())
    return rows


def _rejects(outcome_files: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Rows that were not delivered, in chunks, with the words of their reasons."""
    for path in outcome_files:
        scan = pl.scan_parquet(path, glob=False).filter(pl.col("state") != "delivered")
        yield from scan.select(
            "row_key",
            "state",
            pl.col("reason").alias("code"),
            pl.col("reason").replace_strict({c: r.text for c, r in REASONS.items()}, default=""),
            pl.col("reason")
            .replace_strict({c: r.fix for c, r in REASONS.items()}, default="")
            .alias("how_to_fix"),
            "detail",
            "batch",
        ).collect_batches(chunk_size=_CHUNK)


def _harmless(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(pl.col(name).str.contains(_FORMULA))
        .then(pl.lit("'") + pl.col(name))
        .otherwise(name)
        .alias(name)
        for name in ("row_key", "detail")
    )


def _write_workbook(path: Path, chunks: Iterable[pl.DataFrame]) -> None:
    """Write the first WORKBOOK_ROWS rows; goes through all chunks."""
    # openpyxl takes a fifth of a second to import; DAG files import this module.
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Rejects")
    sheet.freeze_panes = "A2"
    for number, width in enumerate(REJECT_COLUMNS.values(), 1):
        sheet.column_dimensions[get_column_letter(number)].width = width

    def cell(value: object) -> object:
        if not isinstance(value, str):
            return value
        value = _EXCEL_ESCAPE.sub(r"_x005F_\1", _NOT_IN_XML.sub("", value))
        if not value.startswith(("=", "#")):
            return value
        text = WriteOnlyCell(sheet, value)  # openpyxl would make a formula or an error of it
        text.data_type = "s"
        return text

    header = [WriteOnlyCell(sheet, name) for name in REJECT_COLUMNS]
    for name in header:
        name.font = Font(bold=True)
    sheet.append(header)
    written = total = 0
    for frame in chunks:
        for row in frame.head(max(0, WORKBOOK_ROWS - total)).iter_rows():
            sheet.append([cell(value) for value in row])
            written += 1
        total += frame.height
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(REJECT_COLUMNS))}{written + 1}"
    if total > written:
        sheet.append([f"{total - written:,} more rows are in rejects.csv, which holds all {total:,}."])
    book.save(path)
