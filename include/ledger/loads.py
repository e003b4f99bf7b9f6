"""Loads: one row per plan of a run, opened before anything is written and finished with its counts."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Row, select, update

from include.ledger.errors import CountsError, UnknownLoadError
from include.ledger.records import Counts, Load, LoadState, Standing
from include.ledger.store import insert_new
from include.ledger.tables import batches, loads


def open_(
    connection: Connection,
    *,
    dag_id: str,
    run_id: str,
    plan_hash: str,
    standing: Standing,
    good_until: datetime,
    needs_approval: bool,
    **values: object,
) -> Load:
    """Open a load, or take up the one that an earlier try of the same run opened for the same plan.

    Either way the plan is new: its age begins now, and a word that a person gave before counts no more.
    """
    planned = {
        "good_until": good_until,
        "planned_on_applied": standing.applied,
        "planned_on_sent": standing.sent,
        "approval": "needed" if needs_approval else None,
        "approved_by": None,
        "approved_at": None,
        "approval_reason": None,
    }
    same = (loads.c.dag_id == dag_id) & (loads.c.run_id == run_id) & (loads.c.plan_hash == plan_hash)
    if not insert_new(
        connection,
        loads,
        id=uuid.uuid4().hex,
        dag_id=dag_id,
        run_id=run_id,
        plan_hash=plan_hash,
        state="open",
        **planned,
        **values,
    ):
        connection.execute(update(loads).where(same).values(**planned))
    return _load(connection.execute(select(loads).where(same)).one())


def find(connection: Connection, load_id: str) -> Load:
    """One load."""
    row = connection.execute(select(loads).where(loads.c.id == load_id)).one_or_none()
    if row is None:
        raise UnknownLoadError(load_id)
    return _load(row)


def newest(connection: Connection, limit: int | None, *where: ColumnElement[bool]) -> list[Load]:
    """The loads opened last, newest first; `limit` None: all of them."""
    query = select(loads).where(*where).order_by(loads.c.number.desc()).limit(limit)
    return [_load(row) for row in connection.execute(query)]


def unresolved(connection: Connection, target: str) -> list[Load]:
    """Loads to a list with a batch that may have arrived and is not settled for sure, oldest first."""
    open_batch = (
        select(batches.c.id)
        .where(batches.c.load_id == loads.c.id)
        .where(batches.c.state.in_(["intended", "accepted", "uncertain"]))
    )
    query = select(loads).where(loads.c.target == target, open_batch.exists()).order_by(loads.c.number)
    return [_load(row) for row in connection.execute(query)]


def pages(connection: Connection, load: Load) -> list[str]:
    """What the load's run has asked people with so far: hashes of pages, of this plan and of others."""
    of_run = (loads.c.dag_id == load.dag_id, loads.c.run_id == load.run_id)
    query = select(loads.c.approval_page).where(*of_run, loads.c.approval_page.is_not(None))
    return list(connection.scalars(query))


def last_sent(connection: Connection, target: str) -> Load | None:
    """The load to a list whose batch went out last."""
    query = (
        select(loads)
        .join(batches, batches.c.load_id == loads.c.id)
        .where(loads.c.target == target, batches.c.state != "planned")
        .order_by(batches.c.intended_at.desc(), batches.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _load(row)


def finish(
    connection: Connection, load: Load, state: LoadState, counts: Counts, verdict: str, now: datetime
) -> None:
    """Write down how the load ended. Done is only for rows that all ended, each with certainty."""
    if state == "done" and (not counts.accounted or counts.uncertain != 0 or counts.rows_in != load.rows_in):
        raise CountsError(
            f"Load {load.id} cannot be done: {load.rows_in:,} rows came in and its counts say "
            f"{counts.to_dict()}. Finish it as failed or uncertain."
        )
    connection.execute(
        update(loads)
        .where(loads.c.id == load.id)
        .values(state=state, counts=counts.to_dict(), verdict=verdict, finished_at=now)
    )


def _load(row: Row[tuple[object, ...]]) -> Load:
    values = dict(row._mapping)
    del values["number"]
    values["counts"] = None if values["counts"] is None else Counts(**values["counts"])
    return Load(**values)
