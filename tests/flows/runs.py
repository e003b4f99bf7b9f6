"""Runs of a flow in a test: by Airflow itself, or task by task without its database; and what one says of itself."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar, Self
from unittest import mock

import polars as pl
from airflow.sdk import RetryAction
from airflow.sdk.definitions.xcom_arg import PlainXComArg
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSkipException,
    TaskAwaitingInput,
    TaskDeferred,
)
from airflow.sdk.module_loading import import_string
from listkeeper.masking import PEOPLE

from include.leads.reasons import REASONS
from include.leads.schema import OUTCOME_COLUMNS, STATES
from include.ledger import Ledger
from include.masking import mask_value
from include.staging import RunFolder, run_path

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

    steps: ClassVar[Sequence[str]] = STEPS
    waits = 0
    """How often a task has waited without a worker."""

    when_waiting: Callable[[], None] = staticmethod(lambda: None)

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

    def go(self, first: str | None = None, last: str | None = None) -> Self:
        """Run the tasks one after the other, from `first` on, up to and with `last`."""
        end = self.steps.index(last) + 1 if last else None
        for name in self.steps[self.steps.index(first) if first else 0 : end]:
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
        instance = TaskInstance(self, task.task_id)
        context = {**self._about, "ti": instance, "task_instance": instance}
        method, event = task.execute, {}
        while True:
            try:
                result = self.asking(task, partial(method, context, **event))
                break
            except TaskDeferred as deferred:
                self.waits += 1
                self.when_waiting()
                classpath, arguments = deferred.trigger.serialize()
                trigger = import_string(classpath)(**json.loads(json.dumps(arguments)))
                method = getattr(task, deferred.method_name)
            event = {"event": self.event(trigger)}
        self.push(task.task_id, "return_value", result)

    def event(self, trigger: Any) -> Any:
        """Wait for a trigger's event."""
        return asyncio.run(self.first_event(trigger))

    @staticmethod
    async def first_event(trigger: Any) -> Any:
        async for event in trigger.run():
            return event.payload
        raise AssertionError("The trigger ended without an event.")

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
        assert mask_value(value, kept=PEOPLE) == value, f"{task} pushed what must be masked"
        self._xcoms[task, key] = json.dumps(value)
        self.pushed.append(self._xcoms[task, key])


@dataclass
class TaskInstance:
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
