"""Pushes to the sandbox's Platform API: whatever goes wrong, the list and the run's report tell the same story."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from listkeeper.hooks.platform import PlatformHook

from include.push import loop
from include.vendors.platform import LeadQuery, ListQuery
from tests.flows.conftest import lead, make_snapshot
from tests.flows.runs import answered

CAMPAIGN = 3
TOKEN = "sandbox-platform-token"
ROWS = 12
ODD_ZONE = {"timezone": "Mars/Phobos"}
"""What the vendor refuses and our rules do not know."""


def push_file(**changes: Any) -> dict[str, Any]:
    flow: dict[str, Any] = {
        "kind": "push_platform_leads",
        "name": "winback",
        "source": "callers",
        "campaign": CAMPAIGN,
        "list": "Win-back",
        "released": True,
        "chunk_rows": 5,
        "import_hours": 60 / 3600,
        "lookup_minutes": 0.3 / 60,
        "columns": [
            {"to": "customerKey", "from": "customer_key"},
            {"to": "phone1", "from": "phone"},
            {"to": "timezone", "from": "timezone"},
            {"to": "leadData.state", "from": "data.state"},
        ],
    }
    return flow | changes


@pytest.fixture(autouse=True)
def tenant(installation, sandbox, monkeypatch):
    """The Platform API of the sandbox, which does an import in no time; nothing waits longer than it must."""
    from listkeeper.hooks import platform_requests
    from listkeeper.triggers.imports import PlatformImportTrigger

    connect(monkeypatch, sandbox)
    monkeypatch.setitem(PlatformImportTrigger.__init__.__kwdefaults__, "poll_seconds", 0.02)
    monkeypatch.setattr(platform_requests, "TRIES", 2)
    monkeypatch.setitem(PlatformHook.__init__.__kwdefaults__, "sleep", lambda _: None)
    sandbox.switch("platform", bulk_step_seconds=0.02)
    return sandbox


def connect(monkeypatch, sandbox, **extra):
    told = {"conn_type": "platform", "host": sandbox.base_url, "password": TOKEN, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_PLATFORM_DEFAULT", json.dumps(told))


class Tenant:
    """What the vendor holds, asked past the client."""

    def __init__(self, sandbox):
        self.sandbox = sandbox

    def get(self, path: str, **params: Any) -> list[dict[str, Any]]:
        url, found = f"{self.sandbox.base_url}/platform-api/v3.0{path}", []
        while url:
            answer = httpx.get(url, params=params, headers={"Authorization": f"Bearer {TOKEN}"}).json()
            found += answer["items"]
            link, params = answer["metadata"].get("nextUri"), {}
            url = self.sandbox.base_url + link if link else None
        return found

    def lists(self, name: str = "Win-back") -> list[dict[str, Any]]:
        return [one for one in self.get("/leads/lists") if one["name"] == name]

    def leads(self, name: str = "Win-back") -> list[dict[str, Any]]:
        return [item for one in self.lists(name) for item in self.get("/leads", listId=one["id"])]

    def keys(self, name: str = "Win-back") -> Counter[str]:
        return Counter(item["customerKey"] for item in self.leads(name))

    @property
    def calls(self) -> dict[str, int]:
        return dict(self.sandbox.state("platform", rows=False)["calls"])


@pytest.fixture
def vendor(sandbox):
    return Tenant(sandbox)


def keys(*which: int) -> Counter[str]:
    return Counter(f"C-{number:05d}" for number in which)


ALL = keys(*range(ROWS))


# --- a good night


def test_a_push_delivers_every_row_once(deliver, snapshot, vendor, ledger):
    snapshot(ROWS)
    run = deliver(push_file())
    assert run.state == "success", run.tasks
    assert run.summary["verdict"] == "delivered"
    assert run.counts == {"delivered": ROWS}
    run.assert_accounted()
    assert vendor.keys() == ALL
    # Five, five and two; each with the vendor's own counts.
    batches = ledger.batches(run.summary["load"])
    assert [(one.rows, one.delivered, dict(one.vendor_counts)) for one in batches] == [
        (rows, rows, {"total": rows, "valid": rows, "row_error": 0}) for rows in (5, 5, 2)
    ]
    assert vendor.calls["create_bulk"] == 3
    # What the vendor shows is what was meant.
    shown = next(one for one in vendor.leads() if one["customerKey"] == "C-00003")
    assert shown["dataFields"] == {"state": 'a "b", c'}
    assert [phone["phoneNumber"] for phone in shown["phones"]] == ["+12012000003"]


def test_the_same_night_again_sends_nothing(deliver, snapshot, vendor):
    snapshot(ROWS)
    deliver(push_file())
    again = deliver(push_file())
    assert (again.state, again.summary["verdict"]) == ("success", "unchanged")
    assert again.counts == {"held": ROWS}
    assert vendor.keys() == ALL and vendor.calls["create_bulk"] == 3


def test_what_the_vendor_refuses_is_rejected_by_name(deliver, snapshot, vendor):
    rows = [lead(n, **(ODD_ZONE if n in (1, 7) else {})) for n in range(ROWS)]
    snapshot(rows)
    run = deliver(push_file())
    assert run.counts == {"delivered": ROWS - 2, "rejected": 2}
    # The vendor says `completed`; a lead that is not there is news all the same, unless the file expects some.
    assert (run.state, run.summary["verdict"]) == ("failed", "failed")
    assert "less than the 100.0%" in run.problems
    refused = run.outcomes.filter(run.outcomes["state"] == "rejected")
    assert sorted(refused["row_key"]) == ["1001", "1007"]
    assert set(refused["reason"]) == {"vendor_row_error"}
    assert set(refused["detail"]) == {"timezone: Must be an IANA time zone or null."}
    assert vendor.keys() == ALL - keys(1, 7)
    run.assert_accounted()
    # The next run takes them again: they are not on the list.
    rows[7] = lead(7)
    snapshot(rows)
    again = deliver(push_file(min_valid_share=0.5))
    assert again.counts == {"delivered": 1, "rejected": 1, "held": ROWS - 2}
    assert again.state == "success" and vendor.keys() == ALL - keys(1)


def test_more_errors_than_a_page_holds(deliver, snapshot, vendor, sandbox):
    sandbox.switch("platform", uri_without_prefix=True, error_list_as_object=True)
    rows = 250
    snapshot([lead(n, **(ODD_ZONE if n >= 20 else {})) for n in range(rows)])
    run = deliver(push_file(chunk_rows=1000, min_valid_share=0))
    assert run.counts == {"delivered": 20, "rejected": 230}
    assert vendor.calls["list_bulk_errors"] == 3
    assert run.reasons == {"delivered": 20, "vendor_row_error": 230}
    run.assert_accounted()


@pytest.mark.parametrize("good", [0, 5])
def test_completed_with_too_many_failed_rows_is_red(deliver, snapshot, vendor, good):
    snapshot([lead(n, **(ODD_ZONE if n >= good else {})) for n in range(ROWS)])
    run = deliver(push_file(min_valid_share=0.5))
    assert (run.state, run.summary["verdict"]) == ("failed", "failed")
    assert sum(run.counts.values()) == ROWS and run.counts["rejected"] == ROWS - good
    assert ("none was delivered" if not good else "less than the 50.0%") in run.problems
    assert vendor.keys() == keys(*range(good))
    run.assert_accounted()


def test_a_run_that_only_plans_asks_and_sends_nothing(deliver, snapshot, vendor):
    snapshot(ROWS)
    run = deliver(push_file(released=False))
    assert run.counts == {"held": ROWS} and run.summary["verdict"] == "planned"
    assert not {"create_bulk", "create_list"} & set(vendor.calls)


# --- the list


def test_a_list_is_created_once(deliver, snapshot, vendor, ledger):
    snapshot(ROWS)
    flow = push_file(list="Autumn", create_list=True)
    run = deliver(flow)
    assert run.counts == {"delivered": ROWS}
    snapshot([lead(n) for n in range(ROWS + 2)])
    deliver(flow)
    assert len(vendor.lists("Autumn")) == 1 and vendor.calls["create_list"] == 1
    assert vendor.keys("Autumn") == keys(*range(ROWS + 2))


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "truncated", "broken_json"])
def test_a_list_whose_creation_got_no_answer_is_looked_up(deliver, snapshot, vendor, sandbox, fault):
    sandbox.fault("platform", fault, op="create_list")
    snapshot(ROWS)
    run = deliver(push_file(list="Autumn", create_list=True))
    assert run.state == "success"
    assert len(vendor.lists("Autumn")) == 1
    assert vendor.keys("Autumn") == ALL


def test_without_leave_no_list_is_created(deliver, snapshot, vendor):
    snapshot(ROWS)
    run = deliver(push_file(list="Autum"))
    assert (run.state, run.summary["verdict"]) == ("failed", "refused")
    assert "no list of this name" in run.problems and run.counts == {"held": ROWS}
    assert "create_list" not in vendor.calls


def test_two_lists_of_one_name_are_a_persons_business(deliver, snapshot, vendor, sandbox):
    hook = PlatformHook()
    for _ in range(2):
        hook.create_list("Twins", CAMPAIGN)
    hook.close()
    snapshot(ROWS)
    run = deliver(push_file(list="Twins", create_list=True))
    assert run.state == "failed" and "2 lists of this name" in run.problems
    assert "create_bulk" not in vendor.calls


def test_a_list_that_is_dialled_is_a_persons_business(deliver, snapshot, vendor):
    snapshot(ROWS)
    run = deliver(push_file(list="Renewals"))
    assert (run.state, run.summary["verdict"]) == ("failed", "not approved")
    assert "called at once" in run.plan["refusals"][0]["text"]
    assert "create_bulk" not in vendor.calls
    # A person who approves past the guard means it, and so does the flow's file.
    assert deliver(push_file(list="Renewals"), answer=answered()).counts == {"delivered": ROWS}
    assert vendor.keys("Renewals") == ALL
    snapshot(ROWS + 1)
    assert deliver(push_file(list="Renewals", when_live="allow")).counts["delivered"] == 1
    assert vendor.keys("Renewals") == ALL + keys(ROWS)


def test_a_list_that_goes_live_after_the_plan_is_left_alone(deliver, snapshot, vendor, monkeypatch):
    from listkeeper.operators import platform_push

    snapshot(ROWS)
    asked = iter([False, True])
    monkeypatch.setattr(platform_push, "is_live", lambda *_: next(asked))
    run = deliver(push_file())
    assert run.state == "failed" and "Nothing was sent" in run.problems
    assert run.counts == {"held": ROWS} and "create_bulk" not in vendor.calls


# --- what a lead holds


def test_leads_of_agents_who_left_are_rejected(deliver, snapshot, vendor):
    rows = [lead(n, agent_id=(1001, 1002, 1005, None)[n % 4]) for n in range(ROWS)]
    snapshot(rows)
    flow = push_file()
    run = deliver(flow | {"columns": [*flow["columns"], {"to": "agentId", "from": "agent_id"}]})
    assert run.counts == {"delivered": 9, "rejected": 3}
    assert run.reasons["agent_not_active"] == 3
    assert {one["agentId"] for one in vendor.leads()} == {1001, 1002, None}


def test_a_lead_without_a_key_is_rejected(deliver, snapshot, vendor):
    snapshot([lead(n, **({"customer_key": None} if n == 4 else {})) for n in range(ROWS)])
    run = deliver(push_file())
    assert run.reasons == {"delivered": ROWS - 1, "key_missing": 1}
    assert vendor.keys() == ALL - keys(4)


def test_cells_that_the_vendor_has_no_type_for(deliver, snapshot, vendor):
    rows = [lead(n, next_attempt=("2026-12-01T09:00:00+1000", "soon", None)[n % 3]) for n in range(ROWS)]
    snapshot(rows)
    flow = push_file()
    when = {"to": "nextAttemptTimestamp", "from": "next_attempt"}
    run = deliver(flow | {"columns": [*flow["columns"], when]})
    assert run.reasons == {"delivered": 8, "time_unreadable": 4}
    moments = {one["timestamps"]["nextAttempt"] for one in vendor.leads()}
    assert {moment and datetime.fromisoformat(moment) for moment in moments} == {
        None,
        datetime(2026, 11, 30, 23, tzinfo=UTC),
    }


# --- lost answers


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "truncated", "broken_json", "status"])
@pytest.mark.parametrize("nth", [1, 3])
def test_after_a_lost_answer_only_what_is_missing_is_sent(deliver, snapshot, vendor, sandbox, fault, nth):
    about = {"status": 500} if fault == "status" else {}
    sandbox.fault("platform", fault, op="create_bulk", nth=nth, **about)
    snapshot(ROWS)
    run = deliver(push_file())
    assert run.state == "success", run.problems
    assert run.counts == {"delivered": ROWS}
    run.assert_accounted()
    assert vendor.keys() == ALL
    arrived = fault not in ("drop_before", "status")
    assert vendor.calls["create_bulk"] == (3 if arrived else 4)


def test_rows_that_are_refused_are_found_out_after_a_lost_answer_too(deliver, snapshot, vendor, sandbox):
    sandbox.fault("platform", "drop_after", op="create_bulk")
    snapshot([lead(n, **(ODD_ZONE if n in (0, 3, 11) else {})) for n in range(ROWS)])
    run = deliver(push_file())
    assert run.counts == {"delivered": 9, "rejected": 3} and run.reasons["vendor_row_error"] == 3
    assert vendor.keys() == ALL - keys(0, 3, 11)
    run.assert_accounted()


def test_a_lost_answer_waits_before_it_looks(deliver, snapshot, vendor, sandbox):
    """The import is still running while the leads would be looked up at once: they would all go out twice."""
    sandbox.switch("platform", bulk_step_seconds=0.4)
    sandbox.fault("platform", "drop_after", op="create_bulk", times=None)
    snapshot(4)
    run = deliver(push_file(lookup_minutes=1.5 / 60))
    assert run.counts == {"delivered": 4}
    assert vendor.keys() == keys(*range(4)) and vendor.calls["create_bulk"] == 1


def test_answers_that_stay_lost_end_red_and_nothing_is_twice(deliver, snapshot, vendor, sandbox):
    sandbox.fault("platform", "drop_before", op="create_bulk", times=None)
    snapshot(4)
    run = deliver(push_file())
    assert run.state == "failed" and run.counts == {"rejected": 4}
    assert run.reasons == {"vendor_import_failed": 4}
    assert vendor.calls["create_bulk"] == loop.MOST_IMPORTS and vendor.keys() == Counter()
    run.assert_accounted()


# --- imports that end badly, or never


def test_an_import_that_breaks_off_is_completed(deliver, snapshot, vendor, sandbox):
    sandbox.fault("platform", "import_error", op="create_bulk", nth=2)
    snapshot(ROWS)
    run = deliver(push_file())
    assert run.state == "success" and run.counts == {"delivered": ROWS}
    assert vendor.keys() == ALL and vendor.calls["create_bulk"] == 4
    run.assert_accounted()


def test_an_import_that_breaks_off_every_time(deliver, snapshot, vendor, sandbox):
    sandbox.fault("platform", "import_error", op="create_bulk", times=None)
    snapshot(5)
    run = deliver(push_file())
    # Two of five, one of three, one of two: each import takes half of what is left.
    assert run.counts == {"delivered": 4, "rejected": 1} and run.reasons["vendor_import_failed"] == 1
    assert sum(vendor.keys().values()) == 4 and set(vendor.keys().values()) == {1}
    run.assert_accounted()


def test_an_import_that_loses_a_row_is_red_and_names_it(deliver, snapshot, vendor, sandbox):
    sandbox.fault("platform", "import_loses_row", op="create_bulk", nth=3)
    snapshot(ROWS)
    run = deliver(push_file())
    assert run.state == "failed" and "the vendor counted 1" in run.problems
    assert run.counts == {"delivered": ROWS - 1, "rejected": 1}
    lost = run.outcomes.filter(run.outcomes["reason"] == "vendor_unexplained")
    assert lost["row_key"].to_list() == ["1011"] and vendor.keys() == ALL - keys(11)
    run.assert_accounted()


def test_an_import_that_never_ends_is_uncertain_until_it_does(
    deliver, snapshot, vendor, sandbox, monkeypatch
):
    sandbox.switch("platform", bulk_words=["queued", "processing", "finito", "failed"])
    snapshot(ROWS)
    run = deliver(push_file(import_hours=0.5 / 3600))
    assert (run.state, run.summary["verdict"]) == ("failed", "uncertain")
    assert run.counts == {"uncertain": ROWS} and "'finito'" in run.problems
    run.assert_accounted()
    # Nothing else is sent to this list before somebody knows.
    snapshot(ROWS)
    other = deliver(push_file())
    assert other.summary["verdict"] == "refused" and "ended uncertain" in other.problems
    # The word is made known, and the task is cleared.
    connect(monkeypatch, sandbox, bulk_done=["completed", "Finito"])
    run.clear("load")
    assert run.state == "success" and run.counts == {"delivered": ROWS}
    assert vendor.keys() == ALL and vendor.calls["create_bulk"] == 3
    run.assert_accounted()


def test_an_import_that_the_vendor_forgot_is_looked_up(deliver, snapshot, vendor, sandbox):
    sandbox.fault("platform", "status", status=404, op="get_bulk", times=2)
    snapshot(5)
    run = deliver(push_file())
    assert run.state == "success" and vendor.keys() == keys(*range(5))
    assert vendor.calls["create_bulk"] == 1


def test_pages_of_errors_that_cannot_be_read_are_replaced_by_a_look(deliver, snapshot, vendor, sandbox):
    sandbox.fault("platform", "broken_json", op="list_bulk_errors", times=None)
    snapshot([lead(n, **(ODD_ZONE if n == 1 else {})) for n in range(5)])
    run = deliver(push_file())
    assert run.counts == {"delivered": 4, "rejected": 1}
    assert run.reasons == {"delivered": 4, "vendor_unexplained": 1}
    run.assert_accounted()


def test_keys_that_the_list_has_already(deliver, snapshot, vendor, sandbox):
    """PL-19 the other way round: the vendor refuses a key that stands on the list."""
    hook = PlatformHook()
    list_id = hook.find_list("Win-back", CAMPAIGN)
    hook.create_lead({"listId": list_id, "customerKey": "C-00002"})
    sandbox.switch("platform", reject_duplicate_customer_key=True)
    snapshot(ROWS)
    run = deliver(push_file())
    assert run.counts == {"delivered": ROWS - 1, "rejected": 1}
    assert len(hook.find_leads(LeadQuery(listId=list_id, customerKey="C-00002"))) == 1
    hook.close()


def test_a_push_that_never_wrote_down_what_it_left_blocks_the_next(
    deliver, snapshot, vendor, ledger, monkeypatch
):
    """Its rows are delivered, but nobody could tell the next plan which: all would go out again."""
    from include.ledger import Ledger

    snapshot(ROWS)
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "mark_applied", lambda *_: 1 / 0)
        run = deliver(push_file())
    assert run.state == "failed" and vendor.keys() == ALL
    other = deliver(push_file())
    assert other.summary["verdict"] == "refused" and "broke off before it wrote down" in other.problems
    run.clear("load")
    assert run.state == "success"
    assert deliver(push_file()).summary["verdict"] == "unchanged"
    assert vendor.keys() == ALL


def test_a_pause_half_way_lets_what_is_under_way_end(deliver, snapshot, vendor, ledger, monkeypatch):
    """Two imports of three are out when somebody pauses the list: they are followed, the third is not sent."""
    snapshot(ROWS)
    flow = push_file()
    target = f"platform:platform_default:{CAMPAIGN}:Win-back"
    create = PlatformHook.bulk_create

    def create_and_pause(hook: PlatformHook, leads: Any) -> Any:
        if len(vendor.sandbox.state("platform")["imports"]) == 1:
            ledger.pause_target(target, True, "ana", "stop")
        return create(hook, leads)

    monkeypatch.setattr(PlatformHook, "bulk_create", create_and_pause)
    run = deliver(flow)
    assert run.state == "failed" and "is paused" in run.problems
    assert run.counts == {"delivered": 10, "held": 2}
    run.assert_accounted()
    monkeypatch.setattr(PlatformHook, "bulk_create", create)
    ledger.pause_target(target, False, "ana", "go on")
    run.clear("load")
    assert run.state == "success" and run.counts == {"delivered": ROWS}
    assert vendor.keys() == ALL and vendor.calls["create_bulk"] == 3


# --- refusals and connections


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"fault": "expired_token", "op": "create_bulk"}, "password of the connection"),
        ({"fault": "status", "status": 413, "op": "create_bulk"}, "refused the import"),
        ({"fault": "status", "status": 400, "op": "create_bulk"}, "fields that were sent"),
    ],
)
def test_a_refused_import_left_nothing(deliver, snapshot, vendor, sandbox, fault, words):
    sandbox.fault("platform", **fault)
    snapshot(ROWS)
    run = deliver(push_file())
    assert run.state == "failed" and words in run.problems
    assert run.counts == {"held": ROWS} and vendor.keys() == Counter()
    run.assert_accounted()
    sandbox._control("DELETE", "/faults")
    run.clear("load")
    assert run.state == "success" and vendor.keys() == ALL


def test_not_now_is_waited_for(deliver, snapshot, vendor, sandbox):
    sandbox.fault("platform", "status", retry_after=0, op="create_bulk", times=3)
    snapshot(ROWS)
    run = deliver(push_file())
    assert run.state == "success" and vendor.keys() == ALL


def test_an_older_night_is_refused(deliver, snapshot, vendor):
    snapshot(ROWS)
    deliver(push_file())
    make_snapshot([lead(99)], night="2026-11-19", source_time=datetime(2026, 11, 20, tzinfo=UTC))
    run = deliver(push_file(guards={"max_source_age_hours": 9999}), partition="2026-11-19")
    assert run.summary["verdict"] == "refused" and vendor.keys() == ALL


# --- through Airflow


def test_the_whole_of_it_in_airflow(deliver_in_airflow, snapshot, vendor):
    snapshot([lead(n, **(ODD_ZONE if n == 5 else {})) for n in range(ROWS)])
    run = deliver_in_airflow(push_file(min_valid_share=0.5))
    assert run.state == "success", run.tasks
    assert run.counts == {"delivered": ROWS - 1, "rejected": 1}
    assert vendor.keys() == ALL - keys(5)
    run.assert_accounted()


def test_the_lists_that_a_form_can_offer(sandbox):
    hook = PlatformHook()
    offered = [one["name"] for one in hook.every(hook.list_lists, ListQuery(campaignId=CAMPAIGN))]
    hook.close()
    assert offered == ["Renewals", "Win-back"]
