"""What goes when its days are over, and what never does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include import staging
from include.house.days import CLASSES, KeepDays
from include.house.house import Item
from include.ledger import BatchPlan, Claim
from include.leftovers import with_leftovers
from include.staging import RunFolder, run_path
from tests.include.house.conftest import (
    DAG,
    LIST,
    NIGHT,
    OZONETEL,
    RINGCX,
    SOURCE,
    Estate,
    evidence,
    leads_of,
)

both_storages = pytest.mark.parametrize("storage", ["disk", "object storage"], indirect=True)
FOREVER: dict[str, Any] = dict.fromkeys(CLASSES, "forever")


def gone(done: Any) -> dict[str, int]:
    return {kept: count["items"] for kept, count in done.removed.items()}


# Classes


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


# What never goes


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


# Uploads

ISALES = {
    "kind": "import_isales", "name": "calls", "source": SOURCE, "vdn_id": 1, "campaign": "c1", "server": "s1",
    "released": True, "columns": [{"to": "called", "from": "phone"}], "folder": "in",
}  # fmt: skip
BOOKS = "import_isales__calls"


def uploaded(estate: Estate, *, settled: bool = True, folder: str = "in") -> tuple[str, str]:
    """A load whose workbook lies on the server; its run's folder and the file's name."""
    load = estate.load(flow="calls", vendor="isales", dag_id=BOOKS, target="isales:1:c1")
    stem, run = f"calls-{NIGHT}-{load.id}", run_path(BOOKS, "r", "").rstrip("/")
    estate.commit(
        f"{run}/workbooks",
        "workbooks",
        facts={"stem": stem, "files": [{"seq": 1, "name": f"{stem}-001.xlsx"}]},
    )
    RunFolder(f"{run}/plan").put("plan.json", b'{"options": {"folder": "%s"}}' % folder.encode())
    estate.date(f"{run}/plan")
    estate.uploads = {f"{stem}-001.xlsx", "somebody-elses.xlsx"}
    estate.send(load, "confirmed" if settled else "uncertain")
    estate.finish(load, "done" if settled else "uncertain")
    return run, f"{stem}-001.xlsx"


def test_our_uploads_go_when_their_import_is_settled(estate: Estate, flows: Any) -> None:
    flows(ISALES)
    _, name = uploaded(estate)
    estate.forward(days=7)
    estate.keep()
    assert name in estate.uploads
    estate.forward(seconds=1)
    _, done = estate.keep()
    assert done.removed["uploads"] == {"items": 1, "pieces": 1, "bytes": 0, "days": 7}
    assert estate.uploads == {"somebody-elses.xlsx"} and estate.removed_uploads == [name]
    estate.keep()
    assert estate.removed_uploads == [name]  # once


def test_uploads_of_a_load_that_is_not_settled_stay(estate: Estate, flows: Any) -> None:
    flows(ISALES)
    uploaded(estate, settled=False)
    estate.forward(days=400)
    estate.keep()
    assert estate.removed_uploads == []


def test_the_names_of_uploads_stay_until_these_are_gone(estate: Estate, flows: Any) -> None:
    flows(ISALES)
    run, _ = uploaded(estate)
    estate.forward(days=31)
    estate.keep(uploads=60)
    assert {f"{run}/workbooks", f"{run}/plan"} <= estate.places()
    estate.keep()
    estate.keep()
    assert estate.places() == set()


def test_an_upload_that_was_taken_away_already_is_not_counted(estate: Estate, flows: Any) -> None:
    flows(ISALES)
    uploaded(estate)
    estate.uploads.clear()
    estate.forward(days=8)
    assert estate.keep()[1].removed == {}


def test_an_upload_that_went_to_another_folder_is_not_looked_for_in_the_new_one(
    estate: Estate, flows: Any
) -> None:
    flows(ISALES)
    uploaded(estate, folder="another")
    estate.forward(days=8)
    plan, _ = estate.keep()
    assert estate.removed_uploads == [] and "another folder" in plan.stays[0].why


# Plan and clean-up


def test_a_plan_removes_nothing(estate: Estate) -> None:
    estate.snapshot("a", "2026-10-30")
    estate.snapshot()
    estate.run()
    estate.forward(days=400)
    before = estate.places()
    assert len(estate.house().plan().items) == 5
    assert estate.places() == before and estate.ledger.head().count == 0


def test_only_what_the_plan_names_goes(estate: Estate) -> None:
    estate.snapshot("a", "2026-10-29")
    estate.snapshot()
    estate.forward(days=31)
    plan = estate.house().plan()
    later = estate.write(f"pulls/{SOURCE}/x")
    estate.forward(days=10)
    _ = estate.house().clean_up(plan, {})
    assert later in estate.places() and len(estate.places()) == 2


@pytest.mark.parametrize("what", ["load", "applied", "written", "active", "forever"])
def test_each_thing_is_looked_at_again_right_before(estate: Estate, what: str) -> None:
    snapshot, run = estate.snapshot("a", "2026-10-30"), estate.run()
    estate.snapshot()
    load = estate.load(snapshot=snapshot)
    estate.finish(load, "planned")
    estate.forward(days=100)
    plan = estate.house().plan()
    assert {item.place for item in plan.items} >= {snapshot, f"{run}/plan"}
    house = estate.house()
    if what == "load":
        estate.load("again", snapshot)
    elif what == "applied":
        applied = estate.load("b")
        estate.send(applied)
        estate.finish(applied)
        estate.ledger.mark_applied(applied.id, f"{run}/plan")
    elif what == "written":
        RunFolder(f"{run}/clean").put("more", b"x")
        estate.date(f"{run}/clean")
    elif what == "active":
        estate.active[DAG] = {"now"}
    else:
        house = estate.house(**FOREVER)
    done = house.clean_up(plan, {})
    kept = {
        "load": {snapshot},
        "applied": {f"{run}/plan"},
        "written": {f"{run}/{step}" for step in ("clean", "plan", "outcomes", "report")},
    }.get(what, {item.place for item in plan.items})
    assert {stays.place for stays in done.stayed} == kept
    assert kept <= estate.places()


@both_storages
@pytest.mark.parametrize(
    "place",
    [
        "../outside",
        f"snapshots/{SOURCE}/../../../outside",
        "erased",
        "erased/abc.json",
        "snapshots",
        "",
        "/etc",
    ],
)
def test_a_forged_plan_removes_nothing_else(estate: Estate, place: str) -> None:
    outside = estate.folder.parent / "outside"
    if estate.local:
        outside.mkdir()
        (outside / "file").write_text("x")
    estate.write("erased", "abc.json")
    estate.snapshot()
    estate.forward(days=400)
    plan = estate.house().plan()
    for kept in ("leads", "working", "unfinished"):
        plan.items.append(Item(kept, place, 1, 1, 400.0))
    done = estate.house().clean_up(plan, {})
    assert done.removed == {} and len(done.stayed) == 3
    assert len(estate.places()) == 2
    assert not estate.local or (outside / "file").exists()


def test_a_forged_plan_forgets_nothing_that_is_young_or_not_ours(estate: Estate, flows: Any) -> None:
    flows(ISALES)
    _, name = uploaded(estate)
    load = estate.finish(estate.send(estate.load("q")))
    estate.ledger.claim_numbers("family", NIGHT, Claim(DAG, "a/b"), seen=())
    estate.forward(days=3)
    plan = estate.house().plan()
    assert plan.items == []
    forged = [
        ("uploads", f"uploads/calls/{name}"),
        ("uploads", "uploads/calls/somebody-elses.xlsx"),
        ("uploads", "uploads/calls/../x"),
        ("history", f"history/{load.id}"),
        ("callbacks", f"callbacks/{load.id}"),
        ("claims", f"claims/family/{NIGHT}"),
    ]
    plan.items += [Item(kept, place, 1, 1, 4000.0) for kept, place in forged]
    done = estate.house().clean_up(plan, {})
    assert done.removed == {} and [stays.place for stays in done.stayed] == [place for _, place in forged]
    assert len(estate.uploads) == 2 and len(estate.ledger.loads(5)) == 2
    assert estate.ledger.claims_of("family", NIGHT)


def test_a_link_is_not_followed(estate: Estate, tmp_path: Path) -> None:
    outside = tmp_path / "a bigger disk"
    (outside / "2026-10-01" / "s").mkdir(parents=True)
    (outside / "2026-10-01" / "s" / "part-00000.parquet").write_text("x")
    (estate.folder / "snapshots").mkdir(parents=True)
    (estate.folder / "snapshots" / "linked").symlink_to(outside)
    estate.write("pulls/x/y")
    (estate.folder / "pulls/x/y/link").symlink_to(outside)
    estate.forward(days=4000)
    plan, _ = estate.keep()
    assert (outside / "2026-10-01" / "s" / "part-00000.parquet").exists()
    assert "snapshots/linked" in plan.unknown
    assert not (estate.folder / "pulls/x/y").exists() or (estate.folder / "pulls/x/y/link").is_symlink()


# Crashes, and what the evidence counts


class KilledError(BaseException):
    """The process was killed here."""


def size(places: set[str]) -> dict[str, int]:
    found = [file for file in staging.files() if file.path.rpartition("/")[0] in places]
    return {"items": len(places), "pieces": len(found), "bytes": sum(file.bytes for file in found)}


@both_storages
@pytest.mark.parametrize("where", ["intend_removal", "remove", "half", "end_removal", "tell_removed"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_loses_no_count_and_the_next_run_ends_it(
    estate: Estate, monkeypatch: pytest.MonkeyPatch, where: str, when: str
) -> None:
    doomed = {estate.snapshot("a", f"2026-10-{day}") for day in (10, 11, 12)}
    estate.snapshot()
    estate.forward(days=31)
    before, seen, nth = size(doomed), 0, 1 if where == "tell_removed" else 2
    plan = estate.house().plan()
    owner = staging if where in ("remove", "half") else estate.ledger
    name = "remove" if where == "half" else where
    real = getattr(owner, name)

    def killed(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen < nth:
            return real(*args, **kwargs)
        if where == "half":
            if estate.local:  # moved out of sight, and not emptied
                path = estate.folder / args[0]
                path.rename(path.with_name(f".{path.name}.ab12{staging.GONE}"))
            else:
                RunFolder(args[0]).discard("manifest.json")
        elif when == "after":
            real(*args, **kwargs)
        raise KilledError

    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(KilledError):
        estate.house().clean_up(plan, {})
    monkeypatch.setattr(owner, name, real)
    for _ in range(2):  # the next day's own plan; and once more, which changes nothing
        estate.house().clean_up(estate.house().plan(), {})
    assert not doomed & estate.places() and not any(".gone" in place for place in estate.places())
    assert evidence(estate) == {"leads": before}
    assert estate.ledger.interrupted_removals() == [] and estate.ledger.verify() == []


def test_what_was_begun_and_is_needed_by_now_stays(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = estate.snapshot("a", "2026-10-10")
    estate.snapshot()
    estate.forward(days=31)
    plan = estate.house().plan()
    with monkeypatch.context() as patched:
        patched.setattr(staging, "remove", lambda _: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            estate.house().clean_up(plan, {})
    estate.load("late", snapshot)
    done = estate.house().clean_up(plan, {})
    assert snapshot in estate.places() and done.removed == {}
    assert estate.ledger.interrupted_removals() == []


def test_what_cannot_be_removed_is_named_and_the_rest_goes(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = estate.snapshot("a", "2026-10-10"), estate.snapshot("a", "2026-10-11")
    estate.snapshot()
    estate.forward(days=31)
    real = staging.remove

    def refuse(path: str) -> None:
        if path == bad:
            raise PermissionError("+12012000001")
        real(path)

    monkeypatch.setattr(staging, "remove", refuse)
    _, done = estate.keep()
    assert done.failed == {bad: "PermissionError"} and gone(done) == {"leads": 1}
    assert good not in estate.places()
    monkeypatch.setattr(staging, "remove", real)
    assert gone(estate.keep()[1]) == {"leads": 1}


@both_storages
def test_the_evidence_counts_what_is_gone(estate: Estate) -> None:
    doomed = {estate.snapshot("a", "2026-10-10")}
    estate.snapshot()
    steps = {f"{estate.run()}/{step}" for step in ("clean", "plan")}
    estate.forward(days=31)
    told = {"leads": size(doomed), "working": size(steps)}
    _, done = estate.keep()
    assert evidence(estate) == told
    assert {
        kept: {k: v for k, v in count.items() if k != "days"} for kept, count in done.removed.items()
    } == told
