"""Office hours against an oracle that reads a wall clock minute by minute, clock changes included."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from include.hours import DAYS, HoursError, OfficeHours, hours_from

MINUTE = timedelta(minutes=1)
JOBURG = OfficeHours(zone="Africa/Johannesburg", week={"mon-fri": "08:00-17:00"})

CHANGES = {
    "America/New_York": (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    "Europe/London": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 10, 3, 15, 30, tzinfo=UTC), datetime(2026, 4, 4, 15, tzinfo=UTC)),
    "America/Santiago": (
        datetime(2026, 9, 6, 4, tzinfo=UTC),
        datetime(2026, 4, 5, 3, tzinfo=UTC),
    ),  # at midnight
}
"""Zone -> the moments at which its clocks go forward and back in 2026."""


def at(text: str, zone: str = "Africa/Johannesburg") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def wall_says_open(hours: OfficeHours, moment: datetime) -> bool:
    """The oracle: what a clock on the office's wall says, and nothing else."""
    local = moment.astimezone(ZoneInfo(hours.zone))
    if local.date() in hours.holidays:
        return False
    minute = local.hour * 60 + local.minute
    for name, text in hours.week.items():
        first, _, last = name.partition("-")
        if DAYS.index(first) <= local.weekday() <= DAYS.index(last or first):  # type: ignore[arg-type]
            for span in text.split(","):
                begin, end = (int(t[:2]) * 60 + int(t[3:]) for t in span.strip().split("-"))
                if begin <= minute < end:
                    return True
    return False


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-23T07:59:59", False),
        ("2026-11-23T08:00:00", True),
        ("2026-11-23T16:59:59", True),
        ("2026-11-23T17:00:00", False),
        ("2026-11-21T12:00:00", False),
        ("2026-11-22T12:00:00", False),
    ],
)
def test_the_edges_are_those_of_the_contract(moment: str, is_open: bool) -> None:
    assert JOBURG.is_open(at(moment)) is is_open


def test_closing_and_opening() -> None:
    monday_noon = at("2026-11-23T12:00:00")
    assert JOBURG.next_close(monday_noon) == at("2026-11-23T17:00:00")
    assert JOBURG.next_open(monday_noon) == monday_noon
    assert JOBURG.time_left(monday_noon) == timedelta(0)
    friday_night = at("2026-11-27T20:00:00")
    assert JOBURG.next_close(friday_night) == friday_night
    assert JOBURG.next_open(friday_night) == at("2026-11-30T08:00:00")
    assert JOBURG.time_left(friday_night) == timedelta(hours=60)


def test_holidays_of_a_list_and_of_a_country_close_the_office() -> None:
    hours = OfficeHours(
        zone="Africa/Johannesburg",
        week={"mon-fri": "08:00-17:00"},
        holidays=(date(2026, 11, 23),),
        country="ZA",
    )
    assert not hours.is_open(at("2026-11-23T12:00:00"))
    assert not hours.is_open(at("2026-12-16T12:00:00"))  # Day of Reconciliation
    assert hours.next_open(at("2026-12-24T17:00:00")) == at("2026-12-28T08:00:00")


def test_an_unknown_country_says_what_to_do() -> None:
    hours = OfficeHours(zone="UTC", week={"mon": "08:00-17:00"}, country="QQ")
    with pytest.raises(HoursError, match="list the dates under holidays"):
        hours.is_open(datetime(2026, 11, 23, tzinfo=UTC))


def test_an_office_without_hours_never_opens() -> None:
    hours = OfficeHours(zone="UTC", week={})
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert (hours.next_open(now), hours.time_left(now), hours.next_close(now)) == (None, None, now)


def test_a_shift_over_midnight_is_one_span() -> None:
    hours = OfficeHours(zone="UTC", week={"fri": "22:00-24:00", "sat": "00:00-06:00"})
    assert hours.next_close(datetime(2026, 11, 27, 23, tzinfo=UTC)) == datetime(2026, 11, 28, 6, tzinfo=UTC)


