"""A night of one flow under crashes and faults, the morning after, and the same night once more.

A vendor's module says only what is its own: its flows, rows, faults, and what its books must hold (`Judge`). The night
is played through the real DAG, step by step, in a `World`; a step that crashes is tried again, as Airflow does. A
night that cannot crash before its load begins there, on a copy of what the steps before left: they are the same each
time, and take the most time.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from include.ledger import Ledger
from include.ledger.errors import LedgerError
from tests.crashes.points import Crashes, SimulatedCrash, WorkerGoneError
from tests.crashes.world import World
from tests.flows.conftest import make_snapshot
from tests.flows.runs import STEPS, DirectRun, answered

Json = dict[str, Any]

ROWS = 12
PLAN = "plan"
ABOUT = {"run_type": "asset_triggered", "partition_key": None, "triggering_user_name": None}
TRIES = 7
"""Tries of a task: more than a schedule has crashes."""

MOST_WAITS = 60
"""How often a run may wait: one that goes on for ever is a failure."""


@dataclass(frozen=True)
class Schedule:
    """What goes wrong in a night.

    :param crashes: write points, each armed when the one before has struck.
    :param faults: rules for the sandbox.
    :param reading: switches of the sandbox: what the vendor's page leaves open.
    """

    kind: str
    crashes: tuple[str, ...] = ()
    faults: tuple[Json, ...] = ()
    reading: Json = field(default_factory=dict)
    pause: float = 10
    """Seconds between two tries of a task."""


class CrashingRun(DirectRun):
    """A run whose tasks are started again after a crash, as Airflow does when a worker is gone."""

    crashes: Crashes
    pause = 0.0
    world: World | None = None
    """The world it is played in, None for real sockets and real time."""

    def attempt(self, task: Any) -> None:
        self.crashes.gone = False
        if self.world is not None and self.try_number > 1:
            self.world.sleep(self.pause)
        try:
            super().attempt(task)
        except SimulatedCrash as crash:
            raise WorkerGoneError(str(crash)) from None
        finally:
            self.crashes.gone = False

    def event(self, trigger: Any) -> Any:
        assert self.waits < MOST_WAITS, "it waits for ever"
        return (
            super().event(trigger) if self.world is None else self.world.wait_for(self.first_event(trigger))
        )

    @property
    def red(self) -> list[str]:
        """The steps to clear."""
        return [name for name in self.steps if self.tasks[name] in ("failed", "upstream_failed")]


class Night:
    """What the nights of all vendors share. A subclass is one vendor."""

    vendor: ClassVar[str]
    flows: ClassVar[dict[str, Json]]
    """Its kinds of flows, by name."""

    faults: ClassVar[st.SearchStrategy[Json]]
    most_faults: ClassVar[int] = 3
    readings: ClassVar[st.SearchStrategy[Json]] = st.just({})
    steps: ClassVar[Sequence[str]] = STEPS
    load: ClassVar[str] = "load"
    """The step that writes at the vendor."""

    scenarios: ClassVar[dict[str, Sequence[Json]]] = {"": ()}
    """Faults under which a crash is tried at each point that is passed, by a name for them."""

    def __init__(self, world: World, crashes: Crashes) -> None:
        self.world, self.sandbox, self.crashes = world, world.sandbox, crashes
        self.dags: dict[str, Any] = {}
        self._begun: dict[str, _Begun] = {}
        self.totals: Counter[str] = Counter()
        self._empty = Books.of_a_new_ledger(world.place)
        self.connect()

    # What a vendor says

    def connect(self) -> None:
        """Set the connections."""
        raise NotImplementedError

    def set_up(self, kind: str) -> None:
        """Bring the vendor to its start, after a reset."""

    def leads(self, kind: str) -> list[Json]:
        """The rows of the night."""
        raise NotImplementedError

    def judge(self, run: CrashingRun, schedule: Schedule, before: int) -> int:
        """Assert what the run's end says of the vendor's books; return how many rows stand there.

        :param before: how many stood there before the run.
        """
        raise NotImplementedError

    def last_word(self, run: CrashingRun, schedule: Schedule) -> None:
        """Assert what must be true in the end, whatever went wrong: the vendor was well for one whole run."""

    # A schedule

    def schedules(self) -> st.SearchStrategy[Schedule]:
        """Random schedules."""
        points = st.builds(
            lambda point, nth: point + (f" #{nth}" if nth > 1 else ""),
            st.sampled_from(self.points()),
            st.sampled_from([1, 1, 1, 2, 3]),
        )
        return st.builds(
            Schedule,
            kind=st.sampled_from(sorted(self.flows)),
            crashes=st.lists(points, max_size=4).map(tuple),
            faults=st.lists(self.faults, max_size=self.most_faults).map(tuple),
            reading=self.readings,
            pause=st.sampled_from([0, 10, 400]),
        )

    def play_some(self, examples: int) -> None:
        """Play so many random schedules, the same each time."""

        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            print_blob=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(self.schedules())
        def plays(schedule: Schedule) -> None:
            self.play(schedule)

        plays()

    def points(self) -> list[str]:
        """The write points that this vendor's flows pass, with and without faults."""
        if not hasattr(self, "_points"):
            found: Counter[str] = Counter()
            for kind in sorted(self.flows):
                for faults in self.scenarios.values():
                    self.play(Schedule(kind, (), tuple(faults)))
                    found.update(self.seen)
            self._points = sorted(found)
        return self._points

    def play(self, schedule: Schedule) -> CrashingRun:
        """Play a schedule to its end and judge each step on the way; return the run of the night."""
        self.seen: Counter[str] = Counter()
        night = self._begin(schedule)
        self.of_first = Counter(self.crashes.passed)
        there = self._judged(night, schedule, self._here)
        first = self.first = dict(night.summary)

        # The morning after: the vendor is well again, and a person clears what is red.
        self.crashes.begin(())
        self.sandbox._control("DELETE", "/faults")
        if night.red:
            night.go(night.red[0])
            there = self._judged(night, schedule, self._here)

        # And the same night once more.
        again = self._again(schedule.kind)
        self._judged(again, schedule, there)
        self.last_word(again, schedule)
        assert night.ledger.verify() == []
        self._count(first, night)
        return night

    def _judged(self, run: CrashingRun, schedule: Schedule, before: int) -> int:
        self.seen.update(self.crashes.passed)
        self.crashes.begin(())
        return self.judge(run, schedule, before)

    def _begin(self, schedule: Schedule) -> CrashingRun:
        """Play the night, from its first step or, where nothing can go wrong before it, from its load."""
        kind = schedule.kind
        begun = self._begun.get(kind) or self._play_beginning(kind)
        self._reset(kind)
        first = schedule.crashes[0].partition(" #")[0] if schedule.crashes else None
        whole = first in begun.passed or (schedule.faults and begun.asks_vendor)
        (begun.start if whole else begun.books).put_back(self.world.place)
        run = self._run(kind, "night")
        if not whole:
            run._xcoms, run._tasks = dict(begun.xcoms), dict(begun.tasks)
        self._here = self.there(kind)
        self.sandbox.switch(self.vendor, **schedule.reading)
        for fault in schedule.faults:
            self.sandbox.fault(**{"vendor": self.vendor} | fault)
        run.pause = schedule.pause
        self.crashes.begin(schedule.crashes)
        if not whole:
            self.crashes.passed.update(begun.passed)
        return run.go(None if whole else self.load)

    def _again(self, kind: str) -> CrashingRun:
        """Play the same night under another run; what it cleans is the same, unless the load before left leads over."""
        begun, run = self._begun[kind], self._run(kind, "again")
        if not begun.again:
            return run.go()
        run._xcoms, run._tasks = ({**part} for part in begun.again)
        return run.go(PLAN)

    def in_doubt(self, kind: str, point: str) -> bool:
        """Whether after one crash there, all else being well, nobody can know whether rows arrived."""
        return False

    def there(self, kind: str) -> int:
        """How many rows stand there before the night."""
        return 0

    def _play_beginning(self, kind: str) -> _Begun:
        """Play the steps before the load of both runs, once."""
        self._reset(kind)
        self._empty.put_back(self.world.place)
        make_snapshot(self.leads(kind))
        again = None
        if "clean" in self.steps and not self._dag(kind).task_dict["clean"].flow.goes_on:
            other = self._run(kind, "again").go(last=self.steps[self.steps.index(PLAN) - 1])
            again = (other._xcoms, other._tasks)
        start = Books.of(self.world.place)
        self.crashes.begin(())
        run = self._run(kind, "night").go(last=self.steps[self.steps.index(self.load) - 1])
        asks_vendor = bool(self.sandbox.state(self.vendor, rows=False)["calls"])
        self._begun[kind] = _Begun(
            start,
            Books.of(self.world.place),
            run._xcoms,
            run._tasks,
            Counter(self.crashes.passed),
            asks_vendor,
            again,
        )
        return self._begun[kind]

    def _reset(self, kind: str) -> None:
        self.world.begin()
        self.set_up(kind)

    def _run(self, kind: str, run_id: str) -> CrashingRun:
        from listkeeper.hooks.ledger import open_ledger

        run = CrashingRun(self._dag(kind), open_ledger(), run_id, {}, **ABOUT)
        run.answer = answered("Approve")
        run.world, run.crashes, run.steps = self.world, self.crashes, self.steps  # type: ignore[misc]
        return run

    def _dag(self, kind: str) -> Any:
        if kind not in self.dags:
            self.dags[kind] = parsed(self.world.place / "flows", self.flows[kind])
        return self.dags[kind]

    def _count(self, first: Json, night: CrashingRun) -> None:
        """Tell how the night ended at first, before anybody cleared anything."""
        self.totals["schedules"] += 1
        for name in ("rows_in", "delivered", "rejected", "suppressed", "held", "uncertain"):
            self.totals[name] += first.get(name, 0)
        self.totals["green" if first and not first["problems"] else "red"] += 1


