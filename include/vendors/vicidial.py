"""Vicidial lead archive (TForge): what may be asked, what an answer says. No I/O.

Source: the integrator's page "Lead Archive API", version 100. Limits and texts are data at the top. Earlier
generations of the API said the same in other keys and status codes; they are read as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from include.vendors.bodies import whole_number
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    VendorError,
    retry_after_seconds,
)

VENDOR: Final = "vicidial"
ARCHIVE_PATH: Final = "/vicidial/leads/archive"
KEY_HEADER: Final = "Authorization"

MAX_IDS: Final = 500
"""Lead ids of one request."""

VALIDATION_STATUSES: Final = frozenset({400, *range(432, 449)})
"""400, and what the generations before answered instead (432 to 448)."""

OFFICE_HOURS_TEXT: Final = "office hours"
UNKNOWN_LEADS_TEXT: Final = "not exist"

ADVICE: Final[Mapping[str, str]] = {
    "insert_leads must": "This is a mistake of ours: insert_leads was sent as something else than true or false.",
    "update_leads must": "This is a mistake of ours: update_leads was sent as something else than true or false.",
    "delete_leads must": "This is a mistake of ours: delete_leads was sent as something else than true or false.",
    "integer values": "This is a mistake of ours: an id was sent as something else than a whole number.",
    "atleast 1 value": "This is a mistake of ours: a batch without ids was sent.",
    "cannot exceed": f"The server takes fewer than {MAX_IDS} ids a request: set `batch_size` in the flow file.",
    "duplicate values": "This is a mistake of ours: a batch named a lead twice.",
}
"""Part of a documented text of a 400 -> what it means for us."""

_PARSER_TEXT: Final = re.compile(r"Path '[^']*'|line \d+, position \d+")
_TEXT: Final = r'"(?:[^"\\]|\\.)*"'
_NO_COMMA: Final = re.compile(rf'({_TEXT}\s*:\s*(?:{_TEXT}|[\d.]+))(?=\s*")')
_COUNTS: Final = ("select_count", "insert_count", "update_count", "delete_count")


class NotNowError(VendorError):
    """The office is open (403): nothing was done, and nothing is wrong. Wait for the next window."""

    again = True


class UnknownLeadsError(RequestRefusedError):
    """Some ids are not in `vicidial_list` (400): nothing was done.

    :param lead_ids: the ids the vendor named.
    """

    def __init__(self, lead_ids: Sequence[int], *, http_status: int) -> None:
        super().__init__(
            VENDOR,
            f"Vicidial does not find {len(lead_ids)} of the leads in its list (HTTP {http_status}).",
            http_status=http_status,
        )
        self.lead_ids = tuple(lead_ids)


@dataclass(frozen=True)
class Flags:
    """What the server shall do, in its own order: insert, update, delete.

    Raises ValueError for a delete without insert and update: what differs from its archive copy, or has none,
    would be passed over, and a lead that is gone must be whole in the archive.
    """

    insert: bool = True
    update: bool = True
    delete: bool = False

    def __post_init__(self) -> None:
        if self.delete and not (self.insert and self.update):
            raise ValueError("delete needs insert and update: a lead is only deleted once its copy is whole")


LOOK: Final = Flags(insert=False, update=False, delete=False)
"""Changes nothing: the server only counts, and names the ids that are not in the list."""


def archive_request(lead_ids: Sequence[int], flags: Flags) -> bytes:
    """The JSON body of one request (section 2): 1 to 500 whole numbers, each once. Raises ValueError otherwise."""
    if not 1 <= len(lead_ids) <= MAX_IDS:
        raise ValueError(f"a request takes 1 to {MAX_IDS} lead ids, not {len(lead_ids)}")
    if any(type(lead_id) is not int for lead_id in lead_ids):
        raise ValueError("lead ids must be whole numbers")
    if len(set(lead_ids)) != len(lead_ids):
        raise ValueError("a request must not name a lead twice")
    return _body(lead_ids, flags)


def probe_request() -> bytes:
    """A body that no server can archive anything for: no flag, no id.

    Key and office hours are checked before it (VA-7), so the answer tells whether the key is good.
    """
    return _body([], LOOK)


def _body(lead_ids: Sequence[int], flags: Flags) -> bytes:
    body = {
        "insert_leads": flags.insert,
        "update_leads": flags.update,
        "delete_leads": flags.delete,
        "lead_ids": list(lead_ids),
    }
    return json.dumps(body).encode()


@dataclass(frozen=True)
class Counts:
    """The server's counts of one request (VA-2): rows found, newly copied, overwritten, and taken off the list."""

    select: int
    insert: int
    update: int
    delete: int


