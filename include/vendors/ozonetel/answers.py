"""What an answer of Ozonetel says, read by its body: queued, refused, or unknown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    VendorError,
)
from include.vendors.ozonetel.requests import VENDOR, WINDOW_SECONDS


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
    word = words(answer.get("status")).lower()
    message = words(answer.get("message"))
    if word in ("error", "failure", "fail"):
        raise _refusal(message, status)
    transaction = words(answer.get("transactionId"))
    if transaction and status < 400:
        return Accepted(transaction)
    raise _by_status(status)


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
        value = read_json(candidate)
        if isinstance(value, str):
            value = read_json(value)
        if isinstance(value, Mapping):
            return value
    return None


def read_json(text: str) -> Any:
    """The value in a JSON text, its numbers as text; None when it holds none."""
    try:
        return json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None


def words(value: Any) -> str:
    """A text without its outer blanks; empty for what is no text."""
    return value.strip() if isinstance(value, str) else ""
