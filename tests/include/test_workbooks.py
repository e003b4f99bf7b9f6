"""Large workbooks: every text as it was, in three readers; split at a size; flat in memory (see tests/bench)."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape
from python_calamine import CalamineWorkbook

from include import workbooks
from include.workbooks import WorkbookError, csv_frames, split, write_workbook, write_workbooks

EDGES = [
    "=1+1",
    "+12025550123",
    "-12.5",
    "@SUM(A1)",
    "007",
    "12345678901234567890",
    "1e5",
    "TRUE",
    "2026-11-20",
    "  outer blanks  ",
    " ",
    "a\nb",
    "a\tb",
    "a\rb",
    "a\r\nb",
    "&<>\"'",
    "]]>",
    "😀é客",
    "\x01\x1f\x7f\x85",
    "_x0041_",
    "_x005F_x0041_",
    "\u2028",
    "https://example.com/",
    "{'a': 1}",
    "None",
    "x" * 32_767,
]


def table(rows: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame({"a": rows, "b": rows[::-1]}, schema={"a": pl.String, "b": pl.String})


def written(folder: Path, rows: list[str | None]) -> Path:
    path = folder / "edges.xlsx"
    book = write_workbook(path, {"a": "a (Optional)", "b": "b"}, [table(rows)])
    assert (book.path, book.rows, book.bytes) == (path, len(rows), path.stat().st_size)
    assert len(book.sha256) == 64
    return path


def read_by_openpyxl(path: Path) -> list[list[str | None]]:
    sheet = openpyxl.load_workbook(path).worksheets[0]
    rows = []
    for row in sheet.iter_rows():
        assert {cell.data_type for cell in row if cell.value is not None} <= {"s"}, "a cell is no text"
        # openpyxl leaves the escapes of control characters as they are.
        rows.append([None if cell.value is None else unescape(str(cell.value)) for cell in row])
    return rows


def read_by_calamine(path: Path) -> list[list[str]]:
    return CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()


def test_every_text_comes_back_in_two_readers(tmp_path):
    path = written(tmp_path, EDGES)
    expected = [["a (Optional)", "b"], *([a, b] for a, b in zip(EDGES, EDGES[::-1], strict=True))]
    assert read_by_openpyxl(path) == expected
    assert read_by_calamine(path) == expected


def test_and_in_libreoffice(tmp_path):
    office = shutil.which("soffice") or shutil.which("libreoffice")
    if office is None:
        why = "no LibreOffice here: apt-get install libreoffice-calc"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    edges = [text for text in EDGES if not set(text) & set("\x01\r\u2028")]
    path = written(tmp_path, edges)
    home = f"-env:UserInstallation=file://{tmp_path}/office"
    asked = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,1"
    done = subprocess.run(
        [office, home, "--headless", "--convert-to", asked, "--outdir", tmp_path, path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip
    (made,) = tmp_path.glob("*.csv")
    with made.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["a (Optional)", "b"], *([a, b] for a, b in zip(edges, edges[::-1], strict=True))], (
        done.stdout
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.text(max_size=40), min_size=1, max_size=8))
def test_any_text_comes_back(tmp_path_factory, texts):
    kept = [text if text is None or not set(text) & set("\ufffe\uffff") else "x" for text in texts]
    kept = [text if text is None or text.isprintable() or text.isascii() else "x" for text in kept]
    kept = ["first", *kept, "last"]  # calamine passes over empty rows at the edges
    path = written(tmp_path_factory.getbasetemp(), kept)
    assert read_by_calamine(path)[1:] == [[a or "", b or ""] for a, b in zip(kept, kept[::-1], strict=True)]


def test_a_null_and_a_missing_column_are_empty_cells(tmp_path):
    path = tmp_path / "x.xlsx"
    write_workbook(path, {"b": "B", "a": "A"}, [pl.DataFrame({"a": [None, "1"], "c": ["2", "3"]})])
    assert read_by_openpyxl(path) == [["B", "A"], [None, None], [None, "1"]]


def test_no_rows_leave_the_headers(tmp_path):
    path = tmp_path / "x.xlsx"
    assert write_workbook(path, {"a": "A"}, []).rows == 0
    assert read_by_calamine(path) == [["A"]]
    assert write_workbooks([], {"a": "A"}, tmp_path, "none", 10) == []


@pytest.mark.parametrize("text", ["x" * 32_768, "😀" * 16_384, "a\ufffe", "\uffff"])
def test_what_no_sheet_holds_is_refused_with_column_and_row(tmp_path, text):
    with pytest.raises(WorkbookError, match="Column b, row 3"):
        write_workbook(
            tmp_path / "x.xlsx", {"b": "b"}, [pl.DataFrame({"b": ["1"]}), pl.DataFrame({"b": ["1", text]})]
        )


def test_too_many_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(workbooks, "MAX_ROWS", 5)
    frame = pl.DataFrame({"a": ["1", "2", "3"]})
    with pytest.raises(WorkbookError, match="holds 5 rows"):
        write_workbook(tmp_path / "x.xlsx", {"a": "a"}, [frame, frame])


def test_the_limit_is_excel_s():
    assert workbooks.MAX_ROWS == 1_048_576 - 1 and workbooks.MAX_TEXT == 32_767


@given(st.lists(st.integers(0, 7), max_size=6), st.integers(1, 9))
def test_a_stream_is_cut_into_files_of_a_size(heights, size):
    count = sum(heights)
    rows = iter(range(count))
    frames = [
        pl.DataFrame({"n": [next(rows) for _ in range(height)]}, schema={"n": pl.Int64}) for height in heights
    ]
    pieces = [[n for frame in piece for n in frame["n"]] for piece in split(iter(frames), size)]
    assert [n for piece in pieces for n in piece] == list(range(count))
    assert all(len(piece) == size for piece in pieces[:-1]) and all(
        0 < len(piece) <= size for piece in pieces
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.text('ab",\n\r é😀', max_size=6), st.none() | st.text('"\n', max_size=4)), max_size=9
    ),
    st.integers(1, 12),
)
def test_a_csv_is_cut_between_records(tmp_path_factory, rows, block):
    path = tmp_path_factory.getbasetemp() / "cut.csv"
    # A row of polars' own CSV is never an empty line, as a plan's has two columns at least.
    whole = pl.DataFrame(
        {"k": [f"k{a}" for a, _ in rows], "v": [b for _, b in rows]}, schema=dict.fromkeys("kv", pl.String)
    )
    whole.write_csv(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbooks, "_BLOCK", block)
        pieces = list(csv_frames(path))
    back = pl.concat([whole.clear(), *pieces])
    assert back.rows() == whole.rows()


def test_a_payload_becomes_files_with_stable_names(tmp_path):
    payload = tmp_path / "payload.csv"
    rows = [f"00{n}" if n % 3 else None for n in range(25)]
    pl.DataFrame({"a": rows, "b": [str(n) for n in range(25)]}).write_csv(payload)
    for _ in range(2):
        books = write_workbooks(csv_frames(payload), {"a": "A", "b": "B"}, tmp_path, "night", 10)
        assert [(book.path.name, book.rows) for book in books] == [
            ("night-001.xlsx", 10),
            ("night-002.xlsx", 10),
            ("night-003.xlsx", 5),
        ]
    back = [row[0] or None for book in books for row in read_by_calamine(book.path)[1:]]
    assert back == rows
