"""Random schedules of crashes and vendor faults: nothing is lost, and nothing is sent twice in silence.

The judge is what the sandbox's lists hold. A crash is a process that is gone at a write of the ledger, at the call of
the vendor, or at the commit of a run folder; the next try knows only what was written down.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from include.ledger import Ledger
from include.staging import RunFolder
from tests.flows.conftest import Vendor, flow_file, lead, make_snapshot, numbers
from tests.flows.runs import STEPS, DirectRun

ROWS = 12
EXAMPLES = os.environ.get("CRASH_EXAMPLES")
"""Set it to look at so many new schedules; without it the same few are run each time."""

FLOWS = {
    "replace": flow_file(name="replace"),
    "append": flow_file(name="append", mode="APPEND"),
    "append_unique": flow_file(name="append_unique", mode="APPEND", unique_column="uniqueId"),
    "ringcx": flow_file("ringcx", name="ringcx", dedupe="RING_RETAIN_ALL"),
}
SAFE = ("replace", "append_unique")
HASTY, PATIENT = {"callback_hours": 0.15 / 3600}, {"callback_hours": 10 / 3600}
"""How long to wait for the webhook: where it may well be lost, and where it will come."""

WRITES = (
    "open_load",
    "record",
    "plan_batches",
    "claim_target",
    "intend",
    "accept",
    "withdraw",
    "settle",
    "mark_applied",
    "release_target",
    "finish_load",
    "load_list",  # the call of the vendor
    "commit",  # of a run folder
)
POINTS = [f"{when} {write}" for write in WRITES for when in ("before", "after")]

VENDOR_FAULTS = st.one_of(
    st.builds(
        lambda fault, nth: {"fault": fault, "nth": nth},
        st.sampled_from(["drop_before", "drop_after", "truncated", "broken_json"]),
        st.integers(1, 3),
    ),
    st.builds(
        lambda status, nth: {"fault": "status", "status": status, "retry_after": 0, "nth": nth},
        st.sampled_from([429, 503, 500, 401]),
        st.integers(1, 3),
    ),
    st.builds(lambda nth: {"fault": "webhook_lost", "nth": nth}, st.integers(1, 6)),
    st.builds(
        lambda fault: {"fault": fault, "times": None},
        st.sampled_from(["webhook_forged", "webhook_doubled", "webhook_reordered"]),
    ),
    st.builds(
        lambda fault, nth: {"fault": fault, "nth": nth},
        st.sampled_from(["load_error", "load_crash"]),
        st.integers(1, 2),
    ),
)


class SimulatedCrash(BaseException):
    """The process is gone: no `except Exception` of ours runs."""


class Crashes:
    """Raises at the points of a schedule, one after the other: each arms when the one before has struck."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from listkeeper.hooks.purecallerid import PureCallerIdHook

        self.schedule: list[str] = []
        for name in WRITES:
            owner = {"load_list": PureCallerIdHook, "commit": RunFolder}.get(name, Ledger)
            monkeypatch.setattr(owner, name, self._wrapped(name, getattr(owner, name)))

    def _wrapped(self, name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._strike(f"before {name}")
            result = inner(*args, **kwargs)
            self._strike(f"after {name}")
            return result

        return call

    def _strike(self, point: str) -> None:
        if self.schedule and self.schedule[0] == point:
            raise SimulatedCrash(self.schedule.pop(0))

    @contextmanager
    def none(self) -> Iterator[None]:
        self.schedule = []
        yield


class CrashingRun(DirectRun):
    """A run whose tasks are started again after a crash, as Airflow does when a worker is gone."""

    def attempt(self, task: Any) -> None:
        try:
            super().attempt(task)
        except SimulatedCrash as crash:
            raise WorkerGoneError(str(crash)) from None


class WorkerGoneError(Exception):
    """What Airflow makes of a task whose process is gone: one more failed try."""


def settle(vendor: Vendor) -> None:
    """Wait until the vendor has done what it took in."""
    seen, since = None, time.monotonic()
    while time.monotonic() - since < 0.06:
        now = json.dumps([vendor.loads, vendor.sandbox.state("purecallerid", rows=False)["webhooks"]])
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.01)


