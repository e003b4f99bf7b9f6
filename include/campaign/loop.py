"""Sends the batches of a campaign's load at the vendor's pace and finds out what became of them, with the ledger as
checkpoint.

Whatever happens between two writes, a run that goes on later ends right: the intent stands in the ledger before each
request, and rows that the vendor refused are written down by name before their batch is settled. Waiting is not done
here: `run` says for what, and is called again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from include import canary
from include.campaign.outcome import settle, whole_failure
from include.campaign.payload import Payload
from include.canary import Canary
from include.ledger import Batch, ClaimLostError, Ledger, LedgerError, Pace, PlanChangedError
from include.staging import RunFolder
from include.vendors.errors import LostAnswerError, RateLimitedError, VendorError
from include.vendors.ozonetel import Accepted, Callback, FailedRow, find_callback

log = logging.getLogger(__name__)

TRIES: Final = 3
"""Failed calls in a row before the task fails; its next try goes on at this very batch."""

CLAIM_MARGIN: Final = timedelta(minutes=30)
"""How much longer than its callbacks a load may hold its list: time to be tried again."""

MOST_SENDS: Final = 3
"""How often a batch is sent whose callback leaves open what became of it: each try brings a new file of failed rows."""

MOST_REFUSALS: Final = 30
"""How often the vendor may say "too many" to one batch while we keep its limit: somebody else uses the key."""


class CampaignStoppedError(Exception):
    """Nothing more is sent: trying again changes nothing. The message says what to do."""


@dataclass(frozen=True)
class Pause:
    """What the load waits for, and until when at most (aware): a `turn` to call, or `callbacks` of what was sent."""

    kind: Literal["turn", "callbacks"]
    until: datetime


class Vendor(Protocol):
    """The calls of an account."""

    account: str
    pace: Pace

    def load(self, rows: Sequence[Sequence[str]], token: str, *, action: bool) -> Accepted:
        """Send one batch; `token` goes into its callback's address. Raises VendorError."""

    def failed_rows(self, url: str) -> list[FailedRow]:
        """Fetch the rows that the vendor did not add. Raises VendorError."""


@dataclass(frozen=True)
class Rules:
    """How a load goes.

    :param safe: whether a batch whose outcome is unknown may be sent again.
    :param answers: whether callbacks can reach us; without them nobody ever tells how a batch ended.
    :param callbacks: how long after a batch was sent its callback may come.
    :param latest: when the last batch may be sent, None for at any time.
    :param preflight: hash of the columns if they must be seen to work before more than one batch is on its way.
    :param nap: how long the worker itself waits for a turn or a callback; for longer, it is handed over.
    :param canary: what the first batch must show before the others are sent, None where they need not wait.
    """

    safe: bool
    answers: bool
    callbacks: timedelta
    latest: datetime | None
    preflight: str | None
    nap: timedelta
    canary: Canary | None = None


