"""The Platform API (ipSCAPE), reading side: leads, lists, activities, statistics, media, calls, users.

Contract: sections 2 to 4; operations 1 to 8, 10, 14, 15, 20, 21 and 22, as numbered there.
"""

from __future__ import annotations

import base64
from asyncio import sleep
from collections.abc import Awaitable, Callable, Iterator
from datetime import date, datetime
from typing import Final, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from include.sandbox.clock import Clock
from include.sandbox.data import ZONE
from include.sandbox.faults import Faults
from include.sandbox.gate import json_response
from include.sandbox.pages import FieldError, Json, Pager, Walk
from include.sandbox.shapes import LONG_AGO, PREFIX, Shapes
from include.sandbox.switches import PlatformSwitches
from include.sandbox.tenant import (
    CAMPAIGNS,
    DELETED_RECORDING,
    INBOUND,
    LISTS,
    USERS,
    AnyLeads,
    activities,
)

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]

TOKEN: Final = "sandbox-platform-token"  # noqa: S105  (fake on purpose)
RECORDING: Final = b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(256)
"""What every recording holds: an empty MP3 tag and silence."""


def error_body(error: HTTPException, now: datetime) -> Json:
    """Write an error as PL-17 has it."""
    return {"message": error.detail, "errors": error.errors if isinstance(error, FieldError) else {}}


