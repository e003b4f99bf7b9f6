"""Loads and their batches: what a retry gets back, and which way a batch may go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.ledger import (
    BatchPlan,
    BatchStateError,
    ClaimLostError,
    Counts,
    CountsError,
    PlanChangedError,
    UnknownBatchError,
    UnknownLoadError,
    UnknownTokenError,
)

HOUR = timedelta(hours=1)
PLANS = [BatchPlan(1, 600, "aa"), BatchPlan(2, 400, "bb")]


@pytest.fixture
def load(ledger, open_load):
    """A load that holds its list and has two batches."""
    opened = open_load()
    ledger.plan_batches(opened.id, PLANS)
    ledger.claim_target(opened.id, HOUR)
    return opened


def confirm(ledger, load, seq=1, rows=600):
    ledger.settle(
        load.id, seq, "confirmed", delivered=rows, rejected=0, uncertain=0, vendor_counts={"total": rows}
    )


def states(ledger, load):
    return [batch.state for batch in ledger.batches(load.id)]


def test_a_retry_gets_the_same_load_and_another_plan_a_new_one(ledger, open_load, clock):
    first = open_load()
    clock.forward(minutes=5)
    again = open_load()
    assert again == replace(first, good_until=again.good_until)  # planned anew: its age begins again
    assert again.good_until == first.good_until + timedelta(minutes=5)
    other = open_load(plan_hash="decaf")
    assert other.id != first.id
    assert len(first.id) == 32
    assert ledger.load_for_run(first.dag_id, first.run_id) == other
    assert ledger.load_for_run(first.dag_id, "no such run") is None


def test_a_load_comes_back_as_it_was_opened(ledger, open_load, clock):
    opened = open_load(night=None, mode="plan", requested_by="ana", reason="month end")
    assert ledger.load(opened.id) == opened
    assert (opened.state, opened.counts, opened.verdict) == ("open", None, None)
    assert (opened.opened_at, opened.finished_at) == (clock(), None)
    assert opened.source_time == datetime(2026, 11, 21, tzinfo=UTC)
    assert opened.source_time.tzinfo is UTC
    with pytest.raises(UnknownLoadError):
        ledger.load("0" * 32)


def test_a_time_without_a_zone_is_refused(open_load):
    with pytest.raises(Exception, match="timezone-aware"):
        open_load(source_time=datetime(2026, 11, 21))  # noqa: DTZ001


def test_loads_are_listed_newest_first(ledger, open_load):
    first = open_load(run_id="a")
    second = open_load(run_id="b", flow="ringcx_weekly")
    third = open_load(run_id="c")
    assert ledger.loads(10) == [third, second, first]
    assert ledger.loads(2) == [third, second]
    assert ledger.loads(10, flow="ringcx_weekly") == [second]


def test_done_needs_rows_that_add_up_with_certainty(ledger, open_load, clock):
    load = open_load(rows_in=1000)
    good = Counts(1000, delivered=900, rejected=50, suppressed=40, held=10)
    for bad in (
        Counts(1000, delivered=999),
        Counts(1000, delivered=999, uncertain=1),
        Counts(900, delivered=900),
    ):
        with pytest.raises(CountsError):
            ledger.finish_load(load.id, state="done", counts=bad, verdict="green")
    ledger.finish_load(
        load.id, state="uncertain", counts=Counts(1000, delivered=999, uncertain=1), verdict="1 open"
    )
    ledger.finish_load(load.id, state="done", counts=good, verdict="green")
    done = ledger.load(load.id)
    assert (done.state, done.counts, done.verdict, done.finished_at) == ("done", good, "green", clock())


def test_batches_are_planned_once(ledger, open_load):
    load = open_load()
    ledger.plan_batches(load.id, PLANS)
    ledger.plan_batches(load.id, PLANS)
    assert [(batch.seq, batch.rows, batch.fingerprint) for batch in ledger.batches(load.id)] == [
        (1, 600, "aa"),
        (2, 400, "bb"),
    ]
    assert {(b.delivered, b.rejected, b.uncertain, b.attempts) for b in ledger.batches(load.id)} == {
        (0, 0, 0, 0)
    }
    for changed in (BatchPlan(2, 400, "cc"), BatchPlan(2, 401, "bb")):
        with pytest.raises(PlanChangedError):
            ledger.plan_batches(load.id, [BatchPlan(3, 1, "dd"), changed])
    assert len(ledger.batches(load.id)) == 2  # the whole call was taken back
    with pytest.raises(UnknownLoadError):
        ledger.plan_batches("0" * 32, PLANS)


def test_the_way_of_a_batch(ledger, load, clock):
    assert states(ledger, load) == ["planned", "planned"]
    assert ledger.interrupted(load.id) == []
    token = ledger.intend(load.id, 1)
    assert len(token) >= 43
    assert [batch.seq for batch in ledger.interrupted(load.id)] == [1]
    ledger.accept(load.id, 1, "64bea", {"id": "64bea", "status": "UPLOADED"})
    ledger.accept(load.id, 1, "64bea", {"id": "64bea", "status": "UPLOADED"})
    assert ledger.interrupted(load.id) == []
    confirm(ledger, load)
    batch = ledger.batches(load.id)[0]
    assert (batch.state, batch.attempts, batch.vendor_ref, batch.maybe_sent) == (
        "confirmed",
        1,
        "64bea",
        False,
    )
    assert batch.answer == {"id": "64bea", "status": "UPLOADED"}
    assert batch.vendor_counts == {"total": 600}
    assert (batch.intended_at, batch.accepted_at, batch.settled_at) == (clock(),) * 3
    with pytest.raises(UnknownBatchError):
        ledger.intend(load.id, 3)


def test_nothing_is_intended_without_the_list(ledger, open_load):
    load = open_load()
    ledger.plan_batches(load.id, PLANS)
    with pytest.raises(ClaimLostError):
        ledger.intend(load.id, 1)
    assert states(ledger, load) == ["planned", "planned"]
    assert ledger.batches(load.id)[0].attempts == 0


def test_what_may_have_been_sent_is_sent_again_only_when_told(ledger, load):
    first = ledger.intend(load.id, 1)
    with pytest.raises(BatchStateError, match="again=True"):
        ledger.intend(load.id, 1)
    second = ledger.intend(load.id, 1, again=True)
    batch = ledger.batches(load.id)[0]
    assert (batch.state, batch.attempts, batch.maybe_sent) == ("intended", 2, True)
    assert first != second
    assert ledger.receive("purecallerid", first, b'{"id": 1}').new  # both tokens stay good
    assert ledger.receive("purecallerid", second, b'{"id": 2}').new


def test_an_uncertain_batch_that_is_sent_again_starts_from_nothing(ledger, load):
    ledger.intend(load.id, 1)
    ledger.accept(load.id, 1, "64bea", {})
    ledger.settle(
        load.id,
        1,
        "uncertain",
        delivered=100,
        rejected=0,
        uncertain=500,
        vendor_counts={"total": 100},
        note="no callback",
    )
    ledger.intend(load.id, 1, again=True)
    batch = ledger.batches(load.id)[0]
    assert (batch.delivered, batch.uncertain, batch.vendor_counts) == (0, 0, {})
    assert (batch.vendor_ref, batch.answer, batch.note, batch.settled_at) == (None, None, None, None)


@pytest.mark.parametrize("state", ["accepted", "confirmed", "rejected"])
def test_what_the_vendor_has_is_never_sent_again(ledger, load, state):
    ledger.intend(load.id, 1)
    ledger.accept(load.id, 1, "64bea", {})
    if state != "accepted":
        ledger.settle(load.id, 1, state, delivered=0, rejected=600, uncertain=0, vendor_counts={})
    with pytest.raises(BatchStateError):
        ledger.intend(load.id, 1, again=True)


def test_a_withdrawn_batch_is_planned_again(ledger, load):
    ledger.intend(load.id, 1)
    ledger.withdraw(load.id, 1, "429")
    assert states(ledger, load)[0] == "planned"
    assert ledger.interrupted(load.id) == []
    ledger.intend(load.id, 1)
    batch = ledger.batches(load.id)[0]
    assert (batch.attempts, batch.maybe_sent) == (2, False)
    with pytest.raises(BatchStateError):
        ledger.withdraw(load.id, 2, "never intended")


def test_a_withdrawn_attempt_does_not_hide_an_earlier_one_that_may_have_arrived(ledger, load):
    ledger.intend(load.id, 1)
    ledger.intend(load.id, 1, again=True)
    ledger.withdraw(load.id, 1, "429")
    batch = ledger.batches(load.id)[0]
    assert (batch.state, batch.uncertain) == ("uncertain", 600)
    with pytest.raises(BatchStateError):
        ledger.intend(load.id, 1)


def test_counts_of_a_batch_must_make_its_rows(ledger, load):
    ledger.intend(load.id, 1)
    for delivered, rejected, uncertain in ((599, 0, 0), (600, 1, 0), (601, -1, 0), (0, 0, 0)):
        with pytest.raises(CountsError):
            ledger.settle(
                load.id,
                1,
                "uncertain",
                delivered=delivered,
                rejected=rejected,
                uncertain=uncertain,
                vendor_counts={},
            )
    for final in ("confirmed", "rejected"):
        with pytest.raises(CountsError, match="settle it as uncertain"):
            ledger.settle(load.id, 1, final, delivered=0, rejected=0, uncertain=600, vendor_counts={})
    assert states(ledger, load)[0] == "intended"


@pytest.mark.parametrize("final", ["confirmed", "rejected"])
def test_uncertain_can_become_final_and_final_stays(ledger, load, final, clock):
    ledger.intend(load.id, 1)
    ledger.settle(load.id, 1, "uncertain", delivered=0, rejected=0, uncertain=600, vendor_counts={})
    ledger.release_target(load.id)  # a late callback needs no claim
    end = {"delivered": 0, "rejected": 600, "uncertain": 0, "vendor_counts": {"total": 600, "invalid": 600}}
    ledger.settle(load.id, 1, final, **end)
    settled = ledger.batches(load.id)[0]
    clock.forward(hours=1)
    ledger.settle(load.id, 1, final, **end)  # said twice
    assert ledger.batches(load.id)[0] == settled
    for state in ("confirmed", "rejected", "uncertain"):
        with pytest.raises(BatchStateError):
            ledger.settle(
                load.id,
                1,
                state,
                delivered=600,
                rejected=0,
                uncertain=0,
                vendor_counts={"total": 600, "valid": 600},
            )
    with pytest.raises(BatchStateError):
        ledger.accept(load.id, 1, "late", {})
    assert ledger.batches(load.id)[0] == settled


def test_the_vendor_cannot_take_a_batch_in_twice_under_two_names(ledger, load):
    ledger.intend(load.id, 1)
    ledger.accept(load.id, 1, "64bea", {})
    with pytest.raises(BatchStateError):
        ledger.accept(load.id, 1, "64beb", {})
    confirm(ledger, load)
    with pytest.raises(BatchStateError):
        ledger.accept(load.id, 1, "64bea", {})
    assert ledger.batches(load.id)[0].vendor_ref == "64bea"


def test_a_load_is_unresolved_while_a_batch_may_have_arrived(ledger, load):
    def open_loads():
        return [found.id for found in ledger.unresolved(load.target)]

    assert open_loads() == []
    ledger.intend(load.id, 1)
    assert open_loads() == [load.id]
    ledger.accept(load.id, 1, "64bea", {})
    assert open_loads() == [load.id] and ledger.unresolved("purecallerid:64be:OTHER") == []
    ledger.leave_uncertain(ledger.batches(load.id)[0], "no callback")
    assert open_loads() == [load.id]
    confirm(ledger, load)
    assert open_loads() == []


def test_a_batch_that_was_never_sent_has_no_outcome(ledger, load):
    with pytest.raises(BatchStateError):
        confirm(ledger, load)
    with pytest.raises(BatchStateError):
        ledger.accept(load.id, 1, "64bea", {})


def test_no_person_and_no_token_stays_in_an_answer(ledger, load):
    token = ledger.intend(load.id, 1)
    answer = {"id": "1", "webhookUrl": f"https://lk.example/{token}", "processedBy": {"firstName": "API"}}
    ledger.accept(load.id, 1, "1", answer)
    assert ledger.batches(load.id)[0].answer == {"id": "1"}


def test_a_token_of_one_vendor_is_worth_nothing_at_another(ledger, load):
    token = ledger.intend(load.id, 1)
    with pytest.raises(UnknownTokenError):
        ledger.receive("ozonetel", token, b"{}")
