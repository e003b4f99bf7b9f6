"""A fleet of two workers without a common disk keeps the promises of one machine: `make fleet`, minutes.

PostgreSQL, Redis and the S3 server are real servers; each worker has a disk of its own, and is killed with -9.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from include import safe, staging
from include.erasure.keys import ErasureKey
from include.ledger import TargetLockedError
from include.stack.fleet import STAGING, WORKERS, Fleet
from include.stack.services import ServiceError, require_programs

PACKAGES = ("celery", "s3fs", "moto.server", "asyncpg")

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

SOURCE = """
kind: pull_platform_leads
name: {name}
zone: America/New_York
schedule: "0 {hour} * * *"
{what}
shards: 1
"""
FIVE9 = """
kind: load_purecallerid
name: {name}
source: base
dialer: five9
campaign: 64be9f5c0c8d4a1f2b3c4d5e
list: {list}
mode: REPLACE
released: true
unique_column: uniqueId
columns: [{{to: number1, from: phone}}, {{to: uniqueId, from: row_key}}]
guards: {{max_source_age_hours: 999, max_shrink_percent: 100}}
"""
OZONETEL = """
kind: load_ozonetel
name: {name}
source: weekend
campaign: {campaign}
duplicates: skip_all
released: true
batch_size: 200
columns: [{{to: PhoneNumber, from: phone}}, {{to: Name, from: data.name}}]
guards: {{max_source_age_hours: 999}}
"""
ISALES = """
kind: import_isales
name: uploaded
source: base
vdn_id: 1
campaign: "1803096731904991234"
server: "164690088271159234793429225848"
sftp_root: /home/sftp
released: true
when_live: allow
lookup_seconds: 1
columns: [{to: called, from: phone}]
guards: {max_source_age_hours: 999}
"""
LISTS = {"killed": "Nightly callers", "locked": "Weekend callers", "called_back": "Renewals"}
CAMPAIGNS = {"collections": "Collections nightly", "winback": "Win-back", "renewals": "Renewals"}
BASE, WEEKEND = "pull_platform_leads__base", "pull_platform_leads__weekend"
IMPORT = "import_isales__uploaded"


@pytest.fixture(scope="module")
def rig(rigged: Callable[..., Any]) -> Iterator[Any]:
    """A fleet that has pulled two small sources, whose deliveries the tests start by hand."""
    for package in PACKAGES:
        pytest.importorskip(package, reason="a fleet needs requirements-distributed.lock: make fleet")
    try:
        require_programs()
    except ServiceError as error:
        pytest.skip(str(error))
    hour = (datetime.now(ZoneInfo("America/New_York")).hour + 12) % 24  # not while the tests run
    flows = {
        "base.yaml": SOURCE.format(name="base", hour=hour, what="filters: {listId: 100}"),
        "weekend.yaml": SOURCE.format(name="weekend", hour=hour, what="mode: full\nfilters: {listId: 101}"),
        "uploaded.yaml": ISALES,
        **{f"{name}.yaml": FIVE9.format(name=name, list=list_name) for name, list_name in LISTS.items()},
        **{f"{name}.yaml": OZONETEL.format(name=name, campaign=c) for name, c in CAMPAIGNS.items()},
    }
    loads = [IMPORT, *map(five9, LISTS), *map(ozonetel, CAMPAIGNS)]
    with rigged(flows, make=Fleet) as rig:
        rig.begin(BASE, WEEKEND, *loads)
        pulls = {BASE: sorted(rig.nights)[1], WEEKEND: rig.last_night}
        for dag_id in pulls:
            rig.airflow.unpause(dag_id)
        runs = {dag_id: rig.airflow.trigger(dag_id, partition_key=night) for dag_id, night in pulls.items()}
        for dag_id, run_id in runs.items():
            assert rig.ended(dag_id, run_id)[0] == "success"
        # Only now, so that no delivery follows these pulls by itself.
        for dag_id in loads:
            rig.airflow.unpause(dag_id)
        yield rig
        assert rig.stack.left_on_disks() == []


@pytest.fixture(autouse=True)
def calm(rig: Any) -> Iterator[None]:
    """Each test sets its own faults and pace, and begins with both workers."""
    yield
    rig.no_faults()
    rig.switch("purecallerid", step_seconds=0.2)


@pytest.fixture
def staged(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process sees the fleet's staging area as its workers do."""
    for name, value in rig.stack.environment().items():
        if name.startswith(("AWS_", "LISTKEEPER_STAGING")):
            monkeypatch.setenv(name, value)
    assert os.environ["LISTKEEPER_STAGING"] == STAGING


def five9(name: str) -> str:
    return f"load_purecallerid__{name}"


def ozonetel(name: str) -> str:
    return f"load_ozonetel__{name}"


def start(rig: Any, dag_id: str, night: str | None = None) -> str:
    return str(rig.airflow.trigger(dag_id, conf={"night": night or sorted(rig.nights)[1]}))


def check_accounted(summary: dict[str, Any]) -> None:
    states = ("delivered", "rejected", "suppressed", "held", "uncertain")
    assert summary["rows_in"] == sum(summary[state] for state in states) > 0


def check_delivered(rig: Any, name: str, run_id: str) -> dict[str, Any]:
    """The run is green, and the list holds each delivered row once."""
    state, summary = rig.ended(five9(name), run_id)
    assert (state, summary["verdict"]) == ("success", "delivered"), summary
    check_accounted(summary)
    rows = rig.rows_on(LISTS[name])
    assert len(rows) == len({row["uniqueId"] for row in rows}) == summary["delivered"] > 0
    return dict(summary)


