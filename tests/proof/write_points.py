"""`python -m tests.proof.write_points`: every write point there is, read from the code, killed before and after.

Prints a table: the point, which flow passes it, whether it was killed before and after, and how the night ended, all
else being well. `--thorough` kills every passage of a point, in every kind of flow and under faults too. Exits 1 when
a point is not killed anywhere, or when a night ends wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict

from tests.proof.lib.quietly import quietly

with quietly():
    from tests.crashes.desk import at_the_desk
    from tests.crashes.points import Crashes, Struck, Write, writes
    from tests.crashes.sweep import missing, sweep, unused
    from tests.crashes.vendors import NIGHTS
    from tests.crashes.world import world


def main() -> int:
    """Sweep, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.write_points", description=__doc__)
    parser.add_argument("--thorough", action="store_true", help="every passage, not only the first")
    parser.add_argument("--vendor", choices=NIGHTS, help="the nights of this one only")
    asked = parser.parse_args()
    found: dict[str, list[Struck]] = defaultdict(list)
    nights = 0
    if asked.vendor is None:
        with world() as place, Crashes().armed() as crashes:
            for one in at_the_desk(crashes, place, thorough=asked.thorough):
                found[one.point].append(one)
    for name, kind in NIGHTS.items():
        if asked.vendor not in (None, name):
            continue
        with world(with_vicidial=kind.vendor == "vicidial") as place, Crashes().armed() as crashes:
            for one in sweep(kind(place, crashes), thorough=asked.thorough):
                nights += 1
                found[one.point].append(one)
    print(f"{'write point':32} {'killed before':>13} {'after':>6}  where, and how it ended")
    for write in writes():
        before, after = (found[f"{when} {write}"] for when in ("before", "after"))
        print(f"{write!s:32} {len(before):13} {len(after):6}  {_told([*before, *after], write)}")
    left = [] if asked.vendor else missing(Counter({point: len(some) for point, some in found.items()}))
    print(f"\n{len(writes())} write points, {nights} nights killed, {len(left)} points nobody kills: {left}")
    return int(bool(left))


def _told(struck: list[Struck], write: Write) -> str:
    if not struck:
        return "no flow calls it" if unused(write) else "NOWHERE"
    ends: dict[str, set[str]] = defaultdict(set)
    for one in struck:
        ends[one.ended].add(one.where)
    return "; ".join(f"{end} ({', '.join(sorted(where))})" for end, where in sorted(ends.items()))


if __name__ == "__main__":
    sys.exit(main())
