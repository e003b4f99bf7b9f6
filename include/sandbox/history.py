"""The calls and e-mails of a Platform tenant, derived from its first leads each time somebody asks.

A lead that was attempted has one to eight calls to its first number, the last of them at its last attempt and with
its status. 100 calls came in by themselves. Nothing is kept but whose history was erased, so a million leads need no
memory. Ids are computed: a call's lead can be told from the call.

What outcome rules can find: numbers out of service (dial status 5, always), leads attempted six times and more,
and answered calls that ended with a wish not to be called (wrap code 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Final, NamedTuple

from include.sandbox.book import LeadBook
from include.sandbox.data import Lead, midnight
from include.sandbox.tenant import FIRST_LISTS, INBOUND

DIAL_STATUSES: Final = {1: "Answered", 2: "No Answer", 3: "Abandoned", 4: "Busy", 5: "Disconnected"}
ANSWERED: Final = 1
DISCONNECTED: Final = 5
WRAP_CODES: Final = {1: "Resolved", 2: "Call back", 3: "Not interested", 4: "Wrong number", 5: "Do not call"}
OPT_OUT: Final = 5

INBOUND_CALLS: Final = 100
DELETED_RECORDING: Final = 5364
_LONGEST: Final = timedelta(hours=10)
"""No call to a lead is later than this after its upload."""

_FIRST_INBOUND: Final = 110
_FIRST_RECORDING: Final = 5300
_FIRST_VOICEMAIL: Final = 7000
_ACTIVITIES: Final = 10_000
"""Activity id of an attempt = its attempt id + this; its recording has the same id."""
_BEFORE: Final = 100_000
"""Attempt id = (lead id - this) * 10 + 0 to 7; 9 is the lead's e-mail."""


class Activity(NamedTuple):
    """One contact: a call in or out, or an e-mail."""

    kind: str
    activity_id: int
    campaign_id: int
    created: datetime
    number: str
    """The other side's number, or e-mail address."""
    agent_id: int | None = None
    wrap_code: int | None = None
    recording: int | None = None
    voicemail: int | None = None
    attempt_id: int | None = None
    lead_id: int | None = None
    phone_index: int | None = None
    dial_status: int | None = None


def attempts(lead: Lead) -> list[Activity]:
    """Derive the calls to a lead, in the order of their ids and times."""
    numbers = [(index, phone) for index, phone in enumerate(lead.phones, 1) if phone and phone.strip()]
    if lead.last_attempt is None or lead.status_code is None or not numbers:
        return []
    draw = lead.lead_id * 2_654_435_761 >> 8 & 0xFFFF
    lot = draw % 100
    count = 6 + draw % 3 if lot < 4 else 2 + draw % 2 if lot < 20 else 1
    answered = lead.status_code == ANSWERED
    dead = lead.status_code == 2 and draw % 7 == 0
    index, number = numbers[0]
    first = (lead.lead_id - _BEFORE) * 10
    calls = []
    for place in range(count):
        last = place == count - 1
        status = DISCONNECTED if dead else lead.status_code if last else 2
        attempt = first + place
        wrap = (OPT_OUT if draw % 11 == 0 else 1 + draw % 4) if answered and last else None
        calls.append(
            Activity(
                "call.outbound",
                _ACTIVITIES + attempt,
                _campaign(lead),
                lead.uploaded + (lead.last_attempt - lead.uploaded) * (place + 1) / count,
                number,
                agent_id=lead.agent_id if wrap else None,
                wrap_code=wrap,
                recording=_ACTIVITIES + attempt if wrap else None,
                attempt_id=attempt,
                lead_id=lead.lead_id,
                phone_index=index,
                dial_status=status,
            )
        )
    return calls


def email(lead: Lead) -> str | None:
    """Return the e-mail address among a lead's free fields, if it has one."""
    for name, value in lead.data.items():
        if name.lower() in ("email", "emailaddress") and isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _campaign(lead: Lead) -> int:
    list_ = FIRST_LISTS.get(lead.list_id)
    return list_.campaign_id if list_ else 1


def _contacts(lead: Lead) -> list[Activity]:
    """Derive all activities of a lead: its calls, and one e-mail if it has an address."""
    address = email(lead)
    if address is None:
        return attempts(lead)
    place = _ACTIVITIES + (lead.lead_id - _BEFORE) * 10 + 9
    mail = Activity("email.inbound", place, _campaign(lead), lead.uploaded, address, lead_id=lead.lead_id)
    return [*attempts(lead), mail]


