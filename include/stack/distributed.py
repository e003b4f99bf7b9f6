"""Runs tonight's flows once on a fleet: `make distributed`.

The same night as `make demo`, with the same table and exit code, on PostgreSQL, Redis and two Celery workers that
share no disk (`include.stack.fleet`). At the end it tells which worker each step ran on, and that no row was handed
on by a disk.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from include.stack import demo
from include.stack.console import Console
from include.stack.demo import Flow
from include.stack.fleet import STAGING, WORKERS, Fleet
from include.stack.services import ServiceError, require_programs


def where_steps_ran(flows: Sequence[Flow]) -> str:
    """Lay out which worker each step of each flow ran on; several in order, where it waited or was tried again."""
    lines = []
    for flow in flows:
        steps = (f"{task}: {', '.join(machines) or '-'}" for task, machines in flow.machines.items())
        lines.append(f"{flow.name}\n  " + "\n  ".join(steps))
    return "\n".join(lines)


def tell(fleet: Fleet, flows: list[Flow], console: Console) -> bool:
    """Say where every step ran and what lies on the workers' disks; return whether no row was shared by a disk."""
    console.show(f"\nWhere each step ran\n{where_steps_ran(flows)}\n")
    used = {machine for flow in flows for machines in flow.machines.values() for machine in machines}
    left = fleet.left_on_disks()
    if left:
        console.show("NOT without a shared file. On disks lie:\n  " + "\n  ".join(map(str, left)))
    else:
        console.show(
            f"No file was shared: {fleet.objects()} objects in {STAGING}, none on the disks of {' and '.join(WORKERS)}."
        )
    if idle := [worker for worker in WORKERS if worker not in used]:
        console.show(f"NOT by both workers: {', '.join(idle)} ran no step.")
    return not left and not idle


def main(argv: Sequence[str] | None = None) -> int:
    """Run the night; 0 when all is well, 1 when not, 2 for a wrong argument or a missing program."""
    arguments = demo.asked("make distributed", argv)
    timeout = arguments.pop("timeout")
    try:
        require_programs()
    except ServiceError as error:
        Console.show(str(error))
        return 2
    return demo.play(Fleet(**arguments, fresh=True), timeout, tell)


if __name__ == "__main__":
    sys.exit(main())
