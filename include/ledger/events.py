"""What vendors call back. A token is given out per attempt; only its hash is kept, so that whoever reads the
ledger cannot call in a vendor's name, and looking a token up by its hash leaks no timing.

A body is stored once per batch, in order of arrival, as given but for two keys of the vendors' own objects:
`processedBy` (a person's name and address) and `webhookUrl` (our own address with the token in it). Whether
it comes late, twice or out of order is for the reader of the events to judge. A signed address stays whole only
until its batch has ended: whoever has it can read the file behind it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select, update

from include.ledger.errors import BadCallbackError, UnknownTokenError
from include.ledger.records import Event, Receipt
from include.ledger.store import insert_new
from include.ledger.tables import batches, callbacks, canonical, events

NOT_KEPT: Final = ("processedBy", "webhookUrl")
ENDED: Final = ("confirmed", "rejected")
"""States of batches whose callbacks nobody needs to act upon any more."""

_SIGNED: Final = re.compile(r"\?[^\s\"'<>]*(?i:signature|token)=[^\s\"'<>]*")


def trimmed(body: Mapping[str, Any]) -> dict[str, Any]:
    """A vendor's object without the keys that name a person or hold our token."""
    return {key: value for key, value in body.items() if key not in NOT_KEPT}


def unsigned(body: Mapping[str, Any]) -> dict[str, Any]:
    """A vendor's object whose signed addresses have lost their signatures."""
    found: dict[str, Any] = json.loads(_SIGNED.sub("?...", canonical(body)))
    return found


def forget_signatures(connection: Connection, batch_id: int) -> None:
    """Take the signatures off the addresses in all that was called back about a batch."""
    query = select(events.c.id, events.c.body).where(events.c.batch_id == batch_id)
    for row in connection.execute(query).all():
        if (kept := unsigned(row.body)) != row.body:
            connection.execute(update(events).where(events.c.id == row.id).values(body=kept))


def issue_token(connection: Connection, batch_id: int, vendor: str, now: datetime) -> str:
    """A new unguessable token for the batch; earlier ones stay good."""
    token = secrets.token_urlsafe(32)
    connection.execute(
        callbacks.insert().values(token_hash=_hash(token), batch_id=batch_id, vendor=vendor, created_at=now)
    )
    return token


def receive(
    connection: Connection,
    vendor: str,
    token: str,
    body: bytes,
    now: datetime,
    read: Callable[[bytes], Mapping[str, Any]],
) -> Receipt:
    """Store what a vendor called back, once."""
    owner = connection.execute(
        select(batches.c.id, batches.c.load_id, batches.c.seq, batches.c.state)
        .join(callbacks, callbacks.c.batch_id == batches.c.id)
        .where(callbacks.c.token_hash == _hash(token), callbacks.c.vendor == vendor)
    ).one_or_none()
    if owner is None:
        raise UnknownTokenError
    kept = trimmed(read(body))
    new = insert_new(
        connection,
        events,
        batch_id=owner.id,
        vendor=vendor,
        digest=_hash(canonical(kept)),
        body=unsigned(kept) if owner.state in ENDED else kept,
        received_at=now,
    )
    return Receipt(owner.load_id, owner.seq, new)


def of_batch(connection: Connection, load_id: str, seq: int) -> list[Event]:
    """The batch's events in order of arrival."""
    query = (
        select(events.c.vendor, events.c.body, events.c.received_at)
        .join(batches, batches.c.id == events.c.batch_id)
        .where(batches.c.load_id == load_id, batches.c.seq == seq)
        .order_by(events.c.id)
    )
    return [Event(load_id=load_id, seq=seq, **row._mapping) for row in connection.execute(query)]


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a callback. BadCallbackError for anything else."""
    try:
        value = json.loads(body)
        canonical(value)  # NaN, infinities: not JSON, though Python reads them
    except (ValueError, RecursionError):
        raise BadCallbackError("The callback's body is not JSON; nothing was stored.") from None
    if not isinstance(value, dict):
        raise BadCallbackError("The callback's body is JSON but not an object; nothing was stored.")
    return value


def _hash(text: str) -> str:
    # A forged token may hold anything, half a surrogate pair too.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
