"""The cells of a call data file: every rule of the template, row by row."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.leads.reasons import REASONS
from include.leads.rules import CleanRules
from include.leads.schema import LEAD_COLUMNS
from include.vendors.isales_rows import COLUMNS, LONGEST, PRIORITY, RowRules, session_id, shape

US, GB = "(201) 200-0001", "+44 20 7946 0958"


def leads(*rows: dict[str, Any]) -> pl.DataFrame:
    filled = [{"row_key": str(n), "phone1": US} | row for n, row in enumerate(rows)]
    return pl.DataFrame([dict.fromkeys(LEAD_COLUMNS) | row for row in filled], schema=LEAD_COLUMNS)


def shaped(
    *rows: dict[str, Any], cells: dict[str, list[str | None]] | None = None, **rules: Any
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Cells and reasons of these leads."""
    found = leads(*rows)
    text = pl.DataFrame(
        {"called": [US] * found.height, **(cells or {})},
        schema_overrides=dict.fromkeys(cells or {}, pl.String),
    )
    out, reasons, _ = shape(found, text, RowRules(**{"clean": CleanRules()} | rules))
    assert set(out.dtypes) <= {pl.String}
    assert out.columns == [name for name in (*COLUMNS, *PRIORITY) if name in out.columns]
    assert set(reasons) - {None} <= set(REASONS)
    return out.to_dicts(), reasons.to_list()


def numbers(cell: str) -> list[Any]:
    return [entry["calledNo"] for entry in json.loads(cell)]


def test_the_template():
    assert list(COLUMNS.values()) == [
        "sessionId (Optional)",
        "called (Mandatory)",
        "caller (Optional)",
        "callData (Optional)",
        "customField (Optional)",
        "recycleTime (Optional)",
    ]


def test_called_is_real_json_with_text_and_no_plus():
    ((row,), (reason,)) = shaped({})
    assert row == {"sessionId": "0", "called": '[{"calledNo":"12012000001"}]'} and reason is None


@pytest.mark.parametrize(
    ("rules", "number"),
    [
        ({}, "12012000001"),
        ({"prefix": "00"}, "0012012000001"),
        ({"numbers": "national"}, "2012000001"),
        ({"numbers": "national", "prefix": "9"}, "92012000001"),
    ],
)
def test_forms_of_a_number(rules, number):
    ((row,), _) = shaped({}, **rules)
    assert numbers(row["called"]) == [number]


def test_a_national_flow_rejects_numbers_of_other_countries():
    _, reasons = shaped({"phone1": GB}, {"phone1": GB, "phone2": US}, {}, numbers="national")
    assert reasons == ["other_country", "other_country", None]
    ((row,), reasons) = shaped(
        {"phone1": "020 7946 0958"}, numbers="national", prefix="0", clean=CleanRules(region="GB")
    )
    assert numbers(row["called"]) == ["02079460958"] and reasons == [None]


def test_several_numbers_of_one_customer_in_order_each_once():
    row = {"phone1": "nobody", "phone2": US, "phone3": GB}
    rules = {"every_number": True, "delay_seconds": 60, "kinds": {"phone3": 'mo"bile'}}
    ((cells,), _) = shaped(row, **rules)
    assert json.loads(cells["called"]) == [
        {"calledNo": "12012000001"},
        {"calledNo": "442079460958", "delayTime": 60, "type": 'mo"bile'},
    ]
    ((cells,), _) = shaped({"phone1": US, "phone2": "2012000001", "phone3": "+12012000001"}, **rules)
    assert json.loads(cells["called"]) == [{"calledNo": "12012000001"}]
    ((cells,), _) = shaped({"phone1": US, "phone2": GB}, every_number=True, numbers="national")
    assert numbers(cells["called"]) == ["2012000001"], "the other one cannot be written"


def test_only_the_first_usable_number_unless_all_are_wanted():
    ((row,), _) = shaped({"phone1": "x", "phone2": GB, "phone3": US}, kinds={"phone2": "home"})
    assert json.loads(row["called"]) == [{"calledNo": "442079460958", "type": "home"}]
    clean = CleanRules(phones=("phone3", "phone1"))
    ((row,), _) = shaped({"phone1": US, "phone3": GB}, clean=clean, every_number=True)
    assert numbers(row["called"]) == ["442079460958", "12012000001"]


def test_a_lead_s_own_region():
    clean = CleanRules(region_field="country")
    ((row,), _) = shaped({"phone1": "020 7946 0958", "data": '{"country": "gb"}'}, clean=clean)
    assert numbers(row["called"]) == ["442079460958"]


