"""Puts the vendors together on one port, and adds the control paths under `/_sandbox`.

| path | what it does |
| --- | --- |
| `GET /_sandbox` | addresses, fake keys, what the data is |
| `POST /_sandbox/reset` | all as at the start: data, lists, loads, faults, switches, real time |
| `POST /_sandbox/clock` | `{"now": "2026-11-21T02:00:00Z"}`, it runs on from there; `null` = real time; and `speed` |
| `GET, POST, DELETE /_sandbox/faults` | the rules (`faults.py`); POST adds one, or a list of them |
| `GET, POST /_sandbox/switches` | the switches (`switches.py`); POST changes those that it names |
| `GET /_sandbox/state/<vendor>` | what it holds and what was called; `?rows=false` leaves rows out |
| `POST /_sandbox/vicidial/edit` | `{"lead_id": 7, "status": "SALE"}`: an agent edits a lead |
| `POST /_sandbox/ozonetel/dial` | `{"campaign": "Win-back", "leads": 3}`: it calls its first new leads |
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from include.sandbox import isales, ozonetel, platform, purecallerid, vicidial
from include.sandbox.book import AnyLeads
from include.sandbox.clock import Clock
from include.sandbox.data import ZONE
from include.sandbox.dialer import FIVE9_LISTS, RINGCX_LISTS
from include.sandbox.faults import Faults, Rule
from include.sandbox.gate import Gate, Journal, json_response
from include.sandbox.pages import PREFIX
from include.sandbox.sftp import SftpServer
from include.sandbox.switches import Switches
from include.sandbox.vicidial_db import VicidialDatabase

MakeLeads = Callable[[date], AnyLeads]
"""Makes a tenant's leads as they are on the morning of a day."""


class _Time(BaseModel):
    model_config = ConfigDict(extra="forbid")
    now: datetime | None = None
    speed: float = Field(default=1, gt=0, le=1_000)

    @model_validator(mode="after")
    def _says_something(self) -> _Time:
        if not self.model_fields_set:
            raise ValueError("name now, speed, or both")
        return self


_ERROR_BODIES: Final[dict[str, Callable[[HTTPException, datetime], dict[str, Any] | None]]] = {
    "platform": platform.error_body,
    "purecallerid": purecallerid.error_body,
    "vicidial": vicidial.error_body,
    "isales": isales.error_body,
    "ozonetel": ozonetel.error_body,
}
_RULES: TypeAdapter[list[Rule]] = TypeAdapter(list[Rule])


