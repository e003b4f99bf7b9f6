"""The ledger: the control tables that make a load safe to repeat, and the evidence of what was done.

`Ledger` is the one door to them; `reconcile` says whether a load's rows add up. No row of a lead ever comes
in here: no phone number, no name, no e-mail address; only ids, counts, hashes and times.
"""

from __future__ import annotations

from include.ledger.errors import (
    BadCallbackError,
    BatchStateError,
    ClaimLostError,
    CountsError,
    LedgerError,
    ListChangedError,
    LoadBusyError,
    MayNotWriteError,
    NotApprovedError,
    NotAskedError,
    NotUncertainError,
    OlderSourceError,
    OtherPageError,
    PlanChangedError,
    PlanOnlyError,
    PlanTooOldError,
    TargetLockedError,
    TargetPausedError,
    UnknownBatchError,
    UnknownLoadError,
    UnknownTargetError,
    UnknownTokenError,
    VendorPausedError,
)
from include.ledger.holding import Holding
from include.ledger.ledger import Ledger
from include.ledger.owners import Claim
from include.ledger.pace import Pace, Turn
from include.ledger.reconcile import Reconciliation, reconcile
from include.ledger.records import (
    Batch,
    BatchPlan,
    Counts,
    Event,
    Evidence,
    Head,
    Load,
    Problem,
    Receipt,
    Standing,
    Target,
    VendorPause,
)
from include.ledger.removals import Removal

__all__ = [
    "BadCallbackError",
    "Batch",
    "BatchPlan",
    "BatchStateError",
    "Claim",
    "ClaimLostError",
    "Counts",
    "CountsError",
    "Event",
    "Evidence",
    "Head",
    "Holding",
    "Ledger",
    "LedgerError",
    "ListChangedError",
    "Load",
    "LoadBusyError",
    "MayNotWriteError",
    "NotApprovedError",
    "NotAskedError",
    "NotUncertainError",
    "OlderSourceError",
    "OtherPageError",
    "Pace",
    "PlanChangedError",
    "PlanOnlyError",
    "PlanTooOldError",
    "Problem",
    "Receipt",
    "Reconciliation",
    "Removal",
    "Standing",
    "Target",
    "TargetLockedError",
    "TargetPausedError",
    "Turn",
    "UnknownBatchError",
    "UnknownLoadError",
    "UnknownTargetError",
    "UnknownTokenError",
    "VendorPause",
    "VendorPausedError",
    "reconcile",
]