def test_a_window_is_long_enough_or_passed_over() -> None:
    hours = OfficeHours(zone="UTC", week={"mon-fri": "08:00-12:00, 13:00-17:00"})
    noon = datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert hours.next_window(noon) == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert hours.next_window(noon, timedelta(hours=2)) == datetime(2026, 11, 23, 17, tzinfo=UTC)
    assert hours.next_window(noon, timedelta(hours=60)) == datetime(2026, 11, 27, 17, tzinfo=UTC)
    late = datetime(2026, 11, 24, 7, tzinfo=UTC)  # closed, but not for long enough any more
    assert hours.next_window(late, timedelta(hours=2)) == datetime(2026, 11, 24, 17, tzinfo=UTC)
    with pytest.raises(HoursError, match="ask for less"):
        hours.next_window(noon, timedelta(days=30))


@pytest.mark.parametrize(
    ("week", "words"),
    [
        ({"monday": "08:00-17:00"}, "no weekday"),
        ({"fri-mon": "08:00-17:00"}, "backwards"),
        ({"mon": "8-17"}, "no span"),
        ({"mon": "17:00-08:00"}, "two spans"),
        ({"mon": "22:00-24:30"}, "no day has"),
        ({"mon": "08:60-17:00"}, "no day has"),
        ({"mon": "08:00-12:00, 11:00-17:00"}, "overlap"),
        ({"mon-fri": "08:00-17:00", "wed": "08:00-12:00"}, "given twice"),
        ({"mon-sun": "00:00-24:00"}, "never closes"),
    ],
)
def test_a_week_that_cannot_be_is_refused_in_words(week: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        OfficeHours(zone="UTC", week=week)


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="no IANA time zone"):
        OfficeHours(zone="Africa/Atlantis", week={})


def test_plain_data_and_back() -> None:
    hours = OfficeHours(
        zone="UTC", week={"mon": "08:00-17:00"}, holidays=(date(2026, 1, 1),), country="US-CA"
    )
    assert hours_from(hours.model_dump(mode="json")) == hours
    assert hours_from(None) is None


TIMES = st.integers(0, 24 * 4).map(lambda quarter: quarter * 15)
DAY_HOURS = st.lists(TIMES, min_size=2, max_size=4, unique=True).map(sorted)


def as_text(edges: list[int]) -> str:
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return ", ".join(f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}" for a, b in pairs)


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(sorted(CHANGES)),
    forward=st.booleans(),
    week=st.dictionaries(st.sampled_from(DAYS), DAY_HOURS, min_size=1),
    holiday=st.integers(-2, 2),
)
def test_against_the_wall_clock_around_a_clock_change(
    zone: str, forward: bool, week: dict[Any, list[int]], holiday: int
) -> None:
    """Never closed while the wall clock says open; and the same outside the hours of the change itself."""
    change = CHANGES[zone][0 if forward else 1]
    closed = (change + timedelta(days=holiday)).astimezone(ZoneInfo(zone)).date()
    hours = OfficeHours(
        zone=zone, week={day: as_text(edges) for day, edges in week.items()}, holidays=(closed,)
    )
    start = change - timedelta(hours=30)
    moments = [start + n * MINUTE * 5 for n in range(12 * 60)]
    said = [hours.is_open(moment) for moment in moments]
    for moment, is_open in zip(moments, said, strict=True):
        wall = wall_says_open(hours, moment)
        assert is_open or not wall, moment
        if abs(moment - change) > timedelta(hours=2):
            assert is_open == wall, moment
    for moment, is_open in list(zip(moments, said, strict=True))[::24]:
        closes, opens = hours.next_close(moment), hours.next_open(moment)
        assert not hours.is_open(closes) and (closes == moment) is (not is_open)
        assert closes == moment or hours.is_open(closes - timedelta(seconds=1))
        if opens is not None:
            assert hours.is_open(opens) and (opens == moment) is is_open
            assert opens == moment or not hours.is_open(opens - timedelta(seconds=1))


def test_a_year_minute_by_minute_where_no_clock_changes() -> None:
    hours = JOBURG.model_copy(update={"holidays": (date(2026, 12, 25),)})
    moment, end = datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 4, tzinfo=UTC)
    closes, opens = hours.next_close(moment), hours.next_open(moment)
    while moment < end:
        is_open = wall_says_open(hours, moment)
        assert hours.is_open(moment) is is_open
        if moment >= closes and is_open:
            closes = hours.next_close(moment)
        assert opens is not None
        if not is_open and moment >= opens:
            opens = hours.next_open(moment)
            assert opens is not None and wall_says_open(hours, opens)
        moment += MINUTE