class Platform:
    """One tenant: its data, and the operations on it."""

    def __init__(
        self, leads: AnyLeads, today: date, switches: PlatformSwitches, clock: Clock, faults: Faults
    ) -> None:
        self._leads = leads
        self._switches = switches
        self._clock = clock
        self._faults = faults
        self._pager = Pager()
        self._shapes = Shapes(switches)
        self._activities = activities(leads, today)
        self._by_activity = {call.activity_id: call for call in self._activities}
        self._by_attempt = {call.attempt_id: call for call in self._activities if call.attempt_id}
        self._by_recording = {call.recording: call for call in self._activities}
        self._by_voicemail = {call.voicemail: call for call in self._activities if call.voicemail}

    def routes(self) -> list[Route]:
        """List the operations; a route's name is what a fault rule calls `op`."""
        operations: list[tuple[str, str, Handler]] = [
            ("/activities", "list_activities", self.list_activities),
            ("/activities/{id:int}", "get_activity", self.get_activity),
            ("/campaign/{id:int}/statistics/outbound", "outbound_statistics", self.outbound_statistics),
            ("/campaign/{id:int}/statistics/inbound", "inbound_statistics", self.inbound_statistics),
            ("/media/{id:int}", "get_media", self.get_media),
            ("/media/{id:int}/voicemail", "get_voicemail", self.get_voicemail),
            ("/media/{id:int}/recording", "get_recording", self.get_recording),
            ("/leads", "list_leads", self.list_leads),
            ("/leads/lists", "list_lists", self.list_lists),
            ("/leads/lists/{id:int}", "get_list", self.get_list),
            ("/leads/{id:int}", "get_lead", self.get_lead),
            ("/dialler", "list_attempts", self.list_attempts),
            ("/dialler/{id:int}", "get_attempt", self.get_attempt),
            ("/users", "list_users", self.list_users),
        ]
        return [
            Route(f"{PREFIX}/v3.0{path}", _guarded(handler), methods=["GET"], name=f"platform:{name}")
            for path, name, handler in operations
        ]

    def state(self) -> Json:
        """Tell a tester what the tenant holds."""
        return {
            "counts": {
                "leads": len(self._leads),
                "lists": {str(list_id): self._leads.count(list_id) for list_id in LISTS},
                "activities": len(self._activities),
                "attempts": len(self._by_attempt),
                "users": len(USERS),
            }
        }

    # --- activities and dialler calls

    async def get_activity(self, request: Request) -> Response:
        """Answer one activity (1)."""
        return json_response(self._shapes.activity(_known(self._by_activity, request)))

    async def list_activities(self, request: Request) -> Response:
        """Answer a page of activities (2)."""
        campaign, lead = _int(request, "campaignId"), _int(request, "leadId")
        start, end = _time(request, "createdTimestampFrom"), _time(request, "createdTimestampTo")
        kind = _text(request, "activityType")
        walk = self._walk(request)
        calls = (
            call
            for call in self._activities
            if call.activity_id > walk.after
            and campaign in (None, call.campaign_id)
            and lead in (None, call.lead_id)
            and kind in (None, call.kind)
            and _within(call.created, start, end)
        )
        return await self._page(request, walk, calls, lambda call: call.activity_id, self._shapes.activity)

    async def get_attempt(self, request: Request) -> Response:
        """Answer one dialler call (20)."""
        return json_response(self._shapes.attempt(_known(self._by_attempt, request)))

    async def list_attempts(self, request: Request) -> Response:
        """Answer a page of dialler calls (21)."""
        campaign, lead = _int(request, "campaignId"), _int(request, "leadId")
        start, end = _time(request, "dialledTimestampFrom"), _time(request, "dialledTimestampTo")
        walk = self._walk(request)
        calls = (
            call
            for attempt_id, call in self._by_attempt.items()
            if attempt_id > walk.after
            and campaign in (None, call.campaign_id)
            and lead in (None, call.lead_id)
            and _within(call.created, start, end)
        )
        return await self._page(request, walk, calls, lambda call: call.attempt_id or 0, self._shapes.attempt)

    # --- campaigns

    async def outbound_statistics(self, request: Request) -> Response:
        """Answer the statistics of an outbound campaign (3)."""
        campaign = _known(CAMPAIGNS, request)
        campaign_id = request.path_params["id"]
        if campaign_id == INBOUND:
            raise HTTPException(404, "This campaign is not an outbound campaign.")
        lists = [
            {
                "listId": list_id,
                "listName": name,
                "inDialler": True,
                "total": (total := self._leads.count(list_id)),
                "completed": 0,
                "remaining": total,
            }
            for list_id, (name, owner) in LISTS.items()
            if owner == campaign_id
        ]
        created = self._shapes.stamp(LONG_AGO)
        return json_response(
            {
                "campaignId": campaign_id,
                "campaignName": campaign,
                "agents": _AGENT_COUNTS,
                "isActive": True,
                "createdDate": created,
                "lastUpdated": created,
                "lists": lists,
                "timestamp": self._shapes.stamp(self._clock.now()),
                "timezone": ZONE.key,
            }
        )

    async def inbound_statistics(self, request: Request) -> Response:
        """Answer the statistics of an inbound campaign (4)."""
        campaign = _known(CAMPAIGNS, request)
        if request.path_params["id"] != INBOUND:
            raise HTTPException(404, "This campaign is not an inbound campaign.")
        if _text(request, "period") not in (None, "hour", "day"):
            raise FieldError("period", "Must be hour or day.")
        return json_response(
            {
                "campaignId": INBOUND,
                "campaignName": campaign,
                "maxCallWaitingTime": 18,
                "averageWaitingTime": 9,
                "estimatedCallWaitingTime": 270,
                "agents": _AGENT_COUNTS,
                "callsWaiting": 0,
                "callsReceived": 2,
                "callsAbandonedInWorkflow": 0,
                "callsAbandonedInQueue": 0,
                "timestamp": self._shapes.stamp(self._clock.now()),
                "timezone": ZONE.key,
            }
        )

    # --- media

    async def get_media(self, request: Request) -> Response:
        """Answer the bytes of a recording or a voicemail (5)."""
        media_id = request.path_params["id"]
        if media_id == DELETED_RECORDING or media_id not in self._by_recording | self._by_voicemail:
            raise HTTPException(404, "The medium does not exist.")
        if self._switches.media_as_json:
            return json_response(base64.b64encode(RECORDING).decode())
        return Response(RECORDING, media_type="audio/mpeg")

    async def get_voicemail(self, request: Request) -> Response:
        """Answer what is known of a voicemail (6)."""
        _known(self._by_voicemail, request)
        return json_response(self._shapes.medium(request.path_params["id"]))

    async def get_recording(self, request: Request) -> Response:
        """Answer what is known of a recording, deleted or not (7)."""
        call = _known(self._by_recording, request)
        return json_response(self._shapes.recording(call))

    # --- leads and lists

    async def list_leads(self, request: Request) -> Response:
        """Answer a page of leads, in order of their ids (8)."""
        campaign, list_id = _int(request, "campaignId"), _int(request, "listId")
        status, key = _int(request, "statusCode"), _text(request, "customerKey")
        start, end = _time(request, "uploadedTimestampFrom"), _time(request, "uploadedTimestampTo")
        walk = self._walk(request)
        leads = (
            lead
            for lead in self._leads.scan(walk.after, start, end)
            if list_id in (None, lead.list_id)
            and campaign in (None, LISTS[lead.list_id][1])
            and status in (None, lead.status_code)
            and key in (None, lead.customer_key)
            and _within(lead.uploaded, start, end)
        )
        return await self._page(request, walk, leads, lambda lead: lead.lead_id, self._shapes.lead)

    async def get_lead(self, request: Request) -> Response:
        """Answer one lead (15)."""
        lead = self._leads.get(request.path_params["id"])
        if lead is None:
            raise HTTPException(404, "The lead does not exist.")
        return json_response(self._shapes.lead(lead))

    async def list_lists(self, request: Request) -> Response:
        """Answer a page of lists (10); here `campaignId` may not be null."""
        campaign = _int(request, "campaignId", nullable=False)
        walk = self._walk(request)
        found = (i for i, (_, owner) in LISTS.items() if i > walk.after and campaign in (None, owner))
        return await self._page(request, walk, found, lambda list_id: list_id, self._shapes.list)

    async def get_list(self, request: Request) -> Response:
        """Answer one list (14)."""
        _known(LISTS, request)
        return json_response(self._shapes.list(request.path_params["id"]))

    async def list_users(self, request: Request) -> Response:
        """Answer a page of users (22)."""
        kind, active = _text(request, "userType"), _text(request, "accountActive")
        if kind not in (None, "agent", "user"):
            raise FieldError("userType", "Must be agent or user.")
        if active not in (None, "true", "false"):
            raise FieldError("accountActive", "Must be true or false.")
        walk = self._walk(request)
        users = (
            user
            for user in USERS
            if user["userId"] > walk.after
            and kind in (None, user["userType"])
            and active in (None, str(user["accountActive"]).lower())
        )
        return await self._page(request, walk, users, lambda user: int(user["userId"]), lambda user: user)

    # --- pages

    def _walk(self, request: Request) -> Walk:
        path = request.url.path
        return Walk(
            path.removeprefix(PREFIX) if self._switches.uri_without_prefix else path, request.query_params
        )

    async def _page(
        self,
        request: Request,
        walk: Walk,
        rows: Iterator[T],
        place: Callable[[T], int],
        shape: Callable[[T], Json],
    ) -> Response:
        await sleep(self._switches.page_delay_ms / 1000)
        operation = request.scope["sandbox.operation"]
        rules = self._faults.fire("platform", "page", operation, request.scope["sandbox.uri"])
        return json_response(self._pager.page(walk, rows, self._switches.page_size, place, shape, rules))


