"""A house to keep: a staging area and a ledger with a clock of their own, and things to put into both."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
import yaml
from sqlalchemy import select

from include.house.days import CLASSES, KeepDays
from include.house.house import Cleaned, House, HousePlan
from include.leads.schema import LEAD_COLUMNS
from include.ledger import BatchPlan, Ledger, Load
from include.ledger.records import Counts
from include.ledger.removals import KIND
from include.ledger.tables import evidence as table
from include.staging import Manifest, RunFolder, files, run_path

START = datetime(2026, 11, 1, 9, tzinfo=UTC)
NIGHT = "2026-10-31"
SOURCE = "callers"
LIST = "purecallerid:64be9f5c0c8d4a1f2b3c4d5e:Callers"
RINGCX = {
    "kind": "load_purecallerid",
    "name": "ringcx",
    "source": SOURCE,
    "dialer": "ringcx",
    "campaign": "64be9f5c0c8d4a1f2b3c4d5e",
    "list": "Callers",
    "mode": "APPEND",
    "dedupe": "RING_REMOVE_FROM_LIST",
    "released": True,
    "columns": [{"to": "leadPhone", "from": "phone"}],
}
OZONETEL = {
    "kind": "load_ozonetel", "name": "collections", "source": SOURCE, "campaign": "Collections",
    "released": True, "columns": [{"to": "PhoneNumber", "from": "phone"}], "end_by": "18:00", "zone": "UTC",
}  # fmt: skip
DAG = "load_purecallerid__ringcx"


def leads_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Leads with these row keys, and nothing else."""
    return pl.concat([pl.DataFrame(schema=LEAD_COLUMNS), rows], how="diagonal")


class Estate:
    """What there is to keep house of, and the clock. Whatever is written has the clock's time."""

    def __init__(self, folder: Path, ledger_url: str, *, local: bool = True) -> None:
        self.folder, self.local, self.now = folder, local, START
        self.ledger = Ledger(ledger_url, now=lambda: self.now)
        self.active: dict[str, set[str]] = {}
        self.removed_uploads: list[str] = []
        self.uploads: set[str] = set()

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)

    def write(self, path: str, name: str = "x.parquet", content: bytes = b"x") -> str:
        RunFolder(path).put(name, content)
        self.date(path)
        return path

    def date(self, path: str) -> None:
        """Give what was just written the clock's time."""
        if self.local:
            for file in (self.folder / path).rglob("*"):
                os.utime(file, (self.now.timestamp(),) * 2)
            return
        memory = fsspec.filesystem("memory")
        for name, file in memory.store.items():
            if name.startswith(f"/staging/{path}/"):
                file.created = self.now

    def commit(
        self, path: str, kind: str, frames: dict[str, pl.DataFrame] | None = None, **about: Any
    ) -> str:
        folder = RunFolder(path)
        with folder.writing() as scratch:
            for name, frame in (frames or {"part-00000.parquet": pl.DataFrame({"row_key": ["1"]})}).items():
                frame.write_parquet(scratch / name)
            folder.commit(scratch, Manifest(kind, 1, created_at=self.now, **about))
        self.date(path)
        return path

    def snapshot(
        self, name: str = "s", night: str = NIGHT, source: str = SOURCE, leads: pl.DataFrame | None = None
    ) -> str:
        frames = None if leads is None else {"part-00000.parquet": leads}
        return self.commit(
            f"snapshots/{source}/{night}/{name}", "snapshot", frames, source_time=self.now, night=night
        )

    def run(
        self,
        run_id: str = "r",
        dag_id: str = DAG,
        steps: tuple[str, ...] = ("clean", "plan", "outcomes", "report"),
    ) -> str:
        for step in steps:
            self.commit(run_path(dag_id, run_id, step), step)
        return run_path(dag_id, run_id, "").rstrip("/")

    def load(
        self, run_id: str = "r", snapshot: str = "snapshots/callers/2026-10-31/s", **changes: Any
    ) -> Load:
        values: dict[str, Any] = {
            "flow": "ringcx", "vendor": "purecallerid", "dag_id": DAG, "run_id": run_id, "target": LIST,
            "night": NIGHT, "source_time": self.now, "snapshot": snapshot, "plan_hash": f"hash of {run_id}",
            "mode": "apply", "requested_by": None, "reason": None, "rows_in": 1,
        }  # fmt: skip
        return self.ledger.open_load(**values | changes)

    def send(self, load: Load, state: str | None = "confirmed") -> Load:
        """Send the load's one batch; `state` None leaves it accepted."""
        self.ledger.claim_target(load.id, timedelta(hours=1))
        self.ledger.plan_batches(load.id, [BatchPlan(1, 1, "f")])
        self.ledger.intend(load.id, 1)
        self.ledger.accept(load.id, 1, "v", {})
        if state:
            done = {"confirmed": (1, 0, 0), "rejected": (0, 1, 0), "uncertain": (0, 0, 1)}[state]
            counts = dict(zip(("delivered", "rejected", "uncertain"), done, strict=True))
            self.ledger.settle(load.id, 1, state, **counts, vendor_counts={})  # type: ignore[arg-type]
        self.ledger.release_target(load.id)
        return load

    def finish(self, load: Load, state: Any = "done") -> Load:
        counts = (
            {"delivered": 1} if state == "done" else {"uncertain": 1} if state == "uncertain" else {"held": 1}
        )
        zero = dict.fromkeys(("delivered", "rejected", "suppressed", "held", "uncertain"), 0)
        self.ledger.finish_load(
            load.id, state=state, counts=Counts(rows_in=1, **zero | counts), verdict=state
        )
        return self.ledger.load(load.id)

    def house(self, **days: Any) -> House:
        return House(
            self.ledger,
            KeepDays(**days),
            active=lambda dag_id, but_for: len(self.active.get(dag_id, set()) - set(but_for)),
            servers=self,
            now=lambda: self.now,
        )

    def remove(self, flow: Any, name: str) -> bool:
        """The file servers' part."""
        self.removed_uploads.append(name)
        there = name in self.uploads
        self.uploads.discard(name)
        return there

    def keep(self, **days: Any) -> tuple[HousePlan, Cleaned]:
        """Plan and clean up at once, through the file between the two."""
        plan = self.house(**days).plan()
        plan = HousePlan.from_json(json.loads(json.dumps(plan.to_json())))
        return plan, self.house(**days).clean_up(plan, {"run_id": "h"})

    def places(self) -> set[str]:
        """Every folder with a file in it."""
        return {file.path.rpartition("/")[0] for file in files()}


