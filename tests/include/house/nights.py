"""Random nights of two lists of a group, and a house kept at random moments, with what could go on before and after.

`play` is one such story; the test plays some, `python -m tests.proof.house` as many as it is told.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
import yaml

from include import staging
from include.applied_keys import never_sent, write_applied
from include.flow_files import Delivery, OzonetelFlow, PureCallerIdFlow, find_flow
from include.ledger import Claim, Load
from include.leftovers import with_leftovers
from include.owners import owned_by_others
from include.plan import KEYS, SENT
from include.snapshots import newest_of_every_night, newest_snapshot
from include.staging import RunFolder, run_path
from tests.include.house.conftest import OZONETEL, RINGCX, SOURCE, Estate, evidence, leads_of

GROUP = "family"
CALLS = f"{SOURCE}_calls"
LOOKS_BACK = 60
ENDS = ("done", "left over", "planned", "failed", "uncertain", "resolved", "waits", "sent", "died", "killed")
DAYS: dict[str, Any] = {
    "leads": 10,
    "calls": 5,
    "working": 7,
    "rejects": 20,
    "claims": 5,
    "callbacks": 7,
    "history": 90,
}

Night = tuple[int, str, bool, bool]
"""Days since the night before, how its run ended, on which list, and whether the house is kept after it."""


class World(Estate):
    """The estate with two lists of a group, and what every night leaves."""

    def night(self, number: int, end: str, flow: Delivery) -> None:
        name, run_id = f"{self.now:%Y-%m-%d}", f"run {number}"
        rows = pl.DataFrame({"row_key": ["1", "2"]})
        leads = leads_of(rows)
        snapshot = self.commit(
            f"snapshots/{SOURCE}/{name}/{number}",
            "snapshot",
            {"part-0.parquet": leads},
            source_time=self.now,
            night=name,
        )
        self.commit(f"snapshots/{CALLS}/{name}/{number}", "calls", source_time=self.now, night=name)

        def step(step: str, frames: dict[str, pl.DataFrame]) -> str:
            return self.commit(run_path(flow.dag_id, run_id, step), step, frames)

        if end == "killed":  # in the middle of its clean step
            self.write(f"runs/{flow.dag_id}/{staging.slug(run_id)}/.clean.ab12")
            return
        step("clean", {"kept-0.parquet": rows})
        claim = Claim(
            flow.dag_id, step(f"owned-{number}", {"numbers.parquet": pl.DataFrame({"number": [number]})})
        )
        self.ledger.claim_numbers(GROUP, name, claim, seen=self.ledger.claims_of(GROUP, name))
        if end == "died":  # before its plan
            return
        keys = rows.with_columns(row_hash=pl.lit(1, pl.Int64))
        plan = step("plan", {KEYS: keys, SENT: rows.with_columns(before=pl.lit(None, pl.Int64))})
        load = self.load(
            run_id, snapshot, flow=flow.name, vendor=flow.vendor, dag_id=flow.dag_id, target=flow.target, night=name,
            plan_hash=str(number), mode="plan" if end == "planned" else "apply",
        )  # fmt: skip
        if end == "waits":
            return
        if end in ("done", "left over", "uncertain", "resolved", "sent"):
            settled = {"sent": None, "uncertain": "uncertain", "resolved": "uncertain"}.get(end, "confirmed")
            self.send(load, settled)
        if end == "sent":
            return
        reason = ["delivered", "end_time" if end == "left over" else "delivered"]
        step("outcomes", {"batch.parquet": rows.with_columns(reason=pl.Series(reason))})
        step("report", {"x.parquet": rows})
        state = {"left over": "done", "resolved": "uncertain"}.get(end, end)
        self.finish(load, state)
        if end == "resolved":
            self.ledger.resolve(load.id, delivered=True, who="ana", why="looked", applied=plan)
        elif end in ("done", "left over"):
            applied = run_path(flow.dag_id, run_id, "applied")
            write_applied(RunFolder(applied), plan, pl.Series([], dtype=pl.String))
            self.date(applied)
            self.ledger.mark_applied(load.id, applied)

    def could(self, flows: list[Delivery]) -> dict[str, Any]:
        """What can go on now, with what it would read."""
        found: dict[str, Any] = {}
        for target in self.ledger.targets():
            if target.applied:
                found[f"plan against {target.key}"] = frames(target.applied, KEYS)
            found[f"standing of {target.key}"] = self.ledger.standing_of(target.key)
        holding = self.ledger.holding()
        for load in holding.unfinished:
            found[f"approve, send and reconcile {load.id}"] = of_load(load)
        for load in holding.unresolved:
            batches = self.ledger.batches(load.id)
            found[f"resolve {load.id}"] = (
                of_load(load),
                never_sent(RunFolder(path(load, "plan")), batches).to_list(),
            )
        newest = newest_snapshot(SOURCE, None)
        if newest is not None:
            found["deliver by hand"] = (newest.path, frames(newest.path, "part-*"))
            for flow in flows:
                if flow.goes_on:
                    tonight = with_leftovers(self.ledger, flow, "tonight", newest, RunFolder("trial/x/y"))
                    found[f"leftovers of {flow.name}"] = frames(tonight.path, "part-*")
                    staging.remove("trial")
        # Nights whose leads are staged: those may be delivered, and must find everybody's numbers.
        for name in staging.places(f"snapshots/{SOURCE}"):
            folder = newest_snapshot(SOURCE, name)
            if folder is not None and not self.old(folder, "leads"):
                claims = self.ledger.claims_of(GROUP, name)
                found[f"deliver {name}"] = (
                    frames(folder.path, "part-*"),
                    len(owned_by_others(claims, "another")),
                )
        since = self.now - timedelta(days=LOOKS_BACK)
        looked = [f for f in newest_of_every_night(CALLS) if (f.manifest().source_time or self.now) >= since]
        found["look back at calls"] = [folder.path for folder in looked]
        for load in self.ledger.loads(100):
            ended = load.finished_at
            if ended is not None and ended > self.now - timedelta(days=DAYS["rejects"]):
                found[f"explain {load.id}"] = frames(path(load, "outcomes"), "*.parquet")
        found["chain"] = self.ledger.verify()
        return found

    def old(self, folder: RunFolder, kept: str) -> bool:
        return folder.manifest().created_at < self.now - timedelta(days=DAYS[kept])


def path(load: Load, step: str) -> str:
    return run_path(load.dag_id, load.run_id, step)


def frames(place: str, pattern: str) -> list[Any]:
    with RunFolder(place).reading(pattern) as files:
        return [pl.read_parquet(file).rows() for file in files]


def of_load(load: Load) -> list[Any]:
    steps = [frames(path(load, step), "*.parquet") for step in ("clean", "plan")]
    return [*steps, frames(load.snapshot, "part-*")]


def staged() -> tuple[int, int]:
    found = staging.files()
    return len(found), sum(file.bytes for file in found)


def play(nights: list[Night], later: int, empty_ledger: Path) -> dict[str, int]:
    """Live through some nights; AssertionError when something that could go on cannot any more, or counts differ.

    :param later: days after the last night when the house is kept once more.
    :return: things removed, by class.
    """
    with tempfile.TemporaryDirectory() as name, mock.patch.dict(os.environ):
        world, flows = build(Path(name), empty_ledger)
        gone_files = gone_bytes = 0
        for number, (days, end, second, keep) in enumerate([*nights, (later, "died", False, True)]):
            world.forward(days=days, hours=1)
            world.night(number, end, flows[second])
            if not keep:
                continue
            before, (files, size) = world.could(flows), staged()
            _, done = world.keep(**DAYS)
            assert not done.failed, done.failed
            after = world.could(flows)
            assert after == before, sorted(what for what in before if after.get(what) != before[what])
            files_left, size_left = staged()
            gone_files, gone_bytes = gone_files + files - files_left, gone_bytes + size - size_left
        told = evidence(world)
        of_staging = [count for kept, count in told.items() if kept not in ("claims", "callbacks", "history")]
        assert sum(count["pieces"] for count in of_staging) == gone_files
        assert sum(count["bytes"] for count in of_staging) == gone_bytes
        world.ledger.close()
        return {kept: count["items"] for kept, count in told.items()}


def build(folder: Path, empty_ledger: Path) -> tuple[World, list[Delivery]]:
    os.environ["LISTKEEPER_STAGING"] = str(folder / "staging")
    os.environ["LISTKEEPER_FLOWS"] = str(folder / "flows")
    (folder / "flows").mkdir()
    rules = {"calls": {"source": CALLS, "not_within_hours": 24 * LOOKS_BACK, "dead_days": 1}}
    files = [
        {"kind": "pull_platform_leads", "name": SOURCE},
        {**RINGCX, "owner_group": GROUP, "clean": rules},
        {**OZONETEL, "owner_group": GROUP},
    ]
    for file in files:
        (folder / "flows" / f"{file['name']}.yaml").write_text(yaml.safe_dump(file))
    flows: list[Delivery] = [find_flow(PureCallerIdFlow, "ringcx"), find_flow(OzonetelFlow, "collections")]
    return World(folder / "staging", f"sqlite:///{shutil.copy(empty_ledger, folder)}"), flows
