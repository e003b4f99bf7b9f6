"""`python -m tests.proof.interleavings`: runs of one list in any order: scheduled, by hand, cleared, backfilled.

A model of a few lines judges each batch that goes out: 0 stale overwrites, 0 writes that were not released. Exits 1 at
the first schedule that breaks a rule, naming its number (`--first N --schedules 1` plays that one alone).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from include.ledger import Ledger
from tests.include.ledger.conftest import Clock
from tests.include.ledger.interleavings import play

TOGETHER = 250
"""Schedules on one ledger, each with a list of its own; its evidence is verified after the last."""


def main() -> int:
    """Play the schedules, and print what was met."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.interleavings", description=__doc__)
    parser.add_argument("--schedules", type=int, default=int(os.environ.get("SCHEDULES", "10000")))
    parser.add_argument("--first", type=int, default=0, help="number of the first one: the seed")
    asked = parser.parse_args()
    numbers = range(asked.first, asked.first + asked.schedules)
    memory, begun, totals = Path("/dev/shm"), time.perf_counter(), Counter[str]()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        template = Path(folder, "template.db")
        with Ledger(f"sqlite:///{template}") as ledger:
            ledger.migrate()
        for start in range(0, len(numbers), TOGETHER):
            clock, file = Clock(), shutil.copy(template, Path(folder, "ledger.db"))
            with Ledger(f"sqlite:///{file}", now=clock) as ledger:
                for number in numbers[start : start + TOGETHER]:
                    try:
                        totals += play(ledger, clock, number)
                    except AssertionError as error:
                        print(f"Schedule {number}: {error}")
                        return 1
                assert ledger.verify() == [], "the evidence does not hold"
    seconds = time.perf_counter() - begun
    print(f"{asked.schedules:,} interleavings from number {asked.first} on, {seconds:.0f} s")
    print(f"  steps {totals.pop('steps'):,}, batches sent {totals.pop('sent'):,}")
    print(f"  refused {', '.join(f'{name} {times:,}' for name, times in sorted(totals.items()))}")
    print("  stale overwrites 0, unreleased writes 0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