def lost_answers(most: int, ops: Sequence[str | None] = (None,)) -> st.SearchStrategy[Json]:
    """One of the first `most` calls (of these operations; None: of any) whose answer does not arrive, or too late."""
    return st.builds(
        lambda fault, op, nth: {"fault": fault, "op": op, "nth": nth, "seconds": 300},
        st.sampled_from(["drop_before", "drop_after", "truncated", "broken_json", "late_answer"]),
        st.sampled_from(ops),
        st.integers(1, most),
    )


def turned_away(
    most: int, ops: Sequence[str | None] = (None,), statuses: Sequence[int] = (401, 429, 500, 503)
) -> st.SearchStrategy[Json]:
    """One of the first `most` calls (of these operations; None: of any) that is answered with such a status."""
    return st.builds(
        lambda status, op, nth: {"fault": "status", "status": status, "retry_after": 0, "op": op, "nth": nth},
        st.sampled_from(statuses),
        st.sampled_from(ops),
        st.integers(1, most),
    )


def flow_files(folder: Path, *flows: Json) -> None:
    """Write these flow files, and remove all others."""
    for file in folder.glob("*.yaml"):
        file.unlink()
    for flow in flows:
        (folder / f"{flow['name']}.yaml").write_text(yaml.safe_dump(flow, sort_keys=False))


