"""What of the sandbox's iSales can be switched, and how it can fail; cases by their number."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.include.sandbox.isales.conftest import GOOD, PLAIN, SERVER, V1_PATH, called, workbook

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
