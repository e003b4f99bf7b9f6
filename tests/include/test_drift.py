"""Drift: what is told of a night that is unlike the others, and what is not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from include.drift import DriftLimits, find
from include.guards import check_drift

LIMITS = DriftLimits()


def night(
    rows: int = 1000, rejected: float = 0.1, areas: dict[str, int] | None = None, **reasons: int
) -> dict[str, Any]:
    """A night with this share of rejected leads, all for the same reason, and `reasons` of held ones."""
    return {
        "rows_in": rows,
        "decided": {"rejected": {"phone_too_short": round(rows * rejected)}, "held": reasons},
        "areas": areas if areas is not None else {"+1212": 500, "+1310": 300, "+44": 100},
    }


def usual(count: int = 14, seed: int = 1, **about: Any) -> list[dict[str, Any]]:
    """Nights that move a little, as nights do."""
    dice = random.Random(seed)
    return [
        night(
            dice.randint(950, 1050),
            dice.uniform(0.09, 0.11),
            {
                area: dice.randint(rows - 20, rows + 20)
                for area, rows in (("+1212", 500), ("+1310", 300), ("+44", 100))
            },
            **about,
        )
        for _ in range(count)
    ]


def figures(tonight: dict[str, Any], earlier: list[dict[str, Any]] | None = None, **limits: Any) -> list[str]:
    found = find(tonight, usual() if earlier is None else earlier, DriftLimits(**limits))
    return [drift.figure for drift in found]


def test_a_usual_night_is_no_news():
    assert figures(night()) == []


@pytest.mark.parametrize(
    ("rows", "drifted"), [(0, True), (650, True), (750, False), (1250, False), (1400, True)]
)
def test_volume(rows, drifted):
    """The spread of these nights is below its floor, 5 % of the median: six times that is 30 %."""
    assert ("volume" in figures(night(rows, areas={}))) is drifted


def test_the_words_tell_the_usual():
    (drift,) = find(night(400), usual(), LIMITS)
    assert drift.text.startswith("400 leads came in; in the last 14 nights it was 9")
    assert "most often about" in drift.text


def test_a_share_of_rejects_and_its_reason():
    assert figures(night(rejected=0.15)) == []
    assert figures(night(rejected=0.30)) == ["phone_too_short", "rejected"]
    assert figures(night(rejected=0.0)) == ["phone_too_short", "rejected"]
    assert figures(night(zone_unknown=90)) == ["zone_unknown"]
    assert figures(night(zone_unknown=30)) == []


def test_a_reason_that_is_gone():
    assert figures(night(), usual(called_recently=200)) == ["called_recently"]


def test_the_mix_of_areas():
    assert figures(night(areas={"+1212": 500, "+1310": 290, "+44": 110})) == []
    assert figures(night(areas={"+1212": 500, "+1310": 100, "+61": 300})) == ["areas"]
    (drift,) = find(night(areas={"+91": 900}), usual(), LIMITS)
    assert "100 % of the leads would have to move" in drift.text
    assert "Most of all +91: 100.0 % instead of 0.0 %." in drift.text


def test_a_weekend_is_measured_by_weekends():
    weeks = [night(1000)] * 5 + [night(200)] * 2
    assert figures(night(200), weeks * 2) == []
    assert figures(night(1000), weeks * 2) == []
    assert figures(night(2000), weeks * 2) == ["volume"]


def test_a_few_nights_say_nothing():
    assert figures(night(1), usual(4)) == []
    assert "volume" in figures(night(1), usual(5))
    assert "volume" in figures(night(1), usual(3), min_nights=3)


def test_nights_without_leads_say_nothing_of_shares():
    assert figures(night(), [night(0, areas={})] * 14) == ["volume"]
    assert figures(night(rejected=0.3), usual(4) + [night(0, areas={})] * 3, factor=1000) == []


def test_nights_of_an_older_release_have_no_areas():
    earlier = [{name: value for name, value in one.items() if name != "areas"} for one in usual()]
    assert figures(night(areas={"+91": 900}), earlier) == []


def test_a_flow_may_ignore_or_refuse_it():
    assert figures(night(1), when="ignore") == []
    found = find(night(1, areas={}), usual(), LIMITS)
    assert check_drift(found, LIMITS) == []
    refusals = check_drift(found, DriftLimits(when="refuse"))
    assert {refusal.guard for refusal in refusals} == {"drift"}
    assert refusals[0].text.startswith("1 leads came in")
    assert check_drift([], DriftLimits(when="refuse")) == []


@given(
    rows=st.lists(st.integers(0, 10**6), min_size=5, max_size=20),
    picked=st.integers(0, 19),
    reasons=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 1000)),
)
def test_a_night_that_was_there_before_never_drifts(rows, picked, reasons):
    earlier = [night(max(count, 1000), **reasons) for count in rows]
    assert find(earlier[picked % len(earlier)], earlier, LIMITS) == []


def test_wrong_limits_are_refused():
    for wrong in ({"when": "shout"}, {"nights": 2}, {"factor": 0}):
        with pytest.raises(ValidationError):
            DriftLimits(**wrong)
