"""Approvals in a real Airflow: its own task states and API, people who answer, and people who try to get around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.flows.conftest import flow_file, numbers
from tests.flows.loads import ringcx
from tests.flows.people import until_asked

DAG = "load_purecallerid__nightly"


class Person:
    """Somebody who is logged in to Airflow, and uses its public API as the UI does."""

    def __init__(self, app: Any, name: str, role: str) -> None:
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
        from fastapi.testclient import TestClient

        token = app.state.auth_manager.generate_jwt(SimpleAuthManagerUser(username=name, role=role))
        self.http = TestClient(app, headers={"Authorization": f"Bearer {token}"})

    def tasks(self) -> str:
        """Path of the newest run's task instances."""
        runs = self.http.get(f"/api/v2/dags/{DAG}/dagRuns", params={"order_by": "-id", "limit": 1}).json()
        return f"/api/v2/dags/{DAG}/dagRuns/{runs['dag_runs'][0]['dag_run_id']}/taskInstances"

    def wait_until_asked(self) -> str:
        def asked() -> bool:
            try:
                return bool(self.http.get(f"{self.tasks()}/approve").json()["state"] == "awaiting_input")
            except (KeyError, IndexError):
                return False

        until_asked(asked)
        return self.tasks()

    def answer(self, path: str, option: str, why: str | None = None) -> int:
        body = {"chosen_options": [option], "params_input": {"why": why}}
        return int(self.http.patch(f"{path}/approve/-1/hitlDetails", json=body).status_code)

    def page(self, path: str) -> dict[str, Any]:
        return dict(self.http.get(f"{path}/approve/-1/hitlDetails").json())


@pytest.fixture(scope="session")
def app() -> Any:
    from airflow.api_fastapi.app import create_app

    return create_app()


@pytest.fixture
def people(airflow_db, app) -> dict[str, Person]:
    roles = {"ana": "user", "ben": "user", "eve": "viewer", "admin": "admin"}
    return {name: Person(app, name, role) for name, role in roles.items()}


