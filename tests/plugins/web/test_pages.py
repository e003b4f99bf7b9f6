"""The pages inside Airflow's API server: who may see them, and what they show of a run that came part of the way."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
import structlog
from fastapi.testclient import TestClient

from include.ledger import Counts
from include.staging import RunFolder, run_path, slug

DAG = "load_purecallerid__five9_daily"
RUN = "partition__2026-11-20+02:00"
PAGE = f"/listkeeper/runs/{DAG}/{slug(RUN)}"
HTML = {"Accept": "text/html,application/xhtml+xml"}

PLAN = {
    "flow": "five9_daily",
    "dag_id": DAG,
    "vendor": "purecallerid",
    "list": "ATTEMPT<script>",
    "mode": "REPLACE",
    "decision": "apply",
    "now": 12,
    "after": 10,
    "to_send": 10,
    "decided": {"rejected": {"phone_empty": 3}},
    "refusals": [],
    "suppression": [],
    "samples": [],
}
SUMMARY = {
    "flow": "five9_daily",
    "rows_in": 13,
    "delivered": 9,
    "rejected": 4,
    "suppressed": 0,
    "held": 0,
    "uncertain": 0,
    "verdict": "delivered",
}


@pytest.fixture(scope="session")
def airflow_app(airflow_db):
    from airflow.api_fastapi.app import create_app

    return create_app()


@pytest.fixture
def as_user(airflow_app):
    """A client of the API server, as a browser of this user would be; None is nobody."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def client(name="eve", role="viewer", **headers):
        opened = TestClient(airflow_app, headers=HTML | headers, follow_redirects=False)
        if name:
            user = SimpleAuthManagerUser(username=name, role=role)
            opened.cookies.set("_token", airflow_app.state.auth_manager.generate_jwt(user))
        return opened

    return client


@pytest.fixture
def viewer(as_user):
    return as_user()