class History:
    """All activities of a tenant, in the order of their ids."""

    def __init__(self, leads: LeadBook, today: date) -> None:
        self._leads = leads
        self._erased: dict[int, datetime] = {}  # lead -> when its history was erased
        self._erased_inbound: dict[int, datetime] = {}
        opening = midnight(today - timedelta(days=1)) + timedelta(hours=9)
        self._inbound = {
            _FIRST_INBOUND + n: Activity(
                "call.inbound",
                _FIRST_INBOUND + n,
                INBOUND,
                opening + timedelta(minutes=5 * n),
                f"80055501{n:02d}",
                agent_id=1001 + n % 3,
                wrap_code=1 + n % 4,
                recording=_FIRST_RECORDING + n,
                voicemail=_FIRST_VOICEMAIL + n if n % 10 == 3 else None,
            )
            for n in range(INBOUND_CALLS)
        }

    def activities(
        self, after: int, lead_id: int | None, start: datetime | None, end: datetime | None
    ) -> Iterator[Activity]:
        """Yield activities with an id above `after`, at least those of a lead and of [start, end]."""
        if lead_id is None:
            for call in self._inbound.values():
                if call.activity_id > after and call.activity_id not in self._erased_inbound:
                    yield call
        for lead in self._remembered(_lead_of(after), lead_id, start, end):
            for contact in _contacts(lead):
                if contact.activity_id > after:
                    yield contact

    def attempts(
        self, after: int, lead_id: int | None, start: datetime | None, end: datetime | None
    ) -> Iterator[Activity]:
        """Yield calls to leads with an attempt id above `after`, at least those of a lead and of [start, end]."""
        for lead in self._remembered(_lead_of(after + _ACTIVITIES), lead_id, start, end):
            for call in attempts(lead):
                if (call.attempt_id or 0) > after:
                    yield call

    def activity(self, activity_id: int) -> Activity | None:
        """Return an activity, or None."""
        found = self._find(activity_id)
        return None if found is None or self.erased(found) else found

    def attempt(self, attempt_id: int) -> Activity | None:
        """Return a call to a lead, or None."""
        found = self.activity(attempt_id + _ACTIVITIES)
        return found if found is not None and found.attempt_id else None

    def recorded(self, media_id: int) -> Activity | None:
        """Return the call of a recording, an erased one too, or None."""
        found = self._find(
            media_id if media_id >= _ACTIVITIES else media_id - _FIRST_RECORDING + _FIRST_INBOUND
        )
        return found if found is not None and found.recording == media_id else None

    def left(self, media_id: int) -> Activity | None:
        """Return the call that left a voicemail, or None."""
        found = self.activity(media_id - _FIRST_VOICEMAIL + _FIRST_INBOUND)
        return found if found is not None and found.voicemail == media_id else None

    def erased(self, activity: Activity) -> datetime | None:
        """Tell when an activity was erased; None if it was not."""
        if activity.lead_id is None:
            return self._erased_inbound.get(activity.activity_id)
        return self._erased.get(activity.lead_id)

    def erase(self, same_number: Callable[[str], bool], gone: set[int], now: datetime) -> list[Activity]:
        """Erase what belongs to the leads `gone` and to whoever has the number or address; return it."""
        erased: list[Activity] = []
        for lead in self._remembered(0, None, None, None):
            contacts = _contacts(lead)
            if lead.lead_id in gone or any(same_number(contact.number) for contact in contacts):
                self._erased[lead.lead_id] = now
                erased += contacts
        for call in self._inbound.values():
            if call.activity_id not in self._erased_inbound and same_number(call.number):
                self._erased_inbound[call.activity_id] = now
                erased.append(call)
        return erased

    def counts(self) -> dict[str, int]:
        """Count activities, and the calls to leads among them."""
        kinds = [activity.kind for activity in self.activities(0, None, None, None)]
        return {"activities": len(kinds), "attempts": kinds.count("call.outbound")}

    def _find(self, activity_id: int) -> Activity | None:
        if activity_id < _ACTIVITIES:
            return self._inbound.get(activity_id)
        lead = self._origin(_lead_of(activity_id))
        return next((c for c in _contacts(lead) if c.activity_id == activity_id), None) if lead else None

    def _origin(self, lead_id: int) -> Lead | None:
        """Return a lead as it was at the start: what is written later does not change what happened."""
        return self._leads.first.get(lead_id) or self._leads.get(lead_id)

    def _remembered(
        self, first: int, lead_id: int | None, start: datetime | None, end: datetime | None
    ) -> Iterator[Lead]:
        """Yield leads from the id `first` on whose history was not erased."""
        if lead_id is not None:
            one = self._origin(lead_id)
            leads: Iterator[Lead] = iter([one] if one is not None and lead_id >= first else [])
        else:
            earlier = start - _LONGEST if start else None
            leads = chain(self._leads.first.scan(first - 1, earlier, end), self._leads.added(first - 1))
        return (lead for lead in leads if lead.lead_id not in self._erased)


def _lead_of(activity_id: int) -> int:
    """Return the lead whose activity an id is."""
    return _BEFORE + max(0, activity_id - _ACTIVITIES) // 10
