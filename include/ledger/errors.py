"""What the ledger refuses, and what to do about it.

```text
LedgerError
├── UnknownLoadError, UnknownBatchError, UnknownTargetError, UnknownTokenError  nothing by that name
├── TargetLockedError, ClaimLostError                                not now, or not any more
├── MayNotWriteError                                                 trying again changes nothing
│   ├── TargetPausedError, VendorPausedError, OlderSourceError       the list may not be written
│   └── PlanOnlyError, NotApprovedError, NotAskedError, OtherPageError, PlanTooOldError, ListChangedError  this load
├── PlanChangedError, BatchStateError, CountsError                   the books would not add up
├── NotUncertainError, LoadBusyError                                 there is nothing for a person to resolve
└── BadCallbackError                                                 a callback that is no JSON object
```

Messages name loads, lists and batches by their ids only: never a phone, a person or a token. Arguments are
kept in `args`, so every error survives pickling between processes.
"""

from __future__ import annotations

from datetime import datetime


class LedgerError(Exception):
    """Base of everything the ledger refuses."""


class UnknownLoadError(LedgerError):
    """No load has this id."""

    def __init__(self, load_id: str) -> None:
        super().__init__(load_id)
        self.load_id = load_id

    def __str__(self) -> str:
        return f"The ledger knows no load {self.load_id}; check that this is the database it was opened in."


class UnknownBatchError(LedgerError):
    """The load has no batch with this sequence number."""

    def __init__(self, load_id: str, seq: int) -> None:
        super().__init__(load_id, seq)
        self.load_id, self.seq = load_id, seq

    def __str__(self) -> str:
        return f"Load {self.load_id} has no batch {self.seq}; plan its batches first."


class UnknownTargetError(LedgerError):
    """No load was ever opened for this list."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target

    def __str__(self) -> str:
        return f"The ledger knows no list {self.target}; it appears with its first load."


class UnknownTokenError(LedgerError):
    """A callback came with a token that was never given out for this vendor."""

    def __str__(self) -> str:
        return "No batch waits for this callback token; nothing was stored."


class MayNotWriteError(LedgerError):
    """A load may not write its list, and trying again changes nothing: a person has to do something first."""


class TargetPausedError(MayNotWriteError):
    """A person has paused this list."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target

    def __str__(self) -> str:
        return f"{self.target} is paused; its page says why. Resume it, then clear this task."


class VendorPausedError(TargetPausedError):
    """A person has paused everything that goes to this vendor."""

    def __str__(self) -> str:
        return (
            f"Everything that goes to {self.target} is paused; the page of lists says why. Resume it "
            f"(`listkeeper resume {self.target}`), then clear this task."
        )


class TargetLockedError(LedgerError):
    """Another load is writing this list."""

    def __init__(self, target: str, owner: str, until: datetime) -> None:
        super().__init__(target, owner, until)
        self.target, self.owner, self.until = target, owner, until

    def __str__(self) -> str:
        return (
            f"{self.target} is being written by load {self.owner}, which holds it until "
            f"{self.until.isoformat(timespec='seconds')}; try again when it is done."
        )


class OlderSourceError(MayNotWriteError):
    """The load's source is older than what may already be on the list."""

    def __init__(self, target: str, applied: datetime, offered: datetime) -> None:
        super().__init__(target, applied, offered)
        self.target, self.applied, self.offered = target, applied, offered

    def __str__(self) -> str:
        return (
            f"{self.target} already has data of {self.applied.isoformat()}; this load offers the older "
            f"{self.offered.isoformat()}. Old data never overwrites a live list: load a newer night instead."
        )


class PlanOnlyError(MayNotWriteError):
    """The load was opened to plan, not to write."""

    def __init__(self, load_id: str) -> None:
        super().__init__(load_id)
        self.load_id = load_id

    def __str__(self) -> str:
        return f"Load {self.load_id} only plans; start a run in mode apply to write the list."


class NotApprovedError(MayNotWriteError):
    """The load's plan asks for a person's word, and has none that lets it be written."""

    def __init__(self, load_id: str, word: str) -> None:
        super().__init__(load_id, word)
        self.load_id, self.word = load_id, word

    def __str__(self) -> str:
        why = {
            "rejected": "a person has rejected it",
            "unanswered": "nobody has answered in time, and no answer means no",
        }.get(self.word, "nobody has approved it")
        return (
            f"The plan of load {self.load_id} needs a person's approval, and {why}. Nothing was sent. Clear the task "
            "approve to ask again."
        )


