"""The report of one run: the verdict first, what to do about it last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from include.leads.reasons import REASONS
from include.leads.schema import STATES
from include.report import markdown as md
from include.report import plan as planned
from include.report.reasons import reasons

SHOWN_BATCHES: Final = 30
"""Batches that a report lists singly. Of more, it lists those in which something was odd."""

_DECISIONS: Final = {
    "plan_only": "The run only planned. Nothing was sent.",
    "refused": "A guard refused the plan. Nothing was sent.",
    "ask": "The plan needed a person's approval.",
    "unchanged": "The list already holds exactly this. Nothing was sent.",
}


def report_markdown(
    plan: Mapping[str, Any],
    summary: Mapping[str, Any],
    problems: Sequence[str],
    batches: Sequence[Mapping[str, Any]],
) -> str:
    """Return the report of one run, as far as it came; any of the four may be empty.

    :param plan: the plan as `include.plan` writes it.
    :param summary: flow, rows_in, the five states in rows, and the verdict.
    :param problems: what speaks against the load, in plain words (`include.ledger.reconcile`).
    :param batches: the ledger's batches as dictionaries.
    """
    # Where something is wrong, what to do about it stands before the figures.
    to_do = md.listed("What to do next", _advice(plan, summary, problems))
    parts = [
        _head(plan, summary),
        md.listed("What speaks against it", [md.text(problem) for problem in problems]),
        planned.guards(plan),
        planned.unlike(plan),
        _approval(summary),
        to_do if problems else "",
        _rows(summary),
        planned.changes(plan),
        planned.timing(plan.get("timing") or {}),
        planned.archive(plan.get("archive") or {}),
        reasons(plan, summary, batches),
        planned.suppression(plan),
        planned.packs(plan),
        planned.calls(plan),
        _vendor(batches),
        planned.samples(plan),
        _copy(summary),
        "" if problems else to_do,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(plan: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    name = summary.get("flow") or plan.get("flow") or "This run"
    lines = [f"# {md.text(name)}: {md.text(summary.get('verdict') or 'not ended')}"]
    if not plan:
        lines.append("The run did not come as far as a plan, so nothing was sent to the vendor.")
        return "\n\n".join(lines)
    if not summary:
        lines.append("There is a plan, but the run has not written down how it ended.")
    lines.append(_DECISIONS.get(str(plan.get("decision")), ""))
    facts = [
        f"Night {md.text(plan['night'])}" if plan.get("night") else "",
        f"data as of {md.moment(plan['source_time'])}" if plan.get("source_time") else "",
        f"list `{md.code(plan['list'])}`" if plan.get("list") else "",
        f"mode {md.text(plan['mode'])}" if plan.get("mode") else "",
        f"through {md.text(plan['vendor'])}" if plan.get("vendor") else "",
    ]
    lines.append(", ".join(fact for fact in facts if fact))
    return "\n\n".join(line for line in lines if line)


def _approval(summary: Mapping[str, Any]) -> str:
    """Who approved, or did not."""
    approval = summary.get("approval") or {}
    if not approval:
        return ""
    why = f" Reason: {md.text(approval['why'])}." if approval.get("why") else ""
    if approval["word"] == "approved":
        told = f"{md.text(approval['by'])} approved this plan {md.moment(approval['at'])}.{why}"
    elif approval["word"] == "rejected":
        told = f"A person rejected this plan.{why}"
    else:
        told = "Nobody approved this plan in time. No answer means no."
    return md.section("Approval", told)


def _copy(summary: Mapping[str, Any]) -> str:
    """Whether what was applied can be put back."""
    copy = summary.get("copy")
    if not copy:
        return ""
    title = "Putting it back"
    if copy.get("why"):
        return md.section(
            title, f"No copy of this load is kept, so it cannot be put back. {md.text(copy['why'])}"
        )
    return md.section(
        title,
        f"An encrypted copy of the {md.number(copy['rows'])} rows is kept for some days: `restore_list` puts it "
        f"back, load `{md.code(summary['load'])}`.",
    )


def _rows(summary: Mapping[str, Any]) -> str:
    if not summary:
        return ""
    rows_in = summary.get("rows_in")
    counts = [("came in", rows_in), *((state, summary.get(state)) for state in STATES)]
    table = [(word, md.number(count), md.share(count, rows_in)) for word, count in counts]
    return md.section("Rows", md.table(("", "rows>", "share>"), table))


def _vendor(batches: Sequence[Mapping[str, Any]]) -> str:
    if not batches:
        return ""
    counted = dict.fromkeys(name for batch in batches for name in batch.get("vendor_counts") or {})
    names = sorted(counted, key=lambda name: ("total", "valid", name).index(name))
    shown = batches if len(batches) <= SHOWN_BATCHES else [b for b in batches if not _is_whole(b)]
    table = [
        [
            md.number(batch.get("seq")),
            md.text(batch.get("state")),
            md.number(batch.get("rows")),
            *(md.number((batch.get("vendor_counts") or {}).get(name)) for name in names),
            f"`{md.code(batch['vendor_ref'])}`" if batch.get("vendor_ref") else "",
            md.text(batch.get("note") or ""),
        ]
        for batch in shown[:SHOWN_BATCHES]
    ]
    if len(shown) < len(batches):
        sums = [sum((batch.get("vendor_counts") or {}).get(name, 0) for batch in batches) for name in names]
        sent = sum(batch.get("rows", 0) for batch in batches)
        table.insert(
            0, ["all", "", md.number(sent), *map(md.number, sums), "", f"{md.number(len(batches))} batches"]
        )
    heads = ["batch>", "state", "sent>", *(f"{md.text(name)}>" for name in names), "vendor's id", "note"]
    return md.section("What the vendor counted", md.table(heads, table))


def _is_whole(batch: Mapping[str, Any]) -> bool:
    """Whether a batch was delivered without exception, so that a long table can do without it."""
    return batch.get("state") == "confirmed" and batch.get("delivered") == batch.get("rows")


def _advice(plan: Mapping[str, Any], summary: Mapping[str, Any], problems: Sequence[str]) -> list[str]:
    """What a person should do now, the most pressing first."""
    if not plan:
        return [
            "Open the run in Airflow, read the log of the failed task, correct the cause and clear the task."
        ]
    advice = []
    decision = plan.get("decision")
    if summary.get("uncertain") and "archive" in plan:
        advice.append(
            f"{md.number(summary['uncertain'])} rows are uncertain: clear the task `archive`. It goes on where it "
            "stopped, and no lead is archived twice."
        )
    elif summary.get("uncertain"):
        advice.append(
            f"{md.number(summary['uncertain'])} rows are uncertain: look at the list in the vendor's own console, "
            f"then say what you found: `listkeeper resolve {md.code(str(summary.get('load') or 'LOAD')[:8])} "
            "--delivered` (or `--not-delivered`) `--who` you `--why` how you know."
        )
    if decision == "refused":
        advice.append(
            "Correct what the guards name above, then start a new run; a limit is changed in the flow file."
        )
    elif decision == "ask" and summary and (summary.get("approval") or {}).get("word") != "approved":
        advice.append(
            "To ask again, clear the task `approve` in Airflow; to plan anew, start a new run. Nothing was sent."
        )
    elif decision == "plan_only":
        advice.append(
            "To deliver this, start a run by hand with *apply*. `released: true` in the flow file delivers all nights, "
            "`released_backfill` the nights of a backfill."
        )
    elif problems and not summary.get("uncertain") and "archive" not in plan:
        advice.append("Do not call from this list before the points above are understood.")
    rejected = (plan.get("decided") or {}).get("rejected") or {}
    for code, count in sorted(rejected.items(), key=lambda item: -item[1])[:2]:
        if count and code in REASONS:
            advice.append(f"{md.number(count)} rows `{md.code(code)}`: {REASONS[code].fix}")
    if not summary:
        advice.append("The run is still going, or stopped on the way: its tasks in Airflow tell which.")
    return advice or ["Nothing to do."]
