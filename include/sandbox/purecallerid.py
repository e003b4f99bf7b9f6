"""PureCallerID's list load: one POST, work in the background, webhooks (contract sections 1 to 5)."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from itertools import islice
from typing import IO, Any, Final
from uuid import uuid4

import orjson
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from include.sandbox.clock import Clock
from include.sandbox.dialer import Dialer, Five9, Loading, RingCx, Row
from include.sandbox.faults import Faults
from include.sandbox.numbers import Classes
from include.sandbox.switches import PureCallerIdSwitches
from include.sandbox.upload import read_request, read_rows
from include.sandbox.webhooks import Line, Style, Webhooks

PATH: Final = "/api/public/lists/load"
KEY: Final = "++++c2FuZGJveCBrZXksIG5vdCBhIHNlY3JldCEhISE="
"""Fixed and fake: base64 of 32 bytes, as the vendor's keys."""

FIVE9_CAMPAIGN: Final = "64be9f5c0c8d4a1f2b3c4d5e"
RINGCX_CAMPAIGN: Final = "64be9f5c0c8d4a1f2b3c4d5f"

WEBHOOK_HEADERS: Final = {
    "content-type": "application/json",
    "x-event-type": "CampaignList",
    "x-event-origin": "purecallerid.app",
}
MADE_UP_ID: Final = "f" * 24

Json = dict[str, Any]

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}

_STYLE: Final = Style(
    vendor="purecallerid",
    write=lambda event: (orjson.dumps(event), WEBHOOK_HEADERS),
    forge=lambda event: {**event, "id": MADE_UP_ID, "status": "FINALIZED"},
    told=("id", "status"),
)


def error_body(error: HTTPException, now: datetime) -> Json:
    """Write an error as PC-10 has it."""
    return {
        "timestamp": _stamp(now),
        "status": error.status_code,
        "error": _PHRASES.get(error.status_code, ""),
        "message": error.detail,
        "path": PATH,
    }


@dataclass
class Load:
    """One list load: what the vendor tells about it, and what it needs to do it."""

    about: Json
    file: IO[bytes]
    dialer: Dialer
    dedupe: str | None
    events: Line | None = None
    task: asyncio.Task[None] | None = None


@dataclass
class Campaign:
    """A campaign of our workspace: its dialer, and the load that came in last."""

    dialer: Dialer
    last: asyncio.Task[None] | None = field(default=None)


