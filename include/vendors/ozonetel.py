"""Ozonetel CloudAgent bulk load (Add Campaign Bulk Data V4): what may be asked, what an answer, a callback or a file of
failed rows says. No I/O.

Source: the vendor's page of that call ("DOC Ozonetel"). Limits and field names are data at the top. Every number in an
answer is read as text: transaction ids have up to 25 digits, which other readers destroy.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args
from urllib.parse import parse_qs, urlencode, urlsplit

import orjson
from urllib3.filepost import encode_multipart_formdata

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)

VENDOR: Final = "ozonetel"
DEFAULT_HOST: Final = "https://in1-ccaas-api.ozonetel.com"
LOAD_PATH: Final = "/cloudAgentRestAPI/index.php/AddCampaignBulkDataV4/addBulkData/format/json"

MAX_ROWS: Final = 500
"""Rows of one request (DOC)."""

MAX_ROW_CHARS: Final = 2000
"""Characters of one row, the header names counted in (DOC; OZ-4 on how they are counted)."""

CALLS: Final = 5
WINDOW_SECONDS: Final = 60.0
"""At most so many requests in so many seconds (DOC; OZ-14: a sliding window per key)."""

FAILED_FILE_HOURS: Final = 24
"""How long the file of failed rows can be fetched (DOC)."""

FAILED_FILE_HOST: Final = ".amazonaws.com"
"""The file lies in S3, behind a pre-signed URL (DOC)."""

PHONE: Final = "PhoneNumber"
NAME: Final = "Name"
PRIORITY: Final = "Priority"
EXPIRY: Final = "ExpiryDate"
AGENT: Final = "AgentId"
SKILL: Final = "skill"

NAME_CHARS: Final = r"A-Za-z0-9_ ().+$%:\-"
"""What a Name may hold, as the inside of a regular expression's brackets (DOC)."""

PRIORITIES: Final = (1, 99)

Encoding = Literal["form", "multipart", "json"]
ENCODINGS: Final[tuple[Encoding, ...]] = get_args(Encoding)

Duplicates = Literal["skip_all", "skip_existing", "add_all"]
DUPLICATE_FLAGS: Final[Mapping[Duplicates, Mapping[str, str]]] = {
    "skip_all": {"checkDuplicate": "true"},
    "skip_existing": {"isDelete": "true"},
    "add_all": {},
}
"""The vendor's flag for each way to treat numbers that are there already. Both flags at once is never sent: then only
`isDelete` counts, which deletes nothing (DOC)."""

Action = Literal["start", "stop"]


def load_problems(*, columns: Sequence[str], agent_wise: bool, skill_wise: bool) -> list[str]:
    """What is wrong with a campaign's columns before anything is sent, in words for a flow file (section 2)."""
    problems = []
    repeated = sorted({name for name in columns if list(columns).count(name) > 1})
    if repeated:
        problems.append(f"columns: {', '.join(repeated)} is mapped more than once")
    if PHONE not in columns:
        problems.append(f"columns: {PHONE} is not among them; the vendor needs it, spelled so")
    for wise, name, key in ((agent_wise, AGENT, "agent_wise"), (skill_wise, SKILL, "skill_wise")):
        if wise and name not in columns:
            problems.append(f"{key}: the campaign needs the column {name}, spelled so")
    return problems


def safe_to_resend(duplicates: Duplicates) -> bool:
    """Whether a batch whose outcome is unknown may be sent again: only where a repeat adds nothing (section 5)."""
    return duplicates == "skip_all"


