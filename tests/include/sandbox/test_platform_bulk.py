"""The Platform API's contract cases of the bulk import (23 to 30), and what can go wrong with one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def bulk(tenant, small):
    """A client whose imports take an hour to begin and another to end, from noon on."""
    small.switch("platform", bulk_step_seconds=3_600, page_size=1_000)
    small.clock(START)
    return tenant


def post(bulk, leads, path="/leads/bulk"):
    answer = bulk.send("POST", path, {"leads": leads})
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"uuid": answer.json()["uuid"], "status": "queued"}
    return answer.json()["uuid"]


def at(small, hours):
    small.clock(START + timedelta(hours=hours, minutes=1))


def told(bulk, uuid):
    answer = bulk.get(f"/leads/bulk/{uuid}")
    assert answer.status_code == 200
    return answer.json()


def rows(count, start=0, **fields):
    phone = "+12025550123"
    return [
        {"listId": 300, "customerKey": f"B-{start + n:05d}", "phone1": phone, **fields} for n in range(count)
    ]


def keys(bulk):
    return [lead["customerKey"] for lead in bulk.items("/leads", listId=300)]


@pytest.mark.parametrize("path", ["/leads/bulk", "/leads/bulk/"])
def test_case_23_and_24_the_clock_finishes_an_import(bulk, small, path):
    uuid = post(bulk, rows(3), path)
    waiting = {"uuid": uuid, "status": "queued", "error_link": None, "result": None}
    assert told(bulk, uuid) == waiting
    at(small, 1)
    assert told(bulk, uuid) == waiting | {"status": "processing"}
    assert keys(bulk) == []
    at(small, 2)
    done = waiting | {"status": "completed", "result": {"total": 3, "created": 3, "failed": 0}}
    assert told(bulk, uuid) == done
    assert keys(bulk) == ["B-00000", "B-00001", "B-00002"]  # visible at once, in order (PL-20)
    assert bulk.get(f"/leads/bulk/{uuid}/errors").json() == {
        "pageNo": 1, "limit": 100, "errorList": [], "totalPages": 0, "nextPageLink": None,
    }  # fmt: skip
    assert told(bulk, uuid) == done
    assert len(keys(bulk)) == 3


def test_leads_are_there_without_anybody_asking_for_the_import(bulk, small):
    post(bulk, rows(3))
    at(small, 2)
    assert small.state("platform")["counts"]["lists"]["300"] == 3
    post(bulk, rows(3))
    at(small, 5)
    assert len(keys(bulk)) == 6


def test_imports_end_in_the_order_of_their_posts(bulk, small):
    post(bulk, rows(2, start=5))
    post(bulk, rows(2))
    at(small, 2)
    assert keys(bulk) == ["B-00005", "B-00006", "B-00000", "B-00001"]


BAD = [
    ({"listId": ...}, "listId: Is needed"), ({"listId": "300"}, "listId: Is needed"),
    ({"listId": 999}, "listId: There is no"),
    ({"phone1": "call me"}, "phone1: "), ({"phone2": "123"}, "phone2: "), ({"timezone": "Mars/Olympus"}, "timezone: "),
    ({"nextAttemptTimestamp": "soon"}, "nextAttemptTimestamp: "), ({"leadData": "x"}, "leadData: "),
    ({"customerKey": 7}, "customerKey: "), ({"agentId": 9}, "agentId: "),
]  # fmt: skip


def test_case_25_bad_rows_fail_one_by_one(bulk, small):
    leads = rows(300)
    for index in range(250):
        changes, _ = BAD[index % len(BAD)]
        leads[index] = {name: value for name, value in (leads[index] | changes).items() if value is not ...}
    uuid = post(bulk, leads)
    at(small, 2)
    done = told(bulk, uuid)
    assert (done["status"], done["result"]) == ("completed", {"total": 300, "created": 50, "failed": 250})
    pages = [bulk.follow(done["error_link"]).json()]
    while pages[-1]["nextPageLink"]:
        pages.append(bulk.follow(pages[-1]["nextPageLink"]).json())
    assert [(p["pageNo"], p["limit"], p["totalPages"], len(p["errorList"])) for p in pages] == [
        (1, 100, 3, 100), (2, 100, 3, 100), (3, 100, 3, 50),
    ]  # fmt: skip
    errors = [error for page in pages for error in page["errorList"]]
    assert [error["index"] for error in errors] == list(range(250))
    for error, (changes, message) in zip(errors, BAD * 25, strict=True):
        assert error["customerKey"] == changes.get("customerKey", leads[error["index"]]["customerKey"])
        assert error["message"].startswith(message)
    assert keys(bulk) == [f"B-{n:05d}" for n in range(250, 300)]


def test_error_pages_by_number(bulk, small):
    uuid = post(bulk, [7, None, *rows(3, phone1="x")])
    at(small, 2)
    page = bulk.get(f"/leads/bulk/{uuid}/errors", pageNo=2, limit=2).json()
    assert [error["index"] for error in page["errorList"]] == [2, 3]
    assert (page["totalPages"], page["nextPageLink"][-17:]) == (3, "?pageNo=3&limit=2")
    assert bulk.get(f"/leads/bulk/{uuid}/errors", pageNo=9).json()["errorList"] == []
    for bad in ({"pageNo": 0}, {"limit": -1}, {"pageNo": "two"}):
        assert bulk.get(f"/leads/bulk/{uuid}/errors", **bad).status_code == 400


@pytest.mark.parametrize("body", [{"leads": []}, {"leads": None}, {}, {"leads": {"listId": 300}}])
def test_case_26_no_leads(bulk, small, body):
    answer = bulk.send("POST", "/leads/bulk", body)
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["leads"]
    assert small.state("platform")["imports"] == []


def test_case_27_too_many_leads(bulk, small):
    assert bulk.send("POST", "/leads/bulk", {"leads": rows(1_001)}).status_code == 413
    assert post(bulk, rows(1_000))
    small.switch("platform", bulk_most_leads=2)
    assert bulk.send("POST", "/leads/bulk", {"leads": rows(3)}).status_code == 413


def test_case_28_an_import_crashes_half_way(bulk, small):
    small.fault("platform", "import_error", nth=2)
    fine, crashed = post(bulk, rows(4)), post(bulk, [{}, *rows(5, start=100)])
    at(small, 2)
    assert told(bulk, fine)["status"] == "completed"
    assert told(bulk, crashed) == {"uuid": crashed, "status": "failed", "error_link": None, "result": None}
    assert keys(bulk)[4:] == ["B-00100", "B-00101"]


def test_case_29_unknown_imports(bulk):
    assert bulk.get("/leads/bulk/nothing").status_code == 404
    assert bulk.get("/leads/bulk/nothing/errors").status_code == 404


def test_case_30_a_repeat_is_another_import(bulk, small):
    first, second = post(bulk, rows(2)), post(bulk, rows(2))
    assert first != second
    at(small, 2)
    assert keys(bulk) == ["B-00000", "B-00001"] * 2
    small.switch("platform", reject_duplicate_customer_key=True)
    third = post(bulk, [*rows(1), *rows(1, start=7), *rows(1, start=7)])
    at(small, 5)
    assert told(bulk, third)["result"] == {"total": 3, "created": 1, "failed": 2}


def test_an_import_may_never_end(bulk, small):
    small.fault("platform", "import_stuck")
    stuck, fine = post(bulk, rows(2)), post(bulk, rows(1, start=7))
    at(small, 1_000)
    assert [told(bulk, uuid)["status"] for uuid in (stuck, fine)] == ["processing", "completed"]
    assert keys(bulk) == ["B-00007"]


def test_an_import_may_lose_a_row_in_silence(bulk, small):
    small.fault("platform", "import_loses_row")
    uuid = post(bulk, rows(3))
    at(small, 2)
    assert told(bulk, uuid)["result"] == {"total": 2, "created": 2, "failed": 0}
    assert keys(bulk) == ["B-00000", "B-00001"]


def test_a_lost_answer_may_have_begun_an_import(bulk, small):
    for fault, leads in (("drop_before", 0), ("drop_after", 2)):
        small.fault("platform", fault, op="create_bulk")
        with pytest.raises(httpx.RemoteProtocolError):
            bulk.send("POST", "/leads/bulk", {"leads": rows(2)})
        assert [one["total"] for one in small.state("platform")["imports"]] == [2] * (leads // 2)
    at(small, 2)
    assert len(keys(bulk)) == 2


def test_other_words_and_shapes(bulk, small):
    words = ["ACCEPTED", "RUNNING", "DONE", "BROKEN"]
    small.switch("platform", bulk_words=words, error_list_as_object=True, uri_without_prefix=True)
    answer = bulk.send("POST", "/leads/bulk", {"leads": [*rows(1), {}, {}]}).json()
    assert answer["status"] == "ACCEPTED"
    at(small, 1)
    assert told(bulk, answer["uuid"])["status"] == "RUNNING"
    at(small, 2)
    done = told(bulk, answer["uuid"])
    assert done["status"] == "DONE"
    assert done["error_link"].startswith("/v3.0/leads/bulk/")
    errors = bulk.follow(done["error_link"]).json()["errorList"]
    assert [(place, error["index"]) for place, error in errors.items()] == [("1", 1), ("2", 2)]


def test_a_reset_forgets_imports(bulk, small):
    uuid = post(bulk, rows(3))
    small.reset()
    small.clock(START + timedelta(days=1))
    assert bulk.get(f"/leads/bulk/{uuid}").status_code == 404
    assert bulk.items("/leads", listId=300) == []
