"""Claims, fences and pauses: who may write a list, and when."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest

from include.ledger import (
    BatchPlan,
    ClaimLostError,
    OlderSourceError,
    PlanOnlyError,
    TargetLockedError,
    TargetPausedError,
    UnknownTargetError,
    VendorPause,
    VendorPausedError,
)

TARGET = "purecallerid:64be:ATTEMPT"
HOUR = timedelta(hours=1)
NIGHT = datetime(2026, 11, 21, tzinfo=UTC)


def test_a_claim_keeps_others_out_until_it_is_released(ledger, open_load, clock):
    first, second = open_load(run_id="a"), open_load(run_id="b")
    ledger.claim_target(first.id, HOUR)
    with pytest.raises(TargetLockedError) as refused:
        ledger.claim_target(second.id, HOUR)
    assert (refused.value.owner, refused.value.until) == (first.id, clock() + HOUR)
    ledger.release_target(second.id)  # not the owner: nothing happens
    with pytest.raises(TargetLockedError):
        ledger.claim_target(second.id, HOUR)
    ledger.release_target(first.id)
    ledger.claim_target(second.id, HOUR)


def test_claiming_again_prolongs_it(ledger, open_load, clock):
    load = open_load()
    ledger.claim_target(load.id, HOUR)
    clock.forward(minutes=59)
    ledger.claim_target(load.id, HOUR)
    assert ledger.target(TARGET).lock_until == clock() + HOUR


def test_a_claim_whose_time_has_run_out_is_taken_over(ledger, open_load, clock):
    crashed, fresh = open_load(run_id="a"), open_load(run_id="b")
    ledger.plan_batches(crashed.id, [BatchPlan(1, 10, "x")])
    ledger.claim_target(crashed.id, HOUR)
    clock.forward(hours=1)
    ledger.claim_target(fresh.id, HOUR)
    for write in (lambda: ledger.intend(crashed.id, 1), lambda: ledger.renew_claim(crashed.id, HOUR)):
        with pytest.raises(ClaimLostError):
            write()
    ledger.release_target(crashed.id)
    assert ledger.target(TARGET).lock_load_id == fresh.id


def test_an_expired_claim_must_be_renewed_before_the_next_batch(ledger, open_load, clock):
    load = open_load()
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "x")])
    ledger.claim_target(load.id, HOUR)
    clock.forward(hours=1)
    with pytest.raises(ClaimLostError):
        ledger.intend(load.id, 1)
    ledger.renew_claim(load.id, HOUR)
    assert ledger.intend(load.id, 1)


def test_an_older_source_is_refused_after_a_newer_one_claimed_even_if_that_crashed(ledger, open_load, clock):
    newer = open_load(run_id="newer")
    older = open_load(run_id="older", night="2026-11-19", source_time=NIGHT - timedelta(days=1))
    ledger.claim_target(newer.id, HOUR)
    clock.forward(days=3)  # the newer load is dead, its claim has run out, nothing was marked applied
    with pytest.raises(OlderSourceError) as refused:
        ledger.claim_target(older.id, HOUR)
    assert (refused.value.applied, refused.value.offered) == (NIGHT, NIGHT - timedelta(days=1))
    assert ledger.target(TARGET).fence_source_time == NIGHT


def test_an_equal_source_in_another_zone_may_follow(ledger, open_load):
    first = open_load(run_id="a")
    ledger.claim_target(first.id, HOUR)
    ledger.release_target(first.id)
    again = open_load(run_id="b", source_time=NIGHT.astimezone(timezone(timedelta(hours=-8))))
    ledger.claim_target(again.id, HOUR)
    assert again.source_time == NIGHT


def test_a_refused_claim_does_not_move_the_fence(ledger, open_load):
    holder = open_load(run_id="a")
    ledger.claim_target(holder.id, HOUR)
    with pytest.raises(TargetLockedError):
        ledger.claim_target(open_load(run_id="b", source_time=NIGHT + timedelta(days=1)).id, HOUR)
    assert ledger.target(TARGET).fence_source_time == NIGHT


def test_lists_do_not_stand_in_each_others_way(ledger, open_load):
    ledger.claim_target(open_load(run_id="a").id, HOUR)
    ledger.claim_target(open_load(run_id="b", target="purecallerid:64be:OTHER").id, HOUR)
    assert [target.key for target in ledger.targets()] == [TARGET, "purecallerid:64be:OTHER"]


def test_a_pause_stops_new_loads_and_the_one_under_way(ledger, open_load, clock):
    load = open_load()
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "x")])
    ledger.claim_target(load.id, HOUR)
    ledger.pause_target(TARGET, True, "ana", "carrier outage")
    with pytest.raises(TargetPausedError):
        ledger.intend(load.id, 1)
    with pytest.raises(TargetPausedError):
        ledger.claim_target(load.id, HOUR)
    paused = ledger.target(TARGET)
    assert (paused.paused, paused.paused_by, paused.paused_why, paused.paused_at) == (
        True,
        "ana",
        "carrier outage",
        clock(),
    )
    ledger.pause_target(TARGET, False, "ana", "over")
    assert ledger.intend(load.id, 1)


def test_a_list_without_loads_is_unknown(ledger):
    with pytest.raises(UnknownTargetError):
        ledger.target("purecallerid:64be:TYPO")


def test_a_list_can_be_paused_before_its_first_load(ledger, open_load):
    ledger.pause_target(TARGET, True, "ana", "not yet")
    with pytest.raises(TargetPausedError):
        ledger.claim_target(open_load().id, HOUR)


def test_a_paused_vendor_gets_nothing_on_any_list_not_even_the_next_batch(ledger, open_load, clock):
    load = open_load()
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "x"), BatchPlan(2, 10, "y")])
    ledger.claim_target(load.id, HOUR)
    ledger.intend(load.id, 1)
    ledger.pause_vendor("purecallerid", True, "ana", "carrier outage")
    assert ledger.paused_vendors() == [VendorPause("purecallerid", "ana", "carrier outage", clock())]
    with pytest.raises(VendorPausedError, match="Everything that goes to purecallerid"):
        ledger.intend(load.id, 2)
    other = open_load(target="purecallerid:64be:OTHER", run_id="b")
    with pytest.raises(VendorPausedError):
        ledger.claim_target(other.id, HOUR)
    elsewhere = open_load(target="vicidial:x", vendor="vicidial", run_id="c")
    ledger.claim_target(elsewhere.id, HOUR)
    ledger.pause_vendor("purecallerid", False, "ana", "over")
    assert ledger.paused_vendors() == []
    assert ledger.intend(load.id, 2)
    ledger.claim_target(other.id, HOUR)


def test_a_load_that_only_plans_never_writes(ledger, open_load):
    load = open_load(mode="plan")
    with pytest.raises(PlanOnlyError):
        ledger.claim_target(load.id, HOUR)
    with pytest.raises(PlanOnlyError):
        ledger.mark_applied(load.id, "keys.parquet")
    assert ledger.target(TARGET).fence_source_time is None


def test_what_was_applied_is_the_newest_source_and_never_an_older_one(ledger, open_load, clock):
    newer = open_load(run_id="newer", plan_hash="new")
    older = open_load(run_id="older", plan_hash="old", source_time=NIGHT - timedelta(days=1))
    ledger.plan_batches(newer.id, [BatchPlan(1, 600, "x"), BatchPlan(2, 400, "y")])
    ledger.claim_target(newer.id, HOUR)
    for seq, rows in ((1, 600), (2, 400)):
        ledger.intend(newer.id, seq)
        ledger.settle(
            newer.id, seq, "confirmed", delivered=rows - 1, rejected=1, uncertain=0, vendor_counts={}
        )
    assert ledger.mark_applied(newer.id, "runs/newer/keys.parquet") is True
    clock.forward(hours=1)
    assert ledger.mark_applied(older.id, "runs/older/keys.parquet") is False
    target = ledger.target(TARGET)
    assert target.applied_source_time == NIGHT
    assert target.applied_plan_hash == "new"
    assert target.applied_load_id == newer.id
    assert target.applied_rows == 998
    assert target.applied == "runs/newer/keys.parquet"
    assert target.applied_at == clock() - HOUR


@pytest.mark.parametrize(
    "kind", ["scheduled__", "asset_triggered__", "partition_", "manual__", "backfill__", "erase__"]
)
def test_the_fence_asks_nobody_what_kind_of_run_it_is(ledger, open_load, kind):
    """Nor whether a person asked for it, and gave a reason."""
    newer = open_load(run_id="partition_2026-11-21", source_time=NIGHT + timedelta(days=1))
    ledger.claim_target(newer.id, HOUR)
    ledger.release_target(newer.id)
    older = open_load(run_id=f"{kind}2026-11-20", requested_by="ana", reason="month end")
    for _ in range(2):  # cleared, or the next try
        with pytest.raises(OlderSourceError):
            ledger.claim_target(older.id, HOUR)


def test_a_load_that_had_nothing_to_send_is_applied_with_no_rows(ledger, open_load):
    load = open_load()
    assert ledger.mark_applied(load.id, "runs/a/keys.parquet")
    assert ledger.target(TARGET).applied_rows == 0


@pytest.mark.parametrize(
    "error",
    [
        TargetLockedError("t", "load", NIGHT),
        OlderSourceError("t", NIGHT, NIGHT - HOUR),
        TargetPausedError("t"),
        ClaimLostError("t", "load"),
    ],
)
def test_errors_survive_a_process_boundary(error):
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_the_columns_that_a_list_takes_are_remembered(ledger, open_load):
    load = open_load()
    assert ledger.target(load.target).proven is None
    ledger.mark_proven(load.id, "aa")
    ledger.mark_proven(load.id, "bb")
    assert ledger.target(load.target).proven == "bb"
    other = open_load(run_id="other", target="ozonetel:a:c")
    assert ledger.target(other.target).proven is None
