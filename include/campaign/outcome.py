"""What became of a batch: the vendor's counts, and its failed rows joined to ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from include.campaign.payload import Payload, Row
from include.ledger import Batch, Ledger
from include.ledger.records import SettledState
from include.outcomes import Refused
from include.staging import RunFolder
from include.vendors.errors import VendorError
from include.vendors.ozonetel import PHONE, Callback, FailedRow, digits, judge

UNREAD: Final = "unread"
DUPLICATE: Final = "duplicate"
REJECTED: Final = "rejected"
"""Classes of refused rows in a batch's counts; `vendor_<class>` is the reason of a row."""

DETAIL_CHARS: Final = 200


def settle(
    ledger: Ledger,
    batch: Batch,
    callback: Callback,
    failed: list[FailedRow] | VendorError | None,
    payload: Payload,
    notes: RunFolder,
) -> None:
    """Settle a batch by its callback; rows that the vendor refused are written down by name first.

    A number that the vendor calls a duplicate stands in the campaign. When an earlier try of the batch may have
    arrived, that is our own doing: such a row is delivered.

    :param failed: the vendor's file of failed rows, why it could not be had, or None where there is none.
    """
    outcome = judge(callback, batch.rows)
    delivered, rejected, uncertain, note = (
        outcome.delivered,
        outcome.rejected,
        outcome.uncertain,
        outcome.problem,
    )
    counts: dict[str, int] = {}
    named: dict[str, list[str | None]] = {}
    keys = payload.keys(batch.seq)
    if callback.failed_whole and rejected == batch.rows and not batch.maybe_sent:
        counts = {UNREAD: rejected}
        named = {key: [f"vendor_{UNREAD}", callback.message[:DETAIL_CHARS] or None] for key in keys}
    elif rejected:
        found = None
        if isinstance(failed, list):
            found = joined(payload.header, payload.rows(batch.seq), failed)
        if found is not None and len(found) == rejected:
            there = [at for at, row in found.items() if row.duplicate]
            if batch.maybe_sent:
                delivered += len(there)
                found = {at: row for at, row in found.items() if not row.duplicate}
                note = (
                    f"Sent again; {len(there)} rows stood in the campaign from the earlier try."
                    if there
                    else note
                )
                there = []
            rejected = len(found)
            counts = {DUPLICATE: len(there), REJECTED: len(found) - len(there)}
            named = {
                keys[at]: [
                    f"vendor_{DUPLICATE if row.duplicate else REJECTED}",
                    row.reason[:DETAIL_CHARS] or None,
                ]
                for at, row in found.items()
            }
        else:
            why = _why_unnamed(failed, rejected)
            note = f"{note} {why}" if note else why
            if batch.maybe_sent:  # rows that the earlier try added may be among them
                rejected, uncertain = 0, rejected
            else:
                counts = {REJECTED: rejected}
    if named:
        notes.put(f"named-{batch.seq}.json", json.dumps(named).encode())
    state: SettledState = "uncertain" if uncertain else "confirmed" if delivered else "rejected"
    ledger.settle(
        batch.load_id,
        batch.seq,
        state,
        delivered=delivered,
        rejected=rejected,
        uncertain=uncertain,
        vendor_counts={} if uncertain else {"total": callback.total, "valid": delivered, **counts},
        note=note,
    )


def joined(
    header: Sequence[str], rows: Sequence[Row], failed: Sequence[FailedRow]
) -> dict[int, FailedRow] | None:
    """Which of our rows failed, by their place in the batch; None when the vendor names one that we did not send.

    Of rows with the same number, the one with the same cells; of those the last: the vendor adds the first.
    """
    at_phone = header.index(PHONE)
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(digits(row[at_phone]), []).append(place)
    found: dict[int, FailedRow] = {}
    for told in reversed(failed):
        free = places.get(told.phone)
        if not free:
            return None
        chosen = ([place for place in free if rows[place] == told.cells] or free)[-1]
        free.remove(chosen)
        found[chosen] = told
    return dict(sorted(found.items()))


def whole_failure(batches: Sequence[Batch]) -> str | None:
    """Why nothing more may be sent: a batch of which not one row was added. None while there is none.

    A single row may fail by itself, and numbers that stand in the campaign already are no failure.
    """
    for batch in batches:
        counts = batch.vendor_counts
        alone = batch.rows == 1 and not counts.get(UNREAD)
        if batch.state == "rejected" and not alone and counts.get(DUPLICATE, 0) < batch.rows:
            return f"Batch {batch.seq}: {batch.note} The rest is not sent."
    return None


def not_there(
    batches: Sequence[Batch],
    payload: Payload,
    named: Mapping[int, Mapping[str, Refused]],
    *,
    repeats: bool,
) -> list[str]:
    """The row keys that do not stand in the campaign, or may not: refused for another reason than that they do.

    :param repeats: whether sending a number again adds nothing: then every row of a batch may not stand there of which
        the vendor refused some and did not say which.
    """
    keys: list[str] = []
    for batch in batches:
        why = named.get(batch.seq, {})
        refused = {key for key, words in why.items() if _code(words) != f"vendor_{DUPLICATE}"}
        unnamed = repeats and batch.rejected > len(why)
        if not unnamed and (batch.state == "confirmed" or (batch.state == "rejected" and why)):
            keys += [key for key in payload.keys(batch.seq) if key in refused]
        else:
            keys += payload.keys(batch.seq)
    return keys


def _code(why: Refused) -> str:
    return why if isinstance(why, str) else why[0]


def _why_unnamed(failed: list[FailedRow] | VendorError | None, rejected: int) -> str:
    if isinstance(failed, VendorError):
        return f"Which {rejected} rows failed is not known: {failed}"
    if failed is None:
        return f"The vendor gave no file of the {rejected} failed rows."
    return f"The file of failed rows does not fit what was sent ({len(failed)} rows, {rejected} counted)."
