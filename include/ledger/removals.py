"""What house-keeping removes: written down before it goes, when it is gone, and once in the evidence.

A row per place. What is noted but not gone is what a crash interrupted: the next run looks again whether it may go. The
evidence counts each thing that is gone once, however many tries that took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from include.ledger import evidence
from include.ledger.records import Evidence
from include.ledger.store import insert_new
from include.ledger.tables import batches, callbacks, events, loads, owners, removals

KIND: Final = "house_kept"
"""Kind of the evidence."""

Forgettable = tuple[Literal["claims"], str, str] | tuple[Literal["callbacks", "history"], str]
"""Rows of the ledger that may be forgotten: claims of a group and night, what was called back about a load, a load."""


@dataclass(frozen=True)
class Removal:
    """One thing that was removed, or was about to be. `days`: how long its class is kept."""

    place: str
    kept: str
    days: int
    pieces: int
    bytes: int
    intended_at: datetime
    gone_at: datetime | None
    told: int | None


def intend(connection: Connection, removal: Removal) -> None:
    """Note that something is about to go; again, what came back to the same place later."""
    if not insert_new(connection, removals, **vars(removal)):
        connection.execute(update(removals).where(removals.c.place == removal.place).values(**vars(removal)))


def gone(connection: Connection, place: str, now: datetime) -> None:
    """Note that it is gone."""
    connection.execute(update(removals).where(removals.c.place == place).values(gone_at=now))


def withdraw(connection: Connection, place: str) -> None:
    """It stays after all."""
    connection.execute(delete(removals).where(removals.c.place == place, removals.c.gone_at.is_(None)))


def interrupted(connection: Connection) -> list[Removal]:
    """What was about to go when something broke, by place."""
    return _read(connection, removals.c.gone_at.is_(None))


def find(connection: Connection, place: str, kept: str | None) -> Removal | None:
    """What was removed last of a place, or of the places below it, of one class or any; None when nothing ever was."""
    below = removals.c.place.startswith(f"{place}/", autoescape=True)
    where = ((removals.c.place == place) | below) & removals.c.gone_at.is_not(None)
    found = _read(connection, where if kept is None else where & (removals.c.kept == kept))
    return max(found, key=lambda removal: removal.gone_at or removal.intended_at, default=None)


def tell(connection: Connection, about: Mapping[str, Any], now: datetime) -> Evidence:
    """Put what is gone and not told yet into the evidence, counted by class."""
    untold = _read(connection, removals.c.gone_at.is_not(None) & removals.c.told.is_(None))
    counts: dict[str, Counter[str]] = {}
    for removal in untold:
        if not removal.pieces:
            continue  # somebody else had removed it
        count = counts.setdefault(removal.kept, Counter())
        count.update(items=1, pieces=removal.pieces, bytes=removal.bytes)
        count["days"] = removal.days
    record = evidence.append(connection, KIND, None, {**about, "removed": counts}, now)
    connection.execute(
        update(removals)
        .where(removals.c.gone_at.is_not(None), removals.c.told.is_(None))
        .values(told=record.seq)
    )
    return record


def forget_old(connection: Connection, before: datetime) -> None:
    """Let go of notes about what has long been removed, and told."""
    connection.execute(delete(removals).where(removals.c.gone_at < before, removals.c.told.is_not(None)))


def forget_claims(connection: Connection, group: str, night: str) -> int:
    """Forget which numbers of a night the lists of a group claimed; how many claims that were."""
    same = (owners.c.owner_group == group, owners.c.night == night)
    claims = connection.execute(select(owners.c.claims).where(*same)).scalar_one_or_none()
    connection.execute(delete(owners).where(*same))
    return len(claims or ())


def forget_callbacks(connection: Connection, load_id: str) -> int:
    """Forget what was called back about a load, and its tokens; how many bodies that were."""
    of_load = select(batches.c.id).where(batches.c.load_id == load_id)
    connection.execute(delete(callbacks).where(callbacks.c.batch_id.in_(of_load)))
    return connection.execute(delete(events).where(events.c.batch_id.in_(of_load))).rowcount


def forget_load(connection: Connection, load_id: str) -> int:
    """Forget a load with all that belongs to it; how many rows that were."""
    rows = forget_callbacks(connection, load_id)
    rows += connection.execute(delete(batches).where(batches.c.load_id == load_id)).rowcount
    return rows + connection.execute(delete(loads).where(loads.c.id == load_id)).rowcount


def called_back(connection: Connection, before: datetime) -> list[tuple[str, int, datetime]]:
    """Loads that ended before a moment and were called back about: id, bodies, when the last one came."""
    query = (
        select(loads.c.id, func.count(events.c.id), func.max(events.c.received_at))
        .join(batches, batches.c.load_id == loads.c.id)
        .join(events, events.c.batch_id == batches.c.id)
        .where(loads.c.finished_at < before)
        .group_by(loads.c.id)
        .order_by(loads.c.id)
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def ended(connection: Connection, before: datetime) -> list[tuple[str, int, datetime]]:
    """Loads that ended before a moment: id, rows (its own and those of its batches), and when."""
    query = (
        select(loads.c.id, func.count(batches.c.id) + 1, loads.c.finished_at)
        .join(batches, batches.c.load_id == loads.c.id, isouter=True)
        .where(loads.c.finished_at < before)
        .group_by(loads.c.id, loads.c.finished_at)
        .order_by(loads.c.id)
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def _read(connection: Connection, where: ColumnElement[bool]) -> list[Removal]:
    query = select(removals).where(where).order_by(removals.c.place)
    return [Removal(**row._mapping) for row in connection.execute(query)]
