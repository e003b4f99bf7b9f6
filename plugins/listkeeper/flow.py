"""What the DAG files share: defaults, the chain of a delivery, and the DAG of a flow file that is broken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    BaseOperator,
    Param,
    RetryPolicy,
    TriggerRule,
    chain,
    task,
)
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowFailException

from include.flow_files import BrokenFlow, Delivery, FlowFile
from include.vendors.errors import RateLimitedError, VendorError
from listkeeper.operators.approval import ApprovePlanOperator
from listkeeper.operators.delivery import CleanLeadsOperator, FindSnapshotOperator, PlanLoadOperator
from listkeeper.operators.reconcile import ReconcileOperator, ReportOperator
from listkeeper.operators.run import ACTIONS, AS_RELEASED


class VendorRetryPolicy(RetryPolicy):
    """Try again only what may succeed (a vendor that is away, not a key that is wrong), and when the vendor wants."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> RetryDecision:
        from include.ledger import MayNotWriteError  # SQLAlchemy, which no DAG file needs to load

        if isinstance(exception, RateLimitedError):
            return RetryDecision.retry(
                timedelta(seconds=exception.retry_after), "the vendor asked us to wait"
            )
        if isinstance(exception, VendorError) and not exception.again:
            return RetryDecision.fail("the vendor says no; trying again changes nothing")
        if isinstance(exception, MayNotWriteError):
            return RetryDecision.fail("the list may not be written; a person has to do something first")
        if getattr(exception, "again", None) is False:  # a suppression list that is not as it has to be
            return RetryDecision.fail("what has to be read is wrong; trying again changes nothing")
        return RetryDecision.default()


def defaults(owner: str) -> dict[str, Any]:
    """Arguments of every task."""
    return {
        "owner": owner,
        "retries": 4,
        "retry_delay": timedelta(seconds=20),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "retry_policy": VendorRetryPolicy(),
    }


def source_asset(source: str) -> Asset:
    """The asset that a pull of this source emits, one partition a night."""
    return Asset(name=f"leads_{source}", uri=f"x-listkeeper://leads/{source}")


def night_param() -> Param:
    """Form field: which night."""
    return Param(
        None,
        type=["null", "string"],
        format="date",
        title="Night",
        description_md="The night to work on, such as 2026-11-20. Empty: the newest one that is complete.",
    )


def asking_params(*, released: bool) -> dict[str, Param]:
    """Form fields of every run that may write: what to do, and why."""
    return {
        "action": Param(
            AS_RELEASED,
            type="string",
            enum=list(ACTIONS),
            title="What to do",
            # No code between backticks: Airflow's form lays its boxes over the line above.
            description_md="*plan* shows what would change and sends nothing. *apply* sends. *as released* does as "
            f"this flow's file says: it {'sends' if released else 'only plans'}.",
        ),
        "reason": Param(
            None,
            type=["null", "string"],
            minLength=3,
            maxLength=300,
            title="Reason",
            description_md="Why you start this run; needed to *apply* by hand, and kept as evidence. "
            "Write no names or numbers of customers.",
        ),
    }


def delivery(flow: Delivery, doc: str | None) -> dict[str, Any]:
    """Arguments of a delivery's DAG, its form included."""
    return {
        "dag_id": flow.dag_id,
        "description": flow.title or f"{flow.list_name}, from {flow.source}",
        "doc_md": doc,
        "catchup": False,
        "max_active_runs": 1,
        "default_args": defaults(flow.owner),
        "tags": tags(flow, "delivery", flow.vendor),
        "params": {
            "night": night_param(),
            **asking_params(released=flow.released),
        },
        "render_template_as_native_obj": True,
    }


def deliver(
    flow: Delivery,
    load: Callable[..., BaseOperator],
    *,
    plan: type[PlanLoadOperator] = PlanLoadOperator,
) -> None:
    """
    Chain the steps of a delivery inside a DAG.

    :param load: makes the vendor's own load task (id `load`); gets the plan's output as `planned`.
    :param plan: the vendor's own plan step, where it has one.
    """
    found = FindSnapshotOperator(task_id="find_snapshot", flow=flow)
    cleaned = CleanLeadsOperator(task_id="clean", flow=flow, found=found.output)
    planned = plan(task_id="plan", flow=flow, found=found.output, cleaned=cleaned.output)
    approved = ApprovePlanOperator(task_id="approve", flow=flow, planned=planned.output)
    loaded = load(planned=planned.output)
    reconciled = ReconcileOperator(task_id="reconcile", flow=flow, trigger_rule=TriggerRule.ALL_DONE)
    report = ReportOperator(task_id="report", flow=flow, summary=reconciled.output)
    chain(planned, approved, loaded, reconciled, report)


def broken_flow_dag(broken: BrokenFlow) -> DAG:
    """A DAG that stands for a flow file with a mistake: it shows what is wrong, and fails when it is run."""
    with DAG(
        dag_id=broken.dag_id,
        schedule=None,
        catchup=False,
        description=f"Broken flow file {broken.error.file}",
        doc_md=f"**This flow file cannot be used.**\n\n```text\n{broken.error}\n```\n",
        tags={"listkeeper", "broken flow file"},
        default_args={"owner": "listkeeper", "retries": 0},
    ) as dag:

        @task(task_id="mend_the_flow_file")
        def mend() -> None:
            raise AirflowFailException(str(broken.error))

        mend()
    return dag


def tags(flow: FlowFile, *more: str) -> set[str]:
    """Tags of a flow's DAG."""
    return {"listkeeper", *more, *flow.tags}
