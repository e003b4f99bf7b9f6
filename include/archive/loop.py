"""Sends the batches of an archive plan, one request at a time, between office hours, with the ledger as checkpoint.

Whatever happens between two writes, a run that goes on later ends right: the intent stands in the ledger before each
request, and ids that are not archived are written down (`named-*.json`) before the rest is sent. A request whose
outcome is unknown is sent again: ids of our own open intent that the list no longer holds are archived.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

import polars as pl

from include import canary as canaries
from include.canary import Canary
from include.hours import OfficeHours
from include.ledger import Batch, Ledger
from include.staging import RunFolder
from include.vendors import vicidial
from include.vendors.errors import LostAnswerError, RateLimitedError, VendorError
from include.vendors.vicidial import Counts, Flags, NotNowError, UnknownLeadsError

log = logging.getLogger(__name__)

UNKNOWN: Final = "unknown_lead"
STAYED: Final = "stayed_behind"
NO_LONGER_OLD: Final = "no_longer_old"
UNEXPLAINED: Final = "unexplained"

ANSWERED: Final = {"select": "selected", "insert": "inserted", "update": "updated", "delete": "deleted"}
"""Count of an answer -> its name in the ledger, summed over the requests of a batch."""

CLAIM: Final = timedelta(hours=1)
"""How long the list is held; renewed before each request."""

TRIES: Final = 3
"""Tries of one request before the task fails; its next try goes on at this very batch."""

LONGEST_SLEEP: Final = 60.0
"""Seconds a worker sleeps between two tries. A vendor that asks for more gets a failed try instead."""

MOST_CALLS: Final = 8
"""Answered requests of one batch. The contract needs five: unknown ids, the rest, a sync, its rest, a look."""


class ArchiveStoppedError(Exception):
    """The server's answers contradict each other: nothing more is sent, a person has to look."""


@dataclass(frozen=True)
class Pause:
    """Why the run waits, and until when (aware): `window` for the office to close, `recheck` to ask again."""

    until: datetime
    kind: Literal["window", "recheck"]
    text: str


class Database(Protocol):
    """What the dialer's own database can say of leads."""

    def fitting(self, lead_ids: Collection[int]) -> set[int]:
        """Those that the flow's rules still pick."""

    def listed(self, lead_ids: Collection[int]) -> set[int]:
        """Those that stand on the list."""

    def archived(self, lead_ids: Collection[int]) -> set[int]:
        """Those that stand in the archive."""


@dataclass(frozen=True)
class Window:
    """When requests may be sent.

    :param hours: office hours; None: at any time, the server's 403 decides.
    :param margin: how long before the office opens the last request may begin.
    :param recheck: when to ask again after a 403 outside our hours.
    :param patience: how long a run that gets no batch through may hear 403 outside our hours.
    """

    hours: OfficeHours | None
    margin: timedelta
    recheck: timedelta
    patience: timedelta


class _WaitError(Exception):
    def __init__(self, pause: Pause) -> None:
        super().__init__(pause.text)
        self.pause = pause


@dataclass
class _Work:
    """One batch on its way. Its ids are `pending`, `archived` or in `left_out` (id -> reason)."""

    batch: Batch
    pending: list[int]
    left_out: dict[int, str]
    doubt: bool
    """Whether an earlier request may have been carried out without anybody having read its answer."""
    lost: bool
    """Whether that is because an answer was lost, so that counts need not add up."""
    archived: set[int] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    open_intent: bool = False

    def gone(self, ids: Collection[int]) -> None:
        """Take ids as archived."""
        self.archived.update(ids)
        self.pending = [lead_id for lead_id in self.pending if lead_id not in self.archived]

    def leave_out(self, reasons: dict[int, str]) -> None:
        """Take ids out of the batch."""
        self.left_out.update(reasons)
        self.pending = [lead_id for lead_id in self.pending if lead_id not in self.left_out]


