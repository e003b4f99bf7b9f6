"""Sends the files of a load: uploads each, asks for its import once, and finds out what became of it.

The ledger is the checkpoint. An upload may be repeated; an import request may not, so before each one the campaign's
import tasks are written down. After a lost answer or a crash the tasks that are new since then tell whether the request
arrived: one is ours, none means that it may be asked again, several cannot be told apart and leave the file uncertain.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from include import canary
from include.callfiles.stage import CallFile
from include.canary import Canary
from include.ledger import Batch, Ledger
from include.staging import RunFolder
from include.vendors.errors import LostAnswerError, VendorError
from include.vendors.isales import VENDOR, ImportTakenError
from include.vendors.isales_tasks import ImportTask, judge

log = logging.getLogger(__name__)

STOPPED: Final = "stopped.json"
FINAL: Final = ("confirmed", "rejected")


class Vendor(Protocol):
    """The calls of one campaign."""

    def import_file(self, file_name: str) -> str:
        """Ask for an import, once; the id of its task. Raises VendorError."""

    def tasks(self, task_ids: Iterable[str] = ()) -> list[ImportTask]:
        """The campaign's import tasks: these, or all. Raises VendorError."""


class FileServer(Protocol):
    """The folder that the campaign imports from."""

    def upload(self, local: Path, name: str) -> None:
        """Bring a file there, whole; again changes nothing. Raises VendorError."""

    def remove(self, name: str) -> None:
        """Take a file away. Raises VendorError."""


@dataclass(frozen=True)
class Rules:
    """How a load goes.

    :param claim: how long the list is held, from each request on.
    :param lookup: how long after a lost answer its task may stay out of sight before the import is asked for again.
    :param canary: what the first file must show before the others are asked for, None where they need not wait.
    """

    claim: timedelta
    lookup: timedelta
    canary: Canary | None = None


