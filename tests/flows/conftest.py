"""A whole night in a test: real DAGs, the sandbox as the vendor, the real receiver, a ledger and staging of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# First of all, because it gives Airflow a home before anything imports it.
from tests.plugins.conftest import HOME, airflow_db, airflow_home, state  # noqa: F401

# isort: split
import polars as pl
import pytest
import uvicorn
import yaml

from include.leads.schema import LEAD_COLUMNS
from include.ledger import Ledger
from include.sandbox.server import SandboxServer
from include.sandbox.switches import PureCallerIdSwitches, Switches
from include.sandbox.webhooks import MADE_UP_TOKEN
from include.staging import Manifest, RunFolder
from tests.flows.runs import NO_ANSWER, DirectRun, Run

KEY = "++++c2FuZGJveCBrZXksIG5vdCBhIHNlY3JldCEhISE="
OZONETEL_KEY = "KK73616e64626f7820617069206b657921"
FIVE9, RINGCX = "64be9f5c0c8d4a1f2b3c4d5e", "64be9f5c0c8d4a1f2b3c4d5f"
LISTS = {FIVE9: "Nightly callers", RINGCX: "RingCX nightly"}
NIGHT = "2026-11-20"

PHONE = re.compile(r"201[^0-9]{0,3}200[^0-9]?\d{4}")
"""Every number of these tests looks like this, however it is written."""


def phone(number: int) -> str:
    return f"201200{number:04d}"


def lead(number: int, **changes: Any) -> dict[str, Any]:
    """A good lead; its number comes in many spellings."""
    bare = phone(number)
    spellings = (
        bare,
        f"+1{bare}",
        f"({bare[:3]}) {bare[3:6]}-{bare[6:]}",
        f" {bare[:3]}-{bare[3:6]}-{bare[6:]} ",
    )
    row: dict[str, Any] = dict.fromkeys(LEAD_COLUMNS)
    row |= {
        "row_key": str(1000 + number),
        "lead_id": 1000 + number,
        "customer_key": f"C-{number:05d}",
        "phone1": spellings[number % len(spellings)],
        "uploaded_at": datetime(2026, 11, 20, 12, tzinfo=UTC),
        "data": json.dumps({"state": ("NJ", "NY", None, 'a "b", c')[number % 4], "zip": f"{number:05d}"}),
    }
    return row | changes


def make_snapshot(
    rows: list[dict[str, Any]],
    *,
    night: str = NIGHT,
    source_time: datetime | None = None,
    facts: dict[str, Any] | None = None,
    source: str = "callers",
) -> RunFolder:
    """Commit a snapshot as a pull would."""
    folder = RunFolder(f"snapshots/{source}/{night}/{time.time_ns()}")
    with folder.writing() as scratch:
        pl.DataFrame(rows, schema=LEAD_COLUMNS).write_parquet(scratch / "part-00000.parquet")
        folder.commit(
            scratch,
            Manifest(
                kind="snapshot",
                rows=len(rows),
                source_time=source_time or datetime.now(UTC) - timedelta(hours=2),
                night=night,
                facts={"run_type": "scheduled", "mode": "night"} | (facts or {}),
            ),
        )
    return folder


def flow_file(dialer: str = "five9", **changes: Any) -> dict[str, Any]:
    """The keys of a flow file that delivers; name what should differ."""
    campaign = FIVE9 if dialer == "five9" else RINGCX
    number, key = ("number1", "uniqueId") if dialer == "five9" else ("leadPhone", "externId")
    flow: dict[str, Any] = {
        "kind": "load_purecallerid",
        "name": "nightly",
        "source": "callers",
        "dialer": dialer,
        "campaign": campaign,
        "list": LISTS[campaign],
        "mode": "REPLACE" if dialer == "five9" else "APPEND",
        "released": True,
        "callback_hours": 0.01,
        "columns": [
            {"to": number, "from": "phone"},
            {"to": key, "from": "customer_key"},
            {"to": "state", "from": "data.state"},
        ],
    }
    if dialer == "ringcx":
        flow["dedupe"] = "RING_REMOVE_FROM_LIST"
    return flow | changes


class Receiver:
    """The real callback receiver behind a real server."""

    def __init__(self) -> None:
        from fastapi import FastAPI
        from listkeeper.web.app import create_app

        app = FastAPI()
        app.mount("/listkeeper", create_app())
        config = uvicorn.Config(app, port=0, log_level="info", lifespan="off", log_config=None)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def one_sandbox() -> Iterator[SandboxServer]:
    quick = Switches(purecallerid=PureCallerIdSwitches(step_seconds=0.01, inactive=[], dnc=[]))
    with SandboxServer(synthetic=10, switches=quick) as server:
        yield server


@pytest.fixture
def sandbox(one_sandbox: SandboxServer) -> SandboxServer:
    one_sandbox.reset()
    return one_sandbox


@pytest.fixture
def when_told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], threading.Event]]:
    """Let the pauses of a module of the sandbox end when the returned event is set: late, however fast we are."""
    made: list[threading.Event] = []

    def hold(module: str) -> threading.Event:
        made.append(told := threading.Event())

        async def pause(_seconds: float) -> None:
            while not told.is_set():
                await asyncio.sleep(0.01)

        monkeypatch.setattr(f"include.sandbox.{module}.pause", pause)
        return told

    yield hold
    for told in made:
        told.set()


@pytest.fixture
def ledger(state: Path) -> Iterator[Ledger]:  # noqa: F811
    with Ledger(f"sqlite:///{state}/ledger.db") as opened:
        opened.migrate()
        yield opened


def connection(sandbox: SandboxServer, password: str = KEY) -> str:
    return json.dumps(
        {
            "conn_type": "purecallerid",
            "host": sandbox.base_url,
            "password": password,
            "extra": {"allow_http_webhook": True},
        }
    )


@pytest.fixture
def installation(
    state: Path,  # noqa: F811
    sandbox: SandboxServer,
    receiver: Receiver,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Connections, settings and the flows folder (returned) of this test; nothing waits longer than it must."""
    from listkeeper.triggers.callbacks import CallbackTrigger

    flows = state / "flows"
    flows.mkdir()
    monkeypatch.setenv("LISTKEEPER_FLOWS", str(flows))
    monkeypatch.setenv("LISTKEEPER_PUBLIC_URL", receiver.url)
    monkeypatch.delenv("LISTKEEPER_RELAY", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", connection(sandbox))
    monkeypatch.setitem(CallbackTrigger.__init__.__kwdefaults__, "poll_seconds", 0.02)
    return flows


@pytest.fixture
def make_dag(installation: Path) -> Callable[[dict[str, Any]], Any]:
    """Write a flow file and parse the DAG file: its DAG, with retries that do not wait."""
    from airflow.dag_processing.dagbag import BundleDagBag

    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])

    def made(flow: dict[str, Any], retries: int = 2) -> Any:
        for other in installation.glob("*.yaml"):
            other.unlink()
        (installation / f"{flow['name']}.yaml").write_text(yaml.safe_dump(flow, sort_keys=False))
        file = next(one for one in folder.glob("*.py") if f"`kind: {flow['kind']}`" in one.read_text())
        bag = BundleDagBag(dag_folder=str(file), bundle_path=folder, bundle_name="dags-folder")
        assert not bag.import_errors
        dag = bag.dags[f"{flow['kind']}__{flow['name']}"]
        for task in dag.tasks:
            task.retries, task.retry_delay, task.retry_exponential_backoff = retries, timedelta(0), 0
        return dag

    return made


