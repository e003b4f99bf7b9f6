"""`python -m tests.proof.schedules --vendor ozonetel --schedules 10000`: random nights with crashes and faults.

Each schedule is a night of one flow: up to four crashes at write points, up to four faults at the vendor (before and
after it accepted, late, 429, 5xx, garbage, lost, late, doubled, reordered and forged callbacks), the morning after, and
the same night once more. The vendor's own books are the judge. Exits 1 with the smallest schedule that fails, and the
seed that leads to it.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import time
import traceback
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.proof.lib.quietly import quietly

with quietly():
    from tests.crashes.night import Night, Schedule
    from tests.crashes.points import Crashes
    from tests.crashes.vendors import NIGHTS
    from tests.crashes.world import world

STATES = ("rows_in", "delivered", "rejected", "held", "uncertain")


def main() -> int:
    """Play the schedules, and print what was played."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.schedules", description=__doc__)
    parser.add_argument("--vendor", choices=[*NIGHTS, "all"], default="all")
    parser.add_argument(
        "--schedules", type=int, default=int(os.environ.get("SCHEDULES", "200")), help="of each vendor"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    names = NIGHTS if asked.vendor == "all" else [asked.vendor]
    return max([prove(name, asked.schedules, asked.seed) for name in names])


def prove(name: str, schedules: int, number: int) -> int:
    """Play so many schedules of one kind of night; 1 when one fails."""
    kind = NIGHTS[name]
    begun = time.perf_counter()
    faults: Counter[str] = Counter()
    with world(with_vicidial=kind.vendor == "vicidial") as place, Crashes().armed() as crashes:
        night = kind(place, crashes)
        every = night.schedules()
        gc.collect()
        gc.freeze()  # Airflow's modules are the larger part of what a collection would look through
        crashes.struck.clear()
        night.totals.clear()

        @seed(number)
        @settings(
            max_examples=schedules,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(every)
        def plays(schedule: Schedule) -> None:
            night.play(schedule)
            faults.update(fault["fault"] for fault in schedule.faults)

        failed = None
        try:
            plays()
        except Exception as error:
            failed = error
        tell(name, night, crashes, faults, number, time.perf_counter() - begun, failed)
    return int(failed is not None)


def tell(
    name: str,
    night: Night,
    crashes: Crashes,
    faults: Counter[str],
    number: int,
    seconds: float,
    failed: Exception | None,
) -> None:
    """Print the table of one vendor."""
    totals = night.totals
    print(f"{name}: {totals['schedules']:,} schedules, seed {number}, {seconds:.0f} s")
    print(f"  rows of the first nights  {', '.join(f'{name} {totals[name]:,}' for name in STATES)}")
    print(f"  first nights              green {totals['green']:,}, red {totals['red']:,}")
    print(f"  faults                    {_told(faults)}")
    print(f"  crashes                   {_told(crashes.struck)}")
    verdict = "lost rows 0, silent duplicates 0" if failed is None else "FAILED"
    print(f"  verdict                   {verdict}", flush=True)
    if failed is not None:
        traceback.print_exception(failed, file=sys.stdout)


def _told(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counted.items())) or "none"


if __name__ == "__main__":
    sys.exit(main())
