"""Imports that crash at every write there is, and under random faults: the sandbox's campaign judges.

A crash is a process that is gone at a write of the ledger, at an upload, at the request, or at a note or commit of a
run folder; the next try knows only what was written down. No file may ever be imported twice.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from listkeeper.hooks.isales import IsalesHook
from listkeeper.hooks.sftp import SftpUploadHook

from include.ledger import Ledger
from include.staging import RunFolder
from tests.flows.conftest import STEPS, lead, make_snapshot
from tests.flows.test_crashes import Crashes, CrashingRun
from tests.flows.test_import_flow import ALL, ROWS, Campaign, import_file, settled, tenant  # noqa: F401

EXAMPLES = os.environ.get("CRASH_EXAMPLES")
FLOW = import_file(max_records=7)
ABOUT = {"run_type": "asset_triggered", "partition_key": None, "triggering_user_name": None}

LEDGER_WRITES = (
    "open_load",
    "record",
    "plan_batches",
    "claim_target",
    "renew_claim",
    "intend",
    "accept",
    "settle",
    "mark_applied",
    "release_target",
    "finish_load",
)
OTHER_WRITES = {"upload": SftpUploadHook, "import_file": IsalesHook, "put": RunFolder, "commit": RunFolder}
POINTS = [f"{when} {write}" for write in (*LEDGER_WRITES, *OTHER_WRITES) for when in ("before", "after")]

FAULTS = st.one_of(
    st.builds(
        lambda fault, op, nth: ("isales", {"fault": fault, "op": op, "nth": nth}),
        st.sampled_from(["drop_before", "drop_after", "truncated", "broken_json"]),
        st.sampled_from(["import", "query_imports"]),
        st.integers(1, 3),
    ),
    st.builds(
        lambda status, op, nth: (
            "isales",
            {"fault": "status", "status": status, "retry_after": 0, "op": op, "nth": nth},
        ),
        st.sampled_from([429, 503, 500, 400]),
        st.sampled_from(["import", "query_imports"]),
        st.integers(1, 3),
    ),
    st.builds(
        lambda fault, nth: ("isales", {"fault": fault, "nth": nth}),
        st.sampled_from(["import_error", "import_stuck"]),
        st.integers(1, 2),
    ),
    st.builds(
        lambda fault, at, nth: ("sftp", {"fault": fault, "after_bytes": at, "nth": nth}),
        st.sampled_from(["upload_cut", "upload_corrupt", "upload_short", "rename_lost", "login_cut"]),
        st.integers(0, 5000),
        st.integers(1, 2),
    ),
)


@pytest.fixture
def crash(monkeypatch) -> Crashes:
    crashes = Crashes(monkeypatch)
    for name in ("renew_claim", *OTHER_WRITES):
        owner = OTHER_WRITES.get(name, Ledger)
        if name != "commit":  # which `Crashes` watches already
            monkeypatch.setattr(owner, name, crashes._wrapped(name, getattr(owner, name)))
    return crashes


def judge(run: CrashingRun, vendor: Campaign, before: int = 0) -> int:
    """What the run says must be true of the campaign; returns how many rows stand there.

    :param before: how many stood there before the run.
    """
    settled(vendor)
    there = vendor.sessions
    assert set(there.values()) <= {1}, "a row stands there twice"
    imported = Counter(task["file"] for task in vendor.tasks)
    assert set(imported.values()) <= {1}, "a file was imported twice"
    if not run.summary:
        assert run.state == "failed"
        return len(there)
    run.assert_accounted()
    summary = run.summary
    if summary["verdict"] not in ("refused", "unchanged"):
        new = len(there) - before
        assert summary["delivered"] <= new <= summary["delivered"] + summary["uncertain"]
    if run.state == "success":
        assert there == ALL
    return len(there)


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_every_point(make_dag, ledger, sandbox, crash, point):
    """One crash, at each write there is: the next try ends the run, and it is green."""
    make_snapshot([lead(n) for n in range(ROWS)])
    crash.schedule = [point]
    run = CrashingRun(make_dag(FLOW), ledger, "night", {}, **ABOUT).go()
    assert not crash.schedule, "there is no such point"
    judge(run, Campaign(sandbox))
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}), run.problems


count = itertools.count()


@settings(
    max_examples=int(EXAMPLES or 10),
    deadline=None,
    derandomize=EXAMPLES is None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(crashes=st.lists(st.sampled_from(POINTS), max_size=4), faults=st.lists(FAULTS, max_size=3))
def test_nothing_is_lost_and_no_file_imported_twice(
    installation, make_dag, sandbox, crash, monkeypatch, tmp_path, crashes, faults
):
    place = Path(tmp_path / str(next(count)))
    monkeypatch.setenv("LISTKEEPER_STAGING", str(place / "staging"))
    url = {"conn_type": "sqlite", "host": str(place / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_LEDGER", json.dumps(url))
    sandbox.reset()
    sandbox.switch("isales", step_seconds=0.01)
    vendor = Campaign(sandbox)
    dag = make_dag(FLOW | {"outcome_hours": 0.3 / 3600}, retries=6)
    with Ledger(f"sqlite:///{place / 'ledger.db'}") as ledger, crash.none():
        ledger.migrate()
        make_snapshot([lead(n) for n in range(ROWS)])
        for of, fault in faults:
            sandbox.fault(of, **fault)
        crash.schedule = list(crashes)
        night = CrashingRun(dag, ledger, "night", {}, **ABOUT).go()
        note(f"night: {night.tasks} {night.summary}")
        there = judge(night, vendor)

        # The morning after: the vendor is well again, and a person clears what is red.
        crash.schedule = []
        sandbox._control("DELETE", "/faults")
        red = [name for name in STEPS if night.tasks[name] in ("failed", "upstream_failed")]
        if red:
            night.go(red[0])
            note(f"cleared: {night.tasks} {night.summary}")
            there = judge(night, vendor)

        # And the same night once more.
        again = CrashingRun(dag, ledger, "again", {}, **ABOUT).go()
        note(f"again: {again.tasks} {again.summary}")
        judge(again, vendor, there)
        well = not any(fault["fault"] in ("import_error", "import_stuck") for _, fault in faults)
        if well:  # nothing stays in doubt once the vendor is well
            assert vendor.sessions == ALL, "the campaign does not hold the night"
        assert ledger.verify() == []
