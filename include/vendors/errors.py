"""What can go wrong between us and a vendor, by who failed and whether trying again makes sense.

    VendorError
    ├── AuthenticationError      the key or token is not accepted: a person must mend the connection
    ├── RequestRefusedError      the vendor read the request and says no: sending it again changes nothing
    ├── RateLimitedError         "not now": nothing was done, `retry_after` seconds are asked for
    ├── UnavailableError         the vendor cannot answer now; nothing was done
    ├── LostAnswerError          the request may have been carried out, the answer never came
    └── UnexpectedAnswerError    an answer came that the contract does not know

Messages name the vendor, the operation and what to do; never a key, a phone number or a URL with a secret in it.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import ClassVar, Final

LONGEST_RETRY_AFTER: Final = 86_400.0
"""Seconds we let a vendor put us off; more is a mistake of its clock or its units."""


_PERSONAL: Final = re.compile(r"\+?\(?\d(?:[\d\s()+.\-]*\d){5,}|[^\s@]+@[^\s@]+")


class VendorError(Exception):
    """Something between us and a vendor went wrong.

    :param vendor: name of the vendor, as in the connection type.
    :param message: what happened and what to do, safe to log.
    :param http_status: status of the answer, None when there was none.
    """

    again: ClassVar[bool] = False
    """Whether the same request may succeed later without a person changing anything."""

    after_loss: bool = False
    """Whether the answer to an earlier try of the same request was lost: that one may have been carried out."""

    def __init__(self, vendor: str, message: str, *, http_status: int | None = None) -> None:
        super().__init__(message)
        self.vendor = vendor
        self.http_status = http_status


class AuthenticationError(VendorError):
    """The key or token is not accepted (401), or not for this (403)."""


class RequestRefusedError(VendorError):
    """The vendor refused the request itself (other 4xx)."""


class RateLimitedError(VendorError):
    """Too many requests (429). Nothing was done.

    :param retry_after: seconds the vendor asks us to wait.
    """

    again = True

    def __init__(
        self, vendor: str, message: str, *, retry_after: float, http_status: int | None = 429
    ) -> None:
        super().__init__(vendor, message, http_status=http_status)
        self.retry_after = retry_after


class UnavailableError(VendorError):
    """The vendor could not be reached or cannot work now; the request was provably not carried out."""

    again = True


class LostAnswerError(VendorError):
    """The request went out and the answer did not come back whole: it may or may not have been carried out."""

    again = True


class UnexpectedAnswerError(VendorError):
    """The answer is none of those the contract knows."""

    again = True


def safe_words(text: str) -> str:
    """A vendor's text as it may be told: one line, at most 200 characters, long numbers and e-mail addresses hidden."""
    return _PERSONAL.sub("…", " ".join(text.split()))[:200]


def retry_after_seconds(value: str | None, default: float = 5.0, *, now: datetime | None = None) -> float:
    """How many seconds a `Retry-After` header asks us to wait, at most a day; the default where it tells nothing.

    It holds seconds, or the date (RFC 9110) after which we may ask again.

    :param now: what a date is compared with, aware; our own clock when left out.
    """
    try:
        seconds = float(value or "")
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value or "") - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return default
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else default
