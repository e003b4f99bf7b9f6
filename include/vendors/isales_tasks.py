"""What CC-iSales tells of its import tasks, and how the rows of a file ended by it. No I/O.

Source: the vendor's page "Querying the Data Import Result". A task that is `finished` need not have taken a single row,
so the counts decide, not the word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from include.vendors.bodies import whole_number
from include.vendors.errors import safe_words
from include.vendors.isales import unexpected

PREPARING: Final = "0"
RUNNING: Final = "1"
FINISHED: Final = "2"
FAILED: Final = "3"


@dataclass(frozen=True)
class ImportTask:
    """One import as the vendor tells of it: its state and how many records ended where.

    A status that the contract does not know is that of a task that has not ended: it may be anybody's.

    :param blacklisted: None where the server's version does not count them.
    """

    id: str
    status: str
    imported: int
    repeated: int
    failed: int
    blacklisted: int | None
    error: str

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in (FINISHED, FAILED)

    @property
    def counted(self) -> int:
        """Records that the vendor counted anywhere."""
        return self.imported + self.repeated + self.failed + (self.blacklisted or 0)

    @property
    def vendor_counts(self) -> dict[str, int]:
        """The vendor's counts under the ledger's names; `valid` are those it took."""
        counts = {"valid": self.imported, "repeated": self.repeated, "failed": self.failed}
        return counts if self.blacklisted is None else counts | {"blacklisted": self.blacklisted}


def read_tasks(answer: Mapping[str, Any]) -> list[ImportTask]:
    """The tasks of one page; a null where nothing is counted is an empty page.

    Raises UnexpectedAnswerError for one that cannot be read.
    """
    found = answer.get("result", ...)
    if found is None and not answer.get("count"):
        return []
    if not isinstance(found, list):
        raise unexpected("it carries no list of tasks")
    return [_task(item) for item in found]


def _task(item: Any) -> ImportTask:
    if not isinstance(item, Mapping) or not isinstance(item.get("id"), str):
        raise unexpected("a task carries no id")
    status = item.get("status")
    if not isinstance(status, str | int) or isinstance(status, bool):
        raise unexpected("a task carries no status")
    counts = {}
    for name in ("succNum", "repeatNum", "failNum", "blackNum"):
        counts[name] = whole_number(told := item.get(name))
        if counts[name] is None and told is not None:
            raise unexpected("a task's counts are no whole numbers")
    error = item.get("errMsg")
    return ImportTask(
        id=item["id"],
        status=str(status),
        imported=counts["succNum"] or 0,
        repeated=counts["repeatNum"] or 0,
        failed=counts["failNum"] or 0,
        blacklisted=counts["blackNum"],
        error=safe_words(error) if isinstance(error, str) else "",
    )


@dataclass(frozen=True)
class Outcome:
    """How the rows of one file ended by the vendor's own counts; the three add up to the rows sent."""

    delivered: int
    rejected: int
    uncertain: int
    problem: str | None


def judge(task: ImportTask, rows_sent: int) -> Outcome:
    """Judge an import that ended: by its counts, not by its status word.

    Repeats, failures and blacklisted records were not taken, so they are rejected. Records that were never counted are
    uncertain, with one exception: a task that failed and counted nothing at all took nothing. Counts that exceed what
    was sent leave every row uncertain.
    """
    said = f' The vendor says: "{task.error}".' if task.error else ""
    if task.counted > rows_sent:
        return Outcome(
            0, 0, rows_sent, f"iSales counted {task.counted:,} records of {rows_sent:,} that were sent."
        )
    if task.status == FAILED and task.counted == 0:
        return Outcome(0, rows_sent, 0, f"The import failed, not one record was taken.{said}")
    missing = rows_sent - task.counted
    outcome = (task.imported, task.counted - task.imported, missing)
    if task.status == FAILED:
        return Outcome(*outcome, f"The import failed after {task.counted:,} of {rows_sent:,} records.{said}")
    if missing:
        return Outcome(
            *outcome,
            f"The import finished, but iSales counted only {task.counted:,} of {rows_sent:,} records.",
        )
    if rows_sent and not task.imported:
        return Outcome(
            *outcome,
            f"The import finished, but not one record was new: {task.repeated:,} of them were repeats.",
        )
    return Outcome(*outcome, None)
