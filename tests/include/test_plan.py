"""What a plan sends: columns and cells, as they arrive."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.include.plans import APPEND, UPDATE, applied, held, keys, lead, payload, plan, recipe


def test_the_first_replace(tmp_path):
    out = tmp_path / "a"
    made = plan(out, [lead(n) for n in range(5)])
    assert made["decision"] == "apply"
    counts = {
        name: made[name] for name in ("now", "after", "added", "changed", "unchanged", "removed", "to_send")
    }
    assert counts == {
        "now": None,
        "after": 5,
        "added": 5,
        "changed": 0,
        "unchanged": 0,
        "removed": 0,
        "to_send": 5,
    }
    assert payload(out) == [
        {"number1": f"201200{n:04d}", "key": f"C{n}", "zip": f"{n:05d}"} for n in range(5)
    ]
    assert keys(out) == [str(n) for n in range(5)]
    assert json.loads((out / "plan.json").read_text()) == made


def test_no_leads_make_a_payload_with_a_header_only(tmp_path):
    out = tmp_path / "a"
    made = plan(out, [])
    assert (out / "payload.csv").read_bytes() == b"number1,key,zip\n"
    assert (made["to_send"], keys(out), held(out).height) == (0, [], 0)


def test_leads_without_ten_digits_are_rejected(tmp_path):
    out = tmp_path / "a"
    made = plan(out, [lead(0), lead(1, national=None), lead(2, national=None), lead(3)])
    assert made["decided"] == {"rejected": {"not_ten_digits": 2}}
    assert (made["kept"], made["to_send"], keys(out)) == (2, 2, ["0", "3"])
    assert held(out).select("row_key", "state", "reason").rows() == [
        ("1", "rejected", "not_ten_digits"),
        ("2", "rejected", "not_ten_digits"),
    ]


def test_an_append_by_unique_id_rejects_leads_without_one(tmp_path):
    """On top of those that the clean step has rejected for the same reason."""
    out = tmp_path / "a"
    rows = [
        lead(0),
        lead(1, customer_key=None),
        lead(2, customer_key=""),
        lead(3, national=None, customer_key=""),
    ]
    made = plan(out, rows, recipe=UPDATE, decided={"rejected": {"key_missing": 4}})
    assert made["decided"] == {"rejected": {"key_missing": 6, "not_ten_digits": 1}}
    assert keys(out) == ["0"]
    assert plan(tmp_path / "b", rows, recipe=APPEND)["to_send"] == 3


def test_the_vendor_has_the_last_word_on_the_cells(tmp_path):
    def shape(leads, cells):
        shaped = cells.with_columns(zip="z" + pl.col("zip"))
        wrong = leads.select(problem=pl.when(pl.col("customer_key") == "C2").then(pl.lit("vendor_rejected")))[
            "problem"
        ]
        return shaped, wrong, {"zip_marked": len(cells)}

    rows = [lead(1), lead(2), lead(3, national=None)]
    made = plan(tmp_path / "a", rows, recipe=recipe(shape=shape))
    assert payload(tmp_path / "a") == [{"number1": "2012000001", "key": "C1", "zip": "z00001"}]
    assert keys(tmp_path / "a") == ["1"]
    assert made["decided"] == {"rejected": {"vendor_rejected": 1, "not_ten_digits": 1}}
    assert dict(held(tmp_path / "a").select("row_key", "reason").iter_rows()) == {
        "2": "vendor_rejected",
        "3": "not_ten_digits",
    }
    assert made["changes"] == {"zip_marked": 3}
    # The shaped cells are what is compared with what stands on the list.
    again = plan(
        tmp_path / "b", rows, recipe=recipe(replaces=False, shape=shape), before=applied(tmp_path / "a", made)
    )
    assert (again["added"], again["unchanged"]) == (0, 1)


@pytest.mark.parametrize(
    "target", ["row_key", "row_hash", "before", "row", "phone", "with,comma", 'with "quote"']
)
def test_target_columns_of_any_name(tmp_path, target):
    out = tmp_path / "a"
    plan(out, [lead(1)], recipe=recipe(columns=(("number1", "phone"), (target, "customer_key"))))
    assert payload(out) == [{"number1": "2012000001", target: "C1"}]


SOURCES = st.sampled_from(["zip", "a b", "a.b", 'a"b', "a'b", "a[0]", "é", "$", "*", "?"])

CELLS = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    st.sampled_from(
        ['"', '""', ",", "\n", "\r\n", "\r", " ", "=1+1", "'", "\ufeff", "\u2028", "null", "\\", "\x1f"]
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    field=SOURCES,
    cells=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
)
def test_the_payload_parses_back_to_exactly_the_rows(field, cells):
    """Whatever stands in a cell: RFC 4180, read by Python's own reader; an empty cell and none are the same."""
    rows = [
        lead(n, customer_key=key, data=None if value is None else json.dumps({field: value, "x": 1}))
        for n, (key, value) in enumerate(cells)
    ]
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "a"
        columns = (("number1", "phone"), ("key", "customer_key"), ("f", f"data.{field}"), ("id", "lead_id"))
        plan(out, rows, recipe=recipe(columns=columns))
        expected = [
            [f"201200{n:04d}", key or "", value or "", str(n)] for n, (key, value) in enumerate(cells)
        ]
        with (out / "payload.csv").open(newline="", encoding="utf-8") as file:
            assert list(csv.reader(file, strict=True)) == [["number1", "key", "f", "id"], *expected]


@pytest.mark.parametrize(
    ("data", "cell"),
    [
        ('{"zip": 7001}', "7001"),
        ('{"zip": true}', "true"),
        ('{"zip": null}', ""),
        ('{"zip": {"a": 1}}', '{"a":1}'),
        ("{}", ""),
        ("[]", ""),
        ("no json", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_free_fields_that_are_no_text(tmp_path, data, cell):
    out = tmp_path / "a"
    plan(out, [lead(1, data=data)])
    assert payload(out)[0]["zip"] == cell
