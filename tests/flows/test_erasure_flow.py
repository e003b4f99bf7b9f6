"""The erasure of a customer through its whole DAG, and the next night on which the number came in again."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from upath import UPath

from include import settings
from include.erasure import requests
from include.erasure.keys import ErasureKey
from include.erasure.person import Person
from include.ledger import Ledger
from include.staging import RunFolder
from tests.flows.conftest import flow_file, lead, numbers, phone
from tests.flows.runs import NO_ANSWER, DirectRun, answered

SECRET = "an erasure key of the tests alone"
STEPS = ("preview", "approve", "erase")
WHOM = 3
"""The lead of the night whose customer is erased."""


@pytest.fixture
def key(monkeypatch) -> ErasureKey:
    monkeypatch.setenv(
        "AIRFLOW_CONN_LISTKEEPER_ERASURE", json.dumps({"conn_type": "generic", "password": SECRET})
    )
    return ErasureKey(SECRET)


@pytest.fixture
def platform(sandbox, monkeypatch):
    told = sandbox.info()["platform"]
    connection = {"conn_type": "platform", "host": sandbox.base_url, "password": told["token"]}
    monkeypatch.setenv("AIRFLOW_CONN_PLATFORM_DEFAULT", json.dumps(connection))
    monkeypatch.setattr("listkeeper.hooks.platform_requests.TRIES", 1)
    # The sandbox's own access log has the query of an erasure, as any vendor's has: that is the vendor's business.
    monkeypatch.setattr(
        logging.getLogger("uvicorn.access"),
        "filters",
        [lambda record: "/platform-api/" not in str(record.args)],
    )
    return sandbox


class Erasure(DirectRun):
    """The DAG's tasks, one after the other."""

    def start(self) -> Erasure:
        for name in STEPS:
            task = copy.copy(self.dag.task_dict[name])
            task.request = self._about["dag_run"].conf["request"]
            self.tasks[name] = self._end(task)
        return self


@pytest.fixture
def erase(installation, ledger: Ledger, key, platform) -> Callable[..., Erasure]:
    """Ask for an erasure as ana, and run its DAG with a person's answer."""
    from airflow.dag_processing.dagbag import BundleDagBag

    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])

    def run(person: Person, answer: dict[str, Any] | None = None, request: str | None = None) -> Erasure:
        bag = BundleDagBag(
            dag_folder=str(folder / "erase_customer.py"), bundle_path=folder, bundle_name="dags-folder"
        )
        assert not bag.import_errors
        dag = bag.dags["erase_customer"]
        for task in dag.tasks:
            task.retries = 0
        request = request or requests.store(key, person, "ana").id
        made = Erasure(dag, ledger, f"erase__{request}", {"request": request}, triggering_user_name="ana")
        made.answer = answer or answered(why="letter of 20 November")
        return made.start()

    return run


def customer(email: str | None = None) -> Person:
    return Person.of(f"+1{phone(WHOM)}".replace(" ", ""), email)


def staged_text() -> str:
    """Everything staged, as text, Parquet rows included."""
    texts = []
    for path in Path(settings.staging_url()).rglob("*"):
        if path.is_file():
            if path.suffix == ".parquet":
                texts.append(str(pl.read_parquet(path).rows()))
            else:
                texts.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(texts)


