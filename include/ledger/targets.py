"""Who may write a vendor list: the claim, the fence and the pause of each target.

The fence is the newest source that may have reached the list. It moves when a load claims the list, before
anything is sent, so that an older load cannot follow a newer one that crashed half way.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from include.ledger import approvals, vendors
from include.ledger.errors import (
    ClaimLostError,
    LoadBusyError,
    OlderSourceError,
    PlanOnlyError,
    TargetLockedError,
    TargetPausedError,
    UnknownTargetError,
)
from include.ledger.records import Load, Target
from include.ledger.store import insert_new
from include.ledger.tables import batches, targets


def ensure(connection: Connection, key: str) -> None:
    """Add the list if it is new."""
    insert_new(connection, targets, key=key, paused=False)


def find(connection: Connection, key: str, *, locked: bool = False) -> Target:
    """One list; `locked` keeps others from changing it until the transaction ends."""
    query = select(targets).where(targets.c.key == key)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    if row is None:
        raise UnknownTargetError(key)
    return Target(**row._mapping)


def every(connection: Connection) -> list[Target]:
    """All lists by key."""
    return [Target(**row._mapping) for row in connection.execute(select(targets).order_by(targets.c.key))]


def claim(connection: Connection, load: Load, ttl: timedelta, now: datetime) -> None:
    """Take the list for this load and move its fence, or say why not."""
    if load.mode != "apply":
        raise PlanOnlyError(load.id)
    target = find(connection, load.target, locked=True)
    if target.paused:
        raise TargetPausedError(target.key)
    vendors.require_open(connection, load.vendor)
    # Before the lock: waiting for the other load would not make this source any newer.
    if target.fence_source_time is not None and load.source_time < target.fence_source_time:
        raise OlderSourceError(target.key, target.fence_source_time, load.source_time)
    approvals.require_word(load)
    approvals.require_fresh(connection, load, target, now)
    owner, until = target.lock_load_id, target.lock_until
    if owner is not None and until is not None and owner != load.id and until > now:
        raise TargetLockedError(target.key, owner, until)
    _set(
        connection,
        target.key,
        lock_load_id=load.id,
        lock_until=now + ttl,
        fence_source_time=load.source_time,
    )


def require_claim(connection: Connection, load: Load, now: datetime) -> None:
    """Refuse unless the load holds its list now, and nobody paused that or the vendor. Locks the target's row."""
    target = find(connection, load.target, locked=True)
    if target.paused:
        raise TargetPausedError(target.key)
    vendors.require_open(connection, load.vendor)
    approvals.require_word(load)
    if target.lock_load_id != load.id or target.lock_until is None or target.lock_until <= now:
        raise ClaimLostError(target.key, load.id)


def require_idle(target: Target, load: Load, now: datetime) -> None:
    """Refuse while the load holds its list: its task is at work, or waits for the vendor."""
    if target.lock_load_id == load.id and target.lock_until is not None and target.lock_until > now:
        raise LoadBusyError(load.id, target.lock_until)


def renew(connection: Connection, load: Load, ttl: timedelta, now: datetime) -> None:
    """Hold the list longer. An expired claim that nobody took over can be renewed."""
    if find(connection, load.target, locked=True).lock_load_id != load.id:
        raise ClaimLostError(load.target, load.id)
    _set(connection, load.target, lock_until=now + ttl)


def release(connection: Connection, load: Load) -> None:
    """Let the list go, if this load holds it."""
    if find(connection, load.target, locked=True).lock_load_id == load.id:
        _set(connection, load.target, lock_load_id=None, lock_until=None)


def pause(connection: Connection, key: str, paused: bool, who: str, why: str, now: datetime) -> None:
    """Pause or resume the list, also one that no load has written yet; who and why stay readable after either."""
    ensure(connection, key)
    _set(connection, key, paused=paused, paused_by=who, paused_why=why, paused_at=now)


def mark_applied(connection: Connection, load: Load, applied: str, now: datetime) -> bool:
    """Write down what is on the list now, unless something newer is; tell whether it was written."""
    if load.mode != "apply":
        raise PlanOnlyError(load.id)
    target = find(connection, load.target, locked=True)
    if target.applied_source_time is not None and load.source_time < target.applied_source_time:
        return False
    delivered = select(func.coalesce(func.sum(batches.c.delivered), 0)).where(batches.c.load_id == load.id)
    _set(
        connection,
        load.target,
        applied_source_time=load.source_time,
        applied_plan_hash=load.plan_hash,
        applied_load_id=load.id,
        applied_rows=connection.execute(delivered).scalar_one(),
        applied=applied,
        applied_at=now,
    )
    return True


def prove(connection: Connection, load: Load, columns: str) -> None:
    """Write down the columns with which the list was seen to take a row."""
    _set(connection, load.target, proven=columns)


def _set(connection: Connection, key: str, **values: object) -> None:
    connection.execute(update(targets).where(targets.c.key == key).values(**values))
