"""The steps of `restore_list` and `resend_rejects`: hand a snapshot in, and let the list's own delivery deliver it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, DagRunTriggerException

from include.flow_files import Delivery
from listkeeper.links import RejectsLink, ReportLink
from listkeeper.masking import Masked
from listkeeper.operators.run import refuse_unknown_params, run_folder

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import Context

    from include.fixed import Problem
    from include.handed_in import Order
    from include.ledger import Ledger

POLL_SECONDS = 15


class HandInOperator(Masked, BaseOperator):
    """
    Base of the steps that hand in.

    Returns `{"dag_id", "run_id", "rows"}` of the delivery's run to start.

    :param flows: every delivery there is.
    """

    def __init__(self, *, flows: Sequence[Delivery], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flows = tuple(flows)

    def execute(self, context: Context) -> dict[str, Any]:
        """Hand in. What cannot be is no failure of a moment: the task fails for good, and says why."""
        from listkeeper.hooks.ledger import open_ledger

        refuse_unknown_params(context["dag_run"], self.dag.params)
        try:
            order = self.hand_in(context, open_ledger())
        except Exception as error:
            if type(error).__module__.startswith("include."):
                raise AirflowFailException(f"{error} Nothing was handed in.") from None
            raise
        self.log.info("Handed in %d leads for %s, run %s.", order.rows, order.dag_id, order.run_id)
        return {"dag_id": order.dag_id, "run_id": order.run_id, "rows": order.rows}

    def hand_in(self, context: Context, ledger: Ledger) -> Order:
        """Write the snapshot down. Raises a ValueError of ours, whose message says what to do."""
        raise NotImplementedError

    def flow_of(self, dag_id: str | None) -> Delivery:
        """The flow of a delivery's DAG."""
        for flow in self.flows:
            if flow.dag_id == dag_id:
                return flow
        raise AirflowFailException(
            f"There is no delivery {dag_id}. Its flow file is gone, or cannot be used."
        )


class HandInCopyOperator(HandInOperator):
    """
    Hand in the encrypted copy of an earlier load of a list, to be put back.

    The newest copy that is not what stands on the list now, or that of the load that the form names.
    """

    def hand_in(self, context: Context, ledger: Ledger) -> Order:
        from include import safe
        from include.handed_in import Order, hand_in, run_id_of
        from include.restore import choose
        from listkeeper.hooks.erasure import erasure_key

        params, dag_run = context["params"], context["dag_run"]
        if not params.get("reason"):
            raise AirflowFailException("Give the reason: it goes into the evidence, and to whoever approves.")
        flow, key = self.flow_of(params.get("list")), erasure_key()
        copy, now_on, text = choose(ledger, flow, params.get("load") or None)
        who = getattr(dag_run, "triggering_user_name", None)
        order = Order(
            kind="restore",
            dag_id=flow.dag_id,
            run_id=run_id_of("restore", dag_run.run_id),
            flow=flow.name,
            target=flow.target,
            of=copy.load,
            load=copy.load,
            night=now_on.night,
            source_time=datetime.now(UTC).isoformat(),
            requested_by=who,
            reason=str(params["reason"]),
            text=f"{who or 'Somebody'} asks to {text} Reason: {params['reason']}",
            rows=0,
        )

        def write(out: Path) -> int:
            rows = 0
            for number, leads in enumerate(safe.leads(key, copy)):
                leads.write_parquet(out / f"part-{number:05d}.parquet", compression="zstd")
                rows += leads.height
            return rows

        return hand_in(ledger, order, {"source": flow.source}, write)


