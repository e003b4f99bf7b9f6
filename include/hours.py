"""Office hours as data, and what they say of a moment: is the office open, when does it close, when does it open.

Pure: the time is always given. Hours are wall-clock times of the office's zone. In the night of a clock change,
where a wall-clock time comes twice or never, the office counts as open for longer rather than for shorter.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from include.zones import Zone

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Span = tuple[int, int]
"""First minute of a day that is open, and first minute that is not any more (up to 1440)."""

WHOLE_DAY: Final[Span] = (0, 24 * 60)
LOOK_AHEAD: Final = timedelta(days=400)
"""How far an opening is looked for: longer than any holiday; an office that stays closed so long has no hours."""

_SPAN: Final = re.compile(r"^\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*$")


class HoursError(ValueError):
    """Office hours cannot be used; the message says what to write instead."""


class OfficeHours(BaseModel):
    """When an office is open (section `office_hours:` of a flow file)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    zone: Zone = Field(description="IANA time zone of the office, such as Africa/Johannesburg.")
    week: dict[str, str] = Field(
        description="Weekday or range of weekdays -> its hours: {mon-fri: '08:00-17:00', sat: '09:00-13:00'}. Several "
        "spans of one day are set apart by commas; a shift over midnight is two spans, 22:00-24:00 and 00:00-06:00 of "
        "the next day. Days that are left out are closed."
    )
    holidays: tuple[date, ...] = Field((), description="Dates on which the office is closed.")
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")] | None = Field(
        None,
        description="ISO code of a country, or of a part of it (ZA, US-CA), whose public holidays close the office.",
    )

    @field_validator("week")
    @classmethod
    def _readable_week(cls, value: dict[str, str]) -> dict[str, str]:
        if read_week(value) == ((WHOLE_DAY,),) * 7:
            raise ValueError("the office never closes, so nothing could ever be done after hours")
        return value

    def is_open(self, now: datetime) -> bool:
        """Whether the office is open at a moment (aware)."""
        return self.next_open(now) == now

    def next_close(self, now: datetime) -> datetime:
        """When the office will next stand closed: `now` itself when it does, else the end of its hours, in UTC."""
        for opens, closes in self._spans(now):
            if now < closes:
                return closes if opens <= now else now.astimezone(UTC)
        return now.astimezone(UTC)

    def next_open(self, now: datetime) -> datetime | None:
        """When the office opens next, in UTC: `now` itself when it is open, None when it never does."""
        for opens, closes in self._spans(now):
            if now < closes:
                return max(opens, now.astimezone(UTC))
        return None

    def time_left(self, now: datetime) -> timedelta | None:
        """How long the office stays closed: zero when it is open, None for ever."""
        opens = self.next_open(now)
        return None if opens is None else opens - now

    def next_window(self, now: datetime, at_least: timedelta = timedelta(0)) -> datetime:
        """When the office next stands closed for at least so long, in UTC; the time that has passed does not count.

        Raises HoursError when it never does.
        """
        moment = now
        while moment - now < LOOK_AHEAD:
            moment = self.next_close(moment)
            opens = self.next_open(moment)
            if opens is None or opens - moment >= at_least:
                return moment
            moment = opens
        raise HoursError(f"the office never stays closed for {at_least}; ask for less")

    def _spans(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Open spans around and after a moment, in UTC and in order; spans that touch are one."""
        zone = ZoneInfo(self.zone)
        week = _week(tuple(self.week.items()))
        day = now.astimezone(zone).date() - timedelta(days=1)
        end = day + LOOK_AHEAD
        current: tuple[datetime, datetime] | None = None
        while day < end:
            spans = () if self._is_holiday(day) else week[day.weekday()]
            for first, last in spans:
                opens = min(_moments(day, first, zone))
                closes = max(_moments(day, last, zone))
                if current is not None and opens <= current[1]:
                    current = (current[0], max(current[1], closes))
                    continue
                if current is not None:
                    yield current
                current = (opens, closes)
            day += timedelta(days=1)
        if current is not None:
            yield current

    def _is_holiday(self, day: date) -> bool:
        return day in self.holidays or (
            self.country is not None and day in public_holidays(self.country, day.year)
        )


def read_week(week: Mapping[str, str]) -> tuple[tuple[Span, ...], ...]:
    """Read the hours of a week: the open spans of each weekday, Monday first. Raises HoursError."""
    days: list[tuple[Span, ...]] = [()] * 7
    seen: set[int] = set()
    for name, text in week.items():
        for day in _day_range(name):
            if day in seen:
                raise HoursError(f"{DAYS[day]} is given twice")
            seen.add(day)
            days[day] = _read_spans(name, text)
    return tuple(days)


def _day_range(name: str) -> range:
    first, _, last = name.lower().partition("-")
    if first not in DAYS or (last or first) not in DAYS:
        raise HoursError(f"{name!r} is no weekday and no range; write one such as mon or mon-fri")
    start, end = DAYS.index(first), DAYS.index(last or first)
    if end < start:
        raise HoursError(f"{name!r} runs backwards; a week begins with mon")
    return range(start, end + 1)


def _read_spans(name: str, text: str) -> tuple[Span, ...]:
    spans: list[Span] = []
    for part in str(text).split(","):
        match = _SPAN.match(part)
        if match is None:
            raise HoursError(f"{name}: {part.strip()!r} is no span; write one such as '08:00-17:00'")
        hours = [int(group) for group in match.groups()]
        first, last = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
        if hours[1] > 59 or hours[3] > 59 or last > 24 * 60:
            raise HoursError(f"{name}: {part.strip()!r} holds a time that no day has")
        if last <= first:
            raise HoursError(
                f"{name}: {part.strip()!r} ends before it begins; write a shift over midnight as two spans"
            )
        spans.append((first, last))
    if any(later[0] < earlier[1] for earlier, later in pairwise(spans)):
        raise HoursError(f"{name}: its spans must be in order and must not overlap")
    return tuple(spans)


@functools.lru_cache(maxsize=64)
def _week(items: tuple[tuple[str, str], ...]) -> tuple[tuple[Span, ...], ...]:
    return read_week(dict(items))


def _moments(day: date, minute: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Both readings of a wall-clock time: they differ only where a clock change repeats or skips it."""
    wall = datetime.combine(day, time(), zone) + timedelta(minutes=minute)
    first, second = (wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return first, second


@functools.lru_cache(maxsize=64)
def public_holidays(code: str, year: int) -> frozenset[date]:
    """Public holidays of a country or a part of it (ZA, US-CA). Raises HoursError for one that nobody knows."""
    import holidays  # half a second: only where a country is named, and never while a DAG file is parsed

    country, _, part = code.partition("-")
    try:
        return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year))
    except NotImplementedError:
        raise HoursError(
            f"No public holidays are known for {code}. Take the part after the dash off, or leave the country out and "
            "list the dates under holidays (in a rule pack: dates)."
        ) from None


def hours_from(values: Mapping[str, Any] | None) -> OfficeHours | None:
    """Office hours out of their plain form, as `model_dump(mode="json")` writes them; None stays None."""
    return None if values is None else OfficeHours.model_validate(values)
