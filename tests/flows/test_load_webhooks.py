"""Loads through PureCallerID whose webhooks come late, twice, wrong, by a relay or not at all."""

from __future__ import annotations

import pytest

from tests.flows.conftest import flow_file, numbers
from tests.flows.loads import dialer, ringcx
from tests.waiting import until


@pytest.mark.parametrize(
    "flow", [flow_file(callback_hours=0.5 / 3600), ringcx(callback_hours=0.5 / 3600)], ids=dialer
)
def test_a_lost_webhook_leaves_the_rows_uncertain_at_the_deadline(deliver, snapshot, vendor, sandbox, flow):
    sandbox.fault("purecallerid", "webhook_lost", nth=3)
    snapshot(20)
    run = deliver(flow)
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "uncertain", {"uncertain": 20})
    assert "No webhook told the outcome" in run.problems and "resolve" in run.problems
    run.assert_accounted()
    assert vendor.calls == 1


@pytest.mark.parametrize("fault", ["webhook_doubled", "webhook_reordered", "webhook_forged"])
def test_doubled_reordered_and_forged_webhooks_change_nothing(deliver, snapshot, vendor, sandbox, fault):
    sandbox.fault("purecallerid", fault, times=None)
    sandbox.switch("purecallerid", increment_rows=5)  # more of them
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    run.assert_accounted()
    if fault == "webhook_forged":
        answers = [hook["answer"] for hook in sandbox.state("purecallerid")["webhooks"]]
        assert 404 in answers  # the made-up token led nowhere


def test_a_late_webhook_heals_a_run_that_gave_up(deliver, snapshot, vendor, sandbox, ledger, when_told):
    """Clearing the load looks again, and sends nothing."""
    sandbox.fault("purecallerid", "webhook_late", nth=3)
    come = when_told("webhooks")
    snapshot(20)
    run = deliver(ringcx(callback_hours=0.2 / 3600))
    assert run.summary["verdict"] == "uncertain"
    load = run.summary["load"]
    come.set()
    until(lambda: any(event.body["status"] == "FINALIZED" for event in ledger.events(load, 1)))
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    run.assert_accounted()
    assert vendor.calls == 1
    assert deliver(ringcx()).summary["verdict"] == "unchanged"


def test_clearing_without_news_stays_uncertain_and_sends_nothing(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "webhook_lost", nth=3)
    snapshot(20)
    run = deliver(ringcx(callback_hours=0.2 / 3600))
    run.clear("load")
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    assert vendor.calls == 1


def test_an_open_load_bars_the_way_where_it_could_double(deliver, snapshot, vendor, sandbox, ledger):
    sandbox.fault("purecallerid", "webhook_lost", nth=3)
    snapshot(20)
    first = deliver(ringcx(callback_hours=0.2 / 3600))
    again = deliver(ringcx())
    assert (again.state, again.summary["verdict"], again.counts) == ("failed", "refused", {"held": 20})
    assert first.summary["load"] in again.problems
    assert vendor.calls == 1
    ledger.resolve(
        first.summary["load"], delivered=True, who="ana", why="seen", applied=first.folder("plan").path
    )
    assert deliver(ringcx()).summary["verdict"] == "unchanged"
    assert vendor.numbers("ringcx") == numbers(range(20))


def test_a_webhook_after_a_person_resolved_the_load_changes_nothing(
    deliver, snapshot, vendor, sandbox, ledger, when_told
):
    sandbox.fault("purecallerid", "webhook_late", nth=3)
    come = when_told("webhooks")
    snapshot(20)
    run = deliver(ringcx(callback_hours=0.2 / 3600))
    load = run.summary["load"]
    ledger.resolve(load, delivered=False, who="ana", why="looked", applied=run.folder("plan").path)
    come.set()
    until(lambda: any(event.body["status"] == "FINALIZED" for event in ledger.events(load, 1)))
    run.clear("load")
    assert ledger.batches(load)[0].state == "rejected"
    assert run.tasks["load"] == "success"


def test_without_a_public_address_the_outcome_is_uncertain_at_once(deliver, snapshot, vendor, monkeypatch):
    monkeypatch.delenv("LISTKEEPER_PUBLIC_URL")
    snapshot(20)
    run = deliver(flow_file(callback_hours=48))
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    assert "LISTKEEPER_PUBLIC_URL" in run.problems
    assert vendor.loads[0]["webhookUrl"] is None
    run.assert_accounted()


def test_an_address_the_vendor_would_not_call_stops_the_load_before_it_is_sent(
    deliver, snapshot, vendor, monkeypatch
):
    monkeypatch.setenv("LISTKEEPER_PUBLIC_URL", "http://listkeeper.example")
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert "https" in run.problems
    assert vendor.calls == 0


def test_relay(installation, relay, deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert not list(relay.glob("purecallerid/*/*.json"))
    run.assert_accounted()


def test_relay_that_was_late(installation, relay, deliver, snapshot, vendor, sandbox, when_told):
    """Nobody collects after the deadline; the cleared load does."""
    sandbox.fault("purecallerid", "webhook_late", nth=3)
    come = when_told("webhooks")
    snapshot(20)
    run = deliver(ringcx(callback_hours=0.2 / 3600))
    assert run.summary["verdict"] == "uncertain"
    come.set()
    until(lambda: any(b"FINALIZED" in file.read_bytes() for file in relay.glob("purecallerid/*/*.json")))
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 1
