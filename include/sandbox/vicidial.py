"""TForge's archive API in front of a VICIdial database: archive, and its sister call dearchive (contract 1 to 5)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, create_model
from sqlalchemy import Enum
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from include.sandbox.clock import Clock
from include.sandbox.faults import Faults
from include.sandbox.gate import CRASHED
from include.sandbox.switches import VicidialSwitches
from include.sandbox.vicidial_db import (
    LIST,
    TEXT_WIDTHS,
    CrashError,
    Steps,
    Struck,
    UnknownLeadsError,
    VicidialDatabase,
    possible,
)
from include.sandbox.vicidial_json import BodyError, read_object
from include.sandbox.vicidial_leads import ZONE, vicidial_leads

PREFIX: Final = "/vicidial"
KEY: Final = "sandbox-vicidial-key"
MOST_IDS: Final = 500

Json = dict[str, Any]

_NO_USER: Final = "unable to validate api user"
_OFFICE_HOURS: Final = "api cannot be executed during office hours time condition"
_NO_BOOLEAN: Final = "{} must be a boolean value"
_NO_INTEGER: Final = "lead_ids must only contain integer values"
_NO_VALUE: Final = "lead_ids must contain atleast 1 value"
_TOO_MANY: Final = "lead_ids cannot exceed 500 values"
_REPEATED: Final = "lead_ids cannot contain duplicate values"
_UNKNOWN: Final = "lead_ids does not exist"
_DONE: Final = "lead_ids batch was successfully processed"

_SHORT: Final = {401: _NO_USER, 403: _OFFICE_HOURS}
"""Refusals whose bodies hold a message only."""


class _RefusalError(Exception):
    """A call is refused; `comma` tells whether the vendor's own sample has the comma after `message`."""

    def __init__(
        self, status: int, message: str, ids: list[Any] | None = None, *, comma: bool = True
    ) -> None:
        super().__init__(message)
        self.status = status
        self.comma = comma
        self.body: Json = {"message": message}
        if status not in _SHORT:
            self.body |= {"lead_errors": len(ids or []), "lead_ids": ids or []}


def error_body(error: HTTPException, now: datetime) -> Json | None:
    """Write an error of the gate or the router in the vendor's shape; 405 has no body (VA-11)."""
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return None
    return _RefusalError(error.status_code, _SHORT.get(error.status_code, error.detail)).body


def _edit_model() -> type[BaseModel]:
    """Describe what an edit may say: a lead's id, and values that its columns can hold."""
    fields: dict[str, Any] = {}
    for column in LIST.columns:
        kind = Literal[tuple(column.type.enums)] if isinstance(column.type, Enum) else column.type.python_type
        if column.name == "lead_id":
            fields[column.name] = (int, ...)
        else:
            fields[column.name] = (
                kind | None if column.nullable else kind,
                Field(None, max_length=TEXT_WIDTHS.get(column.name)),
            )
    return create_model("Edit", __config__=ConfigDict(extra="forbid"), **fields)


_Edit: Final = _edit_model()


