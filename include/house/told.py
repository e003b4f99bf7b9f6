"""What to say when somebody asks for what house-keeping has removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.leads.schema import STATES
from include.ledger import Ledger, Load
from include.report import markdown as md
from include.report.plan import plan_markdown


def removed(ledger: Ledger, what: str, place: str, kept: str | None = None) -> str | None:
    """A sentence about what is gone; None when house-keeping did not remove it.

    :param what: what it was, as the subject of a sentence in the plural.
    :param place: its place in staging, or one that it was below.
    :param kept: the class that it must be of.
    """
    removal = ledger.removal_of(place, kept)
    if removal is None or removal.gone_at is None:
        return None
    return (
        f"{what} were removed on {removal.gone_at:%Y-%m-%d}: house-keeping keeps `{removal.kept}` "
        f"{removal.days} days."
    )


def run_removed(ledger: Ledger, run: str) -> str | None:
    """A sentence about what of a run is gone.

    :param run: its folder, `runs/<DAG id>/<run>`.
    """
    return removed(ledger, "Report, outcomes and rejects of this run", f"{run}/report") or removed(
        ledger, "The working files of this run", run, "working"
    )


def removed_markdown(load: Load | None, plan: Mapping[str, Any], sentence: str) -> str:
    """The report of a run whose own is gone: what the ledger still knows, and the plan, where that is still there."""
    if load is None:
        return f"# This run\n\n{md.text(sentence)}\n"
    parts = [f"# {md.text(load.flow)}: {md.text(load.verdict or load.state)}", md.text(sentence)]
    if load.counts is not None:
        counts = load.counts.to_dict()
        rows = [
            ("came in", md.number(load.rows_in)),
            *((state, md.number(counts[state])) for state in STATES),
        ]
        parts.append(md.section("Rows", md.table(("", "rows>"), rows)))
    if plan:
        parts.append(plan_markdown(plan))
    return "\n\n".join(parts) + "\n"