def read_counts(status: int, headers: Mapping[str, str], body: bytes) -> Counts:
    """Read any answer to an archive request (section 3): the counts, or the VendorError that fits.

    NotNowError (office hours), UnknownLeadsError (with the ids), AuthenticationError (stop at once),
    RequestRefusedError (sending it again changes nothing: any other validation, a 500 of the server's JSON parser),
    RateLimitedError, and LostAnswerError for whatever may have been carried out: any other 5xx, or a success (the page
    knows 200) that cannot be read.
    """
    answer = read_body(body)
    if 200 <= status < 300:
        return _read_success(status, answer)
    if _is_office_hours(status, answer):
        return _not_now(status)
    if status in (401, 403):
        raise AuthenticationError(
            VENDOR,
            f"Vicidial does not accept the API key (HTTP {status}). Put the key, without `Key=`, into the password of "
            "the connection; the vendor's service delivery hands it out.",
            http_status=status,
        )
    if status in VALIDATION_STATUSES:
        raise _validation(status, answer)
    if status == 429:
        wait = retry_after_seconds(headers.get("Retry-After"))
        raise RateLimitedError(
            VENDOR, f"Vicidial asks us to wait {wait:g} s (HTTP 429).", retry_after=wait, http_status=status
        )
    if status >= 500:
        raise _failure(status, answer)
    raise RequestRefusedError(
        VENDOR,
        f"Vicidial does not know the archive call (HTTP {status}). Check host and path of the connection.",
        http_status=status,
    )


@dataclass(frozen=True)
class Body:
    """What an answer's body holds, whatever generation wrote it; `values` keep their JSON types."""

    message: str = ""
    values: tuple[Any, ...] = ()
    counts: Counts | None = None


