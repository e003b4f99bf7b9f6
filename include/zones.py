"""Time zones by name, and times of day in them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, StringConstraints


def known_zone(value: str) -> str:
    """Return an IANA zone name unchanged. Raises ValueError for a name that is none."""
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{value!r} is no IANA time zone; write one such as Australia/Sydney") from None
    return value


Zone = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True), AfterValidator(known_zone)]
"""A field of a flow file that names a time zone."""


def next_at(time_of_day: str, zone: str, after: datetime) -> datetime:
    """The first moment after another (aware) at which the clocks of a zone show a time of day (HH:MM)."""
    local = after.astimezone(ZoneInfo(zone))
    hour, minute = map(int, time_of_day.split(":"))
    at = local.replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
    return at if at > local else at + timedelta(days=1)
