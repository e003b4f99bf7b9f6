"""The canary of a load: a small part goes first, and the rest only once the vendor's own counts of it are good.

One home for the idea: how many rows each batch has, and what the vendor must have said of the first one before the
second may be intended. Both are read from the plan and the ledger, never from memory, so that a crash, a retry or a
cleared task finds the same word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from include.ledger import Batch

HELD_REASON: Final = "canary_stopped"
"""Why the rows behind a canary that was not good are held."""

NOT_ASKED: Final = ("duplicate", "no_longer_old")
"""Counts of rows that say nothing of the vendor's taste: it had them already, or was never asked for them."""


class Canary(BaseModel):
    """A small part of a load that goes first, alone; the rest follows when the vendor's counts of it are good."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(100, ge=1, description="Rows of the canary, at most as many as one batch has.")
    max_rejected_percent: float = Field(
        5.0,
        ge=0,
        le=100,
        description="Largest share of them that the vendor may refuse, in percent; one it refuses whole is never good.",
    )


def option(canary: Canary | None, batch_size: int | None = None) -> dict[str, Any]:
    """What a plan's options say of a canary, nothing where there is none.

    :param batch_size: most rows of one batch, where the vendor has such a limit.
    """
    if canary is None:
        return {}
    rows = canary.rows if batch_size is None else min(canary.rows, batch_size)
    return {"canary": canary.model_dump() | {"rows": rows}}


def planned(plan: Mapping[str, Any]) -> Canary | None:
    """The canary of a plan, None where it has none or is no larger than that."""
    said = (plan.get("options") or {}).get("canary")
    canary = None if said is None else Canary(**said)
    return canary if canary is not None and plan["to_send"] > canary.rows else None


def sizes(rows: int, size: int, canary: Canary | None) -> list[int]:
    """How many rows each batch of a load has: the canary, if any, then `size` each.

    :param rows: rows of the load; :param size: most rows of one batch.
    """
    first = min(rows, first_size(size, canary))
    full, rest = divmod(rows - first, size) if rows else (0, 0)
    return [*([first] if first else []), *[size] * full, *([rest] if rest else [])]


def first_size(size: int, canary: Canary | None) -> int:
    """Most rows of the first batch."""
    return size if canary is None else min(size, canary.rows)


def free(canary: Canary | None, batches: Sequence[Batch]) -> Sequence[Batch]:
    """The batches that may be sent by now: all of them, or the first alone while its canary is not known to be good."""
    return batches if canary is None or not batches or _fault(canary, batches[0]) is None else batches[:1]


def problem(canary: Canary | None, batches: Sequence[Batch]) -> str | None:
    """Why the canary holds the rest back, and what to do; None where it does not, or was never sent itself."""
    if canary is None or not batches or batches[0].state == "planned":
        return None
    held = sum(batch.rows for batch in batches[1:] if batch.state == "planned")
    fault = _fault(canary, batches[0])
    if not held or fault is None:
        return None
    first = batches[0].rows
    return (
        f"The canary, the first {first:,} rows, stopped the load: {fault} The other {held:,} rows are held."
    )


def told(plan: Mapping[str, Any]) -> str | None:
    """What a plan says of its canary to people, None where none goes first."""
    canary = planned(plan)
    if canary is None:
        return None
    # Where changed rows go by a call of their own, the canary is cut from the new ones, if there are any.
    rows = min(canary.rows, plan["to_send"] - plan.get("to_update", 0) or canary.rows)
    return (
        f"A canary goes first: {rows:,} of {plan['to_send']:,} rows. The others follow when the vendor has "
        f"refused at most {canary.max_rejected_percent:g} % of it, and are held otherwise."
    )


def _fault(canary: Canary, batch: Batch) -> str | None:
    """What is wrong with the canary's batch, None when the vendor's counts of it are good."""
    from include.ledger.reconcile import batch_problems  # SQLAlchemy, which no DAG file needs to load

    if batch.state not in ("confirmed", "rejected"):
        why = f" ({batch.note})" if batch.note else ""
        return (
            f"nobody knows how it ended{why}. When that is settled, clear the load's task or start a new run."
        )
    counts = batch.vendor_counts
    if not counts:
        return "a person has settled it, and the vendor has counted nothing. A new run takes the rest."
    if problems := batch_problems(batch):
        return f"the vendor's counts contradict themselves. {' '.join(problems)} Find out why, then start a new run."
    words = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())
    refused = batch.rejected - sum(counts.get(name, 0) for name in NOT_ASKED)
    asked = batch.delivered + refused
    known = batch.rows == counts.get("duplicate")
    if (batch.state == "confirmed" or known) and 100 * refused <= canary.max_rejected_percent * asked:
        return None
    share = f" ({100 * refused / asked:.1f} %)" if asked else ""
    said = f" It said: {batch.note}" if batch.note else ""
    return (
        f"the vendor refused {refused:,} of {asked:,} rows{share}, the limit is {canary.max_rejected_percent:g} % "
        f"(its counts: {words}).{said} Correct what the counts show, then start a new run: what of the canary arrived "
        "does not come twice."
    )
