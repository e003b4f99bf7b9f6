"""Every write point, killed before and after: in the nights of the vendors, and at the desk of a person.

A vendor's nights are played once to see which points they pass, and once more for each of these, killed there. What no
night passes is what people do by a command (`DESK`), what other tests kill (`ELSEWHERE`), or what no part of the
project calls (a hook's method for DAGs of your own).
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, select

from include.ledger import BatchPlan, Ledger, LedgerError
from include.ledger.records import Counts
from include.ledger.tables import metadata
from tests.crashes.night import Night, Schedule
from tests.crashes.points import Crashes, SimulatedCrash, Write, points, writes

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "Ledger.intend_removal": "tests/include/house/test_house_crashes.py",
    "Ledger.end_removal": "tests/include/house/test_house_crashes.py",
    "Ledger.tell_removed": "tests/include/house/test_house_crashes.py",
    "RunFolder.remove": "tests/include/house/test_house_crashes.py",
    "PlatformHook.delete_customer": "tests/flows/test_erasure_flow.py",
    # What an operator does with one call and no ledger: a kill after it is a lost answer.
    "PlatformHook.create_lead": "tests/plugins/operators/test_platform_leads.py",
    "PlatformHook.update_lead": "tests/plugins/operators/test_platform_leads.py",
    "PlatformHook.delete_lead": "tests/plugins/operators/test_platform_leads.py",
    "PlatformHook.set_presence": "tests/plugins/operators/test_platform_leads.py",
    "IsalesHook.add_file_server": "tests/plugins/hooks/test_isales.py",
}
"""Points that are killed by other tests, which know better what must be true then."""


@dataclass(frozen=True)
class Struck:
    """One crash, and how the first night ended after it."""

    point: str
    where: str
    ended: str


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


# What a person does by a command


def _load(ledger: Ledger) -> str:
    """A load in doubt."""
    load = ledger.open_load(
        flow="f", vendor="purecallerid", dag_id="d", run_id="r", target="t", night=None,
        source_time=datetime(2026, 11, 20, tzinfo=UTC), snapshot="s", plan_hash="h", mode="apply",
        requested_by=None, reason=None, rows_in=10,
    )  # fmt: skip
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "rows")])
    ledger.claim_target(load.id, timedelta(hours=1))
    ledger.intend(load.id, 1)
    ledger.leave_uncertain(ledger.batches(load.id)[0], "nobody told")
    ledger.release_target(load.id)
    ledger.finish_load(load.id, state="uncertain", counts=Counts(10, uncertain=10), verdict="uncertain")
    return load.id


DESK: dict[str, Callable[[Ledger, str], object]] = {
    "Ledger.resolve": lambda ledger, load: ledger.resolve(
        load, delivered=True, who="ana", why="counted them", applied=None
    ),
    "Ledger.pause_target": lambda ledger, _: ledger.pause_target("t", True, "ana", "the list is wrong"),
    "Ledger.pause_vendor": lambda ledger, _: ledger.pause_vendor("purecallerid", True, "ana", "it is slow"),
    "Ledger.erase": lambda ledger, _: ledger.erase(lambda text: "nobody told" in text),
    "Ledger.forget": lambda ledger, load: ledger.forget(
        _removal(f"callbacks/{load}"), ("callbacks", load), lambda _: True
    ),
    "Ledger.forget_old_removals": lambda ledger, _: ledger.forget_old_removals(datetime.now(UTC)),
}
"""One command each, on a ledger with one uncertain load."""


def _removal(place: str) -> Any:
    from include.ledger import Removal

    return Removal(place, "callbacks", 30, 1, 10, datetime(2026, 10, 1, tzinfo=UTC), None, None)


def at_the_desk(crashes: Crashes, place: Path) -> Iterator[Struck]:
    """Kill each command before and after its write: it has done nothing, or all; giving it again ends right."""
    moment = datetime(2026, 11, 21, 18, tzinfo=UTC)
    for number, (name, command) in enumerate(DESK.items()):
        for when in ("before", "after"):
            file = place / f"desk-{number}-{when}.db"
            with Ledger(f"sqlite:///{file}", now=lambda: moment) as ledger:
                ledger.migrate()
                crashes.begin(())
                load = _load(ledger)
                start = _tables(file)
                crashes.begin([f"{when} {name}"])
                try:
                    command(ledger, load)
                    raise AssertionError(f"{name} was not struck")
                except SimulatedCrash:
                    crashes.begin(())
                left = _tables(file)
                if when == "before":
                    assert left == start, f"killed before {name}, it has done something"
                try:
                    command(ledger, load)
                except LedgerError:
                    assert when == "after", f"{name} does not go through after a crash before it"
                assert when == "before" or _tables(file) == left, f"{name} is not the same twice"
                assert ledger.verify() == []
            yield Struck(f"{when} {name}", "by command", "nothing, then done" if when == "before" else "done")


def _tables(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What the ledger holds, but for the evidence: a command that is given twice stands there twice."""
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        found = {
            name: [tuple(row) for row in connection.execute(select(table))]
            for name, table in metadata.tables.items()
            if not name.startswith("evidence")
        }
    engine.dispose()
    return found


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


def elsewhere(write: Write) -> str | None:
    """The test that kills this point, if it is there and speaks of it."""
    path = ELSEWHERE.get(str(write))
    if path is None:
        return None
    text = (ROOT / path).read_text(encoding="utf-8")
    return path if re.search(rf"\b{write.name}\b", text) else None


def missing(struck: Counter[str]) -> list[str]:
    """The points that nothing has killed."""
    left = {point for point in points() if not struck[point]}
    excused = {str(write) for write in writes() if elsewhere(write) or unused(write)}
    return sorted(point for point in left if point.partition(" ")[2] not in excused)
