"""What is written outside the nights, killed at each write: commands, single calls, pulls, erasures, house-keeping.

Each chore is done once to see which points it passes and how the books stand afterwards, and then again for each of
these points: from the start, killed there, and done again, as Airflow tries again or a person asks again.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

from sqlalchemy import select

from include import staging
from include.house.days import KeepDays
from include.house.house import House
from include.ledger import BatchPlan, Ledger, LedgerError, Removal
from include.ledger.records import Counts
from include.ledger.tables import metadata
from tests.crashes.chore import Chore, Steps, fresh, killed
from tests.crashes.isales import Isales
from tests.crashes.night import Books, Json, flow_files, parsed
from tests.crashes.platform import Platform
from tests.crashes.points import Crashes, Struck
from tests.crashes.world import World
from tests.flows.conftest import lead, make_snapshot
from tests.flows.runs import DirectRun, answered
from tests.include.house.conftest import evidence as evidence_of_removals

KEY = {"conn_type": "generic", "password": "a key of the crash tests alone"}
LEAD, AGENT, LIST = 100_001, 1001, 300


# What a person does by a command


def _load(ledger: Ledger) -> str:
    """A load in doubt."""
    load = ledger.open_load(
        flow="f", vendor="purecallerid", dag_id="d", run_id="r", target="t", night=None,
        source_time=datetime(2026, 11, 20, tzinfo=UTC), snapshot="s", plan_hash="h", mode="apply",
        requested_by=None, reason=None, rows_in=10,
    )  # fmt: skip
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "rows")])
    ledger.claim_target(load.id, timedelta(hours=1))
    ledger.intend(load.id, 1)
    ledger.leave_uncertain(ledger.batches(load.id)[0], "nobody told")
    ledger.release_target(load.id)
    ledger.finish_load(load.id, state="uncertain", counts=Counts(10, uncertain=10), verdict="uncertain")
    return load.id


def _removal(place: str) -> Removal:
    return Removal(place, "callbacks", 30, 1, 10, datetime(2026, 10, 1, tzinfo=UTC), None, None)


COMMANDS: dict[str, Callable[[Ledger, str], object]] = {
    "Ledger.resolve": lambda ledger, load: ledger.resolve(
        load, delivered=True, who="ana", why="counted them", applied=None
    ),
    "Ledger.pause_target": lambda ledger, _: ledger.pause_target("t", True, "ana", "the list is wrong"),
    "Ledger.pause_vendor": lambda ledger, _: ledger.pause_vendor("purecallerid", True, "ana", "it is slow"),
    "Ledger.erase": lambda ledger, _: ledger.erase(lambda text: "nobody told" in text),
    "Ledger.forget": lambda ledger, load: ledger.forget(
        _removal(f"callbacks/{load}"), ("callbacks", load), lambda _: True
    ),
    "Ledger.forget_old_removals": lambda ledger, _: ledger.forget_old_removals(datetime.now(UTC)),
}


class Command(Chore):
    """One command on a ledger with one load in doubt. Given twice, it says so or changes nothing more."""

    def __init__(self, world: World, write: str) -> None:
        super().__init__(world)
        self.write = write  # type: ignore[misc]
        self._start: tuple[Books, str] | None = None

    def __str__(self) -> str:
        return "by command"

    def begin(self) -> None:
        if self._start is None:  # the ids of a load are its own
            load = _load(self.ledger)
            self._start = Books.of(self.world.place), load
        self._start[0].put_back(self.world.place)
        self._given = False

    def do(self) -> None:
        assert self._start is not None and self.write is not None
        given, self._given = self._given, True
        start = self.books()
        try:
            COMMANDS[self.write](self.ledger, self._start[1])
        except LedgerError:
            assert given and self.books() == start, f"{self.write} does not go through"

    def books(self) -> Any:
        """What the ledger holds, but for the evidence: a command that is given twice stands there twice."""
        tables = (table for name, table in metadata.tables.items() if not name.startswith("evidence"))
        with self.ledger._store.read() as connection:
            return [[tuple(row) for row in connection.execute(select(table))] for table in tables]


# Single calls of people's own DAGs


class Call(Chore):
    """An operator that makes one change at the Platform; the evidence has its intent before the vendor has it.

    :param kind: of the record when it is done.
    """

    kind: ClassVar[str]

    def operator(self) -> Any:
        raise NotImplementedError

    def do(self) -> None:
        run = SimpleNamespace(dag_id="mine", run_id="manual__1", triggering_user_name="ana")
        self.operator().execute({"dag_run": run, "ti": SimpleNamespace(map_index=-1)})

    def judge(self, left: Any, done: Any, point: str) -> None:
        intended, ended = (len(self.told(kind)) for kind in (f"{self.kind}_intended", self.kind))
        assert intended == 1 if left == done else not ended, f"{point}: nobody can tell that it may be done"


def lead_there() -> Json | None:
    """The lead at the Platform, None when it is gone."""
    from listkeeper.hooks.platform import PlatformHook

    from include.vendors.platform import NotFoundError

    hook = PlatformHook()
    try:
        return hook.get_lead(LEAD)
    except NotFoundError:
        return None
    finally:
        hook.close()


class Create(Call):
    """A new lead, with its key."""

    kind, write = "lead_created", "PlatformHook.create_lead"

    def operator(self) -> Any:
        from listkeeper.operators.platform_leads import CreateLeadOperator

        fields = {"listId": LIST, "customerKey": "K-1", "phone1": "+12025550123"}
        return CreateLeadOperator(task_id="create", fields=fields)

    def books(self) -> Any:
        written = self.world.sandbox.state("platform")["written"]
        return [(one["listId"], one["customerKey"]) for one in written]


class Update(Call):
    """Another number for a lead."""

    kind, write = "lead_updated", "PlatformHook.update_lead"

    def operator(self) -> Any:
        from listkeeper.operators.platform_leads import UpdateLeadOperator

        return UpdateLeadOperator(task_id="update", lead_id=LEAD, fields={"phone2": "+12025550123"})

    def books(self) -> Any:
        return (lead_there() or {})["phones"]


class Delete(Call):
    """A lead that has to go."""

    kind, write = "lead_deleted", "PlatformHook.delete_lead"

    def operator(self) -> Any:
        from listkeeper.operators.platform_leads import DeleteLeadOperator

        return DeleteLeadOperator(task_id="delete", lead_id=LEAD, reason="asked for it", released=True)

    def books(self) -> Any:
        return lead_there() is None


class Presence(Call):
    """An agent who goes home."""

    kind, write = "presence_set", "PlatformHook.set_presence"

    def operator(self) -> Any:
        from listkeeper.operators.platform_leads import SetPresenceOperator

        available = AGENT in self.world.sandbox.state("platform")["available"]
        self.wanted = getattr(self, "wanted", not available)
        return SetPresenceOperator(task_id="presence", agent_id=AGENT, available=self.wanted)

    def books(self) -> Any:
        return self.world.sandbox.state("platform")["available"]


class FileServer(Chore):
    """A file server that iSales must know."""

    write = "IsalesHook.add_file_server"

    def do(self) -> None:
        from listkeeper.operators.isales_steps import FileServerOperator

        sftp = {"conn_type": "sftp", "host": "10.0.0.9", "login": "lk", "password": "0ther-passw0rd"}
        with mock.patch.dict(os.environ, AIRFLOW_CONN_ISALES_SFTP=json.dumps(sftp)):
            self.id = FileServerOperator(task_id="server", path="/data", vdn_id=1).execute({})

    def books(self) -> Any:
        return [server["serverId"] for server in self.world.sandbox.state("isales")["servers"]]

    def ended(self, point: str) -> None:
        assert self.id == self.books()[-1], f"{point}: another server was registered"


# Flows beside the deliveries


class Pull(Steps):
    """The pull of a list, page by page."""

    FLOW: ClassVar[Json] = {
        "kind": "pull_platform_leads", "name": "callers", "mode": "full", "filters": {"listId": 100}, "shards": 1,
        "outcomes": {"days": 2},
    }  # fmt: skip

    def begin(self) -> None:
        self.world.sandbox.switch("platform", page_size=4)
        about = {
            "run_type": SimpleNamespace(value="manual"),
            "partition_key": None,
            "triggering_user_name": "ana",
        }
        dag = parsed(self.world.place / "flows", self.FLOW)
        for task in dag.tasks:
            if hasattr(task, "night"):
                task.night = None  # the form's, which nobody fills in
        self.run = DirectRun(dag, self.ledger, "manual__1", {}, **about)
        self.run._about["outlet_events"] = mock.MagicMock()
        self.run.steps = [task.task_id for task in dag.topological_sort()]  # type: ignore[misc]

    def do(self) -> None:
        self.go(self.run)

    def books(self) -> Any:
        from include.snapshots import newest_snapshot

        sources = ("callers", "callers_calls")
        newest = {source: newest_snapshot(source, None) for source in sources}
        whole = {source: one.manifest().rows for source, one in newest.items() if one is not None}
        return whole, [staging.places(f"pulls/{source}") for source in whole]


class Erasure(Steps):
    """A customer of whom one lead is staged and others are at the Platform."""

    def begin(self) -> None:
        from include.erasure import requests
        from include.erasure.keys import ErasureKey
        from include.erasure.person import Person

        number = str((lead_there() or {})["phones"][0]["phoneNumber"])
        make_snapshot([lead(n) for n in range(3)] + [lead(9, phone1=number)])
        self.person = Person.of(number, None)
        self.request = requests.store(ErasureKey(KEY["password"]), self.person, "ana").id
        dag, conf = parsed(self.world.place / "flows", Pull.FLOW, "erase_customer"), {"request": self.request}
        for task in dag.tasks:
            task.request = self.request
        self.run = DirectRun(dag, self.ledger, f"erase__{self.request}", conf, triggering_user_name="ana")
        self.run.answer = answered(why="letter of 20 November")
        self.run.steps = ("preview", "approve", "erase")  # type: ignore[misc]

    def do(self) -> None:
        self.go(self.run)

    def books(self) -> Any:
        """What of the customer is left, by place; whether the request is; and what the certificate counts of ours."""
        from include.erasure.sweep import Sweep

        told = self.told("erased")
        return (
            lead_there() is None,
            sorted(Sweep(self.person).look()),
            staging.RunFolder(f"erasures/{self.request}").get("request.sealed") is None,
            told[-1]["staging"] if told else None,
        )

    def ended(self, point: str) -> None:
        """What the Platform erased is counted in the certificate, or that its counts are lost is said there."""
        told = self.told("erased")[-1]["platform"]["platform_default"]
        assert told["lost"] or told["leads"] >= 1, f"{point}: the certificate counts {told}"


class HouseKeeping(Chore):
    """Three old nights, which go."""

    def __str__(self) -> str:
        return "house"

    def begin(self) -> None:
        flow_files(self.world.place / "flows", {"kind": "pull_platform_leads", "name": "callers"})
        for night in (10, 11, 12, 20):
            make_snapshot([lead(night)], night=f"2026-11-{night}")
        written = datetime.now(UTC).timestamp()
        for file in (self.world.place / "staging").rglob("*"):
            os.utime(file, (written, written))

    def do(self) -> None:
        later = self.world.now() + timedelta(days=31)
        house = House(self.ledger, KeepDays(), now=lambda: later)
        house.clean_up(house.plan(), {})

    def books(self) -> Any:
        places = sorted(file.path.split("/")[2] for file in staging.files("snapshots"))
        told = {kept: count["items"] for kept, count in evidence_of_removals(self).items()}  # type: ignore[arg-type]
        return places, told, self.ledger.interrupted_removals()

    def judge(self, left: Any, done: Any, point: str) -> None:
        """What is gone was noted before, so that the next run counts it."""
        for night in {"2026-11-10", "2026-11-11", "2026-11-12"} - set(left[0]):
            place = f"snapshots/callers/{night}"
            begun = any(one.place.startswith(place) for one in self.ledger.interrupted_removals())
            assert begun or self.ledger.removal_of(place), f"{point}: {night} is gone and nobody noted it"


CHORES: tuple[Callable[[World], Chore], ...] = (
    *(partial(Command, write=write) for write in COMMANDS),
    Create, Update, Delete, Presence, FileServer, Pull, Erasure, HouseKeeping,
)  # fmt: skip


def at_the_desk(
    crashes: Crashes, world: World, *, thorough: bool = False, only: Callable[[World], Chore] | None = None
) -> Iterator[Struck]:
    """Kill each chore at each point that it passes.

    :param only: this one alone.
    :param thorough: at each of its passages; else at the first one, and only where an earlier chore has not shown it.
    """
    empty = Books.of_a_new_ledger(world.place)
    seen: set[str] = set()
    with mock.patch.dict(os.environ, AIRFLOW_CONN_LISTKEEPER_ERASURE=json.dumps(KEY)):
        Platform(world, crashes), Isales(world, crashes)  # they set the connections
        for make in CHORES if only is None else [only]:
            chore = make(world)
            fresh(chore, empty, crashes)
            chore.do()
            done, passed = chore.books(), Counter(crashes.passed)
            for point, times in sorted(passed.items()):
                if thorough or point not in seen:
                    seen.add(point)
                    for nth in range(1, (times if thorough else 1) + 1):
                        fresh(chore, empty, crashes)
                        killed(chore, crashes, point, nth, done)
                        yield Struck(point, str(chore), "done again, and once")
