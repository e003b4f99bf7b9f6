from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from include.leads.calls import CallHistory, CallHistoryError
from include.leads.clean import CleanResult, clean
from include.leads.packs import version
from include.leads.rules import CallRules, CleanRules
from include.leads.schema import CALL_COLUMNS

NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
Make = Callable[[Iterable[dict[str, object]]], pl.DataFrame]


def hours_ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def write_calls(folder: Path, calls: Iterable[dict[str, Any]], name: str = "calls-0") -> Path:
    """Write calls as a file of a night; call_key counts from 1 unless given."""
    rows = [
        {**dict.fromkeys(CALL_COLUMNS), "call_key": f"{name}-{number}", "called_at": hours_ago(1), **call}
        for number, call in enumerate(calls, 1)
    ]
    path = folder / f"{name}.parquet"
    pl.DataFrame(rows, schema=CALL_COLUMNS).write_parquet(path)
    return path


def run(
    folder: Path,
    leads: pl.DataFrame,
    calls: Iterable[dict[str, Any]],
    rules: dict[str, Any],
    **clean_rules: Any,
) -> tuple[CleanResult, dict[str, tuple[str | None, ...]]]:
    """Clean leads against calls: row key -> ("kept", phone field) or (reason, detail)."""
    leads.write_parquet(folder / "part-0.parquet")
    chosen = CleanRules.model_validate({"calls": {"source": "calls", **rules}, **clean_rules})
    out = folder / "out"
    result = clean([folder / "part-0.parquet"], chosen, out, calls=[write_calls(folder, calls)], now=NOW)
    found: dict[str, tuple[str | None, ...]] = {}
    for file in result.kept_files:
        found |= {
            row[0]: ("kept", row[1]) for row in pl.read_parquet(file)["row_key", "phone_field"].iter_rows()
        }
    for file in result.outcome_files:
        columns = pl.read_parquet(file)["row_key", "reason", "detail"]
        found |= {row[0]: (row[1], row[2]) for row in columns.iter_rows()}
    return result, found


