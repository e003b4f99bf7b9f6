"""Changed leads in a push to the Platform API (`changed: update`): the vendor's leads and the report tell the same."""

# ruff: noqa: F811 (fixtures of another module)

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from listkeeper.hooks.platform import PlatformHook

from tests.flows.conftest import lead
from tests.flows.runs import answered
from tests.flows.test_push_flow import (  # noqa: F401
    CAMPAIGN,
    ODD_ZONE,
    connect,
    keys,
    push_file,
    tenant,
    vendor,
)

ROWS = 12
UPDATE = {"changed": "update", "min_valid_share": 0.5}
FULL = {"mode": "full"}


def state(name: str) -> dict[str, Any]:
    return {"data": json.dumps({"state": name})}


def tonight() -> list[dict[str, Any]]:
    """Three that changed, one that changed and is gone at the vendor, one whose change it refuses, and a new one."""
    rows = [lead(n) for n in range(ROWS + 1)]
    rows[1] = lead(1, phone1="(201) 200-9001")
    rows[2] = lead(2, **state("TX"))
    rows[3] = lead(3, timezone="America/Chicago")
    rows[4] = lead(4, **state("gone"))
    rows[5] = lead(5, **ODD_ZONE)
    return rows


def by_key(vendor: Any) -> dict[str, dict[str, Any]]:
    return {one["customerKey"]: one for one in vendor.leads()}


def second_night(snapshot: Any, rows: list[dict[str, Any]]) -> None:
    snapshot(rows, night="2026-11-21", source_time=datetime.now(UTC) - timedelta(hours=1), facts=FULL)


@pytest.fixture
def first_night(deliver, snapshot, vendor):
    """Twelve leads on the list, of which an agent has noted something, and one was deleted since."""
    snapshot(ROWS, facts=FULL)
    run = deliver(push_file())
    assert run.state == "success" and run.plan["added"] == ROWS
    there = by_key(vendor)
    hook = PlatformHook()
    note = {"dataFields": {**there["C-00002"]["dataFields"], "note": "call in the evening"}}
    hook.update_lead(there["C-00002"]["leadId"], {"leadData": note["dataFields"]})
    hook.delete_lead(there["C-00004"]["leadId"])
    hook.close()
    return by_key(vendor)


def test_changed_leads_are_changed_and_each_ends_by_the_vendors_answer(
    deliver,
    snapshot,
    vendor,
    ledger,
    first_night,
):
    second_night(snapshot, tonight())
    before = vendor.calls["update_lead"]
    run = deliver(push_file(**UPDATE))
    plan = run.plan
    assert (plan["added"], plan["changed"], plan["unchanged"]) == (1, 5, 7)
    assert (plan["to_send"], plan["to_update"]) == (6, 5)
    assert run.state == "success", run.problems
    assert run.counts == {"delivered": 4, "rejected": 2, "held": 7}
    assert run.reasons == {
        "delivered": 4,
        "vendor_lead_gone": 1,
        "vendor_row_error": 1,
        "already_delivered": 7,
    }
    refused = run.outcomes.filter(run.outcomes["reason"] == "vendor_row_error")
    assert refused["detail"].to_list() == ["timezone: Must be an IANA time zone or null."]
    run.assert_accounted()
    # New leads by an import, changed ones in a batch of their own, counted answer by answer.
    batches = ledger.batches(run.summary["load"])
    assert [(one.rows, dict(one.vendor_counts)) for one in batches] == [
        (1, {"total": 1, "valid": 1, "row_error": 0}),
        (5, {"total": 5, "valid": 3, "lead_gone": 1, "row_error": 1}),
    ]
    there = by_key(vendor)
    assert vendor.keys() == keys(*range(4), *range(5, ROWS + 1)), "nothing doubled, nothing made anew"
    assert there["C-00001"]["phones"][0]["phoneNumber"] == "+12012009001"
    assert there["C-00002"]["dataFields"] == {"state": "TX", "note": "call in the evening"}
    assert there["C-00003"]["timezone"] == "America/Chicago"
    untouched = [key for key in first_night if key not in ("C-00001", "C-00002", "C-00003")]
    assert all(there[key] == first_night[key] for key in untouched)
    assert vendor.calls["update_lead"] - before == 4, "what does not differ is not sent"
    report = run.folder("report").get("report.md").decode()
    assert "5 leads that are on the list are changed, one by one" in report

    # What was refused is still as it was, so the next night tries again; what was changed stays.
    mended = tonight()
    mended[5] = lead(5, timezone="America/Denver")
    second_night(snapshot, mended)
    again = deliver(push_file(**UPDATE))
    assert (again.plan["added"], again.plan["changed"], again.plan["unchanged"]) == (0, 2, 11)
    assert again.counts == {"delivered": 1, "rejected": 1, "held": 11}
    assert by_key(vendor)["C-00005"]["timezone"] == "America/Denver"
    assert vendor.keys() == keys(*range(4), *range(5, ROWS + 1))


