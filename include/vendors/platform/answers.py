"""How the Platform API answers: pages with cursors, links in two styles, three forms of time, errors by status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from include.vendors.bodies import json_object, whole_number
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
    retry_after_seconds,
)

VENDOR: Final = "platform"

_REFUSES_FIELDS: Final = (400, 409, 422)
"""Refusals that are about what was written, not about the request (PL-16)."""

_PAGES: Final = ("text/html", "application/xhtml+xml")
_PORTS: Final = {"http": ":80", "https": ":443"}


class NotFoundError(RequestRefusedError):
    """There is nothing under this id, or the tenant has another path for it (404)."""


class FieldsRefusedError(RequestRefusedError):
    """The vendor does not take what was to be written (400, 409, 422).

    :param words: what it says of the fields. They may quote what was sent, so they are in no message.
    """

    def __init__(self, vendor: str, message: str, *, words: str, http_status: int) -> None:
        super().__init__(vendor, message, http_status=http_status)
        self.words = words


@dataclass(frozen=True)
class Page:
    """One page of a list: its items, and the URI of the next page, None on the last."""

    items: list[dict[str, Any]] = field(repr=False)
    next_uri: str | None = field(repr=False)


def read_page(status: int, headers: Mapping[str, str], body: bytes, title: str = "list of leads") -> Page:
    """Read one answer of a cursor-paged list (section 4).

    A page that cannot be told from a cut one is refused: no `items` list, no `metadata` object, or no JSON.
    Raises the VendorError that fits the answer.
    """
    answer = read_answer(status, headers, body, title)
    items, metadata = answer.get("items"), answer.get("metadata")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise unexpected("a page without a list of items", status)
    if not isinstance(metadata, dict):
        raise unexpected("a page without metadata, which cannot be told from a cut one", status)
    next_uri = metadata.get("nextUri")
    if next_uri is not None and not isinstance(next_uri, str):
        raise unexpected("a nextUri that is no text", status)
    return Page(items, next_uri or None)


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, title: str, *, writes: bool = False
) -> dict[str, Any]:
    """Read a JSON object out of any 2xx answer; raise the VendorError that fits any other (PL-16: by status only).

    :param title: what was asked for, for the error message.
    :param writes: whether the request changes something: then an answer that says nothing clear (a 5xx, a 2xx that
        cannot be read) is a LostAnswerError, because the change may have been made.
    """
    require_success(status, headers, title, writes=writes)
    try:
        return json_object(body)
    except ValueError as error:
        what = f"an answer to the {title} that cannot be read: {error}"
    if writes:
        raise lost(f"sent {what}", status)
    raise unexpected(what, status)


def require_done(status: int, headers: Mapping[str, str], body: bytes, title: str) -> None:
    """Take any 2xx to a write whose answer says no more than that (PL-9), but a web page, as `read_answer` does.

    Raises FieldsRefusedError where the vendor does not take the fields.
    """
    try:
        require_success(status, headers, title, writes=True)
    except RequestRefusedError as error:
        if status in _REFUSES_FIELDS:
            raise FieldsRefusedError(VENDOR, str(error), words=_words(body), http_status=status) from None
        raise
    if is_web_page(headers, body):
        raise lost(f"answered the {title} with a web page", status)


def _words(body: bytes) -> str:
    """What a refusal says of the fields (PL-17: `errors` by field, else `message`); nothing where it cannot be read."""
    try:
        said = json_object(body)
    except ValueError:
        return ""
    errors = said.get("errors")
    if not isinstance(errors, dict) or not errors:
        return str(said.get("message") or "")
    texts = ((name, text if isinstance(text, list) else [text]) for name, text in errors.items())
    return "; ".join(f"{name}: {' '.join(map(str, text))}" for name, text in texts)


def is_web_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer is a page for people, such as a gateway's login: no operation has one, whatever the status."""
    begins = body[:64].lstrip().lower()
    return media_type(headers) in _PAGES or begins.startswith((b"<!doctype html", b"<html"))


