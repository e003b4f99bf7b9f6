"""The step that starts the delivery of what was handed in: once, whatever happens to itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, DagRunTriggerException, TaskDeferred
from listkeeper.operators.hand_in import DeliverHandedInOperator

ORDER = {"dag_id": "load_purecallerid__nightly", "run_id": "restore__a", "rows": 3}


@pytest.fixture
def step() -> DeliverHandedInOperator:
    return DeliverHandedInOperator(task_id="deliver", handed_in=ORDER)


def context(runs: int) -> Any:
    def count(dag_id: str, run_ids: list[str]) -> int:
        assert (dag_id, run_ids) == (ORDER["dag_id"], [ORDER["run_id"]])
        return runs

    return {"ti": SimpleNamespace(get_dr_count=count)}


def test_the_run_is_started_without_parameters_and_waited_for(step):
    with pytest.raises(DagRunTriggerException) as raised:
        step.execute(context(0))
    asked = raised.value
    assert (asked.trigger_dag_id, asked.dag_run_id, asked.conf) == (ORDER["dag_id"], ORDER["run_id"], {})
    assert asked.wait_for_completion and asked.deferrable and not asked.reset_dag_run


def test_a_run_that_an_earlier_try_started_is_only_waited_for(step):
    with pytest.raises(TaskDeferred) as raised:
        step.execute(context(1))
    _, arguments = raised.value.trigger.serialize()
    assert arguments["run_ids"] == [ORDER["run_id"]] and set(arguments["states"]) == {"success", "failed"}
    assert raised.value.method_name == "execute_complete"


def test_it_ends_as_the_run_did(step):
    told = {"run_ids": [ORDER["run_id"]], ORDER["run_id"]: "success"}
    assert step.execute_complete({}, ("trigger", told)) == {
        name: ORDER[name] for name in ("dag_id", "run_id")
    }
    for state in ("failed", None):
        with pytest.raises(AirflowFailException, match="did not end well"):
            step.execute_complete({}, ("trigger", told | {ORDER["run_id"]: state}))
