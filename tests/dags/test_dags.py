"""The DAG files as Airflow reads them: whole, quick, and each flow file on its own."""

from __future__ import annotations

import ast
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from include.settings import PROJECT_ROOT
from include.stack.airflow_settings import read_settings

DAGS = PROJECT_ROOT / "dags"
FLOWS = PROJECT_ROOT / "include" / "flows"
FILES = sorted(DAGS.glob("*.py"))


def pools() -> set[str]:
    """The pools that an installation has: Airflow's own, and those of airflow_settings.yaml."""
    return {"default_pool"} | {
        pool.pool_name for pool in read_settings(PROJECT_ROOT / "airflow_settings.yaml").pools
    }


def parse(monkeypatch=None, flows: Path | None = None):
    from airflow.dag_processing.dagbag import BundleDagBag

    if flows is not None:
        monkeypatch.setenv("LISTKEEPER_FLOWS", str(flows))
    return BundleDagBag(
        dag_folder=str(DAGS), bundle_path=DAGS, bundle_name="dags-folder", known_pools=pools()
    )


OF_NO_FLOW = {"erase_customer", "keep_house", "resend_rejects", "restore_list"}
"""DAGs that are there once, whatever flow files there are."""


@pytest.fixture(scope="module")
def bag():
    return parse()


def test_every_file_becomes_dags(bag):
    assert bag.import_errors == {}
    assert not bag.dag_warnings  # a pool that nobody declares
    flows = {yaml.safe_load(file.read_text())["name"] for file in FLOWS.glob("*.yaml")}
    assert {dag_id.partition("__")[2] for dag_id in bag.dags} >= flows
    found = {Path(dag.fileloc).name for dag in bag.dags.values()}
    needed = {"pull_platform_leads.py", "load_purecallerid_lists.py"}
    assert found >= needed


def test_every_dag_explains_itself_and_shares_the_defaults(bag):
    from listkeeper.flow import VendorRetryPolicy

    for dag in bag.dags.values():
        assert dag.doc_md and len(dag.doc_md) > 300, dag.dag_id
        assert {"listkeeper"} < set(dag.tags)
        assert dag.description
        assert dag.max_active_runs <= 2 and not dag.catchup
        assert dag.dag_id.count("__") == 1 or dag.dag_id in OF_NO_FLOW
        for task in dag.tasks:
            assert task.owner == "listkeeper"
            assert task.retries == 4 and isinstance(task.retry_policy, VendorRetryPolicy), task
            assert task.pool in pools()


def test_every_dag_can_be_stored(bag):
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in bag.dags.values():
        stored = json.dumps(DagSerialization.to_dict(dag))
        assert DagSerialization.from_dict(json.loads(stored)).dag_id == dag.dag_id


def test_a_load_waits_in_the_vendors_pool(bag):
    for dag in bag.dags.values():
        if dag.dag_id.startswith("load_"):
            assert dag.task_dict["load"].pool == dag.dag_id.removeprefix("load_").partition("__")[0]
            assert dag.max_active_runs == 1
            order = ["find_snapshot", "clean", "plan", "approve", "load", "reconcile", "report"]
            assert [task.task_id for task in dag.topological_sort()] == order
            assert dag.task_dict["reconcile"].trigger_rule == "all_done"


def test_a_load_follows_the_pull_of_its_source(bag):
    """By the very asset that the pull emits."""
    emitted = {
        outlet.name: dag.dag_id for dag in bag.dags.values() for task in dag.tasks for outlet in task.outlets
    }
    for dag in bag.dags.values():
        if dag.dag_id.startswith("load_"):
            flow = dag.task_dict["plan"].flow
            assert emitted[dag.timetable.asset_condition.name] == f"pull_platform_leads__{flow.source}"


