"""The signature of CC-iSales' requests, scheme `auth-v2` ("C2"). No I/O, no clock.

Every request is signed anew: over method, path, query, some headers and the whole body. Whatever is signed must go
over the wire byte by byte. The vendor's page leaves one point open (whether an empty query leaves an empty line), so
that is a setting. Nothing here may be logged.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Final
from urllib.parse import quote, urlsplit

SCHEME: Final = "auth-v2"
SIGNED_HEADERS: Final = ("content-length", "content-type", "host")

CLOCK_TOLERANCE_SECONDS: Final = 15 * 60
"""How far a clock may be off (IS-4)."""

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Signer:
    """Signs requests for one access key.

    :param access_key: the AK; it travels in every header, so it must not hold a slash.
    :param secret_key: the SK; it never leaves.
    :param signed_headers: names of the headers to sign; `host` is a must (IS-2).
    :param milliseconds: whether the time has them (IS-1).

    Raises ValueError for settings that no server could accept.
    """

    access_key: str
    secret_key: str
    signed_headers: tuple[str, ...] = SIGNED_HEADERS
    milliseconds: bool = True

    def __post_init__(self) -> None:
        if not self.access_key or "/" in self.access_key or not self.access_key.isascii():
            raise ValueError(
                "the access key (login of the connection) is empty, or holds a / or a letter no key has"
            )
        if "host" not in self.signed_headers or "authorization" in self.signed_headers:
            raise ValueError("signed_headers must hold host and cannot hold authorization")

    def __repr__(self) -> str:
        return "Signer(...)"

    def authorization(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: str = "",
        query: Sequence[tuple[str, str]] = (),
        at: datetime,
        empty_query_line: bool = False,
    ) -> str:
        """The value of the header `Authorization`.

        :param path: begins with a slash, as it is sent.
        :param headers: by lower-case name, with the very values that are sent; all signed ones must be among them.
        :param query: raw names and values, not encoded.
        :param empty_query_line: whether a request without a query is signed with an empty line for it (IS-3).
        """
        signed = ";".join(sorted(self.signed_headers))
        prefix = f"{SCHEME}/{self.access_key}/{self._time(at)}/{signed}"
        key = _hmac(self.secret_key, prefix)
        canonical = self.canonical_request(method, path, headers, body, query, empty_query_line)
        return f"{prefix}/{_hmac(key, canonical)}"

    def canonical_request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: str,
        query: Sequence[tuple[str, str]],
        empty_query_line: bool,
    ) -> str:
        """The text that is signed; the body stands in it percent-encoded in full, not hashed."""
        lines = [method, path]
        if query or empty_query_line:
            lines.append("&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, value in query)))
        lines.append(";".join(sorted(self.signed_headers)))
        lines += sorted(f"{_encoded(name)}:{_encoded(headers[name].strip())}" for name in self.signed_headers)
        return "\n".join([*lines, _encoded(body)])

    def _time(self, at: datetime) -> str:
        text = at.astimezone(UTC).isoformat(timespec="milliseconds" if self.milliseconds else "seconds")
        return text.replace("+00:00", "Z")


def host_header(url: str) -> str:
    """The header `Host` of a request to a URL: with its port unless that is the scheme's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = parts.port
    return host if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{port}"


def clock_advice(date_header: str | None, now: datetime) -> str:
    """What to say of the two clocks after a 401, empty when they agree or the server tells no time.

    :param date_header: the answer's `Date`.
    :param now: our own time, aware.
    """
    try:
        server = parsedate_to_datetime(date_header or "")
        ahead = (now - server).total_seconds()
    except (ValueError, TypeError):
        return ""
    if abs(ahead) < CLOCK_TOLERANCE_SECONDS - 60:
        return ""
    return (
        f" Our clock is {abs(ahead) / 60:.0f} minutes {'ahead of' if ahead > 0 else 'behind'} the server's, and a "
        f"signature holds for about {CLOCK_TOLERANCE_SECONDS // 60}: set the clock of the machine right (NTP)."
    )


def _encoded(text: str) -> str:
    return quote(text, safe="-._~")


def _hmac(key: str, message: str) -> str:
    """Lower-case hex; the hex text of a first one is the key of a second, as text."""
    return hmac.new(key.encode(), message.encode(), sha256).hexdigest()
