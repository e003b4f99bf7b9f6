"""The Platform API (ipSCAPE): the 23 operations of one tenant, by their numbers in the contract (section 2).

Groups of operations have modules of their own: `platform_calls`, `platform_campaigns`, `platform_leads`,
`platform_bulk`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from include.sandbox.book import AnyLeads, LeadBook
from include.sandbox.clock import Clock
from include.sandbox.faults import Faults
from include.sandbox.history import History
from include.sandbox.pages import PREFIX, FieldError, Json, Pager
from include.sandbox.platform_bulk import Bulk
from include.sandbox.platform_calls import Calls
from include.sandbox.platform_campaigns import Campaigns
from include.sandbox.platform_leads import LeadDesk
from include.sandbox.shapes import Shapes
from include.sandbox.switches import PlatformSwitches
from include.sandbox.tenant import FIRST_LISTS, USERS

Handler = Callable[[Request], Awaitable[Response]]

TOKEN: Final = "sandbox-platform-token"  # noqa: S105  (fake on purpose)


def error_body(error: HTTPException, now: datetime) -> Json:
    """Write an error as PL-17 has it."""
    return {"message": error.detail, "errors": error.errors if isinstance(error, FieldError) else {}}


class Platform:
    """One tenant: its data, and the operations on it."""

    def __init__(
        self, leads: AnyLeads, today: date, switches: PlatformSwitches, clock: Clock, faults: Faults
    ) -> None:
        self._clock = clock
        self._leads = LeadBook(leads)
        self._lists = dict(FIRST_LISTS)
        self._history = History(self._leads, today)
        shapes = Shapes(switches, self._lists, self._history)
        pager = Pager(switches, faults)
        self._calls = Calls(self._history, shapes, pager, switches)
        self._campaigns = Campaigns(self._leads, self._lists, shapes, pager, clock)
        self._desk = LeadDesk(self._leads, self._lists, self._history, shapes, pager, switches, clock)
        self._bulk = Bulk(self._desk.new_lead, pager, switches, clock, faults)

    def routes(self) -> list[Route]:
        """List the operations; a route's name is what a fault rule calls `op`."""
        calls, campaigns, desk, bulk = self._calls, self._campaigns, self._desk, self._bulk
        operations: list[tuple[str, str, Handler]] = [
            ("GET", "/activities/{id:int}", calls.get_activity),
            ("GET", "/activities", calls.list_activities),
            ("GET", "/campaign/{id:int}/statistics/outbound", campaigns.outbound_statistics),
            ("GET", "/campaign/{id:int}/statistics/inbound", campaigns.inbound_statistics),
            ("GET", "/media/{id:int}", calls.get_media),
            ("GET", "/media/{id:int}/voicemail", calls.get_voicemail),
            ("GET", "/media/{id:int}/recording", calls.get_recording),
            ("GET", "/leads", desk.list_leads),
            ("POST", "/leads", desk.create_lead),
            ("GET", "/leads/lists", desk.list_lists),
            ("POST", "/leads/lists", desk.create_list),
            ("GET", "/leads/bulk/{uuid}", bulk.get_bulk),
            ("GET", "/leads/bulk/{uuid}/errors", bulk.list_bulk_errors),
            ("GET", "/leads/lists/{id:int}", desk.get_list),
            ("GET", "/leads/{id:int}", desk.get_lead),
            ("PUT", "/leads/{id:int}", desk.update_lead),
            ("DELETE", "/leads/{id:int}", desk.delete_lead),
            ("POST", "/leads/bulk", bulk.create_bulk),
            ("DELETE", "/customer", desk.delete_customer),
            ("GET", "/dialler/{id:int}", calls.get_attempt),
            ("GET", "/dialler", calls.list_attempts),
            ("GET", "/users", campaigns.list_users),
            ("PUT POST", "/availability", campaigns.update_availability),
        ]
        return [
            Route(
                f"{PREFIX}/v3.0{path}",
                self._guarded(handler),
                methods=methods.split(),
                name=f"platform:{handler.__name__}",
            )
            for methods, path, handler in operations
        ]

    def state(self, *, rows: bool) -> Json:
        """Tell a tester what the tenant holds; `written`: the leads that were not there at the start."""
        self._settle()
        counts: Json = {
            "leads": len(self._leads),
            "lists": {str(list_id): self._leads.count(list_id) for list_id in self._lists},
            "users": len(USERS),
        }
        written = [
            {
                "leadId": lead.lead_id,
                "listId": lead.list_id,
                "customerKey": lead.customer_key,
                "phones": lead.phones,
                "timezone": lead.timezone,
                "data": lead.data,
                "uploaded": lead.uploaded,
                "completed": lead.completed,
            }
            for lead in self._leads.added()
        ]
        return {
            "counts": counts | (self._history.counts() if rows else {}),
            "available": [agent for agent, is_available in self._campaigns.available.items() if is_available],
            "imports": self._bulk.state(),
            "written": written if rows else [],
        }

    def _settle(self) -> None:
        """Do what was due since the last call."""
        self._bulk.settle()
        self._leads.settle(self._clock.now())

    def _guarded(self, handler: Handler) -> Handler:
        """Ask for the token before anything else, and bring the tenant up to date."""

        async def guarded(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                raise HTTPException(401, "The token is missing or not valid.")
            self._settle()
            return await handler(request)

        return guarded