@contextmanager
def unreadable(monkeypatch, app, dag_id):
    """Take one DAG away from everybody."""
    manager = type(app.state.auth_manager)
    allowed = manager.is_authorized_dag

    def is_authorized_dag(self, *, details=None, **rest):
        return not (details and details.id == dag_id) and allowed(self, details=details, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(manager, "is_authorized_dag", is_authorized_dag)
        yield


def leave(step, **files):
    folder = RunFolder(run_path(DAG, RUN, step))
    for name, content in files.items():
        folder.put(
            name.replace("__", "."), content if isinstance(content, bytes) else json.dumps(content).encode()
        )


PATHS = ["/listkeeper/", PAGE, f"{PAGE}/files/plan.json"]


@pytest.mark.parametrize("path", PATHS)
def test_nobody_is_sent_to_airflows_login(as_user, load, path):
    leave("plan", plan__json=PLAN)
    answer = as_user(None).get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/api/v2/auth/login?next={path}"
    login = as_user(None).get(answer.headers["location"])
    assert login.status_code == 307 and "login" in login.headers["location"]
    scripted = as_user(None, Accept="application/json").get(path)
    assert (scripted.status_code, scripted.json()) == (401, {"detail": "Not authenticated"})


@pytest.mark.parametrize("path", PATHS)
def test_a_forged_login_is_refused(as_user, load, path):
    client = as_user(None)
    client.cookies.set("_token", "eyJhbGciOiJub25lIn0.e30.")
    assert client.get(path).status_code in (303, 401, 403)


@pytest.mark.parametrize("path", PATHS)
def test_a_viewer_may_read_and_only_read(viewer, load, path):
    leave("plan", plan__json=PLAN)
    assert viewer.get(path).status_code == 200
    assert viewer.post(path).status_code == 405


def test_a_dag_that_a_person_may_not_read_is_not_shown(viewer, airflow_app, open_load, monkeypatch):
    open_load()
    open_load(dag_id="load_purecallerid__other", flow="other", run_id="r2", target="purecallerid:64be:OTHER")
    leave("plan", plan__json=PLAN)
    both = viewer.get("/listkeeper/").text
    assert "ATTEMPT" in both and "OTHER" in both
    with unreadable(monkeypatch, airflow_app, DAG):
        page = viewer.get("/listkeeper/").text
        assert "ATTEMPT" not in page and "OTHER" in page
        for path in (PAGE, f"{PAGE}/files/plan.json"):
            assert viewer.get(path).status_code == 403


def test_the_first_page_shows_lists_and_loads(viewer, ledger, load, token):
    ledger.settle(
        load.id,
        1,
        "confirmed",
        delivered=9,
        rejected=1,
        uncertain=0,
        vendor_counts={"total": 10, "valid": 9, "dnc": 1},
    )
    ledger.mark_applied(load.id, "runs/x/keys.parquet")
    ledger.release_target(load.id)
    ledger.finish_load(
        load.id, state="done", counts=Counts(10, delivered=9, rejected=1), verdict="delivered & counted"
    )
    page = viewer.get("/listkeeper/").text
    assert f'<a href="{PAGE}">2026-11-20</a>' in page
    assert "delivered &amp; counted" in page and ">free<" in page
    assert page.index(">five9_daily<") < page.index("Last loads"), "whose list it is"
    ledger.pause_target(load.target, True, "ana", "outage <at> vendor")
    assert "outage &lt;at&gt; vendor" in viewer.get("/listkeeper/").text


def test_a_paused_vendor_stands_above_the_lists(viewer, ledger):
    ledger.pause_vendor("purecallerid", True, "ana", "outage <at> vendor")
    page = viewer.get("/listkeeper/").text
    assert "Everything that goes to <code>purecallerid</code>, by ana" in page
    assert "outage &lt;at&gt; vendor" in page
    ledger.pause_vendor("purecallerid", False, "ana", "over")
    assert "Everything that goes to" not in viewer.get("/listkeeper/").text


@pytest.mark.parametrize(
    ("approved", "words"),
    [
        (True, "given by ben"),
        (False, "refused"),
        (None, "nobody answered in time"),
        ("not yet", "waits for a person"),
    ],
)
def test_a_run_that_asked_a_person(viewer, ledger, load, approved, words):
    ledger.ask_approval(load.id, "page")
    if approved != "not yet":
        ledger.answer_approval(load.id, page="page", approved=approved, who="ben", why="<counted>")
    page = viewer.get(PAGE).text
    assert f"<dt>approval</dt><dd>{words}" in page
    assert ("&lt;counted&gt;" in page) == (approved != "not yet")


def test_an_empty_installation_says_what_will_be_here(viewer):
    page = viewer.get("/listkeeper/").text
    assert "No list has been loaded yet" in page and "No load has been opened yet" in page


def test_a_run_of_which_nothing_is_left(viewer):
    answer = viewer.get(PAGE)
    assert answer.status_code == 404
    assert "has left nothing here yet" in answer.text


def test_a_run_that_only_planned(viewer):
    leave("plan", plan__json=PLAN)
    page = viewer.get(PAGE).text
    assert "five9_daily: not ended" in page
    assert '<h2 id="plan">' in page and '<h2 id="rejects">' in page
    assert "ATTEMPT&lt;script&gt;" in page
    assert f'href="{PAGE}/files/plan.json"' in page
    assert "rejects.csv</a>" not in page and "In the ledger" not in page


def test_a_run_that_stopped_before_its_plan(viewer, load):
    page = viewer.get(PAGE).text
    assert "did not come as far as a plan" in page
    assert load.id in page and "Campaign &lt;b&gt;start&lt;/b&gt;" in page


def test_a_run_that_ended(viewer, ledger, load, token):
    ledger.receive("purecallerid", token, b'{"status": "QUEUED"}')
    ledger.receive("purecallerid", token, b'{"status": "FINALIZED"}')
    leave("plan", plan__json=PLAN)
    leave(
        "report",
        summary__json=SUMMARY,
        report__md=b"# What was <i>written</i>\n\n## What changes on the list\n",
        rejects__csv=b"row_key\r\n",
    )
    page = viewer.get(PAGE).text
    assert "What was &lt;i&gt;written&lt;/i&gt;" in page and '<h2 id="plan">' in page
    assert 'class="delivered" style="flex-grow: 9"' in page
    assert "QUEUED, FINALIZED" in page
    assert f'href="/dags/{DAG}/runs/partition__2026-11-20%2B02%3A00"' in page
    assert f'href="{PAGE}/files/rejects.csv"' in page
    assert token not in page


def test_inside_airflows_frame_no_link_leads_to_airflow(as_user, load):
    assert "Open in Airflow" in as_user().get(PAGE).text
    assert "Open in Airflow" not in as_user(**{"Sec-Fetch-Dest": "iframe"}).get(PAGE).text


def test_pages_may_load_nothing_and_be_framed_by_airflow_alone(viewer):
    policy = viewer.get("/listkeeper/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'self'" in policy
    assert not re.search(r'(src|href)="(https?:)?//', viewer.get("/listkeeper/").text)


@pytest.mark.parametrize(
    ("step", "name", "kind", "place"),
    [
        ("report", "rejects.csv", "text/csv; charset=utf-8", "attachment"),
        (
            "report",
            "rejects.xlsx",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "attachment",
        ),
        ("report", "report.md", "text/plain; charset=utf-8", "inline"),
        ("plan", "plan.json", "application/json", "inline"),
        ("certificate", "certificate.md", "text/plain; charset=utf-8", "inline"),
    ],
)
def test_files_of_a_run(viewer, step, name, kind, place):
    assert viewer.get(f"{PAGE}/files/{name}").status_code == 404
    content = b"x" * 200_000
    leave(step, **{name.replace(".", "__"): content})
    answer = viewer.get(f"{PAGE}/files/{name}")
    assert answer.content == content
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"] == f'{place}; filename="{name}"'
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_of_an_erasure_is_its_certificate(viewer):
    leave("certificate", certificate__md=b"# Erased\n\nrequest `r1`")
    page = viewer.get(PAGE)
    assert "<h1>Erased</h1>" in page.text and "files/certificate.md" in page.text


@pytest.mark.parametrize(
    "path",
    [
        f"{PAGE}/files/summary.json",
        f"{PAGE}/files/manifest.json",
        f"{PAGE}/files/..%2F..%2Fsecret.txt",
        f"{PAGE}/files/%2e%2e",
        f"/listkeeper/runs/{DAG}/../../secret.txt",
        f"/listkeeper/runs/{DAG}/%2e%2e/files/plan.json",
        f"/listkeeper/runs/{DAG}/..%2f..%2f..%2fx/files/plan.json",
        f"/listkeeper/runs/%2e%2e/{slug(RUN)}/files/plan.json",
        f"/listkeeper/runs/.hidden/{slug(RUN)}/files/plan.json",
        f"/listkeeper/runs/{DAG}/a%5c..%5cb/files/plan.json",
        f"/listkeeper/runs/{DAG}/%00/files/plan.json",
    ],
)
def test_no_path_leads_out_of_the_run(viewer, state, path):
    leave("plan", plan__json=PLAN)
    leave("report", summary__json=SUMMARY)
    (state / "secret.txt").write_text("secret")
    for place in ("plan", "runs/plan", f"{slug(RUN)}/plan", f"runs/.hidden/{slug(RUN)}/plan"):
        (state / "staging" / place).mkdir(parents=True)
        (state / "staging" / place / "plan.json").write_text("secret")
    answer = viewer.get(path)
    # Airflow's own page for unknown paths
    assert answer.status_code == 404 or '<div id="root">' in answer.text
    assert "secret" not in answer.text
    assert "secret" not in answer.text


def test_the_access_log_never_holds_a_token(as_user, token, load):
    anybody = as_user(None)
    with structlog.testing.capture_logs() as logs:
        anybody.post(f"/listkeeper/callbacks/purecallerid/{token}", json={"status": "QUEUED"})
        anybody.post(f"/listkeeper/callbacks/purecallerid/{token}x", json={"status": "QUEUED"})
        anybody.post(f"/listkeeper/callbacks/purecallerid/{token}/", json={"status": "QUEUED"})
        anybody.get(f"/listkeeper/callbacks/purecallerid/{token}")
        anybody.get("/listkeeper/")
    access = [entry for entry in logs if entry["event"] == "request finished"]
    assert [(entry["path"], entry["status_code"]) for entry in access] == [
        ("/listkeeper/callbacks/***", 200),
        ("/listkeeper/callbacks/***", 404),
        ("/listkeeper/callbacks/***", 404),
        ("/listkeeper/callbacks/***", 405),
        ("/listkeeper/", 303),
    ]
    assert token not in str(logs)


def test_the_menu_leads_to_the_first_page(as_user):
    admin = as_user("admin", "admin", Accept="application/json")
    plugins = admin.get("/api/v2/plugins").json()["plugins"]
    (ours,) = (plugin for plugin in plugins if plugin["name"] == "listkeeper")
    (view,) = ours["external_views"]
    assert (view["href"], view["url_route"], view["destination"]) == ("/listkeeper/", "listkeeper", "nav")
    assert admin.get("/api/v2/plugins/importErrors").json()["import_errors"] == []


def test_of_very_many_batches_the_page_shows_the_odd_ones(as_user, ledger, open_load):
    from include.ledger import BatchPlan

    load = open_load()
    ledger.plan_batches(load.id, [BatchPlan(seq, 10, "aa") for seq in range(2, 151)])
    for seq in range(1, 150):
        ledger.intend(load.id, seq)
        odd = int(seq == 77)
        counts = {"delivered": 10 - odd, "rejected": odd, "uncertain": 0}
        ledger.settle(load.id, seq, "confirmed", **counts, vendor_counts={"valid": 10})
    page = as_user().get(PAGE, headers=HTML)
    assert page.status_code == 200
    assert re.findall(r'<td class="n">(\d+)</td>\s*<td><span class="tag', page.text) == ["77", "150"]
    assert "148" in page.text and "more batches are whole" in page.text


def test_the_first_page_says_what_waits_for_a_person(viewer, ledger, open_load):
    load = open_load()
    ledger.intend(load.id, 1)
    ledger.settle(load.id, 1, "uncertain", delivered=0, rejected=0, uncertain=10, vendor_counts={})
    ledger.release_target(load.id)
    ledger.finish_load(load.id, state="uncertain", counts=Counts(10, uncertain=10), verdict="uncertain")
    page = viewer.get("/listkeeper/").text
    assert f"listkeeper resolve {load.id[:8]}" in page and ">free<" not in page


def test_the_first_page_says_which_plan_waits_for_approval(viewer, ledger, load, monkeypatch):
    asked = replace(load, approval="needed")
    monkeypatch.setattr(type(ledger), "loads", lambda *_, **__: [asked])
    assert "waits for a person" in viewer.get("/listkeeper/").text
