"""In small what `python -m tests.proof.leaks` does in large: planted people in, ugly failures, and nobody comes out."""

from __future__ import annotations

import json

import pytest

from tests.flows.conftest import HOME, KEY, connection, flow_file, lead
from tests.proof.lib.planted import FIRST, LAST, Needles, Parrot, Search, phone

COLUMNS = [
    {"to": "number1", "from": "phone"},
    {"to": "uniqueId", "from": "customer_key"},
    {"to": "name", "from": "data.name"},
]


def planted(number: int):
    data = {"name": f"{FIRST} {LAST}", "email": f"{FIRST}@quillfeather.example", "state": "NJ"}
    broken = {"phone1": f"{FIRST} says {phone(number)} or so"} if number % 5 == 0 else {}
    return lead(number, data=json.dumps(data), customer_key=f"{LAST}-{number}", **broken)


@pytest.fixture
def parrot(sandbox, monkeypatch):
    started = Parrot(sandbox.base_url)
    told = json.loads(connection(sandbox, KEY)) | {"host": started.url}
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", json.dumps(told))
    yield started
    started.close()


def test_planted_people_stay_in_the_rows(deliver_in_airflow, snapshot, parrot, state, caplog):
    snapshot([planted(number) for number in range(30)])
    parrot.bad = ("/",)
    flow = flow_file(columns=COLUMNS, unique_column="uniqueId", callback_hours=0.2 / 3600)
    bad = deliver_in_airflow(flow, retries=3)
    assert bad.state == "failed" and parrot.said >= 1

    def search(told: str) -> Search:
        found = Search(Needles([KEY]))
        found.database("Airflow's database", HOME / "airflow.db", apart={"xcom": "XCom"})
        found.database("the ledger", state / "ledger.db")
        found.text("log", "", told.encode())  # before anything is masked
        found.files("reports", state / "staging", "report.md", "summary.json", "plan.json", "manifest.json")
        return found

    found = search(caplog.text)
    assert found.finds == 0, found.table()
    assert all(surface.size > 1000 for surface in found.surfaces.values()), found.table()
    # It can fail: the same, with one name in the log.
    assert search(f"{caplog.text} Cannot read the row of {FIRST}.").finds == 1