class Campaign:
    """
    Loads one plan into one campaign.

    :param load: id of the load; its batches are planned.
    :param notes: run folder for what is written down beside the ledger.
    :param last_try: whether the task has no further try, so that names of failed rows are not waited for any more.
    :param listen: brings in callbacks that do not come by themselves (those of a relay).
    """

    def __init__(
        self,
        ledger: Ledger,
        load: str,
        payload: Payload,
        vendor: Vendor,
        rules: Rules,
        *,
        notes: RunFolder,
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
        last_try: bool = False,
        listen: Callable[[], object] = lambda: None,
    ) -> None:
        self._ledger, self._load, self._payload, self._vendor = ledger, load, payload, vendor
        self._rules, self._notes, self._now, self._sleep = rules, notes, now, sleep
        self._last_try, self._listen = last_try, listen
        self._failures = 0
        self._judged: set[tuple[int, str]] = set()

    def run(self) -> Pause | None:
        """Go on as far as it goes now. Returns what to wait for, None when every batch that went out is settled.

        What stops the load is raised only then: VendorError, LedgerError (paused, an older source),
        CampaignStoppedError.
        """
        self._listen()
        stopped: Exception | None = None
        while True:
            try:
                if stopped is None and (pause := self._send()):
                    return pause
            except (VendorError, LedgerError, CampaignStoppedError) as error:
                if isinstance(error, VendorError) and error.again:
                    raise
                stopped = error
            if self._learn(sending=False):
                continue  # what has been learnt may let more rows go
            if pause := self._await():
                if self._hears_soon(pause):
                    continue
                return pause
            if stopped is not None:
                raise stopped
            return None

    # Sending

    def _send(self) -> Pause | None:
        """Send what is not under way yet, one batch a turn."""
        while True:
            self._learn(sending=True)
            batches = self._ledger.batches(self._load)
            if why := whole_failure(batches):
                raise CampaignStoppedError(canary.problem(self._rules.canary, batches) or why)
            waiting = [batch for batch in canary.free(self._rules.canary, batches) if self._unsent(batch)]
            if not waiting or (self._rules.latest is not None and self._now() >= self._rules.latest):
                return None
            if self._must_prove() and any(b.state == "accepted" or self._in_doubt(b) for b in batches):
                return None  # the first one must tell
            self._ledger.claim_target(self._load, self._rules.callbacks + CLAIM_MARGIN)
            turn = self._ledger.take_turn(self._vendor.account, self._load, self._vendor.pace)
            if isinstance(turn, datetime):
                left = turn - self._now()
                if left > self._rules.nap:
                    return Pause("turn", turn)
                self._sleep(max(left.total_seconds(), 0.0))  # the moment may have come while we asked
                continue
            try:
                self._call(waiting[0])
            finally:
                self._ledger.end_turn(self._vendor.account, turn)

    def _unsent(self, batch: Batch) -> bool:
        if batch.state == "planned":
            return True
        if not self._rules.safe or batch.state not in ("intended", "uncertain"):
            return False
        return batch.attempts < MOST_SENDS or self._callback(batch) is None

    def _in_doubt(self, batch: Batch) -> bool:
        return batch.state == "intended" and not self._rules.safe

    def _must_prove(self) -> bool:
        """Whether nobody has seen yet that these columns work."""
        target = self._ledger.target(self._ledger.load(self._load).target)
        return self._rules.preflight is not None and target.proven != self._rules.preflight

    def _call(self, batch: Batch) -> None:
        """Send one batch, and write down what its answer says."""
        rows = self._payload.rows(batch.seq)
        if self._payload.fingerprint(rows) != batch.fingerprint:
            raise PlanChangedError(self._load, batch.seq)
        token = self._ledger.intend(self._load, batch.seq, again=self._rules.safe)
        try:
            accepted = self._vendor.load(rows, token, action=not self._must_prove())
        except LostAnswerError as error:
            log.warning("Batch %d: %s", batch.seq, error)
            self._again(error)
        except VendorError as error:
            self._ledger.withdraw(self._load, batch.seq, str(error))
            if isinstance(error, RateLimitedError):
                self._held_back(batch, error)
            elif not error.again:
                raise
            else:
                self._again(error)
        else:
            self._failures = 0
            self._ledger.accept(self._load, batch.seq, accepted.transaction_id, {})
            log.info("Batch %d: %d rows stand in the vendor's queue.", batch.seq, batch.rows)

    def _again(self, error: VendorError) -> None:
        """Sleep before the next call, or raise the error when too many failed in a row."""
        self._failures += 1
        if self._failures >= TRIES:
            raise error
        self._sleep(2.0 ** (self._failures - 1))

    def _held_back(self, batch: Batch, error: RateLimitedError) -> None:
        """Nobody of this account calls for a while; unless the vendor has said so too often."""
        self._ledger.hold_back(self._vendor.account, self._vendor.pace.window.total_seconds())
        if batch.attempts + 1 >= MOST_REFUSALS:
            raise CampaignStoppedError(
                f"Ozonetel says again and again that there are too many requests, though we keep its limit: batch "
                f"{batch.seq} was sent {batch.attempts + 1} times. Find out what else uses this key. ({error})"
            )
        log.warning("%s", error)

    # Learning

    def _learn(self, *, sending: bool) -> bool:
        """Settle the batches whose callbacks are there; tell whether there were any that we had not judged yet.

        :param sending: whether rows still go out meanwhile: then a file of failed rows that cannot be had now waits.
        """
        learnt = False
        for batch in self._ledger.batches(self._load):
            if batch.state not in ("intended", "accepted", "uncertain"):
                continue
            callback = self._callback(batch)
            if callback is None or (batch.seq, callback.transaction_id) in self._judged:
                continue
            failed: list[FailedRow] | VendorError | None = None
            if callback.failed_file is not None and callback.not_processed:
                try:
                    failed = self._fetch(callback.failed_file)
                except VendorError as error:
                    if error.again and sending:
                        continue
                    if error.again and not self._last_try:
                        raise
                    failed = error
            settle(self._ledger, batch, callback, failed, self._payload, self._notes)
            self._judged.add((batch.seq, callback.transaction_id))
            if self._rules.preflight is not None and not callback.failed_whole:
                self._ledger.mark_proven(self._load, self._rules.preflight)
            learnt = True
        return learnt

    def _callback(self, batch: Batch) -> Callback | None:
        bodies = [event.body for event in self._ledger.events(self._load, batch.seq)]
        return find_callback(bodies, batch.vendor_ref, batch.attempts)

    def _hears_soon(self, pause: Pause) -> bool:
        """Whether a callback comes within a nap: often it does, and handing the task over would take longer."""
        until = min(pause.until, self._now() + self._rules.nap)
        while (left := (until - self._now()).total_seconds()) > 0:
            self._sleep(min(left, 0.5))
            self._listen()
            for batch in self._ledger.batches(self._load):
                callback = self._callback(batch) if batch.state in ("intended", "accepted") else None
                if callback is not None and (batch.seq, callback.transaction_id) not in self._judged:
                    return True
        return False

    def _fetch(self, url: str) -> list[FailedRow]:
        for attempt in range(1, TRIES):
            try:
                return self._vendor.failed_rows(url)
            except VendorError as error:
                if not error.again:
                    raise
                self._sleep(2.0 ** (attempt - 1))
        return self._vendor.failed_rows(url)

    def _await(self) -> Pause | None:
        """Wait while a callback may still come; after that what nobody told of is uncertain."""
        out = [b for b in self._ledger.batches(self._load) if b.state in ("intended", "accepted")]
        if self._rules.answers:
            ends = [(batch.intended_at or self._now()) + self._rules.callbacks for batch in out]
            if any(end > self._now() for end in ends):
                with suppress(ClaimLostError):  # nothing is sent while we wait
                    self._ledger.renew_claim(self._load, self._rules.callbacks + CLAIM_MARGIN)
                return Pause("callbacks", max(ends))
        for batch in out:
            why = "no callback came" if self._rules.answers else "no callback address is set"
            self._ledger.leave_uncertain(batch, f"{why}: look at the campaign in the vendor's console")
        return None
