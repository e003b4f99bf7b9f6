"""Callbacks: where a vendor shall call, what it may send, and those that reach us through a relay.

A relay is for users whose Airflow no vendor can call. It (a small public web server, a cloud function) answers at
LISTKEEPER_PUBLIC_URL and drops each body it gets at `/listkeeper/callbacks/<vendor>/<token>`, as it came, into the
folder or bucket LISTKEEPER_RELAY as `<vendor>/<token>/<any name>.json`. Whoever waits for an outcome looks there:
`collect` hands each body to the ledger, which knows the token, and stores it once. The folders of tokens stay;
house-keeping removes them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from upath import UPath

from include import settings
from include.ledger import BadCallbackError, Ledger, Receipt, UnknownTokenError
from include.storage import open_place
from include.vendors import ozonetel
from include.vendors.errors import UnexpectedAnswerError

MAX_BODY: Final = 256 * 1024
"""Bytes of the largest body that is taken, from a relay or by the receiver. A list object has about 2 KiB."""

SETTLE_SECONDS: Final = 60.0
"""How long a file that is no JSON may still be half-written. After that it is refused."""

REFUSED: Final = "refused"

NOT_JSON: Final[Mapping[str, Callable[[bytes], Mapping[str, str]]]] = {
    ozonetel.VENDOR: ozonetel.callback_record
}
"""Vendors whose callbacks come in other shapes than a JSON object: what reads them. Raises UnexpectedAnswerError."""

log = logging.getLogger(__name__)


def callback_address(vendor: str, *, allow_http: bool) -> str | None:
    """Where a vendor shall call back, without the token; None when nobody can reach us.

    https only, because a token stands in it. Raises ValueError for any other address.

    :param allow_http: whether plain http is fine on this machine (a sandbox).
    """
    base = settings.public_url()
    if base is None:
        return None
    try:
        parts = urlsplit(base)
        scheme, host = parts.scheme, parts.hostname
    except ValueError:
        scheme, host = "", None
    local = allow_http and scheme == "http" and host in ("127.0.0.1", "localhost", "::1")
    if not local and not (scheme == "https" and host):
        raise ValueError(
            "Vendors are only asked to call https addresses. Set LISTKEEPER_PUBLIC_URL to one that reaches the "
            "callback receiver (or to a relay of yours, see LISTKEEPER_RELAY)."
        )
    return f"{base}/listkeeper/callbacks/{vendor}"


def receive(ledger: Ledger, vendor: str, token: str, body: bytes) -> Receipt:
    """Hand the body of a callback to the ledger, in whatever shape its vendor sends it; see `Ledger.receive`."""
    read = NOT_JSON.get(vendor)
    if read is None:
        return ledger.receive(vendor, token, body)

    def reading(body: bytes) -> Mapping[str, str]:
        try:
            return read(body)
        except UnexpectedAnswerError as error:
            raise BadCallbackError(str(error)) from None

    return ledger.receive(vendor, token, body, reading)


def collect(ledger: Ledger, vendor: str, relay_url: str) -> int:
    """Hand every body that a relay dropped for this vendor to the ledger; return how many said something new.

    A stored body is deleted. One with an unknown token, too large or no JSON object is moved to
    `<relay>/refused/`, so that it is looked at once and a person can see it. Any number of processes may
    collect at the same time. Errors of the file system and of the database come through; what was not stored
    is then still there.
    """
    stored = refused = 0
    relay = open_place(relay_url)
    for file in sorted((relay / vendor).glob("*/*.json"), key=str):
        token = file.parent.name
        try:
            body = _read(file)
            stored += receive(ledger, vendor, token, body).new
            file.unlink()
        except FileNotFoundError:
            continue  # another process was faster
        except BadCallbackError:
            if _may_grow(file):
                continue
            refused += _refuse(relay, vendor, file)
        except UnknownTokenError:
            refused += _refuse(relay, vendor, file)
    if refused:
        log.warning("The relay dropped %d bodies that no load waits for, now in its folder refused.", refused)
    return stored


def _read(file: UPath) -> bytes:
    with file.open("rb") as opened:
        body = bytes(opened.read(MAX_BODY + 1))
    if len(body) > MAX_BODY:
        raise BadCallbackError("The callback's body is too large; nothing was stored.")
    return body


def _may_grow(file: UPath) -> bool:
    """Whether the relay may still be writing the file."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return True
    age = datetime.now(UTC).timestamp() - status.st_mtime
    return bool(status.st_size <= MAX_BODY and age < SETTLE_SECONDS)


def _refuse(relay: UPath, vendor: str, file: UPath) -> bool:
    """Move a file aside under a name that does not tell the token; False when it has gone."""
    name = hashlib.sha256(f"{file.parent.name}/{file.name}".encode()).hexdigest()[:16]
    place = relay / REFUSED
    place.mkdir(parents=True, exist_ok=True)
    try:
        file.rename(place / f"{vendor}-{name}.json")
    except FileNotFoundError:
        return False
    return True
