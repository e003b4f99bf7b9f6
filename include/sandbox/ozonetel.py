"""Ozonetel CloudAgent's *Add Campaign Bulk Data V4*: a POST, a queue, a callback, a file of failed rows."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import secrets
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final, get_args
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from include.sandbox.clock import Clock
from include.sandbox.faults import Faults
from include.sandbox.ozonetel_rows import DUPLICATE, Against, campaigns, fits, sort_rows
from include.sandbox.signed_files import SignedFiles
from include.sandbox.switches import OzonetelSwitches
from include.sandbox.webhooks import Line, Style, Webhooks

PREFIX: Final = "/cloudAgentRestAPI"
PATH: Final = f"{PREFIX}/index.php/AddCampaignBulkDataV4/addBulkData/format/json"
FILES: Final = "/cloudagent-failed-files"
API_KEY: Final = "KK73616e64626f7820617069206b657921"
USER_NAME: Final = "sandbox_user"
MOST_ROWS: Final = 500
WINDOW: Final = timedelta(seconds=60)
INDIA: Final = ZoneInfo("Asia/Kolkata")
MADE_UP_TRANSACTION: Final = "9" * 25

Json = dict[str, Any]

_EMPTY: Final = "{} should not be empty"
_NOBODY: Final = "Invalid userName or apiKey"
_NO_CAMPAIGN: Final = "Invalid Campaign Name"
_NO_DATA: Final = "Please provide valid data"
_TOO_MANY: Final = "too many Requests and failed to add Data to queue"
_MESSAGES: Final = {"Success": "File Successfully uploaded.", "Fail": "File Failed to Upload."}
_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


class _RefusalError(Exception):
    """A call is refused; the vendor has two families of errors: `error` and `failure`."""

    def __init__(self, message: str, status: str = "error") -> None:
        super().__init__(message)
        self.body: Json = {"status": status, "message": message}


def error_body(error: HTTPException, now: datetime) -> Json:
    """Write an error of the gate or the router in the vendor's shape."""
    return {"status": "error", "message": error.detail}


@dataclass
class Transaction:
    """An accepted call on its way: what was asked, and what became of it."""

    id: str
    campaign: str
    header: list[Any]
    rows: list[Any]
    against: Against
    action: str
    callback: str
    base_url: str
    accepted: datetime
    status: str = "queued"
    counts: Json = field(default_factory=dict)

    def told(self) -> Json:
        """Return it as testers see it."""
        return {
            "transactionId": self.id,
            "campaign": self.campaign,
            "rows": len(self.rows),
            "map": self.header,
            "against": self.against,
            "accepted": self.accepted,
            "status": self.status,
            **self.counts,
        }


class Dial(BaseModel):
    """A control: a campaign calls its first new leads, which then have another status."""

    model_config = ConfigDict(extra="forbid")

    campaign: str
    leads: int = Field(default=1, ge=1)
    status: str = "Connected"


