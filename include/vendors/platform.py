"""Platform API (ipSCAPE): requests and answers of its reading side, without I/O.

The contract is in the vendor's page "Design for Platform API (0.0.1)". Where that page is silent the value is a
setting of the connection (`PlatformSettings`), named after the assumption it stands for (PL-1 to PL-20).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson

from include.vendors.errors import (
    AuthenticationError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
    retry_after_seconds,
)

VENDOR: Final = "platform"
DEFAULT_PREFIX: Final = "/platform-api"

PATHS: Final[Mapping[str, str]] = {
    "leads": "/v3.0/leads",
    "lead": "/v3.0/leads/{leadId}",
    "lead_lists": "/v3.0/leads/lists",
    "lead_list": "/v3.0/leads/lists/{listId}",
}
"""Path templates below the prefix (PL-3: only some are documented, so a connection may replace each)."""


class CursorLoopError(VendorError):
    """The vendor sent us to a page we had already read: following on would never end, stopping would lose leads."""

    again = True


class ChangedFilterError(VendorError):
    """The link to the next page asks for other leads than we did, or a page holds leads that we did not ask for."""


class BadCursorError(VendorError):
    """The vendor no longer knows the cursor of a walk that we wanted to continue: the walk starts over."""

    again = True


@dataclass(frozen=True)
class PlatformSettings:
    """What a connection may say about a tenant.

    :param prefix: path before `/v3.0`, `/` for nothing (PL-1).
    :param auth_header: header that carries the token (PL-2).
    :param auth_scheme: word before the token; `none` for the token alone (PL-2).
    :param paths: replacements of single entries of `PATHS` (PL-3).
    """

    prefix: str = DEFAULT_PREFIX
    auth_header: str = "Authorization"
    auth_scheme: str = "Bearer"
    paths: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.paths, Mapping) or set(self.paths) - set(PATHS):
            raise ValueError(
                f"paths must be an object of paths by operation; known are {', '.join(sorted(PATHS))}"
            )
        if not all(isinstance(path, str) and path.startswith("/") for path in self.paths.values()):
            raise ValueError("paths: each path must begin with a slash")
        if self.prefix and not self.prefix.startswith("/"):
            raise ValueError(f"prefix must begin with a slash, not {self.prefix!r}")
        if not self.auth_header:
            raise ValueError("auth_header must not be empty")

    def path(self, operation: str, **values: int | str) -> str:
        """The path of an operation on this tenant, prefix included."""
        return self.prefix.rstrip("/") + (self.paths.get(operation) or PATHS[operation]).format(**values)

    def auth(self, token: str) -> dict[str, str]:
        """The header that authenticates a request."""
        return {
            self.auth_header: token if self.auth_scheme in ("", "none") else f"{self.auth_scheme} {token}"
        }


@dataclass(frozen=True)
class LeadQuery:
    """Filters of the lead list (operation 8), under the vendor's own names; None means not asked for."""

    campaignId: int | None = None  # noqa: N815
    listId: int | None = None  # noqa: N815
    statusCode: int | None = None  # noqa: N815
    uploadedTimestampFrom: datetime | None = None  # noqa: N815
    uploadedTimestampTo: datetime | None = None  # noqa: N815
    customerKey: str | None = None  # noqa: N815

    def params(self) -> dict[str, str]:
        """The query as text. Times are ISO 8601 with offset; both ends are inclusive at the vendor (PL-15)."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: value.isoformat() if isinstance(value, datetime) else str(value)
            for name, value in found.items()
            if value is not None
        }


@dataclass(frozen=True)
class Page:
    """One page of a list: its items, and the URI of the next page, None on the last."""

    items: list[dict[str, Any]] = field(repr=False)
    next_uri: str | None = field(repr=False)


def window_shards(start: datetime, end: datetime, count: int) -> list[tuple[datetime, datetime]]:
    """Cut the half-open window [start, end) into `count` equal half-open windows, in order, without a gap.

    The cuts are made on the absolute time line, so that a night with a clock change is cut as evenly as any other;
    each time keeps the zone of `start`. They fall on whole seconds: the vendor shows times without fractions, and a
    lead within a cut second would be found by one shard and seem to belong to the other.
    """
    begin, length = start.astimezone(UTC), end.astimezone(UTC) - start.astimezone(UTC)
    steps = [timedelta(seconds=length * i // count // timedelta(seconds=1)) for i in range(1, count)]
    return list(
        itertools.pairwise([start, *[(begin + step).astimezone(start.tzinfo) for step in steps], end])
    )


def read_page(status: int, headers: Mapping[str, str], body: bytes) -> Page:
    """Read one answer of a cursor-paged list (section 4).

    A page that cannot be told from a cut one is refused: no `items` list, no `metadata` object, or no JSON.
    Raises the VendorError that fits the answer.
    """
    answer = read_answer(status, headers, body, "list of leads")
    items, metadata = answer.get("items"), answer.get("metadata")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _unexpected("a page without a list of items", status)
    if not isinstance(metadata, dict):
        raise _unexpected("a page without metadata, which cannot be told from a cut one", status)
    next_uri = metadata.get("nextUri")
    if next_uri is not None and not isinstance(next_uri, str):
        raise _unexpected("a nextUri that is no text", status)
    return Page(items, next_uri or None)


def read_answer(status: int, headers: Mapping[str, str], body: bytes, operation: str) -> dict[str, Any]:
    """Read a JSON object out of any 2xx answer; raise the VendorError that fits any other (PL-16: by status only)."""
    if not 200 <= status < 300:
        raise _refusal(status, headers, operation)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _unexpected(f"an answer to {operation} that is no JSON ({len(body)} bytes)", status) from None
    if not isinstance(answer, dict):
        raise _unexpected(f"an answer to {operation} that is no JSON object", status)
    return answer


def _refusal(status: int, headers: Mapping[str, str], operation: str) -> VendorError:
    if status in (401, 403):
        return AuthenticationError(
            VENDOR,
            f"The Platform API does not accept the token for the {operation} (HTTP {status}). Put a valid API token "
            "into the password of the connection.",
            http_status=status,
        )
    if status == 429:
        wait = retry_after_seconds(headers.get("Retry-After"))
        return RateLimitedError(
            VENDOR, f"The Platform API asks us to wait {wait:g} s (HTTP 429, {operation}).", retry_after=wait
        )
    if status >= 500:
        return UnavailableError(
            VENDOR, f"The Platform API failed on the {operation} (HTTP {status}).", http_status=status
        )
    return RequestRefusedError(
        VENDOR,
        f"The Platform API refused the {operation} (HTTP {status}). Check the filters of the source and the paths of "
        "the connection.",
        http_status=status,
    )


def _unexpected(what: str, status: int) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(VENDOR, f"The Platform API sent {what} (HTTP {status}).", http_status=status)


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
        if (parts.scheme, parts.netloc.lower()) != (own.scheme, own.netloc.lower()):
            raise UnexpectedAnswerError(
                VENDOR,
                "The Platform API sent a link to another host than the connection's; it was not followed, because the "
                "token would go with it.",
            )
        return uri
    path = uri if uri.startswith("/") else f"/{uri}"
    clean_prefix = prefix.rstrip("/")
    return origin + path if path.startswith(f"{clean_prefix}/") else origin + clean_prefix + path


class Walk:
    """The way through the pages of one query: where to go next, and what must not happen on it.

    :param query: the filters asked for; a next link may leave them out, but not change them.
    :param seen: cursors read before, when a walk goes on after a crash.
    """

    def __init__(self, query: LeadQuery, seen: Iterable[str] = ()) -> None:
        self._asked = query.params()
        self._seen = set(seen)

    def step(self, next_uri: str | None) -> str | None:
        """Check the link to the next page. Returns its cursor, None on the last page.

        Raises CursorLoopError for a cursor that was read before and for a link without one, which is the first page's;
        ChangedFilterError for a link with other filters.
        """
        if next_uri is None:
            return None
        params = parse_qsl(urlsplit(next_uri).query, keep_blank_values=True)
        cursor = dict(params).get("cursor") or next_uri
        for name, got in params:
            if name in self._asked and not _same(self._asked[name], got):
                raise ChangedFilterError(
                    VENDOR,
                    f"The link to the next page changes the filter {name}. Following it would mix in leads that were "
                    "not asked for; report it to the vendor.",
                )
            if name in LeadQuery.__dataclass_fields__ and name not in self._asked and got not in ("", "null"):
                raise ChangedFilterError(
                    VENDOR,
                    f"The link to the next page adds the filter {name}, which would leave leads out; report it to the "
                    "vendor.",
                )
        ours = LeadQuery.__dataclass_fields__
        if cursor in self._seen or not any(got for name, got in params if name not in ours):
            raise CursorLoopError(
                VENDOR,
                f"The Platform API sent the walk back to a page it had read, {len(self._seen)} pages in. The snapshot "
                "is not complete; the next try goes on from the last good page.",
            )
        self._seen.add(cursor)
        return cursor


def _same(asked: str, got: str) -> bool:
    if asked == got:
        return True
    try:
        # A plus sign that was not escaped comes back as a blank.
        return parse_time(asked) == parse_time(got.replace(" ", "+"))
    except ValueError:
        return False


def check_lead(item: Mapping[str, Any], query: LeadQuery) -> None:
    """Check that a lead of a page is one of those asked for. Raises ChangedFilterError.

    Only fields that the lead carries are compared, null included; the upload window is the caller's (it is half-open
    for us).
    """
    for name, asked in (
        ("listId", query.listId),
        ("campaignId", query.campaignId),
        ("lastStatusCode", query.statusCode),
        ("customerKey", query.customerKey),
    ):
        if asked is not None and name in item and _text(item[name]) != str(asked):
            raise ChangedFilterError(
                VENDOR,
                f"A page holds a lead with another {name} than asked for; the vendor ignored the filter.",
            )


def parse_time(text: str) -> datetime:
    """Read the three forms of time the vendor shows (`+10:00`, `+1000`, `Z`) as an aware UTC time.

    Raises ValueError for anything else, a time without an offset included.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time without an offset")
    try:
        return found.astimezone(UTC)
    except OverflowError:  # year 1 east of Greenwich: the "no date" of some systems
        raise ValueError("a time before the calendar") from None


