"""Leads as the Platform API takes them (operations 9, 16 and 18). Its names for writing differ from those it shows.

A field that is absent is left alone; null is never sent by accident, because nobody documents what it does (PL-9).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from include.vendors.platform.answers import parse_time
from include.vendors.platform.leads import read_lead

WRITE_FIELDS: Final[Mapping[str, type]] = MappingProxyType(
    {
        "listId": int,
        "customerKey": str,
        "timezone": str,
        "phone1": str,
        "phone2": str,
        "phone3": str,
        "nextAttemptTimestamp": datetime,
        "leadData": dict,
        "statusCode": int,
        "agentId": int,
    }
)
"""What a lead can be created with (operation 9), and the type of each field; times are sent as ISO 8601 text."""

SHOWN_AS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "listId": "list_id",
        "customerKey": "customer_key",
        "timezone": "timezone",
        "phone1": "phone1",
        "phone2": "phone2",
        "phone3": "phone3",
        "nextAttemptTimestamp": "next_attempt",
        "leadData": "data",
        "statusCode": "status_code",
        "agentId": "agent_id",
    }
)
"""Field for writing -> column of a lead that was read (`include.leads.schema.LEAD_COLUMNS`)."""

DATA_PREFIX: Final = "leadData."
"""A free field of a lead by its path, such as leadData.city."""

EMPTIED: Final = ("phone2", "phone3")
"""Fields, besides the free ones, that an empty cell of a changed row empties."""

_WORDS: Final = {
    int: "a whole number",
    str: "a text",
    datetime: "a time with an offset, such as 2026-11-21T09:00:00+11:00",
    dict: "an object",
}
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")


class LeadFieldError(ValueError):
    """A lead cannot be written like this; the message names the field and the rule, never the value."""


def lead_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check the fields of a new lead (operation 9) and write them as the vendor takes them; None is left out.

    Raises LeadFieldError.
    """
    body = {name: _checked(name, value) for name, value in fields.items() if value is not None}
    if "listId" not in body:
        raise LeadFieldError("listId is needed")
    return body


def body_of_cells(cells: Mapping[str, str], list_id: int) -> dict[str, Any]:
    """A new lead out of a row of text: an empty cell is absent, `leadData.<field>` goes into `leadData`.

    Raises LeadFieldError.
    """
    return lead_body({"listId": list_id, **_fields_of_cells(cells)})


def change_of_cells(
    current: Mapping[str, Any], cells: Mapping[str, str], *, null_clears: bool
) -> dict[str, Any]:
    """What to send so that a lead becomes what a row of text says (operation 16); {} when it is so already.

    An empty cell empties a free field, and phone2 and phone3: a number that the source has given up must not be
    called. Other fields it leaves alone, because the dialler fills them too.

    :param current: the lead as the vendor shows it now.
    :param null_clears: whether this tenant empties a field on null (PL-9).

    Raises LeadFieldError for a number that this tenant cannot empty, BadLeadError for a lead that cannot be read.
    """
    now = as_written(read_lead(current))
    filled = {f"{DATA_PREFIX}{name}" for name in now["leadData"]}
    filled |= {name for name in EMPTIED if now[name] is not None}
    clear = [name for name, cell in cells.items() if cell == "" and name in filled]
    return update_body(current, _fields_of_cells(cells), clear=clear, null_clears=null_clears)


def _fields_of_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    """The fields that a row of text fills."""
    fields: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for name, cell in cells.items():
        if cell == "":
            continue
        if name.startswith(DATA_PREFIX):
            data[name.removeprefix(DATA_PREFIX)] = cell
        elif WRITE_FIELDS.get(name) is int:
            fields[name] = int(cell) if _WHOLE.fullmatch(cell) else cell
        else:
            fields[name] = cell
    if data:
        fields["leadData"] = data
    return fields


