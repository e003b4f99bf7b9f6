"""The same DAG through `dag.test()`: what only Airflow can show (retries, deferring, trigger rules, params, XCom)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.flows.conftest import NIGHT, connection, flow_file, numbers
from tests.flows.loads import OLDER, ringcx
from tests.flows.runs import STEPS
from tests.waiting import until

GREEN = dict.fromkeys(STEPS, "success") | {"approve": "skipped"}


@pytest.fixture
def deliver(deliver_in_airflow):
    return deliver_in_airflow


def test_a_good_night(deliver, snapshot, vendor):
    snapshot(30)
    run = deliver(partition=NIGHT)
    assert (run.state, run.tasks, run.counts) == ("success", GREEN, {"delivered": 30})
    assert run.xcom("load") == {"valid": 30, "invalid": 0, "inactive": 0, "dnc": 0, "total": 30}
    assert vendor.numbers() == numbers(range(30))
    run.assert_accounted()


def test_twice_and_then_an_older_night(deliver, snapshot, vendor):
    snapshot(20)
    deliver(ringcx())
    again = deliver(ringcx())
    assert (again.state, again.tasks) == ("success", GREEN | {"load": "skipped"})
    assert again.summary["verdict"] == "unchanged"
    snapshot(30, night=OLDER, source_time=datetime.now(UTC) - timedelta(hours=26))
    older = deliver(ringcx(), partition=OLDER)
    assert (older.state, older.tasks) == ("failed", GREEN | {"load": "failed", "report": "failed"})
    assert older.summary["verdict"] == "refused"
    older.assert_accounted()
    assert vendor.calls == 1 and vendor.numbers("ringcx") == numbers(range(20))


def test_a_late_webhook_heals_a_cleared_load(deliver, snapshot, vendor, sandbox, ledger, when_told):
    sandbox.fault("purecallerid", "webhook_late", nth=3)
    come = when_told("webhooks")
    snapshot(20)
    run = deliver(ringcx(callback_hours=0.1 / 3600))
    assert (run.state, run.summary["verdict"]) == ("failed", "uncertain")
    assert run.tasks["reconcile"] == "success"
    run.assert_accounted()
    load = run.summary["load"]
    come.set()
    until(lambda: any(event.body["status"] == "FINALIZED" for event in ledger.events(load, 1)))
    run.clear("load")
    assert (run.state, run.tasks, run.counts) == ("success", GREEN, {"delivered": 20})
    run.assert_accounted()
    assert vendor.calls == 1


def test_the_next_try_sends_again_and_leaves_no_reason_behind(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "drop_before")
    sandbox.fault("purecallerid", "status", nth=2, status=429, retry_after=0)
    snapshot(20)
    run = deliver(retries=2)
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert run.summary["problems"] == [] and run.xcom("load", "stopped") is None
    assert vendor.calls == 3


def test_a_wrong_key_is_tried_once(deliver, snapshot, vendor, sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", connection(sandbox, "bm90IHRoZSBrZXk="))
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "does not accept the key" in run.problems
    assert vendor.calls == 1
    run.assert_accounted()


def test_a_suppression_list_that_is_missing_says_so_after_every_try(deliver, snapshot, vendor, state):
    snapshot(20)
    entry = {"name": "stop", "file": str(state / "stop.csv")}
    run = deliver(flow_file(clean={"suppression": [entry]}))
    assert run.state == "failed"
    assert [run.tasks[name] for name in STEPS[1:5]] == ["failed", *["upstream_failed"] * 3]
    assert "suppression list stop: there is no file" in run.problems
    run.assert_accounted()
    assert vendor.calls == 0


def test_plan_only_is_green_and_skips_the_load(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(conf={"action": "plan", "night": NIGHT}, run_type="manual")
    assert (run.state, run.tasks) == ("success", GREEN | {"load": "skipped"})
    assert run.counts == {"held": 20}
    assert vendor.calls == 0


def test_what_follows_a_backfill_only_plans(deliver, snapshot, vendor):
    snapshot(20, source_time=datetime.now(UTC) - timedelta(days=9), facts={"run_type": "backfill"})
    run = deliver(partition=NIGHT)
    assert (run.state, run.summary["verdict"]) == ("success", "planned")
    assert vendor.calls == 0


def test_a_key_that_the_form_does_not_know_is_refused(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(conf={"action": "plan", "lists": "x"}, run_type="manual")
    assert run.state == "failed" and "Unknown parameter lists" in run.problems
    assert vendor.calls == 0


@pytest.mark.parametrize(
    "conf", [{"action": "send"}, {"night": "20 November"}, {"reason": "x"}, {"reason": "y" * 301}]
)
def test_impossible_values_are_refused_before_the_run(deliver, snapshot, vendor, conf):
    from airflow.exceptions import ParamValidationError

    snapshot(1)
    with pytest.raises((ParamValidationError, ValueError)):
        deliver(conf=conf, run_type="manual")
    assert vendor.calls == 0
