"""Reads what callers of the Platform API send: query parameters, JSON bodies, the fields of a lead (section 3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar
from zoneinfo import available_timezones

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

from include.sandbox.data import Lead
from include.sandbox.pages import FieldError, Json
from include.sandbox.tenant import AGENTS

T = TypeVar("T")

LEAST_DIGITS, MOST_DIGITS = 7, 15
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_PHONE: Final = re.compile(r"\+?[0-9 ().-]+")
_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class UnknownListError(FieldError):
    """A lead names a list that does not exist: 404 (case 14)."""

    def __init__(self) -> None:
        super().__init__("listId", "There is no such list.")
        self.status_code = 404


# --- query parameters


def text(request: Request, name: str) -> str | None:
    """Read a parameter; nothing, an empty text and `null` are the same."""
    value = request.query_params.get(name)
    return None if value in (None, "", "null") else value


def integer(request: Request, name: str, *, nullable: bool = True) -> int | None:
    """Read an integer parameter."""
    value = text(request, name)
    if value is None and (nullable or name not in request.query_params):
        return None
    if value is None or not _INTEGER.fullmatch(value):
        raise FieldError(name, "Must be an integer.")
    return int(value)


def count(request: Request, name: str, default: int) -> int:
    """Read an integer parameter of 1 or more."""
    value = integer(request, name)
    if value is not None and value < 1:
        raise FieldError(name, "Must be 1 or more.")
    return default if value is None else value


def moment(request: Request, name: str) -> datetime | None:
    """Read a time parameter: ISO 8601 with an offset, as +10:00, +1000 or Z."""
    value = text(request, name)
    return None if value is None else _time(name, value)


def within(moment: datetime, start: datetime | None, end: datetime | None) -> bool:
    """Tell whether a moment lies in a window; both ends belong to it (PL-15)."""
    return (start is None or moment >= start) and (end is None or moment <= end)


def known(things: Mapping[int, T], request: Request) -> T:
    """Return the thing that the path names by its id, or answer 404."""
    return found(things.get(request.path_params["id"]))


def found(thing: T | None) -> T:
    """Return what was looked for, or answer 404."""
    if thing is None:
        raise HTTPException(404, "The id is not known.")
    return thing


# --- bodies


async def body(request: Request) -> Json:
    """Read a JSON object."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise HTTPException(400, "Send application/json.")
    try:
        asked = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise HTTPException(400, "The body is not JSON.") from None
    if not isinstance(asked, dict):
        raise HTTPException(400, "The body must be a JSON object.")
    return asked


def needed(asked: Json, name: str, kind: type[T]) -> T:
    """Return a field that must be there; true is no integer."""
    value = asked.get(name)
    if type(value) is not kind or value == "":
        what = {int: "an integer", str: "a text", bool: "true or false"}[kind]
        raise FieldError(name, f"Is needed, and must be {what}.")
    return value


def lead_fields(asked: Json, lists: Container[int], *, new: bool) -> dict[str, Any]:
    """Check the fields of a lead that a body names (9, 16, 18); return them as `data.Lead` calls them.

    Unknown fields are passed over. Null stays null. Raises FieldError for the first field that will not do,
    UnknownListError for a list that does not exist.
    """
    if new or asked.get("listId") is not None:
        needed(asked, "listId", int)
    fields: dict[str, Any] = {}
    for name, (target, read) in _FIELDS.items():
        if name in asked:
            value = asked[name]
            fields[target] = None if value is None else read(name, value)
    if new and not _DATE_TIME.fullmatch(asked.get("nextAttemptTimestamp") or "2000-01-01T00:00:00Z"):
        raise FieldError("nextAttemptTimestamp", "Must be a date-time (RFC 3339).")
    if fields.get("list_id") is not None and fields["list_id"] not in lists:
        raise UnknownListError
    return fields


def changed(lead: Lead, fields: Mapping[str, Any], *, null_clears: bool) -> Lead:
    """Return a lead with the fields that were written; a null empties its field or changes nothing (PL-9)."""
    phones = list(lead.phones)
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None and (not null_clears or name in ("list_id", "completed")):
            continue
        if name.startswith("phone"):
            phones[int(name[-1]) - 1] = value
        else:
            values[name] = {} if name == "data" and value is None else value
    return lead._replace(phones=(phones[0], phones[1], phones[2]), **values)


def digits(number: str) -> str:
    """Return the digits of a number, without the 1 that may stand in front of ten of them."""
    bare = re.sub(r"[^0-9]", "", number)
    return bare[1:] if len(bare) == 11 and bare[0] == "1" else bare


def _of(kind: type, what: str) -> Callable[[str, Any], Any]:
    def read(name: str, value: Any) -> Any:
        if type(value) is not kind:
            raise FieldError(name, f"Must be {what} or null.")
        return value

    return read


def _phone(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _PHONE.fullmatch(value):
        raise FieldError(name, "Must be a phone number or null.")
    if not LEAST_DIGITS <= sum(char.isdigit() for char in value) <= MOST_DIGITS:
        raise FieldError(name, f"A phone number has {LEAST_DIGITS} to {MOST_DIGITS} digits.")
    return value


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in _zones():
        raise FieldError(name, "Must be an IANA time zone or null.")
    return value


def _time(name: str, value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(str.upper(value))
    except (TypeError, ValueError):
        found = None
    # It must have a day in every other zone, too.
    if found is None or found.tzinfo is None or not 1 < found.year < 9999:
        raise FieldError(name, "Must be an ISO 8601 time with an offset.")
    return found


def _agent(name: str, value: Any) -> int:
    if type(value) is not int or value not in AGENTS:
        raise FieldError(name, "Must be the id of an agent or null.")
    return value


_FIELDS: Final[dict[str, tuple[str, Callable[[str, Any], Any]]]] = {
    "listId": ("list_id", _of(int, "an integer")),
    "customerKey": ("customer_key", _of(str, "a text")),
    "timezone": ("timezone", _zone),
    "phone1": ("phone1", _phone),
    "phone2": ("phone2", _phone),
    "phone3": ("phone3", _phone),
    "nextAttemptTimestamp": ("next_attempt", _time),
    "leadData": ("data", _of(dict, "an object")),
    "statusCode": ("status_code", _of(int, "an integer")),
    "agentId": ("agent_id", _agent),
    "isCompleted": ("completed", _of(bool, "true or false")),
}
"""The name of writing -> the name in `data.Lead`, and how a value is read."""
