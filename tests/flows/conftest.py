"""A whole night in a test: real DAGs, the sandbox as the vendor, the real receiver, a ledger and staging of its own."""

from __future__ import annotations

import asyncio
import copy
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
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

# First of all, because it gives Airflow a home before anything imports it.
from tests.plugins.conftest import HOME, airflow_db, airflow_home, state  # noqa: F401

# isort: split
import polars as pl
import pytest
import uvicorn
import yaml
from airflow.sdk import RetryAction
from airflow.sdk.definitions.xcom_arg import PlainXComArg
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSkipException,
    TaskAwaitingInput,
    TaskDeferred,
)
from airflow.sdk.module_loading import import_string

from include.leads.reasons import REASONS
from include.leads.schema import LEAD_COLUMNS, OUTCOME_COLUMNS, STATES
from include.ledger import Ledger
from include.sandbox.server import SandboxServer
from include.sandbox.switches import PureCallerIdSwitches, Switches
from include.sandbox.webhooks import MADE_UP_TOKEN
from include.staging import Manifest, RunFolder, run_path

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


STEPS = ("find_snapshot", "clean", "plan", "approve", "load", "reconcile", "report")


NO_ANSWER = {"error": "The Human-in-the-loop response timeout has passed.", "error_type": "timeout"}
"""What Airflow hands on when nobody answers in time."""


def answered(
    option: str = "Approve", who: str | None = "ben", why: str | None = "counted them"
) -> dict[str, Any]:
    """What Airflow hands on when somebody answers."""
    return {
        "chosen_options": [option],
        "params_input": {} if why is None else {"why": why},
        "responded_at": datetime.now(UTC),
        "responded_by_user": who and {"id": who, "name": who},
        "timedout": False,
    }


class AnyRun:
    """A run that has ended: what its run folders and the ledger say of it. Subclasses know how it ran."""

    dag: Any
    run_id: str
    ledger: Ledger

    @property
    def state(self) -> str:
        return "success" if self.tasks["report"] == "success" else "failed"

    @property
    def tasks(self) -> dict[str, str]:
        raise NotImplementedError

    def xcom(self, task: str, key: str = "return_value") -> Any:
        raise NotImplementedError

    def clear(self, task: str) -> None:
        """Clear a task and those behind it, and let them run again."""
        raise NotImplementedError

    def folder(self, step: str) -> RunFolder:
        return RunFolder(run_path(self.dag.dag_id, self.run_id, step))

    @property
    def summary(self) -> dict[str, Any]:
        return dict(json.loads(self.folder("report").get("summary.json") or b"{}"))

    @property
    def plan(self) -> dict[str, Any]:
        return dict(json.loads(self.folder("plan").get("plan.json") or b"{}"))

    @property
    def counts(self) -> dict[str, int]:
        """The states that hold rows."""
        return {name: self.summary[name] for name in STATES if self.summary[name]}

    @property
    def problems(self) -> str:
        return " ".join(self.summary["problems"])

    @property
    def outcomes(self) -> pl.DataFrame:
        with self.folder("outcomes").reading("*.parquet") as files:
            return pl.concat([pl.DataFrame(schema=OUTCOME_COLUMNS), *map(pl.read_parquet, files)])

    @property
    def reasons(self) -> dict[str, int]:
        return dict(self.outcomes["reason"].value_counts().iter_rows())

    def assert_accounted(self) -> None:
        """Every row ended once: in the counts, and in the outcome files; and the evidence holds."""
        summary = self.summary
        found = self.xcom("find_snapshot")
        rows = set(self._snapshot_keys(found["snapshot"])) if found else set()
        assert summary["rows_in"] == len(rows) == sum(summary[name] for name in STATES)
        outcomes = self.outcomes
        assert outcomes.height == len(rows) and set(outcomes["row_key"]) == rows
        assert set(outcomes["reason"]) <= set(REASONS)
        states = outcomes["state"].to_list()
        assert states == [REASONS[reason].state for reason in outcomes["reason"]]
        for ours in ("suppressed", "held"):  # where nothing is the vendor's to say
            assert states.count(ours) == summary[ours]
        assert self.ledger.verify() == []
        if summary["load"]:
            counts = self.ledger.load(summary["load"]).counts
            assert counts is not None
            assert counts.to_dict() == {name: summary[name] for name in ("rows_in", *STATES)}

    @staticmethod
    def _snapshot_keys(path: str) -> Iterator[str]:
        with RunFolder(path).reading("part-*.parquet") as files:
            for file in files:
                yield from pl.read_parquet(file)["row_key"]


@dataclass
class Run(AnyRun):
    """A run by `dag.test()`, in Airflow's own database."""

    dag: Any
    dag_run: Any
    ledger: Ledger

    @property
    def run_id(self) -> str:
        return str(self.dag_run.run_id)

    @property
    def tasks(self) -> dict[str, str]:
        return {ti.task_id: str(ti.state) for ti in self.dag_run.get_task_instances()}

    @property
    def state(self) -> str:
        return str(self.dag_run.state.value)

    def xcom(self, task: str, key: str = "return_value") -> Any:
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        of_run = (XComModel.dag_id == self.dag_run.dag_id, XComModel.run_id == self.run_id)
        with create_session() as session:
            found = session.scalar(
                select(XComModel.value).where(*of_run, XComModel.task_id == task, XComModel.key == key)
            )
        return json.loads(found) if isinstance(found, str) else found

    def clear(self, task: str) -> None:
        from airflow.sdk.definitions.dag import _run_task
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState, TaskInstanceState

        again = STEPS[STEPS.index(task) :]
        with create_session() as session:
            self.dag_run = session.merge(self.dag_run)
            self.dag_run.state = DagRunState.RUNNING
            tis = {ti.task_id: ti for ti in self.dag_run.get_task_instances(session=session)}
            for name in again:
                tis[name].next_method = tis[name].next_kwargs = None
                tis[name].try_number += 1
                tis[name].state = TaskInstanceState.SCHEDULED
                session.commit()
                _run_task(ti=tis[name], task=self.dag.task_dict[name], run_triggerer=True)
            self.dag_run.state = DagRunState(tis["report"].state.value)


