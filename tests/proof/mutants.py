"""Do the tests notice mistakes? Break one small thing in the code at a time, and see whether any test goes red.

    python -m tests.proof.mutants [fence] [guards] [reconcile] [hygiene]

Each mutant (`tests.proof.lib.mutation`) is loaded in a process of its own in the place of the real module; no file is
changed. Asked are the fast tests, without Airflow and without a database server, that run the mutant's lines. A mutant
that no test notices has survived. One that changes nothing a user could see is explained in `mutants_explained.yaml`;
any other is a test that is missing. Fails when less than 85 % of a group's mutants are noticed.

Written for this project, because of polars: its threads do not outlive a fork, and other tools fork after they ran it.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import yaml

from tests.proof.lib.mutation import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).with_name("mutants_explained.yaml")
ENOUGH = 0.85
NO_SERVERS = ("postgresql", "mariadb", "openssh")
SLOW_SECONDS = 4.0
"""Of processor time. A slower test is not asked: it looks at speed, or at large data, and small data has a test too."""


LIKELY = 5
"""So many tests are asked first, so that the files of the others need not be read for most mutants."""


@dataclass(frozen=True)
class Group:
    """What is broken (files, or `file::thing`), and which tests are asked."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


LEADS = (
    "calls", "clean", "duplicates", "fields", "owned", "phones", "places", "retention", "rules", "screening", "scrub",
    "suppression", "user_rule", "windows",
)  # fmt: skip
LEDGER_TESTS = tuple(
    f"tests/include/ledger/test_{name}.py"
    for name in (
        "targets",
        "approvals",
        "loads_and_batches",
        "reconcile",
        "resolve",
        "events",
        "interleavings",
    )
)
GROUPS = {
    "fence": Group(
        tuple(f"include/ledger/{name}.py" for name in ("targets", "approvals", "loads", "batches")), LEDGER_TESTS
    ),
    "guards": Group(
        ("include/guards.py", "include/drift.py", "include/approval.py"),
        tuple(
            f"tests/include/test_{name}.py"
            for name in ("guards", "drift", "approval", "plan", "plan_changes", "plan_hash", "flow_files")
        ),
    ),
    "reconcile": Group(
        (
            "include/ledger/reconcile.py", "include/ledger/resolve.py", "include/push/verdict.py",
            *(f"include/vendors/{name}::judge" for name in
              ("isales_tasks.py", "vicidial.py", "purecallerid.py", "ozonetel/callbacks.py")),
            "include/vendors/isales_tasks.py::ImportTask",
        ),
        (
            *LEDGER_TESTS, "tests/include/push", "tests/include/campaign/test_outcome.py", "tests/include/vendors",
        ),
    ),
    "hygiene": Group(
        tuple(f"include/leads/{name}.py" for name in LEADS),
        ("tests/include/leads",),
    ),
}  # fmt: skip


class MutantLoader(SourceFileLoader):
    """Loads a module from a mutant's code instead of its file."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        """The whole module with the fault in it."""
        return self._code


class Replaced(MetaPathFinder):
    """Puts a mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._name, self._mutant = mutant.path.removesuffix(".py").replace("/", "."), mutant

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Answer for the mutant's module only."""
        if fullname != self._name:
            return None
        file = str(ROOT / self._mutant.path)
        return spec_from_file_location(fullname, file, loader=MutantLoader(fullname, file, self._mutant.code))


class Asked:
    """Lets the named tests run, in the order in which they are named, and remembers the one that failed."""

    def __init__(self, names: Iterable[str]) -> None:
        self._order = {name: at for at, name in enumerate(names)}
        self.failed: str | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the asked tests."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self._order), key=lambda item: self._order[item.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember who noticed."""
        if report.failed:
            self.failed = report.nodeid


