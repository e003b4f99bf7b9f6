"""Leads and lists of the Platform API (8 to 11, 14 to 17), and the erasure of a customer (19)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from include.sandbox.book import LeadBook
from include.sandbox.clock import Clock
from include.sandbox.data import Lead
from include.sandbox.gate import json_response
from include.sandbox.history import History, email
from include.sandbox.pages import FieldError, Pager
from include.sandbox.platform_request import (
    body,
    changed,
    digits,
    found,
    integer,
    known,
    lead_fields,
    moment,
    needed,
    text,
    within,
)
from include.sandbox.shapes import Shapes
from include.sandbox.switches import PlatformSwitches
from include.sandbox.tenant import CAMPAIGNS, LeadList


class LeadDesk:
    """The leads, their lists, and everything that changes them one by one."""

    def __init__(
        self,
        leads: LeadBook,
        lists: dict[int, LeadList],
        history: History,
        shapes: Shapes,
        pager: Pager,
        switches: PlatformSwitches,
        clock: Clock,
    ) -> None:
        self._leads = leads
        self._lists = lists
        self._history = history
        self._shapes = shapes
        self._pager = pager
        self._switches = switches
        self._clock = clock

    async def list_leads(self, request: Request) -> Response:
        """Answer a page of leads, in order of their ids (8)."""
        campaign, list_id = integer(request, "campaignId"), integer(request, "listId")
        status, key = integer(request, "statusCode"), text(request, "customerKey")
        start, end = moment(request, "uploadedTimestampFrom"), moment(request, "uploadedTimestampTo")
        walk = self._pager.walk(request)
        scanned: Iterator[Lead] = (
            self._leads.scan(walk.after, start, end) if key is None else self._leads.with_key(key, walk.after)
        )
        leads = (
            lead
            for lead in scanned
            if list_id in (None, lead.list_id)
            and campaign in (None, self._lists[lead.list_id].campaign_id)
            and status in (None, lead.status_code)
            and within(lead.uploaded, start, end)
        )
        return await self._pager.answer(request, walk, leads, lambda lead: lead.lead_id, self._shapes.lead)

    async def get_lead(self, request: Request) -> Response:
        """Answer one lead (15)."""
        return json_response(self._shapes.lead(self._known(request)))

    async def create_lead(self, request: Request) -> Response:
        """Create a lead (9); `inDialler` is false when its list is not loaded."""
        lead = self.new_lead(await body(request))
        answer = {"leadId": lead.lead_id, "inDialler": self._lists[lead.list_id].in_dialler}
        return json_response(answer, self._switches.created_status)

    def new_lead(self, asked: Any) -> Lead:
        """Add the lead that an object describes, or raise FieldError."""
        if not isinstance(asked, dict):
            raise FieldError("lead", "Must be an object.")
        fields = lead_fields(asked, self._lists, new=True)
        fields.pop("completed", None)  # no field of creating
        key = fields.get("customer_key")
        repeated = key is not None and any(
            other.list_id == fields["list_id"] for other in self._leads.with_key(key)
        )
        if repeated and self._switches.reject_duplicate_customer_key:
            raise FieldError("customerKey", "The list has a lead with this key.")
        blank = Lead(0, fields["list_id"], None, None, (None, None, None), self._clock.now(), {})
        return self._leads.add(changed(blank, fields, null_clears=False))

    async def update_lead(self, request: Request) -> Response:
        """Change the fields of a lead that the body names (16); a completed lead is never reopened."""
        lead = self._known(request)
        fields = lead_fields(await body(request), self._lists, new=False)
        if fields.get("completed") is False and lead.completed:
            raise FieldError("isCompleted", "A completed lead cannot be reopened.")
        lead = changed(lead, fields, null_clears=self._switches.null_clears)
        self._leads.put(lead)
        if self._switches.update_answers_lead:
            return json_response(self._shapes.lead(lead))
        return Response(status_code=204)

    async def delete_lead(self, request: Request) -> Response:
        """Delete a lead (17)."""
        self._leads.delete(self._known(request).lead_id)
        return Response(status_code=204)

    # --- lists

    async def list_lists(self, request: Request) -> Response:
        """Answer a page of lists (10); here `campaignId` may not be null."""
        campaign = integer(request, "campaignId", nullable=False)
        walk = self._pager.walk(request)
        lists = (
            list_id
            for list_id, list_ in self._lists.items()
            if list_id > walk.after and campaign in (None, list_.campaign_id)
        )
        return await self._pager.answer(request, walk, lists, lambda list_id: list_id, self._shapes.list)

    async def get_list(self, request: Request) -> Response:
        """Answer one list (14)."""
        known(self._lists, request)
        return json_response(self._shapes.list(request.path_params["id"]))

    async def create_list(self, request: Request) -> Response:
        """Create a list (11), empty and not loaded; names may repeat."""
        asked = await body(request)
        name, campaign_id = needed(asked, "listName", str), needed(asked, "campaignId", int)
        if campaign_id not in CAMPAIGNS:
            raise HTTPException(404, "There is no such campaign.")
        list_id = max(self._lists) + 1
        self._lists[list_id] = LeadList(name, campaign_id, in_dialler=False, created=self._clock.now())
        answer = {"listName": name, "campaignId": campaign_id, "listId": list_id}
        return json_response(answer, self._switches.created_status)

    # --- erasure

    async def delete_customer(self, request: Request) -> Response:
        """Erase all leads, calls and e-mails of a phone number or an e-mail address (19, PL-12)."""
        number, address = text(request, "phoneNumber"), text(request, "emailAddress")
        if number is None and address is None:
            raise FieldError("phoneNumber", "Give phoneNumber, emailAddress, or both.")
        bare = digits(number) if number else ""

        def same(other: str) -> bool:
            """Tell whether a number or an address is the customer's, however it is written."""
            if "@" in other:
                return address is not None and other.casefold() == address.strip().casefold()
            return bool(bare) and digits(other) == bare

        def theirs(lead: Lead) -> bool:
            mail = email(lead)
            return any(phone and same(phone) for phone in lead.phones) or (mail is not None and same(mail))

        gone = [lead for lead in self._leads.scan(0, None, None) if theirs(lead)]
        erased = self._history.erase(same, {lead.lead_id for lead in gone}, self._clock.now())
        for lead in gone:
            self._leads.delete(lead.lead_id)
            if self._switches.erased_come_back_at is not None:
                self._leads.come(
                    lead._replace(
                        uploaded=self._switches.erased_come_back_at,
                        status_code=None,
                        agent_id=None,
                        completed=False,
                        last_attempt=None,
                        next_attempt=None,
                    )
                )
        mails = sum(activity.kind.startswith("email") for activity in erased)
        return json_response(
            {
                "callData": {"deleted": len(erased) - mails},
                "emailData": {"deleted": mails},
                "leadData": {"deleted": len(gone)},
            }
        )

    def _known(self, request: Request) -> Lead:
        return found(self._leads.get(request.path_params["id"]))
