"""Imports into iSales that crash at every write there is, and under random faults on the way and at the vendor.

The judges are the sandbox's campaign, which takes repeats here, so that a second import of a file shows as rows that
stand there twice, and its list of import tasks. A crash is a process that is gone at a write of the ledger or of a run
folder, at a call of the vendor, or in the middle of an upload; the next try knows only what was written down.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from listkeeper.hooks.isales import IsalesHook
from listkeeper.hooks.sftp import SftpUploadHook

from include.ledger import Ledger
from include.staging import RunFolder
from tests.flows.conftest import lead, make_snapshot
from tests.flows.runs import STEPS
from tests.flows.test_crashes import Crashes, CrashingRun
from tests.flows.test_import_flow import Campaign, import_file, settled, tenant  # noqa: F401

ROWS, FILES = 12, 3
ALL = Counter(str(1000 + n) for n in range(ROWS))
EXAMPLES = os.environ.get("CRASH_EXAMPLES")
"""Set it to look at so many new schedules; without it the same few are run each time."""

FLOW = import_file(max_records=5, remove_uploaded=True)
ABOUT = {"run_type": "asset_triggered", "partition_key": None, "triggering_user_name": None}

LEDGER_WRITES = (
    "plan_batches",
    "claim_target",
    "renew_claim",
    "intend",
    "accept",
    "settle",
    "mark_applied",
    "release_target",
)
OTHER_WRITES: dict[str, Any] = {
    "import_file": IsalesHook,
    "tasks": IsalesHook,
    "upload": SftpUploadHook,
    "_put": SftpUploadHook,  # before the name is right
    "_rename": SftpUploadHook,
    "remove": SftpUploadHook,
    "put": RunFolder,
    "commit": RunFolder,
}
POINTS = [f"{when} {write}" for write in (*LEDGER_WRITES, *OTHER_WRITES) for when in ("before", "after")]

FAULTS = st.one_of(
    st.builds(
        lambda fault, op, nth: {"vendor": "isales", "fault": fault, "op": op, "nth": nth},
        st.sampled_from(["drop_before", "drop_after", "truncated", "broken_json"]),
        st.sampled_from(["import", "query_imports"]),
        st.integers(1, 4),
    ),
    st.builds(
        lambda status, op, nth: {
            "vendor": "isales",
            "fault": "status",
            "status": status,
            "retry_after": 0,
            "op": op,
            "nth": nth,
        },
        st.sampled_from([401, 429, 500, 503]),
        st.sampled_from(["import", "query_imports"]),
        st.integers(1, 4),
    ),
    st.builds(
        lambda fault, nth: {"vendor": "isales", "fault": fault, "nth": nth},
        st.sampled_from(["import_error", "import_stuck"]),
        st.integers(1, FILES),
    ),
    st.builds(
        lambda fault, at, nth: {"vendor": "sftp", "fault": fault, "after_bytes": at, "nth": nth},
        st.sampled_from(["upload_cut", "upload_full", "upload_short", "upload_corrupt"]),
        st.integers(0, 5000),
        st.integers(1, 4),
    ),
    st.builds(
        lambda fault, nth: {"vendor": "sftp", "fault": fault, "nth": nth},
        st.sampled_from(["rename_refused", "rename_lost", "login_refused", "login_cut"]),
        st.integers(1, 4),
    ),
)


@pytest.fixture
def crash(monkeypatch) -> Crashes:
    crashes = Crashes(monkeypatch)
    for name in ("renew_claim", *OTHER_WRITES):
        owner = OTHER_WRITES.get(name, Ledger)
        if name != "commit":  # which `Crashes` watches already
            wrapped = crashes._wrapped(name, getattr(owner, name))
            monkeypatch.setattr(owner, name, staticmethod(wrapped) if name == "_rename" else wrapped)
    return crashes


@pytest.fixture
def vendor(sandbox) -> Campaign:
    sandbox.switch("isales", take_repeats=True)
    return Campaign(sandbox)


def judge(run: CrashingRun, vendor: Campaign, before: int = 0) -> int:
    """What the run says must be true of the campaign; returns how many rows stand there.

    :param before: how many stood there before the run.
    """
    settled(vendor)
    there = vendor.sessions
    assert set(there.values()) <= {1}, "a row was imported twice"
    asked = Counter(task["file"] for task in vendor.tasks if task["status"] != "3")
    assert set(asked.values()) <= {1}, "a file was imported twice"
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


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("after")])
def test_a_crash_at_every_point(make_dag, ledger, vendor, crash, point):
    """One crash, at each write there is: the next try ends the run, and it is green."""
    make_snapshot([lead(n) for n in range(ROWS)])
    crash.schedule = [point]
    run = CrashingRun(make_dag(FLOW), ledger, "night", {}, **ABOUT).go()
    assert not crash.schedule, "there is no such point"
    judge(run, vendor)
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}), run.problems
    assert (len(vendor.tasks), vendor.files) == (FILES, [])


count = itertools.count()


@settings(
    max_examples=int(EXAMPLES or 8),
    deadline=None,
    derandomize=EXAMPLES is None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(crashes=st.lists(st.sampled_from(POINTS), max_size=4), faults=st.lists(FAULTS, max_size=4))
def test_nothing_is_lost_and_nothing_imported_twice(
    installation, make_dag, sandbox, vendor, crash, monkeypatch, tmp_path, crashes, faults
):
    place = Path(tmp_path / str(next(count)))
    monkeypatch.setenv("LISTKEEPER_STAGING", str(place / "staging"))
    url = {"conn_type": "sqlite", "host": str(place / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_LEDGER", json.dumps(url))
    sandbox.reset()
    sandbox.switch("isales", take_repeats=True, step_seconds=0.01)
    dag = make_dag(FLOW | {"outcome_hours": 0.3 / 3600}, retries=6)
    with Ledger(f"sqlite:///{place / 'ledger.db'}") as ledger, crash.none():
        ledger.migrate()
        make_snapshot([lead(n) for n in range(ROWS)])
        for fault in faults:
            sandbox.fault(**fault)
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
        assert ledger.verify() == []
        if not any(fault["fault"] in ("import_error", "import_stuck") for fault in faults):
            assert vendor.sessions == ALL, "the campaign does not hold the night"
