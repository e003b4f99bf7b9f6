"""The page on which an erasure is asked for: who may, what is sealed, and what the run is told."""

from __future__ import annotations

import json
import re

import pytest
from fastapi.testclient import TestClient

from include.erasure import requests
from include.erasure.keys import ErasureKey
from include.staging import RunFolder

SECRET = "an erasure key of the tests alone"
PHONE, EMAIL = "+12012000003", "nobody@example.com"
PAGE = "/listkeeper/erase"
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture(scope="module")
def airflow_app(airflow_db):
    from airflow.api_fastapi.app import create_app

    return create_app()


@pytest.fixture
def browser(airflow_app, monkeypatch, staging_folder):
    """A browser at the API server, as this user; the runs that are started are noted on it."""
    from airflow.api.common import trigger_dag
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    connection = {"conn_type": "generic", "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_ERASURE", json.dumps(connection))
    started: list[dict] = []
    real = trigger_dag.trigger_dag
    monkeypatch.setattr(
        trigger_dag, "trigger_dag", lambda dag_id, **about: started.append({"dag": dag_id, **about})
    )

    def opened(role="user"):
        client = TestClient(airflow_app, headers=HTML, follow_redirects=False)
        user = SimpleAuthManagerUser(username="ana", role=role)
        client.cookies.set("_token", airflow_app.state.auth_manager.generate_jwt(user))
        client.started, client.real = started, real
        return client

    return opened


def test_a_request_is_sealed_and_its_run_knows_an_id_only(browser, staging_folder, caplog, capfd):
    client = browser()
    assert 'name="phone"' in client.get(PAGE).text
    answer = client.post(PAGE, data={"phone": "+1 (201) 200-0003", "email": "Nobody@Example.com"})
    assert answer.status_code == 200, answer.text
    [run] = client.started
    request = run["conf"]["request"]
    assert run["conf"] == {"request": request} and run["dag"] == "erase_customer"
    assert run["triggering_user_name"] == "ana" and run["run_id"] == f"erase__{request}"
    assert request in answer.text and "ends in …03" in answer.text
    read = requests.read(ErasureKey(SECRET), request)
    assert (read.person.phone, read.person.email, read.requested_by) == (PHONE, EMAIL, "ana")
    everywhere = [answer.text, str(run), caplog.text, *capfd.readouterr()]
    everywhere += [
        path.read_bytes().decode("latin-1") for path in staging_folder.rglob("*") if path.is_file()
    ]
    for text in everywhere:
        assert not re.search(r"201\D{0,3}200\D?0003|nobody@", text, re.IGNORECASE)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "Give a phone number or an e-mail address"),
        ({"phone": "  ", "email": ""}, "Give a phone number or an e-mail address"),
        ({"phone": "2012000003"}, "with its country code"),
        ({"phone": "+1 nobody"}, "with its country code"),
        ({"email": "nobody"}, "The e-mail address is none"),
    ],
)
def test_what_names_nobody_is_refused_and_not_repeated(browser, form, words):
    client = browser()
    answer = client.post(PAGE, data=form)
    assert answer.status_code == 400 and words in answer.text
    assert not any(value.strip() and f">{value}<" in answer.text for value in form.values())
    assert client.started == [] and RunFolder("erasures").names() == []


def test_only_who_may_start_the_dag_may_ask(browser, airflow_app):
    viewer = browser("viewer")
    assert viewer.get(PAGE).status_code == viewer.post(PAGE, data={"phone": PHONE}).status_code == 403
    nobody = TestClient(airflow_app, headers=HTML, follow_redirects=False)
    assert nobody.post(PAGE, data={"phone": PHONE}).status_code == 303  # to the log-in
    assert viewer.started == []


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_a_form_of_another_site_is_refused(browser, headers):
    client = browser()
    assert client.post(PAGE, data={"phone": PHONE}, headers=headers).status_code == 403
    assert client.started == []


def test_nothing_is_kept_of_a_request_whose_run_cannot_start(browser, monkeypatch):
    from airflow.api.common import trigger_dag
    from airflow.sdk.exceptions import AirflowException

    def fails(*_args, **_about):
        raise AirflowException("no such DAG")

    client = browser()
    monkeypatch.setattr(trigger_dag, "trigger_dag", fails)
    assert client.post(PAGE, data={"phone": PHONE}).status_code == 503
    [folder] = RunFolder("erasures").names()
    assert RunFolder(f"erasures/{folder}").names() == []


def test_without_a_key_nothing_is_taken(browser, monkeypatch):
    client = browser()
    monkeypatch.setenv(
        "AIRFLOW_CONN_LISTKEEPER_ERASURE", json.dumps({"conn_type": "generic", "password": "short"})
    )
    answer = client.post(PAGE, data={"phone": PHONE})
    assert answer.status_code == 400 and "too short" in answer.text
    assert client.started == []


def test_a_form_that_is_too_large_is_refused(browser):
    assert browser().post(PAGE, data={"phone": "1" * 5000}).status_code == 413


def test_the_run_in_airflow_keeps_the_id_only(browser, monkeypatch):
    """The real trigger: what Airflow's own database holds afterwards."""
    import sqlite3
    from contextlib import closing
    from pathlib import Path

    from airflow.api.common import trigger_dag
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    from tests.plugins.conftest import HOME

    client = browser()
    monkeypatch.setattr(trigger_dag, "trigger_dag", client.real)
    folder = Path(__file__).parents[3] / "dags"
    bag = BundleDagBag(
        dag_folder=str(folder / "erase_customer.py"), bundle_path=folder, bundle_name="dags-folder"
    )
    with create_session() as session:
        session.merge(DagBundleModel(name="dags-folder"))
    sync_bag_to_db(bag, "dags-folder", None)
    answer = client.post(PAGE, data={"phone": PHONE, "email": EMAIL})
    assert answer.status_code == 200, answer.text
    [run_id] = re.findall(r"erase__[0-9a-f]{32}", answer.text)
    with closing(sqlite3.connect(f"file:{HOME / 'airflow.db'}?mode=ro", uri=True)) as opened:
        [(conf, who)] = opened.execute(
            "SELECT conf, triggering_user_name FROM dag_run WHERE run_id = ?", (run_id,)
        ).fetchall()
        everything = "\n".join(opened.iterdump())
    assert json.loads(conf) == {"request": run_id.removeprefix("erase__")} and who == "ana"
    assert not re.search(r"201\D{0,3}200\D?0003|nobody@", everything)
