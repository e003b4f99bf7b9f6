"""What a load needs before it may write: a person's word, a plan that is not too old, a list that has not moved."""

from __future__ import annotations

import pickle
from datetime import timedelta

import pytest

from include.ledger import (
    BatchPlan,
    ListChangedError,
    MayNotWriteError,
    NotApprovedError,
    NotAskedError,
    OlderSourceError,
    OtherPageError,
    PlanOnlyError,
    PlanTooOldError,
    Standing,
    TargetPausedError,
)

TARGET = "purecallerid:64be:ATTEMPT"
HOUR = timedelta(hours=1)


def send(ledger, load, rows=10, *, settle=True):
    """Claim the list and send one batch of the load."""
    ledger.plan_batches(load.id, [BatchPlan(1, rows, "x")])
    ledger.claim_target(load.id, HOUR)
    ledger.intend(load.id, 1)
    if settle:
        ledger.settle(
            load.id, 1, "confirmed", delivered=rows, rejected=0, uncertain=0, vendor_counts={"total": rows}
        )
        ledger.mark_applied(load.id, "runs/x")
        ledger.release_target(load.id)


def yes(ledger, load, **changes):
    """Ask a person with a page, and write down what they say."""
    ledger.ask_approval(load.id, "page")
    values = {"approved": True, "who": "ben", "why": "counted it", "facts": {"refused_by": ["shrink"]}}
    return ledger.answer_approval(load.id, page="page", **values | changes)


def evidence_of(ledger, load):
    from sqlalchemy import select

    from include.ledger.tables import evidence

    with ledger._store.read() as connection:
        query = select(evidence.c.kind, evidence.c.body).where(evidence.c.load_id == load.id)
        return [(row.kind, row.body) for row in connection.execute(query)]


# A person's word


def test_a_load_that_needs_nobodys_word_writes(ledger, open_load):
    load = open_load()
    assert load.approval is None
    send(ledger, load)


@pytest.mark.parametrize("word", ["needed", "asked", "rejected", "unanswered"])
def test_without_a_yes_nothing_is_written(ledger, open_load, word):
    load = open_load(needs_approval=True)
    if word == "asked":
        ledger.ask_approval(load.id, "page")
    if word in ("rejected", "unanswered"):
        yes(ledger, load, approved=False if word == "rejected" else None)
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "x")])
    with pytest.raises(NotApprovedError, match="Nothing was sent"):
        ledger.claim_target(load.id, HOUR)
    assert ledger.target(TARGET).fence_source_time is None  # the fence did not move either


def test_a_yes_lets_it_write_and_says_who_when_and_why(ledger, open_load, clock):
    load = open_load(needs_approval=True, requested_by="ana")
    clock.forward(minutes=20)
    given = yes(ledger, load)
    assert (given.approval, given.approved_by, given.approved_at) == ("approved", "ben", clock())
    assert (given.approval_reason, given.approval_page) == ("counted it", "page")
    send(ledger, load)
    asked, approved = evidence_of(ledger, load)
    assert asked == ("asked", {"hash": load.plan_hash, "page": "page"})
    assert approved == (
        "approved",
        {"hash": load.plan_hash, "who": "ben", "why": "counted it", "requested_by": "ana", "refused_by": ["shrink"]},
    )  # fmt: skip
    assert ledger.verify() == []


@pytest.mark.parametrize(("approved", "kind"), [(False, "rejected"), (None, "unanswered")])
def test_a_no_is_evidence_too(ledger, open_load, approved, kind):
    load = open_load(needs_approval=True)
    given = yes(ledger, load, approved=approved)
    assert (given.approval, given.approved_by, given.approved_at) == (kind, None, None)
    assert evidence_of(ledger, load)[-1][0] == kind


def test_asking_anew_takes_the_word_back(ledger, open_load):
    load = open_load(needs_approval=True)
    yes(ledger, load)
    ledger.ask_approval(load.id, "page")
    with pytest.raises(NotApprovedError):
        ledger.claim_target(load.id, HOUR)


def test_planning_anew_takes_the_word_back(ledger, open_load):
    load = open_load(needs_approval=True)
    yes(ledger, load)
    again = open_load(needs_approval=True)
    assert (again.id, again.approval, again.approved_by) == (load.id, "needed", None)


