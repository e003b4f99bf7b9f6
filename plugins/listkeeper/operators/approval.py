"""The step between plan and sending: asks a person in Airflow's Required Actions, where the plan needs one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.approval import SHORTEST_REASON, person_problem, reason_problem
from include.flow_files import ArchiveFlow, Delivery
from listkeeper.operators.run import PlanStepOperator, run_folder, telling

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.ledger import Load


class ApprovePlanOperator(PlanStepOperator, ApprovalOperator):
    """
    Ask a person to approve the run's plan, and wait without a worker; skipped where nobody needs to be asked.

    The answer goes to the ledger, bound to the plan's hash, and into the evidence. A rejection, no answer in time, and
    an approval that does not count (by who started the run, or without the reason that a stopped plan needs) fail the
    task. The step that sends looks the answer up in the ledger, so marking this task as a success approves nothing.

    Returns `{"approved_by", "hash"}`.

    :param planned: what the plan step returned. (templated)
    """

    template_fields: Sequence[str] = ("planned",)

    def __init__(self, *, flow: Delivery | ArchiveFlow, planned: Any, **kwargs: Any) -> None:
        super().__init__(
            flow=flow,
            planned=planned,
            subject="Approve the plan?",
            response_timeout=flow.approval.timeout,
            **kwargs,
        )
        self.params = ParamsDict({"why": why_param(needed=False)})

    def execute(self, context: Context) -> Any:
        with telling(context):
            self._ask(context)
        return super().execute(context)  # parks the task until somebody answers

    def _ask(self, context: Context) -> None:
        """Set the page up, or skip."""
        from include.approval_page import approval_page
        from include.ledger import MayNotWriteError
        from listkeeper.hooks.ledger import open_ledger

        ledger, approval = open_ledger(), self.flow.approval
        load = self.own_load(ledger, context)
        if load.approval is None:
            self.log.info(
                "Nobody needs to be asked about this plan."
            )  # Airflow logs that a task is skipped, not why
            raise AirflowSkipException("Nobody needs to be asked.")
        plan = self._plan(context, load)
        users = approval.askable(load.requested_by)
        if approval.by and not users:
            raise AirflowFailException(
                f"Only {load.requested_by} may approve this flow's plans, and started this run. Name somebody else "
                "under approval.by."
            )
        page = approval_page(plan, approval, load.requested_by)
        try:
            ledger.ask_approval(load.id, page.digest)
        except MayNotWriteError as error:
            raise AirflowFailException(str(error)) from None
        self.subject, self.body = page.subject, page.body
        self.assigned_users = [{"id": user, "name": user} for user in users]
        self.params = ParamsDict({"why": why_param(needed=bool(plan["refusals"]))})

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the answer; whatever is not a person's approval that counts fails the task."""
        with telling(context):
            return self._answered(context, event)

    def _answered(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        from include.approval_page import approval_page
        from include.ledger import MayNotWriteError
        from listkeeper.hooks.ledger import open_ledger

        ledger, approval = open_ledger(), self.flow.approval
        load = self.own_load(ledger, context)
        plan = self._plan(context, load)
        # What was shown, if the plan is still the one that was asked about; the ledger compares.
        page = approval_page(plan, approval, load.requested_by).digest
        facts = {
            "flow": plan["flow"],
            "target": plan["target"],
            "to_send": plan["to_send"],
            "refused_by": [refusal["guard"] for refusal in plan["refusals"]],
        }
        if event.get("error"):
            if event.get("error_type") != "timeout":
                raise AirflowFailException("Airflow could not take the answer. Clear this task to ask again.")
            ledger.answer_approval(load.id, page=page, approved=None, who=None, why=None, facts=facts)
            raise AirflowFailException(
                f"Nobody answered within {approval.timeout_hours:g} hours, and no answer means no. Nothing was sent."
            )
        who = (event.get("responded_by_user") or {}).get("name")
        why = str((event.get("params_input") or {}).get("why") or "").strip()[:300]
        if event["chosen_options"] != [self.APPROVE]:
            ledger.answer_approval(load.id, page=page, approved=False, who=who, why=why or None, facts=facts)
            raise AirflowFailException(
                f"{who or 'Somebody'} rejected this plan{f' ({why})' if why else ''}. Nothing was sent."
            )
        problem = person_problem(approval, load.requested_by, who) or reason_problem(plan, why)
        if problem is not None:
            raise AirflowFailException(f"{problem} Nothing was sent. Clear this task to ask again.")
        good_for = timedelta(hours=self.flow.guards.max_plan_age_hours)
        try:
            ledger.answer_approval(
                load.id, page=page, approved=True, who=who, why=why or None, good_for=good_for, facts=facts
            )
        except MayNotWriteError as error:
            raise AirflowFailException(str(error)) from None
        self.log.info("%s approved plan %s.", who, load.plan_hash[:12])
        return {"approved_by": who, "hash": load.plan_hash}

    @staticmethod
    def _plan(context: Context, load: Load) -> dict[str, Any]:
        """The run's plan, which is the one that the ledger names."""
        plan: dict[str, Any] = json.loads(run_folder(context, "plan").get("plan.json") or b"{}")
        if plan.get("hash") != load.plan_hash:
            raise AirflowFailException("The run's folder holds another plan. Start a new run.")
        return plan


def why_param(*, needed: bool) -> Param:
    """Form field: why somebody approves or rejects."""
    words = "Kept as evidence. Write no names or numbers of customers."
    if not needed:
        return Param(
            None, type=["null", "string"], maxLength=300, title="Reason", description_md=words, source="task"
        )
    return Param(
        "",
        type="string",
        minLength=SHORTEST_REASON,
        maxLength=300,
        title="Reason",
        description_md=f"A guard stopped this plan, so say why you approve or reject it. {words}",
        source="task",
    )
