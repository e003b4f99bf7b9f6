"""iSales' contract cases, by their number in the contract (section 9), its file servers, switches and faults."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import openpyxl
import paramiko
import pytest

from include.sandbox.server import SandboxServer

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
        self.http = httpx.Client(base_url=server.base_url, trust_env=False, timeout=30, verify=False)

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
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            (told,) = self.tasks(campaign, importTaskIds=[task])
            if told["status"] in ("2", "3"):
                return told
            time.sleep(0.01)
        raise TimeoutError(str(told))

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


# --- the signature

MOMENT = "2024-03-01T08:30:00.000Z"
HOST = {"Host": "isales.example.com:28443"}
V1_PATH = f"/1/calldatafile/uploadFileServer/{PLAIN}"
V1_BODY = (
    b'{"serverId":"164690088271159234793429225848","filePath":"/isales/20220310","fileName":"demo.xlsx"}'
)
V3_PATH = "/1?name=spring%20sale&status=0&deviceType=0&beginTime=&curPage=1&rowsPerPage=10"
V4_BODY = '{"serverId":"1","fileName":"客户 名单.xlsx"}'.encode()
THREE = f"auth-v2/{AK}/{MOMENT}/content-length;content-type;host/"
V1 = THREE + "3b40377476dda3f52cee7f8df6be776db0dca6d17d0e3557852a0e7e8db7bfc9"
V1_EMPTY_LINE = THREE + "cc94e160ec7f69350fe1b8503655596deb0c2f22f4ffeb76cca076acfdffeb9f"
V2 = f"auth-v2/{AK}/{MOMENT}/host/acefaa3fc48e9b3fce8d8798c8db445e42d1dee9a2b2fdf8dcf295c45b39ac86"
V3 = f"auth-v2/{AK}/{MOMENT}/content-type;host/2ceafb64249ca4600b818cbe12e16f6ba69bc3f07cecd94ba919f3479273a37a"
V4 = THREE + "af76176c74574d08dbfba6c683572624b25a98876cc054d33ba587a85b02d4c3"


@pytest.fixture
def at_the_vectors(isales: IsalesClient) -> IsalesClient:
    isales.server.clock(datetime.fromisoformat(MOMENT))
    return isales


@pytest.mark.parametrize(
    ("method", "path", "body", "value", "code"),
    [
        ("POST", V1_PATH, V1_BODY, V1, SUCCESS),
        ("POST", V1_PATH, V1_BODY, V2, SUCCESS),
        ("GET", V3_PATH, None, V3, SUCCESS),
        ("POST", V1_PATH, V4_BODY, V4, "0200001"),
    ],
    ids=["V1", "V2", "V3", "V4"],
)
def test_case_1_vectors(at_the_vectors, method, path, body, value, code):
    answer = at_the_vectors.call(method, path, body, sign=value, headers=HOST)
    assert at_the_vectors.code(answer) == code


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({"body": V1_BODY.replace(b"demo", b"Demo")}, V1),
        ({"path": f"/1/calldatafile/uploadFileServer/{IVR}"}, V1),
        ({"path": f"{V1_PATH}?a=1"}, V1),
        ({"headers": {"Host": "isales.example.com:28444"}}, V1),
        ({"headers": {**HOST, "Content-Type": "application/json;charset=UTF-8"}}, V1),
        ({}, V1[:-1] + "8"),
        ({}, V1.replace("08:30:00.000", "08:30:00.001")),
    ],
    ids=["body", "path", "query", "host", "content type", "signature", "time"],
)
def test_case_2_one_changed_byte(at_the_vectors, change, value):
    sent = {"path": V1_PATH, "body": V1_BODY, "headers": HOST, **change}
    answer = at_the_vectors.call("POST", sent.pop("path"), sent.pop("body"), sign=value, **sent)
    assert answer.status_code == 401
    assert answer.json() == {"resultCode": "401", "resultDesc": "Unauthorized"}


def test_case_2_another_query(at_the_vectors):
    answer = at_the_vectors.call("GET", V3_PATH.replace("status=0", "status=1"), sign=V3, headers=HOST)
    assert answer.status_code == 401


def test_case_2_another_secret(isales):
    assert isales.call("GET", f"/1/{PLAIN}", sk=SK).status_code == 200
    assert isales.call("GET", f"/1/{PLAIN}", sk=f"{SK}0").status_code == 401


@pytest.mark.parametrize(
    "value",
    ["", "Bearer x", V1.rpartition("/")[0], V1.replace(AK, "other-ak"), V1.replace("auth-v2", "auth-v1")],
)
def test_case_3_no_signature(at_the_vectors, value):
    assert at_the_vectors.call("POST", V1_PATH, V1_BODY, sign=value, headers=HOST).status_code == 401


@pytest.mark.parametrize(("minutes", "status"), [(-16, 401), (-14, 200), (14, 200), (16, 401)])
def test_case_4_clock_tolerance(isales, minutes, status):
    moment = isales.now() + timedelta(minutes=minutes)
    assert isales.call("GET", f"/1/{PLAIN}", moment=moment).status_code == status


def test_the_clock_tolerance_is_a_switch(isales):
    isales.server.switch("isales", clock_tolerance_minutes=None)
    assert isales.call("GET", f"/1/{PLAIN}", moment=MOMENT).status_code == 200


def test_case_5_without_milliseconds(isales):
    moment = isales.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert isales.call("GET", f"/1/{PLAIN}", moment=moment).status_code == 200
    assert isales.call("GET", f"/1/{PLAIN}", moment=moment.replace("Z", ".5Z")).status_code == 401


@pytest.mark.parametrize(
    "signed", ["content-type", "host;content-type", "content-type;Host", "host;x-missing"]
)
def test_case_6_signed_headers(isales, signed):
    request = isales.request("GET", f"/1/{PLAIN}", signed="host")
    request.headers["x-missing"] = "here while it is signed"
    request.headers["Authorization"] = authorization(
        request, isales.now().strftime("%Y-%m-%dT%H:%M:%SZ"), signed
    )
    del request.headers["x-missing"]
    assert isales.http.send(request).status_code == 401


@pytest.mark.parametrize(
    ("switch", "statuses"), [("left_out", (200, 401)), ("empty", (401, 200)), ("either", (200, 200))]
)
def test_case_7_empty_query_line(at_the_vectors, switch, statuses):
    at_the_vectors.server.switch("isales", query_line=switch)
    for value, status in zip((V1, V1_EMPTY_LINE), statuses, strict=True):
        answer = at_the_vectors.call("POST", V1_PATH, V1_BODY, sign=value, headers=HOST)
        assert answer.status_code == status


# --- the import call


def test_case_8_import(isales):
    answer = isales.ask()
    assert isales.code(answer) == SUCCESS
    told = answer.json()
    assert list(told) == ["returnCode", "importTaskId", "resultCode", "resultDesc", "returnDesc"]
    assert told["resultDesc"] == "Exporting data... View details in Import Result."
    assert len(told["importTaskId"]) == 30 and told["importTaskId"].isdigit()
    assert abs(int(told["importTaskId"][:13]) / 1000 - time.time()) < 60


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        *(({name: value}, "02000001") for name in ("serverId", "fileName") for value in (..., "", None)),
        ({"serverId": 1}, "02000006"),
        ({"fileName": ["a.xlsx"]}, "02000006"),
        ({"fileName": "x" * 300}, "02000003"),
        ({"fileName": "a/b.xlsx"}, "02000002"),
        ({"fileName": "a\tb.xlsx"}, "02000002"),
        ({"fileName": "leads.csv"}, "02000007"),
        ({"filePath": "../other"}, "02000002"),
        ({"filePath": "x" * 201}, "02000003"),
        ({"filePath": 5}, "02000006"),
        ({"hour": "2"}, "02000010"),
        ({"minute": "30"}, "02000010"),
        ({"hour": "24", "minute": "00"}, "02000007"),
        ({"hour": "2", "minute": "60"}, "02000007"),
        ({"hour": "x", "minute": "00"}, "02000006"),
        ({"hour": 2, "minute": 30}, "02000006"),
        ({"vdn": 0}, "02000007"),
        ({"vdn": 10_000}, "02000007"),
        ({"vdn": 2}, "0200007"),
        ({"campaign": "17"}, "0200007"),
        ({"campaign": DONE}, "0200019"),
        ({"serverId": "1"}, "0200001"),
    ],
)
def test_cases_9_to_17_refusals(isales, changes, code):
    assert isales.code(isales.ask(**changes)) == code
    assert isales.server.state("isales")["tasks"] == []


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"\xff"])
def test_case_18_no_json(isales, body):
    code = "02000001" if body == b"" else "02000008"
    assert isales.code(isales.call("POST", V1_PATH, body)) == code


def test_half_hours_only(isales):
    isales.server.switch("isales", half_hours=True)
    assert isales.code(isales.ask(hour="2", minute="15")) == "02000007"
    assert isales.code(isales.ask(hour="02", minute="30")) == SUCCESS


# --- what becomes of it


def test_case_19_query_at_once(isales):
    isales.server.switch("isales", step_seconds=0.3)
    isales.put(workbook(called("1")))
    task = isales.ask().json()["importTaskId"]
    (told,) = isales.tasks(importTaskIds=[task])
    assert list(told) == [
        "id", "beginTime", "endTime", "status", "succNum", "repeatNum", "failNum", "errMsg",
    ]  # fmt: skip
    assert (told["id"], told["endTime"], told["errMsg"]) == (task, None, "")
    assert told["status"] in ("0", "1")
    ended = isales.ended(task)
    begun, end = (datetime.fromisoformat(ended[f"{name}Time"]) for name in ("begin", "end"))
    assert ended["endTime"].endswith("+00:00") and begun <= end


def test_case_20_ten_good_rows(isales):
    rows = [
        {"called": called(f"90{n}"), "sessionId": f"s{n}", "recycleTime": "2026-12-01 09:00:00"}
        for n in range(10)
    ]
    assert isales.counts(*rows) == ("2", 10, 0, 0)
    assert isales.rows() == rows


def test_case_21_repeated_and_bad_rows(isales):
    rows = (called("901"), called("902", "903"), called("904"), called("903", "901"), "no list", called())
    assert isales.counts(*rows) == ("2", 3, 1, 2)


def test_case_22_the_same_file_twice(isales):
    rows = [called(f"90{n}") for n in range(4)]
    assert isales.counts(*rows) == ("2", 4, 0, 0)
    assert isales.counts(*rows) == ("2", 0, 4, 0)
    assert isales.counts(*rows, campaign=IVR) == ("2", 4, 0, 0)


def test_repeats_that_are_taken(isales):
    isales.server.switch("isales", take_repeats=True)
    assert isales.counts(called("901"), called("901")) == ("2", 2, 0, 0)
    assert isales.counts(called("901")) == ("2", 1, 0, 0)
    assert len(isales.rows()) == 3


def test_case_23_no_file(isales):
    told = isales.ended(isales.ask().json()["importTaskId"])
    assert (told["status"], told["errMsg"]) == ("3", "The file does not exist.")


def test_folders_are_relative_to_the_default_path(isales):
    isales.put(workbook(called("901")), "/home/sftp/isales/20220310/leads.xlsx")
    answer = isales.ask(filePath="/isales/20220310")
    assert isales.ended(answer.json()["importTaskId"])["succNum"] == 1


def large_workbook(records: int) -> bytes:
    """A workbook of distinct numbers, written as bare XML: openpyxl would take half a minute."""
    file = io.BytesIO()
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    cell = '<c t="inlineStr"><is><t>{}</t></is></c>'
    rows = (cell.format(f'[{{"calledNo":"{n}"}}]') for n in range(10**9, 10**9 + records))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as book:
        book.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
            f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        )
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
            f'Type="{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
            f'Type="{relation}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        )
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{relation}"><sheets>'
            '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        )
        with book.open("xl/worksheets/sheet1.xml", "w") as sheet:
            sheet.write(f'<worksheet xmlns="{main}"><sheetData>'.encode())
            for row in (cell.format("called (Mandatory)"), *rows):
                sheet.write(f"<row>{row}</row>".encode())
            sheet.write(b"</sheetData></worksheet>")
    return file.getvalue()


def test_case_24_too_many_records(isales):
    told = isales.imported(large_workbook(500_001))
    assert (told["status"], told["succNum"]) == ("3", 0)
    assert told["errMsg"] == "The file has more than 500,000 records."
    assert isales.server.state("isales", rows=False)["campaigns"][PLAIN]["count"] == 0


def test_case_24_as_many_as_allowed(isales):
    isales.server.switch("isales", max_records=3)
    assert isales.counts(*map(called, "1234"))[0] == "3"
    assert isales.counts(*map(called, "123"), {"called": None}) == ("2", 3, 0, 0)


def test_case_25_scheduled(isales):
    isales.put(workbook(called("901")))
    isales.server.clock(datetime.fromisoformat("2026-11-23T01:00:00+08:00"))
    task = isales.ask(hour="2", minute="30").json()["importTaskId"]
    assert isales.tasks()[0]["status"] == "0"
    isales.server.clock(datetime.fromisoformat("2026-11-23T02:29:00+08:00"))
    time.sleep(0.1)
    (told,) = isales.tasks()
    assert (told["status"], told["beginTime"]) == ("0", None)
    isales.server.clock(datetime.fromisoformat("2026-11-23T02:31:00+08:00"))
    assert isales.ended(task)["succNum"] == 1
    assert isales.ended(task)["beginTime"].startswith("2026-11-22T18:31:0")


def test_a_schedule_that_passed_today_is_tomorrows(isales):
    isales.server.clock(datetime.fromisoformat("2026-11-23T02:31:00+08:00"))
    isales.ask(hour="02", minute="30")
    assert isales.server.state("isales")["tasks"][0]["due"] == "2026-11-23T18:30:00+00:00"
    isales.server.switch("isales", zone="Europe/Berlin")
    isales.ask(hour="02", minute="30")
    assert isales.server.state("isales")["tasks"][1]["due"] == "2026-11-23T01:30:00+00:00"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"limit": 0}, "02000007"),
        ({"limit": 101}, "02000007"),
        ({"limit": ...}, "02000001"),
        ({"offset": ...}, "02000001"),
        ({"offset": -1}, "02000007"),
        ({"offset": "0"}, "02000006"),
        ({"importTaskIds": [1]}, "02000006"),
        ({"campaign": "17"}, "0200007"),
    ],
)
def test_case_26_queries_that_are_refused(isales, changes, code):
    assert isales.code(isales.query(**changes)) == code


def test_case_27_unknown_tasks(isales):
    isales.ask()
    answer = isales.query(importTaskIds=["1"])
    assert isales.code(answer) == SUCCESS
    assert (answer.json()["result"], answer.json()["count"]) == ([], 0)


def test_pages_and_order(isales):
    ids = [isales.ask().json()["importTaskId"] for _ in range(3)]
    assert [task["id"] for task in isales.tasks()] == ids[::-1]
    answer = isales.query(offset=2, limit=2).json()
    assert ([task["id"] for task in answer["result"]], answer["count"]) == ([ids[0]], 3)
    isales.server.switch("isales", oldest_first=True)
    assert [task["id"] for task in isales.tasks(limit=2)] == ids[:2]
    assert isales.tasks(IVR) == []


GOOD = called("901")


ROWS = [
    ("[{'calledNo':1234566}]", True),
    (called("1" * 24), True),
    (called("*31#90"), True),
    (called("1" * 25), False),
    (called("90a"), False),
    (called("+901"), False),
    (called(""), False),
    ('{"calledNo": "901"}', False),
    ('["901"]', False),
    ('[{"calledNo": null}]', False),
    ("-", False),
    ({"customField": "x"}, False),
    (called("901", delayTime=7200), True),
    (called("901", delayTime="60", type="home"), True),
    (called("901", delayTime=7201), False),
    (called("901", delayTime=-1), False),
    (called("901", delayTime=True), False),
    (called("901", "9x"), False),
    ({"called": GOOD, "sessionId": "s" * 32}, True),
    ({"called": GOOD, "sessionId": "s" * 33}, False),
    ({"called": GOOD, "caller": "1" * 25}, False),
    ({"called": GOOD, "callData": "x" * 1024}, True),
    ({"called": GOOD, "callData": "x" * 1025}, False),
    ({"called": GOOD, "customField": "x" * 201}, False),
    ({"called": GOOD, "customField": "😀" * 100}, True),
    ({"called": GOOD, "customField": "😀" * 101}, False),
    ({"called": GOOD, "customField": "-"}, True),
    ({"called": GOOD, "recycleTime": "2026-02-29 10:00:00"}, False),
    ({"called": GOOD, "recycleTime": "2026-02-28T10:00:00"}, False),
]
"""A row, and whether it is good; `901` stands for a number of its own."""


def test_cases_28_to_31_rows(isales):
    texts = [json.dumps({"called": row} if isinstance(row, str) else row) for row, _ in ROWS]
    rows = [json.loads(text.replace("901", str(9000 + n))) for n, text in enumerate(texts)]
    good = [good for _, good in ROWS]
    assert isales.counts(*rows) == ("2", sum(good), 0, len(good) - sum(good))
    taken = {row["called"] for row in isales.rows()}
    assert [row.get("called") in taken for row in rows] == good


def test_call_data_of_an_intelligent_ivr_is_json(isales):
    rows = [{"called": called("901"), "callData": "plain"}, {"called": called("902"), "callData": '{"a": 1}'}]
    assert isales.counts(*rows, campaign=IVR) == ("2", 1, 0, 1)
    assert isales.counts(*rows) == ("2", 2, 0, 0)


def test_columns_in_any_order(isales):
    book = workbook({"called": GOOD, "sessionId": "s1"}, headers=["note", "sessionId", "called(Mandatory)"])
    assert isales.counts(book) == ("2", 1, 0, 0)
    assert isales.rows() == [{"called": GOOD, "sessionId": "s1"}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (workbook({"sessionId": "s1"}, headers=["sessionId (Optional)"]), "The column called is missing."),
        (workbook(headers=[]), "The column called is missing."),
        (b"no workbook", "The file cannot be parsed."),
        (b"", "The file cannot be parsed."),
        (workbook(GOOD)[:2000], "The file cannot be parsed."),
    ],
)
def test_workbooks_that_cannot_be_read(isales, content, reason):
    told = isales.imported(content)
    assert (told["status"], told["errMsg"]) == ("3", reason)


def test_a_file_that_is_too_large(isales):
    isales.server.switch("isales", max_file_bytes=1000)
    assert isales.imported(GOOD)["errMsg"] == "The file is too large."


# --- switches


def test_case_32_short_errors(isales):
    isales.server.switch("isales", short_errors=True)
    told = isales.ask(serverId=...).json()
    assert told == {"resultCode": "02000001", "description": "A parameter is empty. serverId"}


def test_case_33_broken_sample(isales):
    isales.server.switch("isales", broken_sample=True)
    answer = isales.ask()
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert answer.text.startswith("{{") and answer.text.endswith(",}")
    assert len(isales.tasks()) == 1


def test_case_35_locale(isales):
    body = {"serverId": SERVER}
    english = isales.call("POST", V1_PATH, body).json()["resultDesc"]
    chinese = isales.call("POST", V1_PATH, body, headers={"locale": ""}).json()["resultDesc"]
    assert (english, chinese) == ("A parameter is empty. fileName", "参数为空。 fileName")


@pytest.mark.parametrize("content_type", ["application/json", "application/json;charset=UTF-8", "text/plain"])
def test_case_36_content_type(isales, content_type):
    answer = isales.call("POST", V1_PATH, {}, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["resultCode"]) == (415, "415")


def test_a_code_for_every_import(isales):
    isales.server.switch("isales", import_code="0200022")
    assert isales.code(isales.ask()) == "0200022"
    assert isales.tasks() == []


def test_a_blacklist(isales):
    isales.server.switch("isales", blacklist=["901", "902"])
    told = isales.imported(called("901", "902"), called("901", "903"))
    assert (told["succNum"], told["blackNum"], told["failNum"]) == (1, 1, 0)


def test_queries_of_an_older_version(isales):
    ids = [isales.ask().json()["importTaskId"] for _ in range(2)]
    isales.server.switch("isales", ignore_task_filter=True, without_count=True)
    told = isales.query(importTaskIds=ids[:1]).json()
    assert "count" not in told
    assert [task["id"] for task in told["result"]] == ids[::-1]


def test_a_task_that_shows_later(isales):
    isales.server.switch("isales", visible_after_seconds=60)
    isales.ask()
    assert isales.tasks() == []
    isales.server.clock(datetime.now(UTC) + timedelta(minutes=2))
    assert len(isales.tasks()) == 1


# --- faults


def test_a_lost_answer_is_an_import(isales):
    isales.put(workbook(GOOD))
    isales.server.fault("isales", "drop_after", op="import")
    with pytest.raises(httpx.RemoteProtocolError):
        isales.ask()
    (told,) = isales.tasks()
    assert isales.ended(told["id"])["succNum"] == 1


def test_faults_of_calls(isales):
    isales.server.fault("isales", "drop_before", op="import")
    with pytest.raises(httpx.RemoteProtocolError):
        isales.ask()
    isales.server.fault("isales", "status", status=503, op="import")
    assert (isales.ask().status_code, isales.tasks()) == (503, [])
    isales.server.fault("isales", "expired_token")
    assert isales.query().json()["resultCode"] == "401"


def test_an_import_that_fails_half_way(isales):
    isales.server.fault("isales", "import_error", match="leads")
    told = isales.imported(*(called(f"90{n}") for n in range(4)))
    assert (told["status"], told["succNum"], told["errMsg"]) == ("3", 2, "Database operation error.")
    assert len(isales.rows()) == 2


def test_an_import_that_never_ends(isales):
    isales.put(workbook(GOOD))
    isales.server.fault("isales", "import_stuck")
    first, second = (isales.ask().json()["importTaskId"] for _ in range(2))
    assert isales.ended(second)["succNum"] == 1
    assert isales.tasks(importTaskIds=[first])[0]["status"] == "1"


def test_a_reset_forgets_imports(isales):
    isales.server.switch("isales", step_seconds=0.2)
    isales.put(workbook(GOOD))
    isales.ask()
    isales.server.reset()
    time.sleep(0.5)
    state = isales.server.state("isales")
    assert (state["tasks"], state["files"], state["campaigns"][PLAIN]["rows"]) == ([], [], [])


# --- file servers and campaigns


def server_body(isales: IsalesClient, **changes: Any) -> dict[str, Any]:
    where = isales.info["sftp"]
    info = {"ip": "127.0.0.1", "port": str(where["port"]), "filePath": "/other"}
    body = {"userName": where["user"], "serverPwd": where["password"], "serverInfo": info}
    return {name: value for name, value in {**body, **changes}.items() if value is not ...}


def test_file_servers(isales):
    def call(what: str, **body: Any) -> httpx.Response:
        return isales.call("POST", f"/1/file/{what}", body)

    added = call("addServer", **server_body(isales))
    assert isales.code(added) == SUCCESS
    server = added.json()["serverId"]
    told = call("queryServer", offset=0, limit=10).json()
    assert (told["count"], [one["serverId"] for one in told["server"]]) == (2, [SERVER, server])
    (found,) = call("queryServer", offset=0, limit=10, serverIds=[server]).json()["server"]
    assert found == {
        "port": str(isales.info["sftp"]["port"]), "ip": "127.0.0.1", "filePath": "/other",
        "userName": "listkeeper", "serverId": server,
    }  # fmt: skip
    isales.put(workbook(GOOD), "/home/sftp/other/leads.xlsx")
    moved = server_body(isales, serverPwd=...)
    moved["serverInfo"]["filePath"] = "/home/sftp/other"
    assert isales.code(call(f"{server}/updateServer", **moved)) == SUCCESS
    assert isales.ended(isales.ask(serverId=server).json()["importTaskId"])["succNum"] == 1
    assert isales.code(call(f"{server}/deleteServer")) == SUCCESS
    assert isales.code(call(f"{server}/deleteServer")) == "0200033"
    assert isales.code(isales.ask(serverId=server)) == "0200001"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"userName": "x" * 31}, "02000003"),
        ({"userName": "a;b"}, "02000002"),
        ({"userName": ...}, "02000001"),
        ({"serverPwd": "short"}, "02000005"),
        ({"serverPwd": "x" * 81}, "02000005"),
        ({"serverPwd": ...}, "02000001"),
        ({"serverInfo": ...}, "02000001"),
        ({"serverInfo": {"ip": "127.0.0.1", "port": 22, "filePath": "/a"}}, "02000006"),
        ({"serverInfo": {"ip": "127.0.0.1", "port": "x", "filePath": "/a"}}, "02000007"),
        ({"serverInfo": {"ip": "127.0.0.1", "port": "22"}}, "02000001"),
    ],
)
def test_file_servers_that_are_refused(isales, changes, code):
    assert isales.code(isales.call("POST", "/1/file/addServer", server_body(isales, **changes))) == code


def test_file_servers_are_unique_and_a_new_address_needs_the_password(isales):
    add = server_body(isales)
    server = isales.call("POST", "/1/file/addServer", add).json()["serverId"]
    assert isales.code(isales.call("POST", "/1/file/addServer", add)) == "0200001"
    moved = server_body(isales, serverPwd=...)
    moved["serverInfo"]["ip"] = "127.0.0.2"
    assert isales.code(isales.call("POST", f"/1/file/{server}/updateServer", moved)) == "02000001"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"serverPwd": "wrong-password"}, "The login at the file server failed."),
        (
            {"serverInfo": {"ip": "127.0.0.1", "port": "1", "filePath": "/"}},
            "The file server cannot be reached.",
        ),
    ],
)
def test_servers_that_do_not_let_isales_in(isales, changes, reason):
    server = isales.call("POST", "/1/file/addServer", server_body(isales, **changes)).json()["serverId"]
    told = isales.ended(isales.ask(serverId=server).json()["importTaskId"])
    assert (told["status"], told["errMsg"]) == ("3", reason)


def test_campaigns(isales):
    told = isales.call("GET", "/1?name=&status=4&deviceType=0&curPage=1&rowsPerPage=10").json()
    assert [one["campaignId"] for one in told["result"]] == [DONE]
    assert isales.call("GET", f"/1/{IVR}").json()["result"]["deviceType"] == 1
    assert isales.code(isales.call("GET", "/1/17")) == "0200007"


def test_info_names_what_a_client_needs(isales):
    assert isales.info["campaigns"] == {"plain": PLAIN, "ivr": IVR, "finished": DONE}
    assert (isales.info["ak"], isales.info["sk"], isales.info["vdn_id"]) == (AK, SK, 1)
    assert isales.info["server_id"] == SERVER
    (server,) = isales.server.state("isales")["servers"]
    assert (server["filePath"], server["port"]) == ("/home/sftp", str(isales.info["sftp"]["port"]))
