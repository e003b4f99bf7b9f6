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


def test_the_spread_of_lively_nights_is_that_of_a_normal_distribution():
    """Their median is 1,000 and their median deviation 200: the spread is 1.4826 times that, 297 leads."""
    lively = [night(rows) for rows in (800, 800, 1000, 1200, 1200)]
    assert figures(night(1290, areas={}), lively, factor=1) == []
    assert figures(night(1300, areas={}), lively, factor=1) == ["volume"]


def test_exactly_the_limit_is_no_drift():
    still = [night(1000)] * 5  # spread: the floor, 50
    assert figures(night(1300, areas={}), still) == []
    assert figures(night(1310, areas={}), still) == ["volume"]


def test_the_spread_of_a_short_list_is_one_lead_at_least():
    still = [night(4, 0, areas={})] * 5
    assert figures(night(10, 0, areas={}), still) == []
    assert figures(night(11, 0, areas={}), still) == ["volume"]


def test_five_nights_tell_of_shares_and_areas_too():
    assert figures(night(rejected=0.3), usual(5)) == ["phone_too_short", "rejected"]
    assert figures(night(areas={"+91": 900}), usual(5)) == ["areas"]
    assert figures(night(areas={"+91": 900}), [*usual(4), night(areas={})]) == []


def test_the_words_tell_which_share():
    reason, rejected = find(night(rejected=0.3), usual(), LIMITS)
    assert reason.text.startswith(
        "30.0 % of the leads are `phone_too_short`; in the last 14 nights it was 9."
    )
    assert rejected.text.startswith("30.0 % of the leads are rejected; in the last 14 nights")
    (gone,) = find(night(), usual(called_recently=200), LIMITS)
    assert gone.text.startswith("0.0 % of the leads are `called_recently`")


def test_a_mix_nearer_to_the_usual_than_any_night_is_no_drift():
    odd, even = night(areas={"+1212": 900}), night(areas={"+44": 900})
    assert figures(night(areas={"+1212": 450, "+44": 450}), [odd, even] * 3, factor=0.5) == []


def test_the_area_that_moved_the_most_is_named():
    def words(areas, earlier):
        (drift,) = find(night(areas=areas), earlier, LIMITS)
        return drift.text

    still = [night()] * 5  # 5 of 9 leads in +1212, 3 in +1310, 1 in +44
    assert "Most of all +91: 44.4 % instead of 0.0 %." in words({"+1212": 500, "+91": 400}, still)
    assert "Most of all +1212: 97.8 % instead of 55.6 %." in words({"+1212": 880, "+61": 20}, still)
    once_abroad = [night(areas={"+1212": 100})] * 4 + [night(areas={"+1212": 90, "+44": 10})]
    assert "in the last 5 nights it was at most 8 %." in words({"+91": 100}, once_abroad)


def test_the_limits_of_a_flow_that_sets_none():
    assert LIMITS.model_dump() == {"when": "warn", "nights": 14, "min_nights": 5, "factor": 6}


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [("nights", (3, 100), (2, 101)), ("min_nights", (3,), (2,)), ("factor", (0.5,), (0,))],
)
def test_how_far_a_limit_may_be_moved(name, allowed, refused):
    for value in allowed:
        assert getattr(DriftLimits(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValidationError, match=name):
            DriftLimits(**{name: value})


def test_wrong_limits_are_refused():
    for wrong in ({"when": "shout"}, {"nights": 2}, {"factor": 0}):
        with pytest.raises(ValidationError):
            DriftLimits(**wrong)
