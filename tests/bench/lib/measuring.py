"""What the benchmarks share: a fresh child process per run, medians, and a table that says which target is missed.

The parent imports nothing heavy: a child's peak memory begins with what its parent held when it was started.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
Runs = dict[str, list[dict[str, float]]]


@dataclass(frozen=True)
class Figure:
    """One measured figure: `value` must be `at_most` or `at_least` this; without either it is only told."""

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the target is met."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def target(self) -> str:
        """The target in words."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"


def peak_mb() -> float:
    """The most memory this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(
    script: str, side: str, /, environment: Mapping[str, str] | None = None, **options: Any
) -> dict[str, float]:
    """Run one side of a benchmark in a process of its own; return what it printed and `peak_mb`."""
    command = [sys.executable, script, "--child", json.dumps({"side": side, **options})]
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}", **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def answer_as_child(asked: str, sides: Mapping[str, Callable[..., dict[str, float]]]) -> None:
    """Be the child: run the side that was asked for and print its figures."""
    options = json.loads(asked)
    figures = sides[options.pop("side")](**options)
    print(json.dumps({**figures, "peak_mb": peak_mb()}))


@contextmanager
def serving(*command: str) -> Iterator[str]:
    """A server in a process of its own; yields the address it prints."""
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield next(word for word in line.split() if word.startswith("http")).removesuffix("/_sandbox")
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def median(runs: Runs, side: str, what: str) -> float:
    """The median of one figure over the runs of a side."""
    return statistics.median(run[what] for run in runs[side])


def show(title: str, figures: list[Figure], *, as_json: bool) -> int:
    """Print the figures as a table or as JSON; return the exit code: 1 when a target is missed."""
    good = all(figure.ok for figure in figures)
    if as_json:
        print(
            json.dumps({"title": title, "ok": good, "figures": [asdict(f) | {"ok": f.ok} for f in figures]})
        )
        return 0 if good else 1
    width = max(len(figure.name) for figure in figures)
    print(f"\n{title}\n")
    for figure in figures:
        verdict = "" if not figure.target else "ok" if figure.ok else "MISSED"
        print(f"{figure.name:<{width}}  {figure.value:>10,.3g}  {figure.target:<14}  {verdict}".rstrip())
    return 0 if good else 1


def run_bench(
    title: str,
    manual: str | None,
    sides: Mapping[str, Callable[..., dict[str, float]]],
    measure: Callable[..., list[Figure]],
    **sizes: float,
) -> int:
    """Be the child that is asked for, or measure and print; returns the exit code.

    :param sides: what a child can be asked to do.
    :param measure: called with `rounds` and the sizes, as the command line gives them.
    :param sizes: each size of the benchmark, an option of its name, and its default.
    """
    parser = argparse.ArgumentParser(description=(manual or "").splitlines()[0])
    for name, default in {**sizes, "rounds": 3}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = vars(parser.parse_args())
    asked, as_json = options.pop("child"), options.pop("json")
    if asked:
        answer_as_child(asked, sides)
        return 0
    return show(title, measure(**options), as_json=as_json)
