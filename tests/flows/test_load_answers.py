"""Loads through PureCallerID whose answer is lost or a refusal."""

from __future__ import annotations

import json
import time

import pytest

from tests.flows.conftest import connection, flow_file, numbers
from tests.flows.loads import append, dialer, ringcx
from tests.waiting import until

UNSAFE = {"append": append, "ringcx": ringcx}
SAFE = {"replace": flow_file, "append_unique": lambda **changes: append(True, **changes)}


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "truncated"])
@pytest.mark.parametrize("make", SAFE.values(), ids=SAFE)
def test_a_lost_answer_is_sent_again_where_that_converges(deliver, snapshot, vendor, sandbox, make, fault):
    sandbox.fault("purecallerid", fault)
    if fault != "drop_before":
        sandbox.fault("purecallerid", "webhook_lost", times=3)  # those of the first upload
    snapshot(20)
    run = deliver(make())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 2
    assert vendor.numbers() == numbers(range(20))
    run.assert_accounted()


@pytest.mark.parametrize("fault", ["drop_after", "truncated", "broken_json"])
@pytest.mark.parametrize("make", UNSAFE.values(), ids=UNSAFE)
def test_a_lost_answer_is_never_sent_twice_elsewhere_and_heals_by_the_webhook(
    deliver, snapshot, vendor, sandbox, make, fault
):
    sandbox.fault("purecallerid", fault)
    snapshot(20)
    run = deliver(make())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 1
    assert vendor.numbers(dialer(make())) == numbers(range(20))
    run.assert_accounted()


@pytest.mark.parametrize("make", UNSAFE.values(), ids=UNSAFE)
def test_a_request_that_got_lost_on_its_way_is_uncertain_there(deliver, snapshot, vendor, sandbox, make):
    sandbox.fault("purecallerid", "drop_before")
    snapshot(20)
    run = deliver(make(callback_hours=0.2 / 3600))
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    assert vendor.calls == 1 and not vendor.loads
    run.assert_accounted()


def test_a_vendor_that_never_answers_leaves_a_replace_uncertain(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "drop_before", times=None)
    snapshot(20)
    run = deliver(retries=2)
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    assert "lost" in run.problems
    assert vendor.calls == 3
    run.assert_accounted()


def test_the_end_of_an_earlier_attempt_is_not_taken_for_that_of_the_last(
    deliver, snapshot, vendor, sandbox, ledger, monkeypatch
):
    """Twice taken in, twice unheard: the first ends well, the second stops half way and is what the list holds."""
    from listkeeper.operators.purecallerid import LoadListOperator

    load, tries = LoadListOperator.send, []

    def late_news(self, context):
        tries.append(self)
        if len(tries) == 3:
            until(lambda: len(vendor.loads) == 2 and vendor.loads[1]["status"] == "ERROR")
            first = vendor.loads[0]
            assert first["status"] == "FINALIZED"
            token = first["webhookUrl"].rsplit("/", 1)[-1]
            assert ledger.receive("purecallerid", token, json.dumps(first).encode()).new
        return load(self, context)

    monkeypatch.setattr(LoadListOperator, "send", late_news)
    sandbox.fault("purecallerid", "drop_after", times=2)
    sandbox.fault("purecallerid", "webhook_lost", times=6)
    sandbox.fault("purecallerid", "load_error", nth=2)
    snapshot(20)
    run = deliver()
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 3 and vendor.numbers() == numbers(range(20))


@pytest.mark.parametrize(("status", "words"), [(404, "campaign"), (413, "fewer rows"), (400, "Check mode")])
def test_a_refused_load_is_not_tried_again(deliver, snapshot, vendor, sandbox, status, words):
    sandbox.fault("purecallerid", "status", status=status, times=None)
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert words in run.problems
    assert vendor.calls == 1
    run.assert_accounted()


def test_a_file_too_large_for_the_vendor(deliver, snapshot, vendor, sandbox):
    sandbox.switch("purecallerid", max_file_bytes=100)
    snapshot(20)
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "larger than the vendor allows" in run.problems


def test_a_wrong_key(deliver, snapshot, vendor, sandbox, monkeypatch, ledger):
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", connection(sandbox, "bm90IHRoZSBrZXk="))
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "does not accept the key" in run.problems
    assert vendor.calls == 1
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", connection(sandbox))
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": 20})


@pytest.mark.parametrize("make", [*SAFE.values(), *UNSAFE.values()], ids=[*SAFE, *UNSAFE])
def test_a_missing_connection_leaves_nothing_in_doubt(deliver, snapshot, vendor, sandbox, monkeypatch, make):
    monkeypatch.delenv("AIRFLOW_CONN_PURECALLERID_DEFAULT")
    snapshot(20)
    run = deliver(make(), retries=0)
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert "purecallerid_default" in run.problems
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", connection(sandbox))
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": 20})


def test_a_missing_connection_leaves_nothing_in_doubt_where_no_callback_is_asked_for(
    deliver, snapshot, vendor, monkeypatch
):
    monkeypatch.delenv("AIRFLOW_CONN_PURECALLERID_DEFAULT")
    monkeypatch.delenv("LISTKEEPER_PUBLIC_URL")
    snapshot(20)
    assert deliver(ringcx(), retries=1).counts == {"held": 20}
    assert vendor.calls == 0


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_is_tried_again_everywhere(deliver, snapshot, vendor, sandbox, status):
    sandbox.fault("purecallerid", "status", status=status, retry_after=0)
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 2
    run.assert_accounted()


def test_the_vendors_own_wait_is_kept(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "status", status=429, retry_after=1)
    snapshot(20)
    started = time.monotonic()
    run = deliver()
    assert run.state == "success"
    assert time.monotonic() - started >= 1


def test_not_now_until_no_try_is_left(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "status", status=503, times=None)
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert "503" in run.problems
    assert vendor.calls == 3
    run.assert_accounted()


def test_500_says_nothing_about_what_was_done(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "status", status=500, times=None)
    snapshot(20)
    safe = deliver(flow_file(), retries=1)
    assert (vendor.calls, safe.counts) == (2, {"uncertain": 20})
    unsafe = deliver(ringcx(callback_hours=0.2 / 3600, name="other"), retries=1)
    assert (vendor.calls, unsafe.counts) == (3, {"uncertain": 20})
    unsafe.assert_accounted()