class BadLeadError(ValueError):
    """One lead of a page cannot be kept; the message names the field and the rule, never the value."""


def read_lead(item: Mapping[str, Any]) -> dict[str, Any]:
    """Turn one lead (operation 15) into a row of `include.leads.schema.LEAD_COLUMNS`.

    Raises BadLeadError when it has no usable `leadId` or a field holds what cannot be kept: such a lead becomes
    a reject, the page goes on.
    """
    lead_id = _int(item, "leadId")
    if lead_id is None:
        raise BadLeadError("leadId is missing")
    times = _times(item)
    uploaded = _text(times.get("uploaded"))
    data = item.get("dataFields")
    return {
        "row_key": str(lead_id),
        "lead_id": lead_id,
        "customer_key": _text(item.get("customerKey")),
        "list_id": _int(item, "listId"),
        "campaign_id": _int(item, "campaignId"),
        "timezone": _text(item.get("timezone")),
        **_phones(item.get("phones")),
        "status_code": _int(item, "lastStatusCode"),
        "agent_id": _int(item, "agentId"),
        "completed": item["completed"] if isinstance(item.get("completed"), bool) else None,
        "uploaded": uploaded,
        "uploaded_at": _uploaded_at(uploaded),
        "last_attempt": _text(times.get("lastAttempt")),
        "next_attempt": _text(times.get("nextAttempt")),
        "data": orjson.dumps(data if isinstance(data, dict) else {}).decode(),
    }


