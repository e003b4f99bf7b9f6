"""Loads through PureCallerID that are stopped, only planned, or not what was decided on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from include.ledger import Removal
from tests.flows.conftest import KEY, NIGHT, flow_file, lead, numbers, phone
from tests.flows.loads import OLDER, ringcx

# Guards


def test_an_empty_source(deliver, snapshot, vendor):
    snapshot(0)
    run = deliver(flow_file(approval={"ask": "never"}))
    assert (run.state, run.summary["verdict"]) == ("failed", "refused")
    assert "the source holds no lead" in run.problems
    assert vendor.calls == 0
    run.assert_accounted()


def test_an_empty_list_that_is_wanted(deliver, snapshot, vendor):
    flow = flow_file(guards={"allow_empty": True, "max_shrink_percent": 100})
    snapshot(5)
    deliver(flow)
    snapshot(0)
    run = deliver(flow)
    assert (run.state, run.counts) == ("success", {})
    assert vendor.numbers() == numbers()
    assert deliver(flow).summary["verdict"] == "unchanged"
    snapshot(5)
    assert deliver(flow).counts == {"delivered": 5}


def test_nothing_to_append_is_no_failure_where_that_is_allowed(deliver, snapshot, vendor):
    snapshot(0)
    run = deliver(ringcx(guards={"allow_empty": True}))
    assert (run.state, run.summary["verdict"]) == ("success", "unchanged")
    assert vendor.calls == 0


def test_a_shrink(deliver, snapshot, vendor):
    snapshot(20)
    deliver()
    snapshot(13)
    run = deliver(flow_file(approval={"ask": "never"}))
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "refused", {"held": 13})
    assert run.reasons == {"guard_stopped": 13} and run.tasks["approve"] == "skipped"
    assert "from 20 to 13 rows (35.0 %)" in run.problems
    assert vendor.numbers() == numbers(range(20))
    run.assert_accounted()
    assert deliver(flow_file(guards={"max_shrink_percent": 35})).counts == {"delivered": 13}


def test_a_stale_source(deliver, snapshot, vendor):
    snapshot(20, source_time=datetime.now(UTC) - timedelta(hours=37))
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "37.0 hours old" in run.problems
    assert vendor.calls == 0


def test_a_low_share_of_valid_leads(deliver, snapshot, vendor):
    snapshot([lead(n, phone1="x" if n < 11 else phone(n)) for n in range(20)])
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 9, "rejected": 11})
    assert "Only 45.0 % of 20 leads" in run.problems
    assert vendor.calls == 0
    run.assert_accounted()


def test_a_suppression_list_that_is_too_old(deliver, snapshot, vendor, state):
    (state / "stop.csv").write_text(f"phone\n{phone(1)}\n")
    entry = {"name": "stop", "file": str(state / "stop.csv"), "as_of": "2020-01-01", "max_age_days": 31}
    snapshot(20)
    run = deliver(flow_file(clean={"suppression": [entry]}))
    assert (run.state, run.counts) == ("failed", {"held": 19, "suppressed": 1})
    assert "Suppression list stop is" in run.problems
    assert vendor.calls == 0
    run.assert_accounted()


def test_a_suppression_list_that_is_missing(deliver, snapshot, vendor, state):
    snapshot(20)
    entry = {"name": "stop", "file": str(state / "stop.csv")}
    run = deliver(flow_file(clean={"suppression": [entry]}))
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert "suppression list stop: there is no file" in run.problems
    assert vendor.calls == 0
    run.assert_accounted()


def test_a_paused_list(deliver, snapshot, vendor, ledger):
    snapshot(20)
    deliver()
    target = f"purecallerid:{flow_file()['campaign']}:{flow_file()['list']}"
    ledger.pause_target(target, True, "ana", "vendor's maintenance")
    snapshot(25)
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 25})
    assert "paused" in run.problems
    assert vendor.calls == 1
    ledger.pause_target(target, False, "ana", "over")
    assert deliver().counts == {"delivered": 25}


def test_a_list_paused_between_plan_and_write(deliver, snapshot, vendor, ledger, monkeypatch):
    from listkeeper.operators.purecallerid import LoadListOperator

    send = LoadListOperator._send_if_needed

    def pause_first(self, ledger, load, seq):
        ledger.pause_target(load.target, True, "ana", "stop")
        send(self, ledger, load, seq)

    monkeypatch.setattr(LoadListOperator, "_send_if_needed", pause_first)
    snapshot(20)
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "paused" in run.problems
    assert vendor.calls == 0


def test_an_append_whose_keys_are_gone_is_not_sent_again(deliver, snapshot, vendor):
    snapshot(20)
    deliver(ringcx()).folder("plan").remove()
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "Sending all would call people twice" in run.problems
    assert vendor.calls == 1


def test_a_full_source_is_appended_once(deliver, snapshot, vendor):
    """A full pull holds all leads every night; only the new ones are appended."""
    full = {"mode": "full"}
    snapshot(20, night=OLDER, source_time=datetime.now(UTC) - timedelta(hours=26), facts=full)
    deliver(ringcx())
    snapshot(30, facts=full)
    assert deliver(ringcx()).counts == {"delivered": 10, "held": 20}
    snapshot(30, night="2026-11-21", source_time=datetime.now(UTC) - timedelta(hours=1), facts=full)
    run = deliver(ringcx())
    assert (run.state, run.summary["verdict"]) == ("success", "unchanged")
    assert vendor.numbers("ringcx") == numbers(range(30))


# Who asks for what


def test_plan_only(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(conf={"action": "plan"}, run_type="manual")
    assert (run.state, run.summary["verdict"], run.counts) == ("success", "planned", {"held": 20})
    assert run.tasks["load"] == "skipped" and run.reasons == {"plan_only": 20}
    assert vendor.calls == 0
    run.assert_accounted()


def test_a_flow_that_is_not_released_only_plans(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(flow_file(released=False))
    assert (run.state, run.summary["verdict"]) == ("success", "planned")
    assert vendor.calls == 0
    asked = deliver(
        flow_file(released=False), conf={"action": "apply", "reason": "to see"}, run_type="manual", retries=0
    )
    assert asked.state == "failed"
    assert "released: true" in asked.problems
    assert vendor.calls == 0


def test_to_apply_by_hand_needs_a_reason(deliver, snapshot, vendor, ledger):
    snapshot(20)
    run = deliver(conf={"action": "apply"}, run_type="manual")
    assert run.state == "failed" and "give the reason" in run.problems
    assert vendor.calls == 0
    run = deliver(conf={"action": "apply", "reason": "the vendor asked"}, run_type="manual")
    assert run.counts == {"delivered": 20}
    load = ledger.load(run.summary["load"])
    assert (load.requested_by, load.reason) == ("dag_test", "the vendor asked")


@pytest.mark.parametrize("conf", [{"nigth": NIGHT}, {"action": "plan", "list": "Other"}])
def test_an_unknown_key_is_refused(deliver, snapshot, vendor, conf):
    snapshot(20)
    run = deliver(conf=conf, run_type="manual")
    assert run.state == "failed" and "Unknown parameter" in run.problems
    assert vendor.calls == 0


def test_a_night_without_a_snapshot(deliver, snapshot, vendor, ledger):
    snapshot(20)
    place = "snapshots/callers/2026-11-18/s"
    ledger.intend_removal(Removal(place, "leads", 30, 2, 9, datetime.now(UTC), None, None))
    ledger.end_removal(place, gone=True)
    run = deliver(partition="2026-11-18")
    assert run.state == "failed"
    assert "no complete snapshot of the night 2026-11-18. Its leads were removed on" in run.problems
    run.assert_accounted()


def test_the_partition_names_the_night(deliver, snapshot, vendor):
    snapshot(10, night=OLDER)
    snapshot(20, night=NIGHT)
    run = deliver(partition=OLDER)
    assert run.plan["night"] == OLDER and run.counts == {"delivered": 10}


def test_what_follows_a_backfill_only_plans_and_is_no_failure(deliver, snapshot, vendor):
    """The nights are old: the plan shows what the guards would say, the run stays green."""
    snapshot(20)
    deliver()
    snapshot(
        30, night=OLDER, source_time=datetime.now(UTC) - timedelta(hours=50), facts={"run_type": "backfill"}
    )
    run = deliver(partition=OLDER)
    assert (run.state, run.summary["verdict"], run.counts) == ("success", "planned", {"held": 30})
    assert {refusal["guard"] for refusal in run.plan["refusals"]} == {"stale_source", "older_source"}
    assert vendor.calls == 1
    run.assert_accounted()


def nothing_sent(run, vendor):
    """The run failed, held its 20 rows and called nobody; what it says of that."""
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert vendor.calls == 0
    return run.problems


def test_a_changed_payload_is_not_sent(deliver, snapshot, vendor, monkeypatch):
    from listkeeper.operators.purecallerid import LoadListOperator

    send = LoadListOperator._send_if_needed

    def tamper_first(self, ledger, load, seq):
        from include.staging import RunFolder

        folder = RunFolder(self.planned["plan"])
        content = folder.get("payload.csv") or b""
        folder.put("payload.csv", content.replace(phone(1).encode(), phone(9999).encode()))
        send(self, ledger, load, seq)

    monkeypatch.setattr(LoadListOperator, "_send_if_needed", tamper_first)
    snapshot(20)
    assert "not the file that was committed" in nothing_sent(deliver(retries=0), vendor)


def test_another_plan_in_the_folder_is_not_sent(deliver, snapshot, vendor, monkeypatch):
    """Whole and committed, but not the plan whose hash was decided on."""
    from listkeeper.operators.purecallerid import LoadListOperator

    from include.staging import Manifest, RunFolder

    send = LoadListOperator._send_if_needed

    def replace_first(self, ledger, load, seq):
        folder = RunFolder(self.planned["plan"])
        with folder.reading() as files, folder.writing() as scratch:
            for file in files:
                content = file.read_bytes()
                if file.name == "payload.csv":
                    content = content.replace(phone(1).encode(), phone(9999).encode())
                (scratch / file.name).write_bytes(content)
            folder.commit(scratch, Manifest(kind="plan", rows=20))
        send(self, ledger, load, seq)

    monkeypatch.setattr(LoadListOperator, "_send_if_needed", replace_first)
    snapshot(20)
    assert "The payload is not the one that was planned" in nothing_sent(deliver(retries=0), vendor)


def test_the_vendor_sees_exactly_one_upload_with_the_key_as_it_is(deliver, snapshot, vendor, sandbox):
    assert KEY.endswith("=") and KEY.startswith("+")
    snapshot(3)
    assert deliver().state == "success"
    assert [request["status"] for request in sandbox.state("purecallerid")["requests"]] == [200]