def as_written(row: Mapping[str, Any]) -> dict[str, Any]:
    """A lead that was read, in the names for writing: sent again, it would be the same lead.

    :param row: a row of `include.leads.schema.LEAD_COLUMNS`, as `read_lead` makes it.
    """
    fields = {name: row[column] for name, column in SHOWN_AS.items()}
    return {**fields, "leadData": orjson.loads(row["data"] or "{}")}


def update_body(
    current: Mapping[str, Any],
    wanted: Mapping[str, Any],
    *,
    complete: bool = False,
    clear: Collection[str] = (),
    null_clears: bool = False,
) -> dict[str, Any]:
    """What to send so that a lead becomes as wanted (operation 16): only the fields that differ; {} for nothing.

    :param current: the lead as the vendor shows it now (operation 15).
    :param wanted: fields for writing with their new values. Fields inside `leadData` are added to those it has.
    :param complete: whether the lead is completed, which cannot be undone.
    :param clear: fields to empty, `leadData.<field>` for a single free one.
    :param null_clears: whether this tenant empties a field on null (PL-9).

    Raises LeadFieldError for a null among the wanted values, for a field that is wanted and cleared, and for one that
    cannot be cleared.
    """
    row = read_lead(current)
    now = as_written(row)
    for name, value in wanted.items():
        if value is None:
            raise LeadFieldError(f"{name} must not be null; name it in `clear` to empty it")
        if name in clear:
            raise LeadFieldError(f"{name} is wanted and cleared at the same time")
    body = {
        name: value
        for name, value in ((name, _checked(name, value)) for name, value in wanted.items())
        if name != "leadData" and not _equal(name, now[name], value)
    }
    data = {**now["leadData"], **_checked_data(wanted.get("leadData", {}))}
    for name in clear:
        if name.startswith(DATA_PREFIX):
            data.pop(name.removeprefix(DATA_PREFIX), None)
        elif name == "listId" or name not in WRITE_FIELDS:
            raise LeadFieldError(f"{name} cannot be cleared")
        elif not null_clears:
            raise LeadFieldError(
                f"{name} cannot be cleared: this tenant takes null as unchanged (null_clears of the connection)"
            )
        elif now[name] not in (None, {}):
            body[name] = None
    if "leadData" not in clear and data != now["leadData"]:
        body["leadData"] = data
    if complete and row["completed"] is not True:
        body["isCompleted"] = True
    return body


def _checked(name: str, value: Any) -> Any:
    """A value as the vendor takes it. Raises LeadFieldError."""
    if name == "isCompleted":
        raise LeadFieldError(
            "isCompleted has a switch of its own (`complete`), because no lead can be reopened"
        )
    kind = WRITE_FIELDS.get(name)
    if kind is None:
        raise LeadFieldError(f"{name!r} is no field of a lead; known are {', '.join(WRITE_FIELDS)}")
    if kind is dict:
        return _checked_data(value)
    if kind is datetime:
        text = value.isoformat() if isinstance(value, datetime) else value
        if not isinstance(text, str) or not _is_time(text):
            raise LeadFieldError(f"{name} must be {_WORDS[kind]}")
        # The vendor shows `+1000` too, but takes date-time (RFC 3339), which wants the colon.
        value = datetime.fromisoformat(text.upper()).isoformat()
    elif not isinstance(value, kind) or isinstance(value, bool):
        raise LeadFieldError(f"{name} must be {_WORDS[kind]}")
    return value


def _checked_data(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise LeadFieldError("leadData must be an object")
    for name, inner in value.items():
        if inner is None:
            raise LeadFieldError(f"leadData.{name} must not be null; leave it out, or name it in `clear`")
    return dict(value)


def _is_time(text: str) -> bool:
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def _equal(name: str, now: Any, wanted: Any) -> bool:
    if WRITE_FIELDS[name] is datetime and isinstance(now, str) and _is_time(now):
        return parse_time(now) == parse_time(wanted)
    return bool(now == wanted)
