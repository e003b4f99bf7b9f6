"""The page on which fixed rejects are uploaded: who may, what is taken, and that the run is told nothing."""

from __future__ import annotations

import io

import polars as pl
import pytest
import yaml
from fastapi.testclient import TestClient
from openpyxl import load_workbook

from include.leads.schema import LEAD_COLUMNS, OUTCOME_COLUMNS
from include.ledger import Counts
from include.staging import Manifest, RunFolder, run_path, slug
from include.uploads import read_upload

FLOW = {
    "kind": "load_purecallerid",
    "name": "five9_daily",
    "source": "callers",
    "dialer": "five9",
    "campaign": "64be",
    "list": "ATTEMPT",
    "mode": "REPLACE",
    "released": True,
    "columns": [{"to": "number1", "from": "phone"}],
}
DAG, RUN = "load_purecallerid__five9_daily", "partition__2026-11-20+02:00"
PAGE = f"/listkeeper/runs/{DAG}/{slug(RUN)}"
HTML = {"Accept": "text/html,application/xhtml+xml"}
GOOD = {"file": ("mine.csv", b"row_key,phone1\n1,2012000001\n", "text/csv")}
WHY = {"reason": "the numbers came back"}


@pytest.fixture(scope="module")
def airflow_app(airflow_db):
    from airflow.api_fastapi.app import create_app

    return create_app()


@pytest.fixture
def rejected(open_load, ledger, state, monkeypatch):
    """A load that has ended, one of whose leads was rejected."""
    (state / "flows").mkdir()
    (state / "flows" / "five9_daily.yaml").write_text(yaml.safe_dump(FLOW))
    monkeypatch.setenv("LISTKEEPER_FLOWS", str(state / "flows"))
    load = open_load()
    ledger.finish_load(
        load.id, state="done", counts=Counts(rows_in=10, delivered=9, rejected=1), verdict="delivered"
    )
    lead = dict.fromkeys(LEAD_COLUMNS) | {"row_key": "1", "phone1": "12", "data": "{}"}
    outcome = dict.fromkeys(OUTCOME_COLUMNS) | {
        "row_key": "1",
        "state": "rejected",
        "reason": "phone_too_short",
    }
    for path, name, row, schema in (
        (load.snapshot, "part-0.parquet", lead, LEAD_COLUMNS),
        (run_path(DAG, RUN, "outcomes"), "outcomes-0.parquet", outcome, OUTCOME_COLUMNS),
    ):
        with RunFolder(path).writing() as scratch:
            pl.DataFrame([row], schema=schema).write_parquet(scratch / name)
            RunFolder(path).commit(scratch, Manifest(kind="x", rows=1))
    RunFolder(run_path(DAG, RUN, "report")).put("summary.json", b'{"flow": "five9_daily", "rejected": 1}')
    return load


@pytest.fixture
def browser(airflow_app, rejected, monkeypatch):
    """A browser at the API server; the runs that are started are noted on it."""
    from airflow.api.common import trigger_dag
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    started: list[dict] = []
    monkeypatch.setattr(
        trigger_dag, "trigger_dag", lambda dag_id, **about: started.append({"dag": dag_id} | about)
    )

    def opened(role="user"):
        client = TestClient(airflow_app, headers=HTML, follow_redirects=False)
        user = SimpleAuthManagerUser(username="ana", role=role)
        client.cookies.set("_token", airflow_app.state.auth_manager.generate_jwt(user))
        client.started = started
        return client

    return opened


def uploads() -> list[str]:
    return RunFolder("runs/resend_rejects").names()


def test_a_file_is_kept_for_the_run_that_reads_it_and_the_run_is_told_nothing(browser, rejected):
    client = browser()
    assert "Fix the rejects" in client.get(PAGE).text
    answer = client.post(f"{PAGE}/fixed", data=WHY, files=GOOD)
    assert answer.status_code == 200 and "1 rows to look at" in answer.text
    [run] = client.started
    assert (run["dag"], run["conf"], run["triggering_user_name"]) == ("resend_rejects", {}, "ana")
    upload = read_upload("resend_rejects", run["run_id"])
    assert (upload.load, upload.requested_by, upload.reason) == (rejected.id, "ana", WHY["reason"])
    assert (upload.name, upload.content) == ("fixed.csv", GOOD["file"][1])
    assert run["run_id"] in answer.text and "2012000001" not in answer.text


