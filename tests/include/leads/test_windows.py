from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.leads import packs
from include.leads.packs import Rules, Values
from include.leads.windows import HORIZON_DAYS, next_window, offset

ZONES = sorted(zoneinfo.available_timezones())
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC)

# Hours as texts, for the oracle and for the rules: those of packs, and such that begin and end in the hours of the
# night in which clocks are changed.
WEEKS: dict[str, dict[str, list[tuple[str, str]]] | None] = {
    "US": {day: [("08:00", "21:00")] for day in DAYS},
    "US-RI": {**{day: [("09:00", "18:00")] for day in DAYS[:5]}, "sat": [("10:00", "17:00")]},
    "AU": {**{day: [("09:00", "20:00")] for day in DAYS[:5]}, "sat": [("09:00", "17:00")]},
    "night": {day: [("00:30", "01:45"), ("02:30", "03:15"), ("22:00", "24:00")] for day in DAYS},
    "sunday": {"sun": [("01:15", "02:45")]},
    "always": None,
}
CALENDARS: dict[str, Any] = {
    "": None,
    "AU": holidays.country_holidays("AU"),
    "US-RI": holidays.country_holidays("US", subdiv="RI"),
}


@pytest.fixture(scope="session")
def oracle() -> Any:
    spec = util.spec_from_file_location("calling_oracle", Path(__file__).with_name("calling_oracle.py"))
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def rules(week: str, calendar: str) -> Rules:
    """A jurisdiction with these hours and holidays."""
    hours = WEEKS[week]
    text = hours and {day: ", ".join("-".join(span) for span in spans) for day, spans in hours.items()}
    closed = {"calendars": [calendar]} if calendar else None
    return packs.rules_of("US", Values.model_validate({"calling_hours": text, "closed_on": closed}))


def plain(week: str, calendar: str) -> Any:
    """The same for the oracle."""
    hours = WEEKS[week]
    by_number = None if hours is None else {DAYS.index(day): spans for day, spans in hours.items()}
    return by_number, CALENDARS[calendar]


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@cache
def clock_changes() -> dict[tuple[int, int, int], str]:
    """Every clock change of every zone in five years: (hour before which it came, seconds ahead before and after) ->
    one zone that has it.
    """
    found: dict[tuple[int, int, int], str] = {}
    for name in ZONES:
        zone = ZoneInfo(name)
        day = FIRST
        ahead = day.astimezone(zone).utcoffset()
        while day < LAST:
            day += timedelta(days=1)
            if (after := day.astimezone(zone).utcoffset()) != ahead:
                hour = day - timedelta(days=1)
                while hour.astimezone(zone).utcoffset() == ahead:
                    hour += timedelta(minutes=15)
                assert ahead is not None
                assert after is not None
                key = (int(hour.timestamp()), int(ahead.total_seconds()), int(after.total_seconds()))
                found.setdefault(key, name)
                ahead = after
    return found


def test_every_clock_change_of_five_years_in_every_zone(oracle: Any) -> None:
    changes = clock_changes()
    assert len(changes) > 200
    assert {after - before for _, before, after in changes} >= {3600, -3600, 1800, -1800}
    for (change, _, _), name in changes.items():
        for before in (7 * 3600, 40 * 60, 0):
            now = change - before
            expected = oracle.next_window(now, [ZoneInfo(name)], [plain("night", "")])
            assert next_window([name], [rules("night", "")], now) == expected, (name, now)


@given(
    now=st.integers(int(FIRST.timestamp()) // 60, int(LAST.timestamp()) // 60),
    near=st.one_of(st.none(), st.integers(0, 10**9)),
    zones=st.lists(st.sampled_from(ZONES), min_size=1, max_size=3),
    held=st.lists(
        st.tuples(st.sampled_from(sorted(WEEKS)), st.sampled_from(sorted(CALENDARS))), min_size=1, max_size=2
    ),
)
@settings(max_examples=120, deadline=None)
def test_windows_are_those_of_the_oracle(
    oracle: Any, now: int, near: int | None, zones: list[str], held: list[tuple[str, str]]
) -> None:
    now *= 60
    if near is not None:  # within two days before a clock change of one of the zones' kind
        changes = list(clock_changes().items())
        (change, _, _), name = changes[near % len(changes)]
        now, zones = change - now % (2 * 86_400) // 60 * 60, [name, *zones[1:]]
    expected = oracle.next_window(now, [ZoneInfo(zone) for zone in zones], [plain(*one) for one in held])
    assert next_window(zones, [rules(*one) for one in held], now) == expected


def test_several_zones_mean_the_overlap_of_all() -> None:
    us = [packs.rules_of("US")]
    found = next_window(["America/New_York", "America/Los_Angeles"], us, moment("2026-11-21T00:00:00-05:00"))
    assert found == (moment("2026-11-21T11:00:00-05:00"), moment("2026-11-21T21:00:00-05:00"))


def test_the_stricter_of_two_jurisdictions_holds() -> None:
    both = [packs.rules_of("US"), packs.rules_of("US-FL")]
    found = next_window(["America/New_York"], both, moment("2026-11-21T00:00:00-05:00"))
    assert found == (moment("2026-11-21T08:00:00-05:00"), moment("2026-11-21T20:00:00-05:00"))


def test_australia_rests_on_sundays_and_national_holidays() -> None:
    au = [packs.rules_of("AU")]
    found = next_window(["Australia/Sydney"], au, moment("2026-12-24T20:00:00+11:00"))
    # Friday is Christmas, Saturday Boxing Day, Sunday is Sunday.
    assert found == (moment("2026-12-28T09:00:00+11:00"), moment("2026-12-28T20:00:00+11:00"))


def test_an_open_window_begins_now() -> None:
    now = moment("2026-11-21T12:34:56-05:00")
    assert next_window(["America/New_York"], [packs.rules_of("US")], now) == (
        now,
        moment("2026-11-21T21:00:00-05:00"),
    )


def test_zones_without_a_common_hour_have_no_window() -> None:
    far = ["Asia/Tokyo", "Europe/London", "America/New_York"]
    assert next_window(far, [packs.rules_of("US")], moment("2026-11-21T12:00:00+00:00")) is None


def test_without_hours_the_window_is_the_whole_horizon() -> None:
    now = moment("2026-11-21T12:00:00+00:00")
    found = next_window(["Europe/London"], [rules("always", "")], now)
    assert found == (now, now + HORIZON_DAYS * 86_400)


def test_a_window_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        next_window([], [packs.rules_of("US")], 0)


def test_the_offset_is_that_of_the_moment() -> None:
    assert offset("America/New_York", moment("2026-07-01T00:00:00+00:00")) == -4 * 3600
    assert offset("America/New_York", moment("2026-12-01T00:00:00+00:00")) == -5 * 3600
