"""The one door to the ledger. Each method is one transaction, safe beside other threads and processes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Literal, Self

from include.ledger import (
    approvals,
    batches,
    erase,
    events,
    evidence,
    holding,
    loads,
    owners,
    pace,
    removals,
    resolve,
    targets,
    vendors,
)
from include.ledger.errors import UnknownTargetError
from include.ledger.holding import Holding
from include.ledger.owners import Claim
from include.ledger.pace import Pace, Turn
from include.ledger.records import (
    Batch,
    BatchPlan,
    Counts,
    Event,
    Evidence,
    Head,
    Load,
    Mode,
    Problem,
    Receipt,
    SettledState,
    Standing,
    Target,
    VendorPause,
)
from include.ledger.removals import Forgettable, Removal
from include.ledger.store import Store
from include.ledger.tables import loads as loads_table

GOOD_FOR: Final = timedelta(hours=12)
"""How long a plan may be applied, where nobody says otherwise."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """The control tables behind a database URL, `sqlite:///path` or `postgresql+psycopg2://...`.

    It holds ids, counts, hashes and times; never a phone number, a name or an e-mail address of a lead, and
    callers must not put any into its free-text fields. All times are timezone-aware and come back in UTC. A
    Ledger serves the threads of one process: open it where it is used, never carry it over a fork. Database
    failures come through as SQLAlchemy's own errors, with the parameters left out.
    """

    def __init__(self, url: str, *, now: Callable[[], datetime] = _utc_now) -> None:
        self._store = Store(url)
        self._now = now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def migrate(self) -> None:
        """Create the tables or bring them up to date; any number of processes may try at once."""
        self._store.migrate()

    def close(self) -> None:
        """Close the database connections."""
        self._store.close()

    # Loads

    def open_load(
        self,
        *,
        flow: str,
        vendor: str,
        dag_id: str,
        run_id: str,
        target: str,
        night: str | None,
        source_time: datetime,
        snapshot: str,
        plan_hash: str,
        mode: Mode,
        requested_by: str | None,
        reason: str | None,
        rows_in: int,
        standing: Standing | None = None,
        good_for: timedelta = GOOD_FOR,
        needs_approval: bool = False,
    ) -> Load:
        """Open the load of one plan. A retry of the same run with the same plan gets the same load back, new again.

        :param standing: where the list stood when the plan looked at it (`standing_of`); None: where it stands now.
        :param good_for: how long the plan may be applied.
        :param needs_approval: whether a person must approve it first (`ask_approval`).
        """
        now = self._now()
        with self._store.write() as connection:
            targets.ensure(connection, target)
            return loads.open_(
                connection,
                dag_id=dag_id,
                run_id=run_id,
                plan_hash=plan_hash,
                flow=flow,
                vendor=vendor,
                target=target,
                night=night,
                source_time=source_time,
                snapshot=snapshot,
                mode=mode,
                requested_by=requested_by,
                reason=reason,
                rows_in=rows_in,
                opened_at=now,
                standing=standing or approvals.standing(connection, targets.find(connection, target)),
                good_until=now + good_for,
                needs_approval=needs_approval,
            )

    def load(self, load_id: str) -> Load:
        """One load; UnknownLoadError when there is none."""
        with self._store.read() as connection:
            return loads.find(connection, load_id)

    def load_for_run(self, dag_id: str, run_id: str) -> Load | None:
        """The load that this run opened last."""
        with self._store.read() as connection:
            of_run = (loads_table.c.dag_id == dag_id, loads_table.c.run_id == run_id)
            return next(iter(loads.newest(connection, 1, *of_run)), None)

    def loads(self, limit: int, flow: str | None = None) -> list[Load]:
        """The loads opened last, newest first, of one flow or of all."""
        with self._store.read() as connection:
            where = [] if flow is None else [loads_table.c.flow == flow]
            return loads.newest(connection, limit, *where)

    def unresolved(self, target: str) -> list[Load]:
        """Loads to this list whose rows may be on it without anybody knowing: sent, but not settled for sure."""
        with self._store.read() as connection:
            return loads.unresolved(connection, target)

    def last_sent(self, target: str) -> Load | None:
        """The load that was sent to this list last, whatever became of it; None when nothing ever was."""
        with self._store.read() as connection:
            return loads.last_sent(connection, target)

    def finish_load(
        self,
        load_id: str,
        *,
        state: Literal["done", "failed", "refused", "planned", "uncertain"],
        counts: Counts,
        verdict: str,
    ) -> None:
        """Write down how the load ended; again when a late callback or a person settles what was uncertain.

        CountsError when it is called done but the counts leave a row out, or uncertain.
        """
        with self._store.write() as connection:
            loads.finish(connection, loads.find(connection, load_id), state, counts, verdict, self._now())

    def resolve(self, load_id: str, *, delivered: bool, who: str, why: str, applied: str | None) -> Load:
        """Let a person say what became of an uncertain load's rows; return the load as it stands then.

        Its batches, its counts, what stands on its list and the evidence are written together. NotUncertainError,
        LoadBusyError, or CountsError when batches and load disagree.

        :param applied: the plan's path in staging, remembered as what is on the list when any row is; None when the
            same rows may well be sent again.
        """
        with self._store.write() as connection:
            return resolve.resolve(
                connection,
                loads.find(connection, load_id),
                delivered=delivered,
                who=who,
                why=why,
                applied=applied,
                now=self._now(),
            )

    # Approvals

    def ask_approval(self, load_id: str, page: str) -> None:
        """Write down that a person is asked; an earlier word counts no more.

        OtherPageError when the run has asked with another page before: Airflow 3.3.2 keeps the first page that a task
        of a run wrote, whatever that task asks with after it was cleared.

        :param page: hash of what the person is shown.
        """
        with self._store.write() as connection:
            approvals.ask(connection, loads.find(connection, load_id), page, self._now())

    def answer_approval(
        self,
        load_id: str,
        *,
        page: str,
        approved: bool | None,
        who: str | None,
        why: str | None,
        good_for: timedelta = GOOD_FOR,
        facts: Mapping[str, Any] | None = None,
    ) -> Load:
        """Write a person's word on the load's plan down, and as evidence; None means that nobody answered.

        NotAskedError unless this very page was asked with for the plan as it is now, and is not answered yet.

        :param page: hash of what the person was shown, if the plan is still the one that was asked about.
        :param good_for: how long an approved plan may be applied, from now.
        :param facts: what else goes into the evidence.
        """
        with self._store.write() as connection:
            return approvals.answer(
                connection,
                loads.find(connection, load_id),
                page=page,
                approved=approved,
                who=who,
                why=why,
                good_for=good_for,
                facts=dict(facts or {}),
                now=self._now(),
            )

    # Targets

    def claim_target(self, load_id: str, ttl: timedelta) -> None:
        """Take the load's list for writing, for `ttl`, and move its fence to the load's source.

        TargetPausedError (VendorPausedError), OlderSourceError (an equal source is fine), NotApprovedError,
        PlanTooOldError, ListChangedError, PlanOnlyError: all MayNotWriteError. TargetLockedError: another load holds
        it; one whose time has run out is taken over. Claiming again what is held prolongs it.
        """
        with self._store.write() as connection:
            targets.claim(connection, loads.find(connection, load_id), ttl, self._now())

    def renew_claim(self, load_id: str, ttl: timedelta) -> None:
        """Hold the list for `ttl` from now; ClaimLostError when another load has taken it."""
        with self._store.write() as connection:
            targets.renew(connection, loads.find(connection, load_id), ttl, self._now())

    def release_target(self, load_id: str) -> None:
        """Let the list go; nothing happens when the load does not hold it. The fence stays."""
        with self._store.write() as connection:
            targets.release(connection, loads.find(connection, load_id))

    def require_idle(self, load_id: str) -> None:
        """Refuse (LoadBusyError) while the load holds its list: its task is at work, or waits for the vendor."""
        with self._store.read() as connection:
            load = loads.find(connection, load_id)
            targets.require_idle(targets.find(connection, load.target), load, self._now())

    def mark_applied(self, load_id: str, applied: str) -> bool:
        """Write down what is on the list now: this load's plan, and `applied`, its keys' path in staging.

        False, and nothing written, when something newer is there already.
        """
        with self._store.write() as connection:
            return targets.mark_applied(connection, loads.find(connection, load_id), applied, self._now())

    def mark_proven(self, load_id: str, columns: str) -> None:
        """Write down that the load's list takes rows with these columns (a hash of them)."""
        with self._store.write() as connection:
            targets.prove(connection, loads.find(connection, load_id), columns)

    def target(self, key: str) -> Target:
        """One list; UnknownTargetError before its first load."""
        with self._store.read() as connection:
            return targets.find(connection, key)

    def targets(self) -> list[Target]:
        """All lists by key."""
        with self._store.read() as connection:
            return targets.every(connection)

    def standing_of(self, key: str) -> Standing:
        """Where a list stands, to be read before a plan looks at it; also of a list that has no load yet."""
        with self._store.read() as connection:
            try:
                return approvals.standing(connection, targets.find(connection, key))
            except UnknownTargetError:
                return Standing(None, None)

    def pause_vendor(self, name: str, paused: bool, who: str, why: str) -> None:
        """Pause everything that goes to a vendor (not even a load under way sends another batch), or resume it."""
        with self._store.write() as connection:
            vendors.pause(connection, name, paused, who, why, self._now())

    def paused_vendors(self) -> list[VendorPause]:
        """The vendors that are paused."""
        with self._store.read() as connection:
            return vendors.paused(connection)

    def pause_target(self, key: str, paused: bool, who: str, why: str) -> None:
        """Pause the list (nothing is sent to it any more, not even by a load that holds it), or resume it."""
        with self._store.write() as connection:
            targets.pause(connection, key, paused, who, why, self._now())

    # Batches

    def plan_batches(self, load_id: str, plans: Iterable[BatchPlan]) -> None:
        """Write the load's batches down, once; PlanChangedError when one was planned with other rows."""
        with self._store.write() as connection:
            batches.plan(connection, loads.find(connection, load_id).id, plans)

    def intend(self, load_id: str, seq: int, *, again: bool = False) -> str:
        """Write down that the batch is about to be sent; return the token for its callback.

        Call it right before the vendor. `again` sends what may have been sent before (state intended or
        uncertain): state it only where the vendor makes that safe. ClaimLostError unless the load holds its
        list, TargetPausedError (VendorPausedError), NotApprovedError, BatchStateError.
        """
        with self._store.write() as connection:
            load = loads.find(connection, load_id)
            now = self._now()
            targets.require_claim(connection, load, now)
            batch_id = batches.intend(connection, load_id, seq, again=again, now=now)
            approvals.begin(connection, load)
            return events.issue_token(connection, batch_id, load.vendor, now)

    def withdraw(self, load_id: str, seq: int, note: str) -> None:
        """Take the intent back: the attempt provably left nothing at the vendor (no connection, 401, 429).

        The batch is planned again, or uncertain when an earlier attempt may have reached the vendor.
        BatchStateError unless it is intended.
        """
        with self._store.write() as connection:
            batches.withdraw(connection, load_id, seq, note, self._now())

    def accept(self, load_id: str, seq: int, vendor_ref: str | None, answer: Mapping[str, Any]) -> None:
        """Write down that the vendor took the batch in, under its id `vendor_ref`.

        The answer is kept as an event is (see `include.ledger.events`). BatchStateError unless it was
        intended.
        """
        with self._store.write() as connection:
            batches.accept(connection, load_id, seq, vendor_ref, answer, self._now())

    def settle(
        self,
        load_id: str,
        seq: int,
        state: SettledState,
        *,
        delivered: int,
        rejected: int,
        uncertain: int,
        vendor_counts: Mapping[str, int],
        note: str | None = None,
    ) -> None:
        """Write down how the batch ended, in rows, with the vendor's own counts (see `reconcile`).

        CountsError unless each row of the batch is counted once, or when a final state leaves rows uncertain;
        BatchStateError when it was never intended, or is confirmed or rejected already with another end.
        """
        with self._store.write() as connection:
            batches.settle(
                connection,
                load_id,
                seq,
                state,
                delivered=delivered,
                rejected=rejected,
                uncertain=uncertain,
                vendor_counts=vendor_counts,
                note=note,
                now=self._now(),
            )

    def leave_uncertain(self, batch: Batch, why: str, vendor_counts: Mapping[str, int] | None = None) -> None:
        """Settle every row of a batch as uncertain: nobody told how it ended. A person or late news can undo it."""
        self.settle(
            batch.load_id,
            batch.seq,
            "uncertain",
            delivered=0,
            rejected=0,
            uncertain=batch.rows,
            vendor_counts=vendor_counts or {},
            note=why,
        )

    def batches(self, load_id: str) -> list[Batch]:
        """The load's batches in order."""
        with self._store.read() as connection:
            return batches.of_load(connection, loads.find(connection, load_id).id)

    def interrupted(self, load_id: str) -> list[Batch]:
        """Batches that were being sent when something broke: they may or may not have reached the vendor."""
        return [batch for batch in self.batches(load_id) if batch.state == "intended"]

    # Numbers of a night

    def claims_of(self, group: str, night: str) -> list[Claim]:
        """Which flows of a group have claimed numbers of a night, oldest claim first."""
        with self._store.read() as connection:
            return owners.of_night(connection, group, night)

    def claim_numbers(self, group: str, night: str, mine: Claim, *, seen: Collection[Claim]) -> bool:
        """Claim numbers of a night for good. False: others have claims that are not among those `seen`; look again."""
        with self._store.write() as connection:
            return owners.claim(connection, group, night, mine, seen)

    # Pace

    def take_turn(self, account: str, owner: str, limit: Pace) -> Turn | datetime:
        """Take a turn to call the vendor now, or learn when to ask again; see `include.ledger.pace`.

        End it when the answer is there. An owner (a load) has one call under way at most: one that it never ended
        counts as ended now.
        """
        with self._store.write() as connection:
            return pace.take(connection, account, owner, limit, self._now())

    def end_turn(self, account: str, turn: Turn) -> None:
        """End a call."""
        with self._store.write() as connection:
            pace.end(connection, account, turn, self._now())

    def hold_back(self, account: str, seconds: float) -> None:
        """Let nobody of this account call for so long: the vendor has said "too many"."""
        with self._store.write() as connection:
            pace.hold_back(connection, account, self._now() + timedelta(seconds=seconds))

    def next_turn(self, account: str, limit: Pace) -> datetime:
        """When the next call may begin, as far as one can tell now; takes nothing."""
        with self._store.read() as connection:
            return pace.look(connection, account, limit, self._now())

    # Callbacks

    def receive(
        self,
        vendor: str,
        token: str,
        body: bytes,
        read: Callable[[bytes], Mapping[str, Any]] = events.parse,
    ) -> Receipt:
        """Store what a vendor called back, once per batch, whatever state the batch is in.

        UnknownTokenError when the token is not one of this vendor's, BadCallbackError when the body cannot be read;
        nothing is stored then.

        :param read: makes an object of the body; raises BadCallbackError. By default the body is a JSON object.
        """
        with self._store.write() as connection:
            return events.receive(connection, vendor, token, body, self._now(), read)

    def events(self, load_id: str, seq: int) -> list[Event]:
        """What was called back about a batch, in order of arrival."""
        with self._store.read() as connection:
            return events.of_batch(connection, load_id, seq)

    # House-keeping

    def holding(self) -> Holding:
        """What the ledger still needs of what is staged, as it stands now."""
        with self._store.read() as connection:
            return holding.holding(connection)

    def called_back(self, before: datetime) -> list[tuple[str, int, datetime]]:
        """Loads that ended before a moment and were called back about: id, bodies, when the last one came."""
        with self._store.read() as connection:
            return removals.called_back(connection, before)

    def ended_loads(self, before: datetime) -> list[tuple[str, int, datetime]]:
        """Loads that ended before a moment: id, rows (its own and those of its batches), and when."""
        with self._store.read() as connection:
            return removals.ended(connection, before)

    def intend_removal(self, removal: Removal) -> None:
        """Note that something is about to be removed; `end_removal` says how that ended."""
        with self._store.write() as connection:
            removals.intend(connection, removal)

    def end_removal(self, place: str, *, gone: bool) -> None:
        """Note that it is gone, or that it stays after all."""
        with self._store.write() as connection:
            if gone:
                removals.gone(connection, place, self._now())
            else:
                removals.withdraw(connection, place)

    def forget(self, removal: Removal, what: Forgettable, may_go: Callable[[Holding], bool]) -> bool:
        """Forget rows of the ledger, unless they are needed by now; whether they are gone.

        :param what: `("claims", group, night)`, `("callbacks", load)` or `("history", load)`.
        """
        forgets: dict[str, Callable[..., int]] = {
            "claims": removals.forget_claims,
            "callbacks": removals.forget_callbacks,
            "history": removals.forget_load,
        }
        with self._store.write() as connection:
            if not may_go(holding.holding(connection)):
                return False
            rows = forgets[what[0]](connection, *what[1:])
            if rows:
                now = self._now()
                removals.intend(connection, replace(removal, pieces=rows, gone_at=now))
            return bool(rows)

    def interrupted_removals(self) -> list[Removal]:
        """What was about to be removed when something broke."""
        with self._store.read() as connection:
            return removals.interrupted(connection)

    def removal_of(self, place: str, kept: str | None = None) -> Removal | None:
        """What house-keeping removed last of a place, or below it; None when nothing ever was.

        :param kept: the class that it must be of.
        """
        with self._store.read() as connection:
            return removals.find(connection, place, kept)

    def tell_removed(self, about: Mapping[str, Any]) -> Evidence:
        """Put everything that is gone and not told yet into the evidence, once, counted by class."""
        with self._store.write() as connection:
            return removals.tell(connection, about, self._now())

    def forget_old_removals(self, before: datetime) -> None:
        """Let go of notes about what was removed and told before a moment."""
        with self._store.write() as connection:
            removals.forget_old(connection, before)

    # Evidence

    def record(self, kind: str, load_id: str | None, body: Mapping[str, Any]) -> Evidence:
        """Append to the evidence: `body` is plain JSON and holds no personal data of leads."""
        with self._store.write() as connection:
            return evidence.append(connection, kind, load_id, body, self._now())

    def records(self, kind: str, load_id: str | None) -> list[dict[str, Any]]:
        """What the evidence says of one kind about one load or request (None: about neither), oldest first."""
        with self._store.read() as connection:
            return evidence.about(connection, kind, load_id)

    def erase(self, named: Callable[[str], bool]) -> dict[str, int]:
        """Take a customer out of people's words and vendors' answers; `evidence` counts records that name them still.

        :param named: tells whether a text names the customer.
        """
        with self._store.write() as connection:
            return erase.erase(connection, named)

    def head(self) -> Head:
        """Where the evidence ends; worth keeping elsewhere (see `include.ledger.evidence`)."""
        with self._store.read() as connection:
            return evidence.read_head(connection)

    def verify(self, kept: Head | None = None) -> list[Problem]:
        """What is wrong with the evidence, empty when it holds; `kept` is a head noted down earlier."""
        with self._store.read() as connection:
            return evidence.verify(connection, kept)
