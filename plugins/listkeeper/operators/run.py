"""What every step of a run that writes to a vendor shares: its folder, its form, its failures, and sending a plan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TriggerRule
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from include.approval import WRITES
from include.flow_files import ArchiveFlow, Delivery
from include.masking import mask
from listkeeper.links import PlanLink, RejectsLink, ReportLink
from listkeeper.masking import Masked

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.canary import Canary
    from include.ledger import Ledger, Load
    from include.staging import RunFolder

AS_RELEASED, PLAN, APPLY = "as released", "plan", "apply"
ACTIONS = (AS_RELEASED, PLAN, APPLY)
"""What a person may ask a run to do; scheduled runs do as the flow file is released."""


WHY_NOT = {"plan_only": "this run only plans", "unchanged": "the list already holds exactly this"}
"""Decision of a plan that sends nothing -> why."""


def run_folder(context: Context, step: str) -> RunFolder:
    """The run folder of one step of this DAG run."""
    from include.staging import RunFolder, run_path

    return RunFolder(run_path(context["dag_run"].dag_id, context["dag_run"].run_id, step))


@contextmanager
def telling(context: Context) -> Iterator[None]:
    """Leave the reason of a failure as XCom `stopped`, for the reconciliation; the next try begins without it.

    Only messages of our own go there: those of other errors might quote a row.
    """
    try:
        yield
    except AirflowSkipException:
        raise
    except Exception as error:
        ours = isinstance(error, AirflowException) or type(error).__module__.startswith("include.")
        task = context["ti"].task_id
        why = mask(str(error)) if ours else f"{task} failed ({type(error).__name__}); see its log."
        context["ti"].xcom_push(key="stopped", value=why)
        raise


def refuse_unknown_params(dag_run: Any, known: Mapping[str, Any]) -> None:
    """Airflow takes any key in a run's `conf`; one that the form does not know is a mistake.

    :param known: the DAG's own params; those of the context hold whatever the conf brought along.
    """
    unknown = sorted(set(dag_run.conf or {}) - set(known))
    if unknown:
        raise AirflowFailException(
            f"Unknown parameter {', '.join(unknown)}. This DAG knows {', '.join(sorted(known))}."
        )


def asked_action(flow: Delivery | ArchiveFlow, params: Any, dag_run: Any, *, from_backfill: bool) -> str:
    """Whether a run may write (`apply`) or only shows (`plan`): by its form, and by whether the flow is released."""
    asked = params.get("action") or AS_RELEASED
    by_hand = dag_run.run_type == "manual"
    if asked == PLAN or (from_backfill and not (by_hand and asked == APPLY)):
        return PLAN
    if asked == APPLY and not flow.released:
        raise AirflowFailException(
            f"Flow {flow.name} only plans until its file says `released: true`. Look at a plan first, then "
            "release it there."
        )
    if asked == APPLY and by_hand and not params.get("reason"):
        raise AirflowFailException("To apply by hand, give the reason: it goes into the evidence.")
    return APPLY if flow.released else PLAN


class RunOperator(Masked, BaseOperator):
    """
    Base of the steps of a run that writes to a vendor.

    :param flow: the flow file, as it was read while parsing.
    """

    operator_extra_links = (PlanLink(), RejectsLink(), ReportLink())

    def __init__(self, *, flow: Delivery | ArchiveFlow, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flow = flow


class PlanStepOperator(RunOperator):
    """
    Base of the steps that take a plan up: the approval, and the vendor's own step.

    :param planned: what the plan step returned. (templated)
    """

    template_fields: Sequence[str] = ("planned",)

    def __init__(self, *, planned: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.planned = planned

    def own_load(self, ledger: Ledger, context: Context) -> Load:
        """The load of this run's plan, as the ledger has it: what came by XCom may be somebody's own words."""
        from include.ledger import UnknownLoadError

        dag_run = context["dag_run"]
        try:
            load = ledger.load(str(self.planned["load"]))
        except (UnknownLoadError, KeyError, TypeError):
            load = None
        if load is None or (load.dag_id, load.run_id, load.target, load.plan_hash) != (
            dag_run.dag_id,
            dag_run.run_id,
            self.flow.target,
            self.planned["hash"],
        ):
            raise AirflowFailException(
                "The plan step hands on another plan than the one it wrote down in the ledger for this run. Nothing "
                "was sent. Clear the task plan, or start a new run."
            )
        return load


class SendOperator(PlanStepOperator):
    """
    Base of the vendor's own step: sends a plan, and nothing that was not planned, or not approved where it must be.

    It looks the approval up in the ledger: that the step before it is green, or says so by XCom, proves nothing.
    A flow that asks nobody skips that step, so this one runs unless one before it failed.

    :param planned: what the plan step returned. (templated)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"trigger_rule": TriggerRule.NONE_FAILED} | kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        with telling(context):
            decision = self.planned["decision"]
            if decision == "refused":
                raise AirflowFailException(
                    "A guard refused the plan, so nothing was sent. The report says which and why."
                )
            if decision not in WRITES:
                told = f"Nothing to send: {WHY_NOT.get(decision, decision)}."
                self.log.info(told)  # Airflow logs that a task is skipped, not why
                raise AirflowSkipException(told)
            self._require_approval(context)
            return self.send(context)

    def _require_approval(self, context: Context) -> None:
        from include.approval import person_problem
        from include.ledger import NotApprovedError
        from listkeeper.hooks.ledger import open_ledger

        load = self.own_load(open_ledger(), context)
        if load.approval is None:
            return
        if load.approval != "approved":
            raise AirflowFailException(str(NotApprovedError(load.id, load.approval)))
        if problem := person_problem(self.flow.approval, load.requested_by, load.approved_by):
            raise AirflowFailException(f"{problem} Nothing was sent.")

    def canary(self) -> Canary | None:
        """What goes first, alone, by the plan that is sent."""
        from include.canary import planned
        from include.plan import PLAN
        from include.staging import RunFolder

        return planned(json.loads(RunFolder(self.planned["plan"]).get(PLAN) or b"{}"))

    def approved_past(self, ledger: Ledger, guard: str) -> bool:
        """Whether a person has approved this very plan although this guard had stopped it."""
        from include.plan import PLAN
        from include.staging import RunFolder

        plan = json.loads(RunFolder(self.planned["plan"]).get(PLAN) or b"{}")
        asked = guard in [refusal["guard"] for refusal in plan.get("refusals", [])]
        return asked and ledger.load(self.planned["load"]).approval == "approved"

    def send(self, context: Context) -> dict[str, Any]:
        """Send the plan, or go on where an earlier try of this task stopped; the ledger knows where that was.

        :return: the vendor's counts. May defer.
        """
        raise NotImplementedError