def uploaded_at(item: Mapping[str, Any]) -> datetime | None:
    """When a lead was uploaded; None when it does not say so, or not in a form that the vendor is known to use."""
    try:
        return _uploaded_at(_text(_times(item).get("uploaded")))
    except BadLeadError:
        return None


def _times(item: Mapping[str, Any]) -> Mapping[str, Any]:
    times = item.get("timestamps")
    return times if isinstance(times, dict) else {}


def _phones(value: Any) -> dict[str, str | None]:
    """phone1 to phone3 out of `phones` (PL-10: objects with phoneIndex and phoneNumber; plain texts in order).

    A number without a usable index, or whose place is taken, takes the first free place; three is what we keep.
    """
    found: dict[str, str | None] = {"phone1": None, "phone2": None, "phone3": None}
    if value is not None and not isinstance(value, list):
        raise BadLeadError("phones must be a list")
    for position, entry in enumerate(value or [], start=1):
        index: Any = position
        number: Any = entry
        if isinstance(entry, dict):
            if "phoneNumber" not in entry:
                raise BadLeadError("phones must hold objects with a phoneNumber, or texts")
            index, number = entry.get("phoneIndex"), entry["phoneNumber"]
        place: str | None = f"phone{index}"
        if place not in found or found[place] is not None:
            place = next((free for free, taken in found.items() if taken is None), None)
        if place is not None:
            found[place] = _text(number)
    return found


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _int(item: Mapping[str, Any], name: str) -> int | None:
    value = item.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63):
        return value
    raise BadLeadError(f"{name} must be a whole number of 64 bits")


def _uploaded_at(text: str | None) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except ValueError:
        raise BadLeadError("timestamps.uploaded must be a time with an offset") from None


def query_text(query: LeadQuery) -> str:
    """The query as one text, the same for the same question; what a checkpoint is tied to."""
    return urlencode(sorted(query.params().items()))
