"""Erasure of a customer at the Platform API (operation 19), and what it counts as proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from include.vendors.bodies import whole_number
from include.vendors.platform.answers import lost


@dataclass(frozen=True)
class Erased:
    """What the vendor says it deleted, None where it does not count (PL-12)."""

    calls: int | None
    emails: int | None
    leads: int | None


def customer_params(phone: str | None, email: str | None) -> dict[str, str]:
    """The query of an erasure. Raises ValueError with neither: the vendor documents both as optional, and nobody
    knows whom it would erase then.
    """
    found = {"phoneNumber": phone, "emailAddress": email}
    params = {name: value for name, value in found.items() if value}
    if not params:
        raise ValueError("An erasure needs a phone number or an e-mail address.")
    return params


def read_erased(answer: Mapping[str, Any]) -> Erased:
    """Read the counts of an erasure. Raises LostAnswerError without any of its three parts."""
    if not {"callData", "emailData", "leadData"} & set(answer):
        raise lost("answered an erasure without saying what it erased", 200)
    return Erased(*(_deleted(answer.get(name)) for name in ("callData", "emailData", "leadData")))


def _deleted(part: Any) -> int | None:
    return whole_number(part.get("deleted") if isinstance(part, dict) else part)
