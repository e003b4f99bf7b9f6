"""Push a plan's leads: new ones by an import a chunk, changed ones lead by lead, and every row's end found out by name.

Each chunk is a checkpoint in the ledger.

An import is asynchronous. All chunks are handed in, then the loop asks how far they are, and returns what there is to
wait for. Which leads arrived is never guessed: an import that was counted and whose errors are named is believed;
after a lost answer, an import that broke off, or counts that contradict each other, each lead is looked up by list and
customer key, and only what is missing is sent again. How leads are changed is told in `include.push.updates`; they go
while the vendor works on the imports.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from include import canary as canaries
from include.canary import Canary
from include.ledger import Batch, Ledger, MayNotWriteError
from include.push.rows import Chunk, Rows
from include.push.updates import Changer, Leads
from include.push.verdict import BROKEN_OFF, REFUSED, UNEXPLAINED, judge
from include.staging import RunFolder
from include.vendors.errors import LostAnswerError, UnexpectedAnswerError, VendorError
from include.vendors.platform import Import, LeadQuery, NotFoundError, RowError

log = logging.getLogger(__name__)

CLAIM: Final = timedelta(minutes=30)
"""How much longer than it waits a push may hold its list: time to hand in, and to be tried again."""

MOST_IMPORTS: Final = 3
"""Imports of one chunk; each but the first sends only what is missing."""

RENEWED: Final = 50
"""Leads that are changed before the claim on their list is renewed: nobody else may write it meanwhile."""


class Tenant(Leads, Protocol):
    """What the loop asks of the vendor; the Platform hook is one."""

    def bulk_create(self, leads: Sequence[Mapping[str, Any]]) -> Import:
        """Hand in leads."""

    def bulk_status(self, uuid: str) -> Import:
        """How far an import is."""

    def every_bulk_error(self, done: Import) -> list[RowError]:
        """Its errors."""


@dataclass(frozen=True)
class Patience:
    """How long to wait.

    :param ended: for an import to end; then its rows are uncertain.
    :param lookup: after a lost answer, before the leads are looked up: an import that nobody can ask for must be over
        by then.
    """

    ended: timedelta
    lookup: timedelta


@dataclass(frozen=True)
class Wait:
    """What the push waits for: the imports `uuids` to end, at the latest until `until` (aware)."""

    uuids: tuple[str, ...]
    until: datetime


class Pusher:
    """
    Pushes the rows of one load.

    :param load: id of the load; its batches are planned, one a chunk. Its list is claimed for each import that is
        handed in; asking how far one is needs no claim.
    :param notes: run folder for what is written down beside the ledger.
    :param canary: what the first import must show before the others are handed in, None where they need not wait.
    :param null_clears: whether this tenant empties a field on null (PL-9).
    """

    def __init__(
        self,
        ledger: Ledger,
        load: str,
        rows: Rows,
        *,
        list_id: int,
        tenant: Tenant,
        notes: RunFolder,
        patience: Patience,
        now: Callable[[], datetime],
        canary: Canary | None = None,
        null_clears: bool = False,
    ) -> None:
        self._ledger, self._load, self._rows, self._list_id = ledger, load, rows, list_id
        self._tenant, self._notes, self._patience, self._now = tenant, notes, patience, now
        self._canary = canary
        self._changer = Changer(tenant, list_id, null_clears=null_clears)

    def run(self) -> Wait | None:
        """Hand in what was not handed in, ask for what was. Returns what to wait for, None when all is settled that may
        be sent: nothing is behind a canary that is not good.

        Raises MayNotWriteError (paused, an older source) once nothing is under way; TargetLockedError, VendorError.
        """
        while True:
            wait = self._round()
            if wait is not None or not self._unsent():
                return wait

    def _unsent(self) -> list[Batch]:
        """The batches that may be handed in by now, and were not."""
        free = canaries.free(self._canary, self._ledger.batches(self._load))
        return [batch for batch in free if batch.state == "planned"]

    def _round(self) -> Wait | None:
        """Hand in what may be handed in, then ask once for everything that was."""
        stopped: MayNotWriteError | VendorError | None = None
        for batch in self._unsent():
            try:
                self._begin(batch)
            except self._stops(batch) as error:
                stopped = error  # what is under way is followed all the same
                break
        open_imports: list[str] = []
        until: list[datetime] = []
        for batch in self._ledger.batches(self._load):
            if batch.state in ("planned", "confirmed", "rejected") or (stopped and self._changes(batch)):
                continue
            try:
                wait = self._follow(batch)
            except self._stops(batch) as error:
                stopped = error
                continue
            if wait is not None:
                open_imports += wait.uuids
                until.append(wait.until)
        if until:
            return Wait(tuple(open_imports), min(until))
        if stopped is not None:
            raise stopped
        return None

    def _changes(self, batch: Batch) -> bool:
        return self._rows.changes(batch.seq)

    def _stops(self, batch: Batch) -> tuple[type[MayNotWriteError] | type[VendorError], ...]:
        """What stops the sending, and not yet the load: imports that were handed in go on without us."""
        return (MayNotWriteError, VendorError) if self._changes(batch) else (MayNotWriteError,)

    def _begin(self, batch: Batch) -> None:
        if self._changes(batch):
            self._update(batch)
        else:
            self._hand_in(batch, set())

    # Handing in

    def _hand_in(self, batch: Batch, found: Collection[int]) -> None:
        """Send the rows of a batch that are not there yet. A lost answer leaves the intent open."""
        chunk = self._rows.chunk(batch.seq)
        places = [place for place in range(batch.rows) if place not in found]
        leads = chunk.bodies(places, self._list_id)
        self._ledger.claim_target(self._load, self._patience.ended + CLAIM)
        self._ledger.intend(self._load, batch.seq, again=batch.state != "planned")
        try:
            taken = self._tenant.bulk_create(leads)
        except LostAnswerError as error:
            log.warning("%s Batch %d is looked up before anything of it is sent again.", error, batch.seq)
            return
        except VendorError as error:
            self._ledger.withdraw(self._load, batch.seq, str(error))
            raise
        self._ledger.accept(self._load, batch.seq, taken.uuid, {"status": taken.word})
        log.info("Batch %d: %d leads handed in (%s).", batch.seq, len(leads), taken.word)

    # Changing

    def _update(self, batch: Batch) -> None:
        """Change the leads of a batch, one by one; of what broke off before, those are left out that have ended."""
        chunk, ended = self._rows.chunk(batch.seq), self._ended(batch.seq)
        time = self._patience.ended + CLAIM
        self._ledger.claim_target(self._load, time)
        self._ledger.intend(self._load, batch.seq, again=batch.state != "planned")
        self._changer.touched = bool(ended)
        try:
            for place, cells in enumerate(chunk.cells):
                if place in ended:
                    continue
                if place % RENEWED == RENEWED - 1:
                    self._ledger.renew_claim(self._load, time)
                ended[place] = self._changer.change(cells)
        except VendorError as error:
            log.warning("Batch %d: %d of %d leads have ended. %s", batch.seq, len(ended), batch.rows, error)
            self._put(self._note("ended", batch.seq), list(ended.items()))
            if not self._changer.touched:
                self._ledger.withdraw(self._load, batch.seq, str(error))
            raise
        refused = {place: why for place, why in ended.items() if why is not None}
        delivered = sum(why is None for why in ended.values())
        counts = Counter(reason.removeprefix("vendor_") for reason, _ in refused.values())
        counts.update({"total": len(ended), "valid": delivered})
        self._close(batch, chunk, delivered=delivered, refused=refused, counts=counts)

    # Following

    def _follow(self, batch: Batch) -> Wait | None:
        """Find out how a batch ended that may have been sent; returns what to wait for, None once it is settled."""
        if self._changes(batch):
            self._update(batch)
            return None
        if batch.vendor_ref is None:
            return self._after_loss(batch, batch.intended_at or self._now())
        try:
            done = self._tenant.bulk_status(batch.vendor_ref)
        except NotFoundError:
            log.warning("Batch %d: the vendor does not know its import any more.", batch.seq)
            return self._after_loss(batch, batch.accepted_at or self._now())
        if done.state == "done":
            self._settle(batch, done)
            return None
        if done.state == "failed":
            log.warning("Batch %d: its import broke off (%s).", batch.seq, done.word)
            return self._send_missing(batch)
        deadline = (batch.accepted_at or self._now()) + self._patience.ended
        if self._now() < deadline:
            return Wait((batch.vendor_ref,), deadline)
        self._ledger.leave_uncertain(
            batch,
            f"The import did not end within {_hours(self._patience.ended)} (it is {done.word!r}); clear this task to "
            "ask again.",
        )
        return None

    def _after_loss(self, batch: Batch, since: datetime) -> Wait | None:
        due = since + self._patience.lookup
        return Wait((), due) if self._now() < due else self._send_missing(batch)

    def _send_missing(self, batch: Batch) -> Wait | None:
        """Look the batch's leads up, and send those that are not there; nothing of it is under way any more."""
        chunk, found = self._rows.chunk(batch.seq), self._found(batch.seq)
        found |= self._look_up(chunk, set(range(batch.rows)) - found)
        self._put(self._note("found", batch.seq), sorted(found))
        if len(found) == batch.rows:
            self._close(batch, chunk, delivered=batch.rows, refused={}, counts={"valid": len(found)})
            return None
        if batch.attempts >= MOST_IMPORTS:
            missing = {place: (BROKEN_OFF, "") for place in range(batch.rows) if place not in found}
            counts = {"valid": len(found), "import_failed": len(missing)}
            self._close(batch, chunk, delivered=len(found), refused=missing, counts=counts)
            return None
        if batch.state == "accepted":
            self._ledger.leave_uncertain(
                batch,
                "Its import broke off or is not known any more; what is missing is sent again.",
            )
        log.warning(
            "Batch %d: %d of %d leads are there; the others are sent.", batch.seq, len(found), batch.rows
        )
        self._hand_in(batch, found)
        return self._follow(self._ledger.batches(self._load)[batch.seq - 1])

    def _look_up(self, chunk: Chunk, places: Iterable[int]) -> set[int]:
        """Those of the places whose lead stands on the list."""
        keys = chunk.keys
        return {
            place
            for place in places
            if self._tenant.find_leads(LeadQuery(listId=self._list_id, customerKey=keys[place]))
        }

    # Ending

    def _settle(self, batch: Batch, done: Import) -> None:
        """Write down how each row of an ended import ended."""
        chunk, found = self._rows.chunk(batch.seq), self._found(batch.seq)
        sent = [place for place in range(batch.rows) if place not in found]
        keys = chunk.keys
        errors = self._errors(batch, done)
        verdict = judge(done, errors, [keys[place] for place in sent])
        refused = {sent[place]: (REFUSED, words) for place, words in verdict.named.items()}
        if verdict.problem is None:
            delivered = len(found) + (done.created or 0)
        else:
            log.warning("Batch %d: %s Its leads are looked up.", batch.seq, verdict.problem)
            there = self._look_up(chunk, set(sent) - set(refused))
            refused |= {
                place: (UNEXPLAINED, "") for place in sent if place not in there and place not in refused
            }
            delivered = len(found) + len(there)
        if done.total is None or done.created is None or done.failed is None:
            counts = {"valid": delivered, "row_error": len(refused)}
        else:
            found_before = len(found)
            counts = {
                "total": done.total + found_before,
                "valid": done.created + found_before,
                "row_error": done.failed,
            }
        self._close(batch, chunk, delivered=delivered, refused=refused, counts=counts, note=verdict.problem)

    def _errors(self, batch: Batch, done: Import) -> list[RowError]:
        """The errors of an import; none when the vendor's pages cannot be believed, which the verdict notices."""
        if done.failed == 0 and done.error_uri is None:
            return []
        try:
            return self._tenant.every_bulk_error(done)
        except UnexpectedAnswerError as error:
            log.warning("Batch %d: %s", batch.seq, error)
            return []

    def _close(
        self,
        batch: Batch,
        chunk: Chunk,
        *,
        delivered: int,
        refused: Mapping[int, tuple[str, str]],
        counts: Mapping[str, int],
        note: str | None = None,
    ) -> None:
        row_keys = chunk.row_keys
        self._put(
            _named_name(batch.seq), {row_keys[place]: list(why) for place, why in sorted(refused.items())}
        )
        self._ledger.settle(
            self._load,
            batch.seq,
            "confirmed" if delivered else "rejected",
            delivered=delivered,
            rejected=len(refused),
            uncertain=0,
            vendor_counts=counts,
            note=note,
        )
        log.info("Batch %d: %d delivered, %d refused.", batch.seq, delivered, len(refused))

    # Notes beside the ledger

    def _found(self, seq: int) -> set[int]:
        """Places of a batch whose leads an earlier look-up found on the list."""
        return set(json.loads(self._notes.get(self._note("found", seq)) or b"[]"))

    def _ended(self, seq: int) -> dict[int, tuple[str, str] | None]:
        """Places of a batch whose leads an earlier try has changed, or found out why they are not."""
        noted = json.loads(self._notes.get(self._note("ended", seq)) or b"[]")
        return {place: why and (why[0], why[1]) for place, why in noted}

    def _note(self, kind: str, seq: int) -> str:
        """Name of a note about a batch; a run that was planned anew has another load, and other rows."""
        return f"{kind}-{self._load}-{seq:05d}.json"

    def _put(self, name: str, value: Any) -> None:
        self._notes.put(name, json.dumps(value).encode())


def _named_name(seq: int) -> str:
    return f"named-{seq:05d}.json"


def _hours(time: timedelta) -> str:
    return f"{time.total_seconds() / 3600:g} hours"
