"""What the ledger hands out: plain frozen records, one per row of its tables. Times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

Mode = Literal["apply", "plan"]
LoadState = Literal["open", "done", "failed", "refused", "planned", "uncertain"]
BatchState = Literal["planned", "intended", "accepted", "confirmed", "rejected", "uncertain"]
SettledState = Literal["confirmed", "rejected", "uncertain"]
Word = Literal["needed", "approved", "rejected", "unanswered"]
"""A person's word on a plan that asks for one; only `approved` lets it be written."""

SETTLED: Final[tuple[SettledState, ...]] = ("confirmed", "rejected", "uncertain")


@dataclass(frozen=True)
class Counts:
    """Rows of one load by where they ended."""

    rows_in: int
    delivered: int = 0
    rejected: int = 0
    suppressed: int = 0
    held: int = 0
    uncertain: int = 0

    @property
    def accounted(self) -> bool:
        """Whether each row that came in ended somewhere, and none twice."""
        return self.rows_in == self.delivered + self.rejected + self.suppressed + self.held + self.uncertain

    def to_dict(self) -> dict[str, int]:
        """The counts as plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Load:
    """One plan of one run for one list, and how it ended. `counts` is None until it is finished.

    `good_until`: when the plan is too old to be begun; None once it has begun. `planned_on_*`: where its list stood
    when it was planned. `approval` is None where nobody needs to be asked; `approval_page` is a hash of what a person
    was shown.
    """

    id: str
    flow: str
    vendor: str
    dag_id: str
    run_id: str
    target: str
    night: str | None
    source_time: datetime
    snapshot: str
    plan_hash: str
    mode: Mode
    requested_by: str | None
    reason: str | None
    rows_in: int
    state: LoadState
    counts: Counts | None
    verdict: str | None
    opened_at: datetime
    finished_at: datetime | None
    good_until: datetime | None = None
    planned_on_applied: str | None = None
    planned_on_sent: str | None = None
    approval: Word | None = None
    approval_page: str | None = None
    approved_by: str | None = None
    approved_at: datetime | None = None
    approval_reason: str | None = None


@dataclass(frozen=True)
class BatchPlan:
    """A batch before it is sent: its place, its number of rows, and a hash over the rows themselves."""

    seq: int
    rows: int
    fingerprint: str


@dataclass(frozen=True)
class Batch:
    """A batch and how far it got.

    `maybe_sent`: an attempt before the present one may have reached the vendor. `vendor_counts` is empty
    until the vendor has counted.
    """

    load_id: str
    seq: int
    rows: int
    fingerprint: str
    state: BatchState = "planned"
    attempts: int = 0
    maybe_sent: bool = False
    delivered: int = 0
    rejected: int = 0
    uncertain: int = 0
    vendor_ref: str | None = None
    answer: Mapping[str, Any] | None = None
    vendor_counts: Mapping[str, int] = field(default_factory=dict)
    note: str | None = None
    intended_at: datetime | None = None
    accepted_at: datetime | None = None
    settled_at: datetime | None = None

    @property
    def settled(self) -> bool:
        """Whether its outcome is written down, be it that nobody knows it."""
        return self.state in SETTLED


@dataclass(frozen=True)
class Target:
    """One vendor list: who holds it, what was applied last, how new a source may have reached it.

    `proven`: hash of the columns with which the vendor was last seen to take a row; None where nobody asked.
    """

    key: str
    paused: bool
    paused_by: str | None
    paused_why: str | None
    paused_at: datetime | None
    lock_load_id: str | None
    lock_until: datetime | None
    fence_source_time: datetime | None
    applied_source_time: datetime | None
    applied_plan_hash: str | None
    applied_load_id: str | None
    applied_rows: int | None
    applied: str | None
    applied_at: datetime | None
    proven: str | None


@dataclass(frozen=True)
class Standing:
    """Where a list stands, as marks of what was applied and sent to it last. Two equal ones: nothing happened."""

    applied: str | None
    sent: str | None


@dataclass(frozen=True)
class VendorPause:
    """A vendor that a person has paused: nothing is sent to it, whatever the list."""

    vendor: str
    paused_by: str
    paused_why: str
    paused_at: datetime


@dataclass(frozen=True)
class Event:
    """What a vendor called back about a batch, without what we do not keep (see `include.ledger.events`)."""

    load_id: str
    seq: int
    vendor: str
    body: Mapping[str, Any]
    received_at: datetime


@dataclass(frozen=True)
class Receipt:
    """The batch a callback belongs to, and whether it said something new."""

    load_id: str
    seq: int
    new: bool


@dataclass(frozen=True)
class Evidence:
    """One link of the chain: `hash` covers everything else, `previous` included."""

    seq: int
    kind: str
    load_id: str | None
    body: Mapping[str, Any]
    recorded_at: datetime
    previous: str
    hash: str


@dataclass(frozen=True)
class Head:
    """The end of the chain: how many records there are, and the hash of the last one."""

    count: int
    hash: str


@dataclass(frozen=True)
class Problem:
    """What is wrong with one record of the chain."""

    seq: int
    what: str
