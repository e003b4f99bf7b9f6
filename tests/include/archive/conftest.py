"""An archive over the sandbox: its database is the judge of where every lead is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from include.archive.loop import Archiver, Database, Pause, Window, read_named
from include.archive.plan import batch_plans
from include.canary import Canary
from include.hours import OfficeHours
from include.ledger import Batch, Ledger
from include.sandbox.server import SandboxServer
from include.staging import RunFolder
from include.vendors import vicidial
from include.vendors.errors import LostAnswerError
from include.vendors.vicidial import Counts, Flags

KEY = "sandbox-vicidial-key"
NIGHT = datetime(2026, 11, 21, 18, tzinfo=UTC)  # Saturday 20:00 in Johannesburg
ALL = Flags(insert=True, update=True, delete=True)
ALWAYS = Window(None, timedelta(minutes=3), timedelta(minutes=15), timedelta(hours=72))
JOBURG = OfficeHours(zone="Africa/Johannesburg", week={"mon-fri": "08:00-17:00"})


@pytest.fixture(scope="session")
def _vicidial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    database = tmp_path_factory.mktemp("vicidial") / "vicidial.db"
    with SandboxServer(synthetic=10, vicidial_db=f"sqlite:///{database}") as server:
        server.database_url = f"sqlite:///{database}"  # type: ignore[attr-defined]
        yield server


@pytest.fixture
def sandbox(_vicidial: SandboxServer) -> SandboxServer:
    """Leads 1 to 600 on the list, the archive empty, Saturday evening."""
    _vicidial.reset()
    _vicidial.clock(NIGHT)
    return _vicidial


class Client:
    """Sends requests as the hook does, without Airflow."""

    def __init__(self, server: SandboxServer) -> None:
        self.http = httpx.Client(
            base_url=server.base_url, headers={"Authorization": f"Key={KEY}"}, trust_env=False, verify=False
        )

    def __call__(self, lead_ids: Sequence[int], flags: Flags) -> Counts:
        try:
            answer = self.http.post(vicidial.ARCHIVE_PATH, content=vicidial.archive_request(lead_ids, flags))
        except httpx.TransportError:
            raise LostAnswerError(vicidial.VENDOR, "the connection broke") from None
        return vicidial.read_counts(answer.status_code, answer.headers, answer.content)


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[Client]:
    opened = Client(sandbox)
    yield opened
    opened.http.close()


class Clock:
    """A clock that moves when told to, and when somebody sleeps."""

    def __init__(self, moment: datetime = NIGHT) -> None:
        self.moment = moment
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += timedelta(seconds=seconds)


@dataclass
class Job:
    """One load that is archived, as often as it is taken up; every part of it can be replaced."""

    ledger: Ledger
    notes: RunFolder
    send: Callable[[Sequence[int], Flags], Counts]
    clock: Clock
    lead_ids: list[int]
    batch_size: int = 10
    canary: Canary | None = None
    flags: Flags = ALL
    window: Window = ALWAYS
    database: Database | None = None
    load: str = field(default="", init=False)

    def open(self, run_id: str = "run") -> Job:
        """Open the load and plan its batches, as the steps before do."""
        ids = pl.Series("lead_id", self.lead_ids, dtype=pl.Int64)
        self.load = self.ledger.open_load(
            flow="old_leads", vendor="vicidial", dag_id="archive_vicidial_leads__old_leads", run_id=run_id,
            target="vicidial:vicidial_default:old_leads", night=None, source_time=NIGHT - timedelta(hours=1),
            snapshot="s", plan_hash="h", mode="apply", requested_by=None, reason=None, rows_in=len(ids),
            good_for=timedelta(days=4),
        ).id  # fmt: skip
        self.ledger.plan_batches(self.load, batch_plans(ids, self.batch_size, self.canary))
        return self

    def run(self, **replaced: Any) -> Pause | None:
        parts: dict[str, Any] = {
            "canary": self.canary, "flags": self.flags, "window": self.window, "notes": self.notes,
            "send": self.send, "now": self.clock, "sleep": self.clock.sleep, "database": self.database,
        }  # fmt: skip
        parts |= replaced
        ledger = parts.pop("ledger", self.ledger)
        return Archiver(ledger, self.load, pl.Series("lead_id", self.lead_ids, dtype=pl.Int64), **parts).run()

    @property
    def batches(self) -> list[Batch]:
        return self.ledger.batches(self.load)

    @property
    def states(self) -> list[str]:
        return [batch.state for batch in self.batches]

    @property
    def delivered(self) -> int:
        return sum(batch.delivered for batch in self.batches)

    @property
    def named(self) -> dict[int, str]:
        """Every lead that was not archived, with its reason."""
        return {
            int(key): reason
            for batch in self.batches
            for key, reason in read_named(self.notes, batch.seq).items()
        }


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger without loads, to copy: migrating one takes longer than a whole test."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.migrate()
    return path


@pytest.fixture
def job(
    sandbox: SandboxServer, client: Client, empty_ledger: Path, tmp_path: Path, staging_folder: Path
) -> Iterator[Callable[..., Job]]:
    """Make and open a job over these leads (or so many)."""
    clock = Clock()
    ledgers: list[Ledger] = []

    def make(leads: int | list[int] = 30, **changes: Any) -> Job:
        file = shutil.copyfile(empty_ledger, tmp_path / f"ledger-{len(ledgers)}.db")
        ledger = Ledger(f"sqlite:///{file}", now=clock)
        ledgers.append(ledger)
        ids = list(range(1, leads + 1)) if isinstance(leads, int) else leads
        return Job(ledger, RunFolder(f"runs/{time.time_ns()}/archive"), client, clock, ids, **changes).open()

    yield make
    for ledger in ledgers:
        ledger.close()


@dataclass
class Tables:
    """Where the leads are, by the sandbox's own books."""

    listed: set[int]
    archived: list[int]

    def assert_moved(self, leads: set[int], of: int = 600) -> None:
        """These are in the archive, once each, and off the list; every other is where it was."""
        assert sorted(self.archived) == sorted(leads)
        assert self.listed == set(range(1, of + 1)) - leads


@pytest.fixture
def tables(sandbox: SandboxServer) -> Callable[[], Tables]:
    def look() -> Tables:
        ids = sandbox.state("vicidial")["ids"]
        return Tables(set(ids["list"]), list(ids["archive"]))

    return look
