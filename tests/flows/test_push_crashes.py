"""Pushes that crash at every write there is, and under random faults: the sandbox's list judges.

A crash is a process that is gone at a write of the ledger, at a call of the vendor, or at a note or commit of a run
folder; the next try knows only what was written down.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from listkeeper.hooks.platform import PlatformHook

from include.ledger import Ledger
from include.staging import RunFolder
from tests.flows.conftest import lead, make_snapshot
from tests.flows.runs import STEPS
from tests.flows.test_crashes import Crashes, CrashingRun
from tests.flows.test_push_flow import ODD_ZONE, Tenant, keys, push_file, tenant  # noqa: F401

ROWS, BAD = 7, (2, 6)
EXAMPLES = os.environ.get("CRASH_EXAMPLES")
FLOW = push_file(list="Autumn", create_list=True, lookup_minutes=0.15 / 60, min_valid_share=0.5)
GOOD = keys(*(n for n in range(ROWS) if n not in BAD))

LEDGER_WRITES = (
    "open_load",
    "record",
    "plan_batches",
    "claim_target",
    "intend",
    "accept",
    "settle",
    "mark_applied",
    "release_target",
    "finish_load",
)
OTHER_WRITES = {
    "create_list": PlatformHook,
    "bulk_create": PlatformHook,
    "put": RunFolder,
    "commit": RunFolder,
}
POINTS = [f"{when} {write}" for write in (*LEDGER_WRITES, *OTHER_WRITES) for when in ("before", "after")]

VENDOR_FAULTS = st.one_of(
    st.builds(
        lambda fault, op, nth: {"fault": fault, "op": op, "nth": nth},
        st.sampled_from(["drop_before", "drop_after", "truncated", "broken_json"]),
        st.sampled_from(
            ["create_bulk", "create_list", "get_bulk", "list_bulk_errors", "list_leads", "list_lists"]
        ),
        st.integers(1, 3),
    ),
    st.builds(
        lambda status, op, nth: {"fault": "status", "status": status, "retry_after": 0, "op": op, "nth": nth},
        st.sampled_from([429, 503, 500, 401]),
        st.sampled_from(["create_bulk", "create_list", "get_bulk", "list_leads"]),
        st.integers(1, 3),
    ),
    st.builds(
        lambda fault, nth: {"fault": fault, "op": "create_bulk", "nth": nth},
        st.sampled_from(["import_error", "import_loses_row"]),
        st.integers(1, 4),
    ),
)


@pytest.fixture
def crash(monkeypatch) -> Crashes:
    crashes = Crashes(monkeypatch)
    for name, owner in OTHER_WRITES.items():
        if name != "commit":  # which `Crashes` watches already
            monkeypatch.setattr(owner, name, crashes._wrapped(name, getattr(owner, name)))
    return crashes


def leads() -> list[dict]:
    return [lead(n, **(ODD_ZONE if n in BAD else {})) for n in range(ROWS)]


def judge(run: CrashingRun, vendor: Tenant, before: int = 0) -> int:
    """What the run says must be true of the list; returns how many leads stand there.

    :param before: how many stood there before the run.
    """
    there = vendor.keys("Autumn")
    assert set(there.values()) <= {1}, "a lead was put on the list twice"
    assert len(vendor.lists("Autumn")) <= 1, "the list was created twice"
    if not run.summary:
        assert run.state == "failed"
        return len(there)
    run.assert_accounted()
    summary = run.summary
    if summary["verdict"] not in ("refused", "unchanged"):
        new = len(there) - before
        assert summary["delivered"] <= new <= summary["delivered"] + summary["uncertain"]
        delivered = run.outcomes.filter(run.outcomes["state"] == "delivered")["row_key"]
        assert {f"C-{int(key) - 1000:05d}" for key in delivered} <= set(there)
    if run.state == "success":
        assert there == GOOD
    return len(there)


ABOUT = {"run_type": "asset_triggered", "partition_key": None, "triggering_user_name": None}


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_every_point(make_dag, ledger, sandbox, crash, point):
    """One crash, at each write there is: the next try ends the run, and it is green."""
    make_snapshot(leads())
    crash.schedule = [point]
    run = CrashingRun(make_dag(FLOW), ledger, "night", {}, **ABOUT).go()
    assert not crash.schedule, "there is no such point"
    judge(run, Tenant(sandbox))
    assert run.state == "success", run.problems
    assert run.counts == {"delivered": ROWS - len(BAD), "rejected": len(BAD)}
    assert run.reasons["vendor_row_error"] == len(BAD)


count = itertools.count()


@settings(
    max_examples=int(EXAMPLES or 5),
    deadline=None,
    derandomize=EXAMPLES is None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    crashes=st.lists(st.sampled_from(POINTS), max_size=4),
    faults=st.lists(VENDOR_FAULTS, max_size=3),
)
def test_nothing_is_lost_and_nothing_sent_twice(
    make_dag, sandbox, crash, monkeypatch, tmp_path, crashes, faults
):
    place = Path(tmp_path / str(next(count)))
    monkeypatch.setenv("LISTKEEPER_STAGING", str(place / "staging"))
    url = {"conn_type": "sqlite", "host": str(place / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_LEDGER", json.dumps(url))
    sandbox.reset()
    sandbox.switch("platform", bulk_step_seconds=0.02)
    vendor = Tenant(sandbox)
    dag = make_dag(FLOW, retries=6)
    with Ledger(f"sqlite:///{place / 'ledger.db'}") as ledger, crash.none():
        ledger.migrate()
        make_snapshot(leads())
        for fault in faults:
            sandbox.fault("platform", **fault)
        crash.schedule = list(crashes)
        night = CrashingRun(dag, ledger, "night", {}, **ABOUT).go()
        note(f"night: {night.tasks} {night.summary}")

        # The morning after: the vendor is well again, and a person clears what is red.
        crash.schedule = []
        sandbox._control("DELETE", "/faults")
        there = judge(night, vendor)
        red = [name for name in STEPS if night.tasks[name] in ("failed", "upstream_failed")]
        if red:
            night.go(red[0])
            note(f"cleared: {night.tasks} {night.summary}")
            there = judge(night, vendor)

        # And the same night once more: whatever went wrong, now every good lead is there, once.
        again = CrashingRun(make_dag(FLOW, retries=6), ledger, "again", {}, **ABOUT).go()
        note(f"again: {again.tasks} {again.summary}")
        judge(again, vendor, there)
        assert vendor.keys("Autumn") == GOOD
        assert ledger.verify() == []
