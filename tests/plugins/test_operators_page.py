"""The examples of docs/operators.md are read by Airflow and run against the sandbox; the tables name what exists."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from pathlib import Path

import pytest

from include.sandbox.server import SandboxServer

PAGE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def sandbox():
    with SandboxServer() as server:
        yield server


@pytest.fixture
def connections(sandbox, monkeypatch):
    info = sandbox.info()
    for name, extra, key in (
        ("platform", {"prefix": info["platform"]["prefix"]}, info["platform"]["token"]),
        ("purecallerid", {}, info["purecallerid"]["key"]),
    ):
        connection = {"conn_type": name, "host": sandbox.base_url, "password": key, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}_DEFAULT", json.dumps(connection))


@pytest.fixture
def dags(tmp_path, airflow_db):
    """The examples as Airflow's own reader of DAG files sees them."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    folder = tmp_path / "dags"
    folder.mkdir()
    for number, example in enumerate(EXAMPLES):
        (folder / f"example_{number}.py").write_text(example)
    bag = BundleDagBag(dag_folder=str(folder), bundle_path=folder, bundle_name="dags-folder")
    assert bag.import_errors == {}
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags


def test_the_hook_counts_a_list(dags, connections, sandbox):
    run = dags["count_leads"].test()
    assert run.state == "success"
    count = sandbox.state("platform")["counts"]["lists"]["101"]
    assert run.get_task_instance("count").xcom_pull(task_ids="count") == count > 100, "more than a page"


def test_the_operators_pull_and_plan(dags, connections, sandbox):
    run = dags["weekend_list"].test()
    assert {ti.task_id: ti.state for ti in run.get_task_instances()} == {
        "pull": "success",
        "find_snapshot": "success",
        "clean": "success",
        "plan": "success",
        "approve": "skipped",
        "load": "skipped",
        "reconcile": "success",
        "report": "success",
    }
    assert sandbox.state("purecallerid")["loads"] == []


def test_the_tables_name_what_exists():
    names = re.findall(r"^\| `([\w.]+)`", PAGE, re.MULTILINE)
    operators = [
        importlib.import_module(f"listkeeper.{folder}.{path.stem}")
        for folder in ("operators", "sensors")
        for path in sorted((Path(__file__).parents[2] / "plugins" / "listkeeper" / folder).glob("[!_]*.py"))
    ]
    assert len(names) > 20
    for name in names:
        if "." in name:
            pkgutil.resolve_name(name)
        else:
            assert any(hasattr(module, name) for module in operators), name
