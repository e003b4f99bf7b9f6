"""Why rows were not delivered, as far as the plan and the vendor told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from include.leads.reasons import REASONS
from include.leads.schema import STATES
from include.plan import HELD_REASON
from include.report import markdown as md

REJECTS_TITLE: Final = "Why rows were not delivered"


def reasons(plan: Mapping[str, Any], summary: Mapping[str, Any], batches: Sequence[Mapping[str, Any]]) -> str:
    """Every reason with its rows, what it means and how it is fixed."""
    counts = _undelivered(plan, summary)
    for name, count in _refused_by_vendor(batches).items():
        code = name if name in REASONS else f"vendor_{name}"
        if code in REASONS:
            counts.setdefault("rejected", {})[code] = count
    rows = [
        (state, code, count)
        for state in STATES
        for code, count in sorted(counts.get(state, {}).items(), key=lambda item: -item[1])
        if count
    ]
    table = [
        (
            state,
            f"`{md.code(code)}`",
            md.number(count),
            REASONS[code].text if code in REASONS else "",
            REASONS[code].fix if code in REASONS else "",
        )
        for state, code, count in rows
    ]
    if not table:
        return ""
    lines = [md.table(("", "reason", "rows>", "what it means", "how to fix it"), table)]
    if summary:
        lines.append("Row by row they are in `rejects.csv` and `rejects.xlsx`.")
    return md.section(REJECTS_TITLE, *lines)


def _undelivered(plan: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """State -> reason -> rows, as far as the plan decided."""
    counts = {state: dict(reasons) for state, reasons in (plan.get("decided") or {}).items()}
    held = counts.pop("held", {})
    for reason, rows in (plan.get("held") or {}).items():
        held[reason] = held.get(reason, 0) + rows
    decision = plan.get("decision", "apply")
    approved = (summary.get("approval") or {}).get("word") == "approved"
    # What was approved is sent, what is open is nobody's loss yet.
    if decision == "ask" and (approved or not summary):
        decision = "apply"
    if decision != "apply" and decision in HELD_REASON:
        reason = HELD_REASON[decision]
        held[reason] = held.get(reason, 0) + plan.get("to_send", 0)
    return {**counts, "held": held}


def _refused_by_vendor(batches: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The vendor's own classes of refused rows, over all batches."""
    totals: dict[str, int] = {}
    for batch in batches:
        for name, count in (batch.get("vendor_counts") or {}).items():
            if name not in ("total", "valid") and count:
                totals[name] = totals.get(name, 0) + count
    return totals