@pytest.fixture
def meanwhile(people: dict[str, Person]) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Do something in another thread; what goes wrong there ends the run, and fails the test."""
    threads, wrong = [], []

    def begin(do: Callable[[], None]) -> None:
        def run() -> None:
            try:
                do()
            except BaseException as error:
                wrong.append(error)
                people["admin"].answer(people["admin"].tasks(), "Reject", "the test has failed")

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield begin
    for thread in threads:
        thread.join()
    assert not wrong, wrong


@pytest.fixture
def deliver(deliver_in_airflow):
    return deliver_in_airflow


@pytest.fixture
def shrunk(deliver, snapshot):
    """A list of 20, and a night that would shrink it to 13."""
    snapshot(20)
    deliver()
    snapshot(13)


def test_a_person_approves_in_required_actions(deliver, shrunk, vendor, people, meanwhile, ledger):
    def act() -> None:
        path = people["ben"].wait_until_asked()
        page = people["ben"].page(path)
        assert page["subject"] == "Replace the list Nightly callers by 13 rows?"
        assert "from 20 to 13 rows" in page["body"]
        assert people["eve"].answer(path, "Approve", "a viewer may not") == 403
        assert people["ana"].answer(path, "Approve", "not named in approval.by") == 403
        assert people["ben"].answer(path, "Approve", "the campaign ended") == 200
        assert people["ben"].answer(path, "Reject", "too late") == 409

    meanwhile(act)
    run = deliver(flow_file(approval={"by": ["ana", "ben"]}), by="ana")
    assert (run.state, run.counts) == ("success", {"delivered": 13})
    assert set(run.tasks.values()) == {"success"}
    assert ledger.load(run.summary["load"]).approved_by == "ben"
    assert vendor.numbers() == numbers(range(13))
    run.assert_accounted()


@pytest.mark.parametrize(
    ("who", "option", "why", "words"),
    [
        ("ben", "Reject", "the export broke", "ben rejected this plan (the export broke)"),
        ("ben", "Approve", "", "approved without a reason"),
        ("ana", "Approve", "I started it", "ana started this run and may not approve it"),
    ],
)
def test_what_is_no_approval_ends_red(
    deliver, shrunk, vendor, people, meanwhile, who, option, why, words
):  # fmt: skip
    meanwhile(lambda: people[who].answer(people[who].wait_until_asked(), option, why))
    run = deliver(by="ana")
    assert (run.state, run.summary["verdict"]) == ("failed", "not approved")
    assert words in run.problems
    assert {name: run.tasks[name] for name in ("approve", "load", "reconcile", "report")} == {
        "approve": "failed",
        "load": "upstream_failed",
        "reconcile": "success",
        "report": "failed",
    }
    assert vendor.calls == 1
    run.assert_accounted()


@pytest.mark.parametrize("forge", [False, True], ids=["only marked", "with a forged XCom"])
def test_mark_success_sends_nothing(deliver, shrunk, vendor, people, meanwhile, forge):
    def act() -> None:
        admin = people["admin"]
        path = admin.wait_until_asked()
        if forge:
            made = {"key": "return_value", "value": {"approved_by": "ben", "chosen_options": ["Approve"]}}
            assert admin.http.post(f"{path}/approve/xcomEntries", json=made).status_code == 201
            plan = admin.http.get(
                f"{path}/plan/xcomEntries/return_value", params={"deserialize": False}
            ).json()["value"]
            changed = admin.http.patch(
                f"{path}/plan/xcomEntries/return_value", json={"value": plan | {"decision": "apply"}}
            )
            assert changed.status_code == 200, changed.text
        marked = admin.http.patch(f"{path}/approve", json={"new_state": "success"})
        assert marked.status_code == 200, marked.text

    meanwhile(act)
    run = deliver()
    assert run.tasks["approve"] == "success"
    assert (run.tasks["load"], run.state, run.summary["verdict"]) == ("failed", "failed", "not approved")
    assert "nobody has approved it" in run.problems
    assert vendor.calls == 1
    run.assert_accounted()


def test_a_page_of_an_earlier_plan_is_never_asked_with(deliver, shrunk, vendor, people, meanwhile, snapshot):
    """Airflow 3.3.2 goes on showing the page that a task wrote first, also after it was cleared."""
    seen = []

    def act() -> None:
        admin = people["admin"]
        path = admin.wait_until_asked()
        snapshot(12)
        cleared = admin.http.post(
            f"/api/v2/dags/{DAG}/clearTaskInstances",
            json={
                "dry_run": False,
                "dag_run_id": path.split("/")[6],
                "task_ids": ["find_snapshot"],
                "include_downstream": True,
                "only_failed": False,
                "reset_dag_runs": False,
            },
        )
        assert cleared.status_code == 200, cleared.text
        seen.append(admin.page(path)["subject"])

    meanwhile(act)
    run = deliver()
    assert seen == ["Replace the list Nightly callers by 13 rows?"]
    assert run.plan["to_send"] == 12 and run.tasks["approve"] == "failed"
    assert "Start a new run" in run.problems
    assert vendor.calls == 1


def test_nobody_in_time_means_no(deliver, snapshot, vendor, people, meanwhile):
    """Airflow's scheduler, which `dag.test()` has not, looks for what was not answered in time."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    def act() -> None:
        people["ben"].wait_until_asked()
        threading.Event().wait(0.2)
        SchedulerJobRunner(Job()).check_awaiting_input_timeouts()

    meanwhile(act)
    snapshot(20)
    run = deliver(ringcx(name="nightly", approval={"ask": "always", "timeout_hours": 0.1 / 3600}))
    assert (run.state, run.tasks["approve"], run.summary["verdict"]) == ("failed", "failed", "not approved")
    assert "no answer means no" in run.problems
    assert vendor.calls == 0
    run.assert_accounted()
