"""Calls as the Platform API shows them, as dialler calls (21) and as activities (2), read into rows of our own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from include.vendors.platform.answers import parse_time
from include.vendors.platform.leads import BadLeadError, int_of, text_of, times_of


def read_call(item: Mapping[str, Any]) -> dict[str, Any]:
    """Turn one dialler call (operation 20) into a row of `include.leads.schema.CALL_COLUMNS`, without a wrap code.

    Raises BadLeadError when it has no usable `attemptId` or a field holds what cannot be kept.
    """
    attempt = int_of(item, "attemptId")
    if attempt is None:
        raise BadLeadError("attemptId is missing")
    return {
        "call_key": str(attempt),
        "lead_id": int_of(item, "leadId"),
        "phone": text_of(item.get("phoneNumber")),
        "called_at": _began(item),
        "dial_status_id": int_of(item, "dialStatusId"),
        "dial_status": text_of(item.get("dialStatusName")),
        "wrap_code": None,
        "wrap": None,
        "inbound": False,
    }


def read_activity(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Turn one activity (operation 2) into a row of CALL_COLUMNS; None for what is no call, such as an e-mail.

    An outbound call has the key of its dialler call, so that the two can be put together; any other has one of its own.
    Raises BadLeadError when it has no usable id or a field holds what cannot be kept.
    """
    kind = item.get("type")
    if not isinstance(kind, str):
        raise BadLeadError("type must be a text")
    kind = kind.casefold()
    if not kind.startswith("call."):
        return None
    data = item.get("data")
    if not isinstance(data, dict):
        raise BadLeadError("data must be an object")
    activity, attempt = int_of(data, "activityId"), int_of(data, "attemptId")
    if activity is None:
        raise BadLeadError("activityId is missing")
    inbound = kind == "call.inbound"
    number = data.get("source") if inbound else data.get("phoneNumber") or data.get("destination")
    return {
        "call_key": f"activity {activity}" if attempt is None else str(attempt),
        "lead_id": int_of(data, "leadId"),
        "phone": text_of(number),
        "called_at": _began(data),
        "dial_status_id": int_of(data, "dialStatusId"),
        "dial_status": text_of(data.get("dialStatusName")),
        "wrap_code": int_of(data, "wrapCode"),
        "wrap": text_of(data.get("wrapDescription")),
        "inbound": inbound,
    }


def called_at(item: Mapping[str, Any]) -> datetime | None:
    """When a dialler call or an activity began; None when it does not say so in a form that can be read."""
    data = item.get("data")
    try:
        return _began(data if isinstance(data, dict) else item)
    except BadLeadError:
        return None


def _began(item: Mapping[str, Any]) -> datetime | None:
    """The earliest of its times: the vendor's page does not say how the times of a dialler call are named."""
    try:
        return min((parse_time(text) for text in times_of(item).values() if text), default=None)
    except (ValueError, TypeError):
        raise BadLeadError("timestamps must be times with an offset") from None
