"""Every DAG that writes to a vendor asks before it does, whoever the vendor is."""

from __future__ import annotations

import pytest
from listkeeper.flow import VendorRetryPolicy
from listkeeper.operators.approval import ApprovePlanOperator
from listkeeper.operators.run import SendOperator

from include.flow_files import KINDS
from include.ledger import LoadBusyError, MayNotWriteError, PlanTooOldError, TargetLockedError
from include.settings import PROJECT_ROOT

DAGS = PROJECT_ROOT / "dags"


@pytest.fixture(scope="module")
def senders():
    """The tasks that write to a vendor, by DAG."""
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(dag_folder=str(DAGS), bundle_path=DAGS, bundle_name="dags-folder")
    return {
        dag.dag_id: task for dag in bag.dags.values() for task in dag.tasks if isinstance(task, SendOperator)
    }


def test_every_flow_that_can_be_released_is_among_them(senders):
    writing = {kind for kind, model in KINDS.items() if "released" in model.model_fields}
    found = {dag_id.partition("__")[0] for dag_id in senders}
    assert found <= writing
    assert {"load_purecallerid", "archive_vicidial_leads"} <= found
    for kind in writing:
        assert "approval" in KINDS[kind].model_fields
        assert "max_plan_age_hours" in KINDS[kind].model_fields["guards"].annotation.model_fields


def test_what_sends_stands_behind_the_approval_and_runs_when_that_is_skipped(senders):
    for dag_id, task in senders.items():
        approve = task.dag.task_dict["approve"]
        assert isinstance(approve, ApprovePlanOperator), dag_id
        assert approve.task_id in task.upstream_task_ids and "plan" in approve.upstream_task_ids, dag_id
        assert task.trigger_rule == "none_failed", dag_id


def test_no_vendors_step_goes_around_the_look_at_the_approval(senders):
    for dag_id, task in senders.items():
        assert type(task).execute in (SendOperator.execute, vars(SendOperator)["execute"]), dag_id


def test_a_load_that_may_not_write_is_not_tried_again():
    policy = VendorRetryPolicy()
    for error in (PlanTooOldError("l", None), MayNotWriteError("x")):
        assert policy.evaluate(error, 1, 4).action.name == "FAIL"
    for error in (TargetLockedError("t", "l", None), LoadBusyError("l", None)):
        assert policy.evaluate(error, 1, 4).action.name != "FAIL"
