"""Files of fixed rejects: what people really save, and what is refused with its place and the rule."""

from __future__ import annotations

import io
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from include import fixed
from include.fixed import FixedFile, FixedFileError, read_fixed
from include.leads.reasons import REASONS
from tests.proof.lib.fixed import with_cell
from tests.proof.lib.planted import FIRST, LAST


def book(*rows: list) -> bytes:
    made = Workbook()
    sheet = made.active
    for row in rows:
        sheet.append(row)
    content = io.BytesIO()
    made.save(content)
    return content.getvalue()


def values(file: FixedFile) -> dict[str, dict[str, str]]:
    return {fix.row_key: fix.values for fix in file.fixes}


def test_a_workbook_as_excel_saves_it():
    """Numbers for phones and keys, a date, text; our own columns, an empty column and an empty row in between."""
    content = book(
        ["row_key", "code", "phone1", None, "data.zip", "how_to_fix", "data.born"],
        [101, "phone_empty", 2012000001, None, "07001", "x", date(1990, 1, 2)],
        [None, None, None, None, None, None, None],
        ["102", "phone_empty", " 201-200-0002\u00a0", None, 7001.0, "x", None],
        ["103", "key_missing", None, None, None, "x", True],
    )
    file = read_fixed("Fixed.XLSX", content)
    assert values(file) == {
        "101": {"phone1": "2012000001", "data.zip": "07001", "data.born": "1990-01-02T00:00:00"},
        "102": {"phone1": "201-200-0002", "data.zip": "7001"},
        "103": {"data.born": "true"},
    }
    assert [fix.row for fix in file.fixes] == [2, 4, 5]
    assert file.columns == ("phone1", "data.zip", "data.born") and not file.problems


@pytest.mark.parametrize(
    "text",
    [
        "row_key,phone1,data.note\r\n1,2012000001,\"a, b\"\r\n'-2,'+12012000002,x\r\n",
        "row_key;phone1;data.note\n1;2012000001;a, b\n'-2;'+12012000002;x\n",
        "row_key\tphone1\tdata.note\n1\t2012000001\ta, b\n'-2\t'+12012000002\tx\n",
    ],
    ids=["comma", "semicolon", "tab"],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_in_each_way_of_saving_it(text, mark):
    assert values(read_fixed("a.csv", (mark + text).encode())) == {
        "1": {"phone1": "2012000001", "data.note": "a, b"},
        "-2": {"phone1": "+12012000002", "data.note": "x"},
    }


def test_rows_that_cannot_be_used_say_where_and_why():
    content = book(
        ["row_key", "phone1", "data.note"],
        ["1", "=A1", "x"],
        [None, "2012000001", None],
        ["2", "2012000002", "y" * 4001],
        ["3", "2012000003", None],
        ["3", "2012000004", None],
        ["4", "2012000005", None],
    )
    file = read_fixed("a.xlsx", content)
    assert values(file) == {"4": {"phone1": "2012000005"}}
    assert [(one.row_key, one.code, one.detail) for one in file.problems] == [
        ("1", "fix_cell", "row 2, column phone1: a formula; write its value"),
        ("row 3", "fix_no_key", "row 3, column row_key: empty"),
        ("2", "fix_cell", "row 4, column data.note: more than 4,000 characters"),
        ("3", "fix_repeated", "row 5: 2 rows have this row_key"),
        ("3", "fix_repeated", "row 6: 2 rows have this row_key"),
    ]
    assert all(REASONS[one.code].state == "rejected" for one in file.problems)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.pdf", b"", r"must be a workbook \(.xlsx\) or a CSV"),
        ("a.xlsx", b"row_key,phone1\n", "no workbook that can be opened"),
        ("a.csv", b"", "one of them must be row_key"),
        ("a.csv", b"key,phone1\n1,2\n", "one of them must be row_key"),
        ("a.csv", b"row_key,code\n1,x\n", "There is no column to fix"),
        ("a.csv", b"row_key,phone,lead_id\n1,2,3\n", "Column 2, 3 cannot be fixed"),
        ("a.csv", b"row_key,data.\n1,2\n", "Column 2 cannot be fixed"),
        ("a.csv", b"row_key,phone1,phone1\n1,2,3\n", "Column 2 stands there twice"),
        ("a.csv", b"row_key,phone1\n1,M\xfcller\n", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_to_change(name, content, says):
    with pytest.raises(FixedFileError, match=says):
        read_fixed(name, content)


@pytest.mark.parametrize("kind", ["n", "d", "s", "b"])
def test_a_cell_that_is_not_what_it_says_is_no_error_of_the_library(kind):
    """Whose words would be those of the cell."""
    good = book(["row_key", "phone1"], ["1", "2012000001"])
    with pytest.raises(FixedFileError, match="cannot be read behind row 2") as raised:
        read_fixed("a.xlsx", with_cell(good, f"{FIRST} {LAST}", kind))
    assert FIRST not in str(raised.value) and raised.value.__cause__ is None


def test_a_file_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(fixed, "MAX_ROWS", 2)
    assert len(read_fixed("a.csv", b"row_key,phone1\n1,2\n2,3\n").fixes) == 2
    with pytest.raises(FixedFileError, match="more than 2 rows"):
        read_fixed("a.csv", b"row_key,phone1\n1,2\n2,3\n3,4\n")
    with pytest.raises(FixedFileError, match="more than 50 MB"):
        read_fixed("a.csv", b" " * (fixed.MAX_BYTES + 1))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["1", "2", "3", ""]), st.sampled_from(["", "5", "=1", "x" * 4001])),
        max_size=8,
    )
)
def test_every_row_ends_somewhere(rows):
    """As a fix or as a problem, once; a row without anything in it is none."""
    file = read_fixed("a.xlsx", book(["row_key", "phone1"], *map(list, rows)))
    meant = [row for row in rows if any(row)]
    # openpyxl makes a formula of what begins with =; nothing else of a row is empty then.
    assert len(file.fixes) + len(file.problems) == len([row for row in meant if row != ("", "=1")])
    assert len({fix.row_key for fix in file.fixes}) == len(file.fixes)
