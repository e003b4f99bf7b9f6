"""A person settles an uncertain load: all of it or nothing, and never one that is not uncertain."""

from __future__ import annotations

from datetime import timedelta

import pytest

from include.ledger import BatchPlan, Counts, CountsError, LoadBusyError, NotUncertainError

HOUR = timedelta(hours=1)
WHO = {"who": "Ana", "why": "counted them in the dialer", "applied": "runs/x/plan"}


@pytest.fixture
def uncertain(ledger, open_load):
    """A load of 1,000 rows: 100 rejected by us, 200 delivered for sure, 700 that nobody knows of."""
    load = open_load()
    ledger.plan_batches(load.id, [BatchPlan(1, 300, "a"), BatchPlan(2, 600, "b")])
    ledger.claim_target(load.id, HOUR)
    ledger.intend(load.id, 1)
    ledger.settle(
        load.id, 1, "uncertain", delivered=200, rejected=0, uncertain=100, vendor_counts={"total": 200}
    )
    ledger.intend(load.id, 2)
    ledger.release_target(load.id)
    counts = Counts(1000, delivered=200, rejected=100, uncertain=700)
    ledger.finish_load(load.id, state="uncertain", counts=counts, verdict="uncertain")
    return load


@pytest.mark.parametrize(
    ("delivered", "state", "counts", "batches"),
    [
        (True, "done", Counts(1000, delivered=900, rejected=100), [("confirmed", 300), ("confirmed", 600)]),
        (False, "failed", Counts(1000, delivered=200, rejected=800), [("confirmed", 200), ("rejected", 0)]),
    ],
)
def test_a_person_settles_it(ledger, uncertain, delivered, state, counts, batches):
    assert [load.id for load in ledger.unresolved(uncertain.target)] == [uncertain.id]
    load = ledger.resolve(uncertain.id, delivered=delivered, **WHO)
    assert (load.state, load.counts) == (state, counts)
    assert load.verdict == ("resolved as delivered" if delivered else "resolved as not delivered")
    assert [(batch.state, batch.delivered) for batch in ledger.batches(load.id)] == batches
    assert ledger.unresolved(load.target) == []
    target = ledger.target(load.target)
    # Some rows are on the list either way, and which is not known: none of them may be sent again.
    assert (target.applied, target.applied_rows) == ("runs/x/plan", 900 if delivered else 200)
    [told] = ledger.records("resolved", load.id)
    assert told | {"who": WHO["who"], "why": WHO["why"], "rows": 700, "verdict": load.verdict} == told
    assert ledger.head().count == 1
    assert ledger.verify() == []


def test_rows_that_may_be_sent_again_are_not_remembered(ledger, uncertain):
    ledger.resolve(uncertain.id, delivered=False, who="Ana", why="half of it", applied=None)
    target = ledger.target(uncertain.target)
    assert (target.applied, target.applied_load_id) == (None, None)


def test_a_load_of_which_nothing_came_is_not_remembered(ledger, open_load):
    load = open_load(rows_in=300)
    ledger.plan_batches(load.id, [BatchPlan(1, 300, "a")])
    ledger.claim_target(load.id, HOUR)
    ledger.intend(load.id, 1)
    ledger.release_target(load.id)
    ledger.finish_load(load.id, state="uncertain", counts=Counts(300, uncertain=300), verdict="uncertain")
    assert ledger.resolve(load.id, delivered=False, **WHO).counts == Counts(300, rejected=300)
    assert ledger.target(load.target).applied_load_id is None


def test_batches_that_are_settled_or_never_went_out_stay_as_they_are(ledger, open_load):
    load = open_load()
    ledger.plan_batches(load.id, [BatchPlan(1, 100, "a"), BatchPlan(2, 200, "b"), BatchPlan(3, 700, "c")])
    ledger.claim_target(load.id, HOUR)
    for seq in (1, 2):
        ledger.intend(load.id, seq)
        ledger.accept(load.id, seq, f"ref {seq}", {})
    ledger.settle(
        load.id, 1, "confirmed", delivered=100, rejected=0, uncertain=0, vendor_counts={}, note="fine"
    )
    ledger.release_target(load.id)
    counts = Counts(1000, delivered=100, held=700, uncertain=200)
    ledger.finish_load(load.id, state="uncertain", counts=counts, verdict="uncertain")
    before = ledger.batches(load.id)
    load = ledger.resolve(load.id, delivered=True, **WHO)
    assert load.counts == Counts(1000, delivered=300, held=700)
    after = ledger.batches(load.id)
    assert (after[0], after[2]) == (before[0], before[2])
    assert (after[1].state, after[1].delivered) == ("confirmed", 200)


def test_twice_is_refused(ledger, uncertain):
    ledger.resolve(uncertain.id, delivered=True, **WHO)
    with pytest.raises(NotUncertainError, match="is done, not uncertain"):
        ledger.resolve(uncertain.id, delivered=False, **WHO)
    assert ledger.load(uncertain.id).state == "done"


def test_an_open_load_is_refused(ledger, open_load):
    with pytest.raises(NotUncertainError, match="is open"):
        ledger.resolve(open_load().id, delivered=True, **WHO)


def test_a_load_at_work_is_refused(ledger, uncertain, clock):
    ledger.claim_target(uncertain.id, HOUR)
    with pytest.raises(LoadBusyError, match="is at work"):
        ledger.resolve(uncertain.id, delivered=True, **WHO)
    clock.forward(hours=1)
    assert ledger.resolve(uncertain.id, delivered=True, **WHO).state == "done"
    assert ledger.target(uncertain.target).lock_load_id is None


def test_counts_that_disagree_change_nothing(ledger, uncertain):
    wrong = Counts(1000, delivered=200, rejected=101, uncertain=699)
    ledger.finish_load(uncertain.id, state="uncertain", counts=wrong, verdict="uncertain")
    before = ledger.batches(uncertain.id)
    with pytest.raises(CountsError, match="its batches hold 700"):
        ledger.resolve(uncertain.id, delivered=True, **WHO)
    assert ledger.batches(uncertain.id) == before
    assert ledger.head().count == 0


def test_a_newer_list_stays_what_it_is(ledger, uncertain, open_load):
    newer = open_load(run_id="next", plan_hash="beef", source_time=uncertain.source_time + timedelta(days=1))
    ledger.claim_target(newer.id, HOUR)
    ledger.mark_applied(newer.id, "runs/newer/plan")
    ledger.resolve(uncertain.id, delivered=True, **WHO)
    assert ledger.target(uncertain.target).applied == "runs/newer/plan"
