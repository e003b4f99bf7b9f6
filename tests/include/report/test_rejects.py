"""The reject files: nothing lost, nothing run as a formula."""

from __future__ import annotations

import csv
import tracemalloc

import openpyxl
import polars as pl

from include.leads.reasons import REASONS
from include.leads.schema import OUTCOME_COLUMNS
from include.report import rejects
from include.report.rejects import REJECT_COLUMNS, write_rejects


def outcomes(path, rows):
    pl.DataFrame(rows, schema=OUTCOME_COLUMNS, orient="row").write_parquet(path)
    return path


def read_csv(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def read_sheet(path):
    return openpyxl.load_workbook(path)["Rejects"]


NASTY = [
    '=HYPERLINK("http://x","y")',
    "+1 202",
    "-3",
    "@SUM(A1)",
    " =1+1",
    "＝1+1",
    "#REF!",
    "_x0041_",
    'say "no", please',
    "two\nlines",
    "bell\x07 and \ufffe",
    "Zoë 漢字 🙂",
    "'quoted",
    "",
]


def test_rejects_hold_every_row_that_was_not_delivered(tmp_path):
    files = [
        outcomes(
            tmp_path / "a.parquet",
            [("1", "rejected", "phone_empty", None, None), ("2", "delivered", "delivered", None, 1)],
        ),
        outcomes(
            tmp_path / "b.parquet",
            [
                ("3", "suppressed", "on_suppression_list", "dnc: phone1", None),
                ("4", "uncertain", "no_outcome", None, 2),
            ],
        ),
    ]
    assert write_rejects(files, tmp_path) == 3
    rows = read_csv(tmp_path / "rejects.csv")
    assert [(r["row_key"], r["state"], r["code"], r["detail"], r["batch"]) for r in rows] == [
        ("1", "rejected", "phone_empty", "", ""),
        ("3", "suppressed", "on_suppression_list", "dnc: phone1", ""),
        ("4", "uncertain", "no_outcome", "", "2"),
    ]
    assert rows[0]["reason"] == REASONS["phone_empty"].text
    assert rows[0]["how_to_fix"] == REASONS["phone_empty"].fix
    sheet = read_sheet(tmp_path / "rejects.xlsx")
    assert [c.value for c in sheet[1]] == list(REJECT_COLUMNS) == list(rows[0])
    assert [tuple(c.value or "" for c in row)[:3] for row in sheet.iter_rows(min_row=2)] == [
        (r["row_key"], r["state"], r["code"]) for r in rows
    ]
    assert sheet["G4"].value == 2
    assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("A2", "A1:G4")
    assert sheet.column_dimensions["D"].width == REJECT_COLUMNS["reason"]


def test_no_cell_is_a_formula(tmp_path):
    rows = [(text, "rejected", "user_rule", text, None) for text in NASTY]
    assert write_rejects([outcomes(tmp_path / "a.parquet", rows)], tmp_path) == len(NASTY)
    assert (tmp_path / "rejects.csv").read_bytes().startswith(b"\xef\xbb\xbfrow_key,")
    for text, row in zip(NASTY, read_csv(tmp_path / "rejects.csv"), strict=True):
        assert row["row_key"] in (text, "'" + text)
        assert row["row_key"].strip()[:1] not in tuple("=+-@＝")
        assert row["row_key"] == row["detail"]
    for text, (cell,) in zip(
        NASTY, read_sheet(tmp_path / "rejects.xlsx").iter_rows(min_row=2, max_col=1), strict=True
    ):
        expected = text.replace("\x07", "").replace("\ufffe", "")
        # openpyxl reads the escape of a literal _x0041_ as it stands; Excel shows _x0041_
        assert (cell.value or "") in (expected, expected.replace("_x0041_", "_x005F_x0041_"))
        assert cell.data_type in ("s", "inlineStr") or not expected


def test_no_outcomes_make_files_with_a_header_only(tmp_path):
    assert write_rejects([], tmp_path) == 0
    assert read_csv(tmp_path / "rejects.csv") == []
    assert read_sheet(tmp_path / "rejects.xlsx").max_row == 1


def test_a_code_of_another_release_keeps_its_row(tmp_path):
    assert (
        write_rejects([outcomes(tmp_path / "a.parquet", [("1", "held", "brand_new", None, None)])], tmp_path)
        == 1
    )
    assert read_csv(tmp_path / "rejects.csv")[0]["code"] == "brand_new"


def test_the_workbook_ends_where_it_says_that_the_csv_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(rejects, "WORKBOOK_ROWS", 25)
    monkeypatch.setattr(rejects, "_CHUNK", 10)
    rows = [(str(i), "rejected", "phone_empty", None, None) for i in range(60)]
    files = [outcomes(tmp_path / "a.parquet", rows[:30]), outcomes(tmp_path / "b.parquet", rows[30:])]
    assert write_rejects(files, tmp_path) == 60
    assert [r["row_key"] for r in read_csv(tmp_path / "rejects.csv")] == [str(i) for i in range(60)]
    sheet = read_sheet(tmp_path / "rejects.xlsx")
    assert [sheet.cell(i, 1).value for i in range(2, 27)] == [str(i) for i in range(25)]
    assert sheet.cell(27, 1).value == "35 more rows are in rejects.csv, which holds all 60."
    assert (sheet.max_row, sheet.auto_filter.ref) == (27, "A1:G26")


def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(rejects, "WORKBOOK_ROWS", 100)

    def peak(rows):
        frame = pl.DataFrame({"row_key": [f"{i:08d}" for i in range(rows)]}).select(
            "row_key",
            state=pl.lit("rejected"),
            reason=pl.lit("phone_empty"),
            detail=pl.lit("x" * 40),
            batch=pl.lit(None, pl.Int64),
        )
        files = []
        for number, part in enumerate(frame.iter_slices(50_000)):
            part.write_parquet(files_path := tmp_path / f"{rows}-{number}.parquet")
            files.append(files_path)
        tracemalloc.start()
        assert write_rejects(files, tmp_path) == rows
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(400_000) < 2 * peak(50_000) + 1_000_000
