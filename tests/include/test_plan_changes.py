"""What a plan finds changed, and decides."""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.approval import Approval
from include.guards import GuardLimits, Refusal
from include.leads.reasons import REASONS
from include.plan import HELD_REASON, Before, plan_hash
from tests.include.plans import (
    APPEND,
    NOW,
    SOURCE_TIME,
    UPDATE,
    applied,
    held,
    keys,
    lead,
    payload,
    plan,
    recipe,
)

# What changes


@st.composite
def nights(draw):
    """What was applied, and what comes now: leads by key, each with a version of its cells."""
    numbers = st.dictionaries(st.integers(0, 12), st.integers(0, 2), max_size=10)
    return draw(numbers), draw(numbers)


def rows_of(versions):
    return [lead(n, data=json.dumps({"zip": f"v{v}"})) for n, v in versions.items()]


@settings(max_examples=40, deadline=None)
@given(night=nights(), parts=st.integers(1, 3), how=st.sampled_from(["replace", "append", "update"]))
def test_what_changes_is_what_a_plain_loop_finds(night, parts, how):
    old, new = night
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        by = {"replace": recipe(), "append": APPEND, "update": UPDATE}[how]
        before = applied(place / "old", plan(place / "old", rows_of(old), recipe=by))
        if how != "replace":  # an append's list may hold more than it knows of
            before = Before(keys=before.keys, plan_hash=before.plan_hash)
        made = plan(place / "new", rows_of(new), recipe=by, before=before, parts=parts)

        added = [n for n in new if n not in old]
        changed = [n for n in new if n in old and new[n] != old[n]]
        same = [n for n in new if n in old and new[n] == old[n]]
        gone = [n for n in old if n not in new]
        assert (made["added"], made["changed"], made["unchanged"]) == (len(added), len(changed), len(same))
        assert made["removed"] == (len(gone) if how == "replace" else 0)
        goes = {"replace": list(new), "append": added, "update": [n for n in new if n not in same]}[how]
        assert keys(place / "new") == [str(n) for n in goes]
        assert [row["key"] for row in payload(place / "new")] == [f"C{n}" for n in goes]
        assert made["to_send"] == len(goes)
        stays = held(place / "new")
        assert sorted(stays["row_key"], key=int) == sorted((str(n) for n in new if n not in goes), key=int)
        assert set(stays["reason"]) <= {"already_delivered"}
        assert made["held"] == ({"already_delivered": stays.height} if stays.height else {})
        on_list = set(new) if how == "replace" else set(new) | set(old)
        assert sorted(keys(place / "new", "keys.parquet"), key=int) == sorted(map(str, on_list), key=int)
        assert made["after"] == (len(new) if how == "replace" else len(added))
        # A second time there is nothing to do.
        latest = before if made["decision"] == "unchanged" else applied(place / "new", made)
        again = plan(place / "again", rows_of(new), recipe=by, before=latest, parts=parts)
        assert again["decision"] == "unchanged"


def test_a_column_of_another_name_is_a_change(tmp_path):
    made = plan(tmp_path / "a", [lead(1)], recipe=UPDATE)
    renamed = recipe(
        columns=(("number1", "phone"), ("key", "customer_key"), ("zip2", "data.zip")),
        replaces=False,
        updates=True,
        unique="key",
    )
    again = plan(tmp_path / "b", [lead(1)], recipe=renamed, before=applied(tmp_path / "a", made))
    assert (again["changed"], again["to_send"]) == (1, 1)


def test_an_empty_cell_and_none_are_the_vendors_to_tell(tmp_path):
    """For us they differ: the row is sent again rather than left alone."""
    made = plan(tmp_path / "a", [lead(1, customer_key=None)], recipe=recipe(replaces=False, updates=True))
    before = applied(tmp_path / "a", made)
    again = plan(
        tmp_path / "b", [lead(1, customer_key="")], recipe=recipe(replaces=False, updates=True), before=before
    )
    assert again["changed"] == 1


