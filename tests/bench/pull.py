"""Measure the pull: its memory against ten times the leads, its time against the pages' own, its files against CSV.

`python tests/bench/pull.py [--rows N] [--rounds N] [--json]`; ends with 1 when a target is missed. Every run is the
pull task's own code in a fresh process, against the sandbox in another; the sides take turns, and the figures are
ratios of medians. Memory is measured at N leads and at a tenth, straight from the sandbox. For time, a replay of the
sandbox's answers stands between, because making a page takes the sandbox longer than fetching and keeping one.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from lib.measuring import ROOT, Figure, Runs, child, median, peak_mb, run_bench, serving

PAGE = 1000
TIMED_PAGES, TIMED_PAGE = 200, 250  # 250 of the sandbox's leads are 134 kB of JSON
DELAY_MS = 30


def pull(shards: int) -> dict[str, float]:
    """Run the pull task on last night's leads; the connection and the staging come by the environment."""
    from airflow.sdk import BaseHook
    from listkeeper.operators.platform import PullLeadsOperator

    from include.flow_files import PlatformSource

    source = PlatformSource(
        kind="pull_platform_leads",
        name="bench",
        zone="America/New_York",
        filters={"listId": 100},
        shards=shards,
    )
    run = SimpleNamespace(run_id="bench", run_type=SimpleNamespace(value="manual"), partition_key=None)
    operator = PullLeadsOperator(task_id="pull", source=source)
    BaseHook.get_connection("platform_default")  # Airflow's own machinery belongs to the base
    base = peak_mb()
    start = time.perf_counter()
    rows = operator.execute({"dag_run": run})["rows"]
    return {"seconds": time.perf_counter() - start, "rows": rows, "base_mb": base}


def against_csv(staging: str) -> dict[str, float]:
    """Write a snapshot's leads as one CSV and compare the sizes."""
    import polars as pl

    parts = sorted(Path(staging).glob("snapshots/*/*/*/part-*.parquet"))
    csv = Path(staging) / "leads.csv"
    pl.scan_parquet(parts).sink_csv(csv)
    return {"ratio": sum(part.stat().st_size for part in parts) / csv.stat().st_size}


def sandbox(rows: int, page: int = PAGE) -> list[str]:
    return ["-m", "include.sandbox", "--port", "0", "--synthetic", str(rows), "--page-size", str(page)]


def measure(rows: int, rounds: int) -> list[Figure]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        runs: Runs = {"many": [], "few": [], "one": [], "four": []}

        def run(side: str, url: str, shards: int, expected: int) -> Path:
            staging = Path(folder) / side
            shutil.rmtree(staging, ignore_errors=True)
            connection = {
                "conn_type": "platform",
                "host": url,
                "password": "sandbox-platform-token",
                "extra": {"prefix": "/platform-api"},
            }
            environment = {
                "AIRFLOW_HOME": f"{folder}/airflow",
                "AIRFLOW_CONN_PLATFORM_DEFAULT": json.dumps(connection),
                "LISTKEEPER_STAGING": str(staging),
                "NO_PROXY": "127.0.0.1",
            }
            figures = child(__file__, "pull", environment, shards=shards)
            if figures["rows"] != expected:
                raise SystemExit(f"{expected} leads were to be pulled, {figures['rows']:.0f} came")
            runs[side].append(figures)
            return staging

        with serving(*sandbox(rows)) as many, serving(*sandbox(rows // 10)) as few:
            for _ in range(rounds):
                staging = run("many", many, 4, rows)
                run("few", few, 4, rows // 10)
            size = child(__file__, "against_csv", staging=str(staging))["ratio"]
        timed_rows = TIMED_PAGES * TIMED_PAGE
        with (
            serving(*sandbox(timed_rows, TIMED_PAGE)) as source,
            serving(str(ROOT / "tests/bench/lib/replay.py"), source, str(DELAY_MS)) as replay,
        ):
            for side, shards in (("one", 1), ("four", 4)):  # so that the replay knows every page
                run(side, replay, shards, timed_rows)
                runs[side].clear()
            for _ in range(rounds):
                run("one", replay, 1, timed_rows)
                run("four", replay, 4, timed_rows)
    one, four = median(runs, "one", "seconds"), median(runs, "four", "seconds")
    many_mb, few_mb = median(runs, "many", "peak_mb"), median(runs, "few", "peak_mb")
    floor = TIMED_PAGES * DELAY_MS / 1000
    return [
        Figure(f"memory: {rows:,} leads / {rows // 10:,}", many_mb / few_mb, at_most=1.25),
        Figure(f"time: one cursor / {TIMED_PAGES} pages x {DELAY_MS} ms", one / floor, at_most=1.25),
        Figure("time: four shards, times faster than one", one / four, at_least=3),
        Figure("size: snapshot / CSV", size, at_most=0.3),
        Figure(f"memory: {rows:,} leads, MB", many_mb),
        Figure("memory: before the pull, MB", median(runs, "many", "base_mb")),
        Figure(f"time: {rows:,} leads, s", median(runs, "many", "seconds")),
    ]


if __name__ == "__main__":
    sides = {"pull": pull, "against_csv": against_csv}
    sys.exit(run_bench("Pull from the Platform API", __doc__, sides, measure, rows=1_000_000))