def test_an_erased_customer_is_gone_and_is_held_when_the_number_comes_in_again(
    erase, deliver, snapshot, vendor, ledger, key
):
    leads = [lead(n) for n in range(8)]
    snapshot(leads)
    first = deliver()
    assert first.counts == {"delivered": 8}
    person = customer()
    assert person.in_text(staged_text())

    run = erase(person)
    assert run.tasks == dict.fromkeys(STEPS, "success")
    assert not person.in_text(staged_text())
    told = run.xcom("erase")
    assert (told["requested_by"], told["approved_by"], told["left"]) == ("ana", "ben", 0)
    assert told["hashes"] == {"phone": key.hash("phone", person.phone)}
    assert told["sent_by"] == ["load_purecallerid__nightly"]
    where = {name: one["rows"] for name, one in told["staging"].items()}
    assert where["snapshots/callers"] == 1
    assert where["runs/load_purecallerid__nightly"] >= 2  # the kept lead, and its row of the payload
    page = RunFolder(told["certificate"]).get("certificate.md").decode()
    assert "# Certificate of erasure" in page and "runs/load_purecallerid__nightly" in page
    assert not person.in_text(page) and not person.in_text(run.page["body"])
    [evidence] = ledger.records("erased", told["request"])
    assert evidence["hashes"] == told["hashes"]
    assert ledger.verify() == []

    # What is left can still be read and counted.
    parts = RunFolder(first.xcom("find_snapshot")["snapshot"])
    assert (parts.manifest().rows, parts.manifest().facts["erased"]) == (7, 1)
    with parts.reading("*") as files:
        assert sum(pl.read_parquet(f).height for f in files if f.name.startswith("part")) == 7
    with first.folder("plan").reading("payload.csv") as (payload,):
        assert len(payload.read_text().splitlines()) == 9  # the header and eight places, one of them empty

    # The next night, somebody has loaded the number into the source again.
    snapshot(leads, night="2026-11-21")
    second = deliver(flow_file(guards={"max_shrink_percent": 100}))
    assert second.reasons == {"delivered": 7, "erased": 1}
    assert vendor.numbers() == numbers(*[n for n in range(8) if n != WHOM])
    second.assert_accounted()
    assert second.summary["suppressed"] == 1


def test_the_platform_counts_and_the_request_is_forgotten(erase, platform, key):
    call = platform_call(platform)
    person = Person.of(f"+1{re.sub(r'[^0-9]', '', call['phoneNumber'])[-10:]}", None)
    before = platform.state("platform")["counts"]
    run = erase(person)
    told = run.xcom("erase")
    counts = told["platform"]["platform_default"]
    after = platform.state("platform")["counts"]
    assert counts["leads"] == before["leads"] - after["leads"] >= 1
    assert counts["calls"] == before["activities"] - after["activities"] >= 1
    assert (counts["one_by_one"], counts["lost"]) == (0, False)
    with pytest.raises(requests.UnknownRequestError, match="has ended"):
        requests.read(key, told["request"])
    again = erase(person, request=told["request"])
    assert again.tasks["preview"] == "failed"


def platform_call(platform) -> dict[str, Any]:
    import httpx

    told = platform.info()["platform"]
    answer = httpx.get(
        f"{platform.base_url}/platform-api/v3.0/activities",
        params={"activityType": "call.outbound"},
        headers={"Authorization": f"Bearer {told['token']}"},
    )
    return next(item["data"] for item in answer.json()["items"] if item["data"]["recordingMetadata"])


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (answered("Reject"), True),
        (NO_ANSWER, True),
        (answered(who="ana"), False),
    ],
    ids=["rejected", "nobody answered", "by who asked"],
)
def test_without_a_second_person_nothing_is_erased(erase, snapshot, platform, key, answer, ends):
    snapshot(4)
    before, calls = staged_text(), len(platform.state("platform")["requests"])
    run = erase(customer(), answer)
    assert run.tasks["approve"] == "failed" and run.tasks["erase"] == "upstream_failed"
    assert customer().in_text(before) and customer().in_text(staged_text())
    assert len(platform.state("platform")["requests"]) == calls
    request = run.run_id.removeprefix("erase__")
    if ends:
        with pytest.raises(requests.UnknownRequestError):
            requests.read(key, request)
    else:
        assert requests.read(key, request).person == customer()


def test_marking_the_approval_as_a_success_erases_nothing(erase, snapshot, platform, ledger):
    snapshot(4)
    run = erase(customer(), answered(who="ana"))
    task = copy.copy(run.dag.task_dict["erase"])
    task.request = run.run_id.removeprefix("erase__")
    with pytest.raises(AirflowFailException, match="Nobody is named who approved it"):
        run.attempt(task)
    assert customer().in_text(staged_text())
    # An approval of other counts than those of now does not count either.
    ledger.record("erasure_approved", task.request, {"page": "other", "who": "ben", "why": None})
    with pytest.raises(AirflowFailException):
        run.attempt(task)


