"""Fifty thousand leads pushed to the Platform API by a real Airflow, two thousand of them bad: `make soak`.

On the way answers are lost, imports break off, the vendor asks to wait. Prints what it measured; exits non-zero unless
every good lead stands on the list exactly once, every bad one is rejected under the vendor's own words, and no worker
was held while the run waited.
"""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psutil

from include.stack import console
from include.stack.airflow_client import Airflow
from include.stack.console import Console
from include.stack.processes import Stack
from tests.soak.stacks import run_soak

LEADS, BAD = 50_000, 2_000
ZONE = "America/New_York"
SOURCE = {
    "kind": "pull_platform_leads",
    "name": "soak",
    "zone": ZONE,
    "filters": {"listId": 100},
}
PUSH = {
    "kind": "push_platform_leads",
    "name": "soak",
    "source": "soak",
    "campaign": 3,
    "list": "Soak",
    "create_list": True,
    "released": True,
    "min_valid_share": 0.9,  # the bad ones are known beforehand
    "lookup_minutes": 0.2,
    "columns": [
        {"to": "customerKey", "from": "customer_key"},
        {"to": "phone1", "from": "phone"},
        {"to": "timezone", "from": "timezone"},
    ],
}
PULL_DAG, PUSH_DAG = "pull_platform_leads__soak", "push_platform_leads__soak"
FAULTS = [
    *({"fault": "drop_after", "op": "create_bulk", "nth": nth} for nth in (5, 40)),
    *({"fault": "drop_before", "op": "create_bulk", "nth": nth} for nth in (17, 71)),
    {"fault": "import_error", "nth": 30, "times": 2},
    {"fault": "status", "op": "create_bulk", "nth": 60, "retry_after": 1},
    {"fault": "status", "op": "list_bulk_errors", "nth": 20, "status": 503, "times": 2},
]
SECONDS = 600.0


def is_bad(number: int) -> bool:
    """Bad leads are spread evenly: each import has twenty of its five hundred."""
    return number % (LEADS // BAD) == 7


def write_leads(file: Path) -> None:
    """Write the list of a user: real area code and shape, one number a lead; bad ones have an unknown zone."""
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["id", "phone", "timezone"])
        for n in range(LEADS):
            zone = "Mars/Olympus" if is_bad(n) else ZONE
            rows.writerow([f"S-{n:06d}", f"201{200 + n // 10_000}{n % 10_000:04d}", zone])


class Tenant:
    """The sandbox's side of it."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)

    def prepare(self) -> None:
        """Set the pace and the faults."""
        switches = {"platform": {"page_size": 1_000, "bulk_step_seconds": 4}}
        self._http.post("/_sandbox/switches", json=switches).raise_for_status()
        rules = [{"vendor": "platform", **fault} for fault in FAULTS]
        self._http.post("/_sandbox/faults", json=rules).raise_for_status()

    @property
    def night(self) -> str:
        """The night in which its leads came in."""
        return str(self._http.get("/_sandbox").json()["data"]["night"])

    def state(self, *, rows: bool = False) -> dict[str, Any]:
        """What it holds."""
        return dict(self._http.get("/_sandbox/state/platform", params={"rows": str(rows).lower()}).json())


def soak(running: Stack, screen: Console) -> list[str]:
    """Run it, print the figures, return what is wrong."""
    tenant, wrong = Tenant(running.sandbox_url), []
    with running.airflow as airflow:
        console.begin(running, screen, airflow)
        console.wait_for_dags(running, airflow, {PULL_DAG, PUSH_DAG})
        tenant.prepare()
        for dag in (PUSH_DAG, PULL_DAG):
            airflow.unpause(dag)
        airflow.trigger(PULL_DAG, partition_key=tenant.night)
        run, peak, held = follow(running, airflow)
        if (runs := len(airflow.runs(PUSH_DAG))) != 1:
            wrong.append(f"one pull was followed by {runs} pushes")
        run_id = run["dag_run_id"]
        summary = airflow.xcom(PUSH_DAG, run_id, "reconcile", "summary") or {}
        took = {ti["task_id"]: ti["duration"] or 0 for ti in airflow.task_instances(PUSH_DAG, run_id)}
    told = tenant.state(rows=True)
    on_list = Counter(lead["customerKey"] for lead in told["written"])
    good = {f"S-{n:06d}" for n in range(LEADS) if not is_bad(n)}
    if run["state"] != "success" or (summary.get("delivered"), summary.get("rejected")) != (LEADS - BAD, BAD):
        wrong.append(f"the run ended as {run['state']}: {summary}")
    if doubled := [key for key, times in on_list.items() if times > 1]:
        wrong.append(f"{len(doubled):,} leads stand on the list twice")
    if set(on_list) != good:
        wrong.append(
            f"{len(good - set(on_list)):,} leads are lost, {len(set(on_list) - good):,} should not be there"
        )
    outcomes = read_outcomes(running.state / "staging", summary)
    reasons = Counter(outcomes.filter(pl.col("state") == "rejected")["reason"])
    if outcomes.height != LEADS or reasons != {"vendor_row_error": BAD}:
        wrong.append(f"{outcomes.height:,} outcomes, rejected for {dict(reasons)}")
    if held:
        wrong.append("a worker was held while the run waited")
    calls = told["calls"]
    screen.show(
        f"\n{LEADS:,} leads in {calls['create_bulk']} imports, {len(FAULTS)} kinds of trouble on the way\n"
        f"clean and plan     {took['clean']:.1f} s + {took['plan']:.1f} s\n"
        f"push               {took['load']:.0f} s from first to last, waits included\n"
        f"looked up          {calls['list_leads']:,} leads and pages, {calls['list_bulk_errors']} pages of errors\n"
        f"reconcile, report  {took['reconcile']:.1f} s + {took['report']:.1f} s\n"
        f"largest task       {peak / 2**20:.0f} MB"
    )
    return wrong


def follow(running: Stack, airflow: Airflow) -> tuple[dict[str, Any], int, int]:
    """Wait for the push that follows the pull; return its run, the largest task, and moments a wait held a worker."""
    peak = held = 0
    deadline = time.monotonic() + SECONDS
    while True:
        running.require_running()
        for pid in running.task_processes():
            try:
                peak = max(peak, psutil.Process(pid).memory_info().rss)
            except psutil.Error:
                continue
        runs = airflow.runs(PUSH_DAG)
        if runs and runs[-1]["state"] in ("success", "failed"):
            return runs[-1], peak, held
        if time.monotonic() > deadline:
            raise TimeoutError(f"the push did not end within {SECONDS:.0f} seconds")
        if runs:
            states = {
                ti["task_id"]: ti["state"] for ti in airflow.task_instances(PUSH_DAG, runs[-1]["dag_run_id"])
            }
            if states.get("load") == "deferred":
                time.sleep(1)  # the process that deferred it is gone by then
                again = {
                    ti["task_id"]: ti["state"]
                    for ti in airflow.task_instances(PUSH_DAG, runs[-1]["dag_run_id"])
                }
                held += again.get("load") == "deferred" and bool(running.task_processes())
        time.sleep(0.2)


def read_outcomes(staging: Path, summary: dict[str, Any]) -> pl.DataFrame:
    """Read how every row of the run ended."""
    if not summary.get("report"):
        return pl.DataFrame(schema={"state": pl.String, "reason": pl.String})
    folder = (staging / summary["report"]).parent / "outcomes"
    return pl.read_parquet(folder / "*.parquet")


if __name__ == "__main__":
    sys.exit(run_soak(soak, {"source": SOURCE, "push": PUSH}, write_leads))
