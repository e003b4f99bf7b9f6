"""The file of rows that Ozonetel did not add: where it may lie, and what it says."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from include.vendors.errors import RequestRefusedError, UnavailableError, UnexpectedAnswerError
from include.vendors.ozonetel.requests import PHONE, VENDOR

FAILED_FILE_HOURS: Final = 24
"""How long the file of failed rows can be fetched (DOC)."""

FAILED_FILE_HOST: Final = ".amazonaws.com"
"""The file lies in S3, behind a pre-signed URL (DOC)."""

MAX_FAILED_FILE_BYTES: Final = 8 * 1024 * 1024
"""Far more than a file of failed rows can have: 500 rows of 2,000 characters."""

DUPLICATE: Final = "duplicate"
"""The word by which a reason tells of a number that is there already (OZ-13)."""


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
