"""Takes a customer out of the ledger, where people's words or a vendor's answer name them against the rules.

The ledger holds ids and counts, so there should be nothing to find. Evidence cannot be changed without breaking its
chain: records that name the customer are only counted, and a person has to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, select, update

from include.ledger.tables import batches, canonical, events, evidence, loads, targets, vendors

ERASED: Final = "(erased)"

FREE: Final[Mapping[Table, tuple[str, ...]]] = {
    loads: ("reason", "approval_reason"),
    targets: ("paused_why",),
    vendors: ("paused_why",),
    batches: ("note", "answer"),
    events: ("body",),
}
"""Columns that take somebody's own words."""


def erase(connection: Connection, named: Callable[[str], bool]) -> dict[str, int]:
    """Put `(erased)` where a text names the customer. Returns the rows by table, and `evidence` where it stays.

    :param named: tells whether a text names the customer.
    """
    counts: dict[str, int] = {}
    for table, columns in FREE.items():
        keys = list(table.primary_key.columns)
        for row in connection.execute(select(*keys, *(table.c[name] for name in columns))).all():
            values = {name: getattr(row, name) for name in columns}
            clean = {name: _without(value, named) for name, value in values.items()}
            if clean != values:
                where = [key == value for key, value in zip(keys, row, strict=False)]
                connection.execute(update(table).where(*where).values(**clean))
                counts[table.name] = counts.get(table.name, 0) + 1
    found = sum(named(canonical(body)) for (body,) in connection.execute(select(evidence.c.body)))
    return counts | ({"evidence": found} if found else {})


def _without(value: Any, named: Callable[[str], bool]) -> Any:
    if isinstance(value, str):
        return ERASED if named(value) else value
    if isinstance(value, dict):
        return {key: _without(part, named) for key, part in value.items()}
    if isinstance(value, list):
        return [_without(part, named) for part in value]
    return ERASED if isinstance(value, int) and named(str(value)) else value