class Vicidial:
    """One call centre: its leads, and the API over them."""

    def __init__(
        self,
        database: VicidialDatabase,
        leads: int,
        switches: VicidialSwitches,
        clock: Clock,
        faults: Faults,
    ) -> None:
        self.switches = switches
        self.leads = leads
        self._database = database
        self._clock = clock
        self._faults = faults
        self._batches: deque[Json] = deque(maxlen=10_000)
        self._inside: Counter[str] = Counter(accepted=0, refused=0)
        database.reset(vicidial_leads(leads, clock.now().astimezone(ZONE).date()))

    def routes(self) -> list[Route]:
        """List the vendor's operations."""
        return [
            Route(f"{PREFIX}/leads/archive", self.archive, methods=["POST"], name="vicidial:archive"),
            Route(f"{PREFIX}/leads/dearchive", self.dearchive, methods=["POST"], name="vicidial:dearchive"),
        ]

    async def edit(self, asked: Any) -> None:
        """Change a lead as an agent would: what is named, and the time of the change."""
        values = _Edit.model_validate(asked).model_dump(exclude_unset=True)
        lead_id = values.pop("lead_id")
        values.setdefault("modify_date", self._local_now())
        if not await asyncio.to_thread(self._database.edit, lead_id, values):
            raise HTTPException(404, f"There is no lead {lead_id} in vicidial_list.")

    async def state(self, *, rows: bool) -> Json:
        """Tell a tester what the tables hold, and about the newest 10,000 calls with a valid key."""
        ids = await asyncio.to_thread(self._database.ids) if rows else {"list": [], "archive": []}
        return {
            "counts": await asyncio.to_thread(self._database.counts),
            "ids": ids,
            "batches": list(self._batches),
            "inside_office_hours": self._inside,
        }

    # --- the API

    async def archive(self, request: Request) -> Response:
        """Copy leads to the archive, bring the copies up to date, remove the leads; outside office hours."""
        return await self._serve(request, "archive")

    async def dearchive(self, request: Request) -> Response:
        """Bring leads back from the archive, at any time."""
        return await self._serve(request, "dearchive")

    async def _serve(self, request: Request, op: str) -> Response:
        """Check key and hours, do the work, and write down what came of it."""
        now = self._clock.now()
        body = await request.body()
        if request.headers.get("authorization") != f"Key={KEY}":
            return self._refused(_RefusalError(401, _NO_USER))
        inside = op == "archive" and self._office_is_open(now)
        batch: Json = {
            "op": op,
            "time": now,
            "inside_office_hours": inside,
            "status": None,
            "ids": 0,
            "highest_id": None,
        }
        self._batches.append(batch)
        try:
            if inside and self.switches.office_hours:
                self._inside["refused"] += 1
                raise _RefusalError(403, _OFFICE_HOURS)
            self._inside["accepted"] += inside
            told = await asyncio.to_thread(self._work, op, body, batch)
        except _RefusalError as refusal:
            batch["status"] = refusal.status
            return self._refused(refusal)
        except CrashError:
            request.scope[CRASHED] = True
            return Response()
        batch |= {"status": 200, **told}
        return self._answer(200, {"message": _DONE, **told})

    def _work(self, op: str, body: bytes, batch: Json) -> Json:
        """Check a body and do what it asks for; return the counts. Runs in a thread."""
        names = [
            f"{step}_leads" for step in ("insert", "update", "delete") if op == "archive" or step != "update"
        ]
        flags, ids = _read(body, names)
        batch |= {"ids": len(ids), "highest_id": max(possible(ids), default=None)}
        steps = Steps(flags["insert_leads"], flags.get("update_leads", False), flags["delete_leads"])

        def strike() -> Struck:
            return {rule.fault: rule for rule in self._faults.fire("vicidial", "archive", op)}

        try:
            if op == "archive":
                widths = self.switches.archive_widths
                return asdict(self._database.archive(ids, steps, widths, strike, self._local_now()))
            told = asdict(self._database.dearchive(ids, steps, strike, self._local_now()))
        except UnknownLeadsError as error:
            raise _RefusalError(400, _UNKNOWN, error.ids) from None
        del told["update_count"]
        return told

    def _refused(self, refusal: _RefusalError) -> Response:
        return self._answer(
            refusal.status, refusal.body, comma=refusal.comma or not self.switches.broken_commas
        )

    def _answer(self, status: int, body: Json, *, comma: bool = True) -> Response:
        if self.switches.legacy_status_code:
            body = {**body, "http_code": status}
        text = json.dumps(body)
        if not comma:
            text = text.replace('", "lead_errors"', '" "lead_errors"', 1)
        return Response(text, status, media_type="application/json")

    def _office_is_open(self, now: datetime) -> bool:
        """Tell whether a moment is inside office hours: the first second is, the last is not (VA-4)."""
        local = now.astimezone(ZoneInfo(self.switches.office_zone))
        return (
            local.isoweekday() in self.switches.office_weekdays
            and self.switches.office_opens <= local.time() < self.switches.office_closes
        )

    def _local_now(self) -> datetime:
        """Return the time as the tables hold it."""
        return self._clock.now().astimezone(ZONE).replace(tzinfo=None, microsecond=0)


def _read(body: bytes, names: list[str]) -> tuple[dict[str, bool], list[int]]:
    """Check a body in the order of the vendor's page (VA-7); return its flags and its ids."""
    try:
        asked = read_object(body)
    except BodyError as error:
        raise _RefusalError(500, str(error)) from None
    for name in names:
        if not isinstance(asked.get(name), bool):
            raise _RefusalError(400, _NO_BOOLEAN.format(name), comma=False)
    values = asked.get("lead_ids")
    if values is None:
        values = []
    if not isinstance(values, list):
        raise _RefusalError(400, _NO_INTEGER, [values])
    if wrong := [value for value in values if type(value) is not int]:  # true is no integer here (VA-1)
        raise _RefusalError(400, _NO_INTEGER, wrong)
    if not values:
        raise _RefusalError(400, _NO_VALUE, comma=False)
    if len(values) > MOST_IDS:
        raise _RefusalError(400, _TOO_MANY)
    if repeated := [value for value, times in Counter(values).items() if times > 1]:
        raise _RefusalError(400, _REPEATED, repeated)
    return {name: asked[name] for name in names}, values
