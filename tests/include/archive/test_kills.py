"""Killed at every write point, and resumed: each lead exactly once in the archive, none lost, none counted wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.archive.loop import problems
from include.archive.selection import LeadDatabase
from include.leads.retention import Keep
from include.ledger import reconcile
from include.sandbox.server import SandboxServer
from include.vendors.errors import VendorError
from tests.include.archive.conftest import NIGHT, Job, Tables

MakeJob = Callable[..., Job]
Look = Callable[[], Tables]
WRITES = ("claim_target", "renew_claim", "intend", "withdraw", "settle", "release_target", "put", "send")
FAULTS = (
    "drop_before",
    "drop_after",
    "crash_in_insert",
    "crash_after_insert",
    "crash_in_update",
    "crash_after_update",
    "crash_in_delete",
    "agent_edits",
)


class Killed(BaseException):
    """The process is gone: no handler of ours may see it as an error."""


class Fuse:
    """Blows at the n-th write point; each write has one before it and one after it."""

    def __init__(self, at: int | None) -> None:
        self.left = at
        self.passed = 0

    def point(self) -> None:
        self.passed += 1
        if self.left is not None and self.passed > self.left:
            raise Killed

    def around(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def written(*args: Any, **kwargs: Any) -> Any:
            self.point()
            result = write(*args, **kwargs)
            self.point()
            return result

        return written


class Fused:
    """Something whose writes go over a fuse."""

    def __init__(self, real: Any, fuse: Fuse) -> None:
        self._real, self._fuse = real, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return self._fuse.around(found) if name in WRITES else found


def run_until(work: Job, at: int | None) -> int:
    """Run, killed at a write point or not at all; return how many were passed."""
    fuse = Fuse(at)
    with suppress(Killed):
        work.run(ledger=Fused(work.ledger, fuse), notes=Fused(work.notes, fuse), send=fuse.around(work.send))
    return fuse.passed


def begin(sandbox: SandboxServer, job: MakeJob, *, with_database: bool, leads: list[int]) -> Job:
    sandbox.reset()
    sandbox.clock(NIGHT)
    database = (
        LeadDatabase(sandbox.database_url, (), Keep(), NIGHT.replace(tzinfo=None))  # type: ignore[attr-defined,call-arg]
        if with_database
        else None
    )
    return job(leads, batch_size=5, database=database)


def assert_right(work: Job, tables: Tables, leads: list[int], *, exact: bool) -> None:
    real = {lead_id for lead_id in leads if lead_id <= 600}
    tables.assert_moved(real)
    assert all(batch.state in ("confirmed", "rejected") for batch in work.batches)
    counted = reconcile(len(leads), {}, work.batches)
    assert counted.counts.accounted and counted.counts.uncertain == 0
    assert work.delivered == len(leads) - len(work.named)
    assert set(work.named) <= set(leads) - real
    if exact:
        assert set(work.named) == set(leads) - real and work.delivered == len(real)
    assert problems(work.batches) == []


LEADS = [*range(1, 8), 9001, *range(8, 13)]


@pytest.mark.parametrize(
    ("fault", "with_database"),
    [(None, False), ("drop_after", True), ("agent_edits", False), ("crash_in_delete", True)],
)
def test_killed_once_at_each_write_point(
    job: MakeJob, tables: Callable[[], Tables], sandbox: SandboxServer, fault: str | None, with_database: bool
) -> None:
    leads = LEADS if with_database else [lead_id for lead_id in LEADS if lead_id <= 600]
    point = 0
    while True:
        work = begin(sandbox, job, with_database=with_database, leads=leads)
        if fault:
            sandbox.fault("vicidial", fault, nth=2)
        passed = run_until(work, point)
        assert run_until(work, None) > 0
        assert_right(work, tables(), leads, exact=with_database or not fault)
        if passed <= point:
            break
        point += 1
    assert point > 25


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kills=st.lists(st.integers(0, 30), max_size=5),
    faults=st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(1, 8)), max_size=3).filter(
        lambda faults: sum(fault == "agent_edits" for fault, _ in faults) < 2
    ),
    unknown=st.sets(st.integers(9000, 9010), max_size=4),
    with_database=st.booleans(),
)
def test_killed_again_and_again(
    job: MakeJob,
    tables: Callable[[], Tables],
    sandbox: SandboxServer,
    kills: list[int],
    faults: list[tuple[str, int]],
    unknown: set[int],
    with_database: bool,
) -> None:
    """A lead that agents keep editing stays on the list (`test_loop.py`); here one of them does it once.

    With the database every count is exact. Without it, only the place of every lead is: the contract cannot tell
    an unknown lead from an archived one once an answer is lost."""
    leads = [*range(1, 8), *sorted(unknown), *range(8, 13)]
    work = begin(sandbox, job, with_database=with_database, leads=leads)
    for fault, nth in faults:
        sandbox.fault("vicidial", fault, nth=nth)
    for at in kills:
        run_until(work, at)
    # Faults that meet at one batch use up the tries of a task; Airflow's next one goes on.
    for _ in faults:
        with suppress(VendorError):
            work.run()
    assert work.run() is None
    assert_right(work, tables(), leads, exact=with_database)