APART = recipe(replaces=False, updates=True, unique="key", apart=True)


@settings(max_examples=20, deadline=None)
@given(night=nights(), parts=st.integers(1, 3))
def test_what_changes_by_a_call_of_its_own_comes_last(night, parts):
    old, new = night
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        before = applied(place / "old", plan(place / "old", rows_of(old), recipe=APART))
        made = plan(place / "new", rows_of(new), recipe=APART, before=before, parts=parts)
        added = [n for n in new if n not in old]
        changed = [n for n in new if n in old and new[n] != old[n]]
        assert keys(place / "new") == [str(n) for n in added + changed]
        assert [row["key"] for row in payload(place / "new")] == [f"C{n}" for n in added + changed]
        assert (made["to_send"], made["to_update"]) == (len(added) + len(changed), len(changed))
        hashes = dict(pl.read_parquet(place / "old" / "keys.parquet").iter_rows())
        there = dict(pl.read_parquet(place / "new" / "sent.parquet").select("row_key", "before").iter_rows())
        assert there == {str(n): hashes.get(str(n)) for n in added + changed}
        shown = [sample["row_key"] for sample in made["samples"]]
        assert shown == [str(n) for n in added + changed][:5], "those that go first"


def test_how_many_rows_update_is_part_of_the_plan(tmp_path):
    before = applied(tmp_path / "a", plan(tmp_path / "a", rows_of({1: 0}), recipe=APART))
    made = plan(tmp_path / "b", rows_of({1: 1, 2: 0}), recipe=APART, before=before)
    assert made["to_update"] == 1 and plan_hash(made) == made["hash"]
    assert plan_hash(made | {"to_update": 0}) != made["hash"] != plan_hash(made | {"to_update": 2})


def test_a_changed_row_that_is_held_is_changed_still(tmp_path):
    before = applied(tmp_path / "a", plan(tmp_path / "a", rows_of({1: 0}), recipe=APPEND))
    made = plan(tmp_path / "b", rows_of({1: 1, 2: 0}), recipe=APPEND, before=before)
    assert (made["changed"], made["to_send"]) == (1, 1)
    later = plan(tmp_path / "c", rows_of({1: 1, 2: 0}), recipe=UPDATE, before=applied(tmp_path / "b", made))
    assert keys(tmp_path / "c") == ["1"] and later["changed"] == 1


@pytest.mark.parametrize("by", [UPDATE, APART])
def test_changing_what_is_there_is_destructive(tmp_path, by):
    asked = Approval(ask="destructive")
    first = plan(tmp_path / "a", rows_of({1: 0}), recipe=by, approval=asked)
    more = plan(
        tmp_path / "b",
        rows_of({1: 0, 2: 0}),
        recipe=by,
        approval=asked,
        before=applied(tmp_path / "a", first),
    )
    assert (first["decision"], more["decision"]) == ("apply", "apply"), "nothing is lost by adding"
    changes = plan(
        tmp_path / "c", rows_of({1: 1}), recipe=by, approval=asked, before=applied(tmp_path / "a", first)
    )
    assert changes["decision"] == "ask"


# What is decided


def test_a_replace_is_unchanged_only_after_that_very_plan(tmp_path):
    rows = [lead(n) for n in range(3)]
    made = plan(tmp_path / "a", rows)
    before = applied(tmp_path / "a", made)
    assert plan(tmp_path / "b", rows, before=before)["decision"] == "unchanged"
    touched = Before(rows=3, keys=before.keys, plan_hash=None)  # something else was sent since
    assert plan(tmp_path / "c", rows, before=touched)["decision"] == "apply"
    newer = plan(tmp_path / "d", rows, before=before, source_time=SOURCE_TIME + timedelta(hours=1))
    assert newer["decision"] == "apply"
    assert plan(tmp_path / "e", rows[:2], before=before)["decision"] == "apply"
    assert plan(tmp_path / "f", rows, before=before, action="plan")["decision"] == "unchanged"