class Sandbox:
    """An ASGI app: all vendors, and the controls over them."""

    def __init__(
        self,
        make_leads: MakeLeads,
        switches: Switches,
        vicidial_database: VicidialDatabase,
        vicidial_leads: int,
        sftp: SftpServer,
    ) -> None:
        self._make_leads = make_leads
        self._vicidial_database = vicidial_database
        self._vicidial_leads = vicidial_leads
        self._sftp = sftp
        self._first_switches = switches
        self.clock = Clock()
        self._begin()

    def _begin(self) -> None:
        """Build everything as it is at the start."""
        self.clock.set(None)
        self.switches = self._first_switches.model_copy(deep=True)
        self.faults = Faults()
        self.journal = Journal()
        today = self.clock.now().astimezone(ZONE).date()
        self.leads = self._make_leads(today)
        self.platform = platform.Platform(self.leads, today, self.switches.platform, self.clock, self.faults)
        self.purecallerid = purecallerid.PureCallerId(self.switches.purecallerid, self.clock, self.faults)
        self.vicidial = vicidial.Vicidial(
            self._vicidial_database, self._vicidial_leads, self.switches.vicidial, self.clock, self.faults
        )
        self._sftp.begin(self.faults)
        self.isales = isales.Isales(self._sftp, self.switches.isales, self.clock, self.faults)
        self.ozonetel = ozonetel.Ozonetel(self.switches.ozonetel, self.clock, self.faults)
        vendors = [
            *self.platform.routes(),
            *self.purecallerid.routes(),
            *self.vicidial.routes(),
            *self.isales.routes(),
            *self.ozonetel.routes(),
        ]
        controls = [
            Route("/_sandbox", self._tell, methods=["GET"]),
            Route("/_sandbox/reset", self._reset, methods=["POST"]),
            Route("/_sandbox/clock", self._clock, methods=["GET", "POST"]),
            Route("/_sandbox/faults", self._faults, methods=["GET", "POST", "DELETE"]),
            Route("/_sandbox/switches", self._switches, methods=["GET", "POST"]),
            Route("/_sandbox/state/{vendor}", self._state, methods=["GET"]),
            Route("/_sandbox/vicidial/edit", self._edit, methods=["POST"]),
            Route("/_sandbox/ozonetel/dial", self._dial, methods=["POST"]),
        ]
        handlers = {HTTPException: self._http_error, ValidationError: _invalid}
        app = Starlette(routes=[*controls, *vendors], exception_handlers=handlers)
        app.router.redirect_slashes = False
        self._gate = Gate(app, vendors, self.refuse, self.faults, self.journal, self.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        await self._gate(scope, receive, send)

    def refuse(self, vendor: str, error: HTTPException) -> Response:
        """Answer with an error in the vendor's own shape."""
        body = _ERROR_BODIES[vendor](error, self.clock.now())
        answer = (
            Response(status_code=error.status_code)
            if body is None
            else json_response(body, error.status_code)
        )
        answer.headers.update(error.headers or {})
        return answer

    async def _http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        if path.startswith("/_sandbox"):
            return json_response({"error": error.detail}, error.status_code)
        prefixes = {
            "/api/public": "purecallerid",
            vicidial.PREFIX: "vicidial",
            isales.PREFIX: "isales",
            ozonetel.PREFIX: "ozonetel",
            ozonetel.FILES: "ozonetel",
        }
        vendor = next((name for prefix, name in prefixes.items() if path.startswith(prefix)), "platform")
        return self.refuse(vendor, error)

    # --- controls

    async def _tell(self, request: Request) -> Response:
        return json_response(
            {
                "base_url": str(request.base_url).rstrip("/"),
                "platform": {"token": platform.TOKEN, "prefix": PREFIX},
                "purecallerid": {
                    "key": purecallerid.KEY,
                    "campaigns": {
                        "five9": purecallerid.FIVE9_CAMPAIGN,
                        "ringcx": purecallerid.RINGCX_CAMPAIGN,
                    },
                    "lists": {"five9": FIVE9_LISTS[0], "ringcx": RINGCX_LISTS[0]},
                },
                "vicidial": {"key": vicidial.KEY, "leads": self.vicidial.leads},
                "isales": self.isales.about(request.url.hostname or self._sftp.reachable_host),
                "ozonetel": {
                    "api_key": ozonetel.API_KEY,
                    "user_name": ozonetel.USER_NAME,
                    "path": ozonetel.PATH,
                    "campaigns": {name: found.mapping for name, found in self.ozonetel.campaigns.items()},
                },
                "data": self.leads.about,
            }
        )

    async def _reset(self, request: Request) -> Response:
        self.purecallerid.cancel()
        self.isales.imports.cancel()
        self.ozonetel.cancel()
        self._begin()
        return json_response({"reset": True})

    async def _clock(self, request: Request) -> Response:
        if request.method == "POST":
            asked = _Time.model_validate(await _asked(request))
            now = asked.now if "now" in asked.model_fields_set else self.clock.now()
            self.clock.set(now if now is None or now.tzinfo else now.replace(tzinfo=UTC), asked.speed)
        return json_response(self._time())

    def _time(self) -> dict[str, Any]:
        return {"now": self.clock.now(), "speed": self.clock.speed}

    async def _faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.rules.clear()
        if request.method == "POST":
            asked = await _asked(request)
            self.faults.rules += _RULES.validate_python(asked if isinstance(asked, list) else [asked])
        return json_response([rule.model_dump() for rule in self.faults.rules])

    async def _switches(self, request: Request) -> Response:
        if request.method == "POST":
            asked = await _asked(request)
            told = self.switches.model_dump()
            checked = Switches.model_validate(
                {
                    vendor: told.get(vendor, {}) | _object(changes)
                    for vendor, changes in _object(asked).items()
                }
            )
            for vendor in checked.model_fields_set:  # in place: the vendors hold on to their own switches
                for name, value in getattr(checked, vendor):
                    setattr(getattr(self.switches, vendor), name, value)
        return json_response(self.switches.model_dump())

    async def _state(self, request: Request) -> Response:
        vendor = request.path_params["vendor"]
        rows = request.query_params.get("rows") != "false"
        if vendor == "platform":
            own = orjson.dumps(self.platform.state(rows=rows))[1:-1]
        elif vendor == "purecallerid":
            own = self.purecallerid.state(rows=rows)
        elif vendor == "vicidial":
            own = orjson.dumps(await self.vicidial.state(rows=rows))[1:-1]
        elif vendor == "isales":
            own = orjson.dumps(self.isales.state(rows=rows))[1:-1]
        elif vendor == "ozonetel":
            own = orjson.dumps(self.ozonetel.state(rows=rows))[1:-1]
        else:
            raise HTTPException(404, f"There is no vendor {vendor}: use {', '.join(_ERROR_BODIES)}.")
        calls = orjson.dumps(self.journal.state(vendor) | {"clock": self._time()})[1:-1]
        return Response(b"{%s,%s}" % (own, calls), media_type="application/json")

    async def _dial(self, request: Request) -> Response:
        self.ozonetel.dial(await _asked(request))
        return json_response({"dialed": True})

    async def _edit(self, request: Request) -> Response:
        await self.vicidial.edit(await _asked(request))
        return json_response({"edited": True})


async def _asked(request: Request) -> Any:
    """Read a control's JSON body."""
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise HTTPException(400, "The body is not JSON.") from None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise HTTPException(400, 'Send an object of objects, such as {"platform": {"page_size": 1000}}.')
    return value


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)
    complaints = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return json_response({"error": complaints}, 400)
