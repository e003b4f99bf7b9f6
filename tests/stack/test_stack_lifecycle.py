"""One real stack: it starts, loses components and gets them back, and leaves no process behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from include.settings import PROJECT_ROOT
from include.stack import sessions
from include.stack.airflow_settings import at_sandbox, read_settings
from include.stack.processes import COMPONENTS, Stack, StackError
from tests.waiting import LIMIT

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]  # seconds: of a stack on a busy machine

DAGS = """
from airflow.sdk import Asset, CronPartitionTimetable, PartitionedAssetTimetable, dag, task

LEADS = Asset("leads", uri="x-listkeeper://leads")


@dag(schedule=CronPartitionTimetable("0 2 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"))
def pull():
    @task(outlets=[LEADS])
    def reconcile(partition_key=None, ti=None):
        ti.xcom_push(key="summary", value={"night": partition_key})

    reconcile()


@dag(schedule=PartitionedAssetTimetable(assets=LEADS))
def load():
    @task
    def reconcile(partition_key=None):
        raise ValueError(f"no delivery for {partition_key}")

    reconcile()


pull()
load()
"""

# A stack of its own in another process, which can be killed like any other.
OWNER = """
import json, sys, time
from pathlib import Path
from include.stack.console import end_on_signals
from include.stack.processes import Stack

end_on_signals()
state, airflow_port, sandbox_port, environment = sys.argv[1:]
with Stack(Path(state), airflow_port=int(airflow_port), sandbox_port=int(sandbox_port),
           environment=json.loads(environment)) as stack:
    print(json.dumps(stack.pids), flush=True)
    time.sleep(1200)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "dags").mkdir()
    (folder / "plugins").mkdir()
    (folder / "dags" / "night.py").write_text(DAGS)
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "plugins"),
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first stack of this module leaves its empty migrated database for the others."""
    return tmp_path_factory.mktemp("cache")


def test_a_stack_starts_survives_its_components_and_ends(
    tmp_path: Path, environment: dict[str, str], cache: Path, ports: Callable[[], tuple[int, int]]
) -> None:
    airflow_port, sandbox_port = ports()
    stack = Stack(tmp_path, airflow_port=airflow_port, sandbox_port=sandbox_port, environment=environment)
    ready: list[str] = []
    with stack:
        stack.wait_healthy(ready=ready.append)
        assert sorted(ready) == sorted(COMPONENTS)
        started = stack.pids
        assert sessions.members(set(started.values())) != []

        # The settings fit the sandbox.
        airflow = stack.airflow
        settings = at_sandbox(read_settings(PROJECT_ROOT / "airflow_settings.yaml"), stack.sandbox_url)
        airflow.load(settings)
        airflow.load(settings)  # again, over what is there
        keys = httpx.get(f"{stack.sandbox_url}/_sandbox", trust_env=False).json()
        passwords = {c.conn_id: c.conn_password for c in settings.connections}
        assert passwords["platform_default"] == keys["platform"]["token"]
        assert passwords["purecallerid_default"] == keys["purecallerid"]["key"]

        # A crash is noticed, and the component comes back.
        stack.kill("triggerer")
        assert sessions.members({started["triggerer"]}) == []
        with pytest.raises(StackError, match=r"triggerer ended with exit code -9"):
            stack.require_running()
        stack.restart("triggerer")
        stack.restart("api-server")
        stack.wait_healthy()
        assert stack.pids["api-server"] != started["api-server"]

        # A run of one partition is followed by itself, and tells its summary and its failure.
        assert {dag["dag_id"] for dag in airflow.dags()} == {"pull", "load"}
        assert airflow.import_errors() == []
        airflow.unpause("pull")
        airflow.unpause("load")
        run_id = airflow.trigger("pull", partition_key="2026-11-20", note="test")
        deadline = time.monotonic() + 240
        while not (runs := airflow.runs("load", partition_key="2026-11-20")) or runs[0]["state"] != "failed":
            assert time.monotonic() < deadline, (
                airflow.runs(),
                stack.log_file("scheduler").read_text()[-3000:],
            )
            time.sleep(0.3)
        assert [run["dag_run_id"] for run in airflow.runs("pull")] == [run_id]
        assert airflow.xcom("pull", run_id, "reconcile", "summary") == {"night": "2026-11-20"}
        assert airflow.xcom("pull", run_id, "reconcile", "nothing") is None
        log = airflow.log("load", runs[0]["dag_run_id"], "reconcile", 1)
        assert "ValueError: no delivery for 2026-11-20" in log
        living = set(stack.pids.values())

    assert sessions.members(living) == []
    shutil.copytree(tmp_path / "cache", cache, dirs_exist_ok=True)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_owner(
    tmp_path: Path,
    environment: dict[str, str],
    cache: Path,
    ports: Callable[[], tuple[int, int]],
    end: signal.Signals,
) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    arguments = [str(tmp_path), *map(str, ports()), json.dumps(environment)]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, *arguments], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        started = set(json.loads(owner.stdout.readline()).values())
    assert len(started) == len(COMPONENTS)
    assert started <= set(sessions.members(started))
    os.kill(owner.pid, end)
    owner.wait(LIMIT)
    deadline = time.monotonic() + LIMIT
    while left := sessions.members(started):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