def test_the_word_for_one_plan_is_none_for_another(ledger, open_load):
    load = open_load(needs_approval=True)
    yes(ledger, load)
    with pytest.raises(NotApprovedError):
        ledger.claim_target(open_load(needs_approval=True, plan_hash="decaf").id, HOUR)


def test_a_word_that_is_taken_back_stops_the_next_batch(ledger, open_load):
    load = open_load(needs_approval=True)
    yes(ledger, load)
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "x"), BatchPlan(2, 10, "y")])
    ledger.claim_target(load.id, HOUR)
    ledger.intend(load.id, 1)
    ledger.ask_approval(load.id, "page")
    with pytest.raises(NotApprovedError):
        ledger.intend(load.id, 2)


def test_nobody_answers_what_was_not_asked(ledger, open_load):
    load = open_load(needs_approval=True)
    answer = {"approved": True, "who": "ben", "why": None}
    with pytest.raises(NotAskedError, match="Start a new run"):
        ledger.answer_approval(load.id, page="page", **answer)
    ledger.ask_approval(load.id, "page")
    with pytest.raises(NotAskedError):
        ledger.answer_approval(load.id, page="another page", **answer)
    with pytest.raises(
        NotAskedError
    ):  # of the same run, planned anew while the page of the first plan is open
        ledger.answer_approval(open_load(needs_approval=True, plan_hash="decaf").id, page="page", **answer)
    ledger.answer_approval(load.id, page="page", **answer)
    with pytest.raises(NotAskedError):
        ledger.answer_approval(load.id, page="page", **answer | {"who": "cora"})
    assert ledger.load(load.id).approved_by == "ben"


def test_a_yes_does_not_bring_a_plan_only_load_to_the_list(ledger, open_load):
    load = open_load(mode="plan", needs_approval=True)
    yes(ledger, load)
    with pytest.raises(PlanOnlyError):
        ledger.claim_target(load.id, HOUR)


def test_a_yes_passes_neither_the_fence_nor_a_pause(ledger, open_load):
    newer, older = open_load(run_id="b"), open_load(needs_approval=True)
    older = open_load(
        needs_approval=True, run_id="c", source_time=newer.source_time - timedelta(days=1), plan_hash="old"
    )
    ledger.claim_target(newer.id, HOUR)
    ledger.release_target(newer.id)
    yes(ledger, older)
    with pytest.raises(OlderSourceError):
        ledger.claim_target(older.id, HOUR)
    ledger.pause_target(TARGET, True, "ana", "outage")
    with pytest.raises(TargetPausedError):
        ledger.claim_target(older.id, HOUR)


def test_a_run_asks_with_one_page_only(ledger, open_load):
    first, other = open_load(needs_approval=True), open_load(needs_approval=True, plan_hash="decaf")
    elsewhere = open_load(needs_approval=True, run_id="b")
    ledger.ask_approval(first.id, "one")
    ledger.ask_approval(elsewhere.id, "another run")
    with pytest.raises(OtherPageError, match="Start a new run"):
        ledger.ask_approval(other.id, "two")
    ledger.ask_approval(first.id, "one")  # the same page again
    with pytest.raises(OtherPageError):
        ledger.ask_approval(first.id, "the same plan in other words")


# Age


def test_a_plan_that_is_too_old_is_refused(ledger, open_load, clock):
    load = open_load(good_for=timedelta(hours=3))
    clock.forward(hours=3)
    ledger.claim_target(load.id, HOUR)
    ledger.release_target(load.id)
    clock.forward(seconds=1)
    with pytest.raises(PlanTooOldError, match="max_plan_age_hours"):
        ledger.claim_target(load.id, HOUR)
    again = open_load(good_for=timedelta(hours=3))  # planned anew
    assert again.id == load.id
    ledger.claim_target(load.id, HOUR)


def test_a_plan_is_good_for_twelve_hours(open_load, clock):
    assert open_load().good_until == clock() + timedelta(hours=12)


def test_the_age_of_an_approved_plan_begins_with_the_approval(ledger, open_load, clock):
    load = open_load(needs_approval=True, good_for=timedelta(hours=3))
    clock.forward(hours=10)
    yes(ledger, load, good_for=timedelta(hours=3))
    clock.forward(hours=3)
    ledger.claim_target(load.id, HOUR)
    ledger.release_target(load.id)
    clock.forward(seconds=1)
    with pytest.raises(PlanTooOldError):
        ledger.claim_target(load.id, HOUR)


