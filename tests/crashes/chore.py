"""Something that is done outside the nights, killed at a write and done again: the books must stand as if nothing was.

A `Chore` says what is there before it, how it is done, and where to look afterwards.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import select

from include.ledger import Ledger
from include.ledger.tables import evidence
from tests.crashes.night import Books, Json, flow_files
from tests.crashes.points import Crashes, SimulatedCrash, WorkerGoneError
from tests.crashes.world import World
from tests.flows.runs import DirectRun


class Chore:
    """Something that is done outside the nights.

    :param write: where all of it is one write, that one: a crash leaves nothing or all.
    """

    write: ClassVar[str | None] = None

    def __init__(self, world: World) -> None:
        self.world = world

    def __str__(self) -> str:
        return type(self).__name__.lower()

    @property
    def ledger(self) -> Ledger:
        from listkeeper.hooks.ledger import open_ledger

        return open_ledger()

    def begin(self) -> None:
        """What is there before it; ledger, staging and vendors are empty, and as they are after a reset."""

    def do(self) -> None:
        """Do it; after a crash, do it again."""
        raise NotImplementedError

    def books(self) -> Any:
        """What it changes, comparable."""
        raise NotImplementedError

    def judge(self, left: Any, done: Any, point: str) -> None:
        """Assert what must be true right after a crash, beside what `write` asks for: what is in doubt is told."""

    def ended(self, point: str) -> None:
        """Assert what must be true when it was done again, beside the books."""

    def told(self, kind: str) -> list[Json]:
        """Bodies of the records of one kind in the evidence."""
        with self.ledger._store.read() as connection:
            return [
                body for (body,) in connection.execute(select(evidence.c.body).where(evidence.c.kind == kind))
            ]


class Steps(Chore):
    """A whole DAG, step by step; a step that crashed is tried again."""

    def go(self, run: DirectRun) -> None:
        """Go on with a run where it was left."""
        for name in run.steps:
            if run.tasks.get(name) != "success":
                run.attempt(run.dag.task_dict[name])
                run.tasks[name] = "success"


def fresh(chore: Chore, empty: Books, crashes: Crashes) -> None:
    """Bring everything to a chore's start."""
    crashes.begin(())
    chore.world.begin()
    empty.put_back(chore.world.place)
    flow_files(chore.world.place / "flows")
    chore.begin()
    crashes.begin(())


def killed(chore: Chore, crashes: Crashes, point: str, nth: int, done: Any) -> None:
    """Kill a chore once, and judge what is left, and what doing it again makes of that."""
    start = chore.books()
    crashes.begin([f"{point} #{nth}"])
    try:
        chore.do()
        raise AssertionError(f"{point} was not struck in {chore}")
    except (SimulatedCrash, WorkerGoneError):
        crashes.begin(())
    left = chore.books()
    if chore.write is not None:
        assert left in (start, done), f"{point} in {chore}: half of it is done"
        if point.endswith(chore.write):
            assert left == (start if point.startswith("before") else done), f"{point} in {chore}"
    chore.judge(left, done, point)
    chore.do()
    chore.ended(point)
    assert chore.books() == done, f"{point} in {chore}: done again, it does not end as it should"
    assert chore.ledger.verify() == []
