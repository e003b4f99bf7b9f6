"""Batches: planned -> intended -> accepted -> confirmed | rejected | uncertain.

The intent is written before the vendor is called, so that a crash leaves a trace. Sending again what may have
been sent is a decision that the caller must state (`again`), because only the vendor's contract can make it
safe. Uncertain can still become confirmed or rejected (a late callback, a person); confirmed and rejected are
final.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from include.ledger.errors import BatchStateError, CountsError, PlanChangedError, UnknownBatchError
from include.ledger.events import ENDED, forget_signatures, trimmed
from include.ledger.records import Batch, BatchPlan, SettledState
from include.ledger.store import insert_new
from include.ledger.tables import batches


def plan(connection: Connection, load_id: str, plans: Iterable[BatchPlan]) -> None:
    """Write the batches down; planning the same ones again changes nothing."""
    for planned in plans:
        new = insert_new(
            connection,
            batches,
            load_id=load_id,
            seq=planned.seq,
            rows=planned.rows,
            fingerprint=planned.fingerprint,
            state="planned",
            attempts=0,
            maybe_sent=False,
            delivered=0,
            rejected=0,
            uncertain=0,
            vendor_counts={},
        )
        if not new:
            known = _row(connection, load_id, planned.seq)
            if (known.fingerprint, known.rows) != (planned.fingerprint, planned.rows):
                raise PlanChangedError(load_id, planned.seq)


def of_load(connection: Connection, load_id: str) -> list[Batch]:
    """The load's batches in order."""
    query = select(batches).where(batches.c.load_id == load_id).order_by(batches.c.seq)
    return [_batch(row) for row in connection.execute(query)]


def intend(connection: Connection, load_id: str, seq: int, *, again: bool, now: datetime) -> int:
    """Write the intent to send and count the attempt; return the batch's row id."""
    row = _row(connection, load_id, seq)
    if row.state != "planned" and not (again and row.state in ("intended", "uncertain")):
        raise BatchStateError(load_id, seq, row.state, "intended")
    _set(
        connection,
        row.id,
        state="intended",
        attempts=row.attempts + 1,
        maybe_sent=row.maybe_sent or row.state != "planned",
        intended_at=now,
        delivered=0,
        rejected=0,
        uncertain=0,
        vendor_ref=None,
        answer=None,
        vendor_counts={},
        note=None,
        accepted_at=None,
        settled_at=None,
    )
    return int(row.id)


def withdraw(connection: Connection, load_id: str, seq: int, note: str, now: datetime) -> None:
    """Take the intent back: this attempt left nothing at the vendor, though an earlier one may have."""
    row = _row(connection, load_id, seq)
    if row.state != "intended":
        raise BatchStateError(load_id, seq, row.state, "planned")
    if row.maybe_sent:
        _set(connection, row.id, state="uncertain", uncertain=row.rows, note=note, settled_at=now)
    else:
        _set(connection, row.id, state="planned", note=note)


def accept(
    connection: Connection,
    load_id: str,
    seq: int,
    vendor_ref: str | None,
    answer: Mapping[str, Any],
    now: datetime,
) -> None:
    """Write down that the vendor took the batch in, under its own id."""
    row = _row(connection, load_id, seq)
    if row.state == "accepted" and row.vendor_ref == vendor_ref:
        return
    if row.state != "intended":
        raise BatchStateError(load_id, seq, row.state, "accepted")
    _set(
        connection,
        row.id,
        state="accepted",
        vendor_ref=vendor_ref,
        answer=trimmed(answer),
        accepted_at=now,
    )


def settle(
    connection: Connection,
    load_id: str,
    seq: int,
    state: SettledState,
    *,
    delivered: int,
    rejected: int,
    uncertain: int,
    vendor_counts: Mapping[str, int],
    note: str | None,
    now: datetime,
) -> None:
    """Write down how the batch ended; the same end twice changes nothing."""
    row = _row(connection, load_id, seq)
    _check_counts(row, state, delivered, rejected, uncertain)
    end = {
        "state": state,
        "delivered": delivered,
        "rejected": rejected,
        "uncertain": uncertain,
        "vendor_counts": dict(vendor_counts),
    }
    if row.state in ("confirmed", "rejected") and end == {name: row._mapping[name] for name in end}:
        return
    if row.state not in ("intended", "accepted", "uncertain"):
        raise BatchStateError(load_id, seq, row.state, state)
    _set(connection, row.id, **end, note=note, settled_at=now)
    if state in ENDED:
        forget_signatures(connection, row.id)


def _check_counts(row: Row[Any], state: str, delivered: int, rejected: int, uncertain: int) -> None:
    """Each row of a batch ends once, and only an uncertain batch may hold uncertain rows."""
    if min(delivered, rejected, uncertain) < 0 or delivered + rejected + uncertain != row.rows:
        raise CountsError(
            f"Batch {row.seq} of load {row.load_id} has {row.rows:,} rows, but {delivered:,} delivered, "
            f"{rejected:,} rejected and {uncertain:,} uncertain were given."
        )
    if uncertain and state != "uncertain":
        raise CountsError(
            f"Batch {row.seq} of load {row.load_id} has {uncertain:,} uncertain rows; settle it as "
            f"uncertain, not as {state}, which is final."
        )


def _row(connection: Connection, load_id: str, seq: int) -> Row[Any]:
    """The batch's row, locked until the transaction ends where that is not a given."""
    query = select(batches).where(batches.c.load_id == load_id, batches.c.seq == seq).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownBatchError(load_id, seq)
    return row


def _batch(row: Row[Any]) -> Batch:
    values = dict(row._mapping)
    del values["id"]
    return Batch(**values)


def _set(connection: Connection, batch_id: int, **values: object) -> None:
    connection.execute(update(batches).where(batches.c.id == batch_id).values(**values))
