"""Which loads, and what of them, nothing may be taken from yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select
from sqlalchemy.orm import aliased

from include.ledger import loads as loads_of
from include.ledger.owners import Claim
from include.ledger.records import Load
from include.ledger.tables import batches, loads, owners, targets

LOOKED_AT: Final = 50
"""Loads of a list that are read back."""


@dataclass(frozen=True)
class Holding:
    """What the ledger still needs.

    :param unfinished: loads that have not ended. One that was planned anew by its own run, and never sent, has.
    :param unresolved: loads of which rows may have arrived without anybody knowing.
    :param applied: list -> path of the keys of what stands on it.
    :param written: list -> its last loads that were meant to write and have ended, the newest first.
    :param kept_loads: ids of loads that the lists themselves are told by: applied last, and sent last.
    :param claims: group and night -> its claims.
    """

    unfinished: tuple[Load, ...]
    unresolved: tuple[Load, ...]
    applied: dict[str, str]
    written: dict[str, tuple[Load, ...]]
    kept_loads: frozenset[str]
    claims: dict[tuple[str, str], tuple[Claim, ...]]


def holding(connection: Connection) -> Holding:
    """Read what the ledger needs as it stands now."""
    sent = select(batches.c.id).where(batches.c.load_id == loads.c.id, batches.c.state != "planned").exists()
    maybe = (
        select(batches.c.id)
        .where(batches.c.load_id == loads.c.id, batches.c.state.in_(["intended", "accepted", "uncertain"]))
        .exists()
    )
    later = aliased(loads)
    planned_anew = (
        select(later.c.number)
        .where(
            later.c.dag_id == loads.c.dag_id,
            later.c.run_id == loads.c.run_id,
            later.c.number > loads.c.number,
        )
        .exists()
    )
    unfinished = (loads.c.state == "open") & (sent | ~planned_anew)
    unresolved = (loads.c.state == "uncertain") | maybe
    written: dict[str, tuple[Load, ...]] = {}
    applied: dict[str, str] = {}
    told_by: set[str] = set()
    for row in connection.execute(
        select(targets.c.key, targets.c.applied, targets.c.applied_load_id).order_by(targets.c.key)
    ).all():
        if row.applied is not None:
            applied[row.key] = row.applied
        last_sent = loads_of.last_sent(connection, row.key)
        told_by |= {row.applied_load_id or "", last_sent.id if last_sent else ""}
        ended = (loads.c.target == row.key, loads.c.mode == "apply", loads.c.state != "open")
        written[row.key] = tuple(loads_of.newest(connection, LOOKED_AT, *ended))
    claims = {
        (row.owner_group, row.night): tuple(Claim(*entry) for entry in row.claims)
        for row in connection.execute(select(owners))
    }
    return Holding(
        tuple(loads_of.newest(connection, None, unfinished)),
        tuple(loads_of.newest(connection, None, unresolved)),
        applied,
        written,
        frozenset(told_by - {""}),
        claims,
    )
