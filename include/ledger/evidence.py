"""Evidence: an append-only chain of who did what, under which rules, with which counts.

Each record's hash covers its place, its content and the hash before it, so that a changed, removed, inserted
or moved record shows. A one-row table holds the running count and the last hash, so that a cut-off tail shows
too. The limit: whoever can rewrite both tables can forge a whole chain. Therefore `head()` is printed by the
runs; a head that was kept elsewhere (a mail, a ticket, another log) catches that as well when it is given to
`verify`.

Evidence never holds a phone number, a name or an e-mail address of a lead: only ids, counts, hashes, rules
and times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select, update

from include.ledger.records import Evidence, Head, Problem
from include.ledger.tables import canonical, evidence, evidence_head
from include.masking import mask

GENESIS: Final = "0" * 64
"""What stands before the first record."""

FREE: Final = ("why", "reason", "note", "problem", "text")
"""Keys of a record that hold what a person or a vendor wrote."""


def append(
    connection: Connection, kind: str, load_id: str | None, body: Mapping[str, Any], now: datetime
) -> Evidence:
    """Add a record at the end. Locks the head, so that two writers never follow the same record."""
    head = read_head(connection, locked=True)
    seq = head.count + 1
    # Whoever gives a reason may quote a customer; who they are themselves stays.
    body = {
        name: mask(said) if name in FREE and isinstance(said, str) else said for name, said in body.items()
    }
    kept = json.loads(canonical(body))  # as it will be read back: keys are text, tuples are lists
    link = digest(seq, kind, load_id, kept, now, head.hash)
    record = Evidence(seq, kind, load_id, kept, now, head.hash, link)
    connection.execute(evidence.insert().values(**vars(record)))
    connection.execute(update(evidence_head).values(count=seq, hash=link))
    return record


def digest(
    seq: int, kind: str, load_id: str | None, body: Mapping[str, Any], recorded_at: datetime, previous: str
) -> str:
    """SHA-256 over everything a record says, as hex."""
    # Microseconds since the epoch: one spelling, whatever a database does with a time.
    moment = round(recorded_at.timestamp() * 1_000_000)
    link = canonical([seq, kind, load_id, body, moment, previous])
    return hashlib.sha256(link.encode()).hexdigest()


def about(connection: Connection, kind: str, load_id: str | None) -> list[dict[str, Any]]:
    """Bodies of the records of one kind about one load or request (None: about neither), oldest first."""
    query = select(evidence.c.body).where(evidence.c.kind == kind, evidence.c.load_id == load_id)
    return [body for (body,) in connection.execute(query.order_by(evidence.c.seq))]


def read_head(connection: Connection, *, locked: bool = False) -> Head:
    """The running count and the last hash."""
    query = select(evidence_head.c.count, evidence_head.c.hash)
    return Head(*connection.execute(query.with_for_update() if locked else query).one())


def verify(connection: Connection, kept: Head | None) -> list[Problem]:
    """Walk the whole chain; an empty list means that it holds."""
    problems: list[Problem] = []
    seq, previous = 0, GENESIS
    rows = connection.execute(select(evidence).order_by(evidence.c.seq).execution_options(yield_per=1000))
    for row in rows:
        record = Evidence(**row._mapping)
        if record.seq != seq + 1:
            problems.append(Problem(seq + 1, f"missing: record {record.seq} follows record {seq}"))
        if record.previous != previous:
            problems.append(Problem(record.seq, "does not follow the record before it"))
        expected = digest(
            record.seq, record.kind, record.load_id, record.body, record.recorded_at, record.previous
        )
        if record.hash != expected:
            problems.append(Problem(record.seq, "changed: its content does not match its hash"))
        if kept is not None and record.seq == kept.count and record.hash != kept.hash:
            problems.append(Problem(record.seq, "not the record that the kept head names"))
        seq, previous = record.seq, record.hash
    head = connection.execute(select(evidence_head.c.count, evidence_head.c.hash)).one_or_none()
    if head is None or Head(*head) != Head(seq, previous):
        problems.append(Problem(seq, "the chain does not end where its head says"))
    if kept is not None and kept.count > seq:
        problems.append(Problem(seq, f"cut off: the kept head counts {kept.count} records"))
    return problems
