"""`python -m tests.proof.house`: random nights in random states, and a house kept in between.

After each house-keeping every plan, approval, send, resolution, delivery, leftover and look back at calls that was
possible before reads the same as before, and the evidence counts exactly what is gone. Exits 1 at the first story that
breaks this, naming its number (`--first N --schedules 1` plays that one alone).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from include.ledger import Ledger
from tests.include.house.nights import ENDS, Night, play

MOST = 300
"""Stories played unless asked for more: one takes most of a second."""


def story(number: int) -> tuple[list[Night], int]:
    """The nights of a number, and the days until the last house-keeping."""
    chance = random.Random(number)
    nights = [
        (chance.randint(0, 40), chance.choice(ENDS), chance.random() < 0.5, chance.random() < 0.5)
        for _ in range(chance.randint(2, 12))
    ]
    return nights, chance.randint(0, 200)


def main() -> int:
    """Play the stories, and print what went."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.house", description=__doc__)
    asked_for = min(MOST, int(os.environ.get("SCHEDULES", MOST)))
    parser.add_argument("--schedules", type=int, default=asked_for)
    parser.add_argument("--first", type=int, default=0, help="number of the first one: the seed")
    asked = parser.parse_args()
    begun, totals, nights_lived = time.perf_counter(), Counter[str](), 0
    memory = Path("/dev/shm")
    tempfile.tempdir = str(memory) if memory.is_dir() else None
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "ledger.db")
        with Ledger(f"sqlite:///{empty}") as ledger:
            ledger.migrate()
        for number in range(asked.first, asked.first + asked.schedules):
            nights, later = story(number)
            nights_lived += len(nights)
            try:
                totals.update(play(nights, later, Path(shutil.copy(empty, Path(folder, "copy.db")))))
            except Exception as error:
                print(f"Story {number}: {type(error).__name__}: {error}")
                return 1
    print(f"{asked.schedules:,} stories from number {asked.first} on, {time.perf_counter() - begun:.0f} s")
    print(
        f"  nights {nights_lived:,}; removed {', '.join(f'{kept} {n:,}' for kept, n in sorted(totals.items()))}"
    )
    print("  what could go on and could not any more: 0; things gone and not counted: 0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
