"""PureCallerID list load: what may be asked, what an answer or a webhook says. No I/O.

Source: the vendor's page "Multi-Part Form List Upload". Limits and column ids are data at the top. The answer of
the POST and every webhook are the same "list" object and have one reader, `read_list`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from include.vendors.bodies import json_object, whole_number
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    retry_after_seconds,
    safe_words,
)

VENDOR: Final = "purecallerid"
DEFAULT_HOST: Final = "https://api.purecallerid.app"
LOAD_PATH: Final = "/api/public/lists/load"
KEY_HEADER: Final = "X-API-KEY"

Dialer = Literal["five9", "ringcx"]
Mode = Literal["APPEND", "REPLACE"]
Dedupe = Literal["RING_REMOVE_ALL_EXISTING", "RING_REMOVE_FROM_LIST", "RING_RETAIN_ALL"]
DEDUPES: Final = ("RING_REMOVE_ALL_EXISTING", "RING_REMOVE_FROM_LIST", "RING_RETAIN_ALL")

PHONE_COLUMN: Final[Mapping[str, str]] = {"five9": "number1", "ringcx": "leadPhone"}
"""Target column that must be mapped, per dialer (PC-4)."""

PHONE_DIGITS: Final = 10
"""The vendor counts any other number of digits as invalid."""

STATUSES: Final = ("UPLOADED", "QUEUED", "PROCESSING", "ERROR", "FINALIZED")
TERMINAL: Final = ("ERROR", "FINALIZED")


def load_problems(*, dialer: str, mode: str, dedupe: str | None, columns: Sequence[str]) -> list[str]:
    """What is wrong with a load before anything is sent (sections 2 and 5; PC-4), in words for a flow file."""
    problems = []
    if dialer == "ringcx" and mode == "REPLACE":
        problems.append(
            "mode: RingCX lists can only be appended to (the vendor ignores REPLACE); write APPEND"
        )
    if dialer == "ringcx" and dedupe is None:
        problems.append(f"dedupe: is needed for ringcx, one of {', '.join(DEDUPES)}")
    if dialer == "five9" and dedupe is not None:
        problems.append("dedupe: only RingCX knows it; leave it out for five9")
    repeated = sorted({name for name in columns if list(columns).count(name) > 1})
    if repeated:
        problems.append(f"columns: {', '.join(repeated)} is mapped more than once")
    if PHONE_COLUMN[dialer] not in columns:
        problems.append(f"columns: {PHONE_COLUMN[dialer]}, the phone column of {dialer}, is not among them")
    return problems


def safe_to_resend(dialer: str, mode: str, *, unique_mapped: bool) -> bool:
    """Whether a load whose outcome is unknown may be sent again.

    Five9 REPLACE converges; Five9 APPEND updates in place when its Unique ID column is mapped; anything else
    would put leads on the list twice.
    """
    return dialer == "five9" and (mode == "REPLACE" or unique_mapped)


def mapping(header: Sequence[str], targets: Sequence[str]) -> list[dict[str, Any]]:
    """`mappedCols` for a CSV: the position of each target column in its header row.

    Raises ValueError when the header lacks a target or names one twice, so that a wrong file is never sent.
    """
    problems = [name for name in targets if list(header).count(name) != 1]
    if problems:
        raise ValueError(
            f"The payload's header does not hold {', '.join(problems)} exactly once; run the plan step again."
        )
    return [{"columnIndex": header.index(name), "columnId": name} for name in targets]


def process_request(
    *,
    dialer: str,
    mode: str,
    dialer_list: str,
    mapped: list[dict[str, Any]],
    dedupe: str | None,
    webhook_url: str | None,
) -> str:
    """The `processRequest` part: a JSON object as text (section 2). The CSV always carries a header row."""
    body: dict[str, Any] = {
        "mode": mode,
        "dialerListId": dialer_list,
        "firstRowHasHeaders": True,
        "mappedCols": mapped,
    }
    if webhook_url is not None:
        body["webhookUrl"] = webhook_url
    if dialer == "ringcx":
        body["dedupe"] = dedupe
    return json.dumps(body)


@dataclass(frozen=True)
class Metrics:
    """The vendor's counts of one load (section 3)."""

    valid: int
    invalid: int
    inactive: int
    dnc: int
    total: int

    @property
    def judged(self) -> int:
        """Rows that fell into one of the four classes; at the end this is `total`."""
        return self.valid + self.invalid + self.inactive + self.dnc


