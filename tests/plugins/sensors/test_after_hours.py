"""The window as a sensor of its own, and the trigger it waits by."""

from __future__ import annotations

import asyncio
import pkgutil
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from listkeeper.sensors.after_hours import AfterHoursSensor
from listkeeper.triggers import after_hours
from listkeeper.triggers.after_hours import AfterHoursTrigger
from pydantic import ValidationError

from tests.waiting import LIMIT

NEVER_OPEN: dict[str, str] = {}


def open_today() -> dict[str, str]:
    """Hours of a UTC office that is open all day, and tomorrow too: also for a test that runs over midnight."""
    days, today = ("mon", "tue", "wed", "thu", "fri", "sat", "sun"), datetime.now(UTC).weekday()
    return dict.fromkeys((days[today], days[(today + 1) % 7]), "00:00-24:00")


def sensor(**changes: Any) -> AfterHoursSensor:
    return AfterHoursSensor(**{"task_id": "evening", "zone": "UTC", "week": NEVER_OPEN} | changes)


async def first_event(trigger: AfterHoursTrigger, within: float = LIMIT) -> Any:
    async with asyncio.timeout(within):
        async for event in trigger.run():
            return event.payload
    raise AssertionError("the trigger ended without an event")


def test_a_closed_office_is_not_waited_for() -> None:
    assert sensor().execute({}) is None  # type: ignore[arg-type]


def test_an_open_office_is_waited_for_without_a_worker() -> None:
    week = open_today()
    with pytest.raises(TaskDeferred) as deferred:
        sensor(week=week, country="ZA", at_least_minutes=30).execute({})  # type: ignore[arg-type]
    path, arguments = deferred.value.trigger.serialize()
    assert arguments["hours"]["week"] == week and arguments["at_least_minutes"] == 30
    assert pkgutil.resolve_name(path)(**arguments).serialize() == (path, arguments)
    assert deferred.value.method_name == "resume"


def test_without_the_triggerer_it_pokes() -> None:
    week = open_today()
    assert sensor(deferrable=False).poke({}) is True  # type: ignore[arg-type]
    assert sensor(deferrable=False, week=week).poke({}) is False  # type: ignore[arg-type]


@time_machine.travel(datetime(2026, 11, 23, 12, tzinfo=UTC), tick=False)
def test_a_window_too_short_is_waited_past() -> None:
    week = {"mon": "12:20-24:00"}
    assert sensor(week=week).poke({}) is True  # type: ignore[arg-type]
    assert sensor(week=week, at_least_minutes=20).poke({}) is True  # type: ignore[arg-type]
    assert sensor(week=week, at_least_minutes=21).poke({}) is False  # type: ignore[arg-type]


def test_resuming_looks_once_more() -> None:
    week = open_today()
    with pytest.raises(TaskDeferred):
        sensor(week=week).resume({}, {"status": "after_hours"})  # type: ignore[arg-type]
    sensor().resume({}, {"status": "after_hours"})  # type: ignore[arg-type]
    for event in (None, {}, {"status": "error"}):
        with pytest.raises(AirflowFailException):
            sensor().resume({}, event)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"zone": "Mars"}, {"week": {"mon": "9-5"}}, {"country": "South Africa"}])
def test_wrong_hours_stop_the_parsing(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        sensor(**wrong)


def test_the_trigger_fires_at_once_when_the_office_is_closed() -> None:
    hours = sensor().hours
    assert asyncio.run(first_event(AfterHoursTrigger(hours=hours))) == {"status": "after_hours"}
    assert asyncio.run(first_event(AfterHoursTrigger())) == {"status": "after_hours"}


def test_the_trigger_waits_for_its_moment() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=0.3)
    assert asyncio.run(first_event(AfterHoursTrigger(not_before=moment.isoformat())))
    assert datetime.now(UTC) >= moment


def test_the_trigger_naps_while_the_office_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(after_hours, "LONGEST_NAP", 0.01)
    week = open_today()
    trigger = AfterHoursTrigger(hours=sensor(week=week).hours)
    with pytest.raises(TimeoutError):
        asyncio.run(first_event(trigger, within=0.3))
