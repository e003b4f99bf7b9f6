"""Links on tasks lead to the page of their run, wherever Airflow is mounted."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import quote

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.serialization.serialized_objects import DagSerialization
from listkeeper.links import PlanLink, RejectsLink, ReportLink

from include.staging import slug

TASK = SimpleNamespace(dag_id="load_purecallerid__a", run_id="manual__2026-11-20T02:00:00+00:00/ü")
LINKS = (PlanLink(), RejectsLink(), ReportLink())


@pytest.mark.parametrize(
    ("base", "root"), [("", ""), ("http://h:8080", ""), ("https://h/air/flow/", "/air/flow")]
)
def test_a_link_leads_to_the_page_of_its_run(monkeypatch, base, root):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    page = f"{root}/listkeeper/runs/load_purecallerid__a/{quote(slug(TASK.run_id))}"
    assert [link.get_link(None, ti_key=TASK) for link in LINKS] == [
        f"{page}#plan",
        f"{page}#rejects",
        page,
    ]


def test_airflow_keeps_the_links_of_an_operator():
    class Load(BaseOperator):
        operator_extra_links = LINKS

    with DAG("d", schedule=None) as dag:
        Load(task_id="load")
    task = DagSerialization.to_dict(dag)["dag"]["tasks"][0]["__var"]
    assert task["_operator_extra_links"] == {
        "Plan": "_link_PlanLink",
        "Rejects": "_link_RejectsLink",
        "Report": "_link_ReportLink",
    }


def test_airflow_loads_the_plugin_without_the_web_app():
    import subprocess
    import sys

    code = (
        "import sys; from airflow import plugins_manager as m; m.ensure_plugins_loaded();"
        "assert [p.name for p in m._get_plugins()[0]].count('listkeeper') == 1, m._get_plugins();"
        "assert m.get_import_errors() == {};"
        "slow = {'listkeeper.web.app', 'polars', 'openpyxl', 'include.flow_files'} & set(sys.modules);"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