def test_whoever_asked_not_to_be_called_is_not_called(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame(
        [
            {"phone1": "212 555 0101"},
            {"phone1": "212 555 0102", "phone2": "+1 (212) 555-0101"},  # any number of theirs
            {"phone1": "212 555 0103", "lead_id": 7},  # the lead itself, whatever its number is by now
            {"phone1": "212 555 0104"},
            {"phone1": "212 555 0105"},
        ]
    )
    calls = [
        {"phone": "+12125550101", "wrap_code": 9, "called_at": hours_ago(24 * 400)},
        {"phone": "+12125550199", "lead_id": 7, "wrap": " Do Not Call "},
        {"phone": "+12125550104", "wrap_code": 1, "wrap": "Sold"},
        {"phone": "+12125550105", "dial_status_id": 9},  # another code of the same number
    ]
    rules = {"do_not_call": {"wrap_code": [9, "do not call"]}}
    result, found = run(tmp_path, leads, calls, rules)
    assert {key for key, end in found.items() if end == ("asked_not_to_call", None)} == {"1", "2", "3"}
    assert found["4"] == found["5"] == ("kept", "phone1")
    assert result.outcomes == {"suppressed": {"asked_not_to_call": 3}}
    assert result.calls == {
        "rows": 4,
        "do_not_call": 2,
        "dead": 0,
        "hits": {"asked_not_to_call": 3, "number_dead": 0},
    }


def test_a_dead_number_gives_way_to_another_one(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame(
        [
            {"phone1": "212 555 0101", "phone2": "212 555 0102"},
            {"phone1": "212 555 0101", "phone2": "na"},
            {"phone1": "212 555 0103"},
        ]
    )
    calls = [
        {"phone": "2125550101", "dial_status": "Disconnected"},
        {"phone": "2125550103", "dial_status": "disconnected", "called_at": hours_ago(24 * 91)},  # long ago
    ]
    _, found = run(tmp_path, leads, calls, {"dead": {"dial_status": ["Disconnected"]}}, unique_by=[])
    assert found == {
        "1": ("kept", "phone2"),
        "2": ("number_dead", "phone1: number_dead; phone2: phone_letters; phone3: phone_empty"),
        "3": ("kept", "phone1"),
    }


def test_a_dead_number_still_suppresses(tmp_path: Path, lead_frame: Make) -> None:
    """Whoever asked not to be called on one number is not called on another, though the first is out of service."""
    leads = lead_frame([{"phone1": "212 555 0101", "phone2": "212 555 0102"}])
    calls = [{"phone": "2125550101", "dial_status": "Disconnected"}, {"phone": "2125550101", "wrap_code": 9}]
    rules = {"dead": {"dial_status": ["Disconnected"]}, "do_not_call": {"wrap_code": [9]}}
    assert run(tmp_path, leads, calls, rules)[1] == {"1": ("asked_not_to_call", None)}
    (tmp_path / "dnc.txt").write_text("2125550101\n")
    os.utime(tmp_path / "dnc.txt", (NOW.timestamp(),) * 2)  # today may be long after it
    listed = [{"name": "dnc", "file": str(tmp_path / "dnc.txt")}]
    _, found = run(tmp_path, leads, calls[:1], rules, suppression=listed)
    assert found == {"1": ("on_suppression_list", "dnc: phone1")}


def test_who_called_us_was_not_called_by_us(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame({"phone1": f"212 555 010{n}"} for n in range(1, 3))
    calls = [
        {"phone": "2125550101", "inbound": True, "called_at": hours_ago(1)},
        {"phone": "2125550102", "inbound": True, "wrap_code": 9},
    ]
    rules = {"not_within_hours": 4, "do_not_call": {"wrap_code": [9]}}
    _, found = run(tmp_path, leads, calls, rules)
    assert found == {"1": ("kept", "phone1"), "2": ("asked_not_to_call", None)}


def test_too_soon_and_too_often(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame({"phone1": f"212 555 010{n}", "lead_id": n} for n in range(1, 7))
    calls = [
        {"phone": "2125550101", "called_at": hours_ago(3.9)},
        {"phone": "2125550102", "called_at": hours_ago(4.1)},
        *({"phone": "2125550103", "called_at": hours_ago(hours)} for hours in (5, 20, 47)),
        *({"phone": "2125550104", "called_at": hours_ago(hours)} for hours in (5, 20, 49)),
        *({"phone": "2125559999", "lead_id": 5, "called_at": hours_ago(hours)} for hours in (5, 20, 47)),
        {"phone": "2125550106", "called_at": None},  # nobody knows when: it may have been now
    ]
    rules = {"not_within_hours": 4, "attempts": {"max": 3, "hours": 48}}
    result, found = run(tmp_path, leads, calls, rules)
    assert found == {
        "1": ("called_recently", "calls: 1 in 4 hours"),
        "2": ("kept", "phone1"),
        "3": ("attempts_used_up", "calls: 3 in 48 hours"),
        "4": ("kept", "phone1"),
        "5": ("attempts_used_up", "calls: 3 in 48 hours"),
        "6": ("called_recently", "calls: 1 in 4 hours"),
    }
    assert result.outcomes == {"held": {"attempts_used_up": 2, "called_recently": 2}}


def test_a_call_that_two_nights_hold_counts_once(tmp_path: Path) -> None:
    same = [{"call_key": "a", "phone": "2125550101"}, {"call_key": "b", "phone": "2125550101"}]
    files = [write_calls(tmp_path, same, "one"), write_calls(tmp_path, same, "two")]
    rules = CallRules.model_validate({"source": "calls"})
    history = CallHistory(files, rules, region="US", now=NOW, hours=(24.0,))
    numbers = {"phone1": pl.Series([12125550101, 12125550102, None], dtype=pl.Int64)}
    leads = pl.Series([None, None, None], dtype=pl.Int64)
    assert history.counts(numbers, leads, 24.0).to_list() == [2, 0, 0]


def test_the_attempt_cap_of_a_state(tmp_path: Path, lead_frame: Make) -> None:
    """Florida allows three calls in 24 hours, New York has no such rule."""
    leads = lead_frame([{"phone1": "305 555 0101"}, {"phone1": "305 555 0102"}, {"phone1": "212 555 0101"}])
    calls = [
        *({"phone": "3055550101", "called_at": hours_ago(hours)} for hours in (1, 2, 23)),
        *({"phone": "3055550102", "called_at": hours_ago(hours)} for hours in (1, 2, 25)),
        *({"phone": "2125550101", "called_at": hours_ago(hours)} for hours in range(1, 9)),
    ]
    packs = {"countries": ["US"], "calls": "live"}
    result, found = run(tmp_path, leads, calls, {}, packs=packs)
    label = f"US {version('US')}; US-FL {version('US-FL')}"
    assert found["1"] == ("attempts_used_up", f"{label}: attempts, 3 calls in 24 hours")
    assert found["2"] == found["3"] == ("kept", "phone1")
    assert result.packs is not None
    assert not any("attempt" in what for what in result.packs["unchecked"])
    own = {**packs, "override": {"US": {"attempts": {"max": 8, "hours": 24}}}}
    _, found = run(tmp_path, leads, calls, {}, packs=own)
    assert found["3"][0] == "attempts_used_up"


@given(
    calls=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 72), st.integers(0, 2)), max_size=25
    ),
    leads=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8
    ),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_are_those_of_a_plain_loop(
    tmp_path: Path, calls: list[tuple[int, ...]], leads: list[tuple[int, ...]]
) -> None:
    path = write_calls(
        tmp_path,
        [
            {
                "phone": f"21255501{phone:02}" if phone else "",
                "lead_id": lead or None,
                "called_at": hours_ago(hours),
                "wrap_code": wrap,
            }
            for phone, lead, hours, wrap in calls
        ],
    )
    rules = CallRules.model_validate({"source": "calls", "do_not_call": {"wrap_code": [2]}})
    history = CallHistory([path], rules, region="US", now=NOW, hours=(24.0, 48.0))
    numbers = {
        name: pl.Series(
            [12125550100 + lead[place] if lead[place] else None for lead in leads], dtype=pl.Int64
        )
        for place, name in enumerate(("phone1", "phone2"))
    }
    ids = pl.Series([lead[2] or None for lead in leads], dtype=pl.Int64)

    def hits(lead: tuple[int, ...], hours: int) -> int:
        recent = [call for call in calls if call[2] < hours]
        wanted = [*(sum(call[0] == n for call in recent) for n in lead[:2] if n)]
        if lead[2]:
            wanted.append(sum(call[1] == lead[2] for call in recent))
        return max(wanted, default=0)

    for hours in (24, 48):
        assert history.counts(numbers, ids, hours).to_list() == [hits(lead, hours) for lead in leads]
    asked = [call for call in calls if call[3] == 2]
    expected = [
        any((c[0] and c[0] in lead[:2]) or (c[1] and c[1] == lead[2]) for c in asked) for lead in leads
    ]
    assert history.asked_not_to_call(numbers, ids).to_list() == expected


def test_a_number_is_out_of_service_to_the_last_moment_of_its_days(tmp_path: Path) -> None:
    calls = [
        {"phone": "2125550101", "dial_status": "disconnected", "called_at": hours_ago(24 * 90)},
        {"phone": "2125550102", "dial_status": "disconnected", "called_at": hours_ago(24 * 90 + 0.01)},
    ]
    rules = CallRules.model_validate({"source": "calls", "dead": {"dial_status": ["disconnected"]}})
    history = CallHistory([write_calls(tmp_path, calls)], rules, region="US", now=NOW)
    numbers = pl.Series([12125550101, 12125550102, None], dtype=pl.Int64)
    assert history.is_dead(numbers).to_list() == [True, False, False]


def test_a_window_begins_after_its_first_moment(tmp_path: Path) -> None:
    calls = [{"phone": f"212555010{n}", "called_at": hours_ago(24 - n / 100)} for n in (0, 1)]
    rules = CallRules.model_validate({"source": "calls"})
    history = CallHistory([write_calls(tmp_path, calls)], rules, region="US", now=NOW, hours=(24.0, 48.0))
    numbers = {"phone1": pl.Series([12125550100, 12125550101], dtype=pl.Int64)}
    assert history.counts(numbers, pl.Series([None, None], dtype=pl.Int64), 24.0).to_list() == [0, 1]


def test_only_leads_that_are_still_in_are_held_for_their_calls(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame([{"lead_id": 1}, {"lead_id": 2}, {"lead_id": 1}]).select(
        "lead_id",
        reason=pl.Series([None, None, "phone_empty"], dtype=pl.String),
        detail=pl.Series([None, None, "phone1"], dtype=pl.String),
    )
    rules = {"source": "calls", "not_within_hours": 2, "attempts": {"max": 1, "hours": 48}}
    calls = write_calls(tmp_path, [{"lead_id": 1}])
    history = CallHistory([calls], CallRules.model_validate(rules), region="US", now=NOW)
    assert history.apply(leads, {}).rows() == [
        (1, "called_recently", "calls: 1 in 2 hours"),
        (2, None, None),
        (1, "phone_empty", "phone1"),
    ]


def test_no_calls_at_all_hold_nobody(tmp_path: Path, lead_frame: Make) -> None:
    rules = {"not_within_hours": 4, "do_not_call": {"wrap_code": [9]}, "attempts": {"max": 1, "hours": 1}}
    assert run(tmp_path, lead_frame([{"phone1": "212 555 0101"}]), [], rules)[1] == {"1": ("kept", "phone1")}


def test_what_is_no_call_frame_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"call_key": ["1"]}).write_parquet(tmp_path / "odd.parquet")
    rules = CallRules.model_validate({"source": "calls"})
    with pytest.raises(CallHistoryError, match=r"odd\.parquet is no call frame: .*lead_id"):
        CallHistory([tmp_path / "odd.parquet"], rules, region="US", now=NOW)


def test_calls_may_not_be_older_than_an_opt_out_may_stay_open() -> None:
    def limit(**changes: Any) -> float:
        rules: dict[str, Any] = {"calls": {"source": "calls", "max_age_hours": 500}, **changes}
        return CleanRules.model_validate(rules).calls_max_age_hours

    assert limit() == 500
    assert limit(packs={"countries": ["US", "CA"], "calls": "live"}) == 240
    assert limit(packs={"countries": ["CA"], "calls": "live"}) == 336
    assert limit(packs={"countries": ["AU"], "calls": "live"}) == 500  # with the next load, whenever that is


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"source": "No"}, "pattern"),
        ({"attempts": {"max": 3}}, "hours"),
        ({"dead": {"status": ["x"]}}, "Extra inputs"),
        ({"max_age_hours": 0}, "greater than 0"),
    ],
)
def test_wrong_rules_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CallRules.model_validate({"source": "calls", **wrong})
