"""A client of iSales written from the vendor's page, and workbooks for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import openpyxl
import paramiko
import pytest

from include.sandbox.server import SandboxServer
from tests.waiting import until

AK, SK = "sandbox-ak", "sandbox-sk-0123456789"
PLAIN, IVR, DONE = "1803096731904991234", "1803096731904991235", "1803096731904991236"
SERVER = "164690088271159234793429225848"
ROOT = "/rest/isales/v1/openapi/campaigns"
CONTENT_TYPE = "application/json; charset=UTF-8"

HEADERS = [
    f"{name} ({'Mandatory' if name == 'called' else 'Optional'})"
    for name in ("sessionId", "called", "caller", "callData", "customField", "recycleTime")
]
SUCCESS = "0200000"


def encoded(text: str | bytes) -> str:
    return quote(text, safe="-._~")


def hex_hmac(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def authorization(
    request: httpx.Request,
    moment: str,
    signed: str,
    *,
    empty_query_line: bool = False,
    ak: str = AK,
    sk: str = SK,
) -> str:
    """Sign a request as the vendor's Java classes do."""
    target = urlsplit(str(request.url))
    pairs = sorted(f"{encoded(name)}={encoded(value)}" for name, value in request.url.params.multi_items())
    lines = [request.method, target.path, *(["&".join(pairs)] if pairs or empty_query_line else []), signed]
    lines += sorted(f"{encoded(name)}:{encoded(request.headers[name])}" for name in signed.split(";"))
    prefix = f"auth-v2/{ak}/{moment}/{signed}"
    text = "\n".join([*lines, encoded(request.content)])
    return f"{prefix}/{hex_hmac(hex_hmac(sk, prefix), text)}"


def workbook(*rows: dict[str, Any] | str, headers: list[str] = HEADERS) -> bytes:
    """A workbook of these rows; a text is the `called` cell of a row with nothing else."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(headers)
    names = [re.split(r"[ (]", header)[0] for header in headers]
    for row in rows:
        cells = {"called": row} if isinstance(row, str) else row
        sheet.append([cells.get(name) for name in names])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def called(*numbers: str, **more: Any) -> str:
    return json.dumps([{"calledNo": number, **more} for number in numbers])


class IsalesClient:
    """Uploads, signs and calls as a client would."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.info = server.info()["isales"]
        self.http = httpx.Client(base_url=server.base_url, trust_env=False, verify=False)

    def now(self) -> datetime:
        return datetime.fromisoformat(self.http.get("/_sandbox/clock").json()["now"])

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        moment: str | datetime | None = None,
        signed: str = "content-length;content-type;host",
        headers: dict[str, str] | None = None,
        sign: str | None = None,
        **signing: Any,
    ) -> httpx.Request:
        """Build a signed request; `sign` replaces the Authorization header."""
        moment = moment or self.now()
        if isinstance(moment, datetime):
            moment = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = self.http.build_request(
            method,
            ROOT + path,
            content=content,
            headers={"Content-Type": CONTENT_TYPE, "locale": "en_US", **(headers or {})},
        )
        if not content:
            request.headers.setdefault("Content-Length", "0")
        value = authorization(request, moment, signed, **signing) if sign is None else sign
        if value:
            request.headers["Authorization"] = value
        return request

    def call(self, method: str, path: str, body: Any = None, **how: Any) -> httpx.Response:
        return self.http.send(self.request(method, path, body, **how))

    def ask(self, campaign: str = PLAIN, vdn: Any = 1, **changes: Any) -> httpx.Response:
        """Ask for the import of `leads.xlsx`; a change to `...` leaves the field out."""
        body = {"serverId": SERVER, "fileName": "leads.xlsx", **changes}
        body = {name: value for name, value in body.items() if value is not ...}
        return self.call("POST", f"/{vdn}/calldatafile/uploadFileServer/{campaign}", body)

    def code(self, answer: httpx.Response) -> str:
        """The code of an answer that has HTTP 200, and it twice."""
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["resultCode"] == told["returnCode"]
        assert told["resultDesc"] == told["returnDesc"] != ""
        return str(told["resultCode"])

    def query(self, campaign: str = PLAIN, **changes: Any) -> httpx.Response:
        body = {"offset": 0, "limit": 100, **changes}
        body = {name: value for name, value in body.items() if value is not ...}
        return self.call("POST", f"/1/calldatafile/queryDataImportTask/{campaign}", body)

    def tasks(self, campaign: str = PLAIN, **changes: Any) -> list[dict[str, Any]]:
        return self.query(campaign, **changes).json()["result"]

    def put(self, content: bytes, path: str = "/home/sftp/leads.xlsx") -> None:
        """Put a file on the server, over SFTP, with the host key checked."""
        where = self.info["sftp"]
        kind, key = where["host_key"].split()
        with paramiko.Transport((where["host"], where["port"])) as transport:
            transport.connect(
                paramiko.PKey.from_type_string(kind, base64.b64decode(key)),
                where["user"],
                where["password"],
            )
            with paramiko.SFTPClient.from_transport(transport) as sftp:
                for depth in range(4, len(path.split("/"))):
                    sftp.mkdir("/".join(path.split("/")[:depth]))
                sftp.putfo(io.BytesIO(content), path)

    def ended(self, task: str, campaign: str = PLAIN) -> dict[str, Any]:
        """Wait until a task is finished or failed, and return it."""

        def look() -> dict[str, Any] | None:
            (told,) = self.tasks(campaign, importTaskIds=[task])
            return told if told["status"] in ("2", "3") else None

        return until(look, f"import {task} to end")

    def imported(self, *rows: Any, campaign: str = PLAIN, **changes: Any) -> dict[str, Any]:
        """Put a workbook of these rows, import it, wait, and return the task."""
        self.put(rows[0] if isinstance(rows[0], bytes) else workbook(*rows))
        answer = self.ask(campaign, **changes)
        assert self.code(answer) == SUCCESS
        return self.ended(answer.json()["importTaskId"], campaign)

    def counts(self, *rows: Any, campaign: str = PLAIN, **changes: Any) -> tuple[str, int, int, int]:
        told = self.imported(*rows, campaign=campaign, **changes)
        return told["status"], told["succNum"], told["repeatNum"], told["failNum"]

    def rows(self, campaign: str = PLAIN) -> list[dict[str, str]]:
        return self.server.state("isales")["campaigns"][campaign]["rows"]


@pytest.fixture
def isales(small: SandboxServer) -> Iterator[IsalesClient]:
    small.switch("isales", step_seconds=0)
    client = IsalesClient(small)
    yield client
    client.http.close()


V1_PATH = f"/1/calldatafile/uploadFileServer/{PLAIN}"
GOOD = called("901")
