"""Nothing goes that the plan does not name, and each thing is looked at again right before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.house.house import Item
from include.ledger import Claim
from include.staging import RunFolder
from tests.include.house.conftest import (
    DAG,
    FOREVER,
    ISALES,
    NIGHT,
    SOURCE,
    Estate,
    both_storages,
    uploaded,
)


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