class Archiver:
    """
    Archives the leads of one load.

    :param load: id of the load; its batches are planned.
    :param lead_ids: all ids of the plan, in its order.
    :param notes: run folder for what is written down beside the ledger.
    :param send: sends one request and reads its answer; raises VendorError.
    :param database: the dialer's own database, None where there is none.
    :param canary: what the first batch must show before the others are sent, None where they need not wait.
    """

    def __init__(
        self,
        ledger: Ledger,
        load: str,
        lead_ids: pl.Series,
        *,
        flags: Flags,
        window: Window,
        notes: RunFolder,
        send: Callable[[Sequence[int], Flags], Counts],
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
        database: Database | None = None,
        canary: Canary | None = None,
    ) -> None:
        self._ledger, self._load, self._ids = ledger, load, lead_ids
        self._flags, self._window, self._canary = flags, window, canary
        self._notes, self._send, self._database = notes, send, database
        self._now, self._sleep = now, sleep
        self._slowest = timedelta(0)

    def run(self) -> Pause | None:
        """Send what is not settled yet. Returns why and until when to wait, None when every batch is settled.

        Raises LedgerError (paused, claimed by another), VendorError, ArchiveStoppedError.
        """
        try:
            self._require_window()
            self._ledger.claim_target(self._load, CLAIM)
            start = 0
            for batch in self._ledger.batches(self._load):
                if batch.state not in ("confirmed", "rejected"):
                    self._archive(batch, self._ids.slice(start, batch.rows).to_list())
                start += batch.rows
                if batch.seq == 1:
                    self._require_good_canary()
        except _WaitError as wait:
            self._ledger.release_target(self._load)
            return wait.pause
        return None

    def _require_good_canary(self) -> None:
        if why := canaries.problem(self._canary, self._ledger.batches(self._load)):
            raise ArchiveStoppedError(why)

    # Time

    def _require_window(self) -> None:
        """Wait unless the office is closed, and stays so for longer than a request takes."""
        hours, now = self._window.hours, self._now()
        opens = hours.next_open(now) if hours is not None else None
        if hours is None or opens is None:
            return
        if opens <= now:
            raise _WaitError(Pause(hours.next_close(now), "window", "The office is open."))
        if opens - now < max(self._window.margin, self._slowest):
            until = hours.next_close(opens)
            raise _WaitError(
                Pause(until, "window", "The office is about to open; the rest goes on after it.")
            )

    def _not_now(self, error: NotNowError) -> Pause:
        """When to go on after a 403: after our own office hours, or soon when ours say that it is closed."""
        hours, now = self._window.hours, self._now()
        if hours is not None and hours.is_open(now):
            return Pause(hours.next_close(now), "window", str(error))
        batches = self._ledger.batches(self._load)
        load = self._ledger.load(self._load)
        last = max([load.opened_at, *(batch.settled_at for batch in batches if batch.settled_at)])
        if now - last > self._window.patience:
            raise ArchiveStoppedError(
                f"For {self._window.patience.total_seconds() / 3600:g} hours Vicidial has said that its office is "
                "open. Compare office_hours in the flow file, and the server's clock, with the vendor."
            )
        return Pause(now + self._window.recheck, "recheck", f"{error} Our own hours say that it is closed.")

    # One batch

    def _archive(self, batch: Batch, lead_ids: list[int]) -> None:
        work = self._begin(batch, lead_ids)
        synced = False
        while work.pending:
            if work.calls >= MOST_CALLS:
                self._contradiction(work, f"Vicidial named missing leads in {work.calls} answers in a row.")
            answer = self._ask(work, self._flags)
            if isinstance(answer, UnknownLeadsError):
                self._take_unknown(work, answer)
                continue
            verdict = vicidial.judge(answer, len(work.pending), self._flags)
            if verdict.problem:
                self._contradiction(work, verdict.problem)
            if not verdict.stayed:
                work.gone(work.pending)
            elif not synced:
                synced = work.doubt = True
                self._ask_database(work)
            else:
                self._find_stayed(work)
                break
        self._settle(work)

    def _begin(self, batch: Batch, lead_ids: list[int]) -> _Work:
        """Take up a batch where it stands: what an earlier try wrote down, and what the database says by now."""
        doubt = batch.state != "planned"
        work = _Work(batch, lead_ids, {}, doubt, lost=doubt, open_intent=batch.state == "intended")
        known = read_named(self._notes, batch.seq)
        work.leave_out({int(key): reason for key, reason in known.items() if reason != STAYED})
        self._ask_database(work)
        return work

    def _ask_database(self, work: _Work) -> None:
        """Take out what no rule picks any more: a lead that somebody called since stays where it is."""
        if self._database is not None and work.pending:
            missing = set(work.pending) - self._database.fitting(work.pending)
            listed = self._database.listed(missing) if missing else set()
            off_list = missing - listed
            archived = self._database.archived(off_list) if work.doubt and off_list else set()
            work.gone(archived)
            work.leave_out(dict.fromkeys(listed, NO_LONGER_OLD) | dict.fromkeys(off_list - archived, UNKNOWN))
        if work.left_out:
            self._write_down(work)

    def _ask(self, work: _Work, flags: Flags) -> Counts | UnknownLeadsError:
        """Send one request, again where its answer was lost; a server that says "not now" ends in a wait."""
        for attempt in range(1, TRIES + 1):
            self._require_window()
            self._ledger.renew_claim(self._load, CLAIM)
            self._ledger.intend(self._load, work.batch.seq, again=work.doubt)
            work.open_intent = True
            began = self._now()
            try:
                counts = self._send(work.pending, flags)
            except UnknownLeadsError as error:
                work.calls += 1
                return error
            except LostAnswerError as error:
                work.doubt = work.lost = True
                self._again(error, attempt)
            except VendorError as error:
                self._withdraw(work, str(error))
                if isinstance(error, NotNowError):
                    raise _WaitError(self._not_now(error)) from None
                self._again(error, attempt)
            else:
                work.calls += 1
                for name, count in counts.__dict__.items():
                    work.counts[ANSWERED[name]] += count
                return counts
            finally:
                self._slowest = max(self._slowest, self._now() - began)
        raise AssertionError("the loop above returns or raises")

    def _again(self, error: VendorError, attempt: int) -> None:
        """Sleep before the next try, or raise the error where there is none."""
        wait = error.retry_after if isinstance(error, RateLimitedError) else 2.0 ** (attempt - 1)
        if not error.again or attempt == TRIES or wait > LONGEST_SLEEP:
            raise error
        log.warning("%s Trying again in %.0f s (%d of %d).", error, wait, attempt, TRIES - 1)
        self._sleep(wait)

    def _withdraw(self, work: _Work, note: str) -> None:
        self._ledger.withdraw(self._load, work.batch.seq, note)
        work.open_intent = False

    def _take_unknown(self, work: _Work, error: UnknownLeadsError) -> None:
        """Take the named ids out: as archived when that may be our own doing, else as unknown; written down first."""
        named = vicidial.named_leads(error, work.pending)
        ours = self._archived_by_us(named) if work.doubt and self._flags.delete else set()
        work.gone(ours)
        work.leave_out(dict.fromkeys(named - ours, UNKNOWN))
        self._write_down(work)
        if not work.doubt:
            self._withdraw(work, str(error))

    def _archived_by_us(self, named: set[int]) -> set[int]:
        """Of ids that the list no longer holds after our own open intent, those that are archived.

        That is all of them, unless the database knows better: one that it finds in neither table was deleted by
        somebody. (One that it still finds on the list is archived too: then it is a replica that lags behind.)
        """
        if self._database is None:
            return named
        return self._database.listed(named) | self._database.archived(named)

    def _find_stayed(self, work: _Work) -> None:
        """Find out by name which leads stayed on the list, with a request that changes nothing."""
        answer = self._ask(work, vicidial.LOOK)
        if isinstance(answer, UnknownLeadsError):
            work.gone(vicidial.named_leads(answer, work.pending))
        elif answer.select != len(work.pending):
            self._contradiction(work, "Vicidial counts other leads than it was asked for, and names none.")
        work.leave_out(dict.fromkeys(work.pending, STAYED))
        self._write_down(work)

    def _settle(self, work: _Work) -> None:
        reasons = Counter(work.left_out.values())
        if self._flags.delete and not work.lost and work.counts["deleted"] != len(work.archived):
            reasons[UNEXPLAINED] = abs(work.counts["deleted"] - len(work.archived))
        if not work.open_intent:
            self._ledger.intend(self._load, work.batch.seq, again=work.doubt)
        self._ledger.settle(
            self._load,
            work.batch.seq,
            "confirmed" if work.archived else "rejected",
            delivered=len(work.archived),
            rejected=len(work.left_out),
            uncertain=0,
            vendor_counts={"valid": len(work.archived), **work.counts, **reasons},
            note=f"{work.calls} requests" if work.calls > 1 else None,
        )
        log.info("Batch %d: %d archived, %d not.", work.batch.seq, len(work.archived), len(work.left_out))

    def _contradiction(self, work: _Work, problem: str) -> None:
        """Stop: a server that contradicts itself is not sent more leads. What it may have done is left uncertain."""
        if work.open_intent:
            self._ledger.leave_uncertain(work.batch, problem, work.counts)
        raise ArchiveStoppedError(
            f"Batch {work.batch.seq}: {problem} Look at the list, then clear this task."
        )

    def _write_down(self, work: _Work) -> None:
        names = {str(lead_id): reason for lead_id, reason in sorted(work.left_out.items())}
        self._notes.put(_name(work.batch.seq), json.dumps(names).encode())


def _name(seq: int) -> str:
    return f"named-{seq:05d}.json"


def read_named(notes: RunFolder, seq: int) -> dict[str, str]:
    """Rows of a batch that were not archived, each with its reason, as far as they were written down."""
    raw = notes.get(_name(seq))
    return dict(json.loads(raw)) if raw is not None else {}


def problems(batches: Iterable[Batch]) -> list[str]:
    """What speaks against calling an archived load good, by its settled batches, in plain words."""
    totals: Counter[str] = Counter()
    for batch in batches:
        totals.update({name: batch.vendor_counts.get(name, 0) for name in (STAYED, UNEXPLAINED)})
    found = []
    if totals[STAYED]:
        found.append(
            f"{totals[STAYED]} leads stayed on the list although they were archived: their columns differ from the "
            "copy. The report names them."
        )
    if totals[UNEXPLAINED]:
        found.append(
            f"Vicidial's delete counts differ by {totals[UNEXPLAINED]} from the leads that left the list: something "
            "else removes leads at the same time."
        )
    return found
