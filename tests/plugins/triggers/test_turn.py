"""The trigger that waits for a turn: it looks at the ledger, takes nothing, and wakes a worker a little early."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.sdk.module_loading import import_string
from listkeeper.triggers import turn
from listkeeper.triggers.turn import TurnTrigger

from include.ledger import Ledger, Pace, Turn
from tests.waiting import LIMIT

PACE = Pace(2, timedelta(seconds=30))
ARGUMENTS = {"account": "ozonetel:1", "calls": 2, "window_seconds": 30.0, "spacing_seconds": 0.0}


@pytest.fixture
def ledger(state: Path):
    with Ledger(f"sqlite:///{state}/ledger.db") as opened:
        opened.migrate()
        yield opened


async def fired(trigger: TurnTrigger, within: float) -> dict | None:
    async def first():
        async for event in trigger.run():
            return event.payload
        raise AssertionError("The trigger ended without an event.")

    try:
        return await asyncio.wait_for(first(), within)
    except TimeoutError:
        return None


def call(ledger: Ledger) -> None:
    taken = ledger.take_turn("ozonetel:1", "load", PACE)
    assert isinstance(taken, Turn)
    ledger.end_turn("ozonetel:1", taken)


def test_it_is_rebuilt_as_it_was():
    classpath, arguments = TurnTrigger(**ARGUMENTS).serialize()
    assert arguments == ARGUMENTS
    assert import_string(classpath)(**arguments).serialize() == (classpath, arguments)


def test_a_free_turn_fires_at_once_and_is_not_taken(ledger):
    call(ledger)
    assert asyncio.run(fired(TurnTrigger(**ARGUMENTS), LIMIT)) == {"status": "turn"}
    call(ledger)


def test_it_waits_while_none_is_free(ledger):
    call(ledger)
    call(ledger)
    assert asyncio.run(fired(TurnTrigger(**ARGUMENTS), 0.5)) is None


def test_it_wakes_early_and_looks_again_when_others_were_faster(ledger, monkeypatch):
    monkeypatch.setattr(turn, "LONGEST_NAP", 0.05)
    monkeypatch.setattr(turn, "WAKE_EARLY", 29.9)
    call(ledger)
    call(ledger)
    before = datetime.now(UTC)
    ledger.hold_back("ozonetel:1", 30.4)  # the vendor said "too many" meanwhile
    assert asyncio.run(fired(TurnTrigger(**ARGUMENTS), LIMIT)) == {"status": "turn"}
    assert datetime.now(UTC) - before >= timedelta(seconds=0.5)  # not 0.1, as before the vendor's word
