"""The trigger that waits for imports: it ends when they have, when time is up, or when the task must look itself."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from listkeeper.hooks import platform_requests
from listkeeper.hooks.platform import PlatformHook
from listkeeper.triggers.imports import PlatformImportTrigger

from tests.waiting import LIMIT

TOKEN = "sandbox-platform-token"


@pytest.fixture
def sandbox(small_sandbox, monkeypatch):
    small_sandbox.reset()
    small_sandbox.switch("platform", bulk_step_seconds=0.05)
    connect(monkeypatch, small_sandbox)
    monkeypatch.setattr(platform_requests, "TRIES", 1)
    return small_sandbox


def connect(monkeypatch, sandbox, password: str = TOKEN) -> None:
    told = {"conn_type": "platform", "host": sandbox.base_url, "password": password}
    monkeypatch.setenv("AIRFLOW_CONN_PLATFORM_DEFAULT", json.dumps(told))


def imports(count: int) -> list[str]:
    hook = PlatformHook()
    try:
        return [hook.bulk_create([{"listId": 300, "customerKey": str(n)}]).uuid for n in range(count)]
    finally:
        hook.close()


def trigger(uuids: list[str], seconds: float = LIMIT) -> PlatformImportTrigger:
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    return PlatformImportTrigger(connection="platform_default", uuids=uuids, until=until, poll_seconds=0.02)


def fire(made: PlatformImportTrigger) -> Any:
    async def first() -> Any:
        async for event in made.run():
            return event.payload
        raise AssertionError("no event")

    return asyncio.run(first())


def test_it_survives_a_restart_of_the_triggerer():
    made = trigger(["u-1"])
    path, arguments = made.serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == made.serialize()
    assert TOKEN not in json.dumps(arguments)


def test_it_ends_when_all_imports_have(sandbox):
    assert fire(trigger(imports(3))) == {"status": "ended"}
    assert [one["status"] for one in sandbox.state("platform")["imports"]] == ["completed"] * 3


def test_an_import_that_never_ends_ends_at_the_deadline(sandbox):
    sandbox.fault("platform", "import_stuck", op="create_bulk", nth=2)
    assert fire(trigger(imports(3), seconds=0.5)) == {"status": "deadline"}


def test_it_looks_before_it_reads_the_clock(sandbox):
    uuids = imports(1)
    time.sleep(0.15)
    assert fire(trigger(uuids, seconds=-10)) == {"status": "ended"}


def test_without_imports_it_waits_for_the_time(sandbox):
    began = datetime.now(UTC)
    assert fire(trigger([], seconds=0.2)) == {"status": "deadline"}
    assert datetime.now(UTC) - began >= timedelta(seconds=0.2)


def test_what_the_task_must_meet_itself_ends_the_waiting(sandbox, monkeypatch):
    assert fire(trigger(["nobody-knows-me"])) == {"status": "ended"}
    uuids = imports(1)
    connect(monkeypatch, sandbox, "wr0ng-token-of-someone")
    assert fire(trigger(uuids)) == {"status": "ended"}


def test_a_vendor_that_is_away_is_asked_again(sandbox):
    uuids = imports(1)
    sandbox.fault("platform", "status", status=503, op="get_bulk", times=3)
    sandbox.fault("platform", "drop_before", op="get_bulk", nth=5)
    assert fire(trigger(uuids)) == {"status": "ended"}
