"""What stops an import, and how its rows stand then."""

from __future__ import annotations

import pytest
from listkeeper.hooks.isales import IsalesHook

from include.vendors import isales
from tests.connections import connect_isales
from tests.flows.conftest import NIGHT
from tests.flows.imports.conftest import (
    ALL,
    DONE,
    IVR,
    PLAIN,
    ROWS,
    Campaign,
    import_file,
)
from tests.flows.runs import answered


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"server": "7"}, "0200001")],
)
def test_refused_requests_leave_every_row_held(deliver, snapshot, vendor, changes, words):
    snapshot(ROWS)
    run = deliver(import_file(**changes))
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "failed", {"held": ROWS})
    assert words in run.problems and vendor.calls <= 1
    run.assert_accounted()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"campaign": "7"}, "0200007"),
        ({"vdn_id": 9}, "0200007"),
        ({"campaign": DONE}, "The campaign is finished"),
    ],
)
def test_a_campaign_that_takes_nothing_is_no_persons_business(deliver, snapshot, vendor, changes, words):
    snapshot(ROWS)
    run = deliver(import_file(**changes), answer=answered())
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "refused", {"held": ROWS})
    assert [refusal["guard"] for refusal in run.plan["refusals"]] == ["no_list"]
    assert words in run.problems and vendor.calls == 0
    run.assert_accounted()


def test_a_campaign_that_calls_already_is_a_persons_business(deliver, snapshot, sandbox):
    snapshot(ROWS)
    live = import_file(campaign=IVR, intelligent_ivr=True)
    run = deliver(live)
    assert (run.summary["verdict"], run.counts) == ("not approved", {"held": ROWS})
    assert [refusal["guard"] for refusal in run.plan["refusals"]] == ["live_list"]
    assert Campaign(sandbox, IVR).calls == 0
    run.assert_accounted()
    assert deliver(live, answer=answered()).counts == {"delivered": ROWS}


@pytest.mark.parametrize("answer", [{"result": {}}, {"result": [{"status": True}]}, {}])
def test_a_campaign_of_which_nothing_is_told_counts_as_live(deliver, snapshot, vendor, monkeypatch, answer):
    monkeypatch.setattr(IsalesHook, "campaign_status", lambda self, **_: isales.read_status(answer))
    snapshot(ROWS)
    run = deliver(import_file())
    assert run.summary["verdict"] == "not approved" and "does not tell" in run.problems
    assert deliver(import_file(when_live="allow")).counts == {"delivered": ROWS}


def test_a_campaign_that_is_started_after_the_plan_is_left_alone(
    deliver, snapshot, vendor, ledger, monkeypatch
):
    status, ask = iter([isales.PAUSED, isales.STARTED]), IsalesHook.campaign_status
    monkeypatch.setattr(IsalesHook, "campaign_status", lambda *_, **__: next(status))
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts, vendor.calls) == ("failed", {"held": ROWS}, 0)
    assert "Nothing was sent. The campaign is started" in run.problems
    monkeypatch.setattr(IsalesHook, "campaign_status", ask)
    run.clear("load")  # paused again
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})


def test_a_wrong_key(deliver, snapshot, vendor, sandbox, monkeypatch):
    connect_isales(monkeypatch, sandbox, sk="another-secret")
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts) == ("failed", {"held": ROWS}) and "access key" in run.problems


def test_another_host_key(deliver, snapshot, vendor, sandbox, monkeypatch, openssh_server):
    connect_isales(monkeypatch, sandbox, host_key=openssh_server.host_key)
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts) == ("failed", {"held": ROWS}) and "another host key" in run.problems
    assert vendor.files == [] and vendor.calls == 0


def test_what_was_accepted_before_a_refusal_is_followed(deliver, snapshot, vendor, sandbox):
    sandbox.fault("isales", "status", status=400, op="import", nth=2)
    snapshot(ROWS)
    run = deliver(import_file(max_records=5))
    assert (run.state, run.counts) == ("failed", {"delivered": 5, "held": 7})
    assert "2 of 3 files were not sent" in run.problems
    run.assert_accounted()
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}) and vendor.sessions == ALL


def test_a_vendor_that_is_away_is_tried_again(deliver, snapshot, vendor, sandbox):
    sandbox.fault("isales", "status", status=503, op="import")
    sandbox.fault("isales", "status", status=429, retry_after=0, op="query_imports")
    snapshot(ROWS)
    run = deliver(import_file(), retries=4)
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}) and len(vendor.tasks) == 1


def test_an_upload_that_is_cut_goes_on(deliver, snapshot, vendor, sandbox):
    sandbox.fault("sftp", "upload_cut", after_bytes=2000)
    sandbox.fault("sftp", "rename_lost")
    snapshot(ROWS)
    run = deliver(import_file(), retries=4)
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}) and vendor.calls == 1


def test_a_paused_campaign(deliver, snapshot, vendor, ledger, sandbox):
    sandbox.fault("isales", "status", status=503, op="import", times=None)
    snapshot(ROWS)
    run = deliver(import_file())
    assert run.state == "failed" and vendor.tasks == []
    sandbox._control("DELETE", "/faults")
    ledger.pause_target("isales:1:" + PLAIN, True, "ana", "the list is wrong")
    run.clear("load")
    assert run.state == "failed" and "paused" in run.problems and vendor.tasks == []
    ledger.pause_target("isales:1:" + PLAIN, False, "ana", "it is right now")
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})


def test_the_same_in_airflow_itself(deliver_in_airflow, snapshot, vendor):
    snapshot(ROWS)
    run = deliver_in_airflow(import_file(max_records=7), partition=NIGHT)
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert vendor.sessions == ALL
    run.assert_accounted()