def test_by_default_they_are_held_and_go_once_the_file_says_so(deliver, snapshot, vendor, first_night):
    second_night(snapshot, tonight())
    held = deliver(push_file())
    assert (held.plan["changed"], held.plan["to_send"], held.plan["to_update"]) == (5, 1, 0)
    assert held.counts == {"delivered": 1, "held": 12}
    assert by_key(vendor)["C-00003"]["timezone"] is None
    assert "The 5 changed rows are held" in held.folder("report").get("report.md").decode()
    later = deliver(push_file(**UPDATE))
    assert (later.plan["added"], later.plan["changed"]) == (0, 5), "the list was not as the plan before it"
    assert later.counts == {"delivered": 3, "rejected": 2, "held": 8}
    assert by_key(vendor)["C-00003"]["timezone"] == "America/Chicago"


def test_a_person_sees_what_is_added_and_what_is_changed(deliver, snapshot, vendor, first_night):
    second_night(snapshot, tonight())
    flow = push_file(**UPDATE, approval={"ask": "destructive", "own_runs": True})
    calls = vendor.calls["update_lead"]
    run = deliver(flow)
    assert run.page["subject"] == "Add 1 rows to Win-back, and change 5 that are there?"
    assert "| ? | 1 | 1 | 0 | 5 | 7 | 6 |" in run.page["body"]
    assert run.counts == {"held": 13} and vendor.calls["update_lead"] == calls
    assert deliver(flow, answer=answered()).counts == {"delivered": 4, "rejected": 2, "held": 7}
    second_night(snapshot, [lead(1, phone1="2012009002")])
    assert deliver(flow).page["subject"] == "Change 1 rows of Win-back?"


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_lost_answer_is_sent_again(deliver, snapshot, vendor, sandbox, first_night, fault):
    sandbox.fault("platform", fault, op="update_lead", nth=2)
    second_night(snapshot, tonight()[:4])
    run = deliver(push_file(**UPDATE))
    assert run.state == "success" and run.counts == {"delivered": 3, "held": 1}
    assert by_key(vendor)["C-00002"]["dataFields"]["state"] == "TX"


def test_a_change_that_always_fails_is_told_and_the_others_are_made(
    deliver,
    snapshot,
    vendor,
    sandbox,
    first_night,
):
    poison = first_night["C-00001"]["leadId"]
    sandbox.fault("platform", "status", status=500, op="update_lead", match=str(poison), times=None)
    second_night(snapshot, tonight()[:4])
    run = deliver(push_file(**UPDATE))
    assert run.counts == {"delivered": 2, "rejected": 1, "held": 1}
    failed = run.outcomes.filter(run.outcomes["reason"] == "vendor_not_changed")
    assert failed["detail"].to_list() == ["HTTP 500"]
    run.assert_accounted()