def bulk_data(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The field `bulkData`: header names and rows as JSON text. A Priority goes as a number, all else as text."""
    numeric = list(header).index(PRIORITY) if PRIORITY in header else -1
    data = [[int(cell) if at == numeric and cell else cell for at, cell in enumerate(row)] for row in rows]
    return orjson.dumps({"map": list(header), "data": data}).decode()


def request_fields(
    *,
    key: str,
    user: str,
    campaign: str,
    bulk: str,
    duplicates: Duplicates,
    action: Action | None,
    callback_url: str | None,
) -> dict[str, str]:
    """The fields of one request (section 2). They hold the key: never log them."""
    fields = {"apiKey": key, "userName": user, "campaignName": campaign, "bulkData": bulk}
    fields |= DUPLICATE_FLAGS[duplicates]
    if action is not None:
        fields["action"] = action
    if callback_url is not None:
        fields["callBackUrl"] = callback_url
    return fields


def encode(fields: Mapping[str, str], encoding: Encoding) -> tuple[bytes, str]:
    """The body of a request and its content type (OZ-1)."""
    if encoding == "form":
        return urlencode(fields).encode(), "application/x-www-form-urlencoded"
    if encoding == "multipart":
        return encode_multipart_formdata(dict(fields))
    return orjson.dumps(dict(fields)), "application/json"


# Answers


@dataclass(frozen=True)
class Accepted:
    """A batch that stands in the vendor's queue. What becomes of it comes by callback."""

    transaction_id: str


def read_answer(status: int, body: bytes) -> Accepted:
    """Read the answer of a load by its body, whatever its HTTP status (section 3, OZ-7); raise what fits.

    The body may be a JSON object, that object as a JSON string, or quoted as in a CSV file. RateLimitedError,
    AuthenticationError, RequestRefusedError and UnavailableError mean that nothing was queued; LostAnswerError, that
    something may have been.
    """
    answer = _object_in(body)
    if answer is None:
        raise _by_status(status)
    word = _text(answer.get("status")).lower()
    message = _text(answer.get("message"))
    if word in ("error", "failure", "fail"):
        raise _refusal(message, status)
    transaction = _text(answer.get("transactionId"))
    if transaction and status < 400:
        return Accepted(transaction)
    raise _by_status(status)


def _refusal(message: str, status: int) -> VendorError:
    """The error for a documented message; any other is judged by its status, or told with its digits hidden."""
    known = re.sub(r"\W+", "", message).lower()
    if known.startswith("toomanyrequests"):
        return RateLimitedError(
            VENDOR,
            f'Ozonetel says "{message}": nothing was queued, the same rows are sent again in a minute.',
            retry_after=WINDOW_SECONDS,
            http_status=status,
        )
    if known not in _KNOWN and status >= 400:
        return _by_status(status)
    kind, advice = _KNOWN.get(
        known, (RequestRefusedError, "The contract does not know this message; ask the vendor.")
    )
    told = re.sub(r"\d(?:[\d\s()+.\-]*\d){3,}", "…", message)[:200]
    return kind(VENDOR, f'Ozonetel refused the load: "{told}". {advice}', http_status=status)


_KNOWN: Final[Mapping[str, tuple[type[VendorError], str]]] = {
    "apikeyshouldnotbeempty": (
        AuthenticationError,
        "Put the account's API key into the password of the connection.",
    ),
    "usernameshouldnotbeempty": (
        AuthenticationError,
        "Put the account's user name into the login of the connection.",
    ),
    "invalidusernameorapikey": (
        AuthenticationError,
        "Compare login (user name) and password (API key) of the connection with the account, and its host with "
        "the account's region.",
    ),
    "campaignnameshouldnotbeempty": (RequestRefusedError, "Fill in `campaign` in the flow file."),
    "invalidcampaignname": (
        RequestRefusedError,
        "`campaign` in the flow file must be the exact name of an outbound campaign of this account.",
    ),
    "pleaseprovidevaliddata": (
        RequestRefusedError,
        "The vendor could not read the rows. Try another `encoding` in the connection's extras.",
    ),
}
"""The documented messages, letters only -> what they are, and what to do."""


def _by_status(status: int) -> VendorError:
    """The error for an answer whose body tells nothing, or contradicts its HTTP status."""
    if status in (401, 403):
        return AuthenticationError(
            VENDOR,
            f"Ozonetel does not let us in (HTTP {status}). Check login, password and host of the connection, and "
            "whether the vendor must allow this address.",
            http_status=status,
        )
    if status == 429:
        return RateLimitedError(
            VENDOR,
            "Ozonetel asks us to slow down (HTTP 429); nothing was queued.",
            retry_after=WINDOW_SECONDS,
            http_status=status,
        )
    if status == 503:
        return UnavailableError(
            VENDOR, "Ozonetel is not available (HTTP 503); nothing was queued.", http_status=status
        )
    if status < 300 or status >= 500:
        return LostAnswerError(
            VENDOR,
            f"The answer of Ozonetel (HTTP {status}) cannot be read; whether it queued the rows is unknown.",
            http_status=status,
        )
    return RequestRefusedError(
        VENDOR,
        f"Ozonetel refused the load (HTTP {status}). Check host and `path` of the connection.",
        http_status=status,
    )


def _object_in(body: bytes) -> Mapping[str, Any] | None:
    """The object in an answer: itself, as a JSON string, or quoted as in a CSV file; None when there is none."""
    text = body.decode("utf-8-sig", "replace").strip()
    unquoted = text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text
    for candidate in (text, unquoted):
        value = _json(candidate)
        if isinstance(value, str):
            value = _json(value)
        if isinstance(value, Mapping):
            return value
    return None


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


# Callbacks

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

    Shapes: JSON with `data` as an object or as JSON text, a form with a field `data`, and the page's sample, which is
    no JSON because its inner quotes are not escaped. Raises UnexpectedAnswerError for anything else.
    """
    text = body.decode("utf-8-sig", "replace").strip()
    for read in (_in_json, _in_form, _in_sample):
        found = read(text)
        if isinstance(found, Mapping) and _text(found.get("transactionId")) and _text(found.get("status")):
            return {name: _text(found.get(name)) for name in CALLBACK_FIELDS}
    raise UnexpectedAnswerError(VENDOR, "This is no callback of an Ozonetel load.")


def _in_json(text: str) -> Any:
    value = _json(text)
    data = value.get("data", value) if isinstance(value, Mapping) else None
    return _json(data) if isinstance(data, str) else data


def _in_form(text: str) -> Any:
    try:
        data = parse_qs(text, max_num_fields=20).get("data", [""])[0]
    except ValueError:
        return None
    return _json(data)


def _in_sample(text: str) -> Any:
    middle = re.search(r'"data"\s*:\s*"(.*)"\s*\}\s*$', text, re.DOTALL)
    return _json(middle[1]) if middle else None


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
    counts = [_text(record.get(name)) for name in CALLBACK_FIELDS[:3]]
    if not all(count.isascii() and count.isdigit() for count in counts):
        raise UnexpectedAnswerError(VENDOR, "The callback of an Ozonetel load holds no counts.")
    return Callback(
        transaction_id=_text(record.get("transactionId")),
        status=_text(record.get("status")),
        message=_text(record.get("message")),
        total=int(counts[0]),
        processed=int(counts[1]),
        not_processed=int(counts[2]),
        failed_file=_text(record.get("failedFilePath")) or None,
    )


def find_callback(records: Iterable[Mapping[str, Any]], vendor_ref: str | None) -> Callback | None:
    """The callback of a batch among all that came for its token, None while there is none.

    With the transaction id known, the id decides. Where the answer was lost, the first one is ours: the token in its
    address was given out for this batch alone. Of several the first that arrived stands.
    """
    for record in records:
        try:
            callback = read_callback(record)
        except UnexpectedAnswerError:
            continue
        if vendor_ref in (None, callback.transaction_id):
            return callback
    return None


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


# The file of failed rows


@dataclass(frozen=True)
class FailedRow:
    """A row that the vendor did not add.

    :param phone: its number, digits only.
    :param cells: its cells in the order of the map.
    :param reason: why, in the vendor's words.
    :param duplicate: whether that is because the number stands in the campaign already.
    """

    phone: str = field(repr=False)
    cells: tuple[str, ...] = field(repr=False)
    reason: str
    duplicate: bool


MAX_FAILED_FILE_BYTES: Final = 8 * 1024 * 1024
"""Far more than a file of failed rows can have: 500 rows of 2,000 characters."""

DUPLICATE: Final = "duplicate"
"""The word by which a reason tells of a number that is there already (OZ-13)."""


def read_failed_rows(data: bytes, header: Sequence[str], duplicate: str = DUPLICATE) -> list[FailedRow]:
    """Read the CSV of failed rows: the headers of the map, and the vendor's reason under any other (OZ-12).

    Raises UnexpectedAnswerError for what is no such file.

    :param duplicate: the word in a reason that means: the number stands in the campaign already.
    """
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig", "replace"), newline=""))
    try:
        names = [name.strip() for name in next(rows, [])]
        if PHONE not in names:
            raise UnexpectedAnswerError(
                VENDOR, f"The file of failed rows has no column {PHONE}; open it in the vendor's console."
            )
        found = []
        for row in rows:
            if not any(row):
                continue
            cells = dict(zip(names, row, strict=False))
            reason = " ".join(text.strip() for name, text in cells.items() if name not in header).strip()
            found.append(
                FailedRow(
                    digits(cells.get(PHONE, "")),
                    tuple(cells.get(name, "") for name in header),
                    reason,
                    duplicate.lower() in reason.lower(),
                )
            )
    except csv.Error:
        raise UnexpectedAnswerError(
            VENDOR, "The file of failed rows is no CSV; open it in the vendor's console."
        ) from None
    return found


def check_failed_file(status: int) -> None:
    """Raise what fits when the file of failed rows was not served: nothing for a 200."""
    if status == 200:
        return
    if status == 429 or status >= 500:
        raise UnavailableError(
            VENDOR, f"The file of failed rows cannot be had now (HTTP {status}).", http_status=status
        )
    raise RequestRefusedError(
        VENDOR,
        f"The file of failed rows is not served (HTTP {status}); it can be fetched for {FAILED_FILE_HOURS} hours. Look "
        "at the upload in the vendor's console.",
        http_status=status,
    )


def probe_verdict(status: int, body: bytes) -> tuple[bool, str]:
    """What the answer to a load without rows, for a campaign that cannot exist, says of host, user and key.

    The key is checked before the campaign, the campaign before the rows (OZ-9), so a good one is answered with either
    of two refusals.
    """
    try:
        read_answer(status, body)
    except VendorError as error:
        if "Invalid Campaign Name" in str(error) or "Please provide valid data" in str(error):
            return (
                True,
                "Ozonetel answers and accepts user name and key. (An empty load was refused, as it should be.)",
            )
        return False, str(error)
    return False, "Ozonetel took an empty load, which it should refuse. Check the host of the connection."


def digits(phone: str) -> str:
    """A phone as the vendor compares it (OZ-15)."""
    return re.sub(r"\D", "", phone)


def file_problem(url: str, hosts: Sequence[str], *, allow_http: bool) -> str | None:
    """Why the file of failed rows is not fetched from this URL, None when it may be.

    A callback is not signed: whoever knows a token could name any address. The text never holds the URL.

    :param hosts: host names, or endings with a leading dot, that may serve the file.
    :param allow_http: whether plain http will do for them, and for this machine (a sandbox).
    """
    try:
        parts = urlsplit(url)
        scheme, host, user = parts.scheme, parts.hostname or "", parts.username
    except ValueError:
        scheme, host, user = "", "", None
    known = _one_of(host, hosts) and user is None
    local = host in ("127.0.0.1", "localhost", "::1")
    if (known and scheme == "https") or (allow_http and scheme == "http" and (known or local)):
        return None
    return (
        "The callback names a file of failed rows at an address that is not the vendor's. If it is, add its host to "
        "the extra `failed_file_hosts` of the connection."
    )


def _one_of(host: str, hosts: Sequence[str]) -> bool:
    return any(host == known or (known.startswith(".") and host.endswith(known)) for known in hosts)
