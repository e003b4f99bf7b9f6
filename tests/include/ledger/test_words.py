"""What people and vendors write into the ledger and the evidence is masked on the way in; who they are stays."""

from __future__ import annotations

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
