"""The control paths: addresses, reset, clock, switches, state; and the server itself."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

import httpx
import pytest
import uvloop

from include.sandbox.clock import Clock
from include.sandbox.server import PortTakenError, SandboxServer
from include.sandbox.switches import PureCallerIdSwitches, Switches
from tests.include.sandbox.conftest import PureCallerIdClient
from tests.waiting import LIMIT

A = (2012000001, "NJ")


@contextmanager
def passing() -> Iterator[list[timedelta]]:
    """What the block asks for, it gets within this time: how long the block took stands in the list behind it."""
    took: list[timedelta] = []
    began = monotonic()
    yield took
    took.append(timedelta(seconds=monotonic() - began))


def assert_real_time(server):
    before = datetime.now(UTC)
    assert before <= told_time(server) <= datetime.now(UTC)


def test_addresses_and_keys(small):
    info = small.info()
    assert info["base_url"] == small.base_url
    assert set(info) == {"base_url", "platform", "purecallerid", "vicidial", "ozonetel", "isales", "data"}
    assert set(info["platform"]) == {"token", "prefix"}
    assert info["platform"]["prefix"] == "/platform-api"
    assert info["vicidial"] == {"key": "sandbox-vicidial-key", "leads": 600}
    vendor = info["purecallerid"]
    assert set(vendor) == {"key", "campaigns", "lists"}
    assert (len(vendor["key"]), len(base64.b64decode(vendor["key"], validate=True))) == (44, 32)
    assert set(vendor["campaigns"]) == set(vendor["lists"]) == {"five9", "ringcx"}
    assert all(len(bytes.fromhex(campaign)) == 12 for campaign in vendor["campaigns"].values())


def test_reset_restores_everything(purecallerid, small):
    purecallerid.load([A])
    small.fault("platform", "drop_before")
    small.switch("platform", page_size=1)
    small.clock(datetime(2030, 1, 1, tzinfo=UTC))
    small.reset()
    state = small.state("purecallerid")
    assert (state["loads"], state["calls"], state["counts"]["Nightly callers"]) == ([], {}, 0)
    assert httpx.get(f"{small.base_url}/_sandbox/faults").json() == []
    switches = httpx.get(f"{small.base_url}/_sandbox/switches").json()
    assert switches["platform"]["page_size"] == 100
    assert switches["purecallerid"]["step_seconds"] == 0.01  # as the server was started
    assert_real_time(small)


def test_reset_stops_loads_on_their_way(purecallerid, small, receiver):
    small.switch("purecallerid", step_seconds=0.2)
    receiver.hold()  # the next webhook waits for the answer to this one
    purecallerid.post([A], webhookUrl=receiver.url)
    receiver.wait(lambda seen: seen == ["QUEUED"])
    small.reset()
    receiver.release()
    sleep(0.5)
    assert receiver.statuses == ["QUEUED"]
    assert small.state("purecallerid")["counts"]["Nightly callers"] == 0


def told_time(server):
    return datetime.fromisoformat(httpx.get(f"{server.base_url}/_sandbox/clock").json()["now"])


def test_the_clock_runs_on_from_where_it_is_set(purecallerid, small):
    start = datetime(2030, 1, 2, 8, tzinfo=UTC)
    with passing() as took:
        small.clock(datetime.fromisoformat("2030-01-02T03:00:00-05:00"))
        told = told_time(small)
        uploaded = datetime.fromisoformat(purecallerid.load([A])["uploaded"])
    assert start <= told <= start + took[0]
    assert start <= uploaded <= start + took[0]
    small.clock(None)
    assert_real_time(small)


def test_the_clock_runs_faster(purecallerid, small):
    small.clock(datetime(2030, 1, 2, tzinfo=UTC), speed=500)
    moments = [monotonic(), told_time(small), monotonic()]
    sleep(0.05)
    moments += [monotonic(), told_time(small), monotonic()]
    asked, since, answered, asked_again, now, answered_again = moments
    passed = (now - since).total_seconds() / 500
    # Between the two answers, however long a busy machine takes for each.
    assert asked_again - answered - 0.01 <= passed <= answered_again - asked + 0.01
    small.switch("purecallerid", step_seconds=60)  # a pause of the vendor passes as fast
    with passing() as took:
        load = purecallerid.load([A])
    assert load["processingStart"][:10] == "2030-01-02"
    waited = datetime.fromisoformat(load["processingStart"]) - datetime.fromisoformat(load["uploaded"])
    assert timedelta(seconds=120) <= waited <= 500 * took[0]


def test_no_sleep_ends_early():
    clock = Clock()

    async def shortest() -> float:
        async def one() -> float:
            began = monotonic()
            await clock.sleep(0.0034)  # no whole number of milliseconds
            return monotonic() - began

        async def others() -> None:  # a loop that is woken for others ends its sleeps the earliest
            while True:
                await asyncio.sleep(0.0003)

        noise = asyncio.create_task(others())
        found = min([await one() for _ in range(200)])
        noise.cancel()
        return found

    assert uvloop.run(shortest()) >= 0.0034  # the loop that the sandbox's server runs on


def test_the_speed_is_told_and_ends_with_the_next_time(small):
    url = f"{small.base_url}/_sandbox/clock"
    small.clock(datetime(2030, 1, 1, tzinfo=UTC))
    told = httpx.post(url, json={"speed": 60}).json()  # the time that it is, only faster
    assert (told["now"][:10], told["speed"]) == ("2030-01-01", 60)
    assert small.state("platform")["clock"]["speed"] == 60
    assert httpx.post(url, json={"now": "2031-01-01T00:00:00Z"}).json()["speed"] == 1
    before = datetime.now(UTC)
    with passing() as took:
        assert httpx.post(url, json={"now": None, "speed": 2}).json()["speed"] == 2
        told = told_time(small)
    assert before <= told <= before + 2 * took[0] + timedelta(milliseconds=10)
    small.reset()
    assert httpx.get(url).json()["speed"] == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"now": "soon"}', b'{"now": null, "zone": "x"}', b'{"speed": 0}', b'{"speed": 1e9}'],
)
def test_the_clock_refuses_what_is_no_time(small, body):
    assert httpx.post(f"{small.base_url}/_sandbox/clock", content=body).status_code == 400


def test_the_clock_does_not_move_leads(sandbox, platform):
    before = platform.get("/leads/105000").json()
    sandbox.clock(datetime(2030, 1, 1, tzinfo=UTC))
    assert platform.get("/leads/105000").json() == before


@pytest.mark.parametrize(
    "body",
    [[], "x", {"platform": 7}, {"nobody": {}}, {"platform": {"page_size": 0}}, {"platform": {"pages": 1}}],
)
def test_impossible_switches_are_refused_and_change_nothing(small, body):
    url = f"{small.base_url}/_sandbox/switches"
    before = httpx.get(url).json()
    answer = httpx.post(url, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert httpx.get(url).json() == before


def test_state_of_the_platform(platform, sandbox):
    before = datetime.now(UTC)
    platform.get("/leads", listId=100)
    platform.get("/leads/1")
    state = sandbox.state("platform")
    assert state["calls"] == {"list_leads": 1, "get_lead": 1}
    times = [datetime.fromisoformat(request.pop("time")) for request in state["requests"]]
    assert times == sorted(times)
    assert before <= times[0] <= datetime.now(UTC)
    assert state["requests"] == [
        {"op": "list_leads", "uri": "/platform-api/v3.0/leads?listId=100", "status": 200},
        {"op": "get_lead", "uri": "/platform-api/v3.0/leads/1", "status": 404},
    ]
    assert (
        state["counts"]["leads"] == sum(state["counts"]["lists"].values()) == sandbox.info()["data"]["leads"]
    )


def test_state_without_rows(purecallerid, small):
    purecallerid.load([A])
    state = small.state("purecallerid", rows=False)
    assert (state["lists"]["Nightly callers"], state["counts"]["Nightly callers"]) == ([], 1)
    assert httpx.get(f"{small.base_url}/_sandbox/state/nobody").status_code == 404


def test_page_delay(tenant, small):
    small.switch("platform", page_delay_ms=50, page_size=5)
    start = monotonic()
    tenant.pages("/leads")
    assert monotonic() - start >= 0.1


def test_it_stops_with_work_left():
    start = monotonic()
    slow = Switches(purecallerid=PureCallerIdSwitches(step_seconds=600))
    with SandboxServer(switches=slow) as server:
        assert server.info()["data"]["leads"] > 10_000
        assert PureCallerIdClient(server).post([A]).status_code == 200
    assert monotonic() - start < 600  # the load's first step was not waited for
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.base_url)


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port} .* Choose another"):
            SandboxServer(port=port)
        run = subprocess.run(
            [sys.executable, "-m", "include.sandbox", "--port", str(port)], capture_output=True, text=True
        )
    assert run.returncode == 1
    assert run.stderr.startswith(f"Port {port} ")


def test_the_command_line(tmp_path):
    leads, suppression = tmp_path / "my.csv", tmp_path / "suppression.csv"
    leads.write_text("phone,id\n2012000001,7\n")
    (tmp_path / "temporary").mkdir()
    arguments = ["--port", "0", "--leads", str(leads), "--suppression", str(suppression), "--page-size", "7"]
    run = subprocess.Popen(
        [sys.executable, "-m", "include.sandbox", *arguments, "--no-allow-http-webhook"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    try:
        url = run.stdout.readline().split()[-1]
        assert list((tmp_path / "temporary").iterdir())  # the SFTP server's files
        info = httpx.get(url).json()
        assert (info["data"]["leads"], info["base_url"] + "/_sandbox") == (1, url)
        switches = httpx.get(f"{url}/switches").json()
        assert switches["platform"]["page_size"] == 7
        assert switches["purecallerid"]["allow_http_webhook"] is False
        assert suppression.exists()
    finally:
        run.terminate()
        run.wait(LIMIT)
        run.stdout.close()
    assert not list((tmp_path / "temporary").iterdir())