class PureCallerId:
    """One workspace with a Five9 and a RingCX campaign."""

    def __init__(self, switches: PureCallerIdSwitches, clock: Clock, faults: Faults) -> None:
        self.switches = switches
        self._clock = clock
        self._faults = faults
        self._campaigns = {FIVE9_CAMPAIGN: Campaign(Five9()), RINGCX_CAMPAIGN: Campaign(RingCx())}
        self._webhooks = Webhooks(_STYLE, faults)
        self._loads: list[Load] = []

    def routes(self) -> list[Route]:
        """List the one operation that the vendor has."""
        return [Route(PATH, self.load, methods=["POST"], name="purecallerid:load")]

    def cancel(self) -> None:
        """Stop all work in the background."""
        for load in self._loads:
            if load.task is not None:
                load.task.cancel()
        self._webhooks.cancel()

    def state(self, *, rows: bool) -> bytes:
        """Tell a tester about all loads, lists (with their rows, if wanted) and webhooks, as JSON."""
        lists = {name: found for c in self._campaigns.values() for name, found in c.dialer.lists.items()}
        told = {
            "loads": orjson.dumps([load.about for load in self._loads]),
            "lists": b"{%s}"
            % b",".join(
                b"%s:[%s]" % (orjson.dumps(name), b",".join(found) if rows else b"")
                for name, found in lists.items()
            ),
            "counts": orjson.dumps({name: len(found) for name, found in lists.items()}),
            "webhooks": orjson.dumps(list(self._webhooks.journal)),
        }
        return b",".join(b'"%s":%s' % (name.encode(), text) for name, text in told.items())

    # --- the POST

    async def load(self, request: Request) -> Response:
        """Store the file, answer with the list object, and go on in the background."""
        if request.headers.get("x-api-key") != KEY:
            raise HTTPException(401, "The API key is missing or not known.")
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise HTTPException(415, "Send multipart/form-data.")
        form = await request.form()  # files beyond 1 MB are on disk, not in memory
        file = form.get("file")
        campaign_id, text = (_field(form.get(name), name) for name in ("campaignId", "processRequest"))
        if not isinstance(file, UploadFile) or not file.filename:
            raise HTTPException(400, "file is missing, or is not a file with a name.")
        if (file.size or 0) > self.switches.max_file_bytes:
            raise HTTPException(413, "The file is too large.")
        campaign = self._campaigns.get(campaign_id)
        if campaign is None:
            raise HTTPException(404, "The campaign does not exist.")
        asked = read_request(text, campaign.dialer, file.file, allow_http=self.switches.allow_http_webhook)
        load = self._accept(campaign_id, campaign, asked, file)
        body = orjson.dumps(load.about)
        if self.switches.broken_name_json:
            name = orjson.dumps(load.about["name"])
            body = body.replace(b'"name":' + name, b'"name":' + name[1:])
        load.task = asyncio.create_task(self._run(load, campaign.last))
        campaign.last = load.task
        return Response(body, media_type="application/json")

    def _accept(self, campaign_id: str, campaign: Campaign, asked: Json, file: UploadFile) -> Load:
        about: Json = {
            "id": f"{int(self._clock.now().timestamp()):08x}{uuid4().hex[:16]}",
            "orgId": 1001,
            "workspaceId": 2001,
            "campaignId": campaign_id,
            "dialerListId": asked["dialerListId"],
            "name": file.filename,
            "firstRowHeaders": asked.get("firstRowHasHeaders") or False,
            "mode": asked["mode"],
            "mapping": asked["mappedCols"],
            "webhookUrl": asked.get("webhookUrl"),
            "uploaded": _stamp(self._clock.now()),
            "status": "UPLOADED",
            "metrics": {"valid": 0, "invalid": 0, "inactive": 0, "dnc": 0, "total": 0},
            "processingStart": None,
            "processingFinish": None,
            "processingDuration": None,
            "processedBy": {"id": 0, "firstName": "API", "lastName": "USER", "email": ""},
            "events": [],
        }
        load = Load(about, file.file, campaign.dialer, asked.get("dedupe"))
        if about["webhookUrl"]:
            load.events = self._webhooks.line()
        self._loads.append(load)
        return load

    # --- the work in the background

    async def _run(self, load: Load, previous: asyncio.Task[None] | None) -> None:
        """Take a load through its steps; loads of a campaign run first in, first out (PC-14)."""
        try:
            await self._clock.sleep(self.switches.step_seconds)
            self._event(load, "Queued for processing")
            self._to(load, "QUEUED")
            if previous is not None:
                await asyncio.wait([previous])
            await self._clock.sleep(self.switches.step_seconds)
            started = self._clock.now()
            load.about["processingStart"] = _stamp(started)
            self._event(load, "Starting processing")
            self._to(load, "PROCESSING")
            await self._clock.sleep(self.switches.step_seconds)
            problem = await self._process(load)
            if problem == "crash":
                return
            finished = self._clock.now()
            load.about["processingFinish"] = _stamp(finished)
            load.about["processingDuration"] = int((finished - started).total_seconds())
            if problem is None:
                self._event(load, "list successfully loaded.")
            else:
                self._event(load, problem, kind="ERROR")
            self._to(load, "FINALIZED" if problem is None else "ERROR")
        finally:
            load.file.close()
            if load.events is not None:
                load.events.put_nowait(None)

    async def _process(self, load: Load) -> str | None:
        """Bring the rows to the dialer; return what went wrong, `crash` if nobody hears of it again."""
        about, metrics = load.about, load.about["metrics"]
        columns = {column["columnIndex"]: column["columnId"] for column in about["mapping"]}
        unique = self.switches.unique_id_column
        try:
            loading = await asyncio.to_thread(
                load.dialer.open,
                about["dialerListId"],
                about["mode"],
                load.dedupe,
                unique if unique in columns.values() else None,
            )
        except KeyError:
            return "The dialer has no such list."
        faults = {
            rule.fault for rule in self._faults.fire("purecallerid", "load", "load", about["dialerListId"])
        }
        stop_after = await asyncio.to_thread(_row_count, load.file) // 2 if faults else None
        rows = read_rows(load.file, skip=int(about["firstRowHeaders"]))
        classify = Classes(self.switches)
        try:
            while True:
                size = self.switches.increment_rows
                if stop_after is not None:
                    size = min(size, stop_after - metrics["total"])
                done = await asyncio.to_thread(
                    _increment, rows, size, columns, load.dialer.phone_column, classify, loading
                )
                for name, number in done.items():
                    metrics[name] += number
                if stop_after is not None and metrics["total"] >= stop_after:
                    return (
                        "crash"
                        if "load_crash" in faults
                        else "Processing stopped: the dialer does not answer."
                    )
                if done["total"] < size:
                    return None
                self._tell(load)
        except (UnicodeDecodeError, csv.Error):
            return "The file cannot be read as UTF-8 CSV."

    def _to(self, load: Load, status: str) -> None:
        load.about["status"] = status
        self._tell(load)

    def _tell(self, load: Load) -> None:
        if load.events is not None:
            load.events.put_nowait((load.about["webhookUrl"], orjson.loads(orjson.dumps(load.about))))

    def _event(self, load: Load, message: str, *, kind: str = "INFO") -> None:
        """Note an event; the newest comes first."""
        load.about["events"].insert(
            0, {"timestamp": _stamp(self._clock.now()), "type": kind, "message": message}
        )


def _row_count(file: IO[bytes]) -> int:
    return sum(1 for _ in read_rows(file, skip=0))


def _increment(
    rows: Iterator[list[str]],
    size: int,
    columns: dict[int, str],
    phone_column: str,
    classify: Classes,
    loading: Loading,
) -> dict[str, int]:
    """Bring up to `size` rows to the dialer, and count them."""
    done = dict.fromkeys(("valid", "invalid", "inactive", "dnc", "total"), 0)
    clean: list[Row] = []
    for cells in islice(rows, size):
        row = {name: cells[index] if index < len(cells) else "" for index, name in columns.items()}
        row[phone_column] = classify.number(row[phone_column])
        kind = classify.of(row[phone_column])
        done[kind] += 1
        done["total"] += 1
        if kind == "valid":
            clean.append(row)
    loading.add(clean)
    return done


def _field(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise HTTPException(400, f"{name} is missing, or is not a text part.")
    return value


def _stamp(moment: datetime) -> str:
    """Write a time as the vendor does: UTC, milliseconds, Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