@pytest.fixture
def deliver(make_dag: Callable[..., Any], ledger: Ledger) -> Callable[..., DirectRun]:
    """Write a flow file and run the tasks of its DAG to the end."""
    count = itertools.count(1)

    def run(
        flow: dict[str, Any] | None = None,
        *,
        conf: dict[str, Any] | None = None,
        run_type: str = "asset_triggered",
        partition: str | None = None,
        retries: int = 2,
        by: str | None = "dag_test",
        answer: dict[str, Any] = NO_ANSWER,
    ) -> DirectRun:
        dag = make_dag(flow or flow_file(), retries)
        about = {"run_type": run_type, "partition_key": partition, "triggering_user_name": by}
        run = DirectRun(dag, ledger, f"{run_type}__{next(count)}", conf or {}, **about)
        run.answer = answer
        return run.go()

    return run


@pytest.fixture
def deliver_in_airflow(
    airflow_db: None,  # noqa: F811
    make_dag: Callable[..., Any],
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Run]:
    """The same through `dag.test()`: the real task runner, its API and database, the trigger inline."""
    from airflow.models import dagrun

    create, pause = dagrun.get_or_create_dagrun, time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: pause(min(seconds, 0.02)))

    def run(
        flow: dict[str, Any] | None = None,
        *,
        conf: dict[str, Any] | None = None,
        run_type: str = "asset_triggered",
        partition: str | None = None,
        retries: int = 2,
        by: str | None = None,
    ) -> Run:
        from airflow.utils.types import DagRunType

        def create_as(**values: Any) -> Any:
            # dag.test() makes manual runs only.
            made = create(**values)
            made.run_type = DagRunType(run_type)
            made.partition_key, made.triggering_user_name = partition, by
            values["session"].commit()
            return made

        monkeypatch.setattr(dagrun, "get_or_create_dagrun", create_as)
        dag = make_dag(flow or flow_file(), retries)
        return Run(dag, dag.test(logical_date=None, run_conf=conf), ledger)

    return run


