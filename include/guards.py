"""Guards: may this plan be written?

A guard looks at counts and ages and answers with a refusal in plain words, or not at all. Limits are data, set in
the flow file. A refused plan writes nothing: its rows are `held`, and the run is red.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from include.drift import Drift, DriftLimits

NEVER_PASSED: Final = frozenset(
    {"older_source", "paused", "unresolved_load", "unfinished_load", "keys_lost", "no_list"}
)
"""Guards that nobody can approve past: what they stop would overwrite newer data, or call people twice."""


class GuardLimits(BaseModel):
    """When a load must not write (section `guards:` of a flow file)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_empty: bool = Field(False, description="Whether a source without any lead may be applied.")
    max_shrink_percent: float = Field(
        30.0,
        ge=0,
        le=100,
        description="Largest drop of a replaced list, in percent of what was applied last.",
    )
    max_shrink_rows: int | None = Field(
        None, ge=0, description="Largest drop of a replaced list in rows; no limit when left out."
    )
    max_source_age_hours: float = Field(
        36.0, gt=0, description="Oldest source that may still be applied, in hours."
    )
    min_valid_percent: float = Field(
        50.0,
        ge=0,
        le=100,
        description="Smallest share of leads that must survive the clean step, in percent.",
    )
    max_plan_age_hours: float = Field(
        12.0, gt=0, description="How long a plan may be applied after it was made, or approved, in hours."
    )
    drift: DriftLimits = Field(
        DriftLimits(),  # type: ignore[call-arg]
        description="When a night is unlike the nights before.",
    )


@dataclass(frozen=True)
class Refusal:
    """Why a guard refused: its name and a sentence that says what to do."""

    guard: str
    text: str

    @property
    def passable(self) -> bool:
        """Whether a person may approve past it."""
        return self.guard not in NEVER_PASSED


@dataclass(frozen=True)
class SuppressionAge:
    """How old a suppression list is, against what the flow allows. `age_days` None: its age is unknown."""

    name: str
    age_days: float | None
    max_age_days: int | None


def check_drift(found: Sequence[Drift], limits: DriftLimits) -> list[Refusal]:
    """Refuse a night that is unlike the nights before, where the flow wants that."""
    if limits.when != "refuse":
        return []
    return [
        Refusal(
            "drift", f"{drift.text} If that is right, approve the plan, or set guards.drift.when to warn."
        )
        for drift in found
    ]


def check_calls(calls: Mapping[str, Any] | None, now: datetime) -> list[Refusal]:
    """Refuse a load whose rules look at calls that are too old: opt-outs of since then would be missed.

    :param calls: facts of the clean step: `source`, `as_of` (ISO 8601) and `max_age_hours`; None without such rules.
    """
    if calls is None:
        return []
    age = now - datetime.fromisoformat(calls["as_of"])
    if age <= timedelta(hours=calls["max_age_hours"]):
        return []
    text = (
        f"The newest calls of source {calls['source']} are {age.total_seconds() / 3600:.1f} hours old, the limit is "
        f"{calls['max_age_hours']:g}. Pull newer ones, or raise clean.calls.max_age_hours."
    )
    return [Refusal("calls_age", text)]


def check(
    limits: GuardLimits,
    *,
    rows_in: int,
    rows_valid: int,
    rows_after: int,
    rows_now: int | None,
    source_time: datetime,
    now: datetime,
    replaces: bool,
    suppression: Sequence[SuppressionAge] = (),
) -> list[Refusal]:
    """Ask every guard.

    :param rows_in: leads of the snapshot.
    :param rows_valid: leads that are fit to call: what the clean step kept, and what only a suppression list or
        a duplicate took out.
    :param rows_after: rows the list would hold afterwards (of a replace) or get (of an append).
    :param rows_now: rows applied last, None when nothing was.
    :param replaces: whether the load empties the list first; an append cannot shrink it.
    """
    refusals: list[Refusal] = []
    if rows_after == 0 and not limits.allow_empty:
        why = "the source holds no lead" if rows_in == 0 else "no lead is left after cleaning"
        refusals.append(
            Refusal(
                "empty_source", f"Nothing to load: {why}. Look at the pull of this night and at the rejects."
            )
        )
    age = now - source_time
    if age > timedelta(hours=limits.max_source_age_hours):
        refusals.append(
            Refusal(
                "stale_source",
                f"The source is {age.total_seconds() / 3600:.1f} hours old, the limit is "
                f"{limits.max_source_age_hours:g}. Pull a newer night, or raise guards.max_source_age_hours.",
            )
        )
    if rows_in and 100 * rows_valid / rows_in < limits.min_valid_percent:
        refusals.append(
            Refusal(
                "low_valid_share",
                f"Only {100 * rows_valid / rows_in:.1f} % of {rows_in} leads are fit to call, the limit is "
                f"{limits.min_valid_percent:g} %. Look at the rejects: a column may have moved.",
            )
        )
    if replaces and rows_now:
        lost = rows_now - rows_after
        if 100 * lost / rows_now > limits.max_shrink_percent:
            refusals.append(
                Refusal(
                    "shrink",
                    f"The list would shrink from {rows_now} to {rows_after} rows ({100 * lost / rows_now:.1f} %), "
                    f"the limit is {limits.max_shrink_percent:g} %. If that is meant, raise "
                    "guards.max_shrink_percent.",
                )
            )
        elif limits.max_shrink_rows is not None and lost > limits.max_shrink_rows:
            refusals.append(
                Refusal(
                    "shrink",
                    f"The list would lose {lost} rows, the limit is {limits.max_shrink_rows}. If that is meant, "
                    "raise guards.max_shrink_rows.",
                )
            )
    for entry in suppression:
        if entry.max_age_days is None:
            continue
        if entry.age_days is None or entry.age_days > entry.max_age_days:
            age_text = "of unknown age" if entry.age_days is None else f"{entry.age_days:.1f} days old"
            refusals.append(
                Refusal(
                    "suppression_age",
                    f"Suppression list {entry.name} is {age_text}, the limit is {entry.max_age_days} days. "
                    "Fetch a newer one.",
                )
            )
    return refusals
