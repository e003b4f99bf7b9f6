"""What a load needs before it may write: a person's word where its plan asks for one, and a list that has not moved.

A person's word stands on the load, and a load has one plan: so it is bound to that plan's hash. Asking anew takes an
earlier word back. Both are looked at when the load claims its list, in the transaction that gives it the list.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from include.ledger import evidence
from include.ledger import loads as loads_of
from include.ledger.errors import (
    ListChangedError,
    NotApprovedError,
    NotAskedError,
    OtherPageError,
    PlanTooOldError,
)
from include.ledger.records import Load, Standing, Target
from include.ledger.tables import batches, loads


def ask(connection: Connection, load: Load, page: str, now: datetime) -> None:
    """Write down that a person is asked, with which page (a hash of it). An earlier word counts no more."""
    if set(loads_of.pages(connection, load)) - {page}:
        raise OtherPageError(load.id)
    _set(
        connection,
        load,
        approval="needed",
        approval_page=page,
        approved_by=None,
        approved_at=None,
        approval_reason=None,
    )
    evidence.append(connection, "asked", load.id, {"hash": load.plan_hash, "page": page}, now)


def answer(
    connection: Connection,
    load: Load,
    *,
    page: str,
    approved: bool | None,
    who: str | None,
    why: str | None,
    good_for: timedelta,
    facts: dict[str, object],
    now: datetime,
) -> Load:
    """Write a person's word down, and as evidence; no answer (None) means no.

    :param good_for: how long an approved plan may be applied, from now.
    :param facts: what else the evidence says.
    """
    if load.approval != "needed" or load.approval_page != page:
        raise NotAskedError(load.id)
    word = {True: "approved", False: "rejected", None: "unanswered"}[approved]
    values: dict[str, object] = {"approval": word, "approval_reason": why}
    if approved:
        until = None if load.good_until is None else now + good_for
        values |= {"approved_by": who, "approved_at": now, "good_until": until}
    _set(connection, load, **values)
    body = {"hash": load.plan_hash, "who": who, "why": why, "requested_by": load.requested_by, **facts}
    evidence.append(connection, word, load.id, body, now)
    return loads_of.find(connection, load.id)


def require_word(load: Load) -> None:
    """Refuse a load whose plan asks for a person's word and has none."""
    if load.approval is not None and load.approval != "approved":
        raise NotApprovedError(load.id, load.approval)


def require_fresh(connection: Connection, load: Load, target: Target, now: datetime) -> None:
    """Refuse a plan that is too old, or made for a list that has moved since.

    Neither stops a load that has begun: what it has sent itself is no news, and half a load helps nobody.
    """
    if load.good_until is None:
        return
    if standing(connection, target) != Standing(load.planned_on_applied, load.planned_on_sent):
        raise ListChangedError(target.key, load.id)
    if now > load.good_until:
        raise PlanTooOldError(load.id, load.good_until)


def begin(connection: Connection, load: Load) -> None:
    """Write down that the load's first batch goes out: its plan cannot grow too old any more."""
    if load.good_until is not None:
        _set(connection, load, good_until=None)


def standing(connection: Connection, target: Target) -> Standing:
    """Where a list stands: what was applied to it last and when, what was sent to it last and how often.

    A load that was the last one before may send another batch, or be applied again: its id alone would not tell.
    """
    applied = None
    if target.applied_load_id is not None and target.applied_at is not None:
        applied = f"{target.applied_load_id} {target.applied_at.isoformat()}"
    last = loads_of.last_sent(connection, target.key)
    if last is None:
        return Standing(applied, None)
    attempts = select(func.sum(batches.c.attempts)).where(batches.c.load_id == last.id)
    return Standing(applied, f"{last.id} {connection.execute(attempts).scalar_one()}")


def _set(connection: Connection, load: Load, **values: object) -> None:
    connection.execute(update(loads).where(loads.c.id == load.id).values(**values))
