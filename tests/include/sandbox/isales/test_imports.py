"""How the sandbox's iSales takes imports, and what it tells of them; cases by their number."""

from __future__ import annotations

import io
import time
import zipfile
from datetime import datetime

import pytest

from tests.include.sandbox.isales.conftest import DONE, IVR, PLAIN, SUCCESS, V1_PATH, called, workbook

# --- the import call


def test_case_8_import(isales):
    before = int(time.time() * 1000)
    answer = isales.ask()
    assert isales.code(answer) == SUCCESS
    told = answer.json()
    assert list(told) == ["returnCode", "importTaskId", "resultCode", "resultDesc", "returnDesc"]
    assert told["resultDesc"] == "Exporting data... View details in Import Result."
    assert len(told["importTaskId"]) == 30 and told["importTaskId"].isdigit()
    assert before <= int(told["importTaskId"][:13]) <= time.time() * 1000


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
        ({"hour": "-1", "minute": "00"}, "02000007"),
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
    assert isales.ended(task)["beginTime"].startswith("2026-11-22T18:3")


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
