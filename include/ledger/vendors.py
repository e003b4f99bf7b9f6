"""The switch that stops everything that goes to one vendor, whatever the list."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from include.ledger.errors import VendorPausedError
from include.ledger.records import VendorPause
from include.ledger.store import insert_new
from include.ledger.tables import vendors


def pause(connection: Connection, name: str, paused: bool, who: str, why: str, now: datetime) -> None:
    """Pause or resume the vendor; who and why stay readable after either."""
    values = {"paused": paused, "paused_by": who, "paused_why": why, "paused_at": now}
    if not insert_new(connection, vendors, name=name, **values):
        connection.execute(update(vendors).where(vendors.c.name == name).values(**values))


def paused(connection: Connection) -> list[VendorPause]:
    """The vendors that are paused, by name."""
    query = select(vendors).where(vendors.c.paused).order_by(vendors.c.name)
    return [
        VendorPause(row.name, row.paused_by, row.paused_why, row.paused_at)
        for row in connection.execute(query)
    ]


def require_open(connection: Connection, name: str) -> None:
    """Refuse while a person has paused the vendor."""
    query = select(vendors.c.paused).where(vendors.c.name == name)
    if connection.execute(query).scalar():
        raise VendorPausedError(name)
