"""What a person is shown who must approve a plan: a headline, and a page of Markdown.

The page is made from the plan alone, so that the same plan reads the same whenever it is asked about; counts, reasons
and masked samples only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from include.approval import Approval
from include.report.plan import plan_markdown

HEADLINES: Final = {
    "REPLACE": "Replace the list {list} by {rows} rows?",
    "APPEND": "Add {rows} rows to {list}?",
    "ARCHIVE": "Archive {rows} leads, and take them off {list}?",
    "COPY": "Copy {rows} leads of {list} to the archive?",
}


@dataclass(frozen=True)
class Page:
    """What is shown: one line, and Markdown. `digest` tells two pages apart."""

    subject: str
    body: str

    @property
    def digest(self) -> str:
        """Hash of all that is shown."""
        return hashlib.sha256(f"{self.subject}\n{self.body}".encode()).hexdigest()


def approval_page(plan: Mapping[str, Any], approval: Approval, requested_by: str | None) -> Page:
    """The page of a plan.

    :param requested_by: who started the run, None when nobody did.
    """
    hours = f"{approval.timeout_hours:g}"
    lines = [
        _why(plan, approval),
        f"**Approve** sends exactly this plan. **Reject** sends nothing, and neither does no answer within {hours} "
        "hours: the run ends red, and its rows are held.",
        _who(approval, requested_by),
        plan_markdown(plan),
        f"Flow `{plan['flow']}`, night `{plan['night'] or 'all'}`, data as of `{plan['source_time'][:16]}`. "
        f"Plan `{plan['hash']}`.",
    ]
    return Page(_headline(plan), "\n\n".join(line for line in lines if line))


def _headline(plan: Mapping[str, Any]) -> str:
    """What the load does, as a question."""
    if not plan.get("to_update"):
        headline = HEADLINES.get(plan["mode"], "Send {rows} rows to {list}?")
        return headline.format(rows=f"{plan['to_send']:,}", list=plan["list"])
    if not plan["added"]:
        return f"Change {plan['to_update']:,} rows of {plan['list']}?"
    return f"Add {plan['added']:,} rows to {plan['list']}, and change {plan['to_update']:,} that are there?"


def _why(plan: Mapping[str, Any], approval: Approval) -> str:
    if plan["refusals"]:
        return "**A guard stopped this plan.** Approve it only if you know why the numbers are right, and say why."
    return f"This flow asks a person before it writes (`approval.ask: {approval.ask}`). No guard has stopped the plan."


def _who(approval: Approval, requested_by: str | None) -> str:
    told = []
    if requested_by and not approval.own_runs:
        told.append(f"`{requested_by}` started this run, so somebody else has to answer.")
    if approval.by:
        told.append(f"May answer: {', '.join(f'`{user}`' for user in approval.askable(requested_by))}.")
    return " ".join(told)