@dataclass(frozen=True)
class ListLoad:
    """What a "list" object tells: the vendor's id of the load, its status and counts, and what makes it ours.

    :param message: the vendor's words on the newest event: why it stopped, after an `ERROR` (PC-15).
    """

    id: str
    status: str
    metrics: Metrics
    campaign: str | None
    dialer_list: str | None
    name: str | None
    message: str | None

    @property
    def terminal(self) -> bool:
        """Whether the load has ended."""
        return self.status in TERMINAL


def read_list(body: bytes | Mapping[str, Any]) -> ListLoad:
    """Read a "list" object: the answer of the POST, or the body of a webhook.

    Raises UnexpectedAnswerError for anything that is none: no JSON (the vendor's own sample is broken), no id, an
    unknown status, counts that are no whole numbers.
    """
    try:
        raw = json_object(body) if isinstance(body, bytes) else body
    except ValueError as error:
        raise _unexpected(str(error)) from None
    if not isinstance(raw, Mapping):
        raise _unexpected("it is no JSON object")
    load_id, status = raw.get("id"), raw.get("status")
    if not isinstance(load_id, str) or not load_id:
        raise _unexpected("it carries no id")
    status = status.upper() if isinstance(status, str) else status
    if status not in STATUSES:
        raise _unexpected("its status is none of " + ", ".join(STATUSES))
    metrics = raw.get("metrics") or {}
    if not isinstance(metrics, Mapping):
        raise _unexpected("its metrics are no object")
    counts = {}
    for name in Metrics.__dataclass_fields__:
        told = metrics.get(name)
        if (count := 0 if told is None else whole_number(told)) is None:
            raise _unexpected("its metrics are no whole numbers")
        counts[name] = count
    events = raw.get("events")
    newest = events[0] if isinstance(events, list) and events and isinstance(events[0], Mapping) else {}
    return ListLoad(
        id=load_id,
        status=status,
        metrics=Metrics(**counts),
        campaign=_text_or_none(raw.get("campaignId")),
        dialer_list=_text_or_none(raw.get("dialerListId")),
        name=_text_or_none(raw.get("name")),
        message=_text_or_none(newest.get("message")),
    )


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> ListLoad:
    """Read the answer of the POST: any 2xx with a list object in any status (PC-6); else raise what fits (PC-9).

    A 2xx that cannot be read raises LostAnswerError: the file was taken, only its id is unknown. So does a 5xx
    other than 503: the vendor failed at an unknown point.
    """
    if 200 <= status < 300:
        try:
            return read_list(body)
        except UnexpectedAnswerError as error:
            raise LostAnswerError(
                VENDOR,
                f"PureCallerID took the file (HTTP {status}), but its answer cannot be read: {error} The outcome must "
                "come by webhook.",
                http_status=status,
            ) from None
    if status in (401, 403):
        raise AuthenticationError(
            VENDOR,
            f"PureCallerID does not accept the key (HTTP {status}). Put the workspace's key into the password of the "
            "connection, as it is, with its trailing =.",
            http_status=status,
        )
    if status == 429:
        wait = retry_after_seconds(headers.get("Retry-After"))
        raise RateLimitedError(
            VENDOR,
            f"PureCallerID asks us to wait {wait:g} s (HTTP 429); nothing was loaded.",
            retry_after=wait,
        )
    if status == 503:
        raise UnavailableError(
            VENDOR, "PureCallerID is not available (HTTP 503); nothing was loaded.", http_status=status
        )
    if status >= 500:
        raise LostAnswerError(
            VENDOR,
            f"PureCallerID failed (HTTP {status}); whether it took the file is unknown.",
            http_status=status,
        )
    advice = {
        404: "The campaign is unknown in the workspace of this key: check `campaign` in the flow file.",
        413: "The file is larger than the vendor allows: load fewer rows.",
    }.get(
        status,
        "Check mode, list, columns and dedupe of the flow file, and that the webhook address is https.",
    )
    if status < 400 or status in (405, 415):
        advice = "Lists are not loaded there: check the host of the connection."
    raise RequestRefusedError(
        VENDOR, f"PureCallerID refused the load (HTTP {status}). {advice}", http_status=status
    )


