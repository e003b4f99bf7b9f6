"""Calling windows once more, as plain as possible: minute by minute, on the wall clock of each zone.

A rule is (week, calendar): a week holds for each weekday (0 is Monday) its spans as texts ("09:00", "20:00"), or is
None for no hours; a calendar is an object of the `holidays` library, or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

Week = dict[int, list[tuple[str, str]]]
Rule = tuple[Week | None, Any]
DAYS = 14


def may_call(moment: int, zones: Sequence[ZoneInfo], rules: Sequence[Rule]) -> bool:
    for zone in zones:
        there = datetime.fromtimestamp(moment, zone)
        clock = f"{there.hour:02}:{there.minute:02}"
        for week, calendar in rules:
            if calendar is not None and there.date() in calendar:
                return False
            if week is not None and not any(
                begin <= clock < end for begin, end in week.get(there.weekday(), [])
            ):
                return False
    return True


def next_window(now: int, zones: Sequence[ZoneInfo], rules: Sequence[Rule]) -> tuple[int, int] | None:
    """The first open minute and the first closed one behind it, within DAYS."""
    last = now + DAYS * 86_400
    begin = next((m for m in range(now, last, 60) if may_call(m, zones, rules)), None)
    if begin is None:
        return None
    return begin, next((m for m in range(begin, last, 60) if not may_call(m, zones, rules)), last)
