"""The filters of the Platform API's five cursor-paged lists, and the way through their pages."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from include.vendors.errors import VendorError
from include.vendors.platform.answers import VENDOR, parse_time
from include.vendors.platform.leads import text_of

KEY: Final = "customerKey"
"""The one filter that is the customer's own text and compared as it is; the others are numbers, times, and words of the
vendor's in any case."""


class CursorLoopError(VendorError):
    """The vendor sent us to a page we had already read: following on would never end, stopping would lose leads."""

    again = True


class ChangedFilterError(VendorError):
    """The link to the next page asks for other leads than we did, or a page holds leads that we did not ask for."""


class BadCursorError(VendorError):
    """The vendor no longer knows the cursor of a walk that we wanted to continue: the walk starts over."""

    again = True


@dataclass(frozen=True)
class Query:
    """Filters of one list, under the vendor's own names; None means not asked for."""

    shown_as: ClassVar[Mapping[str, str]] = {}
    """Filter -> the field of an item that shows it; filters of time are not among them."""

    def params(self) -> dict[str, str]:
        """The query as text. Times are ISO 8601 with offset; both ends are inclusive at the vendor (PL-15).

        Raises ValueError for a time without a zone.
        """
        found = {own.name: getattr(self, own.name) for own in fields(self)}
        return {name: _param(value) for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class LeadQuery(Query):
    """Filters of the list of leads (operation 8)."""

    campaignId: int | None = None  # noqa: N815
    listId: int | None = None  # noqa: N815
    statusCode: int | None = None  # noqa: N815
    uploadedTimestampFrom: datetime | None = None  # noqa: N815
    uploadedTimestampTo: datetime | None = None  # noqa: N815
    customerKey: str | None = None  # noqa: N815

    shown_as: ClassVar[Mapping[str, str]] = {
        "listId": "listId",
        "campaignId": "campaignId",
        "statusCode": "lastStatusCode",
        "customerKey": "customerKey",
    }


@dataclass(frozen=True)
class ActivityQuery(Query):
    """Filters of the list of activities (operation 2). `leadId` stands only on a newer page of the vendor's."""

    campaignId: int | None = None  # noqa: N815
    createdTimestampFrom: datetime | None = None  # noqa: N815
    createdTimestampTo: datetime | None = None  # noqa: N815
    activityType: str | None = None  # noqa: N815
    leadId: int | None = None  # noqa: N815

    shown_as: ClassVar[Mapping[str, str]] = {
        "campaignId": "campaignId",
        "activityType": "type",
        "leadId": "leadId",
    }


@dataclass(frozen=True)
class CallQuery(Query):
    """Filters of the list of dialler calls (operation 21)."""

    campaignId: int | None = None  # noqa: N815
    leadId: int | None = None  # noqa: N815
    dialledTimestampFrom: datetime | None = None  # noqa: N815
    dialledTimestampTo: datetime | None = None  # noqa: N815

    shown_as: ClassVar[Mapping[str, str]] = {"campaignId": "campaignId", "leadId": "leadId"}


@dataclass(frozen=True)
class ListQuery(Query):
    """The filter of the list of lead lists (operation 10)."""

    campaignId: int | None = None  # noqa: N815

    shown_as: ClassVar[Mapping[str, str]] = {"campaignId": "campaignId"}


@dataclass(frozen=True)
class UserQuery(Query):
    """Filters of the list of users (operation 22)."""

    userType: Literal["agent", "user"] | None = None  # noqa: N815
    accountActive: bool | None = None  # noqa: N815

    shown_as: ClassVar[Mapping[str, str]] = {"userType": "userType", "accountActive": "accountActive"}


def _param(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("a filter of time needs a zone")
    return value.isoformat() if isinstance(value, datetime) else str(value)


def query_text(query: Query) -> str:
    """The query as one text, the same for the same question; what a checkpoint is tied to."""
    return urlencode(sorted(query.params().items()))


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


class Walk:
    """The way through the pages of one query: where to go next, and what must not happen on it.

    :param query: the filters asked for; a next link may leave them out, but not change them.
    :param seen: cursors read before, when a walk goes on after a crash.
    """

    def __init__(self, query: Query, seen: Iterable[str] = ()) -> None:
        self._asked = query.params()
        self._filters = {own.name for own in fields(query)}
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
            if name in self._asked and not _same(name, self._asked[name], got):
                raise ChangedFilterError(
                    VENDOR,
                    f"The link to the next page changes the filter {name}. Following it would mix in what was not "
                    "asked for; report it to the vendor.",
                )
            if name in self._filters and name not in self._asked and got not in ("", "null"):
                raise ChangedFilterError(
                    VENDOR,
                    f"The link to the next page adds the filter {name}, which would leave some out; report it to the "
                    "vendor.",
                )
        if cursor in self._seen or not any(got for name, got in params if name not in self._filters):
            raise CursorLoopError(
                VENDOR,
                f"The Platform API sent the walk back to a page it had read, {len(self._seen)} pages in. The snapshot "
                "is not complete; the next try goes on from the last good page.",
            )
        self._seen.add(cursor)
        return cursor


def _same(name: str, asked: str, got: str) -> bool:
    if asked == got or (name != KEY and asked.casefold() == got.casefold()):
        return True
    try:
        # A plus sign that was not escaped comes back as a blank.
        return parse_time(asked) == parse_time(got.replace(" ", "+"))
    except ValueError:
        return False


def check_item(item: Mapping[str, Any], query: Query) -> None:
    """Check that an item of a page is one of those asked for. Raises ChangedFilterError.

    Only fields that the item carries are compared, null included; its time is the caller's to check (a window is
    half-open for us). An activity's own fields stand under `data`.
    """
    data = item.get("data")
    shown_fields = {**data, **item} if isinstance(data, dict) else item
    for name, shown in query.shown_as.items():
        asked = getattr(query, name)
        if asked is not None and shown in shown_fields and _differs(name, shown_fields[shown], asked):
            raise ChangedFilterError(
                VENDOR,
                f"A page holds an item with another {shown} than asked for; the vendor ignored the filter.",
            )


def _differs(name: str, shown: Any, asked: Any) -> bool:
    said, wanted = text_of(shown) or "", str(asked)
    return said != wanted if name == KEY else said.casefold() != wanted.casefold()
