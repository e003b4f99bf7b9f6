"""Each guard at its limit, just below and just above it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from include.guards import GuardLimits, SuppressionAge, check, check_calls

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


def refused(limits=None, **changes):
    """The refusals of an otherwise good load of 100 rows onto a list of 100."""
    facts = {
        "rows_in": 100,
        "rows_valid": 100,
        "rows_after": 100,
        "rows_now": 100,
        "source_time": NOW - timedelta(hours=2),
        "now": NOW,
        "replaces": True,
    }
    return check(GuardLimits(**(limits or {})), **facts | changes)


def names(limits=None, **changes):
    return [refusal.guard for refusal in refused(limits, **changes)]


def test_calls_that_are_too_old_stop_a_load():
    def names(hours):
        as_of = (NOW - timedelta(hours=hours)).isoformat()
        found = check_calls({"source": "calls", "as_of": as_of, "max_age_hours": 36.0}, NOW)
        return [refusal.guard for refusal in found]

    assert check_calls(None, NOW) == []
    assert names(36) == []
    assert names(36.01) == ["calls_age"]


def test_a_good_load_passes():
    assert refused() == []
    assert refused(rows_now=None) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows_in": 0, "rows_valid": 0}, "the source holds no lead"),
        ({"rows_in": 7, "rows_valid": 7}, "no lead is left after cleaning"),
    ],
)
def test_an_empty_load(changes, words):
    [refusal] = refused(rows_after=0, rows_now=None, **changes)
    assert refusal.guard == "empty_source" and words in refusal.text
    assert refused({"allow_empty": True}, rows_after=0, rows_now=None, **changes) == []
    assert refused(rows_after=1, rows_now=None) == []


def test_an_empty_replace_of_a_full_list_is_a_shrink_too():
    assert names(rows_after=0) == ["empty_source", "shrink"]
    assert names({"allow_empty": True}, rows_after=0) == ["shrink"]


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(hours=36) - timedelta(seconds=1), []),
        (timedelta(hours=36), []),
        (timedelta(hours=36, seconds=1), ["stale_source"]),
        (-timedelta(hours=1), []),  # a clock that is a little ahead
    ],
)
def test_the_age_of_the_source(age, expected):
    assert names(source_time=NOW - age) == expected


@pytest.mark.parametrize(("hours", "expected"), [(2.0, []), (1.99, ["stale_source"])])
def test_the_age_limit_of_the_flow(hours, expected):
    assert names({"max_source_age_hours": hours}) == expected


@pytest.mark.parametrize(
    ("valid", "of", "limit", "expected"),
    [
        (50, 100, 50, []),
        (49, 100, 50, ["low_valid_share"]),
        (51, 100, 50, []),
        (0, 100, 0, []),
        (99_999, 100_000, 100, ["low_valid_share"]),
        (100, 100, 100, []),
        (1, 3, 33.34, ["low_valid_share"]),
        (1, 3, 33.33, []),
    ],
)
def test_the_share_of_valid_leads(valid, of, limit, expected):
    assert names({"min_valid_percent": limit}, rows_valid=valid, rows_in=of) == expected


def test_no_leads_have_no_share():
    assert names({"allow_empty": True}, rows_in=0, rows_valid=0, rows_after=0, rows_now=None) == []


@pytest.mark.parametrize(
    ("now", "after", "limit", "expected"),
    [
        (100, 70, 30, []),
        (100, 69, 30, ["shrink"]),
        (100, 71, 30, []),
        (100, 100, 0, []),
        (100, 99, 0, ["shrink"]),
        (100, 150, 0, []),
        (3, 2, 33.34, []),
        (3, 2, 33.33, ["shrink"]),
        (100, 1, 100, []),
        (None, 1, 0, []),
        (0, 1, 0, []),
    ],
)
def test_a_shrink_in_percent(now, after, limit, expected):
    assert names({"max_shrink_percent": limit}, rows_now=now, rows_after=after) == expected


@pytest.mark.parametrize(("after", "expected"), [(81, []), (80, []), (79, ["shrink"]), (60, ["shrink"])])
def test_a_shrink_in_rows(after, expected):
    """One refusal, whichever limit is passed."""
    assert names({"max_shrink_rows": 20}, rows_after=after) == expected


def test_zero_rows_may_be_lost_when_the_limit_says_so():
    assert names({"max_shrink_rows": 0}, rows_after=99) == ["shrink"]
    assert names({"max_shrink_rows": 0}, rows_after=100) == []


def test_an_append_cannot_shrink():
    assert names({"max_shrink_percent": 0, "max_shrink_rows": 0}, rows_after=1, replaces=False) == []


@pytest.mark.parametrize(
    ("age", "limit", "expected"),
    [
        (31, 31, []),
        (30.9, 31, []),
        (31.1, 31, ["suppression_age"]),
        (0, 0, []),
        (1, 0, ["suppression_age"]),
        (None, 31, ["suppression_age"]),
        (None, None, []),
        (10_000, None, []),
    ],
)
def test_the_age_of_a_suppression_list(age, limit, expected):
    assert names(suppression=[SuppressionAge("stop", age, limit)]) == expected


def test_a_list_without_a_limit_does_not_hide_the_next_one():
    lists = [SuppressionAge("own", None, None), SuppressionAge("state", 31.0, 30)]
    assert names(suppression=lists) == ["suppression_age"]


def test_the_limits_of_a_flow_that_sets_none():
    limits = GuardLimits()
    assert not limits.allow_empty
    assert (limits.max_shrink_percent, limits.max_shrink_rows, limits.min_valid_percent) == (30, None, 50)
    assert (limits.max_source_age_hours, limits.max_plan_age_hours) == (36, 12)


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("max_shrink_percent", (0, 100), (-0.5, 100.5)),
        ("max_shrink_rows", (0, 10**9), (-1,)),
        ("max_source_age_hours", (0.5,), (0,)),
        ("min_valid_percent", (0, 100), (-0.5, 100.5)),
        ("max_plan_age_hours", (0.5,), (0,)),
    ],
)
def test_how_far_a_limit_may_be_moved(name, allowed, refused):
    for value in allowed:
        assert getattr(GuardLimits(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValidationError, match=name):
            GuardLimits(**{name: value})


def test_every_list_and_every_guard_is_asked():
    lists = [SuppressionAge("a", 9, 5), SuppressionAge("b", 1, 5), SuppressionAge("c", None, 5)]
    refusals = refused(rows_valid=1, rows_after=0, source_time=NOW - timedelta(days=9), suppression=lists)
    guards = ["empty_source", "stale_source", "low_valid_share", "shrink", *["suppression_age"] * 2]
    assert [refusal.guard for refusal in refusals] == guards
    assert "Suppression list a is 9.0 days old" in refusals[-2].text
    assert "Suppression list c is of unknown age" in refusals[-1].text


@given(
    now=st.integers(1, 10**7),
    after=st.integers(0, 10**7),
    limit=st.integers(0, 100),
)
def test_a_shrink_is_refused_exactly_above_its_limit(now, after, limit):
    """Against whole numbers, so that no rounding decides."""
    too_much = 100 * (now - after) > limit * now
    found = names({"max_shrink_percent": limit, "allow_empty": True}, rows_now=now, rows_after=after)
    assert found == (["shrink"] if too_much else [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_shrink_percent": 101},
        {"max_shrink_percent": -1},
        {"max_shrink_rows": -1},
        {"max_source_age_hours": 0},
        {"min_valid_percent": 101},
        {"max_shrink": 3},
    ],
)
def test_limits_that_make_no_sense(wrong):
    with pytest.raises(ValidationError):
        GuardLimits(**wrong)