@pytest.fixture
def snapshot(installation: Path) -> Callable[..., RunFolder]:
    """Commit a snapshot of so many good leads, or of these."""

    def made(rows: int | list[dict[str, Any]] = 40, **about: Any) -> RunFolder:
        leads = [lead(number) for number in range(rows)] if isinstance(rows, int) else rows
        return make_snapshot(leads, **about)

    return made


@dataclass
class Vendor:
    """What the vendor holds, by the sandbox's own books."""

    sandbox: SandboxServer

    @property
    def loads(self) -> list[dict[str, Any]]:
        return list(self.sandbox.state("purecallerid")["loads"])

    @property
    def calls(self) -> int:
        return int(self.sandbox.state("purecallerid", rows=False)["calls"].get("load", 0))

    def rows(self, dialer: str = "five9") -> list[dict[str, str]]:
        return list(
            self.sandbox.state("purecallerid")["lists"][LISTS[FIVE9 if dialer == "five9" else RINGCX]]
        )

    def numbers(self, dialer: str = "five9") -> Counter[str]:
        """How often each number stands on the list."""
        return Counter(row["number1" if dialer == "five9" else "leadPhone"] for row in self.rows(dialer))

    def tokens(self) -> set[str]:
        told = self.sandbox.state("purecallerid", rows=False)
        urls = [load["webhookUrl"] for load in told["loads"]] + [hook["url"] for hook in told["webhooks"]]
        urls += [callback["url"] for callback in self.sandbox.state("ozonetel", rows=False)["callbacks"]]
        return {url.rsplit("/", 1)[-1] for url in urls if url}


@pytest.fixture
def vendor(sandbox: SandboxServer) -> Vendor:
    return Vendor(sandbox)


def numbers(*which: int | range) -> Counter[str]:
    """What a list should hold: each of these numbers once."""
    flat = [n for item in which for n in (item if isinstance(item, range) else (item,))]
    return Counter(phone(n) for n in flat)


@pytest.fixture(autouse=True)
def nothing_leaks(
    request: pytest.FixtureRequest,
    state: Path,  # noqa: F811
    sandbox: SandboxServer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[None]:
    """After each test: no number, key or token in any log record, output, control table or report."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "asyncio"):  # the sandbox's own client: it is the vendor's business
        logging.getLogger(name).setLevel(logging.WARNING)
    yield
    output, errors = capfd.readouterr()
    texts = {"output": output, "errors": errors, "xcom": "\n".join(DirectRun.pushed)}
    DirectRun.pushed.clear()
    texts["log"] = "\n".join(
        _whole(record) for when in ("setup", "call") for record in caplog.get_records(when)
    )
    texts["ledger"] = _dump(state / "ledger.db")
    if "deliver_in_airflow" in request.fixturenames:  # XCom, rendered fields and everything else
        texts["airflow"] = _dump(HOME / "airflow.db")
        assert 'INSERT INTO "xcom"' in texts["airflow"] or "conf" in request.fixturenames
        texts |= {str(file): file.read_text(errors="replace") for file in (HOME / "logs").rglob("*.log")}
    for file in (state / "staging").glob("runs/**/*"):
        if file.suffix in (".json", ".md", ".csv") and file.name not in ("payload.csv", "fixed.csv"):
            texts[str(file)] = file.read_text(encoding="utf-8")
    tokens = Vendor(sandbox).tokens() - {MADE_UP_TOKEN}
    for where, text in texts.items():
        assert not leaks(text, tokens), where


def leaks(text: str, tokens: set[str]) -> list[str]:
    """Numbers, the key and tokens in a text."""
    secrets = [secret for secret in (KEY, OZONETEL_KEY, *tokens) if secret in text]
    return PHONE.findall(text) + secrets


def _dump(database: Path) -> str:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        return "\n".join(opened.iterdump())


def _whole(record: logging.LogRecord) -> str:
    return " ".join(
        str(value) for value in (record.getMessage(), record.args, record.exc_text, record.exc_info)
    )


@pytest.fixture
def relay(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:  # noqa: F811
    """A relay as a user would run it: it drops each body into a folder, and knows nothing else."""
    folder = state / "relay"

    class Drop(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            vendor, token = self.path.split("/")[-2:]
            place = folder / vendor / token
            place.mkdir(parents=True, exist_ok=True)
            number = len(list(place.iterdir()))
            scratch = place / f"{number}.part"
            scratch.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            scratch.rename(place / f"{number}-{threading.get_ident()}-{datetime.now(UTC):%H%M%S%f}.json")
            self.send_response(202)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Drop)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("LISTKEEPER_PUBLIC_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("LISTKEEPER_RELAY", str(folder))
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()