class DirectRun(AnyRun):
    """The same DAG's tasks, one after the other, without Airflow's database: a tenth of the time.

    Retries, deferring, trigger rules and XCom are played as Airflow has them; XCom values go through JSON.
    """

    pushed: ClassVar[list[str]] = []
    """Every XCom value, and every page that a person was shown, of this test, for the look at what leaks."""

    answer: dict[str, Any] = NO_ANSWER
    """What a person answers who is asked to approve."""

    def __init__(self, dag: Any, ledger: Ledger, run_id: str, conf: dict[str, Any], **about: Any) -> None:
        self.dag, self.ledger, self.run_id = dag, ledger, run_id
        self._xcoms: dict[tuple[str, str], str] = {}
        self._tasks: dict[str, str] = {}
        self.try_number = 1
        params = {name: param.value for name, param in dag.params.items()} | conf
        self._about = {
            "dag_run": SimpleNamespace(dag_id=dag.dag_id, run_id=run_id, conf=conf, **about),
            "params": params,
        }

    @property
    def tasks(self) -> dict[str, str]:
        return self._tasks

    def xcom(self, task: str, key: str = "return_value") -> Any:
        return json.loads(self._xcoms.get((task, key), "null"))

    def clear(self, task: str) -> None:
        self.go(task)

    def go(self, first: str = STEPS[0]) -> DirectRun:
        for name in STEPS[STEPS.index(first) :]:
            self._tasks[name] = self._end(self.dag.task_dict[name])
        return self

    def _end(self, task: Any) -> str:
        """The state a task ends in."""
        before = {self._tasks[name] for name in task.upstream_task_ids}
        if task.trigger_rule != "all_done" and before & {"failed", "upstream_failed"}:
            return "upstream_failed"
        for number in range(1, task.retries + 2):
            self.try_number = number
            try:
                self.attempt(task)
                return "success"
            except AirflowSkipException:
                return "skipped"
            except AirflowFailException:
                return "failed"
            except Exception as error:
                logging.getLogger("airflow.task").exception("Task failed with exception")
                decision = task.retry_policy.evaluate(error, number, task.retries)
                if decision.action == RetryAction.FAIL:
                    return "failed"
                if decision.retry_delay:
                    time.sleep(decision.retry_delay.total_seconds())
        return "failed"

    def attempt(self, task: Any) -> None:
        """One try of a task; raises what it raises."""
        for key in [key for key in self._xcoms if key[0] == task.task_id]:
            del self._xcoms[key]
        task = copy.copy(task)
        for field in task.template_fields:
            value = getattr(task, field)
            if isinstance(value, PlainXComArg):
                setattr(task, field, self.xcom(value.operator.task_id))
        instance = _TaskInstance(self, task.task_id)
        context = {**self._about, "ti": instance, "task_instance": instance}
        method, event = task.execute, {}
        while True:
            try:
                result = self.asking(task, partial(method, context, **event))
                break
            except TaskDeferred as deferred:
                classpath, arguments = deferred.trigger.serialize()
                trigger = import_string(classpath)(**json.loads(json.dumps(arguments)))
                method = getattr(task, deferred.method_name)
            event = {"event": asyncio.run(_first_event(trigger))}
        self.push(task.task_id, "return_value", result)

    def asking(self, task: Any, step: Callable[[], Any]) -> Any:
        """Do a step of a task; where it asks a person, hand it the answer."""
        with mock.patch("airflow.providers.standard.operators.hitl.upsert_hitl_detail") as shown:
            try:
                return step()
            except TaskAwaitingInput as waiting:
                self.page = shown.call_args.kwargs
                self.pushed.append(json.dumps([self.page["subject"], self.page["body"], self.page["params"]]))
                ((context,), _) = step.args, step.keywords  # type: ignore[attr-defined]
                return getattr(task, waiting.method_name)(context, event=self.answer)

    def push(self, task: str, key: str, value: Any) -> None:
        self._xcoms[task, key] = json.dumps(value)
        self.pushed.append(self._xcoms[task, key])


@dataclass
class _TaskInstance:
    run: DirectRun
    task_id: str
    id: str = "the task instance"

    @property
    def try_number(self) -> int:
        return self.run.try_number

    @property
    def max_tries(self) -> int:
        return int(self.run.dag.task_dict[self.task_id].retries)

    def xcom_push(self, key: str, value: Any) -> None:
        self.run.push(self.task_id, key, value)

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self.run.xcom(task_ids, key)


async def _first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("The trigger ended without an event.")


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
        if file.suffix in (".json", ".md", ".csv") and file.name != "payload.csv":
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
