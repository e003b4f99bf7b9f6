"""Each class goes when its own days are over."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from include.house.days import KeepDays
from include.ledger import BatchPlan, Claim
from include.staging import run_path
from tests.include.house.conftest import (
    DAG,
    LIST,
    NIGHT,
    SOURCE,
    Estate,
    both_storages,
    gone,
)


@both_storages
def test_what_is_old_and_needed_by_nobody_goes(estate: Estate) -> None:
    estate.snapshot()
    run = estate.run()
    estate.finish(estate.load(), "planned")
    estate.forward(days=31)
    new = estate.snapshot("t", "2026-12-01")
    _, done = estate.keep()
    assert not done.failed and not done.stayed
    assert gone(done) == {"leads": 1, "working": 2}
    assert estate.places() == {new, f"{run}/outcomes", f"{run}/report"}
    estate.forward(days=60)
    assert gone(estate.keep()[1]) == {"rejects": 2}  # its rejects for 90 days, and the newest night stays
    assert estate.places() == {new}


PLACES = {
    "leads": f"snapshots/{SOURCE}/2026-10-01/s",
    "calls": f"snapshots/{SOURCE}_calls/2026-10-01/s",
    "working": f"runs/{DAG}/r-1/clean",
    "rejects": f"runs/{DAG}/r-1/outcomes",
    "copies": "safe/a-list/load",
    "scrub": "scrub/dnc/abc",
    "erasures": f"erasures/{'a' * 32}",
    "unfinished": f"pulls/{SOURCE}/run-1",
}


@both_storages
@pytest.mark.parametrize("kept", PLACES)
def test_a_class_is_kept_for_its_own_days(estate: Estate, kept: str) -> None:
    estate.write(PLACES[kept])
    days = int(KeepDays.model_validate({}).of(kept) or 0)
    estate.forward(days=days)
    estate.keep()
    assert estate.places() == {PLACES[kept]}
    estate.forward(seconds=1)
    estate.keep(**{kept: "forever"})
    assert estate.places() == {PLACES[kept]}
    _, done = estate.keep()
    assert gone(done) == {kept: 1} and estate.places() == set()


def test_a_step_is_as_old_as_its_run(estate: Estate) -> None:
    """A run that goes on, however slowly, loses nothing."""
    run = estate.run(steps=("clean",))
    estate.forward(days=29)
    estate.run(steps=("plan",))
    estate.forward(days=29)
    estate.keep()
    assert estate.places() == {f"{run}/clean", f"{run}/plan"}
    estate.run(steps=("certificate",))  # which itself never goes
    estate.forward(days=29)
    estate.keep()
    assert estate.places() == {f"{run}/clean", f"{run}/plan", f"{run}/certificate"}


@both_storages
@pytest.mark.parametrize(
    "place", [f"snapshots/{SOURCE}/2026-10-01/.s.ab12", f"runs/{DAG}/r-1/.clean.ab12.old", "pulls/x/y"]
)
def test_what_a_killed_step_left_goes_soon(estate: Estate, place: str) -> None:
    estate.write(place)
    estate.forward(days=3)
    estate.keep()
    assert estate.places() == {place}
    estate.forward(seconds=1)
    assert gone(estate.keep()[1]) == {"unfinished": 1} and estate.places() == set()


def test_callbacks_go_when_their_load_is_settled(estate: Estate) -> None:
    load, open_load = estate.load("r"), estate.load("q", target="other")
    for one in (load, open_load):
        estate.ledger.claim_target(one.id, timedelta(hours=1))
        estate.ledger.plan_batches(one.id, [BatchPlan(1, 1, "f")])
        token = estate.ledger.intend(one.id, 1)
        estate.ledger.receive("purecallerid", token, b'{"status": "FINALIZED"}')
        estate.ledger.accept(one.id, 1, "v", {})
    estate.ledger.settle(load.id, 1, "confirmed", delivered=1, rejected=0, uncertain=0, vendor_counts={})
    estate.finish(load)
    estate.forward(days=91)
    assert gone(estate.keep()[1]) == {"callbacks": 1}
    assert estate.ledger.events(load.id, 1) == [] and len(estate.ledger.events(open_load.id, 1)) == 1
    assert estate.ledger.batches(load.id)[0].state == "confirmed"


def test_loads_go_after_years_but_not_what_tells_a_list(estate: Estate) -> None:
    loads = []
    for number in range(4):
        load = estate.send(estate.load(f"r{number}"))
        estate.finish(load)
        estate.ledger.mark_applied(load.id, f"runs/{DAG}/r{number}/plan")
        loads.append(load)
        estate.forward(hours=1)
    planned = estate.finish(estate.load("p", mode="plan"), "planned")
    standing = estate.ledger.standing_of(LIST)
    estate.forward(days=1096)
    assert gone(estate.keep()[1]) == {"history": 3}
    left = {load.id for load in estate.ledger.loads(10)}
    assert left == {loads[2].id, loads[3].id}  # of the last two runs that wrote: their leftovers may go on
    assert planned.id not in left
    assert estate.ledger.standing_of(LIST) == standing
    assert estate.ledger.verify() == []


def test_the_load_that_was_applied_last_stays_however_many_failed_since(estate: Estate) -> None:
    applied = estate.finish(estate.send(estate.load("applied")))
    estate.ledger.mark_applied(applied.id, f"runs/{DAG}/applied/plan")
    failed = []
    for number in range(3):
        estate.forward(hours=1)
        failed.append(estate.finish(estate.load(f"failed {number}"), "failed"))
    estate.forward(days=1096)
    assert gone(estate.keep()[1]) == {"history": 1}
    assert {load.id for load in estate.ledger.loads(9)} == {applied.id, failed[1].id, failed[2].id}
    assert estate.ledger.target(LIST).applied_load_id == applied.id


def test_claims_go_when_no_lead_of_the_night_is_staged(estate: Estate) -> None:
    snapshot = estate.snapshot()
    path = estate.commit(
        run_path(DAG, "r", "owned-1"), "owned", {"numbers.parquet": pl.DataFrame({"number": [1]})}
    )
    orphan = estate.commit(
        run_path(DAG, "r", "owned-2"), "owned", {"numbers.parquet": pl.DataFrame({"number": [1]})}
    )
    claim = Claim(DAG, path)
    assert estate.ledger.claim_numbers("family", NIGHT, claim, seen=())
    estate.snapshot("t", "2026-11-01")
    estate.forward(days=40)
    plan, done = estate.keep(leads=60)
    assert gone(done) == {"working": 1} and orphan not in estate.places()  # cleaned anew: never claimed
    assert estate.ledger.claims_of("family", NIGHT) == [claim] and path in estate.places()
    assert {stays.kept for stays in plan.stays} == {"claims", "working"}
    estate.keep()  # the leads of the night
    assert snapshot not in estate.places()
    estate.keep()  # then its claims, then their numbers
    assert estate.ledger.claims_of("family", NIGHT) == [] and path in estate.places()
    estate.keep()
    assert path not in estate.places()


def test_claims_stay_while_a_load_of_their_night_is_open(estate: Estate) -> None:
    estate.ledger.claim_numbers("family", NIGHT, Claim(DAG, "runs/a/b/owned-1"), seen=())
    load = estate.load()
    estate.forward(days=40)
    estate.keep()
    assert estate.ledger.claims_of("family", NIGHT)
    estate.finish(load, "planned")
    estate.keep()
    assert not estate.ledger.claims_of("family", NIGHT)
