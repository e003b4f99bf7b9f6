"""What the sandbox's Platform tenant holds besides leads and calls: campaigns, lists, users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from include.sandbox.data import ZONE

Json = dict[str, Any]

LONG_AGO: Final = datetime(2020, 7, 6, 13, 55, 6, tzinfo=ZONE)
"""When everything that has no date of its own was made."""

CAMPAIGNS: Final = {1: "Sales Outbound", 2: "Support Inbound", 3: "Renewals Outbound"}
INBOUND: Final = 2


@dataclass(frozen=True)
class LeadList:
    """A list of leads; `in_dialler` tells whether it is loaded, so that its leads are called."""

    name: str
    campaign_id: int
    in_dialler: bool = True
    created: datetime = LONG_AGO


FIRST_LISTS: Final = {
    100: LeadList("Nightly callers", 1),
    101: LeadList("Weekend callers", 1),
    200: LeadList("Renewals", 3),
    300: LeadList("Win-back", 3, in_dialler=False),
}
"""The lists at the start, by id; the last one is empty, for writing."""

AGENTS: Final = {1001: "Agent 1001", 1002: "Agent 1002", 1003: "Agent 1003", 1004: "Agent 1004"}
"""All agents; the last one's account is not active."""

USERS: Final[tuple[Json, ...]] = tuple(
    {
        "userId": user_id,
        "userName": name.lower().replace(" ", "."),
        "fullName": name,
        "userType": kind,
        "accountActive": active,
    }
    for user_id, name, kind, active in (
        *((agent_id, name, "agent", agent_id != 1004) for agent_id, name in AGENTS.items()),
        (1051, "User 1051", "user", True),
        (1059, "User 1059", "user", True),
    )
)
STATUSES: Final = {0: "New", 1: "Answered", 2: "No Answer", 3: "Abandoned", 4: "Busy"}
"""What became of a lead, by status code."""
