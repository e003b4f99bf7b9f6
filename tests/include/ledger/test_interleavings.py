"""A few interleavings of runs of one list; `python -m tests.proof.interleavings` plays ten thousand."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from include.ledger import Ledger
from tests.include.ledger.conftest import Clock
from tests.include.ledger.interleavings import play

SCHEDULES = 60


@pytest.fixture
def one_ledger(migrated_sqlite: Path, tmp_path: Path):
    clock = Clock()
    with Ledger(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path)}", now=clock) as opened:
        yield opened, clock


def test_whatever_the_order_nothing_goes_out_that_may_not(one_ledger):
    ledger, clock = one_ledger
    totals: Counter[str] = Counter()
    for number in range(SCHEDULES):
        totals += play(ledger, clock, number)
    assert ledger.verify() == []
    # Not vacuous: much was sent, and each refusal was met.
    assert totals["sent"] > SCHEDULES / 2
    needed = {
        "NotApprovedError",
        "ListChangedError",
        "OlderSourceError",
        "PlanOnlyError",
        "TargetLockedError",
    }
    needed |= {"TargetPausedError", "VendorPausedError", "PlanTooOldError", "NotAskedError"}
    assert needed <= set(totals), totals
