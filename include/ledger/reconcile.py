"""Do the rows add up? Every row that came in must be delivered, rejected, suppressed, held or uncertain.

Pure: no database, no clock. Each side is counted where it happens (the snapshot, the clean step, the batches,
the vendor's own answer) and the sums are compared; no count is found by subtraction, because such a sum
always balances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from include.ledger.records import Batch, Counts

DECIDED_STATES: Final = ("rejected", "suppressed", "held")
"""The ends that we decide ourselves. Only a vendor's answer makes a row delivered, or leaves it uncertain."""


@dataclass(frozen=True)
class Reconciliation:
    """The counts of a load and everything that speaks against calling it good, in plain words."""

    counts: Counts
    problems: tuple[str, ...]

    @property
    def green(self) -> bool:
        """Whether the load is good: nothing speaks against it and no row is uncertain."""
        return not self.problems and self.counts.uncertain == 0


def reconcile(
    rows_in: int, decided: Mapping[str, int], batches: Sequence[Batch], *, min_valid_share: float = 0.0
) -> Reconciliation:
    """Add up both sides of a load and say what is wrong with it.

    `rows_in` is counted in the snapshot; `decided` by state (rejected, suppressed, held) where we decided;
    the rest in `batches`. A batch's `vendor_counts` are the vendor's own: `total` rows it saw, `valid` rows
    it took, and rows it refused under any other name; they must agree with each other and with what was sent.
    `min_valid_share` (0 to 1) is the least share of the sent rows that the vendor must have taken. Raises
    ValueError for a state that is not ours to decide.
    """
    if foreign := sorted(set(decided) - set(DECIDED_STATES)):
        raise ValueError(f"Only {', '.join(DECIDED_STATES)} are ours to decide, not {', '.join(foreign)}.")
    problems = [problem for batch in batches for problem in batch_problems(batch)]
    counts = Counts(
        rows_in=rows_in,
        delivered=sum(batch.delivered for batch in batches),
        rejected=decided.get("rejected", 0) + sum(batch.rejected for batch in batches),
        suppressed=decided.get("suppressed", 0),
        held=decided.get("held", 0),
        uncertain=sum(batch.uncertain if batch.settled else batch.rows for batch in batches),
    )
    problems += _sum_problems(counts)
    problems += _share_problems(batches, counts.delivered, min_valid_share)
    return Reconciliation(counts, tuple(problems))


def batch_problems(batch: Batch) -> list[str]:
    """What is wrong with one batch."""
    if not batch.settled:
        return [f"Batch {batch.seq} is not settled ({batch.state}): its {batch.rows:,} rows are uncertain."]
    problems = []
    if batch.uncertain:
        problems.append(f"Batch {batch.seq}: {batch.uncertain:,} of {batch.rows:,} rows are uncertain.")
    if batch.delivered + batch.rejected + batch.uncertain != batch.rows:
        problems.append(
            f"Batch {batch.seq}: {batch.delivered:,} delivered, {batch.rejected:,} rejected and "
            f"{batch.uncertain:,} uncertain do not make its {batch.rows:,} rows."
        )
    if batch.state == "confirmed" and not batch.vendor_counts:
        problems.append(f"Batch {batch.seq}: confirmed without the vendor's own counts.")
    return problems + _vendor_problems(batch)


def _vendor_problems(batch: Batch) -> list[str]:
    """Where the vendor's own counts disagree with what was sent or recorded."""
    counts = batch.vendor_counts
    problems = []
    total, valid = counts.get("total"), counts.get("valid")
    if total is not None and total != batch.rows and batch.state != "uncertain":
        problems.append(f"Batch {batch.seq}: {batch.rows:,} rows were sent, the vendor counted {total:,}.")
    if total is not None and total != (parts := sum(counts.values()) - total):
        problems.append(f"Batch {batch.seq}: the vendor's parts make {parts:,}, its total says {total:,}.")
    if valid is not None and valid != batch.delivered:
        problems.append(
            f"Batch {batch.seq}: {batch.delivered:,} rows stand as delivered, the vendor took {valid:,}."
        )
    return problems


def _sum_problems(counts: Counts) -> list[str]:
    """Whether rows were lost or counted twice on the way."""
    if counts.accounted:
        return []
    ended = {state: count for state, count in counts.to_dict().items() if state != "rows_in"}
    listed = ", ".join(f"{count:,} {state}" for state, count in ended.items())
    return [f"{counts.rows_in:,} rows came in, but {sum(ended.values()):,} ended somewhere ({listed})."]


def _share_problems(batches: Sequence[Batch], delivered: int, min_valid_share: float) -> list[str]:
    """Whether the vendor took enough of what it was sent.

    A row that it did not take because the list had it (`duplicate`) is where it was wanted, and asked for nothing.
    """
    sent = sum(batch.rows for batch in batches if batch.state != "planned")
    if sent and not delivered:
        return [f"{sent:,} rows were sent and none was delivered."]
    wanted = sent - sum(batch.vendor_counts.get("duplicate", 0) for batch in batches)
    if wanted and delivered / wanted < min_valid_share:
        return [
            f"The vendor took {delivered:,} of {sent:,} rows ({delivered / sent:.1%}), "
            f"less than the {min_valid_share:.1%} this list asks for."
        ]
    return []
