"""What a callback of Ozonetel says became of a batch: its shapes, its counts, and their verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from include.vendors.errors import UnexpectedAnswerError
from include.vendors.ozonetel.answers import read_json, words
from include.vendors.ozonetel.requests import VENDOR

CALLBACK_FIELDS: Final = (
    "totalNoUploaded",
    "numbersProcessed",
    "numbersNotProcessed",
    "failedFilePath",
    "transactionId",
    "status",
    "message",
    "startDateTime",
    "endDateTime",
)


def callback_record(body: bytes) -> dict[str, str]:
    """The fields of a callback, blanks stripped, the same for every shape in which the vendor may send it (OZ-11).

    Shapes: JSON with `data` as an object or as JSON text, a form (of either kind) with a field `data`, and the page's
    sample, which is no JSON because its inner quotes are not escaped; that page prints blanks inside the address of the
    failed rows, too. Raises UnexpectedAnswerError for anything else.
    """
    text = body.decode("utf-8-sig", "replace").strip()
    for read in (_in_json, _in_form, _in_parts, _in_sample):
        found = read(text)
        if isinstance(found, Mapping) and words(found.get("transactionId")) and words(found.get("status")):
            record = {name: words(found.get(name)) for name in CALLBACK_FIELDS}
            return record | {"failedFilePath": "".join(record["failedFilePath"].split())}
    raise UnexpectedAnswerError(VENDOR, "This is no callback of an Ozonetel load.")


def _in_json(text: str) -> Any:
    value = read_json(text)
    data = value.get("data", value) if isinstance(value, Mapping) else None
    return read_json(data) if isinstance(data, str) else data


def _in_form(text: str) -> Any:
    try:
        data = parse_qs(text, max_num_fields=20).get("data", [""])[0]
    except ValueError:
        return None
    return read_json(data)


def _in_parts(text: str) -> Any:
    part = re.search(r'name="data"[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n(.*?)\r?\n--', text, re.DOTALL)
    return read_json(part[1]) if part and text.startswith("--") else None


def _in_sample(text: str) -> Any:
    middle = re.search(r'"data"\s*:\s*"(.*)"\s*\}\s*$', text, re.DOTALL)
    return read_json(middle[1]) if middle else None


@dataclass(frozen=True)
class Callback:
    """What the vendor says became of a batch: its own counts, and where the failed rows are, if any are."""

    transaction_id: str
    status: str
    message: str
    total: int
    processed: int
    not_processed: int
    failed_file: str | None = field(repr=False)

    @property
    def failed_whole(self) -> bool:
        """Whether the batch was not read at all (a map that does not fit, OZ-18)."""
        return self.status.lower() != "success"


def read_callback(record: Mapping[str, Any]) -> Callback:
    """Read a callback's fields as `callback_record` left them. UnexpectedAnswerError when its counts are none."""
    counts = [words(record.get(name)) for name in CALLBACK_FIELDS[:3]]
    if not all(count.isascii() and count.isdigit() for count in counts):
        raise UnexpectedAnswerError(VENDOR, "The callback of an Ozonetel load holds no counts.")
    return Callback(
        transaction_id=words(record.get("transactionId")),
        status=words(record.get("status")),
        message=words(record.get("message")),
        total=int(counts[0]),
        processed=int(counts[1]),
        not_processed=int(counts[2]),
        failed_file=words(record.get("failedFilePath")) or None,
    )


def find_callback(
    records: Iterable[Mapping[str, Any]], vendor_ref: str | None, attempts: int = 1
) -> Callback | None:
    """The callback of a batch among all that came for its token, None while there is none.

    With the transaction id known, the id decides. Where the answer was lost, the first one is ours: the token in its
    address was given out for this batch alone. Of several the first that arrived stands; but none where they tell of
    more transactions than the batch was sent times: one of them is forged, and nobody can tell which.
    """
    found: dict[str, Callback] = {}
    for record in records:
        try:
            callback = read_callback(record)
        except UnexpectedAnswerError:
            continue
        if vendor_ref == callback.transaction_id:
            return callback
        found.setdefault(callback.transaction_id, callback)
    if vendor_ref is not None or len(found) > attempts:
        return None
    return next(iter(found.values()), None)


@dataclass(frozen=True)
class Outcome:
    """How the rows of one batch ended by the vendor's own counts; the three add up to the rows sent."""

    delivered: int
    rejected: int
    uncertain: int
    problem: str | None


def judge(callback: Callback, rows_sent: int) -> Outcome:
    """Judge a batch by its counts, not by its status word: `Success` may have added 2 of 6 rows, or none.

    Counts that contradict each other or what was sent leave every row uncertain.
    """
    total, processed, failed = callback.total, callback.processed, callback.not_processed
    if total != rows_sent or processed + failed != total:
        return Outcome(
            0,
            0,
            rows_sent,
            f"The vendor's counts do not add up: {processed} added, {failed} not, total {total}, {rows_sent} sent.",
        )
    if callback.failed_whole:
        return Outcome(
            processed,
            failed,
            0,
            f"The vendor could not load the batch ({processed} of {total} rows added). Compare `columns` in the flow "
            "file with the mapping file of the campaign, name by name.",
        )
    if not processed:
        return Outcome(0, failed, 0, "The vendor says Success, but it added not one row.")
    return Outcome(processed, failed, 0, None)