def test_session_ids_are_stable_and_fit():
    long = "k" * 33
    rows, reasons = shaped({"row_key": "k" * 32}, {"row_key": long}, {"row_key": "é"})
    assert [row["sessionId"] for row in rows] == ["k" * 32, session_id(long), "é"]
    assert (
        len(session_id(long)) == 32 and session_id(long) != session_id(long + "k") and reasons == [None] * 3
    )
    rows, reasons = shaped({"row_key": "😀" * 16}, {"row_key": "😀" * 17})  # as Java counts: 32 and 34
    assert [row["sessionId"] for row in rows] == ["😀" * 16, session_id("😀" * 17)] and reasons == [None] * 2
    assert len(session_id("😀" * 17)) == 32
    rows, reasons = shaped({}, {}, {}, cells={"sessionId": ["C-1", None, "x" * 33]})
    assert [row["sessionId"] for row in rows] == ["C-1", "1", "x" * 33]
    assert reasons == [None, None, "text_too_long"]


@pytest.mark.parametrize("name", ["caller", "callData", "customField"])
def test_lengths_as_java_counts(name):
    most = LONGEST[name]
    texts = ["x" * most, "x" * (most + 1), "é" * most, "😀" * (most // 2), "😀" * (most // 2 + 1)]
    _, reasons = shaped(*[{}] * 5, cells={name: texts})
    assert reasons == [None, "text_too_long", None, None, "text_too_long"]


def test_call_data_gathers_fields_into_one_object():
    cells = {"callData.state": ["NJ", None, ""], "callData.a name": ['O"Brien\n', "x", None]}
    rows, reasons = shaped({}, {}, {}, cells=cells, json_only=True)
    assert [row["callData"] for row in rows] == [
        '{"state":"NJ","a name":"O\\"Brien\\n"}',
        '{"a name":"x"}',
        None,
    ]
    assert reasons == [None] * 3


def test_call_data_for_an_intelligent_ivr_must_be_json():
    texts = ['{"a": 1}', "'a'", None, "7", "{"]
    assert shaped(*[{}] * 5, cells={"callData": texts}, json_only=True)[1] == [
        None,
        "not_json",
        None,
        None,
        "not_json",
    ]
    assert shaped(*[{}] * 5, cells={"callData": texts})[1] == [None] * 5


@pytest.mark.parametrize(
    ("written", "local"),
    [
        ("2026-11-30 12:00:00", "2026-11-30 12:00:00"),
        ("2026-11-30T12:00", "2026-11-30 12:00:00"),
        ("2026-11-30", "2026-11-30 00:00:00"),
        (" 2026-11-30 12:00:00.123456 ", "2026-11-30 12:00:00"),
        ("2026-11-30T12:00:00Z", "2026-11-30 07:00:00"),
        ("2026-11-30 12:00:00.000000+00:00", "2026-11-30 07:00:00"),
        ("2026-11-30T12:00+0200", "2026-11-30 05:00:00"),
        ("2026-11-01 01:30:00", "2026-11-01 01:30:00"),
        ("2026-03-08 02:30:00", None),
        ("30.11.2026", None),
        ("soon", None),
    ],
)
def test_recycle_time_in_the_tenant_s_zone(written, local):
    ((row,), (reason,)) = shaped({}, cells={"recycleTime": [written]}, zone="America/New_York")
    assert row["recycleTime"] == local and reason == (None if local else "time_unreadable")


def test_an_empty_time_is_absent():
    rows, reasons = shaped({}, {}, cells={"recycleTime": [None, ""]})
    assert [row["recycleTime"] for row in rows] == [None, None] and reasons == [None, None]


def test_a_caller_for_all_and_a_priority_on_request():
    ((row,), _) = shaped({}, cells={"priority": ["3"]}, caller="4001")
    assert (row["caller"], row["priority"]) == ("4001", "3")


def test_what_no_workbook_holds_is_rejected_here():
    assert shaped({}, {}, cells={"customField": ["a\uffff", "a"]})[1] == ["text_illegal", None]


def test_rows_are_counted_that_were_changed():
    _, _, changes = shape(
        leads({"row_key": "k" * 40}, {}), pl.DataFrame({"called": [US, US]}), RowRules(CleanRules())
    )
    assert changes == {"session_id_hashed": 1}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.none() | st.sampled_from([US, GB, "x", "2012000002", "+1 201 200 0003"])] * 3),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
    st.sampled_from(["international", "national"]),
)
def test_called_always_holds_what_the_vendor_takes(phones, every, form):
    rows = [dict(zip(("phone1", "phone2", "phone3"), found, strict=True)) for found in phones]
    cells, reasons = shaped(*rows, every_number=every, numbers=form, delay_seconds=7200)
    for row, reason, found in zip(cells, reasons, phones, strict=True):
        usable = [phone for phone in found if phone not in (None, "x")]
        if reason is None and usable:
            listed = json.loads(row["called"])
            texts = [entry["calledNo"] for entry in listed]
            assert all(isinstance(text, str) and text.isdigit() and len(text) <= 24 for text in texts)
            assert 1 <= len(set(texts)) == len(texts) <= (len(usable) if every else 1)
            assert all(0 <= entry.get("delayTime", 0) <= 7200 for entry in listed)