def judge(run: DirectRun, vendor: Vendor, kind: str, before: int = 0) -> int:
    """What the run says must be true of the list; returns how many leads stand there.

    :param before: how many stood there before the run.
    """
    settle(vendor)
    on_list = vendor.numbers(FLOWS[kind]["dialer"])
    assert set(on_list.values()) <= {1}, "a lead was put on the list twice"
    if not run.summary:
        assert run.state == "failed"
        return len(on_list)
    run.assert_accounted()
    summary = run.summary
    if summary["verdict"] in ("refused", "unchanged"):
        assert len(on_list) == before, "something was sent, and the run says it was not"
    else:
        assert summary["delivered"] <= len(on_list) <= summary["delivered"] + summary["uncertain"]
    if run.state == "success":
        assert len(on_list) == ROWS
    return len(on_list)


count = itertools.count()


@settings(
    max_examples=int(EXAMPLES or 24),
    deadline=None,
    derandomize=EXAMPLES is None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kind=st.sampled_from(sorted(FLOWS)),
    crashes=st.lists(st.sampled_from(POINTS), max_size=4),
    faults=st.lists(VENDOR_FAULTS, max_size=2),
)
def test_nothing_is_lost_and_nothing_sent_twice(
    installation, make_dag, sandbox, crash, monkeypatch, tmp_path, kind, crashes, faults
):
    place = Path(tmp_path / str(next(count)))
    monkeypatch.setenv("LISTKEEPER_STAGING", str(place / "staging"))
    url = {"conn_type": "sqlite", "host": str(place / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_LEDGER", json.dumps(url))
    sandbox.reset()
    vendor = Vendor(sandbox)
    about = {"run_type": "asset_triggered", "partition_key": None, "triggering_user_name": None}
    dag = make_dag(FLOWS[kind] | HASTY, retries=6)
    with Ledger(f"sqlite:///{place / 'ledger.db'}") as ledger, crash.none():
        ledger.migrate()
        make_snapshot([lead(n) for n in range(ROWS)])
        for fault in faults:
            sandbox.fault("purecallerid", **fault)
        crash.schedule = list(crashes)
        night = CrashingRun(dag, ledger, "night", {}, **about).go()
        note(f"night: {night.tasks} {night.summary}")
        there = judge(night, vendor, kind)

        # The morning after: the vendor is well again, and a person clears what is red.
        crash.schedule = []
        sandbox._control("DELETE", "/faults")
        red = [name for name in STEPS if night.tasks[name] in ("failed", "upstream_failed")]
        if red:
            night.go(red[0])
            note(f"cleared: {night.tasks} {night.summary}")
            there = judge(night, vendor, kind, there)

        # And the same night once more.
        dag = make_dag(FLOWS[kind] | PATIENT, retries=6)
        again = CrashingRun(dag, ledger, "again", {}, **about).go()
        note(f"again: {again.tasks} {again.summary}")
        judge(again, vendor, kind, there)
        assert all(status in ("success", "skipped") for status in again.tasks.values()) or kind not in SAFE
        if kind in SAFE:
            assert vendor.numbers() == numbers(range(ROWS)), "the list does not hold the night"
        assert ledger.verify() == []


@pytest.fixture
def crash(monkeypatch) -> Crashes:
    return Crashes(monkeypatch)


@pytest.mark.parametrize("point", [point for point in POINTS if not point.endswith("withdraw")])
@pytest.mark.parametrize("kind", ["replace", "ringcx"])
def test_a_crash_at_every_point(installation, make_dag, ledger, sandbox, crash, kind, point):
    """One crash, at each write there is: the next try ends the run, and where that is safe it is green."""
    vendor = Vendor(sandbox)
    make_snapshot([lead(n) for n in range(ROWS)])
    about = {"run_type": "asset_triggered", "partition_key": None, "triggering_user_name": None}
    crash.schedule = [point]
    in_doubt = kind not in SAFE and point in ("after intend", "before load_list")
    dag = make_dag(FLOWS[kind] | (HASTY if in_doubt else PATIENT))
    run = CrashingRun(dag, ledger, "night", {}, **about).go()
    judge(run, vendor, kind)
    assert not crash.schedule, "the point was never reached"
    if not in_doubt:
        assert (run.state, run.counts) == ("success", {"delivered": ROWS})
        assert vendor.calls == (2 if kind in SAFE and point in ("after load_list", "before accept") else 1)
    else:  # nobody can know that it never left
        assert (run.state, run.counts) == ("failed", {"uncertain": ROWS})
        assert vendor.calls == 0