def parsed(folder: Path, flow: Json, dag_id: str | None = None) -> Any:
    """Write a flow file and parse a DAG file; its tasks are tried again at once.

    :param dag_id: a DAG with a file of its own; None takes that of the flow.
    """
    import os

    from airflow.dag_processing.dagbag import BundleDagBag

    flow_files(folder, flow)
    dags = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    of_kind = (one for one in dags.glob("*.py") if f"`kind: {flow['kind']}`" in one.read_text())
    file = dags / f"{dag_id}.py" if dag_id else next(of_kind)
    bag = BundleDagBag(dag_folder=str(file), bundle_path=dags, bundle_name="dags-folder")
    assert not bag.import_errors, bag.import_errors
    dag = bag.dags[dag_id or f"{flow['kind']}__{flow['name']}"]
    for task in dag.tasks:
        task.retries, task.retry_delay, task.retry_exponential_backoff = TRIES - 1, timedelta(0), 0
    return dag


@dataclass
class _Begun:
    """What the steps before the load left: the books, what they handed on, and the write points they passed."""

    start: Books
    """The snapshot, and what the next run of the same night cleans."""
    books: Books
    xcoms: dict[Any, str]
    tasks: dict[str, str]
    passed: Counter[str]
    asks_vendor: bool
    again: tuple[dict[Any, str], dict[str, str]] | None
    """What the next run of the same night hands on before its plan."""


class Books:
    """A copy of ledger and staging, that can be put back. The ledger's file stays: connections are open to it."""

    def __init__(self, ledger: sqlite3.Connection, staging: dict[str, bytes]) -> None:
        self._ledger, self._staging = ledger, staging

    @classmethod
    def of_a_new_ledger(cls, place: Path) -> Books:
        new = place / "new"
        with Ledger(f"sqlite:///{new / 'ledger.db'}") as ledger:
            ledger.migrate()
        return cls.of(new)

    @classmethod
    def of(cls, place: Path) -> Books:
        kept = sqlite3.connect(":memory:")
        with closing(sqlite3.connect(place / "ledger.db")) as file:
            file.backup(kept)
        files = ((path, path.relative_to(place)) for path in (place / "staging").rglob("*"))
        return cls(kept, {str(name): path.read_bytes() for path, name in files if path.is_file()})

    def put_back(self, place: Path) -> None:
        with closing(sqlite3.connect(place / "ledger.db")) as file:
            self._ledger.backup(file)
        shutil.rmtree(place / "staging", ignore_errors=True)
        for name, content in self._staging.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)


__all__ = ["CrashingRun", "LedgerError", "Night", "Schedule", "lost_answers", "turned_away"]
