"""The bulk import of the Platform API (12, 13, 18): accepted at once, done on the sandbox's clock.

An import is `queued`, then `processing`, then `completed`; all its leads appear when it is completed. Rows fail one by
one, by the rules of creating a single lead. Nothing runs in the background: every call first does what is due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from include.sandbox.clock import Clock
from include.sandbox.data import Lead
from include.sandbox.faults import Faults
from include.sandbox.gate import json_response
from include.sandbox.pages import FieldError, Json, Pager
from include.sandbox.platform_request import body, count, found
from include.sandbox.switches import PlatformSwitches

QUEUED, PROCESSING, COMPLETED, FAILED = range(4)
"""Statuses: positions in the switch `bulk_words`."""

ERRORS_PER_PAGE: Final = 100


@dataclass
class Import:
    """One import: the rows until they are done, and what became of them."""

    uuid: str
    accepted: datetime
    rows: list[Any]
    faults: set[str]
    total: int
    status: int = QUEUED
    created: int = 0
    errors: list[Json] = field(default_factory=list)


class Bulk:
    """The imports of a tenant."""

    def __init__(
        self,
        new_lead: Callable[[Any], Lead],
        pager: Pager,
        switches: PlatformSwitches,
        clock: Clock,
        faults: Faults,
    ) -> None:
        self._new_lead = new_lead
        self._pager = pager
        self._switches = switches
        self._clock = clock
        self._faults = faults
        self._imports: dict[str, Import] = {}
        self._open: deque[Import] = deque()

    def state(self) -> list[Json]:
        """Tell a tester about all imports."""
        return [
            {
                "uuid": one.uuid,
                "status": self._switches.bulk_words[one.status],
                "total": one.total,
                "created": one.created,
                "failed": len(one.errors),
            }
            for one in self._imports.values()
        ]

    def settle(self) -> None:
        """Do what is due: the clock decides how far each open import is."""
        now, step = self._clock.now(), timedelta(seconds=self._switches.bulk_step_seconds)
        for one in list(self._open):
            if now >= one.accepted + step and one.status == QUEUED:
                one.status = PROCESSING
            if now >= one.accepted + 2 * step and "import_stuck" not in one.faults:
                self._work(one)
                self._open.remove(one)

    async def create_bulk(self, request: Request) -> Response:
        """Accept leads for import (18)."""
        asked = await body(request)
        rows = asked.get("leads")
        if not isinstance(rows, list) or not rows:
            raise FieldError("leads", "Must be a list of leads, not empty.")
        if len(rows) > self._switches.bulk_most_leads:
            raise HTTPException(413, f"At most {self._switches.bulk_most_leads} leads in a request.")
        faults = self._faults.fire("platform", "import", "create_bulk", request.scope["sandbox.uri"])
        one = Import(str(uuid4()), self._clock.now(), rows, {rule.fault for rule in faults}, len(rows))
        self._imports[one.uuid] = one
        self._open.append(one)
        answer = {"uuid": one.uuid, "status": self._switches.bulk_words[QUEUED]}
        return json_response(answer, self._switches.created_status)

    async def get_bulk(self, request: Request) -> Response:
        """Answer how far an import is (12)."""
        one = self._known(request)
        result = None
        if one.status == COMPLETED:
            result = {
                "total": one.created + len(one.errors),
                "created": one.created,
                "failed": len(one.errors),
            }
        return json_response(
            {
                "uuid": one.uuid,
                "status": self._switches.bulk_words[one.status],
                "error_link": self._errors_uri(one) if one.errors else None,
                "result": result,
            }
        )

    async def list_bulk_errors(self, request: Request) -> Response:
        """Answer a numbered page of the rows that failed (13)."""
        one = self._known(request)
        page, limit = count(request, "pageNo", 1), count(request, "limit", ERRORS_PER_PAGE)
        errors: Any = one.errors[(page - 1) * limit : page * limit]
        if self._switches.error_list_as_object:
            errors = {str(error["index"]): error for error in errors}
        pages = -(-len(one.errors) // limit)
        following = f"{self._errors_uri(one)}?pageNo={page + 1}&limit={limit}" if page < pages else None
        return json_response(
            {
                "pageNo": page,
                "limit": limit,
                "errorList": errors,
                "totalPages": pages,
                "nextPageLink": following,
            }
        )

    def _work(self, one: Import) -> None:
        """Create the leads of an import, row by row."""
        rows = one.rows
        if "import_error" in one.faults:
            rows = rows[: len(rows) // 2]
        elif "import_loses_row" in one.faults:
            rows = rows[:-1]
        for index, row in enumerate(rows):
            try:
                self._new_lead(row)
                one.created += 1
            except FieldError as error:
                (name, (text,)) = next(iter(error.errors.items()))
                key = row.get("customerKey") if isinstance(row, dict) else None
                one.errors.append({"index": index, "customerKey": key, "message": f"{name}: {text}"})
        one.rows = []
        one.status = FAILED if "import_error" in one.faults else COMPLETED
        if one.status == FAILED:
            one.errors = []  # a crash says nothing about rows

    def _errors_uri(self, one: Import) -> str:
        return self._pager.uri(f"/v3.0/leads/bulk/{one.uuid}/errors")

    def _known(self, request: Request) -> Import:
        return found(self._imports.get(request.path_params["uuid"]))
