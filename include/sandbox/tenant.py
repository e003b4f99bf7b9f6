"""What the sandbox's Platform tenant holds besides leads: campaigns, lists, users, activities, media.

All of it is made up, fixed, and derived from the leads, so that ids fit together: 250 activities (150 calls
to leads, 100 calls coming in), an attempt for each call to a lead, recordings and voicemails.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from include.sandbox.data import Leads, midnight
from include.sandbox.synthetic import SyntheticLeads

Json = dict[str, Any]
AnyLeads = Leads | SyntheticLeads

CAMPAIGNS: Final = {1: "Sales Outbound", 2: "Support Inbound", 3: "Renewals Outbound"}
INBOUND: Final = 2
LISTS: Final = {100: ("Nightly callers", 1), 101: ("Weekend callers", 1), 200: ("Renewals", 3)}
"""List id -> its name and its campaign."""

AGENTS: Final = {1001: "Agent 1001", 1002: "Agent 1002", 1003: "Agent 1003"}
USERS: Final[tuple[Json, ...]] = tuple(
    {
        "userId": user_id,
        "userName": name.lower().replace(" ", "."),
        "fullName": name,
        "userType": kind,
        "accountActive": active,
    }
    for user_id, name, kind, active in (
        *((agent_id, name, "agent", True) for agent_id, name in AGENTS.items()),
        (1004, "Agent 1004", "agent", False),
        (1051, "User 1051", "user", True),
        (1059, "User 1059", "user", True),
    )
)
STATUSES: Final = {0: "New", 1: "Answered", 2: "No Answer", 3: "Abandoned", 4: "Busy"}
OUTBOUND_CALLS: Final = 150
INBOUND_CALLS: Final = 100
DELETED_RECORDING: Final = 5364


@dataclass(frozen=True)
class Activity:
    """One call, in or out; `attempt_id`, `lead_id` and `number` belong to outbound calls."""

    activity_id: int
    campaign_id: int
    created: datetime
    agent_id: int
    recording: int
    voicemail: int | None
    attempt_id: int | None
    lead_id: int | None
    number: str

    @property
    def kind(self) -> str:
        """The activity's type, as the vendor spells it."""
        return "call.inbound" if self.attempt_id is None else "call.outbound"


def activities(leads: AnyLeads, today: date) -> list[Activity]:
    """Make the calls of yesterday's office hours, in the order of their ids."""
    opening = midnight(today - timedelta(days=1)) + timedelta(hours=9)
    called = (
        [lead for lead in leads.scan(0, None, None) if lead.list_id == 100]
        if isinstance(leads, Leads)
        else []
    )
    calls: list[Activity] = []
    for n in range(OUTBOUND_CALLS + INBOUND_CALLS):
        created = opening + timedelta(minutes=2 * n)
        outbound = n % 5 < 3  # three in five
        attempt = n // 5 * 3 + n % 5 + 1 if outbound else None
        lead = called[(attempt - 1) % len(called)] if attempt and called else None
        calls.append(
            Activity(
                activity_id=110 + n,
                campaign_id=1 if outbound else INBOUND,
                created=created,
                agent_id=1001 + n % 3,
                recording=5300 + n,
                voicemail=7000 + n if not outbound and n % 10 == 3 else None,
                attempt_id=attempt,
                lead_id=lead.lead_id if lead else None,
                number=next((phone for phone in lead.phones if phone), "") if lead else "8005550100",
            )
        )
    return calls