def test_a_try_after_a_crash_loses_no_count(erase, snapshot, deliver, monkeypatch):
    snapshot(8)
    deliver()
    put, crashed = RunFolder.put, []

    def dies(self: RunFolder, name: str, content: bytes) -> None:
        if name.startswith("manifest") and not crashed:
            crashed.append(self.path)
            raise OSError("killed between the file and its manifest")
        put(self, name, content)

    monkeypatch.setattr(RunFolder, "put", dies)
    run = erase(customer())
    assert run.tasks["erase"] == "failed" and crashed
    task = copy.copy(run.dag.task_dict["erase"])
    task.request = run.run_id.removeprefix("erase__")
    run.attempt(task)
    told = run.xcom("erase")
    assert told["staging"]["snapshots/callers"] == {"folders": 1, "files": 1, "rows": 1}
    for path in UPath(settings.staging_url()).rglob("manifest.json"):
        folder = RunFolder(str(Path(str(path)).parent.relative_to(settings.staging_url())))
        with folder.reading("*"):
            pass
    assert not customer().in_text(staged_text())


def test_a_lost_answer_of_the_platform_is_told(erase, platform, snapshot):
    snapshot(4)
    platform.fault("platform", "drop_after", op="delete_customer")
    run = erase(customer())
    assert run.tasks["erase"] == "failed"
    task = copy.copy(run.dag.task_dict["erase"])
    task.request = run.run_id.removeprefix("erase__")
    run.attempt(task)
    told = run.xcom("erase")
    assert told["platform"]["platform_default"]["lost"] is True
    assert (
        "answer to an earlier request was lost"
        in RunFolder(told["certificate"]).get("certificate.md").decode()
    )


def test_words_in_the_ledger_are_taken_out(erase, ledger, snapshot, deliver, state):
    snapshot(4)
    deliver()
    spelled = f"({phone(WHOM)[:3]}) {phone(WHOM)[3:]}"
    ledger.pause_vendor("ozonetel", True, "ana", "a complaint")
    with closing(sqlite3.connect(state / "ledger.db")) as before_words_were_masked:
        words = f"complaint of {spelled}"
        before_words_were_masked.execute("UPDATE vendors SET paused_why = ?", (words,))
        before_words_were_masked.commit()
    assert spelled in ledger.paused_vendors()[0].paused_why
    told = erase(customer()).xcom("erase")
    assert told["ledger"] == {"vendors": 1}
    [pause] = ledger.paused_vendors()
    assert "(erased)" in pause.paused_why and spelled not in pause.paused_why


def test_erased_customers_are_not_let_through_without_the_key(erase, snapshot, deliver, monkeypatch):
    snapshot(4)
    assert erase(customer()).tasks["erase"] == "success"
    monkeypatch.delenv("AIRFLOW_CONN_LISTKEEPER_ERASURE")
    run = deliver()
    assert run.tasks["clean"] == "failed" and "listkeeper_erasure" in run.problems
    other = {"conn_type": "generic", "password": "another key, as long as the first"}
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_ERASURE", json.dumps(other))
    run = deliver()
    assert run.tasks["clean"] == "failed" and "another erasure key" in run.problems


def test_a_load_that_is_being_sent_is_waited_for(erase, snapshot, deliver, ledger, monkeypatch):
    snapshot(4)
    deliver()
    monkeypatch.setattr("listkeeper.operators.erasure._held", lambda _: True)
    target = ledger.targets()[0]
    monkeypatch.setattr(
        type(ledger), "targets", lambda _: [type(target)(**{**vars(target), "lock_load_id": "x"})]
    )
    run = erase(customer())
    task = copy.copy(run.dag.task_dict["erase"])
    task.request = run.run_id.removeprefix("erase__")
    with pytest.raises(AirflowException, match="is being loaded"):
        run.attempt(task)
    assert customer().in_text(staged_text())