def read_body(body: bytes) -> Body:
    """Read a body as far as it can be read.

    The vendor prints four of its samples without the comma behind the message; message and ids are found in those
    as well. Anything else that is no JSON object gives an empty Body.
    """
    text = body.decode("utf-8-sig", errors="replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _mended(text)
    if not isinstance(found, dict):
        return Body()
    texts = (found.get(name) for name in ("message", "error", "success"))
    lists = (found.get(name) for name in ("lead_ids", "values"))
    # Half an emoji is no text that could be logged.
    message = next((text.encode(errors="replace").decode() for text in texts if isinstance(text, str)), "")
    counts = [count for count in (whole_number(found.get(name)) for name in _COUNTS) if count is not None]
    return Body(
        message=message,
        values=next((tuple(values) for values in lists if isinstance(values, list)), ()),
        counts=Counts(*counts) if len(counts) == len(_COUNTS) else None,
    )


def _mended(text: str) -> Any:
    """The body with the comma that the vendor's samples miss, None when that does not help."""
    try:
        return json.loads(_NO_COMMA.sub(r"\1,", text))
    except (ValueError, RecursionError):
        return None


def _read_success(status: int, answer: Body) -> Counts:
    if answer.counts is None:
        raise LostAnswerError(
            VENDOR,
            f"Vicidial answered HTTP {status} without its four counts, so what it did is unknown.",
            http_status=status,
        )
    return answer.counts


def _is_office_hours(status: int, answer: Body) -> bool:
    return status in (403, 441) and OFFICE_HOURS_TEXT in answer.message.lower()


def _not_now(status: int) -> Counts:
    raise NotNowError(
        VENDOR,
        f"Vicidial's office is open (HTTP {status}): nothing was done, the next window will do.",
        http_status=status,
    )


def _validation(status: int, answer: Body) -> VendorError:
    if UNKNOWN_LEADS_TEXT in answer.message.lower():
        named = answer.values
        if not named or any(type(value) is not int for value in named) or len(set(named)) != len(named):
            return RequestRefusedError(
                VENDOR,
                f"Vicidial misses some of the leads, but does not name them (HTTP {status}). Nothing was archived.",
                http_status=status,
            )
        return UnknownLeadsError(named, http_status=status)
    advice = next((words for part, words in ADVICE.items() if part in answer.message), None)
    return RequestRefusedError(
        VENDOR,
        f"Vicidial refused the request (HTTP {status}). "
        + (advice or "Its reason is none that the contract knows; look into the server's log."),
        http_status=status,
    )


def _failure(status: int, answer: Body) -> VendorError:
    parser = _PARSER_TEXT.search(answer.message)
    if parser:
        return RequestRefusedError(
            VENDOR,
            f"Vicidial could not read our JSON ({parser[0]}, HTTP {status}); sending it again changes nothing. Report "
            "this as a mistake of Listkeeper.",
            http_status=status,
        )
    return LostAnswerError(
        VENDOR,
        f"Vicidial failed (HTTP {status}); whether the leads were archived is unknown.",
        http_status=status,
    )


def probe_verdict(status: int, body: bytes) -> tuple[bool, str]:
    """What the answer to `probe_request` says of the connection, in words for a person."""
    answer = read_body(body)
    if _is_office_hours(status, answer):
        return (
            True,
            "Vicidial answers and accepts the key. (Its office is open now, so it would archive nothing.)",
        )
    if status in VALIDATION_STATUSES and answer.message:
        return (
            True,
            "Vicidial answers and accepts the key. (A request without ids was refused, as it should be.)",
        )
    try:
        read_counts(status, {}, body)
    except VendorError as error:
        return False, str(error)
    return (
        False,
        "Something took a request without ids, which Vicidial refuses. Check the host of the connection.",
    )


@dataclass(frozen=True)
class Verdict:
    """How one request ended by the server's own counts: leads archived, leads that stayed behind, and what is odd."""

    archived: int
    stayed: int
    problem: str | None = None


def judge(counts: Counts, ids_sent: int, flags: Flags) -> Verdict:
    """Judge a request by its counts, not by its status.

    With delete, a lead is archived when it left the list: `delete_count` below `select_count` means that leads stayed
    behind, with status 200. Without it, every lead found is in the archive afterwards. Counts that contradict what
    was sent, or each other, leave all of it unknown (`problem`).
    """
    if counts.select != ids_sent:
        return Verdict(
            0, 0, f"Vicidial found {counts.select} leads for {ids_sent} ids, and refused none of them."
        )
    if max(counts.insert, counts.update, counts.delete) > counts.select:
        return Verdict(0, 0, f"Vicidial counts more work than the {counts.select} leads that it found.")
    if counts.delete and not flags.delete:
        return Verdict(0, 0, f"Vicidial took {counts.delete} leads off the list, which nobody asked for.")
    if not flags.delete:
        return Verdict(counts.select, 0)
    return Verdict(counts.delete, counts.select - counts.delete)


def named_leads(error: UnknownLeadsError, sent: Sequence[int]) -> set[int]:
    """The ids that an answer named as missing. Raises RequestRefusedError when one of them was never sent."""
    foreign = set(error.lead_ids) - set(sent)
    if foreign:
        raise RequestRefusedError(
            VENDOR,
            f"Vicidial names {len(foreign)} missing leads that were not sent; its answer cannot be believed.",
            http_status=error.http_status,
        )
    return set(error.lead_ids)
