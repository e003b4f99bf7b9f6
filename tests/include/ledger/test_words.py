"""What people and vendors write into the ledger and the evidence is masked on the way in; who they are stays."""

from __future__ import annotations

import json
from datetime import timedelta

from include.ledger import BatchPlan

WHY = "ask jane@example.com, or call +1 (201) 200-0001 with token=abcdef123"
SHOWN = "ask <email>, or call <phone> with token=<key>"


def test_reasons_notes_and_pauses(ledger, open_load):
    load = open_load(reason=WHY)
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "c0ffee")])
    ledger.claim_target(load.id, timedelta(minutes=5))
    ledger.intend(load.id, 1)
    ledger.withdraw(load.id, 1, WHY)
    ledger.pause_target(load.target, True, "ben@example.com", WHY)
    ledger.pause_vendor("purecallerid", True, "ben@example.com", WHY)
    record = ledger.record("paused", load.id, {"who": "ben@example.com", "why": WHY, "rows": 7})
    target, (vendor,) = ledger.target(load.target), ledger.paused_vendors()
    assert ledger.load(load.id).reason == ledger.batches(load.id)[0].note == SHOWN
    assert (
        (target.paused_why, target.paused_by)
        == (vendor.paused_why, vendor.paused_by)
        == (SHOWN, "ben@example.com")
    )
    assert record.body == {"who": "ben@example.com", "why": SHOWN, "rows": 7}
    assert ledger.verify() == []


def test_words_of_a_person_who_answers(ledger, open_load):
    load = open_load(needs_approval=True)
    ledger.ask_approval(load.id, "page")
    ledger.answer_approval(load.id, page="page", approved=False, who="ben", why=WHY)
    assert ledger.load(load.id).approval_reason == SHOWN
    assert [body["why"] for body in ledger.records("rejected", load.id)] == [SHOWN]


URL = "https://b.s3.amazonaws.com/failed.csv?X-Amz-Date=1&X-Amz-Signature=0a1b"


def test_a_signed_address_is_forgotten_with_the_end_of_its_batch(ledger, open_load):
    load = open_load()
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "c0ffee")])
    ledger.claim_target(load.id, timedelta(minutes=5))
    token = ledger.intend(load.id, 1)
    body = {"status": "done", "failedFilePath": URL, "id": 7}
    assert ledger.receive(load.vendor, token, json.dumps(body).encode()).new
    assert [event.body for event in ledger.events(load.id, 1)] == [body]  # somebody still has to fetch it
    ledger.settle(load.id, 1, "uncertain", delivered=0, rejected=0, uncertain=10, vendor_counts={})
    assert [event.body for event in ledger.events(load.id, 1)] == [body]
    ledger.settle(load.id, 1, "confirmed", delivered=8, rejected=2, uncertain=0, vendor_counts={"total": 10})
    bare = body | {"failedFilePath": "https://b.s3.amazonaws.com/failed.csv?..."}
    assert [event.body for event in ledger.events(load.id, 1)] == [bare]
    assert not ledger.receive(load.vendor, token, json.dumps(body).encode()).new  # known all the same
    later = body | {"status": "again"}
    assert ledger.receive(load.vendor, token, json.dumps(later).encode()).new
    assert [event.body for event in ledger.events(load.id, 1)] == [bare, bare | {"status": "again"}]