@pytest.mark.parametrize("status", [405, 503])
def test_a_vendor_that_takes_no_update_leaves_the_new_leads_delivered(
    deliver,
    snapshot,
    vendor,
    sandbox,
    first_night,
    status,
):
    """The change of every lead fails, or the first; the imports are followed to their end all the same."""
    op = {"op": "list_leads", "times": None} if status == 503 else {"op": "update_lead", "times": None}
    sandbox.fault("platform", "status", status=status, retry_after=0, **op)
    second_night(snapshot, tonight())
    run = deliver(push_file(**UPDATE))
    assert run.state == "failed"
    assert run.counts == {"delivered": 1, "held": 12}, "nothing was changed, and nobody has to doubt it"
    run.assert_accounted()
    sandbox._control("DELETE", "/faults")
    run.clear("load")
    assert run.counts == {"delivered": 4, "rejected": 2, "held": 7}
    assert vendor.keys() == keys(*range(4), *range(5, ROWS + 1))


def test_what_was_changed_before_it_broke_off_is_not_asked_for_again(
    deliver,
    snapshot,
    vendor,
    sandbox,
    first_night,
):
    before = vendor.calls["update_lead"]
    sandbox.fault("platform", "status", status=401, op="update_lead", nth=3, times=None)
    second_night(snapshot, tonight()[:4])
    run = deliver(push_file(**UPDATE), retries=0)
    assert run.counts == {"uncertain": 3, "held": 1} and "not settled" in run.problems
    sandbox._control("DELETE", "/faults")
    run.clear("load")
    assert run.state == "success" and run.counts == {"delivered": 3, "held": 1}
    assert vendor.calls["update_lead"] - before == 4, "two, one that was turned away, and that one again"


def test_a_canary_of_changes(deliver, snapshot, vendor, first_night):
    """Nothing is new tonight: the first changed lead goes alone, is refused, and the others stay as they are."""
    second_night(snapshot, [lead(1, **ODD_ZONE), *tonight()[2:4]])
    flow = push_file(**UPDATE, canary={"rows": 1, "max_rejected_percent": 10})
    run = deliver(flow)
    assert run.reasons == {"vendor_row_error": 1, "canary_stopped": 2}
    assert by_key(vendor)["C-00003"]["timezone"] is None
    second_night(snapshot, tonight()[1:4])
    assert deliver(flow).counts == {"delivered": 3}, "they are changed still"


def test_a_number_that_the_source_gave_up_is_not_left_in_silence(
    deliver,
    snapshot,
    vendor,
    sandbox,
    monkeypatch,
):
    flow = push_file(**UPDATE)
    flow["columns"] = [*flow["columns"], {"to": "phone2", "from": "phone2"}]
    snapshot([lead(n, phone2=f"+1201200500{n}") for n in range(3)], facts=FULL)
    assert deliver(flow).counts == {"delivered": 3}
    second_night(
        snapshot, [lead(0), lead(1, phone2="+12012005001", **state("TX")), lead(2, phone2="+12012005002")]
    )
    run = deliver(flow)
    assert run.reasons == {"vendor_not_emptied": 1, "delivered": 1, "already_delivered": 1}
    connect(monkeypatch, sandbox, null_clears=True)
    sandbox.switch("platform", null_clears=True)
    assert deliver(flow).counts == {"delivered": 1, "held": 2}
    assert [phone["phoneIndex"] for phone in by_key(vendor)["C-00000"]["phones"]] == [1]


def test_two_leads_of_one_key_are_a_persons_business(deliver, snapshot, vendor, first_night):
    hook = PlatformHook()
    hook.create_lead({"listId": hook.find_list("Win-back", CAMPAIGN), "customerKey": "C-00003"})
    hook.close()
    second_night(snapshot, tonight()[:4])
    run = deliver(push_file(**UPDATE))
    assert run.reasons == {"vendor_key_repeated": 1, "delivered": 2, "already_delivered": 1}
