"""The signature `auth-v2` ("C2") as the server checks it, written from the contract's section 2."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote

SCHEME: Final = "auth-v2"
QueryLine = Literal["left_out", "empty", "either"]
"""The line of a call without a query: IS-3's reading, the other one, or both taken."""

_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?Z", re.ASCII)


@dataclass(frozen=True)
class Call:
    """What was sent: the path as sent, the query without its question mark, headers by lower-case name."""

    method: str
    raw_path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def accepted(
    call: Call, secrets: Mapping[str, str], now: datetime, tolerance: timedelta | None, query_line: QueryLine
) -> bool:
    """Tell whether a call is signed with a known key, at about this time, over what it says."""
    parts = call.headers.get("authorization", "").split("/")
    if len(parts) != 5:
        return False
    scheme, key, sent_at, signed_headers, signature = parts
    if scheme != SCHEME or key not in secrets or not _in_time(sent_at, now, tolerance):
        return False
    names = signed_headers.split(";")
    if "host" not in names or "authorization" in names or names != sorted({name.lower() for name in names}):
        return False
    if any(name not in call.headers for name in names):
        return False
    forms = {"left_out": [False], "empty": [True], "either": [False, True]}[query_line]
    prefix = f"{SCHEME}/{key}/{sent_at}/{signed_headers}"
    signing_key = _hex_hmac(secrets[key], prefix)
    return any(
        hmac.compare_digest(
            _hex_hmac(signing_key, _canonical(call, names, empty_query_line=form)).encode(),
            signature.encode(),
        )
        for form in forms
    )


def _in_time(sent_at: str, now: datetime, tolerance: timedelta | None) -> bool:
    if not _TIME.fullmatch(sent_at):
        return False
    try:
        moment = datetime.fromisoformat(sent_at).astimezone(UTC)
    except ValueError:
        return False
    return tolerance is None or abs(now - moment) <= tolerance


def _canonical(call: Call, names: list[str], *, empty_query_line: bool) -> str:
    """Write the canonicalRequest; without a body it ends with the line break after the headers."""
    pairs = parse_qsl(call.query, keep_blank_values=True, strict_parsing=False)
    query = "&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, value in pairs))
    headers = sorted(f"{_encoded(name)}:{_encoded(call.headers[name].strip())}" for name in names)
    lines = [
        call.method,
        unquote(call.raw_path),
        *([query] if query or empty_query_line else []),
        ";".join(names),
        *headers,
        _encoded(call.body),
    ]
    return "\n".join(lines)


def _encoded(text: str | bytes) -> str:
    return quote(text, safe="-._~")


def _hex_hmac(key: str, message: str) -> str:
    return hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()
