"""A person says what became of the rows that nobody could account for: the way out of an uncertain load."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from include.ledger import batches, evidence, loads, targets
from include.ledger.errors import CountsError, NotUncertainError
from include.ledger.records import Batch, Load


def resolve(
    connection: Connection,
    load: Load,
    *,
    delivered: bool,
    who: str,
    why: str,
    applied: str | None,
    now: datetime,
) -> Load:
    """Settle what is uncertain of a load as delivered or as rejected, finish it again, and keep it as evidence.

    :param applied: the plan's path in staging, to be remembered as what is on the list if any row is; None when the
        same rows may well be sent again.
    """
    if load.state != "uncertain" or load.counts is None:
        raise NotUncertainError(load.id, load.state)
    targets.require_idle(targets.find(connection, load.target, locked=True), load, now)
    open_batches = [
        batch
        for batch in batches.of_load(connection, load.id)
        if batch.state in ("intended", "accepted", "uncertain")
    ]
    rows = sum(_unknown(batch) for batch in open_batches)
    if rows != load.counts.uncertain:
        raise CountsError(
            f"Load {load.id} counts {load.counts.uncertain:,} uncertain rows, its batches hold {rows:,}. "
            "Clear the task reconcile of its run, then resolve it again."
        )
    for batch in open_batches:
        came = batch.delivered + (_unknown(batch) if delivered else 0)
        batches.settle(
            connection,
            load.id,
            batch.seq,
            "confirmed" if came else "rejected",
            delivered=came,
            rejected=batch.rejected + (0 if delivered else _unknown(batch)),
            uncertain=0,
            vendor_counts=batch.vendor_counts,
            note=f"Resolved by {who}: {why}",
            now=now,
        )
    verdict = "resolved as delivered" if delivered else "resolved as not delivered"
    counts = replace(
        load.counts,
        delivered=load.counts.delivered + (rows if delivered else 0),
        rejected=load.counts.rejected + (0 if delivered else rows),
        uncertain=0,
    )
    if applied is not None and counts.delivered:
        targets.mark_applied(connection, load, applied, now)
    targets.release(connection, load)
    loads.finish(connection, load, "done" if delivered else "failed", counts, verdict, now)
    evidence.append(
        connection, "resolved", load.id, {"verdict": verdict, "rows": rows, "who": who, "why": why}, now
    )
    return loads.find(connection, load.id)


def _unknown(batch: Batch) -> int:
    """Rows of a batch that nobody can account for; all of them before it is settled."""
    return batch.uncertain if batch.settled else batch.rows