class Watched:
    """Notes which lines each test runs, and how long it takes."""

    def __init__(self, coverage: Any) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Measure one test, its fixtures included."""
        self._coverage.switch_context(item.nodeid)
        began = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - began

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what needs a server."""
        items[:] = [item for item in items if not any(server in item.nodeid for server in NO_SERVERS)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what is red without any mutant."""
        if report.failed:
            self.failed.append(report.nodeid)


@dataclass(frozen=True)
class Tests:
    """What the tests do while nothing is broken: the seconds of each, and who runs which line of which file."""

    seconds: dict[str, float]
    of_line: dict[str, dict[int, list[str]]]

    def for_mutant(self, mutant: Mutant, noticed: Counter[str]) -> list[str]:
        """Who to ask: those first who have noticed the most so far for the time that they take."""
        lines = self.of_line.get(mutant.path, {})
        names = {name for line in mutant.lines for name in lines.get(line, ())}
        if "" in names:  # it runs when the module is loaded, for everybody
            names = set(self.seconds)
        elif not names:  # in a thread that nobody watches, or never
            names = {name for of_line in lines.values() for name in of_line}
        names = {name for name in names if self.seconds.get(name, SLOW_SECONDS) < SLOW_SECONDS}
        return sorted(names, key=lambda name: (-(noticed[name] + 0.1) / (self.seconds[name] + 0.1), name))


def _quiet_pytest(paths: Iterable[str], plugin: object) -> int:
    """Run pytest in this process, which is a child and ends afterwards."""
    import hypothesis

    hypothesis.settings.register_profile(
        "mutants", derandomize=True, database=None, deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    hypothesis.settings.load_profile("mutants")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    options = [
        "-x",
        "-q",
        "--tb=no",
        "--assert=plain",
        "--timeout=0",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    return int(
        pytest.main([*(options if isinstance(plugin, Asked) else options[1:]), *paths], plugins=[plugin])
    )


def _watch(group: Group, answer: Connection) -> None:
    import coverage

    files = [str(ROOT / spec.partition("::")[0]) for spec in group.modules]
    measured = coverage.Coverage(data_file=None, include=files, config_file=False)
    watched = Watched(measured)
    measured.start()
    _quiet_pytest(group.tests, watched)
    measured.stop()
    data = measured.get_data()
    of_line = {str(Path(file).relative_to(ROOT)): data.contexts_by_lineno(file) for file in files}
    libraries = [name for name in sys.modules if name.partition(".")[0] not in OURS]
    answer.send((watched.failed, Tests(watched.seconds, of_line), libraries))


def _try(mutant: Mutant, names: list[str], seconds: float, answer: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    sys.meta_path.insert(0, Replaced(mutant))
    by = None
    for part in (names[:LIKELY], names[LIKELY:]):
        if part and by is None:
            asked = Asked(part)
            status = _quiet_pytest(dict.fromkeys(name.partition("::")[0] for name in part), asked)
            by = (asked.failed or "loading the module") if status not in (0, 5) else None
    answer.send(by)


OURS = {"include", "listkeeper", "tests", "dags", "conftest", "__main__", "__mp_main__"}


def _prepare(libraries: Iterable[str]) -> None:
    """Import what the tests import of others, so that no child has to; none of it starts a thread."""
    for name in libraries:
        with suppress(ImportError):
            import_module(name)
    gc.collect()
    gc.freeze()  # or each child would copy all of it when it collects its garbage


def _watched(group: Group) -> Tests:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_watch, args=(group, sender))
    child.start()
    sender.close()
    failed, tests, libraries = receiver.recv()
    child.join()
    if failed:
        raise SystemExit(f"These tests are red without any mutant: {', '.join(failed)}")
    _prepare(libraries)
    assert isinstance(tests, Tests)
    return tests


class Trial:
    """A mutant that is being tried, in a process of its own."""

    def __init__(self, mutant: Mutant, names: list[str], seconds: float) -> None:
        context = multiprocessing.get_context("fork")
        self.mutant = mutant
        self.answer, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_try, args=(mutant, names, seconds, sender))
        self._process.start()
        sender.close()
        self._until = time.monotonic() + 600 + 4 * seconds  # it may also wait without using the processor

    def end(self) -> tuple[str, str | None] | None:
        """How it ended (and by which test), None while it runs."""
        if self.answer.poll():
            try:
                by = self.answer.recv()
                end = ("survived", None) if by is None else ("killed", by)
            except EOFError:  # it used up its time, or the interpreter fell over
                self._process.join()
                end = ("timeout" if self._process.exitcode == -signal.SIGXCPU else "killed", None)
        elif time.monotonic() > self._until:
            self._process.kill()
            end = ("timeout", None)
        else:
            return None
        self._process.join()
        self.answer.close()
        return end


def try_all(
    group: Group, workers: int, explained: Collection[str], every: int = 1
) -> dict[str, list[Mutant]]:
    """Try every mutant of a group, tell of those that survive unexplained; return the mutants by how they ended."""
    tests = _watched(group)
    mutants = islice((mutant for spec in group.modules for mutant in mutants_of(ROOT, spec)), 0, None, every)
    noticed: Counter[str] = Counter()
    ends: dict[str, list[Mutant]] = {"killed": [], "timeout": [], "survived": []}
    running: list[Trial] = []

    def end_of(mutant: Mutant, end: str, by: str | None = None) -> None:
        ends[end].append(mutant)
        if by:
            noticed[by] += 1
        if end == "survived" and mutant.id not in explained:
            print(f"survived: {mutant}", flush=True)
        if (done := sum(map(len, ends.values()))) % 100 == 0:
            print(f"  {done} tried, {len(ends['survived'])} survived", file=sys.stderr, flush=True)

    while True:
        while len(running) < workers and (mutant := next(mutants, None)):
            if names := tests.for_mutant(mutant, noticed):
                running.append(Trial(mutant, names, 15 + 5 * sum(tests.seconds[name] for name in names)))
            else:  # nobody runs it
                end_of(mutant, "survived")
        if not running:
            return ends
        wait([trial.answer for trial in running], timeout=1)
        for trial in list(running):
            if end := trial.end():
                running.remove(trial)
                end_of(trial.mutant, *end)


def read_explained() -> dict[str, str]:
    """Why survivors change nothing that a user could see, by their ids."""
    entries = yaml.safe_load(EXPLAINED.read_text(encoding="utf-8"))
    return {mutant: entry["why"] for entry in entries for mutant in entry["mutants"]}


def report(name: str, ends: dict[str, list[Mutant]], explained: Collection[str]) -> bool:
    """Print how a group's mutants ended; tell whether enough were noticed, and the explanations are still of use."""
    survived = {mutant.id for mutant in ends["survived"]}
    known = sum(mutant.id in explained for mutant in ends["survived"])
    for needless in sorted(
        {mutant.id for mutant in (*ends["killed"], *ends["timeout"])} & set(explained) - survived
    ):
        print(f"explained, but a test notices it: {needless}")
    total, caught = sum(map(len, ends.values())), len(ends["killed"]) + len(ends["timeout"])
    print(
        f"{name}: {total} mutants, {len(ends['killed'])} killed, {len(ends['timeout'])} ran out of time, "
        f"{len(ends['survived'])} survived ({known} of them explained): {caught / total:.1%}",
        flush=True,
    )
    return caught >= ENOUGH * total


def main() -> int:
    """Try the groups that are asked for, all by default."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.mutants", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("groups", nargs="*", metavar="group", help=f"{', '.join(GROUPS)}; all by default")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="try only every Nth, for a quick look"
    )
    parser.add_argument(
        "--only", metavar="FILE", help="a file, or FILE::function, instead of those of the group"
    )
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    explained, enough = read_explained(), True
    for name in options.groups or GROUPS:
        group, began = GROUPS[name], time.monotonic()
        if options.only:
            group = replace(group, modules=(options.only,))
        ends = try_all(group, options.workers, explained, options.every)
        enough &= report(name, ends, explained)
        print(f"  in {time.monotonic() - began:.0f} s", flush=True)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