def evidence(estate: Estate) -> dict[str, dict[str, int]]:
    """What all records of the evidence say together."""
    total: dict[str, dict[str, int]] = {}
    with estate.ledger._store.read() as connection:
        for (body,) in connection.execute(select(table.c.body).where(table.c.kind == KIND)):
            for kept, count in body["removed"].items():
                sums = total.setdefault(kept, dict.fromkeys(("items", "pieces", "bytes"), 0))
                for name in sums:
                    sums[name] += count[name]
    return total


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the ledger's tables, to copy."""
    path = tmp_path_factory.mktemp("house") / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.migrate()
    return path


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> str:
    """What the staging area lies on."""
    return str(getattr(request, "param", "disk"))


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write the flow files; each named by its `name`."""
    folder = tmp_path / "flows"
    folder.mkdir()
    monkeypatch.setenv("LISTKEEPER_FLOWS", str(folder))

    def write(*contents: dict[str, Any]) -> None:
        for content in contents:
            (folder / f"{content['name']}.yaml").write_text(yaml.safe_dump(content))

    write({"kind": "pull_platform_leads", "name": SOURCE}, RINGCX)
    return write


@pytest.fixture
def estate(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flows: Any, empty_ledger: Path
) -> Iterator[Estate]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    folder = tmp_path / "staging"
    local = storage == "disk"
    monkeypatch.setenv("LISTKEEPER_STAGING", str(folder) if local else "memory://staging")
    made = Estate(folder, f"sqlite:///{shutil.copy(empty_ledger, tmp_path)}", local=local)
    yield made
    made.ledger.close()
    memory.store.clear()


both_storages = pytest.mark.parametrize("storage", ["disk", "object storage"], indirect=True)
FOREVER: dict[str, Any] = dict.fromkeys(CLASSES, "forever")


def gone(done: Any) -> dict[str, int]:
    return {kept: count["items"] for kept, count in done.removed.items()}


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
