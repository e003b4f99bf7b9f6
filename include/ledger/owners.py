"""Which flows of a group have claimed numbers of a night, and where those numbers lie.

One row per group and night holds the claims, and is locked while one is added. Whoever adds one says which claims of
others it has looked at; if there are more by now it is refused, and looks again. So no two flows of a group can both
claim a number, however they run side by side, die or are run again. Claims are never taken back: what a run has
claimed may have been sent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from include.ledger.store import insert_new
from include.ledger.tables import owners


@dataclass(frozen=True)
class Claim:
    """Numbers that a run of a flow claimed: `path` is the run folder that holds them."""

    dag_id: str
    path: str


def of_night(connection: Connection, group: str, night: str, *, locked: bool = False) -> list[Claim]:
    """The claims of a group and night, oldest first."""
    query = select(owners.c.claims).where(owners.c.owner_group == group, owners.c.night == night)
    found = connection.execute(query.with_for_update() if locked else query).scalar_one_or_none()
    return [Claim(*entry) for entry in found or ()]


def claim(connection: Connection, group: str, night: str, mine: Claim, seen: Collection[Claim]) -> bool:
    """Add a claim, unless another flow has added one that is not among those `seen`."""
    insert_new(connection, owners, owner_group=group, night=night, claims=[])
    known = of_night(connection, group, night, locked=True)
    if any(other.dag_id != mine.dag_id and other not in seen for other in known):
        return False
    claims = [[claim.dag_id, claim.path] for claim in [*known, mine]]
    connection.execute(
        update(owners).where(owners.c.owner_group == group, owners.c.night == night).values(claims=claims)
    )
    return True