def test_an_append_with_nothing_new_is_unchanged_however_new_its_source(tmp_path):
    rows = [lead(n) for n in range(3)]
    before = applied(tmp_path / "a", plan(tmp_path / "a", rows, recipe=APPEND))
    again = plan(
        tmp_path / "b",
        rows,
        recipe=APPEND,
        before=before,
        source_time=SOURCE_TIME + timedelta(hours=2),
        limits=GuardLimits(),
    )
    assert (again["decision"], again["refusals"], again["held"]) == (
        "unchanged",
        [],
        {"already_delivered": 3},
    )


def test_an_append_of_nothing_at_all_is_refused_unless_that_is_allowed(tmp_path):
    strict = plan(tmp_path / "a", [], recipe=APPEND, limits=GuardLimits())
    assert [r["guard"] for r in strict["refusals"]] == ["empty_source"]
    assert plan(tmp_path / "b", [], recipe=APPEND)["decision"] == "unchanged"


def test_guards_refuse_to_apply_and_only_warn_who_plans(tmp_path):
    rows = [lead(n) for n in range(3)]
    old = NOW - timedelta(days=9)
    never = Approval(ask="never")
    refused = plan(tmp_path / "a", rows, limits=GuardLimits(), source_time=old, approval=never)
    asked = plan(tmp_path / "ask", rows, limits=GuardLimits(), source_time=old)
    assert asked["decision"] == "ask" and asked["hash"] != refused["hash"]
    assert (refused["decision"], [r["guard"] for r in refused["refusals"]]) == ("refused", ["stale_source"])
    planned = plan(tmp_path / "b", rows, limits=GuardLimits(), source_time=old, action="plan")
    assert planned["decision"] == "plan_only" and planned["refusals"] == refused["refusals"]
    assert (tmp_path / "b" / "payload.csv").exists()  # to be looked at


def test_refusals_of_the_ledger_come_first(tmp_path):
    made = plan(tmp_path / "a", [], limits=GuardLimits(), extra_refusals=[Refusal("paused", "It is paused.")])
    assert [r["guard"] for r in made["refusals"]] == ["paused", "empty_source"]
    assert made["decision"] == "refused"


def test_suppressed_and_repeated_leads_count_as_fit_to_call(tmp_path):
    decided = {
        "rejected": {"duplicate_key": 2, "duplicate_phone": 1, "phone_letters": 4},
        "suppressed": {"x": 3},
    }
    later = {"held": {"outside_calling_hours": 5, "zone_unknown": 5}}
    assert (
        plan(tmp_path / "c", [lead(0)], decided=later, limits=GuardLimits(min_valid_percent=54))["decision"]
        == "apply"
    )  # 6 of 11
    assert (
        plan(tmp_path / "d", [lead(0)], decided=later, limits=GuardLimits(min_valid_percent=55))["decision"]
        == "ask"
    )
    limits = GuardLimits(min_valid_percent=60)
    fit = plan(tmp_path / "a", [lead(0)], decided=decided, limits=limits)  # 7 of 11
    assert fit["decision"] == "apply"
    limits = GuardLimits(min_valid_percent=64)
    assert plan(tmp_path / "b", [lead(0)], decided=decided, limits=limits)["decision"] == "ask"


def test_the_shrink_is_measured_against_what_was_applied(tmp_path):
    limits = GuardLimits(max_shrink_percent=30)
    before = Before(rows=10)
    assert (
        plan(tmp_path / "a", [lead(n) for n in range(7)], before=before, limits=limits)["decision"] == "apply"
    )
    made = plan(tmp_path / "b", [lead(n) for n in range(6)], before=before, limits=limits)
    assert [r["guard"] for r in made["refusals"]] == ["shrink"]


def test_every_decision_has_a_reason_for_its_rows():
    assert {REASONS[reason].state for reason in HELD_REASON.values()} == {"held"}
