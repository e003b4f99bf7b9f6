"""A hundred thousand leads archived over several nights by a real Airflow: `make soak`.

The sandbox's clock opens the office in the middle of the work, again and again. Prints what it measured; exits
non-zero unless every lead moved exactly once, no call was accepted inside office hours, and no worker was held while
the run waited.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import httpx
import psutil

from include.stack import console, processes
from include.stack.console import Console
from include.stack.processes import Stack
from tests.soak.stacks import run_soak

LEADS, ARCHIVED = 180_000, 100_000
NIGHTS_END = (15_000, 40_000, 70_000)
"""The office opens when so many leads are archived."""

FLOW = {
    "kind": "archive_vicidial_leads",
    "name": "soak",
    "zone": "Africa/Johannesburg",
    "select": {"database": "vicidial_db", "rules": [{"name": "old", "older_than_days": 60}]},
    "guards": {"max_share_percent": 90},
    "limit": ARCHIVED,
    "released": True,
    "recheck_minutes": 0.05,
}
DAG = "archive_vicidial_leads__soak"


class Dialer:
    """The sandbox's side of it."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)

    def clock(self, now: str) -> None:
        self._http.post("/_sandbox/clock", json={"now": now}).raise_for_status()

    def state(self, *, rows: bool = False) -> dict[str, Any]:
        return dict(self._http.get("/_sandbox/state/vicidial", params={"rows": str(rows).lower()}).json())

    @property
    def archived(self) -> int:
        return int(self.state()["counts"]["archive"])


def soak(running: Stack, screen: Console) -> list[str]:
    """Run it, print the figures, return what is wrong."""
    dialer, wrong = Dialer(running.sandbox_url), []
    with running.airflow as airflow:
        console.begin(running, screen, airflow)
        console.wait_for_dags(running, airflow, {DAG})
        airflow.unpause(DAG)
        dialer.clock("2026-11-21T20:00:00+02:00")
        began = time.monotonic()
        run_id = airflow.trigger(DAG, conf={"action": "apply", "reason": "soak", "window": "ask the server"})
        nights, peak, waited, held, sending = list(NIGHTS_END), 0, 0.0, 0, 0.0
        first: float | None = None
        while (run := airflow.run(DAG, run_id))["state"] not in ("success", "failed"):
            running.require_running()
            for pid in running.task_processes():
                try:
                    peak = max(peak, psutil.Process(pid).memory_info().rss)
                except psutil.Error:
                    continue
            archived = dialer.archived
            first = first or (time.monotonic() if archived else None)
            if nights and archived >= nights[0]:
                nights.pop(0)
                dialer.clock("2026-11-23T10:00:00+02:00")
                waiting_since = time.monotonic()
                while state_of(airflow, run_id) != "deferred" or running.task_processes():
                    time.sleep(0.1)
                stood = dialer.archived
                for _ in range(20):  # two seconds of it, between two looks of the run
                    held += bool(running.task_processes()) and state_of(airflow, run_id) == "deferred"
                    time.sleep(0.1)
                if dialer.archived != stood:
                    wrong.append(f"{dialer.archived - stood} leads were archived inside office hours")
                screen.say(f"the office opened at {stood:,} leads; the run waits without a worker")
                dialer.clock("2026-11-23T20:00:00+02:00")
                waited += time.monotonic() - waiting_since
            time.sleep(0.2)
        sending = time.monotonic() - (first or began) - waited
        summary = airflow.xcom(DAG, run_id, "reconcile", "summary")
        took = {ti["task_id"]: ti["duration"] for ti in airflow.task_instances(DAG, run_id)}
    told = dialer.state(rows=True)
    listed, archive = set(told["ids"]["list"]), told["ids"]["archive"]
    if run["state"] != "success" or summary["delivered"] != ARCHIVED:
        wrong.append(f"the run ended as {run['state']}: {summary}")
    if len(archive) != ARCHIVED or len(set(archive)) != ARCHIVED or listed & set(archive):
        wrong.append(
            f"{len(archive):,} rows in the archive, {len(listed & set(archive)):,} of them on the list too"
        )
    if len(listed) != LEADS - ARCHIVED:
        wrong.append(f"{LEADS - ARCHIVED - len(listed):,} leads are lost")
    if told["inside_office_hours"]["accepted"]:
        wrong.append("the server accepted calls inside its office hours")
    if held:
        wrong.append("a worker was held while the run waited")
    screen.show(
        f"\n{ARCHIVED:,} leads in {sum(told['calls'].values())} requests, {len(NIGHTS_END) + 1} nights\n"
        f"select and plan    {took['select']:.1f} s + {took['plan']:.1f} s ({LEADS:,} leads on the list)\n"
        f"archiving          {sending:.0f} s, {ARCHIVED / sending:,.0f} leads a second, waits aside\n"
        f"reconcile, report  {took['reconcile']:.1f} s + {took['report']:.1f} s\n"
        f"largest task       {peak / 2**20:.0f} MB\n"
        f"refused inside office hours: {told['inside_office_hours']['refused']}, accepted: 0"
    )
    return wrong


def state_of(airflow: Any, run_id: str) -> str | None:
    """State of the task `archive`."""
    return next(ti["state"] for ti in airflow.task_instances(DAG, run_id) if ti["task_id"] == "archive")


if __name__ == "__main__":
    processes.VICIDIAL_LEADS = LEADS
    sys.exit(run_soak(soak, {"soak": FLOW}))
