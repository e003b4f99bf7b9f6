"""What never goes, and what stays because somebody still needs it."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from include import staging
from include.leftovers import with_leftovers
from include.staging import RunFolder, run_path
from tests.include.house.conftest import (
    DAG,
    OZONETEL,
    RINGCX,
    SOURCE,
    Estate,
    both_storages,
    leads_of,
)


@both_storages
def test_hashes_of_erased_customers_never_go(estate: Estate) -> None:
    kept = {
        estate.write("erased", "abc.json"),
        estate.write(run_path("erase_customer", "r", "certificate"), "c.md"),
    }
    estate.forward(days=100_000)
    estate.keep()
    assert estate.places() == kept


@both_storages
def test_what_is_unknown_is_left_alone_and_named(estate: Estate) -> None:
    kept = {estate.write("notes of ours"), estate.write("snapshots"), estate.write("runs/x")}
    estate.forward(days=10_000)
    plan, _ = estate.keep()
    assert estate.places() == kept
    assert plan.unknown == ["notes of ours", "runs/x/x.parquet", "snapshots/x.parquet"]


def test_what_tells_what_stands_on_a_list_stays(estate: Estate) -> None:
    run = estate.run()
    load = estate.send(estate.load())
    estate.finish(load)
    estate.ledger.mark_applied(load.id, f"{run}/plan")
    estate.forward(days=1000)
    estate.keep()
    assert estate.places() == {f"{run}/plan"}
    with RunFolder(f"{run}/plan").reading() as files:
        assert files


@pytest.mark.parametrize("state", ["waits", "sent", "uncertain", "resolved", "superseded"])
def test_a_load_that_has_not_ended_for_sure_keeps_its_run_and_its_leads(estate: Estate, state: str) -> None:
    snapshot, run = estate.snapshot(), estate.run()
    load = estate.load()
    if state in ("uncertain", "resolved"):
        estate.send(load, "uncertain")
        estate.finish(load, "uncertain")
    if state == "sent":
        estate.send(load, None)
    if state == "resolved":
        estate.ledger.resolve(load.id, delivered=False, who="ana", why="looked", applied=None)
    if state == "superseded":  # its own run planned anew, and that ended
        estate.finish(estate.load(plan_hash="another"), "planned")
    estate.forward(days=400)
    new = estate.snapshot("t", "2027-12-01")
    plan, _ = estate.keep()
    steps = {f"{run}/{step}" for step in ("clean", "plan", "outcomes", "report")}
    if state in ("resolved", "superseded"):
        assert estate.places() == {new}
    else:
        assert estate.places() == {new, snapshot, *steps}
        assert {stays.kept for stays in plan.stays} == {"leads", "working", "rejects"}
        assert all(load.id in stays.why for stays in plan.stays)


def test_a_load_that_is_done_with_a_batch_unresolved_is_not_done(estate: Estate) -> None:
    """As a late clear may leave it: the load says failed, a batch of it was accepted."""
    snapshot, run = estate.snapshot(), estate.run()
    estate.finish(estate.send(estate.load(), None), "failed")
    estate.forward(days=400)
    estate.snapshot("t", "2027-12-01")
    estate.keep()
    assert {snapshot, f"{run}/plan"} <= estate.places()


def left_over(estate: Estate, run_id: str, *, left: bool) -> str:
    """A load of the Ozonetel campaign that ended; with leads that its end time left."""
    night = f"{estate.now:%Y-%m-%d}"
    snapshot = estate.snapshot("s", night, leads=leads_of(pl.DataFrame({"row_key": ["1", "2"]})))
    outcomes = pl.DataFrame(
        {"row_key": ["1", "2"], "reason": ["delivered", "end_time" if left else "delivered"]}
    )
    dag_id = "load_ozonetel__collections"
    estate.commit(run_path(dag_id, run_id, "outcomes"), "outcomes", {"batch.parquet": outcomes})
    load = estate.load(
        run_id,
        snapshot,
        flow="collections",
        vendor="ozonetel",
        dag_id=dag_id,
        night=night,
        target="ozonetel:ozonetel_default:Collections",
    )
    estate.finish(load)
    return snapshot


def test_leads_that_a_load_left_over_stay_until_the_next_has_taken_them(estate: Estate, flows: Any) -> None:
    from include.flow_files import OzonetelFlow, find_flow

    flows(OZONETEL)
    flow = find_flow(OzonetelFlow, "collections")
    snapshot = left_over(estate, "r1", left=True)
    estate.forward(days=200)
    new = estate.snapshot("t", "2027-05-01", leads=leads_of(pl.DataFrame({"row_key": ["9"]})))
    estate.keep()
    kept = {snapshot, run_path("load_ozonetel__collections", "r1", "outcomes")}
    assert estate.places() == {new, *kept}
    tonight = with_leftovers(estate.ledger, flow, "r2", RunFolder(new), RunFolder("runs/a/b/find_snapshot"))
    with tonight.reading("part-leftovers-*.parquet") as (file,):
        assert pl.read_parquet(file)["row_key"].to_list() == ["2"]
    staging.remove("runs/a")
    left_over(estate, "r2", left=False)
    left_over(estate, "r3", left=False)
    estate.forward(days=1)
    estate.keep()
    assert not kept & estate.places()


def test_a_load_that_left_nothing_over_keeps_nothing(estate: Estate, flows: Any) -> None:
    flows(OZONETEL)
    snapshot = left_over(estate, "r1", left=False)
    estate.forward(days=200)
    estate.snapshot("t", "2027-05-01")
    estate.keep()
    assert snapshot not in estate.places()


@pytest.mark.parametrize("known", [False, True])
def test_a_run_under_way_keeps_all_of_its_dag_and_the_leads_of_its_source(
    estate: Estate, known: bool
) -> None:
    snapshot, run = estate.snapshot(), estate.run()
    estate.finish(estate.load(), "planned")
    pages = estate.write(f"pulls/{SOURCE}/x")
    estate.forward(days=100)
    new = estate.snapshot("t", "2027-02-01")
    estate.active = {DAG: {"now"}, f"pull_platform_leads__{SOURCE}": {"x"}}
    estate.load("deleted in Airflow", new)  # and never ended: it stands for no run under way
    if known:  # the run that is under way has its load: what it needs is known by that
        estate.load("now", new)
    estate.keep()
    held = set() if known else {snapshot, f"{run}/clean", f"{run}/plan", f"{run}/outcomes", f"{run}/report"}
    assert estate.places() == {new, pages, *held}


def test_rejects_stay_for_their_own_days_when_leads_go_earlier(estate: Estate) -> None:
    snapshot, run = estate.snapshot(), estate.run()
    estate.finish(estate.load(), "planned")
    estate.forward(days=8)
    estate.snapshot("t", "2026-11-08")
    estate.keep(leads=2, working=7, rejects=90)
    assert snapshot not in estate.places()
    assert {f"{run}/outcomes", f"{run}/report"} <= estate.places()


def test_the_newest_night_of_a_source_stays(estate: Estate) -> None:
    estate.snapshot("a", "2026-10-30")
    newest = estate.snapshot("b")
    forgotten = estate.snapshot("c", source="nobodys")  # no flow file knows it
    estate.forward(days=1000)
    estate.keep()
    assert estate.places() == {newest}
    assert forgotten not in estate.places()


def calls(estate: Estate, night: str, name: str = "s") -> str:
    return estate.snapshot(name, night, source=f"{SOURCE}_calls")


@pytest.mark.parametrize(
    ("rules", "days"),
    [
        ({"not_within_hours": 240}, 90),
        ({"attempts": {"max": 3, "hours": 24 * 200}}, 200),
        ({"dead": {"dial_status": ["dead"]}, "dead_days": 120}, 120),
        ({"do_not_call": {"wrap_code": ["DNC"]}}, None),
    ],
)
def test_calls_stay_as_long_as_a_flow_looks_back_at_them(
    estate: Estate, flows: Any, rules: dict[str, Any], days: int | None
) -> None:
    flows({**RINGCX, "clean": {"calls": {"source": f"{SOURCE}_calls", **rules}}})
    first = calls(estate, "2026-10-31", "first")
    estate.forward(minutes=1)
    again = calls(estate, "2026-10-31", "again")  # pulled again: only the newer one is looked at
    estate.forward(days=1)
    newest = calls(estate, "2026-11-01")
    estate.forward(days=(days or 5000) - 1)
    estate.keep(calls=2)
    assert estate.places() == {again, newest}
    estate.forward(minutes=1)
    estate.keep(calls=2)
    assert estate.places() == ({newest} if days else {again, newest})
    assert first not in estate.places()


def test_with_a_broken_flow_file_all_calls_stay(estate: Estate, flows: Any) -> None:
    flows({**RINGCX, "name": "torn", "mode": "MERGE"})
    night = calls(estate, "2026-10-31")
    calls(estate, "2026-11-01")
    estate.forward(days=1000)
    plan, _ = estate.keep()
    assert night in estate.places()
    assert any("torn.yaml is broken" in note for note in plan.notes)


def test_answers_that_a_flow_still_takes_stay(estate: Estate, flows: Any) -> None:
    check = {"name": "dnc", "checks": "registry", "service": "my.service:make", "max_age_days": 60}
    flows({**RINGCX, "clean": {"scrub": [check]}})
    answers = estate.commit("scrub/dnc/abc", "scrub")
    estate.forward(days=61)
    estate.keep()
    assert estate.places() == {answers}
    estate.forward(seconds=1)
    estate.keep()
    assert estate.places() == set()
