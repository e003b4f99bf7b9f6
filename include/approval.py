"""When a person must approve a plan, who may, and whose word counts (section `approval:` of a flow file)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from include.guards import Refusal

Decision = Literal["apply", "ask", "plan_only", "refused", "unchanged"]
"""What becomes of a plan. `ask`: it is written once a person has approved it."""

WRITES: Final = ("apply", "ask")
"""Decisions of plans that may be written: at once, or once a person has approved."""

Who = Annotated[str, StringConstraints(min_length=1, max_length=250, strip_whitespace=True)]

SHORTEST_REASON: Final = 3
"""Letters of a reason that says something."""


class Approval(BaseModel):
    """When a person must approve a plan, and who may."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ask: Literal["never", "refused", "destructive", "always"] = Field(
        "refused",
        description="When a person is asked: never (what a guard refuses ends there); refused (only when a guard "
        "stopped the plan); destructive (also when rows would leave the list, as by a replace or an archive, or change "
        "on it); always.",
    )
    by: tuple[Who, ...] = Field(
        (),
        description="Ids of the Airflow users who may answer. Left out: whoever may act on the DAG.",
    )
    own_runs: bool = Field(False, description="Whether who started a run may approve its plan.")
    timeout_hours: float = Field(
        12.0, gt=0, le=168, description="How long an answer is waited for. No answer means no."
    )

    @property
    def timeout(self) -> timedelta:
        """How long an answer is waited for."""
        return timedelta(hours=self.timeout_hours)

    def askable(self, requested_by: str | None) -> tuple[str, ...]:
        """The users of `by` who may answer for a run that this person started; empty where `by` is."""
        return tuple(user for user in self.by if self.own_runs or user != requested_by)


def decide(
    approval: Approval,
    *,
    action: Literal["apply", "plan"],
    refusals: Sequence[Refusal],
    changes: bool,
    destructive: bool,
) -> Decision:
    """What becomes of a plan that is not what stands on the list already.

    :param changes: whether the list would change at all; nobody is asked to send nothing.
    :param destructive: whether rows leave the list, or are changed on it.
    """
    if action == "plan":
        # It shows what the guards would say, and is no failure: a backfill is old by nature.
        return "plan_only"
    if refusals:
        passable = changes and approval.ask != "never" and all(refusal.passable for refusal in refusals)
        return "ask" if passable else "refused"
    asked = approval.ask == "always" or (approval.ask == "destructive" and destructive)
    return "ask" if asked and changes else "apply"


def person_problem(approval: Approval, requested_by: str | None, who: str | None) -> str | None:
    """Why this person's approval does not count, None when it does. Asked at the answer and again at the write.

    :param who: name of the person, as Airflow gives it.
    """
    if not who:
        return "Nobody is named who approved it."
    if who == requested_by and not approval.own_runs:
        return f"{who} started this run and may not approve it: somebody else has to."
    return None


def reason_problem(plan: Mapping[str, Any], why: str) -> str | None:
    """Why a plan may not be approved with these words: one that a guard stopped needs a reason."""
    if plan["refusals"] and len(why) < SHORTEST_REASON:
        return "A guard stopped this plan, and it was approved without a reason."
    return None
