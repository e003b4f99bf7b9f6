"""Approvals through the whole flow: who is asked, what a yes allows, what a no means, and that nothing gets past it."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta

import pytest

from include.ledger import Ledger
from tests.flows.conftest import flow_file, numbers
from tests.flows.loads import OLDER, ringcx
from tests.flows.runs import NO_ANSWER, answered

ALWAYS = {"ask": "always"}


def evidence(ledger: Ledger, load: str) -> dict[str, dict]:
    """What the evidence says of a load, by kind."""
    from sqlalchemy import select

    from include.ledger.tables import evidence as table

    with ledger._store.read() as connection:
        rows = connection.execute(select(table.c.kind, table.c.body).where(table.c.load_id == load))
        return {row.kind: row.body for row in rows}


@pytest.fixture
def shrunk(deliver, snapshot):
    """A list of 20, and a night that would shrink it to 13."""
    snapshot(20)
    deliver()
    snapshot(13)


def assert_stopped(run, vendor, calls=1):
    assert (run.state, run.summary["verdict"]) == ("failed", "not approved")
    assert set(run.reasons) == {"not_approved"}
    assert vendor.calls == calls
    run.assert_accounted()


# What a yes allows


def test_a_person_approves_past_a_guard(deliver, shrunk, vendor, ledger):
    run = deliver(answer=answered(why="the campaign ended"))
    assert (run.state, run.counts, run.summary["verdict"]) == ("success", {"delivered": 13}, "delivered")
    assert vendor.numbers() == numbers(range(13))
    load = ledger.load(run.summary["load"])
    assert (load.approved_by, load.approval_reason) == ("ben", "the campaign ended")
    told = evidence(ledger, load.id)["approved"]
    assert told["hash"] == run.plan["hash"] and told["refused_by"] == ["shrink"]
    assert (told["who"], told["why"], told["requested_by"]) == ("ben", "the campaign ended", "dag_test")
    report = run.folder("report").get("report.md").decode()
    assert "ben approved this plan" in report and "the campaign ended" in report
    run.assert_accounted()


def test_what_the_person_is_shown(deliver, shrunk):
    run = deliver(flow_file(approval={"by": ["ana", "ben", "dag_test"]}))
    page = run.page
    assert page["subject"] == "Replace the list Nightly callers by 13 rows?"
    assert page["options"] == ["Approve", "Reject"] and page["defaults"] is None
    assert page["assigned_users"] == [{"id": "ana", "name": "ana"}, {"id": "ben", "name": "ben"}]
    assert "from 20 to 13 rows (35.0 %)" in page["body"] and run.plan["hash"] in page["body"]
    assert "| 20 | 13 | 0 | 7 |" in page["body"]
    (field,) = page["params"].values()
    assert field["schema"]["type"] == "string" and field["schema"]["minLength"] == 3, "a reason is needed"


@pytest.mark.parametrize(
    ("ask", "flow", "asks"),
    [
        ("never", flow_file(), False),
        ("refused", flow_file(), False),
        ("destructive", flow_file(), True),
        ("destructive", ringcx(), False),
        ("always", ringcx(), True),
    ],
)
def test_when_a_person_is_asked(deliver, snapshot, vendor, ask, flow, asks):
    snapshot(20)
    run = deliver(flow | {"approval": {"ask": ask}})
    if asks:
        assert run.page["params"]["why"]["schema"]["type"] == ["null", "string"]
        assert_stopped(run, vendor, calls=0)
    else:
        assert run.tasks["approve"] == "skipped" and run.counts == {"delivered": 20}


def test_an_unchanged_list_and_a_plan_ask_nobody(deliver, snapshot, vendor):
    snapshot(20)
    flow = flow_file(approval=ALWAYS)
    assert deliver(flow, answer=answered(why=None)).state == "success"
    again = deliver(flow)
    assert (again.summary["verdict"], again.tasks["approve"]) == ("unchanged", "skipped")
    plan = deliver(flow, conf={"action": "plan"}, run_type="manual")
    assert plan.tasks["approve"] == "skipped" and plan.state == "success"


# What a no means


def test_no_answer_means_no(deliver, shrunk, vendor, ledger):
    run = deliver(answer=NO_ANSWER)
    assert_stopped(run, vendor)
    assert "Nobody answered within 12 hours" in run.problems and "from 20 to 13 rows" in run.problems
    load = ledger.load(run.summary["load"])
    assert (load.state, load.approval, load.approved_by) == ("refused", "unanswered", None)
    assert evidence(ledger, load.id)["unanswered"]["hash"] == run.plan["hash"]


def test_a_rejection_says_who_and_why(deliver, shrunk, vendor, ledger):
    run = deliver(answer=answered("Reject", why="the export broke"))
    assert_stopped(run, vendor)
    assert "ben rejected this plan (the export broke)" in run.problems
    assert evidence(ledger, run.summary["load"])["rejected"]["why"] == "the export broke"
    assert "A person rejected this plan" in run.folder("report").get("report.md").decode()


@pytest.mark.parametrize("why", [None, "", "  ", "ok"])
def test_a_guard_is_not_passed_without_a_reason(deliver, shrunk, vendor, why):
    run = deliver(answer=answered(why=why))
    assert_stopped(run, vendor)
    assert "approved without a reason" in run.problems


def test_who_started_a_run_does_not_approve_it(deliver, shrunk, vendor, ledger):
    run = deliver(by="ana", answer=answered(who="ana"))
    assert_stopped(run, vendor)
    assert "ana started this run and may not approve it" in run.problems
    run.answer = answered(who="ben")
    run.clear("approve")  # the same page is asked again
    assert (run.state, run.counts) == ("success", {"delivered": 13})
    assert ledger.load(run.summary["load"]).approved_by == "ben"


def test_unless_the_flow_allows_it(deliver, shrunk):
    run = deliver(flow_file(approval={"own_runs": True}), by="ana", answer=answered(who="ana"))
    assert run.counts == {"delivered": 13}


def test_who_started_the_pull_has_as_good_as_started_its_delivery(deliver, snapshot, vendor):
    snapshot(20, facts={"run_type": "manual", "requested_by": "ana"})
    flow = flow_file(approval=ALWAYS)
    run = deliver(flow, by=None, answer=answered(who="ana"))
    assert_stopped(run, vendor, calls=0)
    assert deliver(flow, by=None, answer=answered(who="ben")).counts == {"delivered": 20}


def test_an_answer_that_names_nobody_counts_for_nothing(deliver, shrunk, vendor):
    run = deliver(answer=answered(who=None))
    assert_stopped(run, vendor)


def test_a_flow_whose_only_approver_started_the_run_says_so(deliver, shrunk, vendor):
    run = deliver(flow_file(approval={"by": ["ana"]}), by="ana", answer=answered())
    assert_stopped(run, vendor)
    assert "Only ana may approve" in run.problems


@pytest.mark.parametrize("what", ["older source", "paused list", "paused vendor", "unresolved load"])
def test_nobody_is_asked_to_pass_what_may_not_be_passed(
    deliver, snapshot, vendor, ledger, sandbox, monkeypatch, what
):
    flow = ringcx(approval=ALWAYS, callback_hours=0.1 / 3600)
    yes = answered(why="I know better")
    if what == "unresolved load":
        monkeypatch.delenv("LISTKEEPER_PUBLIC_URL")
    snapshot(20)
    first = deliver(flow, answer=yes)
    assert vendor.calls == 1
    target = first.plan["target"]
    partition = None
    if what == "older source":
        snapshot(30, night=OLDER, source_time=datetime.now(UTC) - timedelta(hours=26))
        partition = OLDER
    elif what == "paused list":
        ledger.pause_target(target, True, "ana", "outage")
    elif what == "paused vendor":
        ledger.pause_vendor("purecallerid", True, "ana", "outage")
    if what != "older source":
        snapshot(30)
    run = deliver(flow, answer=yes, partition=partition)
    assert (run.state, run.summary["verdict"]) == ("failed", "refused")
    assert run.tasks["approve"] == "skipped" and vendor.calls == 1
    run.assert_accounted()


# Nothing gets past it


def mark_success(run, task="approve"):
    """What "Mark success" does: the task is green, and its code never ran."""
    run._tasks[task] = "success"


@pytest.mark.parametrize("answer", [NO_ANSWER, answered("Reject")], ids=["unanswered", "rejected"])
@pytest.mark.parametrize("forged", [None, {"approved_by": "ben"}], ids=["no XCom", "a forged XCom"])
def test_marking_the_approval_as_a_success_sends_nothing(deliver, shrunk, vendor, answer, forged):
    run = deliver(answer=answer)
    mark_success(run)
    if forged:
        run.push(
            "approve", "return_value", forged | {"hash": run.plan["hash"], "chosen_options": ["Approve"]}
        )
    run.clear("load")
    assert run.tasks["load"] == "failed"
    assert_stopped(run, vendor)


def test_an_approval_that_was_cleared_counts_no_more(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(flow_file(approval=ALWAYS), answer=answered("Reject"))
    run.answer = answered()
    run.clear("approve")
    assert run.counts == {"delivered": 20}
    run.answer = NO_ANSWER
    run._tasks["approve"] = run._end(run.dag.task_dict["approve"])
    mark_success(run)
    run.clear("load")
    assert run.tasks["load"] == "failed" and vendor.calls == 1


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "apply"},
        {"decision": "apply", "hash": "f" * 64},
        {"decision": "apply", "load": "f" * 32},
        {"load": "another run's"},
        {"hash": "another run's"},
        {"load": "another run's", "hash": "another run's"},
        {"load": "another run's", "hash": "another run's", "plan": "another run's"},
        {"load": None},
    ],
)
def test_a_forged_plan_sends_nothing(deliver, shrunk, vendor, snapshot, change):
    planned = deliver(answer=answered()).xcom("plan")  # approved, and sent
    snapshot(8)
    run = deliver(answer=NO_ANSWER)
    assert_stopped(run, vendor, calls=2)
    mark_success(run)
    forged = run.xcom("plan") | {
        name: planned[name] if value == "another run's" else value for name, value in change.items()
    }
    run.push("plan", "return_value", forged)
    run.clear("load")
    assert run.tasks["load"] == "failed" and run.state == "failed"
    why = run.xcom("load", "stopped")
    assert ("hands on another plan" in why) is (change.keys() != {"decision"})
    assert vendor.calls == 2


def test_a_plan_that_changed_after_it_was_approved_is_not_sent(deliver, shrunk, vendor, snapshot):
    run = deliver(answer=answered("Reject"))
    run.answer = answered()
    mark_success(run)
    snapshot(12)
    run.clear("find_snapshot")
    assert run.tasks["approve"] == "failed", "Airflow would show the page of 13 rows"
    assert "Start a new run" in run.problems
    assert vendor.calls == 1


def test_an_answer_to_the_page_of_another_plan_approves_nothing(
    deliver, shrunk, vendor, snapshot, monkeypatch
):
    """Somebody makes the plan anew while a person still looks at the page of the first one."""
    run = deliver(answer=answered("Reject"))
    task = run.dag.task_dict["approve"]
    asked = copy.copy(task)

    def planned_meanwhile(context, event):
        snapshot(12)
        for name in ("find_snapshot", "clean", "plan"):
            run._tasks[name] = run._end(run.dag.task_dict[name])
        asked.planned = run.xcom("plan")
        return asked.execute_complete(context, event)

    run.answer = answered()
    monkeypatch.setitem(task.__dict__, "execute_complete", planned_meanwhile)
    run.clear("approve")
    assert run.plan["to_send"] == 12 and run.tasks["approve"] == "failed"
    assert "another page" in run.problems and vendor.calls == 1


def test_the_xcom_and_the_page_hold_no_more_than_masked_samples(deliver, shrunk):
    run = deliver(answer=answered())
    assert set(run.xcom("approve")) == {"approved_by", "hash"}
    assert "…" in json.dumps(run.page["body"], ensure_ascii=False)  # and `nothing_leaks` looked at all of it


# Plan, then apply


def test_a_plan_that_is_too_old_is_not_sent(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(flow_file(guards={"max_plan_age_hours": 0.01 / 3600}))
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "max_plan_age_hours" in run.problems and vendor.calls == 0
    run.assert_accounted()


def test_a_list_that_changed_after_the_plan_is_not_written(deliver, snapshot, vendor, monkeypatch):
    from listkeeper.operators.purecallerid import LoadListOperator

    snapshot(20)
    other, send = [], LoadListOperator.send

    def another_first(self, context):
        if not other:
            other.append("under way")
            other.append(deliver(flow_file(columns=flow_file()["columns"][:2])))
        return send(self, context)

    monkeypatch.setattr(LoadListOperator, "send", another_first)
    run = deliver()
    assert other[1].counts == {"delivered": 20}
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "has changed since" in run.problems and vendor.calls == 1
    run.assert_accounted()


# The switch


def test_a_paused_vendor_is_sent_nothing(deliver, snapshot, vendor, ledger):
    ledger.pause_vendor("purecallerid", True, "ana", "outage")
    snapshot(20)
    run = deliver()
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "refused", {"held": 20})
    assert "Everything that goes to purecallerid is paused" in run.problems
    ledger.pause_vendor("purecallerid", False, "ana", "over")
    assert deliver().counts == {"delivered": 20}


def test_a_vendor_paused_between_plan_and_write_is_sent_nothing(
    deliver, snapshot, vendor, ledger, monkeypatch
):
    claim = Ledger.claim_target

    def pause_after(self, load_id, ttl):
        claim(self, load_id, ttl)
        self.pause_vendor("purecallerid", True, "ana", "outage")  # the last moment before the call

    monkeypatch.setattr(Ledger, "claim_target", pause_after)
    snapshot(20)
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "paused" in run.problems and vendor.calls == 0
    run.assert_accounted()


# Backfills

BACKFILLED = {"run_type": "backfill"}


def released(first, last, days=1):
    until = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    return {"first_night": first, "last_night": last, "until": until}


@pytest.mark.parametrize(
    ("run_type", "conf"),
    [
        ("asset_triggered", {}),
        ("asset_triggered", {"action": "apply", "reason": "whatever arrives"}),
        ("backfill", {"action": "apply", "reason": "whatever arrives"}),
        ("scheduled", {"action": "apply", "reason": "whatever arrives"}),
        ("manual", {}),
        ("manual", {"reason": "the action got lost"}),
        ("manual", {"action": "as released", "reason": "not said"}),
    ],
)
def test_what_follows_a_backfill_only_plans(deliver, snapshot, vendor, run_type, conf):
    snapshot(20, facts=BACKFILLED)
    run = deliver(run_type=run_type, conf=conf)
    assert (run.state, run.summary["verdict"], run.counts) == ("success", "planned", {"held": 20})
    assert vendor.calls == 0


def test_a_backfill_that_the_flow_file_releases_is_delivered(deliver, snapshot, vendor):
    snapshot(20, facts=BACKFILLED)
    flow = flow_file(released_backfill=released("2026-11-19", "2026-11-20"))
    assert deliver(flow).counts == {"delivered": 20}


@pytest.mark.parametrize(
    "change",
    [
        {"released_backfill": released("2026-11-18", "2026-11-19")},
        {"released_backfill": released("2026-11-20", "2026-11-20", days=-1)},
        {"released_backfill": released("2026-11-20", "2026-11-20"), "released": False},
    ],
    ids=["another night", "lapsed", "a flow that is not released"],
)
def test_of_no_other_night_and_for_no_longer(deliver, snapshot, vendor, change):
    snapshot(20, facts=BACKFILLED)
    assert deliver(flow_file(**change)).summary["verdict"] == "planned"
    assert vendor.calls == 0


def test_a_released_backfill_keeps_to_the_fence_and_the_guards(deliver, snapshot, vendor):
    snapshot(20)
    deliver()
    old = datetime.now(UTC) - timedelta(hours=50)
    snapshot(30, night=OLDER, source_time=old, facts=BACKFILLED)
    run = deliver(flow_file(released_backfill=released(OLDER, OLDER)), partition=OLDER, answer=answered())
    assert run.summary["verdict"] == "refused" and vendor.calls == 1


def test_a_person_may_deliver_a_backfilled_night_by_hand(deliver, snapshot, vendor):
    snapshot(20, facts=BACKFILLED)
    run = deliver(run_type="manual", conf={"action": "apply", "reason": "the outage of the 20th"})
    assert run.counts == {"delivered": 20}