def test_a_load_that_has_begun_goes_on_however_old_its_plan_is(ledger, open_load, clock):
    load = open_load()
    send(ledger, load, settle=False)
    ledger.withdraw(load.id, 1, "the office is open")
    ledger.release_target(load.id)
    clock.forward(days=3)
    ledger.claim_target(load.id, HOUR)


def test_a_load_that_has_begun_and_is_planned_anew_begins_anew(ledger, open_load, clock):
    load = open_load()
    send(ledger, load, settle=False)
    ledger.withdraw(load.id, 1, "not now")
    ledger.release_target(load.id)
    assert open_load().id == load.id
    send(ledger, open_load(run_id="b"))
    with pytest.raises(ListChangedError):
        ledger.claim_target(load.id, HOUR)


def test_an_approval_of_a_load_under_way_does_not_stop_it(ledger, open_load):
    load = open_load(needs_approval=True)
    yes(ledger, load)
    send(ledger, load, settle=False)
    yes(ledger, load)  # cleared, and answered again
    ledger.claim_target(load.id, HOUR)


# The list as it was planned for


def test_a_list_that_another_load_was_applied_to_is_not_the_one_that_was_planned_for(ledger, open_load):
    mine, other = open_load(), open_load(run_id="b")
    assert (mine.planned_on_applied, mine.planned_on_sent) == (None, None)
    send(ledger, other)
    with pytest.raises(ListChangedError, match="plans for the list as it is now"):
        ledger.claim_target(mine.id, HOUR)
    fresh = open_load(run_id="c")
    assert str(fresh.planned_on_applied).startswith(other.id) and fresh.planned_on_sent == f"{other.id} 1"
    send(ledger, fresh)


def test_a_load_that_was_sent_and_never_settled_changes_the_list_too(ledger, open_load):
    mine, other = open_load(), open_load(run_id="b")
    send(ledger, other, settle=False)
    ledger.release_target(other.id)
    with pytest.raises(ListChangedError):
        ledger.claim_target(mine.id, HOUR)


def test_so_does_the_next_batch_of_a_load_that_was_under_way(ledger, open_load):
    other = open_load(run_id="b")
    ledger.plan_batches(other.id, [BatchPlan(1, 10, "x"), BatchPlan(2, 10, "y")])
    ledger.claim_target(other.id, HOUR)
    ledger.intend(other.id, 1)
    mine = open_load()
    ledger.intend(other.id, 2)
    ledger.release_target(other.id)
    with pytest.raises(ListChangedError):
        ledger.claim_target(mine.id, HOUR)


def test_and_one_that_is_applied_again(ledger, open_load, clock):
    other = open_load(run_id="b")
    send(ledger, other)
    mine = open_load()
    clock.forward(minutes=1)
    ledger.mark_applied(other.id, "runs/x")
    with pytest.raises(ListChangedError):
        ledger.claim_target(mine.id, HOUR)


def test_so_does_one_that_was_only_settled_since(ledger, open_load):
    other = open_load(run_id="b")
    send(ledger, other, settle=False)
    ledger.release_target(other.id)
    mine = open_load()
    ledger.mark_applied(other.id, "runs/x")
    with pytest.raises(ListChangedError):
        ledger.claim_target(mine.id, HOUR)


def test_what_counts_is_where_the_list_stood_when_the_plan_looked(ledger, open_load):
    seen = ledger.standing_of(TARGET)
    assert seen == Standing(None, None)
    send(ledger, open_load(run_id="b"))
    mine = open_load(standing=seen)  # opened after the other had ended, but planned before
    with pytest.raises(ListChangedError):
        ledger.claim_target(mine.id, HOUR)


def test_a_loads_own_sending_is_no_change(ledger, open_load):
    load = open_load()
    send(ledger, load)
    ledger.claim_target(load.id, HOUR)  # a clear after the end


@pytest.mark.parametrize(
    "error",
    [
        NotApprovedError("l", "needed"),
        PlanTooOldError("l", None),
        ListChangedError("t", "l"),
        OtherPageError("l"),
    ],
)
def test_these_errors_say_that_trying_again_changes_nothing_and_survive_pickling(error):
    assert isinstance(error, MayNotWriteError)
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
