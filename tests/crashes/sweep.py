"""Every write point of a vendor's nights, killed before and after.

They are played once to see which points they pass, and once more for each of these, killed there. What no night passes
is written at the desk (`tests.crashes.desk`), or by what no part of the project calls (a hook's method for DAGs of your
own).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.crashes.night import Night, Schedule
from tests.crashes.points import Struck, Write, points, writes

ROOT = Path(__file__).parents[2]


def sweep(night: Night, *, thorough: bool = False) -> Iterator[Struck]:
    """Kill a vendor's nights at each point that they pass, and judge each.

    :param thorough: at each of its passages, in each kind of flow and under each scenario; else at the first passage,
        and where an earlier kind and scenario has shown it only once.
    """
    seen: set[str] = set()
    for kind in sorted(night.flows):
        for name, faults in night.scenarios.items():
            night.play(Schedule(kind, (), tuple(faults)))
            for point, times in sorted(night.of_first.items()):
                if point in seen and not thorough:
                    continue
                seen.add(point)
                for nth in range(1, (times if thorough else 1) + 1):
                    yield _killed(night, kind, name, faults, point, nth)


def _killed(night: Night, kind: str, name: str, faults: Any, point: str, nth: int) -> Struck:
    where = ", ".join(filter(None, (night.vendor, kind, name)))
    before = night.crashes.struck[point]
    night.play(Schedule(kind, (f"{point} #{nth}",), tuple(faults)))
    assert night.crashes.struck[point] == before + 1, f"{point} was not struck in {where}"
    first = night.first
    if not faults and not point.endswith("Ledger.receive"):
        doubt = night.in_doubt(kind, point)
        assert bool(first.get("uncertain")) == doubt, f"{point} in {where}: {first}"
        assert doubt or not first["problems"], f"{point} in {where}: {first}"
    counts = ", ".join(
        f"{first[state]} {state}"
        for state in ("delivered", "rejected", "held", "uncertain")
        if first.get(state)
    )
    return Struck(point, where, counts or "red before it sent anything")


# What is left


def unused(write: Write) -> bool:
    """Whether no part of the project calls a hook's method: it is there for DAGs of your own."""
    return write.owner.__name__.endswith("Hook") and write.name not in _names_called()


@cache
def _names_called() -> frozenset[str]:
    """Names of all attributes that the project's code speaks of, but for the hooks'."""
    hooks = ROOT / "plugins" / "listkeeper" / "hooks"
    files = (file for folder in ("plugins", "include", "dags") for file in (ROOT / folder).rglob("*.py"))
    nodes = (
        node
        for file in files
        if hooks not in file.parents
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    )
    return frozenset(node.attr for node in nodes if isinstance(node, ast.Attribute))


def missing(struck: Counter[str]) -> list[str]:
    """The points that nothing has killed."""
    left = {point for point in points() if not struck[point]}
    excused = {str(write) for write in writes() if unused(write)}
    return sorted(point for point in left if point.partition(" ")[2] not in excused)
