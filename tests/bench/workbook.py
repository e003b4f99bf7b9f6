"""Measure the workbook stage: time against a plain zip stream and against pandas, memory over ten files.

`python tests/bench/workbook.py [--rows N] [--rounds N] [--json]`; ends with 1 when a target is missed. Every run is a
fresh process that reads the same payload of six text columns, as a plan leaves it. The sides take turns: ours; the
floor, the same rows escaped in columns and deflated at the same level by one `zipfile`, which is the least that any
writer in Python can do; and what a script would do, pandas with openpyxl. Ten files are written in one process, and its
memory at the end is set against that after the first. Every workbook is read back by another reader and compared.
"""

from __future__ import annotations

import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from lib.measuring import Figure, Runs, child, median, peak_mb, run_bench

LEVEL = 6  # what the compiled writer uses
FILES = 10
CELL = '<c r="{}{}" t="inlineStr"><is><t xml:space="preserve">{}</t></is></c>'
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/'
    'main"><sheetData>'
)
PARTS = {
    "[Content_Types].xml": '<?xml version="1.0" encoding="UTF-8"?>\n<Types xmlns="http://schemas.openxmlformats.org/'
    'package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
    'relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/'
    'worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
    "</Types>",
    "_rels/.rels": '<?xml version="1.0" encoding="UTF-8"?>\n<Relationships xmlns="http://schemas.openxmlformats.org/'
    'package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": '<?xml version="1.0" encoding="UTF-8"?>\n<workbook xmlns="http://schemas.openxmlformats.org/'
    'spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
    '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<?xml version="1.0" encoding="UTF-8"?>\n<Relationships xmlns="http://schemas.'
    'openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/'
    'officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}


def make(folder: str, rows: int) -> dict[str, float]:
    """Write the payload of a plan: `rows` rows of the six columns."""
    import polars as pl

    from include.vendors.isales_rows import COLUMNS

    with (Path(folder) / "payload.csv").open("wb") as file:
        for start in range(0, rows, 50_000):
            row = pl.int_range(start, min(start + 50_000, rows), eager=True)
            number = row + 2_000_000
            pl.select(
                sessionId=row.cast(pl.String),
                called=pl.format(
                    '[{{"calledNo":"1201{}"}},{{"calledNo":"1301{}","delayTime":60}}]', number, number
                ),
                caller=pl.lit("4001"),
                callData=pl.format('{{"state":"New York","name":"Lead & son {}"}}', row),
                customField=pl.format("Reducing your debt ({})", row),
                recycleTime=pl.lit("2026-11-30 12:00:00"),
            ).select(*COLUMNS).write_csv(file, include_header=start == 0)
    return {"rows": rows}


def frames(payload: str) -> Iterator[object]:
    """The rows as both streaming sides read them."""
    from include.workbooks import csv_frames

    return csv_frames(Path(payload))


def ours(payload: str, out: str, files: int = 1) -> dict[str, float]:
    """Write by the flow's own function; so many files, one after the other."""
    from include.vendors.isales_rows import COLUMNS
    from include.workbooks import csv_frames, write_workbook

    start, first = time.perf_counter(), 0.0
    for _ in range(files):
        book = write_workbook(Path(out), COLUMNS, csv_frames(Path(payload)))
        first = first or peak_mb()
    return {
        "seconds": time.perf_counter() - start,
        "rows": book.rows,
        "first_mb": first,
        "mb": book.bytes / 1e6,
    }


def floor(payload: str, out: str) -> dict[str, float]:
    """The same rows, escaped column by column, joined, and deflated as one stream."""
    import polars as pl

    from include.vendors.isales_rows import COLUMNS

    start, row = time.perf_counter(), 2
    letters = dict(zip(COLUMNS, "ABCDEF", strict=True))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as book:
        for name, text in PARTS.items():
            book.writestr(name, text)
        with book.open("xl/worksheets/sheet1.xml", "w") as sheet:
            head = "".join(CELL.format(letters[name], 1, title) for name, title in COLUMNS.items())
            sheet.write(f'{HEAD}<row r="1">{head}</row>'.encode())
            for frame in frames(payload):
                assert isinstance(frame, pl.DataFrame)
                texts = frame.select(
                    pl.col(name)
                    .str.replace_all("&", "&amp;", literal=True)
                    .str.replace_all("<", "&lt;", literal=True)
                    .str.replace_all(">", "&gt;", literal=True)
                    for name in COLUMNS
                )
                numbered = texts.with_row_index("row", offset=row)
                cells = [pl.format(CELL, pl.lit(letter), "row", name) for name, letter in letters.items()]
                lines = numbered.select(
                    pl.format('<row r="{}">{}</row>', "row", pl.concat_str(cells))
                ).to_series()
                sheet.write("".join(lines).encode())
                row += frame.height
            sheet.write(b"</sheetData></worksheet>")
    return {"seconds": time.perf_counter() - start, "rows": row - 2}


def obvious(payload: str, out: str) -> dict[str, float]:
    """Write as a script would."""
    import pandas as pd

    from include.vendors.isales_rows import COLUMNS

    start = time.perf_counter()
    table = pd.read_csv(payload, dtype=str).rename(columns=dict(COLUMNS))
    table.to_excel(out, index=False, engine="openpyxl")
    return {"seconds": time.perf_counter() - start, "rows": len(table)}


def differences(payload: str, out: str) -> dict[str, float]:
    """How many cells another reader finds different from the payload."""
    import polars as pl
    from python_calamine import CalamineWorkbook

    from include.vendors.isales_rows import COLUMNS

    sheet = CalamineWorkbook.from_path(out).get_sheet_by_index(0).to_python()
    table = pl.read_csv(payload, infer_schema=False)
    wrong = sheet[0] != list(COLUMNS.values())
    wrong += len(sheet) != table.height + 1
    for row, found in zip(table.iter_rows(), sheet[1:], strict=False):
        wrong += list(row) != found
    return {"wrong": float(wrong)}


def measure(rows: int, rounds: int) -> list[Figure]:
    """Return the figures."""
    runs: Runs = {"ours": [], "floor": [], "obvious": [], "ten": []}
    wrong = 0.0
    with tempfile.TemporaryDirectory() as folder:
        child(__file__, "make", folder=folder, rows=rows)
        payload = f"{folder}/payload.csv"
        for _ in range(rounds):
            for name in ("ours", "floor", "obvious"):
                out = f"{folder}/{name}.xlsx"
                runs[name].append(child(__file__, name, payload=payload, out=out))
                if runs[name][-1]["rows"] != rows:
                    raise SystemExit(f"{name} wrote {runs[name][-1]['rows']:.0f} of {rows} rows")
        for name in ("ours", "floor"):
            wrong += child(__file__, "differences", payload=payload, out=f"{folder}/{name}.xlsx")["wrong"]
        runs["ten"].append(child(__file__, "ours", payload=payload, out=f"{folder}/ten.xlsx", files=FILES))
    seconds = {name: median(runs, name, "seconds") for name in runs}
    first, last = runs["ten"][0]["first_mb"], runs["ten"][0]["peak_mb"]
    return [
        Figure(
            f"time: {rows:,} rows / zip stream at level {LEVEL}",
            seconds["ours"] / seconds["floor"],
            at_most=1.6,
        ),
        Figure("time: pandas with openpyxl / ours", seconds["obvious"] / seconds["ours"], at_least=8),
        Figure("memory: one file, MB", median(runs, "ours", "peak_mb"), at_most=300),
        Figure(f"memory: after {FILES} files / after the first", last / first, at_most=1.15),
        Figure(f"time: {FILES} files / one", seconds["ten"] / seconds["ours"], at_most=11.5),
        Figure("rows that another reader finds different", wrong, at_most=0),
        Figure(f"time: {rows:,} rows, s", seconds["ours"]),
        Figure("memory: pandas with openpyxl, MB", median(runs, "obvious", "peak_mb")),
        Figure("size of the workbook, MB", median(runs, "ours", "mb")),
    ]


if __name__ == "__main__":
    sides = {"make": make, "ours": ours, "floor": floor, "obvious": obvious, "differences": differences}
    sys.exit(run_bench("Workbooks of a call data file", __doc__, sides, measure, rows=500_000))