_AGENT_COUNTS: Final = {"loggedIn": 3, "available": 2, "onCall": 1, "wrapUp": 0, "paused": 0}


def _guarded(handler: Handler) -> Handler:
    """Ask for the token before anything else."""

    async def guarded(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise HTTPException(401, "The token is missing or not valid.")
        return await handler(request)

    return guarded


def _known(things: dict[int, T], request: Request) -> T:
    """Return what the path's id names, or answer 404."""
    thing = things.get(request.path_params["id"])
    if thing is None:
        raise HTTPException(404, "There is nothing with this id.")
    return thing


def _text(request: Request, name: str) -> str | None:
    """Read a text parameter; absent, empty and `null` are the same."""
    value = request.query_params.get(name)
    return None if value in (None, "", "null") else value


def _int(request: Request, name: str, *, nullable: bool = True) -> int | None:
    """Read an integer parameter."""
    value = _text(request, name)
    if value is None and (nullable or name not in request.query_params):
        return None
    try:
        return int(value or "")
    except ValueError:
        raise FieldError(name, "Must be an integer.") from None


def _time(request: Request, name: str) -> datetime | None:
    """Read a time parameter: ISO 8601 with an offset, as +10:00, +1000 or Z."""
    value = _text(request, name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise FieldError(name, "Must be an ISO 8601 time with an offset.")
    return moment


def _within(moment: datetime, start: datetime | None, end: datetime | None) -> bool:
    """Tell whether a moment lies in a window; both ends belong to it (PL-15)."""
    return (start is None or moment >= start) and (end is None or moment <= end)
