"""House-keeping's DAG in a real Airflow: it asks who is under way, plans, removes, and says so on its page."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from listkeeper.operators.house import _FileServers

from include.flow_files import IsalesFlow
from include.ledger import Counts, Ledger
from include.staging import Manifest, RunFolder, run_path, slug
from tests.plugins.web.conftest import DAG, RUN, ledger, load, open_load  # noqa: F401
from tests.plugins.web.test_pages import airflow_app, as_user, viewer  # noqa: F401

REPORT = run_path(DAG, RUN, "report")
PAGE = f"/listkeeper/runs/{DAG}/{slug(RUN)}"


def leave(path: str, state: Path, *, days: int) -> str:
    """A committed folder of some days ago."""
    folder = RunFolder(path)
    with folder.writing() as scratch:
        (scratch / "rejects.csv").write_text("row_key\r\n1\r\n")
        folder.commit(scratch, Manifest("test", 1))
    for file in (state / "staging" / path).iterdir():
        changed = file.stat().st_mtime - timedelta(days=days).total_seconds()
        os.utime(file, (changed, changed))
    return path


@pytest.mark.usefixtures("airflow_db")
def test_the_house_is_kept_and_what_is_gone_is_told(state, ledger: Ledger, load, viewer):  # noqa: F811
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    ledger.release_target(load.id)
    ledger.finish_load(load.id, state="failed", counts=Counts(10, held=10), verdict="failed")
    gone = [leave(run_path(DAG, RUN, "plan"), state, days=100), leave(REPORT, state, days=100)]
    kept = leave(run_path(DAG, "another", "report"), state, days=80)
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    bag = BundleDagBag(
        dag_folder=str(folder / "keep_house.py"), bundle_path=folder, bundle_name="dags-folder"
    )
    assert not bag.import_errors
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    dag = bag.dags["keep_house"]

    run = dag.test(logical_date=None, run_conf={"only_plan": True})
    assert {ti.task_id: str(ti.state) for ti in run.get_task_instances()} == {
        "plan": "success",
        "clean_up": "skipped",
    }
    assert all(RunFolder(path).exists() for path in gone)
    assert "this would go" in viewer.get(f"/listkeeper/runs/keep_house/{slug(run.run_id)}").text

    run = dag.test(logical_date=None, run_conf={"only_plan": False})
    assert {str(ti.state) for ti in run.get_task_instances()} == {"success"}
    assert not any(RunFolder(path).exists() for path in gone) and RunFolder(kept).exists()
    [evidence] = [body for body in records(ledger) if body["run_id"] == run.run_id]
    assert {name: count["items"] for name, count in evidence["removed"].items()} == {
        "rejects": 1,
        "working": 1,
    }
    page = viewer.get(f"/listkeeper/runs/keep_house/{slug(run.run_id)}").text
    assert "2 things are gone" in page and "<td>rejects</td>" in page

    told = viewer.get(PAGE)
    assert told.status_code == 200
    assert "Report, outcomes and rejects of this run were removed on" in told.text
    assert "keeps <code>rejects</code> 90 days" in told.text or "`rejects` 90 days" in told.text
    assert "did not come as far as a plan" not in told.text
    missing = viewer.get(f"{PAGE}/files/rejects.csv")
    assert missing.status_code == 404 and "rejects.csv among them, were removed on" in missing.text


def records(ledger: Ledger) -> list[dict]:  # noqa: F811
    from sqlalchemy import select

    from include.ledger.removals import KIND
    from include.ledger.tables import evidence

    with ledger._store.read() as connection:
        return [
            body for (body,) in connection.execute(select(evidence.c.body).where(evidence.c.kind == KIND))
        ]


def test_uploads_are_removed_from_the_flows_own_server(small_sandbox, monkeypatch, tmp_path):
    from listkeeper.hooks.sftp import SftpUploadHook

    small_sandbox.reset()
    sftp = small_sandbox.info()["isales"]["sftp"]
    connection = {name: sftp[name] for name in ("host", "port", "password")} | {
        "conn_type": "sftp",
        "login": sftp["user"],
        "extra": {"host_key": sftp["host_key"]},
    }
    monkeypatch.setenv("AIRFLOW_CONN_ISALES_SFTP", json.dumps(connection))
    flow = IsalesFlow.model_validate(
        {
            "kind": "import_isales",
            "name": "calls",
            "source": "callers",
            "vdn_id": 1,
            "campaign": "c1",
            "server": "s1",
            "sftp_root": sftp["folder"],
            "columns": [{"to": "called", "from": "phone"}],
        }
    )
    local = tmp_path / "book.xlsx"
    local.write_bytes(b"rows")
    hook = SftpUploadHook("isales_sftp")
    for name in ("ours.xlsx", ".ours.xlsx.part", "theirs.xlsx"):
        hook.upload(local, flow.remote_path(name))
    assert _FileServers().remove(flow, "ours.xlsx")
    assert not _FileServers().remove(flow, "ours.xlsx")
    assert not hook.remove(flow.remote_path(".ours.xlsx.part")) and hook.remove(
        flow.remote_path("theirs.xlsx")
    )