class NotAskedError(MayNotWriteError):
    """An answer that belongs to another plan, or to none that is open."""

    def __init__(self, load_id: str) -> None:
        super().__init__(load_id)
        self.load_id = load_id

    def __str__(self) -> str:
        return (
            f"Nobody is asked about the plan of load {self.load_id} as it is now: the answer was given to another "
            "page, or the plan was made anew meanwhile. Nothing was sent. Start a new run."
        )


class OtherPageError(MayNotWriteError):
    """A run asks with another page than before, and Airflow would go on showing the earlier one."""

    def __init__(self, load_id: str) -> None:
        super().__init__(load_id)
        self.load_id = load_id

    def __str__(self) -> str:
        return (
            f"The plan of load {self.load_id} reads differently from the one that this run asked about before, and "
            "Airflow goes on showing that page: somebody would approve what is not sent. Start a new run."
        )


class PlanTooOldError(MayNotWriteError):
    """The plan was made, or approved, too long ago."""

    def __init__(self, load_id: str, until: datetime) -> None:
        super().__init__(load_id, until)
        self.load_id, self.until = load_id, until

    def __str__(self) -> str:
        return (
            f"The plan of load {self.load_id} was good until {self.until.isoformat(timespec='seconds')} "
            "(guards.max_plan_age_hours). Nothing was sent. Start a new run, which plans anew."
        )


class ListChangedError(MayNotWriteError):
    """Something was sent to the list, or settled on it, after the plan was made."""

    def __init__(self, target: str, load_id: str) -> None:
        super().__init__(target, load_id)
        self.target, self.load_id = target, load_id

    def __str__(self) -> str:
        return (
            f"{self.target} has changed since load {self.load_id} was planned: another load was sent to it, or "
            "settled. Nothing was sent. Start a new run, which plans for the list as it is now."
        )


class ClaimLostError(LedgerError):
    """The load does not hold the list it wants to write (never claimed, expired, or taken over)."""

    def __init__(self, target: str, load_id: str) -> None:
        super().__init__(target, load_id)
        self.target, self.load_id = target, load_id

    def __str__(self) -> str:
        return f"Load {self.load_id} does not hold {self.target} (any more); claim it before writing."


class PlanChangedError(LedgerError):
    """A batch was planned before with other rows."""

    def __init__(self, load_id: str, seq: int) -> None:
        super().__init__(load_id, seq)
        self.load_id, self.seq = load_id, seq

    def __str__(self) -> str:
        return (
            f"Batch {self.seq} of load {self.load_id} was planned with other rows than it has now; "
            "start a new run, so that a plan of its own is made and approved."
        )


class BatchStateError(LedgerError):
    """A batch cannot go from its state to the one asked for."""

    def __init__(self, load_id: str, seq: int, state: str, wanted: str) -> None:
        super().__init__(load_id, seq, state, wanted)
        self.load_id, self.seq, self.state, self.wanted = load_id, seq, state, wanted

    def __str__(self) -> str:
        text = f"Batch {self.seq} of load {self.load_id} is {self.state} and cannot become {self.wanted}."
        if self.wanted == "intended" and self.state in ("intended", "uncertain"):
            text += " It may have been sent: send again only if the vendor makes that safe (again=True)."
        return text


class NotUncertainError(LedgerError):
    """Only a load that ended uncertain can be resolved by a person."""

    def __init__(self, load_id: str, state: str) -> None:
        super().__init__(load_id, state)
        self.load_id, self.state = load_id, state

    def __str__(self) -> str:
        return f"Load {self.load_id} is {self.state}, not uncertain: there is nothing to resolve."


class LoadBusyError(LedgerError):
    """The load holds its list: its task is at work or waits for the vendor."""

    def __init__(self, load_id: str, until: datetime) -> None:
        super().__init__(load_id, until)
        self.load_id, self.until = load_id, until

    def __str__(self) -> str:
        return (
            f"Load {self.load_id} is at work and holds its list until {self.until.isoformat(timespec='seconds')}; "
            "wait for its run to end."
        )


class CountsError(LedgerError):
    """Counts that do not add up, or a green end that they do not carry."""


class BadCallbackError(LedgerError):
    """A callback whose body is not a JSON object."""
