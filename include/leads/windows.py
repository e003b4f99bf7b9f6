"""Calling windows: when may somebody be called, whose place is in one of these zones, under these rules?

A moment is open when the wall clock of EVERY zone and the hours of EVERY jurisdiction say so: several possible zones
mean the overlap of all. In the night of a clock change the wall clock is read as it stands: an hour that comes twice
counts twice, one that is skipped never comes. Pure: the time is always given, as whole seconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from include.hours import WHOLE_DAY, public_holidays
from include.leads.packs import ClosedOn, Rules

HORIZON_DAYS: Final = 14
"""How far the next window is looked for: longer than any run of holidays and weekends. What has none is held."""

Interval = tuple[int, int]
"""First second that is open, and first second that is not any more."""

_DAY: Final = 86_400
_EPOCH: Final = date(1970, 1, 1)


def next_window(zones: Sequence[str], rules: Sequence[Rules], now: int, at_least: int = 1) -> Interval | None:
    """The next stretch of so many seconds in which all zones and all rules allow a call: from `now` at the earliest,
    None when there is none within HORIZON_DAYS.

    Raises ValueError without a zone: nobody knows the hour there.
    """
    if not zones:
        raise ValueError("a calling window needs at least one time zone")
    found: list[Interval] = [(now, now + HORIZON_DAYS * _DAY)]
    for zone in zones:
        for rule in rules:
            found = _overlap(found, _open(zone, rule, now // _DAY))
    return next((window for window in found if window[1] - window[0] >= at_least), None)


def offset(zone: str, moment: int) -> int:
    """Seconds that the wall clock of a zone is ahead of UTC at a moment."""
    return _offset(ZoneInfo(zone), moment)


def closed(closed_on: ClosedOn | None, day: date) -> bool:
    """Whether nobody is called on a day."""
    return closed_on is not None and (
        day.strftime("%m-%d") in closed_on.dates
        or any(day in public_holidays(code, day.year) for code in closed_on.calendars)
    )


@lru_cache(maxsize=20_000)
def _open(zone: str, rules: Rules, first_day: int) -> tuple[Interval, ...]:
    """All open intervals of one zone under the rules of one jurisdiction, from a day (UTC, since 1970) on.

    Neighbours that touch are one, so that an interval's end is really the end.
    """
    found: list[Interval] = []
    for start, end, ahead in _segments(zone, first_day):
        for day in range((start + ahead) // _DAY, (end + ahead - 1) // _DAY + 1):
            for opens, closes in _spans(rules, day):
                begin = max(day * _DAY + opens * 60 - ahead, start)
                stop = min(day * _DAY + closes * 60 - ahead, end)
                if begin >= stop:
                    continue
                if found and found[-1][1] == begin:
                    found[-1] = (found[-1][0], stop)
                else:
                    found.append((begin, stop))
    return tuple(found)


def _spans(rules: Rules, day: int) -> tuple[tuple[int, int], ...]:
    """Open minutes of a day (since 1970) on the wall clock."""
    that_day = _EPOCH + timedelta(days=day)
    if closed(rules.closed_on, that_day):
        return ()
    return (WHOLE_DAY,) if rules.week is None else rules.week[that_day.weekday()]


@lru_cache(maxsize=2_000)
def _segments(zone: str, first_day: int) -> tuple[tuple[int, int, int], ...]:
    """Stretches of time in which a zone's clock is not changed: start, end, and seconds ahead of UTC."""
    info = ZoneInfo(zone)
    start, end = first_day * _DAY, (first_day + HORIZON_DAYS + 1) * _DAY
    found: list[tuple[int, int, int]] = []
    begin, ahead = start, _offset(info, start)
    for hour in range(start + 3600, end + 1, 3600):
        after = _offset(info, hour)
        if after != ahead:
            change = _change(info, hour - 3600, hour, ahead)
            found.append((begin, change, ahead))
            begin, ahead = change, after
    found.append((begin, end, ahead))
    return tuple(found)


def _change(info: ZoneInfo, before: int, after: int, ahead: int) -> int:
    """The first second within an hour at which the clock is not `ahead` any more."""
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if _offset(info, middle) == ahead else (before, middle)
    return after


def _offset(info: ZoneInfo, moment: int) -> int:
    ahead = datetime.fromtimestamp(moment, UTC).astimezone(info).utcoffset()
    return int(ahead.total_seconds()) if ahead is not None else 0


def _overlap(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """What two ordered lists of intervals have in common."""
    found = []
    i = j = 0
    while i < len(one) and j < len(other):
        begin, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if begin < end:
            found.append((begin, end))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found