class HandInFixedOperator(HandInOperator):
    """
    Hand in the rejects of a load that a person has fixed and uploaded on the page of that load.

    Writes a report and reject files about the rows of the file that cannot be used; the others go on.
    """

    operator_extra_links = (RejectsLink(), ReportLink())

    def hand_in(self, context: Context, ledger: Ledger) -> Order:
        from include import resend
        from include.fixed import read_fixed
        from include.handed_in import Order, hand_in, run_id_of
        from include.resend import ResendError
        from include.uploads import read_upload

        dag_run = context["dag_run"]
        upload = read_upload(dag_run.dag_id, dag_run.run_id)
        who = getattr(dag_run, "triggering_user_name", None)
        if who not in (None, upload.requested_by):
            raise AirflowFailException(f"{upload.requested_by} uploaded this file and {who} started the run.")
        load = ledger.load(upload.load)
        flow = self.flow_of(load.dag_id)
        run_id = run_id_of("resend", dag_run.run_id)
        file = read_fixed(upload.name, upload.content)
        chosen = resend.choose(ledger, flow, load, file, run_id)
        self._report(context, resend.page(flow, chosen, run_id), chosen.problems)
        if not chosen.fixes:
            raise ResendError(
                "No row of the file can be sent again; the report of this run says why, row by row."
            )
        order = Order(
            kind="resend",
            dag_id=flow.dag_id,
            run_id=run_id,
            flow=flow.name,
            target=flow.target,
            of=chosen.of,
            load=load.id,
            night=chosen.night,
            source_time=chosen.source_time.isoformat(),
            requested_by=upload.requested_by,
            reason=upload.reason,
            text=f"{len(chosen.fixes):,} fixed rejects of load {load.id[:8]}.",
            rows=0,
            fixed=len(chosen.fixes),
            refused=len(chosen.problems),
        )
        return hand_in(ledger, order, resend.facts(flow, chosen), lambda out: resend.write(flow, chosen, out))

    @staticmethod
    def _report(context: Context, text: str, problems: Sequence[Problem]) -> None:
        """Leave the report and the rows that are not sent."""
        import polars as pl

        from include.leads.schema import OUTCOME_COLUMNS
        from include.report.rejects import write_rejects
        from include.staging import Manifest

        rows = [
            {"row_key": one.row_key, "state": "rejected", "reason": one.code, "detail": one.detail}
            for one in problems
        ]
        out = run_folder(context, "report")
        with out.writing() as scratch:
            outcomes = scratch / "outcomes.parquet"
            pl.DataFrame(rows, schema=OUTCOME_COLUMNS).write_parquet(outcomes)
            write_rejects([outcomes], scratch)
            (scratch / "report.md").write_text(text, encoding="utf-8")
            out.commit(scratch, Manifest(kind="report", rows=len(rows)))


class DeliverHandedInOperator(Masked, BaseOperator):
    """
    Start the delivery that takes up what was handed in, and wait for its end without a worker.

    As Airflow's TriggerDagRunOperator, whose module brings the ORM along, but at every try: a run that an earlier try
    has started is waited for, not started again. This task is green when that run is.

    Returns `{"dag_id", "run_id"}`.

    :param handed_in: what the step before returned. (templated)
    """

    template_fields: Sequence[str] = ("handed_in",)

    def __init__(self, *, handed_in: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.handed_in = handed_in

    def execute(self, context: Context) -> Any:
        """Start the run, or find it."""
        from airflow.providers.standard.triggers.external_task import DagStateTrigger
        from airflow.utils.state import DagRunState

        dag_id, run_id = self.handed_in["dag_id"], self.handed_in["run_id"]
        if context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id]):
            self.log.info("Run %s of %s is there already.", run_id, dag_id)
            self.defer(
                trigger=DagStateTrigger(
                    dag_id=dag_id,
                    states=[DagRunState.SUCCESS, DagRunState.FAILED],
                    run_ids=[run_id],
                    poll_interval=POLL_SECONDS,
                ),
                method_name="execute_complete",
            )
        raise DagRunTriggerException(
            trigger_dag_id=dag_id,
            dag_run_id=run_id,
            conf={},
            reset_dag_run=False,
            skip_when_already_exists=False,
            wait_for_completion=True,
            allowed_states=[DagRunState.SUCCESS],
            failed_states=[DagRunState.FAILED],
            poke_interval=POLL_SECONDS,
            deferrable=True,
        )

    def execute_complete(self, context: Context, event: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        """Say how the run ended; Airflow calls the method by this name."""
        dag_id, run_id = self.handed_in["dag_id"], self.handed_in["run_id"]
        if event[1].get(run_id) != "success":
            raise AirflowFailException(
                f"The run {run_id} of {dag_id} did not end well; its report says why. Clear that run's failed task, "
                "and then this one."
            )
        return {"dag_id": dag_id, "run_id": run_id}
