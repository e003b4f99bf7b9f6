"""Campaign statistics, users and agents of the Platform API (3, 4, 22, 23)."""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from include.sandbox.book import LeadBook
from include.sandbox.clock import Clock
from include.sandbox.data import ZONE
from include.sandbox.gate import json_response
from include.sandbox.pages import FieldError, Json, Pager
from include.sandbox.platform_request import body, known, needed, text
from include.sandbox.shapes import Shapes
from include.sandbox.tenant import AGENTS, CAMPAIGNS, INBOUND, LONG_AGO, USERS, LeadList

_AVAILABLE_AT_FIRST: Final = {1001: True, 1002: True, 1003: False}


class Campaigns:
    """The campaigns, and the people who work in them."""

    def __init__(
        self, leads: LeadBook, lists: dict[int, LeadList], shapes: Shapes, pager: Pager, clock: Clock
    ) -> None:
        self._leads = leads
        self._lists = lists
        self._shapes = shapes
        self._pager = pager
        self._clock = clock
        self.available = dict(_AVAILABLE_AT_FIRST)

    async def outbound_statistics(self, request: Request) -> Response:
        """Answer the statistics of an outbound campaign (3)."""
        campaign = known(CAMPAIGNS, request)
        campaign_id = request.path_params["id"]
        if campaign_id == INBOUND:
            raise HTTPException(404, "This campaign is not an outbound campaign.")
        lists = [
            {
                "listId": list_id,
                "listName": list_.name,
                "inDialler": list_.in_dialler,
                "total": (total := self._leads.count(list_id)),
                "completed": (completed := self._leads.count(list_id, completed=True)),
                "remaining": total - completed,
            }
            for list_id, list_ in self._lists.items()
            if list_.campaign_id == campaign_id
        ]
        created = self._shapes.stamp(LONG_AGO)
        return json_response(
            {
                "campaignId": campaign_id,
                "campaignName": campaign,
                "agents": self._agents(),
                "isActive": True,
                "createdDate": created,
                "lastUpdated": created,
                "lists": lists,
                "timestamp": self._shapes.stamp(self._clock.now()),
                "timezone": ZONE.key,
            }
        )

    async def inbound_statistics(self, request: Request) -> Response:
        """Answer the statistics of an inbound campaign (4): of the hour, or with `period=day` of the day."""
        campaign = known(CAMPAIGNS, request)
        if request.path_params["id"] != INBOUND:
            raise HTTPException(404, "This campaign is not an inbound campaign.")
        period = text(request, "period")
        if period not in (None, "hour", "day"):
            raise FieldError("period", "Must be hour or day.")
        return json_response(
            {
                "campaignId": INBOUND,
                "campaignName": campaign,
                "maxCallWaitingTime": 18,
                "averageWaitingTime": 9,
                "estimatedCallWaitingTime": 270,
                "agents": self._agents(),
                "callsWaiting": 0,
                "callsReceived": 16 if period == "day" else 2,
                "callsAbandonedInWorkflow": 0,
                "callsAbandonedInQueue": 0,
                "timestamp": self._shapes.stamp(self._clock.now()),
                "timezone": ZONE.key,
            }
        )

    async def list_users(self, request: Request) -> Response:
        """Answer a page of users (22)."""
        kind, active = text(request, "userType"), text(request, "accountActive")
        if kind not in (None, "agent", "user"):
            raise FieldError("userType", "Must be agent or user.")
        if active not in (None, "true", "false"):
            raise FieldError("accountActive", "Must be true or false.")
        walk = self._pager.walk(request)
        users = (
            user
            for user in USERS
            if user["userId"] > walk.after
            and kind in (None, user["userType"])
            and active in (None, str(user["accountActive"]).lower())
        )
        return await self._pager.answer(
            request, walk, users, lambda user: int(user["userId"]), lambda user: user
        )

    async def update_availability(self, request: Request) -> Response:
        """Set whether an agent is available (23)."""
        asked = await body(request)
        agent, available = needed(asked, "agentId", int), needed(asked, "available", bool)
        if agent not in AGENTS:
            raise HTTPException(404, "There is no such agent.")
        self.available[agent] = available
        return json_response({"agentId": agent, "available": available})

    def _agents(self) -> Json:
        """Count the agents (PL-5); who has ever been set is logged in."""
        available = sum(self.available.values())
        return {
            "loggedIn": len(self.available),
            "available": available,
            "onCall": 0,
            "wrapUp": 0,
            "paused": len(self.available) - available,
        }
