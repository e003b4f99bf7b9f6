"""Runs of one list in any order: planned, asked about, answered, cleared, crashed, paused, late. A model of a few lines
judges each batch that goes out: no stale overwrite, and nothing that was not released, approved or was paused.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from include.ledger import BatchPlan, Ledger, LedgerError
from tests.include.ledger.conftest import Clock

STEPS, RUNS = 40, 4
GOOD_FOR, HOLD = timedelta(hours=12), timedelta(hours=6)
BATCHES = [BatchPlan(seq, 10, f"rows {seq}") for seq in (1, 2)]


@dataclass
class Run:
    """What the model knows of one run."""

    name: str
    night: int
    writes: bool
    """Whether it may write at all: a backfill that nobody released may not."""
    asks: bool
    load: str | None = None
    planned_at: int = 0
    """The moment of its plan, in events on the list."""
    fresh_until: datetime | None = None
    said_yes: bool = False
    begun: bool = False


@dataclass
class World:
    """One list, its runs, and what has happened on it."""

    ledger: Ledger
    clock: Clock
    target: str
    chance: random.Random
    runs: list[Run]
    paused: bool = False
    vendor: str = ""
    events: list[str] = field(default_factory=list)
    """Who sent to the list or was applied to it, in order."""
    newest: int = -1
    sent: Counter[str] = field(default_factory=Counter)

    def plan(self, run: Run) -> None:
        seen = self.ledger.standing_of(self.target)
        run.planned_at = len(self.events)
        if self.chance.random() < 0.2:  # something else happens while the plan is made
            self.send(self.chance.choice(self.runs))
        load = self.ledger.open_load(
            flow="f", vendor=self.vendor, dag_id="d", run_id=run.name, target=self.target, night=None,
            source_time=datetime(2026, 11, 1 + run.night, tzinfo=UTC), snapshot="s",
            plan_hash=f"{run.name} {self.chance.randrange(2)}", mode="apply" if run.writes else "plan",
            requested_by="ana", reason=None, rows_in=20, standing=seen, good_for=GOOD_FOR, needs_approval=run.asks,
        )  # fmt: skip
        run.begun, run.load, run.said_yes, run.fresh_until = False, load.id, False, self.clock() + GOOD_FOR
        self.ledger.plan_batches(load.id, BATCHES)

    def ask(self, run: Run) -> None:
        if run.load and run.asks:
            self.ledger.ask_approval(run.load, run.load)
            run.said_yes = False

    def answer(self, run: Run) -> None:
        if run.load and run.asks:
            word = self.chance.choice([True, True, False, None])
            self.ledger.answer_approval(
                run.load, page=run.load, approved=word, who="ben", why=None, good_for=GOOD_FOR
            )
            run.said_yes = bool(word)
            if word:
                run.fresh_until = self.clock() + GOOD_FOR

    def send(self, run: Run) -> None:
        if run.load is None:
            return
        self.ledger.claim_target(run.load, HOLD)
        # From here on the fence stands at this night, whether or not anything is sent.
        assert run.night >= self.newest, "an older source took the list"
        self.newest = run.night
        if not run.begun:
            others = [who for who in self.events[run.planned_at :] if who != run.load]
            assert not others, "the list had changed since the plan"
            assert run.fresh_until and self.clock() <= run.fresh_until, "the plan was too old"
        for batch in self.ledger.batches(run.load):
            if batch.state == "planned" and self.chance.random() < 0.8:
                self.go_out(run, batch.seq)
        self.clock.forward(seconds=1)
        if self.chance.random() < 0.5:
            self.ledger.mark_applied(run.load, "runs/x")
            self.events.append(run.load)
        if self.chance.random() < 0.7:
            self.ledger.release_target(run.load)

    def go_out(self, run: Run, seq: int) -> None:
        if self.chance.random() < 0.1:
            self.switch()
        self.ledger.intend(str(run.load), seq)
        assert run.writes, "a run that only plans has written"
        assert run.said_yes or not run.asks, "nobody had approved"
        assert not self.paused, "the list was paused"
        run.begun = True
        self.events.append(str(run.load))
        self.sent[run.name] += 1
        if self.chance.random() < 0.8:  # else it crashes here
            self.ledger.settle(
                str(run.load), seq, "confirmed", delivered=10, rejected=0, uncertain=0, vendor_counts={"total": 10}
            )  # fmt: skip

    def switch(self) -> None:
        """Pause or resume: the list one time, the whole vendor the next."""
        self.paused = not self.paused
        self.ledger.pause_target(self.target, self.paused and self.chance.random() < 0.5, "ana", "?")
        alone = self.ledger.target(self.target).paused
        self.ledger.pause_vendor(self.vendor, self.paused and not alone, "ana", "?")


def play(ledger: Ledger, clock: Clock, number: int) -> Counter[str]:
    """Play one schedule; return how many batches were sent by each kind of run, and which refusals were met."""
    chance = random.Random(number)
    runs = [
        Run(f"{number} {name}", chance.randrange(3), chance.random() < 0.8, chance.random() < 0.5)
        for name in range(RUNS)
    ]
    world = World(ledger, clock, f"list {number}", chance, runs, vendor=f"vendor {number}")
    totals: Counter[str] = Counter()
    for _ in range(STEPS):
        step = chance.choices(["plan", "ask", "answer", "send", "wait", "switch"], [4, 4, 5, 9, 2, 1])[0]
        try:
            if step == "wait":
                clock.forward(hours=chance.choice([1, 5, 13]))
            elif step == "switch" and world.runs[0].load:
                world.switch()
            elif step != "switch":
                getattr(world, step)(chance.choice(runs))
        except LedgerError as error:
            totals[type(error).__name__] += 1
        totals["steps"] += 1
    totals["sent"] += sum(world.sent.values())
    return totals