def kill_the_worker_of(rig: Any, dag_id: str, run_id: str) -> str:
    """Kill the worker that runs the load, and say which one is left."""
    dead = rig.task(dag_id, run_id, "load")["hostname"]
    rig.stack.kill(dead)
    return next(worker for worker in WORKERS if worker != dead)


def check_ended_on(rig: Any, dag_id: str, run_id: str, worker: str) -> None:
    """The load was tried again, on the worker that was left; then the other one comes back."""
    load = rig.task(dag_id, run_id, "load")
    assert (load["hostname"], load["state"]) == (worker, "success")
    assert load["try_number"] >= 2
    for other in WORKERS:
        if other != worker:
            rig.stack.restart(other)
    rig.stack.wait_healthy()


@pytest.mark.usefixtures("staged")
def test_a_worker_killed_in_a_load_leaves_it_to_the_other(rig: Any) -> None:
    dag_id = five9("killed")
    rig.fault("purecallerid", "delay", seconds=120)  # what the first worker sends arrives nowhere
    run_id = start(rig, dag_id)
    rig.until_sending(dag_id, run_id)
    left = kill_the_worker_of(rig, dag_id, run_id)
    rig.no_faults()

    check_delivered(rig, "killed", run_id)
    check_ended_on(rig, dag_id, run_id, left)
    assert len(rig.loads_of(LISTS["killed"])) == 1
    check_staged_whole()


@pytest.mark.usefixtures("staged")
def test_a_worker_killed_in_an_upload_leaves_it_to_the_other(rig: Any) -> None:
    rig.switch("isales", take_repeats=True)  # so that a file imported twice is seen in the campaign
    rig.fault("sftp", "upload_slow", seconds=120)
    run_id = start(rig, IMPORT)
    rig.wait("the upload", lambda: [e for e in rig.vendor("isales")["sftp"] if e["op"] == "upload"])
    left = kill_the_worker_of(rig, IMPORT, run_id)
    rig.no_faults()

    state, summary = rig.ended(IMPORT, run_id)
    assert (state, summary["verdict"]) == ("success", "delivered"), summary
    check_accounted(summary)
    check_ended_on(rig, IMPORT, run_id, left)
    held = rig.vendor("isales")
    assert len(held["tasks"]) == 1
    assert held["campaigns"]["1803096731904991234"]["count"] == summary["delivered"] > 0
    names = [file["path"] for file in held["files"]]
    assert len(names) == 1 and not names[0].endswith(".part")
    check_staged_whole()


def check_staged_whole() -> None:
    """Every run folder that shows itself is whole, as its manifest says."""
    places = {file.path.rpartition("/")[0] for file in staging.files("runs")}
    folders = [folder for folder in map(staging.RunFolder, places) if folder.exists()]
    assert len(folders) >= 3
    for folder in folders:
        with folder.reading():
            pass


def test_a_list_has_one_writer_over_all_machines(rig: Any) -> None:
    dag_id = five9("locked")
    rig.fault("purecallerid", "delay", seconds=15)
    run_id = start(rig, dag_id)
    rig.until_sending(dag_id, run_id)
    theirs = rig.ledger.load_for_run(dag_id, run_id)
    ours = rig.ledger.open_load(
        flow="locked",
        vendor="purecallerid",
        dag_id="another_machine",
        run_id="1",
        target=theirs.target,
        night=theirs.night,
        source_time=datetime.now(UTC),
        snapshot=theirs.snapshot,
        plan_hash="0",
        mode="apply",
        requested_by=None,
        reason=None,
        rows_in=1,
    )
    with pytest.raises(TargetLockedError):
        rig.ledger.claim_target(ours.id, timedelta(minutes=1))
    check_delivered(rig, "locked", run_id)


@pytest.mark.usefixtures("staged")
def test_a_callback_reaches_a_load_that_waits_on_no_worker(rig: Any) -> None:
    dag_id = five9("called_back")
    rig.switch("purecallerid", step_seconds=20)
    run_id = start(rig, dag_id)
    rig.until_task(dag_id, run_id, "load", "deferred")
    rig.switch("purecallerid", step_seconds=0.5)
    delivered = check_delivered(rig, "called_back", run_id)["delivered"]
    answers = [webhook["answer"] for webhook in rig.webhooks_of(LISTS["called_back"])]
    assert set(answers) == {200} and answers

    # What was put on the list is in the safe, in object storage, and opens with the key alone.
    load = rig.ledger.load_for_run(dag_id, run_id)
    (copy,) = safe.copies(load.target)
    key = ErasureKey("sandbox-erasure-key")
    sent = rig.batch(dag_id, run_id).rows
    assert sum(frame.height for frame in safe.leads(key, copy)) == sent >= delivered


def test_two_workers_keep_ozonetels_pace_together(rig: Any) -> None:
    runs = {name: start(rig, ozonetel(name), rig.last_night) for name in CAMPAIGNS}
    machines: set[str] = set()
    for name, run_id in runs.items():
        dag_id = ozonetel(name)

        def over(dag_id: str = dag_id, run_id: str = run_id) -> bool:
            machines.update(
                rig.task(ozonetel(other), runs[other], "load")["hostname"] or "" for other in CAMPAIGNS
            )
            return rig.airflow.run(dag_id, run_id)["state"] in ("success", "failed")

        rig.wait(f"{dag_id} to end", over, seconds=600)
        state, summary = rig.ended(dag_id, run_id)
        assert (state, summary["verdict"]) == ("success", "delivered"), summary
        check_accounted(summary)
    told = rig.vendor("ozonetel")
    assert {hit["answer"] for hit in told["hits"]} == {"accepted"}
    assert len(told["hits"]) > 5
    assert told["highest_in_60_seconds"] <= 5
    assert machines - {""} == set(WORKERS)
