"""Leads as the Platform API shows them (operations 8 and 15), read into rows of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from include.vendors.platform.answers import parse_time


class BadLeadError(ValueError):
    """One lead of a page cannot be kept; the message names the field and the rule, never the value."""


def read_lead(item: Mapping[str, Any]) -> dict[str, Any]:
    """Turn one lead (operation 15) into a row of `include.leads.schema.LEAD_COLUMNS`.

    Raises BadLeadError when it has no usable `leadId` or a field holds what cannot be kept: such a lead becomes
    a reject, the page goes on.
    """
    lead_id = int_of(item, "leadId")
    if lead_id is None:
        raise BadLeadError("leadId is missing")
    times = times_of(item)
    uploaded = text_of(times.get("uploaded"))
    data = item.get("dataFields")
    return {
        "row_key": str(lead_id),
        "lead_id": lead_id,
        "customer_key": text_of(item.get("customerKey")),
        "list_id": int_of(item, "listId"),
        "campaign_id": int_of(item, "campaignId"),
        "timezone": text_of(item.get("timezone")),
        **_phones(item.get("phones")),
        "status_code": int_of(item, "lastStatusCode"),
        "agent_id": int_of(item, "agentId"),
        "completed": item["completed"] if isinstance(item.get("completed"), bool) else None,
        "uploaded": uploaded,
        "uploaded_at": _uploaded_at(uploaded),
        "last_attempt": text_of(times.get("lastAttempt")),
        "next_attempt": text_of(times.get("nextAttempt")),
        "data": orjson.dumps(data if isinstance(data, dict) else {}).decode(),
    }


def uploaded_at(item: Mapping[str, Any]) -> datetime | None:
    """When a lead was uploaded; None when it does not say so, or not in a form that the vendor is known to use."""
    try:
        return _uploaded_at(text_of(times_of(item).get("uploaded")))
    except BadLeadError:
        return None


def text_of(value: Any) -> str | None:
    """A field as text, null as None; what is no text is written as JSON writes it."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def times_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an item says under `timestamps`."""
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
            found[place] = text_of(number)
    return found


def int_of(item: Mapping[str, Any], name: str) -> int | None:
    """A field that is a whole number or null. Raises BadLeadError for anything else."""
    value = item.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63):
        return value
    raise BadLeadError(f"{name} must be a whole number of 64 bits")


def _uploaded_at(text: str | None) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except ValueError:
        raise BadLeadError("timestamps.uploaded must be a time with an offset") from None
