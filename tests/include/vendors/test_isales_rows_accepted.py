"""What the client's rules let through, the sandbox's server takes: two readings of the template, held to each other."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.leads.rules import CleanRules
from include.leads.schema import LEAD_COLUMNS
from include.sandbox.isales_workbook import read_records
from include.vendors.isales_rows import COLUMNS, PRIORITY, RowRules, shape
from include.workbooks import write_workbook

TEXTS = ("sessionId", "callData", "customField", "priority")
WORDS = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.sampled_from(
        [
            "-", "=1+1", "'", '"', '{"a": 1}', "[1, 2]", "{'a': 1}", "NaN", "[Infinity]", '"\\ud800"', "null", "1e999",
            "007", "a\r\nb", " x ", "_x0041_", "\ufffe", "😀" * 16, "😀" * 17, "x" * 33, "é" * 200, "😀" * 101,
            '{"a": 1} ', '{"a": 1,}', "true", "01", "\x01", "[" * 300 + "]" * 300,
        ]
    ),
)  # fmt: skip
TIMES = st.one_of(
    st.none(),
    st.datetimes().map(str),
    st.sampled_from(
        ["2026-11-21", "2026-11-21T10:00Z", "2026-02-30 10:00:00", "tomorrow", "9999-12-31T23:59:59Z"]
    ),
)
PHONES = st.sampled_from(
    [None, "(201) 200-0001", "2012000002", "+44 20 7946 0958", "+358 40 1234567", "*31#", "x"]
)
LEADS = st.lists(
    st.fixed_dictionaries(
        {
            "row_key": st.text(min_size=1, max_size=40),
            **dict.fromkeys(("phone1", "phone2", "phone3"), PHONES),
            **dict.fromkeys(TEXTS, WORDS),
            "recycleTime": TIMES,
        }
    ),
    min_size=1,
    max_size=8,
)
RULES = st.fixed_dictionaries(
    {
        "json_only": st.booleans(),
        "every_number": st.booleans(),
        "numbers": st.sampled_from(["international", "national"]),
        "prefix": st.sampled_from(["", "00", "9*"]),
        "delay_seconds": st.sampled_from([0, 30, 7200]),
        "caller": st.sampled_from([None, "12012000009"]),
        "kinds": st.sampled_from([{}, {"phone1": "mobile", "phone2": '"'}]),
        "zone": st.sampled_from(["UTC", "Asia/Shanghai", "Europe/Berlin"]),
    }
)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("accepted") / "leads.xlsx"


@settings(max_examples=80, deadline=None)
@given(leads=LEADS, rules=RULES)
def test_no_row_that_we_send_fails_there(book, leads: list[dict[str, Any]], rules: dict[str, Any]):
    frame = pl.DataFrame(
        [
            dict.fromkeys(LEAD_COLUMNS) | {name: row[name] for name in row if name in LEAD_COLUMNS}
            for row in leads
        ],
        schema=LEAD_COLUMNS,
    )
    names = (*TEXTS, "recycleTime")
    cells = pl.DataFrame(
        [{name: row[name] for name in names} for row in leads], schema=dict.fromkeys(names, pl.String)
    )
    cells = cells.insert_column(0, frame["phone1"].alias("called"))
    shaped, reasons, _ = shape(frame, cells, RowRules(clean=CleanRules(), **rules))
    sent = shaped.filter(
        reasons.is_null() & shaped["called"].is_not_null()
    )  # cleaning took leads without a number
    written = write_workbook(book, {**COLUMNS, **PRIORITY}, [sent])
    taken = list(read_records(book, 500_000, call_data_is_json=rules["json_only"]))
    assert len(taken) == written.rows
    failed = [row for row, record in zip(sent.to_dicts(), taken, strict=True) if record is None]
    assert failed == []
    for row, record in zip(sent.to_dicts(), taken, strict=True):
        assert record.cells == {name: text for name, text in row.items() if text not in (None, "", "-")}