def test_a_browser_says_where_our_forms_come_from(browser):
    """Under `no-referrer` Chromium sends them with the origin null, which is refused as another site's."""
    client = browser()
    assert client.get(PAGE).headers["referrer-policy"] == "same-origin"
    ours = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert client.post(f"{PAGE}/fixed", data=WHY, files=GOOD, headers=ours).status_code == 200


def test_the_rejects_to_fix_are_a_workbook(browser):
    answer = browser().get(f"{PAGE}/fix.xlsx")
    assert answer.status_code == 200 and "fix.xlsx" in answer.headers["content-disposition"]
    rows = list(load_workbook(io.BytesIO(answer.content)).active.iter_rows(values_only=True))
    assert rows[0][:2] == ("row_key", "phone1") and rows[1][:2] == ("1", "12")


@pytest.mark.parametrize(
    ("data", "files", "words"),
    [
        (WHY, {"file": ("mine.pdf", b"x")}, "must be a workbook"),
        (WHY, {"file": ("mine.csv", b"row_key,phone\n1,2\n")}, "Column 2 cannot be fixed"),
        ({"reason": "x"}, GOOD, "Give the reason"),
        (WHY, {"other": ("mine.csv", b"x")}, "Choose a file"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(browser, data, files, words):
    client = browser()
    answer = client.post(f"{PAGE}/fixed", data=data, files=files)
    assert answer.status_code == 400 and words in answer.text
    assert client.started == [] and uploads() == []


def test_only_who_may_start_the_dags_gets_and_gives_a_file(browser, airflow_app):
    viewer = browser("viewer")
    assert viewer.get(f"{PAGE}/fix.xlsx").status_code == 403
    assert viewer.post(f"{PAGE}/fixed", data=WHY, files=GOOD).status_code == 403
    nobody = TestClient(airflow_app, headers=HTML, follow_redirects=False)
    assert nobody.get(f"{PAGE}/fix.xlsx").status_code == 303
    foreign = browser().post(
        f"{PAGE}/fixed", data=WHY, files=GOOD, headers={"Origin": "https://evil.example"}
    )
    assert foreign.status_code == 403 and viewer.started == [] and uploads() == []


def test_a_load_that_cannot_be_fixed_offers_nothing(browser, ledger, rejected):
    ledger.finish_load(rejected.id, state="planned", counts=Counts(rows_in=10, held=10), verdict="planned")
    client = browser()
    assert "Fix the rejects" not in client.get(PAGE).text
    assert client.get(f"{PAGE}/fix.xlsx").status_code == 409
    answer = client.post(f"{PAGE}/fixed", data=WHY, files=GOOD)
    assert answer.status_code == 409 and "only planned" in answer.text and uploads() == []
    assert client.get(f"/listkeeper/runs/{DAG}/other/fix.xlsx").status_code == 404


def test_a_form_that_is_too_large_is_refused(browser, monkeypatch):
    from listkeeper.web import resend

    monkeypatch.setattr(resend, "FORM_BYTES", 50)
    assert browser().post(f"{PAGE}/fixed", data=WHY, files=GOOD).status_code == 413


def test_nothing_is_kept_of_a_file_whose_run_cannot_start(browser, monkeypatch):
    from airflow.api.common import trigger_dag
    from airflow.sdk.exceptions import AirflowException

    def fails(*_args, **_about):
        raise AirflowException("no such DAG")

    client = browser()
    monkeypatch.setattr(trigger_dag, "trigger_dag", fails)
    assert client.post(f"{PAGE}/fixed", data=WHY, files=GOOD).status_code == 503
    assert not any(name for run in uploads() for name in RunFolder(f"runs/resend_rejects/{run}").names())
