"""docs/isales.md: a flow file that is good, a DAG that runs, every code and reason of the code."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from include.flow_files import IsalesFlow, read_flow_file
from include.leads.reasons import REASONS
from include.vendors.isales import CODES
from include.vendors.isales_rows import COLUMNS, LONGEST
from tests.connections import connect_isales

PAGE = (Path(__file__).parents[2] / "docs" / "isales.md").read_text(encoding="utf-8")
(FLOW,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(DAG_FILE,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_flow_file_is_good(tmp_path):
    (tmp_path / "renewals.yaml").write_text(FLOW)
    flow = read_flow_file(tmp_path / "renewals.yaml")
    assert isinstance(flow, IsalesFlow) and flow.target == "isales:1:1803096731904991234"


def test_every_code_is_on_the_page():
    told = dict(re.findall(r"^\| `(\d+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert told == {code: f"{means} | {advice}" for code, (means, advice) in CODES.items()}


def test_columns_lengths_and_reasons():
    (table,) = re.findall(r"^\| column \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(COLUMNS)
    for name in ("caller", "callData", "customField", "sessionId"):
        (row,) = re.findall(rf"^\| `{name}` .*", table, re.MULTILINE)
        assert f"{LONGEST[name]:,} characters" in row
    sentence = PAGE[PAGE.index("A row that breaks a rule") :].partition("nothing is cut")[0]
    assert {REASONS[code].state for code in re.findall(r"`(\w+)`", sentence)} == {"rejected"}


def test_the_dag_runs(tmp_path, airflow_db, small_sandbox, monkeypatch):
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    small_sandbox.reset()
    small_sandbox.switch("isales", step_seconds=0.01)
    connect_isales(monkeypatch, small_sandbox)
    rows = tmp_path / "survey.parquet"
    pl.DataFrame({"called": [f'[{{"calledNo":"1201200{n:04d}"}}]' for n in range(9)]}).write_parquet(rows)
    (tmp_path / "dags").mkdir()
    code = DAG_FILE.replace("/data/survey.parquet", str(rows))
    code = code.replace(
        'task_id="wait",', 'task_id="wait", poke_interval=0.05,'
    )  # half a minute as it stands
    (tmp_path / "dags" / "survey.py").write_text(code)
    bag = BundleDagBag(dag_folder=str(tmp_path / "dags"), bundle_path=tmp_path, bundle_name="dags-folder")
    assert bag.import_errors == {}
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    run = bag.dags["import_survey"].test()
    assert {ti.task_id: ti.state for ti in run.get_task_instances()} == dict.fromkeys(
        ("server", "stage", "ask", "wait"), "success"
    )
    told = run.get_task_instance("wait").xcom_pull(task_ids="wait")
    assert told == {"valid": 9, "repeated": 0, "failed": 0}
