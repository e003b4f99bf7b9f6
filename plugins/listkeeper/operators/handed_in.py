"""What was handed in for a delivery's run (`include.handed_in`), as the delivery's own steps take it up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from listkeeper.operators.run import APPLY, PLAN

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.flow_files import Delivery
    from include.handed_in import Order
    from include.staging import Manifest


def taken_up(context: Context, flow: Delivery) -> tuple[Order, dict[str, Any]] | None:
    """What was handed in for this run, and what its first step says of it; None for a run that delivers a night.

    Neither this run's parameters nor its XComs have a say in it.
    """
    from include.handed_in import HandedInError, kind_of, taken_up
    from listkeeper.hooks.ledger import open_ledger

    dag_run = context["dag_run"]
    if kind_of(dag_run.run_id) is None:
        return None
    if dag_run.conf:
        raise AirflowFailException(
            "This run delivers what was handed in for it and takes no parameters. Nothing was sent."
        )
    started_by = getattr(dag_run, "triggering_user_name", None)
    try:
        order, folder = taken_up(open_ledger(), dag_run.dag_id, dag_run.run_id, started_by)
    except HandedInError as error:
        raise AirflowFailException(str(error)) from None
    if (order.flow, order.target) != (flow.name, flow.target):
        raise AirflowFailException("The flow file names another list since this was handed in. Start again.")
    manifest = folder.manifest()
    return order, {
        "snapshot": folder.path,
        "night": manifest.night,
        "full": manifest.facts.get("mode") == "full",
        "rows_in": manifest.rows,
        "source_time": order.source_time,
        "action": APPLY if flow.released and not unreleased_backfill(flow, manifest) else PLAN,
        "requested_by": order.requested_by,
        "reason": order.reason,
    }


def unreleased_backfill(flow: Delivery, manifest: Manifest) -> bool:
    """Whether a snapshot was made by a backfill that the flow's file does not release."""
    released = flow.released_backfill
    return manifest.facts.get("run_type") == "backfill" and not (
        released is not None
        and manifest.night is not None
        and released.covers(manifest.night, datetime.now(UTC).date())
    )