def test_the_form_refuses_impossible_values(bag):
    from airflow.exceptions import ParamValidationError

    dag = bag.dags["load_purecallerid__five9_nightly"]
    good = [("night", "2026-11-20"), ("night", None), ("action", "plan"), ("reason", "asked by sales")]
    bad = [
        ("night", "tonight"),
        ("night", "2026-13-01"),
        ("action", "send"),
        ("action", None),
        ("reason", "x"),
    ]
    for name, value in good:
        dag.params.get_param(name).resolve(value)
    for name, value in bad:
        with pytest.raises(ParamValidationError):
            dag.params.get_param(name).resolve(value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_airflow_finds_each_file_by_what_it_does(file):
    """Safe mode passes over a file without both words; here they stand in code, not by luck in a comment."""
    from airflow.utils.file import might_contain_dag

    assert might_contain_dag(str(file), safe_mode=True)
    tree = ast.parse(file.read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert any(module.partition(".")[0] == "airflow" for module in imported if module)
    assert any(isinstance(node, ast.Name | ast.alias) and "DAG" in ast.dump(node) for node in ast.walk(tree))


CHILD = """
import importlib.util, json, sys, time
import airflow.sdk  # as in the dag-processor, where it is loaded before any file
started = time.process_time()
spec = importlib.util.spec_from_file_location("a_dag_file", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
heavy = ("pandas", "polars", "phonenumbers", "openpyxl", "sqlalchemy.orm", "paramiko", "fastapi", "pyarrow")
loaded = [name for name in heavy if name in sys.modules]
print(json.dumps([time.process_time() - started, loaded, sorted(vars(module))]))
"""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_is_read_quickly_and_loads_nothing_heavy(file):
    """In a fresh process, because this one has loaded everything already."""
    before = airflows_own_modules()
    seconds, heavy, names = json.loads(run_child(CHILD, str(file)))
    assert [name for name in heavy if name not in before] == []
    assert seconds < 1.0  # of the processor, whatever else it does
    assert file.stem in OF_NO_FLOW or any("__" in name and not name.startswith("_") for name in names)


@functools.cache
def airflows_own_modules() -> list[str]:
    """What Airflow has loaded before any DAG file is read."""
    return list(
        json.loads(run_child("import json, sys, airflow.sdk\nprint(json.dumps(sorted(sys.modules)))"))
    )


def run_child(code: str, *words: str) -> str:
    path = os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "plugins")])
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        cwd=PROJECT_ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture
def flows(tmp_path, monkeypatch):
    folder = tmp_path / "flows"
    shutil.copytree(FLOWS, folder)
    return folder


def break_file(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def test_a_broken_file_gives_a_dag_that_shows_the_error_and_breaks_no_other(bag, flows, monkeypatch):
    break_file(flows, "five9_nightly.yaml", "mode: REPLACE", "mode: MERGE")
    broken = parse(monkeypatch, flows)
    assert broken.import_errors == {}
    assert set(broken.dags) == set(bag.dags)
    dag = broken.dags["load_purecallerid__five9_nightly"]
    assert "five9_nightly.yaml cannot be used" in dag.doc_md and "mode: must be" in dag.doc_md
    assert "broken flow file" in dag.tags
    assert [task.task_id for task in dag.tasks] == ["mend_the_flow_file"]
    for dag_id, other in broken.dags.items():
        if dag_id != dag.dag_id:
            assert other.tags == bag.dags[dag_id].tags
            assert [task.task_id for task in other.tasks] == [task.task_id for task in bag.dags[dag_id].tasks]


def test_a_broken_dag_fails_with_the_error(flows, monkeypatch):
    from airflow.sdk.exceptions import AirflowFailException

    break_file(flows, "five9_nightly.yaml", "dialer: five9", "dialer: ringcx")
    dag = parse(monkeypatch, flows).dags["load_purecallerid__five9_nightly"]
    with pytest.raises(AirflowFailException, match="RingCX lists can only be appended to"):
        dag.task_dict["mend_the_flow_file"].python_callable()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("extra.yaml", "name: ["),
        ("extra.yml", "when: 2026-13-45"),
        ("extra.yaml", "kind: load_five9\nname: x\n"),
        ("extra.yaml", "\x00\x01"),
        ("extra.yaml", ""),
        ("extra.yaml", "kind: load_purecallerid\nname: five9_nightly\n"),
        ("an earlier one.yaml", "kind: load_purecallerid\nname: five9_nightly\n"),
        ("extra.yaml", "kind: pull_platform_leads\nname: x\nschedule: '99 2 * * *'\n"),
        ("extra.yaml", "kind: pull_platform_leads\nname: x\ntags: [" + "x" * 200 + "]\n"),
        ("extra.yaml", "kind: pull_platform_leads\nname: x\nzone: Nowhere/Atall\n"),
    ],
)
def test_whatever_stands_in_a_file_the_others_stay(bag, flows, monkeypatch, name, text):
    (flows / name).write_text(text)
    with_it = parse(monkeypatch, flows)
    assert with_it.import_errors == {}
    assert len(with_it.dags) == len(bag.dags) + 1
    for dag_id, dag in bag.dags.items():
        assert with_it.dags[dag_id].tags == dag.tags
        assert len(with_it.dags[dag_id].tasks) == len(dag.tasks)
    [extra] = set(with_it.dags) - set(bag.dags)
    assert "broken flow file" in with_it.dags[extra].tags


@pytest.mark.parametrize("days", ["forever", "for ever"])
def test_a_slip_in_the_days_stops_house_keeping_instead_of_taking_the_defaults(flows, monkeypatch, days):
    (flows / "house.yaml").write_text(
        f"kind: keep_house\ndays: {{leads: 14, calls: {days}}}\nschedule: '5 6 * * *'\n"
    )
    found = parse(monkeypatch, flows)
    assert found.import_errors == {}
    dag = found.dags["keep_house"]
    if days == "forever":
        assert dag.task_dict["clean_up"].house.days.calls == "forever"
        assert dag.timetable.expression == "5 6 * * *" and not dag.params["only_plan"]
    else:
        assert [task.task_id for task in dag.tasks] == ["mend_the_flow_file"]
        assert "days.calls" in dag.doc_md
