"""The rows of a campaign: what is shaped, what is rejected and why."""

from __future__ import annotations

import datetime as dt
import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.campaign.rows import RowRules, shape
from include.leads.reasons import REASONS
from include.vendors.ozonetel import MAX_ROW_CHARS, NAME_CHARS

US = RowRules("national", "US", "clean")


def rows(rules: RowRules = US, **columns: list[str | None]):
    height = max(map(len, columns.values()))
    cells = {"PhoneNumber": ["+12012000001"] * height} | columns
    frame = pl.DataFrame(cells, schema=dict.fromkeys(cells, pl.String))
    out, problem, changed = shape(rules, pl.DataFrame(), frame)
    assert out.columns == frame.columns and len(problem) == out.height == frame.height
    assert set(problem.drop_nulls()) <= set(REASONS)
    return out, problem.to_list(), changed


def problems(rules: RowRules = US, **columns):
    return rows(rules, **columns)[1]


def test_a_number_goes_in_the_form_the_flow_asks_for():
    numbers = ["+12012000001", "+919876543210", "+1868201200"]
    out, problem, _ = rows(PhoneNumber=numbers)
    assert out["PhoneNumber"][0] == "2012000001"
    assert problem == [None, "other_country", None]
    india = RowRules("national", "IN", "clean")
    out, problem, _ = rows(india, PhoneNumber=numbers)
    assert out["PhoneNumber"][1] == "9876543210" and problem == ["other_country", None, "other_country"]
    out, problem, _ = rows(RowRules("international", "US", "clean"), PhoneNumber=numbers)
    assert out["PhoneNumber"].to_list() == ["12012000001", "919876543210", "1868201200"]
    assert problem == [None] * 3


NAMES = ["O'Neil", "José  Núñez", "Smith, A. & B.", "Ünal–Ço", "आशा", "ok (a).+$%-:_  9", "a\tb\n", None, ""]


def test_names_are_cleaned_and_the_changes_counted():
    out, problem, changed = rows(Name=NAMES)
    assert out["Name"].to_list() == [
        "ONeil", "Jose Nunez", "Smith A. B.", "Unal Co", "", "ok (a).+$%-:_  9", "a b", "", "",
    ]  # fmt: skip
    assert problem == [None] * len(NAMES)
    assert changed == {"names_cleaned": 6}


def test_names_are_rejected_where_the_flow_says_so():
    out, problem, changed = rows(RowRules("national", "US", "reject"), Name=NAMES)
    assert problem == ["name_not_allowed"] * 5 + [None, "name_not_allowed", None, None]
    assert out["Name"].to_list() == [name or "" for name in NAMES] and changed == {}


@settings(deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=20))
def test_a_cleaned_name_is_always_one_the_vendor_takes(names):
    out, problem, _ = rows(Name=names)
    assert all(re.fullmatch(f"[{NAME_CHARS}]*", name) for name in out["Name"])
    assert set(problem) == {None}
    assert all(after == before for before, after in zip(names, out["Name"], strict=True)
               if re.fullmatch(f"[{NAME_CHARS}]*", before))  # fmt: skip


@pytest.mark.parametrize(
    ("value", "fine"),
    [("1", True), ("99", True), ("06", True), ("", True), (None, True), ("0", False), ("100", False), ("-1", False),
     ("1.5", False), ("high", False), (" 5", False)],
)  # fmt: skip
def test_priorities(value, fine):
    assert problems(Priority=[value]) == [None if fine else "priority_not_allowed"]


@pytest.mark.parametrize(
    ("value", "fine"),
    [("2025-12-31", True), ("2024-02-29", True), ("", True), (None, True), ("2025-02-29", False), ("2025-13-01", False),
     ("31-12-2025", False), ("2025-1-1", False), ("2025-12-31T00:00", False), ("soon", False)],
)  # fmt: skip
def test_expiry_dates(value, fine):
    assert problems(ExpiryDate=[value]) == [None if fine else "expiry_not_a_date"]


@settings(deadline=None)
@given(st.dates(dt.date(1900, 1, 1), dt.date(2199, 12, 31)))
def test_every_real_date_is_one(day):
    assert problems(ExpiryDate=[day.isoformat()]) == [None]


def test_agents_and_skills_where_the_campaign_needs_them():
    wise = RowRules("national", "US", "clean", agent_wise=True, skill_wise=True)
    columns = {"AgentId": ["a7", "", " ", "a7"], "skill": ["Sales", "Sales", "Sales", None]}
    assert problems(wise, **columns) == [None, "agent_missing", "agent_missing", "skill_missing"]
    assert problems(**columns) == [None] * 4


def test_the_longest_row():
    room = MAX_ROW_CHARS - len("PhoneNumber") - len("Note") - len("2012000001")
    assert problems(Note=["x" * room, "x" * (room + 1), "é" * room]) == [None, "row_too_long", None]
    shorter = RowRules("national", "US", "clean", max_chars=MAX_ROW_CHARS - 1)
    assert problems(shorter, Note=["x" * (room - 1), "x" * room]) == [None, "row_too_long"]


def test_the_first_reason_that_applies_is_told():
    wrong = problems(PhoneNumber=["+91987"], Priority=["0"], ExpiryDate=["?"], Note=["x" * 3000])
    assert wrong == ["other_country"]
