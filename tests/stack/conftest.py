"""A rig for tests of the whole: a real stack with flow files of its own, the sandbox's controls, the ledger."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from include.ledger import Batch, Ledger
from include.stack import console
from include.stack.processes import SFTP_ABOVE, Stack
from tests.waiting import LIMIT

Json = dict[str, Any]

FASTER = {
    # How soon Airflow takes a component for dead: what takes minutes in production takes seconds here.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "12",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "12",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
}

# Airflow's own way to change every task of an installation (a cluster policy): the next try comes after a second.
POLICY = """
from datetime import timedelta


def task_policy(task):
    task.retry_delay = timedelta(seconds=1)
"""

ENDED = ("success", "failed")


class Rig:
    """A started stack, and what a test asks of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.airflow = stack.airflow
        self.ledger = Ledger(stack.ledger_url)
        self._http = httpx.Client(base_url=f"{stack.sandbox_url}/_sandbox", timeout=LIMIT, trust_env=False)
        self.nights: dict[str, int] = {}  # the sandbox's own count of list 100, by night
        self.last_night = ""

    def begin(self, *dag_ids: str) -> None:
        """Wait until the stack is up and lists these DAGs."""
        console.begin(self.stack, console.Console(), self.airflow)
        console.wait_for_dags(self.stack, self.airflow, set(dag_ids), timeout=300)
        self.ledger.migrate()
        data = self._http.get("").raise_for_status().json()["data"]
        self.nights, self.last_night = data["nights"], data["night"]

    def close(self) -> None:
        self._http.close()
        self.airflow.close()
        self.ledger.close()

    # the sandbox

    def fault(self, vendor: str, fault: str, **rule: Any) -> None:
        self._http.post("/faults", json={"vendor": vendor, "fault": fault, **rule}).raise_for_status()

    def no_faults(self) -> None:
        self._http.delete("/faults").raise_for_status()

    def switch(self, vendor: str, **changes: Any) -> None:
        self._http.post("/switches", json={vendor: changes}).raise_for_status()

    def vendor(self, name: str, *, rows: bool = False) -> Json:
        """What the sandbox itself knows of a vendor."""
        answer: Json = self._http.get(f"/state/{name}", params={"rows": str(rows).lower()}).json()
        return answer

    def pages_asked(self) -> list[str]:
        """Every request for a page of leads, as the sandbox saw it."""
        return [c["uri"] for c in self.vendor("platform")["requests"] if c["op"] == "list_leads"]

    def loads_of(self, dialer_list: str) -> list[Json]:
        """The loads that the sandbox took for one list."""
        return [load for load in self.vendor("purecallerid")["loads"] if load["dialerListId"] == dialer_list]

    def webhooks_of(self, dialer_list: str) -> list[Json]:
        """The webhooks that the sandbox sent about one list, with the answer that each got."""
        state = self.vendor("purecallerid")
        ids = {load["id"] for load in state["loads"] if load["dialerListId"] == dialer_list}
        return [webhook for webhook in state["webhooks"] if webhook["id"] in ids]

    def rows_on(self, dialer_list: str) -> list[Json]:
        """The rows that stand on a list."""
        found: list[Json] = self.vendor("purecallerid", rows=True)["lists"][dialer_list]
        return found

    # runs

    def wait(self, what: str, seen: Callable[[], Any], seconds: float = 240) -> Any:
        """Wait until `seen` returns something true, and return it."""
        deadline = time.monotonic() + seconds
        while not (found := seen()):
            if time.monotonic() > deadline:
                runs = [(r["dag_id"], r["dag_run_id"], r["state"]) for r in self.airflow.runs()]
                raise AssertionError(f"waited {seconds:.0f} s for: {what}. Runs: {runs}")
            time.sleep(0.2)
        return found

    def task(self, dag_id: str, run_id: str, task_id: str) -> Json:
        return next(t for t in self.airflow.task_instances(dag_id, run_id) if t["task_id"] == task_id)

    def until_task(self, dag_id: str, run_id: str, task_id: str, *states: str) -> Json:
        """Wait until a task is in one of these states."""
        self.wait(
            f"{dag_id}.{task_id} to be {' or '.join(states)}",
            lambda: self.task(dag_id, run_id, task_id)["state"] in states,
        )
        return self.task(dag_id, run_id, task_id)

    def until_sending(self, dag_id: str, run_id: str) -> None:
        """Wait until a run's load has written its intent: the call is on its way."""

        def sending() -> bool:
            batch = self.batch(dag_id, run_id)
            return batch is not None and batch.state == "intended"

        self.wait(f"{dag_id} to send", sending)

    def batch(self, dag_id: str, run_id: str) -> Batch | None:
        """The one batch of a run's load, None before there is one."""
        load = self.ledger.load_for_run(dag_id, run_id)
        return next(iter(self.ledger.batches(load.id)), None) if load else None

    def ended(self, dag_id: str, run_id: str, seconds: float = 300) -> tuple[str, Json]:
        """Wait for the end of a run; return its state and the summary it left."""
        self.wait(
            f"{dag_id} to end", lambda: self.airflow.run(dag_id, run_id)["state"] in ENDED, seconds=seconds
        )
        summary = self.airflow.xcom(dag_id, run_id, "reconcile", "summary")
        return self.airflow.run(dag_id, run_id)["state"], summary

    def snapshot(self, dag_id: str, run_id: str) -> tuple[pl.DataFrame, Json]:
        """The leads of a pull's snapshot, and the facts of its manifest."""
        folder = self.stack.state / "staging" / self.airflow.xcom(dag_id, run_id, "pull")["snapshot"]
        facts: Json = httpx.Response(200, content=(folder / "manifest.json").read_bytes()).json()["facts"]
        return pl.read_parquet(sorted(folder.glob("part-*.parquet"))), facts


def free_ports() -> tuple[int, int]:
    """Airflow's and the sandbox's, below those that systems give to outgoing connections: none takes one meanwhile."""
    while True:
        airflow = random.randrange(20_000, 30_000)
        sandbox = airflow + 1
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in (airflow, sandbox, sandbox + SFTP_ABOVE):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return airflow, sandbox


@pytest.fixture(scope="session")
def ports() -> Callable[[], tuple[int, int]]:
    return free_ports


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a stack leaves its empty migrated database for the next one."""
    return tmp_path_factory.mktemp("migrated")


@pytest.fixture(scope="session")
def rigged(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Callable[..., Any]:
    """Start a stack on flow files: `with rigged({"name.yaml": text}) as rig`. `{state}` in a text is its folder."""

    @contextmanager
    def start(flows: dict[str, str], make: type[Stack] = Stack, **arguments: Any) -> Iterator[Rig]:
        state = tmp_path_factory.mktemp("state")
        folder = state / "flows"
        folder.mkdir()
        for name, text in flows.items():
            (folder / name).write_text(text.replace("{state}", str(state)))
        (state / "airflow" / "config").mkdir(parents=True)
        (state / "airflow" / "config" / "airflow_local_settings.py").write_text(POLICY)
        shutil.copytree(migrated, state / "cache", dirs_exist_ok=True)
        airflow_port, sandbox_port = free_ports()
        environment = FASTER | {"LISTKEEPER_FLOWS": str(folder)}
        with make(
            state, airflow_port=airflow_port, sandbox_port=sandbox_port, environment=environment, **arguments
        ) as stack:
            shutil.copytree(state / "cache", migrated, dirs_exist_ok=True)
            rig = Rig(stack)
            try:
                yield rig
            finally:
                rig.close()

    return start