class Ozonetel:
    """One CloudAgent account: its campaigns, and the queue in front of them."""

    def __init__(self, switches: OzonetelSwitches, clock: Clock, faults: Faults) -> None:
        self.switches = switches
        self.campaigns = campaigns()
        self._clock = clock
        self._faults = faults
        self._files = SignedFiles(clock)
        style = Style("ozonetel", self._write, _forge, ("transactionId", "status"))
        self._webhooks = Webhooks(style, faults)
        self._callbacks: Line | None = None
        self._queue: asyncio.Queue[Transaction] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._numbers = count()
        self._windows: dict[str, deque[datetime]] = {}
        self._hits: deque[Json] = deque(maxlen=10_000)
        self._transactions: list[Transaction] = []

    def routes(self) -> list[Route]:
        """List the vendor's operation, and the bucket with the failed rows."""
        return [
            Route(PATH, self.add, methods=["POST"], name="ozonetel:add_bulk_data"),
            Route(f"{FILES}/{{path:path}}", self._files.serve, methods=["GET"], name="ozonetel:failed_file"),
        ]

    def cancel(self) -> None:
        """Stop all work in the background."""
        if self._worker is not None:
            self._worker.cancel()
        self._webhooks.cancel()

    def dial(self, asked: Any) -> None:
        """Let a campaign call its first new leads."""
        dial = Dial.model_validate(asked)
        if dial.campaign not in self.campaigns:
            raise HTTPException(404, f"There is no campaign {dial.campaign}.")
        new = (lead for lead in self.campaigns[dial.campaign].leads if lead.status == "New")
        for lead, _ in zip(new, range(dial.leads), strict=False):
            lead.status = dial.status

    def state(self, *, rows: bool) -> Json:
        """Tell a tester about campaigns (with their leads, if wanted), hits, transactions and callbacks."""
        return {
            "campaigns": {name: found.told(rows=rows) for name, found in self.campaigns.items()},
            "counts": {name: len(found.leads) for name, found in self.campaigns.items()},
            "hits": list(self._hits),
            "highest_in_60_seconds": self._highest(),
            "transactions": [transaction.told() for transaction in self._transactions],
            "callbacks": list(self._webhooks.journal),
        }

    # --- the POST

    async def add(self, request: Request) -> Response:
        """Check a call in the order of OZ-9; queue its rows, and answer with a transaction id."""
        asked = await self._fields(request)
        now = self._clock.now()
        hit: Json = {"time": now, "apiKey": _text(asked.get("apiKey"))}
        self._hits.append(hit)
        try:
            transaction = self._accept(asked, str(request.base_url), now)
        except _RefusalError as refusal:
            hit["answer"] = refusal.body["message"]
            return self._answer(refusal.body, self.switches.error_http_status)
        hit |= {"answer": "accepted", "transactionId": transaction.id}
        if self._worker is None:
            self._callbacks = self._webhooks.line()
            self._worker = asyncio.create_task(self._work_off(self._callbacks))
        self._transactions.append(transaction)
        self._queue.put_nowait(transaction)
        body = {"transactionId": transaction.id, "status": "success", "message": "Data added to queue"}
        return self._answer({"transactionId": transaction.id} if self.switches.bare_success else body, 200)

    async def _fields(self, request: Request) -> Json:
        """Read the fields of a body: form, multipart, or JSON unless that is switched off (OZ-1)."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _FORMS:
            try:
                form = await request.form(max_part_size=8 * 1024 * 1024)
            except HTTPException:  # no form at all: PHP finds no fields in it
                return {}
            return {name: value for name, value in form.items() if isinstance(value, str)}
        if kind == "application/json" and not self.switches.strict_encoding:
            try:
                fields = orjson.loads(await request.body())
            except orjson.JSONDecodeError:
                return {}
            return fields if isinstance(fields, dict) else {}
        return {}

    def _accept(self, asked: Json, base_url: str, now: datetime) -> Transaction:
        needed = ("apiKey", "userName", "campaignName")
        key, user, name = values = [_text(asked.get(needs)) for needs in needed]
        if key:
            self._limit(key, now)
        for needs, value in zip(needed, values, strict=True):
            if not value:
                raise _RefusalError(_EMPTY.format(needs))
        if (key, user) != (API_KEY, USER_NAME):
            raise _RefusalError(_NOBODY)
        campaign = self.campaigns.get(name)
        if campaign is None or campaign.inbound:
            raise _RefusalError(_NO_CAMPAIGN)
        header, rows = _bulk(asked.get("bulkData"))
        number = next(self._numbers)
        return Transaction(
            id=f"{int(now.timestamp())}{secrets.randbelow(10**14):014}{'7' * (number % 2)}",  # 24 or 25 digits
            campaign=name,
            header=header,
            rows=rows,
            against=_against(asked),
            action=_text(asked.get("action")).lower(),
            callback=_text(asked.get("callBackUrl")),
            base_url=base_url,
            accepted=now,
        )

    def _limit(self, key: str, now: datetime) -> None:
        """Hold a key to its requests a minute; a refused call counts only if that is switched on (OZ-14)."""
        window = self._windows.setdefault(key, deque())
        _slide(window, now)
        full = len(window) >= self.switches.requests_per_minute
        if not full or self.switches.refused_hits_count:
            window.append(now)
        if full:
            raise _RefusalError(_TOO_MANY)

    def _highest(self) -> int:
        """Return the highest count of calls with one key in any 60 seconds, refused ones included."""
        highest, windows = 0, dict[str, deque[datetime]]()
        for hit in self._hits:
            window = windows.setdefault(hit["apiKey"], deque())
            _slide(window, hit["time"])
            window.append(hit["time"])
            highest = max(highest, len(window))
        return highest

    def _answer(self, body: Json, status: int) -> Response:
        text = json.dumps(body)
        if self.switches.csv_quoted:
            text = '"' + text.replace('"', '""') + '"'
        elif self.switches.double_encoded:
            text = json.dumps(text)
        return Response(text, status, media_type="application/json")

    # --- the work in the background

    async def _work_off(self, callbacks: Line) -> None:
        """Work the queue off in the order of arrival."""
        while True:
            transaction = await self._queue.get()
            await self._clock.sleep(self.switches.work_seconds)
            started = self._clock.now()
            url = self._work(transaction)
            if transaction.callback and url is not None:
                event = self._event(transaction, url, started)
                callbacks.put_nowait((transaction.callback, event))

    def _work(self, transaction: Transaction) -> str | None:
        """Add the rows of a transaction; return the failed file's URL, empty without one, None for a crash."""
        campaign = self.campaigns[transaction.campaign]
        rows, total = transaction.rows, len(transaction.rows)
        faults = {rule.fault for rule in self._faults.fire("ozonetel", "load", "load", transaction.campaign)}
        good = fits(campaign, transaction.header, rows)
        half = rows[: total // 2] if faults else rows
        leads, failed = sort_rows(
            campaign,
            transaction.id,
            transaction.header,
            half if good else [],
            transaction.against,
            self.switches,
        )
        if self.switches.bad_row_fails_all and any(reason != DUPLICATE for _, reason in failed):
            good, leads, failed = False, [], []
        campaign.add(leads)
        if "load_crash" in faults:
            transaction.status = "crashed"
            return None
        good = good and not faults
        transaction.status = "Success" if good else "Fail"
        if good and transaction.action in ("start", "stop"):
            campaign.running = transaction.action == "start"
        duplicates = sum(reason == DUPLICATE for _, reason in failed)
        if self.switches.duplicates != "reported":
            failed = [(cells, reason) for cells, reason in failed if reason != DUPLICATE]
        processed = len(leads) + duplicates * (self.switches.duplicates == "processed")
        transaction.counts = {
            "totalNoUploaded": str(total),
            "numbersProcessed": str(processed),
            "numbersNotProcessed": str(total - processed),
        }
        return self._failed_file(transaction, failed) if failed else ""

    def _failed_file(self, transaction: Transaction, failed: list[tuple[list[str], str]]) -> str:
        """Serve the failed rows for 24 hours (OZ-12, OZ-16)."""
        reason = [self.switches.reason_column] if self.switches.reason_column else []
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow([*transaction.header, *reason])
        for cells, why in reversed(failed) if self.switches.failed_file_reversed else failed:
            writer.writerow([*cells, *([why] if reason else [])])
        path = f"{FILES}/{transaction.accepted:%Y/%m/%d}/{transaction.id}_failed.csv"
        url = self._files.add(transaction.base_url, path, text.getvalue().encode())
        return f" {url} " if self.switches.spaces_around_path else url

    def _event(self, transaction: Transaction, url: str, started: datetime) -> Json:
        return {
            **transaction.counts,
            "failedFilePath": url,
            "transactionId": transaction.id,
            "status": transaction.status,
            "message": _MESSAGES[transaction.status],
            "startDateTime": _local(started),
            "endDateTime": _local(self._clock.now()),
        }

    def _write(self, event: Json) -> tuple[bytes, dict[str, str]]:
        """Write a callback in the shape that is switched on (OZ-11)."""
        text, shape = json.dumps(event), self.switches.callback_shape
        if shape == "form":
            return urlencode({"data": text}).encode(), {"content-type": _FORMS[0]}
        body = {
            "string": json.dumps({"data": text}),
            "object": json.dumps({"data": event}),
            "raw_unescaped": '{"data":"' + text + '"}',
        }[shape]
        return body.encode(), {"content-type": "application/json"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _slide(window: deque[datetime], now: datetime) -> None:
    """Forget what is not in the 60 seconds before now: old, or later because the clock was set back."""
    while window and not now - WINDOW < window[0] <= now:
        window.popleft()


def _bulk(data: Any) -> tuple[list[Any], list[Any]]:
    """Read `bulkData`, text or object, and check it by OZ-10; rows and map are checked later."""
    if isinstance(data, str):
        try:
            data = orjson.loads(data)
        except orjson.JSONDecodeError:
            data = None
    header, rows = (data.get("map"), data.get("data")) if isinstance(data, dict) else (None, None)
    if not (isinstance(header, list) and header and isinstance(rows, list) and 0 < len(rows) <= MOST_ROWS):
        raise _RefusalError(_NO_DATA, "failure")
    return header, rows


def _against(asked: Json) -> Against:
    """Read the two flags: `isDelete` wins whenever it is there (OZ-3)."""
    nothing, campaign, both = get_args(Against)
    if asked.get("isDelete") not in (None, ""):
        flag, reach = asked["isDelete"], campaign
    else:
        flag, reach = asked.get("checkDuplicate"), both
    return reach if flag in ("true", True) else nothing  # type: ignore[no-any-return]


def _local(moment: datetime) -> str:
    return moment.astimezone(INDIA).strftime("%Y-%m-%d %H:%M:%S")


def _forge(event: Json) -> Json:
    """Return a callback about a transaction that never was: all is well."""
    return {
        **event,
        "numbersProcessed": event["totalNoUploaded"],
        "numbersNotProcessed": "0",
        "failedFilePath": "",
        "transactionId": MADE_UP_TRANSACTION,
        "status": "Success",
        "message": _MESSAGES["Success"],
    }