@dataclass(frozen=True)
class Outcome:
    """How the rows of one load ended by the vendor's own counts; the three add up to the rows sent."""

    delivered: int
    rejected: int
    uncertain: int
    problem: str | None


def judge(load: ListLoad, rows_sent: int, min_valid_share: float) -> Outcome:
    """Judge a load that ended: by its metrics, not by its status word.

    `FINALIZED` with no valid row is a failed load; `ERROR` is partial, and rows it never counted are uncertain.
    Counts that contradict themselves or what was sent leave every row uncertain.
    """
    counts = load.metrics
    if counts.judged != counts.total or counts.total > rows_sent:
        return Outcome(
            0,
            0,
            rows_sent,
            f"The vendor's counts do not add up: {counts.judged} rows judged, total {counts.total}, {rows_sent} sent.",
        )
    uncertain = rows_sent - counts.total
    outcome = (counts.valid, counts.total - counts.valid, uncertain)
    if load.status == "ERROR":
        return Outcome(
            *outcome,
            f"The load stopped with ERROR after {counts.total} of {rows_sent} rows; what it delivered stays there."
            + (f' The vendor says: "{safe_words(load.message)}".' if load.message else ""),
        )
    if uncertain:
        return Outcome(*outcome, f"The vendor counted only {counts.total} of {rows_sent} rows.")
    if rows_sent and counts.valid == 0:
        return Outcome(*outcome, "The load was FINALIZED, but not one row was valid: nothing was delivered.")
    if rows_sent and counts.valid / rows_sent < min_valid_share:
        return Outcome(
            *outcome,
            f"Only {counts.valid} of {rows_sent} rows were valid for the vendor, less than {min_valid_share:.0%}.",
        )
    return Outcome(*outcome, None)


def is_ours(
    load: ListLoad, *, vendor_ref: str | None, campaign: str, dialer_list: str, file_name: str
) -> bool:
    """Whether a webhook body speaks of our load.

    With the vendor's id known, the id decides. Without it (the answer was lost) every echo must be ours; the file
    name is unique to the load.
    """
    if vendor_ref is not None:
        return load.id == vendor_ref
    return (load.campaign, load.dialer_list, load.name) == (campaign, dialer_list, file_name)


def find_outcome(
    bodies: Iterable[Mapping[str, Any]],
    *,
    vendor_ref: str | None,
    campaign: str,
    dialer_list: str,
    file_name: str,
) -> ListLoad | None:
    """The end of our load among everything that was called back for it, None while it runs.

    Bodies that are none of ours, or cannot be read, decide nothing; a terminal status is never undone by a later or
    late one that is not. Of several ends (a body repeated with other counts) the first that arrived stands.
    """
    for body in bodies:
        try:
            load = read_list(body)
        except UnexpectedAnswerError:
            continue
        if load.terminal and is_ours(
            load, vendor_ref=vendor_ref, campaign=campaign, dialer_list=dialer_list, file_name=file_name
        ):
            return load
    return None


def _unexpected(what: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(VENDOR, f"This is no list object of PureCallerID: {what}.")


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None
