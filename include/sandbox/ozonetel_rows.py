"""What Ozonetel does with rows: mapping files, the rules of a row, duplicates (contract sections 2, 3, 5)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

from include.sandbox.switches import OzonetelSwitches

PHONE: Final = "PhoneNumber"
MOST_CHARACTERS: Final = 2000
DUPLICATE: Final = "Duplicate"

Json = dict[str, Any]
Against = Literal["nothing", "campaign", "campaign and payload"]
"""What the numbers of a load are compared with."""


@dataclass(slots=True)
class Lead:
    """A row in a campaign: its cells as text, by the map of the load that brought it."""

    header: tuple[str, ...]
    cells: tuple[str, ...]
    transaction: str
    status: str = "New"

    @property
    def phone(self) -> str:
        """The number as it was sent."""
        return self.cells[self.header.index(PHONE)]

    def told(self) -> Json:
        """Return the lead as testers see it."""
        cells = dict(zip(self.header, self.cells, strict=True))
        return {**cells, "status": self.status, "transactionId": self.transaction}


@dataclass
class Campaign:
    """A campaign, its mapping file and its leads; `needs` is the header without which nobody could dial a row."""

    mapping: tuple[str, ...]
    needs: str | None = None
    inbound: bool = False
    running: bool = False
    leads: list[Lead] = field(default_factory=list)
    _numbers: set[str] = field(default_factory=set)
    _reading: str = ""

    def told(self, *, rows: bool) -> Json:
        """Return the campaign as testers see it."""
        return {
            "kind": "inbound" if self.inbound else "outbound",
            "mapping": self.mapping,
            "needs": self.needs,
            "state": "running" if self.running else "stopped",
            "leads": [lead.told() for lead in self.leads] if rows else [],
        }

    def numbers(self, reading: str) -> set[str]:
        """Return the numbers in the campaign, whatever the status of their leads, as duplicates are found by."""
        if reading != self._reading:
            self._reading = reading
            self._numbers = {READINGS[reading](lead.phone) for lead in self.leads}
        return self._numbers

    def add(self, leads: list[Lead]) -> None:
        """Take new leads."""
        self.leads += leads
        if self._reading:
            self._numbers.update(READINGS[self._reading](lead.phone) for lead in leads)


def campaigns() -> dict[str, Campaign]:
    """Make the account's campaigns, by name, without leads and stopped."""
    data = ("CustomerKey", "State", "Subject", "Zip")
    return {
        "Collections nightly": Campaign((PHONE, "Name", "Priority", "ExpiryDate", *data)),
        "Win-back": Campaign((PHONE, "Name", "Priority", "ExpiryDate", "CustomerKey")),
        "Renewals": Campaign((PHONE, "Name", "Priority")),
        "Own customers": Campaign((PHONE, "Name", "Priority", "AgentId"), needs="AgentId"),
        "Technical follow-up": Campaign((PHONE, "Name", "Priority", "skill"), needs="skill"),
        "Support hotline": Campaign((), inbound=True),
    }


def _digits(phone: str) -> str:
    return re.sub(r"[^0-9]", "", phone)


READINGS: Final[dict[str, Callable[[str], str]]] = {
    "digits": _digits,
    "text": lambda phone: phone,
    "last_10_digits": lambda phone: _digits(phone)[-10:],
}
"""What of a number is compared (OZ-15)."""


def fits(campaign: Campaign, header: list[Any], rows: list[Any]) -> bool:
    """Tell whether map, mapping file and data fit each other at all; if not, the whole load fails later (OZ-18)."""
    return (
        PHONE in header
        and all(name in campaign.mapping for name in header)
        and len(set(header)) == len(header)
        and (campaign.needs is None or campaign.needs in header)
        and any(isinstance(row, list) and len(row) == len(header) for row in rows)
    )


def text(cell: Any) -> str:
    """Return a cell as text: null is empty, numbers are as JSON has them."""
    if isinstance(cell, str):
        return cell
    return "" if cell is None else json.dumps(cell, ensure_ascii=False)


def sort_rows(
    campaign: Campaign,
    transaction: str,
    header: list[str],
    rows: list[Any],
    against: Against,
    switches: OzonetelSwitches,
) -> tuple[list[Lead], list[tuple[list[str], str]]]:
    """Part the rows, in their order, into leads to add and (cells, reason) of the others; adds nothing."""
    names, leads, failed = tuple(header), [], []
    key = READINGS[switches.duplicate_key]
    there = campaign.numbers(switches.duplicate_key)
    seen: set[str] = set()
    for row in rows:
        cells = [text(cell) for cell in row] if isinstance(row, list) else [text(row)]
        problem = _problem(campaign, header, cells, switches)
        if problem is None and against != "nothing":
            number = key(cells[header.index(PHONE)])
            if number in there or (against == "campaign and payload" and number in seen):
                problem = DUPLICATE
            seen.add(number)
        if problem is None:
            leads.append(Lead(names, tuple(cells), transaction))
        else:
            failed.append((cells, problem))
    return leads, failed


def _problem(
    campaign: Campaign, header: list[str], cells: list[str], switches: OzonetelSwitches
) -> str | None:
    """Return the first rule that a row breaks (OZ-4, OZ-5)."""
    if len(cells) != len(header):
        return "Column count mismatch"
    if LENGTHS[switches.row_length](header, cells) > MOST_CHARACTERS:
        return "Row exceeds 2000 characters"
    for name, cell in zip(header, cells, strict=True):
        if name in _RULES and not _RULES[name](cell):
            return f"Invalid {name}"
        if name == campaign.needs and not cell.strip():
            return f"{name} is required"
    return None


LENGTHS: Final[dict[str, Callable[[list[str], list[str]], int]]] = {
    "names_and_values": lambda header, cells: sum(map(len, header)) + sum(map(len, cells)),
    "values": lambda header, cells: sum(map(len, cells)),
    "json": lambda header, cells: len(json.dumps(dict(zip(header, cells, strict=True)), ensure_ascii=False)),
}
"""How the characters of a row are counted (OZ-4)."""


def _is_date(cell: str) -> bool:
    try:
        return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", cell) is not None and bool(
            date.fromisoformat(cell)
        )
    except ValueError:
        return False


_RULES: Final[dict[str, Callable[[str], bool]]] = {
    PHONE: lambda cell: re.fullmatch(r"\+?[0-9]{7,15}", cell) is not None,
    "Name": lambda cell: re.fullmatch(r"[A-Za-z0-9_ ().+$%:\-]*", cell) is not None,
    "Priority": lambda cell: not cell or re.fullmatch(r"[1-9][0-9]?", cell) is not None,
    "ExpiryDate": lambda cell: not cell or _is_date(cell),
}