class Importer:
    """
    Imports the files of one load.

    :param load: id of the load; its batches are planned, one per file.
    :param notes: run folder for what is written down beside the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        load: str,
        files: Sequence[CallFile],
        vendor: Vendor,
        rules: Rules,
        *,
        notes: RunFolder,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger, self._load, self._files = ledger, load, {file.seq: file for file in files}
        self._vendor, self._rules, self._notes, self._now = vendor, rules, notes, now

    @property
    def batches(self) -> list[Batch]:
        """The load's batches as they stand."""
        return self._ledger.batches(self._load)

    @property
    def unsent(self) -> bool:
        """Whether a file may still have to be asked for by now; none has to once a refusal has ended the sending."""
        waiting = any(batch.state in ("planned", "intended") for batch in self._free)
        return waiting and self._notes.get(STOPPED) is None

    def begin(self) -> None:
        """Ask again for what an earlier try was refused."""
        self._notes.discard(STOPPED)

    @property
    def _free(self) -> Sequence[Batch]:
        """The batches that may be asked for by now."""
        return canary.free(self._rules.canary, self.batches)

    def send(self, server: FileServer, local: Mapping[str, Path]) -> None:
        """Ask for the import of every file that was not asked for yet, and may be by now.

        :param local: the files by their names.

        An error that trying again may cure is raised. Another one ends the sending: what was accepted before must still
        be followed, so it is kept for `problems`. Raises MayNotWriteError (paused, an older source, ...) at once.
        """
        self._ledger.claim_target(self._load, self._rules.claim)
        for batch in self._free:
            try:
                if batch.state == "intended" and self._found(batch):
                    continue
                if batch.state in ("planned", "intended"):
                    file = self._files[batch.seq]
                    server.upload(local[file.name], file.name)
                    self._ask(batch, file)
            except VendorError as error:
                if error.again:
                    raise
                self._notes.put(STOPPED, json.dumps(str(error)).encode())
                log.warning("Nothing more is sent. %s", error)
                return

    def open_tasks(self) -> list[str]:
        """Ids of the tasks whose end is not written down for sure."""
        return [batch.vendor_ref for batch in self.batches if batch.vendor_ref and batch.state not in FINAL]

    def look(self, *, give_up: bool) -> bool:
        """Settle the batches whose tasks have ended; whether all are settled.

        :param give_up: whether to leave those uncertain whose tasks have not.
        """
        waiting = self.open_tasks()
        tasks = {task.id: task for task in self._vendor.tasks(waiting)} if waiting else {}
        for batch in self.batches:
            if batch.vendor_ref not in waiting:
                continue
            task = tasks.get(batch.vendor_ref)
            if task is not None and task.ended:
                self._settle(batch, task)
            elif give_up:
                state = "no task by its id" if task is None else "not ended"
                self._ledger.leave_uncertain(
                    batch, f"iSales did not tell in time how the import ended ({state})."
                )
        return not any(batch.state == "accepted" for batch in self.batches)

    def problems(self) -> list[str]:
        """What speaks against calling the load good, in plain words."""
        found = [
            f"File {batch.seq}: {batch.note}"
            for batch in self.batches
            if batch.settled and batch.note and not batch.note.startswith("Resolved by ")
        ]
        stopped = self._notes.get(STOPPED)
        if stopped is None and (held := canary.problem(self._rules.canary, self.batches)):
            return [held]
        if stopped is not None:
            left = sum(batch.state in ("planned", "intended") for batch in self.batches)
            found.append(f"{left} of {len(self._files)} files were not sent: {json.loads(stopped)}")
        return found

    def clean_up(self, server: FileServer) -> None:
        """Take the files away whose imports are confirmed; a file that stays is no failure of the load."""
        for batch in self.batches:
            if batch.state == "confirmed":
                try:
                    server.remove(self._files[batch.seq].name)
                except VendorError as error:
                    log.warning("File %d stays on the server. %s", batch.seq, error)

    # One file

    def _ask(self, batch: Batch, file: CallFile) -> None:
        known = [task.id for task in self._vendor.tasks()]
        self._note(batch, known=known)
        self._ledger.renew_claim(self._load, self._rules.claim)
        self._ledger.intend(self._load, batch.seq)
        try:
            task_id = self._vendor.import_file(file.name)
        except LostAnswerError as error:
            self._note(batch, known=known, taken=isinstance(error, ImportTakenError))
            raise
        except VendorError as error:  # none of these left anything at the vendor
            self._ledger.withdraw(self._load, batch.seq, str(error))
            raise
        self._ledger.accept(self._load, batch.seq, task_id, {})
        log.info("File %d: iSales queued %s records.", batch.seq, f"{file.rows:,}")

    def _found(self, batch: Batch) -> bool:
        """Find out what became of a request whose answer nobody read; False when it may be asked again."""
        note = json.loads(self._notes.get(_name(batch)) or b"{}")
        ours = {other.vendor_ref for other in self.batches}
        new = [task.id for task in self._vendor.tasks() if task.id not in {*note.get("known", ()), *ours}]
        if len(new) == 1:
            self._ledger.accept(self._load, batch.seq, new[0], {"found": True})
            log.info("File %d: its import was found among the newest tasks.", batch.seq)
            return True
        if new:
            why = f"{len(new)} imports began since the request whose answer is lost; which one is ours cannot be told."
            self._ledger.leave_uncertain(batch, why)
            return True
        if self._now() - (batch.intended_at or self._now()) < self._rules.lookup:
            raise LostAnswerError(
                VENDOR,
                "The answer to the import request is lost, and no new task shows yet. The next try looks again.",
            )
        if note.get("taken"):
            self._ledger.leave_uncertain(
                batch,
                "iSales took the import, but its answer could not be read, and it shows no task.",
            )
            return True
        self._ledger.withdraw(
            self._load, batch.seq, "The newest import tasks show that the request never arrived."
        )
        return False

    def _settle(self, batch: Batch, task: ImportTask) -> None:
        if (batch.answer or {}).get("found") and task.counted not in (0, batch.rows):
            why = f"The import found after the lost answer counted {task.counted:,} records, not {batch.rows:,}."
            self._ledger.leave_uncertain(batch, f"{why} It may be somebody else's.")
            return
        outcome = judge(task, batch.rows)
        good = outcome.delivered and not (outcome.problem and self._is_canary(batch))
        self._ledger.settle(
            self._load,
            batch.seq,
            "uncertain" if outcome.uncertain else "confirmed" if good else "rejected",
            delivered=outcome.delivered,
            rejected=outcome.rejected,
            uncertain=outcome.uncertain,
            vendor_counts=task.vendor_counts,
            note=outcome.problem,
        )
        log.info(
            "File %d: %d new, %d repeats, %d failed.", batch.seq, task.imported, task.repeated, task.failed
        )

    def _is_canary(self, batch: Batch) -> bool:
        return self._rules.canary is not None and batch.seq == 1

    def _note(self, batch: Batch, **about: Any) -> None:
        self._notes.put(_name(batch), json.dumps(about).encode())


def _name(batch: Batch) -> str:
    return f"asked-{batch.seq:05d}.json"


def nothing_taken(batches: Iterable[Batch]) -> list[int]:
    """Batches of which the campaign holds nothing for sure: never asked for, or failed as a whole.

    A file of repeats only is none of these (its numbers are there), nor is a canary that was not good.
    """
    return [
        batch.seq
        for batch in batches
        if batch.state == "planned"
        or (batch.state == "rejected" and not batch.delivered and not batch.vendor_counts.get("repeated"))
    ]
