"""An erasure in a real Airflow: the task parks, a second person answers through its API, no trace of the customer."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from include.erasure import requests
from include.erasure.keys import ErasureKey
from include.erasure.person import Person
from include.staging import RunFolder
from tests.flows.conftest import HOME, phone
from tests.flows.people import until_asked
from tests.flows.test_erasure_flow import WHOM, key, platform, staged_text  # noqa: F401

TASKS = "/api/v2/dags/erase_customer/dagRuns/{run}/taskInstances"


def answer_as(app: Any, name: str, option: str) -> list[int]:
    """Wait until the run asks, and answer through the public API; the first entry is the answer's status."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    token = app.state.auth_manager.generate_jwt(SimpleAuthManagerUser(username=name, role="user"))
    http = TestClient(app, headers={"Authorization": f"Bearer {token}"})
    paths: list[str] = []

    def asked() -> bool:
        runs = http.get("/api/v2/dags/erase_customer/dagRuns", params={"order_by": "-id", "limit": 1}).json()
        paths[:] = [TASKS.format(run=run["dag_run_id"]) for run in runs.get("dag_runs", ())]
        return bool(paths) and http.get(f"{paths[0]}/approve").json().get("state") == "awaiting_input"

    until_asked(asked)
    body = {"chosen_options": [option], "params_input": {"why": "letter of 20 November"}}
    return [http.patch(f"{paths[0]}/approve/-1/hitlDetails", json=body).status_code]


@pytest.mark.usefixtures("airflow_db", "platform")
def test_a_second_person_approves_in_required_actions(installation, snapshot, ledger, key: ErasureKey):  # noqa: F811
    from airflow.api_fastapi.app import create_app
    from airflow.dag_processing.dagbag import BundleDagBag

    snapshot(5)
    person = Person.of(f"+1{phone(WHOM)}", None)
    request = requests.store(key, person, "ana").id
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    bag = BundleDagBag(
        dag_folder=str(folder / "erase_customer.py"), bundle_path=folder, bundle_name="dags-folder"
    )
    dag = bag.dags["erase_customer"]
    for task in dag.tasks:
        task.retries, task.retry_delay = 0, timedelta(0)
    app, said = create_app(), []
    person_who_answers = threading.Thread(target=lambda: said.extend(answer_as(app, "ben", "Approve")))
    person_who_answers.start()
    run = dag.test(logical_date=None, run_conf={"request": request})
    person_who_answers.join()
    assert said == [200]
    assert {ti.task_id: str(ti.state) for ti in run.get_task_instances()} == dict.fromkeys(
        ("preview", "approve", "erase"), "success"
    )
    [told] = ledger.records("erased", request)
    assert (told["requested_by"], told["approved_by"]) == ("ana", "ben")
    assert not person.in_text(staged_text())
    assert RunFolder(f"erasures/{request}").get(requests.SEALED) is None
    with closing(sqlite3.connect(f"file:{HOME / 'airflow.db'}?mode=ro", uri=True)) as opened:
        everything = "\n".join(opened.iterdump())
        [(conf,)] = opened.execute("SELECT conf FROM dag_run WHERE run_id = ?", (run.run_id,)).fetchall()
    assert json.loads(conf) == {"request": request}
    assert not re.search(r"201[^0-9]{0,3}200[^0-9]?\d{4}", everything)