def media_type(headers: Mapping[str, str]) -> str:
    """The media type of an answer, without parameters and in lower case; empty when it has none."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def require_success(status: int, headers: Mapping[str, str], title: str, *, writes: bool = False) -> None:
    """Raise the VendorError that fits any answer but a 2xx. :param writes: as for `read_answer`."""
    if not 200 <= status < 300:
        raise _refusal(status, headers, title, writes)


def _refusal(status: int, headers: Mapping[str, str], title: str, writes: bool) -> VendorError:
    if status in (401, 403):
        return AuthenticationError(
            VENDOR,
            f"The Platform API does not accept the token for the {title} (HTTP {status}). Put a valid API token "
            "into the password of the connection.",
            http_status=status,
        )
    if status == 429:
        wait = retry_after_seconds(headers.get("Retry-After"))
        return RateLimitedError(
            VENDOR, f"The Platform API asks us to wait {wait:g} s (HTTP 429, {title}).", retry_after=wait
        )
    if status >= 500:
        what = f"failed on the {title}"
        if writes:
            return lost(what, status)
        return UnavailableError(VENDOR, f"The Platform API {what} (HTTP {status}).", http_status=status)
    if status == 404:
        return NotFoundError(
            VENDOR,
            f"The Platform API finds no {title} (HTTP 404). Check the id, and the paths of the connection.",
            http_status=status,
        )
    check = "the fields that were sent" if writes else "the filters of the source"
    return RequestRefusedError(
        VENDOR,
        f"The Platform API refused the {title} (HTTP {status}). Check {check} and the paths of the connection.",
        http_status=status,
    )


def id_in(answer: Mapping[str, Any], *names: str) -> int | None:
    """The id that an answer holds under the first of these names that has one, also as text; None where none has."""
    for name in names:
        value = whole_number(answer.get(name))
        if value is not None:
            return value
    return None


def lost(what: str, status: int) -> LostAnswerError:
    """The error for a write whose answer does not tell whether it was carried out."""
    return LostAnswerError(
        VENDOR,
        f"The Platform API {what} (HTTP {status}), so that nobody knows whether it was carried out.",
        http_status=status,
    )


def unexpected(what: str, status: int | None = None) -> UnexpectedAnswerError:
    """The error for an answer that the contract does not know."""
    code = "" if status is None else f" (HTTP {status})"
    return UnexpectedAnswerError(VENDOR, f"The Platform API sent {what}{code}.", http_status=status)


def resolve_uri(base_url: str, prefix: str, uri: str) -> str:
    """Make a URI that the vendor returned absolute (section 1).

    An absolute URL is taken as it is, but only on the connection's own host: the token goes where the URI says, so
    another host is refused. A path that begins with the prefix belongs to the host, any other to the base URL.
    """
    origin = base_url.rstrip("/")
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise UnexpectedAnswerError(VENDOR, "The Platform API sent a link that is no URI.") from None
    if parts.scheme or parts.netloc:
        own = urlsplit(origin)
        if (parts.scheme, _place(parts)) != (own.scheme, _place(own)):
            raise UnexpectedAnswerError(
                VENDOR,
                "The Platform API sent a link to another host than the connection's; it was not followed, because the "
                "token would go with it.",
            )
        return uri
    path = uri if uri.startswith("/") else f"/{uri}"
    clean_prefix = prefix.rstrip("/")
    return origin + path if path.startswith(f"{clean_prefix}/") else origin + clean_prefix + path


def _place(parts: SplitResult) -> str:
    """Host and port of a URL, and whatever stands before them, without the port that its scheme means anyway."""
    return parts.netloc.lower().removesuffix(_PORTS.get(parts.scheme, ""))


def parse_time(text: str) -> datetime:
    """Read the three forms of time the vendor shows (`+10:00`, `+1000`, `Z`), in any case, as an aware UTC time.

    Raises ValueError for anything else, a time without an offset included.
    """
    found = datetime.fromisoformat(str.upper(text))
    if found.tzinfo is None:
        raise ValueError("a time without an offset")
    try:
        return found.astimezone(UTC)
    except OverflowError:  # year 1 east of Greenwich: the "no date" of some systems
        raise ValueError("a time before the calendar") from None
