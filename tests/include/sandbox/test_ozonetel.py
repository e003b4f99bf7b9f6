"""Ozonetel's contract cases, by their number in the contract (section 7), its switches and its faults."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from include.sandbox.ozonetel import MADE_UP_TRANSACTION
from include.sandbox.server import SandboxServer
from include.sandbox.webhooks import MADE_UP_TOKEN

PATH = "/cloudAgentRestAPI/index.php/AddCampaignBulkDataV4/addBulkData/format/json"
C, INBOUND = "Renewals", "Support hotline"
HEADER = ["PhoneNumber", "Name", "Priority"]
A, B, D = ["9876543210", "Asha", 6], ["9876543211", "Ravi K.", "1"], ["+919876543212", "", "99"]

NO_KEY = {"status": "error", "message": "apiKey should not be empty"}
NO_USER = {"status": "error", "message": "userName should not be empty"}
NOBODY = {"status": "error", "message": "Invalid userName or apiKey"}
NO_NAME = {"status": "error", "message": "campaignName should not be empty"}
NO_CAMPAIGN = {"status": "error", "message": "Invalid Campaign Name"}
NO_DATA = {"status": "failure", "message": "Please provide valid data"}
TOO_MANY = {"status": "error", "message": "too many Requests and failed to add Data to queue"}


class OzonetelClient:
    """Adds data as a client would, and looks what became of it."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.base_url, trust_env=False, verify=False)

    def fields(self, rows: Any, header: Any = HEADER, **changes: Any) -> dict[str, Any]:
        """The fields of a call; a change to `...` leaves one out."""
        info = self.server.info()["ozonetel"]
        asked = {
            "apiKey": info["api_key"],
            "userName": info["user_name"],
            "campaignName": C,
            "bulkData": json.dumps({"map": header, "data": rows}),
            **changes,
        }
        return {name: value for name, value in asked.items() if value is not ...}

    def post(self, rows: Any, header: Any = HEADER, **changes: Any) -> httpx.Response:
        """Post a form."""
        return self.http.post(PATH, data=self.fields(rows, header, **changes))

    def add(self, rows: Any, header: Any = HEADER, **changes: Any) -> dict[str, Any]:
        """Post a form that is accepted, and return the transaction when it is worked off."""
        answer = self.post(rows, header, **changes)
        assert (answer.status_code, answer.json()["status"]) == (200, "success"), answer.text
        return self.finished(answer.json()["transactionId"])

    def finished(self, transaction: str) -> dict[str, Any]:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            told = self.server.state("ozonetel", rows=False)["transactions"]
            (found,) = [one for one in told if one["transactionId"] == transaction]
            if found["status"] != "queued":
                return found
            time.sleep(0.01)
        raise TimeoutError

    def leads(self, campaign: str = C) -> list[dict[str, str]]:
        return self.server.state("ozonetel")["campaigns"][campaign]["leads"]

    def phones(self, campaign: str = C) -> list[str]:
        return [lead["PhoneNumber"] for lead in self.leads(campaign)]

    def state(self) -> dict[str, Any]:
        return self.server.state("ozonetel", rows=False)

    def callbacks(self, number: int = 1) -> list[dict[str, Any]]:
        """Wait for the journal of so many callbacks."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if len(told := self.state()["callbacks"]) >= number:
                return told
            time.sleep(0.01)
        raise TimeoutError

    def forward(self, seconds: float) -> None:
        """Move the sandbox's clock forward."""
        self.server.clock(self.server.now() + timedelta(seconds=seconds))


@pytest.fixture
def ozonetel(small: SandboxServer) -> Iterator[OzonetelClient]:
    """The account, worked off at once and without its limit: the cases of the limit set it."""
    small.switch("ozonetel", work_seconds=0, requests_per_minute=1000)
    client = OzonetelClient(small)
    yield client
    client.http.close()


def counts(told: dict[str, Any]) -> tuple[int, int, int]:
    return tuple(int(told[f]) for f in ("totalNoUploaded", "numbersProcessed", "numbersNotProcessed"))


def record(receiver, at=-1):
    """What a callback tells, out of its default shape."""
    _, headers, body = receiver.calls[at]
    assert headers["content-type"] == "application/json"
    assert list(body) == ["data"]
    return json.loads(body["data"])


def received(receiver, number=1):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and len(receiver.bodies) < number:
        time.sleep(0.01)
    assert len(receiver.bodies) >= number
    return receiver.bodies


def failed_rows(client, url):
    answer = client.http.get(url.strip())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    return list(csv.reader(io.StringIO(answer.text, newline="")))


# --- accepted


def test_case_1_accepted(ozonetel):
    answer = ozonetel.post([A, B, D])
    body = answer.json()
    assert answer.status_code == 200
    assert (list(body), body["status"]) == (["transactionId", "status", "message"], "success")
    assert re.fullmatch(r"[0-9]{24,25}", body["transactionId"])
    told = ozonetel.finished(body["transactionId"])
    assert (told["campaign"], told["status"], counts(told)) == (C, "Success", (3, 3, 0))
    assert ozonetel.leads()[0] == {
        "PhoneNumber": "9876543210", "Name": "Asha", "Priority": "6", "status": "New",
        "transactionId": body["transactionId"],
    }  # fmt: skip
    assert ozonetel.phones() == ["9876543210", "9876543211", "+919876543212"]
    assert ozonetel.state()["callbacks"] == []


def test_case_2_callback(ozonetel, receiver):
    ozonetel.server.clock(datetime(2026, 11, 21, 20, 30, tzinfo=UTC))
    told = ozonetel.add([A, B, D], callBackUrl=receiver.url)
    received(receiver)
    body = record(receiver)
    assert list(body) == [
        "totalNoUploaded", "numbersProcessed", "numbersNotProcessed", "failedFilePath", "transactionId", "status",
        "message", "startDateTime", "endDateTime",
    ]  # fmt: skip
    assert (body["totalNoUploaded"], body["numbersProcessed"], body["numbersNotProcessed"]) == ("3", "3", "0")
    assert (body["status"], body["message"]) == ("Success", "File Successfully uploaded.")
    assert (body["failedFilePath"], body["transactionId"]) == ("", told["transactionId"])
    assert re.fullmatch(r"2026-11-22 02:00:\d\d", body["startDateTime"])  # India's time
    assert body["startDateTime"] <= body["endDateTime"]
    (callback,) = ozonetel.callbacks()
    assert callback == {
        "url": receiver.url, "transactionId": told["transactionId"], "status": "Success", "answer": 200,
    }  # fmt: skip


def test_case_31_transaction_ids_have_24_or_25_digits_and_tell_the_time(ozonetel):
    ozonetel.server.clock(datetime(2024, 7, 11, 6, 15, 29, tzinfo=UTC))
    ids = [ozonetel.post([A]).json()["transactionId"] for _ in range(4)]
    assert sorted(map(len, ids)) == [24, 24, 25, 25]
    assert len(set(ids)) == 4
    assert all(1720678529 <= int(one[:10]) < 1720678540 for one in ids)


# --- refused at once


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        pytest.param({"apiKey": ...}, NO_KEY, id="case 3 absent"),
        pytest.param({"apiKey": ""}, NO_KEY, id="case 3 empty"),
        pytest.param({"apiKey": ..., "api_key": "KK73616e64626f7820617069206b657921"}, NO_KEY, id="case 3 V1"),
        pytest.param({"apiKey": "KK" + "0" * 32}, NOBODY, id="case 4"),
        pytest.param({"userName": ...}, NO_USER, id="case 5 absent"),
        pytest.param({"userName": ""}, NO_USER, id="case 5 empty"),
        pytest.param({"userName": "nobody"}, NOBODY, id="case 6"),
        pytest.param({"campaignName": ...}, NO_NAME, id="case 7 absent"),
        pytest.param({"campaignName": ""}, NO_NAME, id="case 7 empty"),
        pytest.param({"campaignName": ..., "campaign_name": C}, NO_NAME, id="case 7 V1"),
        pytest.param({"campaignName": "renewals"}, NO_CAMPAIGN, id="case 8"),
        pytest.param({"campaignName": INBOUND}, NO_CAMPAIGN, id="case 9"),
        pytest.param({"bulkData": ...}, NO_DATA, id="case 10 absent"),
        pytest.param({"bulkData": ""}, NO_DATA, id="case 10 empty"),
        pytest.param({"bulkData": ..., "bulkdata": '{"map": ["PhoneNumber"], "data": [["9876543210"]]}'}, NO_DATA,
                     id="case 10 misspelled"),
        pytest.param({"bulkData": "{"}, NO_DATA, id="case 10 not JSON"),
        pytest.param({"bulkData": "[]"}, NO_DATA, id="case 10 no object"),
        pytest.param({"bulkData": '{"data": [["9876543210"]]}'}, NO_DATA, id="case 10 no map"),
        pytest.param({"bulkData": '{"map": ["PhoneNumber"]}'}, NO_DATA, id="case 10 no data"),
        pytest.param({"bulkData": '{"map": ["PhoneNumber"], "data": []}'}, NO_DATA, id="case 10 empty data"),
        pytest.param({"bulkData": '{"map": [], "data": [["9876543210"]]}'}, NO_DATA, id="case 10 empty map"),
        pytest.param({"bulkData": '{"map": "PhoneNumber", "data": "9876543210"}'}, NO_DATA, id="case 10 no lists"),
        # OZ-9: what is checked first
        pytest.param({"apiKey": ..., "userName": ..., "campaignName": ..., "bulkData": ...}, NO_KEY, id="order 1"),
        pytest.param({"apiKey": "wrong", "userName": ..., "campaignName": ...}, NO_USER, id="order 2"),
        pytest.param({"apiKey": "wrong", "campaignName": ...}, NO_NAME, id="order 3"),
        pytest.param({"apiKey": "wrong", "campaignName": INBOUND}, NOBODY, id="order 4"),
        pytest.param({"campaignName": INBOUND, "bulkData": "{"}, NO_CAMPAIGN, id="order 5"),
    ],
)  # fmt: skip
def test_refusals(ozonetel, changes, answer):
    told = ozonetel.post([A], **changes)
    assert (told.status_code, told.json()) == (200, answer)
    assert ozonetel.state()["transactions"] == []
    assert ozonetel.state()["hits"][-1]["answer"] == answer["message"]


def test_case_11_501_rows(ozonetel):
    rows = [[f"98765{i:05}", "Asha", 6] for i in range(501)]
    assert ozonetel.post(rows).json() == NO_DATA
    assert counts(ozonetel.add(rows[:500])) == (500, 500, 0)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_case_32_other_methods(ozonetel, method):
    answer = ozonetel.http.request(method, PATH)
    assert (answer.status_code, answer.json()["status"]) == (405, "error")


def test_the_path_minds_its_letters(ozonetel):
    assert ozonetel.http.post(PATH.lower(), data=ozonetel.fields([A])).status_code == 404


# --- accepted, failed later


@pytest.mark.parametrize(
    ("rows", "header", "campaign"),
    [
        pytest.param([["9876543210", "Asha"]], ["Phone", "Name"], C, id="case 12"),
        pytest.param([["9876543210", "Asha"]], ["phonenumber", "Name"], C, id="case 12 letters"),
        pytest.param([["9876543210"], ["9876543211", "Ravi", 3, 4], "9876543212"], HEADER, C, id="case 13"),
        pytest.param([["9876543210", "x"]] * 3, ["PhoneNumber", "State"], C, id="case 14"),
        pytest.param([["9876543210", ["x"]]] * 3, ["PhoneNumber", ["State"]], C, id="case 14 no text"),
        pytest.param([["9876543210", "9876543211"]], ["PhoneNumber", "PhoneNumber"], C, id="a header twice"),
        pytest.param([["9876543210", "Asha"]], ["PhoneNumber", "Name"], "Own customers", id="agent-wise"),
        pytest.param(
            [["9876543210", "Asha"]], ["PhoneNumber", "Name"], "Technical follow-up", id="skill-wise"
        ),
    ],
)
def test_loads_that_fail_by_callback(ozonetel, receiver, rows, header, campaign):
    told = ozonetel.add(rows, header, campaignName=campaign, callBackUrl=receiver.url)
    assert (told["status"], counts(told)) == ("Fail", (len(rows), 0, len(rows)))
    received(receiver)
    body = record(receiver)
    assert (body["status"], body["message"]) == ("Fail", "File Failed to Upload.")
    assert (counts(body), body["failedFilePath"]) == ((len(rows), 0, len(rows)), "")
    assert ozonetel.phones(campaign) == []


def test_without_a_callback_such_a_load_disappears(ozonetel):
    assert ozonetel.add([["9876543210"]], ["Phone"])["status"] == "Fail"
    assert ozonetel.state()["callbacks"] == []


# --- rows


def test_case_15_success_can_be_partial(ozonetel, receiver):
    rows = [
        A,
        ["", "Asha", 6],
        ["123456", "Asha", 6],
        B,
        ["98765 43210", "Asha", 6],
        ["9876543213", "Asha", 100],
    ]
    told = ozonetel.add(rows, callBackUrl=receiver.url)
    assert (told["status"], counts(told)) == ("Success", (6, 2, 4))
    received(receiver)
    body = record(receiver)
    assert (body["status"], counts(body)) == ("Success", (6, 2, 4))
    assert failed_rows(ozonetel, body["failedFilePath"]) == [
        [*HEADER, "Reason"],
        ["", "Asha", "6", "Invalid PhoneNumber"],
        ["123456", "Asha", "6", "Invalid PhoneNumber"],
        ["98765 43210", "Asha", "6", "Invalid PhoneNumber"],
        ["9876543213", "Asha", "100", "Invalid Priority"],
    ]
    assert ozonetel.phones() == [A[0], B[0]]


def failed_url(ozonetel, receiver, rows=(("x", "", ""),), **changes):
    """Load rows of which some fail, and return the URL of the failed file."""
    ozonetel.add(list(rows), callBackUrl=receiver.url, **changes)
    received(receiver)
    return record(receiver)["failedFilePath"]


def test_case_16_the_failed_file_expires(ozonetel, receiver):
    url = failed_url(ozonetel, receiver)
    query = parse_qs(urlsplit(url).query)
    assert {"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Security-Token"} < set(query)
    assert query["X-Amz-Expires"] == ["86400"]
    assert "ap-south-1" in query["X-Amz-Credential"][0]
    ozonetel.forward(86_300)
    assert len(failed_rows(ozonetel, url)) == 2
    ozonetel.forward(200)
    answer = ozonetel.http.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/xml")
    assert "<Code>AccessDenied</Code><Message>Request has expired</Message>" in answer.text


def test_the_failed_file_wants_its_whole_url(ozonetel, receiver):
    url = failed_url(ozonetel, receiver)
    parts = urlsplit(url)
    for query in ("", parts.query.replace("X-Amz-Expires=86400", "X-Amz-Expires=864000"), parts.query[:-1]):
        answer = ozonetel.http.get(urlunsplit(parts._replace(query=query)))
        assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)
    again = urlencode(parse_qsl(parts.query)[::-1], safe="/=")  # written anew, it means the same
    assert ozonetel.http.get(urlunsplit(parts._replace(query=again))).status_code == 200


def row(name="", phone="9876543210", **cells):
    return [phone, name, *cells.values()]


LONG = 2000 - len("PhoneNumberName") - 10


@pytest.mark.parametrize(
    ("header", "bad", "reason"),
    [
        pytest.param(["Name"], ["O'Neil"], "Invalid Name", id="case 24 apostrophe"),
        pytest.param(["Name"], ["Neil, Jr"], "Invalid Name", id="case 24 comma"),
        pytest.param(["Name"], ["Asha\n"], "Invalid Name", id="case 24 line end"),
        pytest.param(["Name"], ["Aïda"], "Invalid Name", id="case 24 accent"),
        pytest.param(["Name"], ["x" * (LONG + 1)], "Row exceeds 2000 characters", id="case 25"),
        pytest.param(["Priority"], [0], "Invalid Priority", id="priority 0"),
        pytest.param(["Priority"], ["high"], "Invalid Priority", id="priority text"),
        pytest.param(["ExpiryDate"], ["2026-02-30"], "Invalid ExpiryDate", id="no date"),
        pytest.param(["ExpiryDate"], ["31-12-2026"], "Invalid ExpiryDate", id="date turned"),
        pytest.param(["ExpiryDate"], ["20261231"], "Invalid ExpiryDate", id="date bare"),
    ],
)  # fmt: skip
def test_a_bad_row_fails_alone(ozonetel, receiver, header, bad, reason):
    header = ["PhoneNumber", *header]
    rows = [["9876543210", *bad], ["9876543211", ""]]
    told = ozonetel.add(rows, header, campaignName="Win-back", callBackUrl=receiver.url)
    assert (told["status"], counts(told)) == ("Success", (2, 1, 1))
    received(receiver)
    found = failed_rows(ozonetel, record(receiver)["failedFilePath"])
    assert found == [[*header, "Reason"], ["9876543210", str(bad[0]), reason]]
    assert ozonetel.phones("Win-back") == ["9876543211"]


def test_rows_that_pass(ozonetel):
    rows = [
        ["9876543210", "a-z A_Z 09 (x).+$%-:", 1, "2026-12-31", None],
        ["+919876543210", "", "99", "", "k"],
        [9876543, None, None, None, 7],
        ["9" * 15, "x" * (2000 - len("PhoneNumberNamePriorityExpiryDateCustomerKey") - 15), "", "", ""],
    ]
    header = ["PhoneNumber", "Name", "Priority", "ExpiryDate", "CustomerKey"]
    assert counts(ozonetel.add(rows, header, campaignName="Win-back")) == (4, 4, 0)
    assert ozonetel.leads("Win-back")[2]["CustomerKey"] == "7"


def test_case_25_2000_characters_pass(ozonetel):
    rows = [["9876543210", "x" * LONG], ["9876543210", "x" * (LONG + 1)]]
    assert counts(ozonetel.add(rows, ["PhoneNumber", "Name"])) == (2, 1, 1)


def test_one_row_of_another_width_fails_alone(ozonetel, receiver):
    url = failed_url(ozonetel, receiver, [A, ["9876543211"], "9876543212"])
    assert failed_rows(ozonetel, url)[1:] == [
        ["9876543211", "Column count mismatch"], ["9876543212", "Column count mismatch"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("campaign", "needs"), [("Own customers", "AgentId"), ("Technical follow-up", "skill")]
)
def test_agent_wise_and_skill_wise(ozonetel, receiver, campaign, needs):
    header = ["PhoneNumber", needs]
    told = ozonetel.add(
        [["9876543210", "one"], ["9876543211", " "]],
        header,
        campaignName=campaign,
        callBackUrl=receiver.url,
    )
    assert counts(told) == (2, 1, 1)
    received(receiver)
    assert failed_rows(ozonetel, record(receiver)["failedFilePath"])[1][-1] == f"{needs} is required"


# --- the limit


def test_case_17_six_calls_in_a_minute(ozonetel):
    ozonetel.server.switch("ozonetel", requests_per_minute=5)
    for _ in range(5):
        assert "transactionId" in ozonetel.post([A]).json()
    for _ in range(3):
        assert ozonetel.post([B]).json() == TOO_MANY
    told = ozonetel.state()
    assert (len(told["transactions"]), told["highest_in_60_seconds"]) == (5, 8)
    ozonetel.finished(told["transactions"][-1]["transactionId"])
    assert set(ozonetel.phones()) == {A[0]}


def test_case_18_after_the_window(ozonetel):
    """The window slides: five calls, ten seconds apart, make way one by one."""
    ozonetel.server.switch("ozonetel", requests_per_minute=5)
    for _ in range(5):
        assert "transactionId" in ozonetel.post([A]).json()
        ozonetel.forward(10)
    assert ozonetel.post([A]).json() == TOO_MANY
    ozonetel.forward(11)  # the first call is 61 seconds ago; the refused one does not count
    assert "transactionId" in ozonetel.post([A]).json()
    assert ozonetel.post([A]).json() == TOO_MANY
    assert ozonetel.state()["highest_in_60_seconds"] == 7


def test_refused_calls_may_count(ozonetel):
    ozonetel.server.switch("ozonetel", requests_per_minute=1, refused_hits_count=True)
    ozonetel.post([A])
    ozonetel.forward(40)
    assert ozonetel.post([A]).json() == TOO_MANY
    ozonetel.forward(40)
    assert ozonetel.post([A]).json() == TOO_MANY
    ozonetel.forward(61)
    assert "transactionId" in ozonetel.post([A]).json()


def test_calls_that_fail_count_and_each_key_on_its_own(ozonetel):
    ozonetel.server.switch("ozonetel", requests_per_minute=2)
    assert [ozonetel.post([A], userName="x").json() for _ in range(3)] == [NOBODY, NOBODY, TOO_MANY]
    assert ozonetel.post([A], apiKey="another").json() == NOBODY
    assert [ozonetel.post([A], apiKey="").json() for _ in range(3)] == [NO_KEY] * 3


def test_the_highest_count_is_of_any_window(ozonetel):
    for pause in (0, 0, 58, 3, 0, 0, 70):
        ozonetel.post([A])
        ozonetel.forward(pause)
    assert ozonetel.state()["highest_in_60_seconds"] == 4
    times = [datetime.fromisoformat(hit["time"]) for hit in ozonetel.state()["hits"]]
    assert times == sorted(times)
    assert [call["time"] for call in ozonetel.state()["requests"]] == sorted(
        call["time"] for call in ozonetel.state()["requests"]
    )


# --- duplicates


def test_case_19_check_duplicate_within_the_payload(ozonetel, receiver):
    rows = [A, B, ["+9876543210", "Second", 1]]
    url = failed_url(ozonetel, receiver, rows, checkDuplicate="true")
    assert [(lead["PhoneNumber"], lead["Name"]) for lead in ozonetel.leads()] == [
        (A[0], "Asha"),
        (B[0], "Ravi K."),
    ]
    assert counts(record(receiver)) == (3, 2, 1)
    assert failed_rows(ozonetel, url)[1:] == [["+9876543210", "Second", "1", "Duplicate"]]


def test_an_invalid_row_is_no_first(ozonetel):
    told = ozonetel.add([["9876543210", "O'Neil", 1], A], checkDuplicate="true")
    assert (counts(told), ozonetel.leads()[0]["Name"]) == ((2, 1, 1), "Asha")


def test_case_20_check_duplicate_against_the_campaign(ozonetel):
    ozonetel.add([A, B])
    httpx.post(f"{ozonetel.server.base_url}/_sandbox/ozonetel/dial", json={"campaign": C, "leads": 1})
    assert [lead["status"] for lead in ozonetel.leads()] == ["Connected", "New"]
    assert counts(ozonetel.add([A, B, D], checkDuplicate="true")) == (3, 1, 2)
    assert ozonetel.phones() == [A[0], B[0], D[0]]
    assert counts(ozonetel.add([A, B], campaignName="Win-back", checkDuplicate="true")) == (2, 2, 0)


def test_case_21_only_is_delete_counts(ozonetel):
    told = ozonetel.add([A, A], isDelete="true", checkDuplicate="true")
    assert (counts(told), ozonetel.phones()) == ((2, 2, 0), [A[0], A[0]])
    told = ozonetel.add([A], isDelete="false", checkDuplicate="true")
    assert counts(told) == (1, 1, 0)


def test_case_22_is_delete_deletes_nothing(ozonetel):
    ozonetel.add([A])
    assert counts(ozonetel.add([A, B], isDelete="true")) == (2, 1, 1)
    assert ozonetel.phones() == [A[0], B[0]]


@pytest.mark.parametrize(
    "flags", [{}, {"checkDuplicate": "false"}, {"checkDuplicate": ""}, {"checkDuplicate": "True"}]
)
def test_case_23_twice_without_flags_is_there_twice(ozonetel, flags):
    ozonetel.add([A, B], **flags)
    ozonetel.add([A, B], **flags)
    assert ozonetel.phones() == [A[0], B[0], A[0], B[0]]


def test_the_same_call_twice_with_check_duplicate_adds_nothing(ozonetel):
    ozonetel.add([A, B, D], checkDuplicate="true")
    assert counts(ozonetel.add([A, B, D], checkDuplicate="true")) == (3, 0, 3)
    assert len(ozonetel.phones()) == 3


# --- the campaign's state, and the queue


def test_case_26_action(ozonetel):
    def running():
        return ozonetel.state()["campaigns"][C]["state"]

    ozonetel.add([A])
    assert running() == "stopped"
    ozonetel.add([["x", "", ""], A], action="START")
    assert running() == "running"
    ozonetel.add([A], action="restart")
    assert running() == "running"
    ozonetel.add([["9876543210"]], ["Phone"], action="stop")
    assert running() == "running"  # a load that failed does nothing
    ozonetel.add([A], action="stop")
    assert running() == "stopped"


def test_case_27_in_the_order_of_arrival(ozonetel, receiver):
    ozonetel.server.switch("ozonetel", work_seconds=0.2)
    ids = [
        ozonetel.post([[f"987654321{i}", "", ""]], campaignName=name, callBackUrl=receiver.url).json()[
            "transactionId"
        ]
        for i, name in enumerate((C, "Win-back", C))
    ]
    assert [one["status"] for one in ozonetel.state()["transactions"]] == ["queued"] * 3
    received(receiver, 3)
    assert [record(receiver, at)["transactionId"] for at in range(3)] == ids
    assert ozonetel.phones() == ["9876543210", "9876543212"]


def test_case_30_a_callback_that_nobody_takes(ozonetel, receiver):
    receiver.status = 500
    told = ozonetel.add([A], callBackUrl=receiver.url)
    ozonetel.add([B], callBackUrl="http://127.0.0.1:9/callbacks/x")
    ozonetel.add([D], callBackUrl="nonsense")
    answers = [callback["answer"] for callback in ozonetel.callbacks(3)]
    assert answers == [500, "ConnectError", "UnsupportedProtocol"]
    time.sleep(0.1)
    assert len(receiver.bodies) == 1  # no second try
    assert (told["status"], len(ozonetel.phones())) == ("Success", 3)


def test_a_reset_empties_the_account_and_its_queue(ozonetel, receiver):
    ozonetel.add([A], action="start")
    ozonetel.server.switch("ozonetel", work_seconds=0.2)
    ozonetel.post([B], callBackUrl=receiver.url)
    ozonetel.server.reset()
    time.sleep(0.4)
    told = ozonetel.state()
    assert (set(told["counts"].values()), told["hits"], told["transactions"]) == ({0}, [], [])
    assert (told["campaigns"][C]["state"], receiver.bodies) == ("stopped", [])


def test_dialing_is_checked(ozonetel):
    url = f"{ozonetel.server.base_url}/_sandbox/ozonetel/dial"
    assert httpx.post(url, json={"campaign": "Nobody"}).status_code == 404
    assert httpx.post(url, json={"campaign": C, "leads": 0}).status_code == 400


# --- encodings


def test_multipart(ozonetel):
    files = {name: (None, value) for name, value in ozonetel.fields([A]).items()}
    assert ozonetel.http.post(PATH, files=files).json()["status"] == "success"


def test_a_large_multipart(ozonetel):
    rows = [[f"98765{i:05}", "x" * LONG] for i in range(500)]
    files = {name: (None, value) for name, value in ozonetel.fields(rows, ["PhoneNumber", "Name"]).items()}
    assert len(files["bulkData"][1]) > 900_000
    told = ozonetel.http.post(PATH, files=files).json()
    assert counts(ozonetel.finished(told["transactionId"])) == (500, 500, 0)


@pytest.mark.parametrize("bulk", [json.dumps({"map": HEADER, "data": [A]}), {"map": HEADER, "data": [A]}])
def test_json_with_bulk_data_as_text_or_object(ozonetel, bulk):
    fields = ozonetel.fields([], bulkData=bulk, checkDuplicate=True)
    assert ozonetel.http.post(PATH, json=fields).json()["status"] == "success"
    told = ozonetel.http.post(PATH, json=fields).json()
    assert counts(ozonetel.finished(told["transactionId"])) == (1, 0, 1)


def test_json_flags_that_are_there_and_false(ozonetel):
    fields = ozonetel.fields([A, A], isDelete=False, checkDuplicate=True)
    told = ozonetel.http.post(PATH, json=fields).json()
    assert counts(ozonetel.finished(told["transactionId"])) == (2, 2, 0)


def test_strict_encoding_reads_no_json(ozonetel):
    ozonetel.server.switch("ozonetel", strict_encoding=True)
    assert ozonetel.http.post(PATH, json=ozonetel.fields([A])).json() == NO_KEY
    assert ozonetel.post([A]).json()["status"] == "success"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null"])
def test_a_json_body_without_fields(ozonetel, content):
    answer = ozonetel.http.post(PATH, content=content, headers={"Content-Type": "application/json"})
    assert answer.json() == NO_KEY


# --- switches


def test_case_28_double_encoded_and_csv_quoted(ozonetel):
    ozonetel.server.switch("ozonetel", double_encoded=True)
    assert json.loads(ozonetel.post([]).json()) == NO_DATA
    ozonetel.server.switch("ozonetel", double_encoded=False, csv_quoted=True)
    text = ozonetel.post([]).text
    assert text.startswith('"{""status"": ""failure""')
    assert next(csv.reader([text])) == [json.dumps(NO_DATA)]
    assert '""transactionId""' in ozonetel.post([A]).text


def test_error_http_status(ozonetel):
    ozonetel.server.switch("ozonetel", error_http_status=400)
    answer = ozonetel.post([])
    assert (answer.status_code, answer.json()) == (400, NO_DATA)
    assert ozonetel.post([A]).status_code == 200


def test_bare_success(ozonetel):
    ozonetel.server.switch("ozonetel", bare_success=True)
    assert list(ozonetel.post([A]).json()) == ["transactionId"]


def test_case_29_callback_shapes(ozonetel, receiver):
    shapes = ["string", "object", "form", "raw_unescaped"]
    for number, shape in enumerate(shapes):
        ozonetel.server.switch("ozonetel", callback_shape=shape)
        ozonetel.add([A, ["x", "", ""]], callBackUrl=receiver.url)
        received(receiver, number + 1)
    kinds, bodies = zip(*((head["content-type"], body) for _, head, body in receiver.bodies), strict=True)
    assert kinds == ("application/json",) * 2 + ("application/x-www-form-urlencoded", "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(bodies[3])
    raw = bodies[3].decode()
    assert raw.startswith('{"data":"{"') and raw.endswith('"}"}')
    told = [
        json.loads(json.loads(bodies[0])["data"]),
        json.loads(bodies[1])["data"],
        json.loads(parse_qs(bodies[2].decode())["data"][0]),
        json.loads(raw.removeprefix('{"data":"').removesuffix('"}')),
    ]
    assert [counts(one) for one in told] == [(2, 1, 1)] * 4
    assert len({tuple(one) for one in told}) == 1


@pytest.mark.parametrize(
    ("reading", "fitting"),
    [("values", 1990), ("json", 2000 - len('{"PhoneNumber": "9876543210", "Name": ""}'))],
)
def test_other_row_lengths(ozonetel, reading, fitting):
    ozonetel.server.switch("ozonetel", row_length=reading)
    rows = [["9876543210", "x" * fitting], ["9876543211", "x" * (fitting + 1)]]
    ozonetel.add(rows, ["PhoneNumber", "Name"])
    assert ozonetel.phones() == ["9876543210"]


def test_a_bad_row_may_fail_the_load(ozonetel):
    ozonetel.server.switch("ozonetel", bad_row_fails_all=True)
    told = ozonetel.add([A, ["x", "", ""]])
    assert (told["status"], counts(told), ozonetel.phones()) == ("Fail", (2, 0, 2), [])
    ozonetel.add([A])
    assert ozonetel.add([A, B], checkDuplicate="true")["status"] == "Success"  # a duplicate is not bad


@pytest.mark.parametrize(
    ("key", "added"), [("digits", [A[0], "919876543210"]), ("text", None), ("last_10_digits", [A[0]])]
)
def test_what_of_a_number_is_compared(ozonetel, key, added):
    ozonetel.server.switch("ozonetel", duplicate_key=key)
    phones = [A[0], "919876543210", "+919876543210"]
    ozonetel.add([[phone] for phone in phones], ["PhoneNumber"], checkDuplicate="true")
    assert ozonetel.phones() == (added or phones)
    ozonetel.server.switch("ozonetel", duplicate_key="last_10_digits")
    assert counts(ozonetel.add([A], checkDuplicate="true")) == (1, 0, 1)


@pytest.mark.parametrize(("reading", "told"), [("counted", (3, 1, 2)), ("processed", (3, 2, 1))])
def test_how_duplicates_are_told(ozonetel, receiver, reading, told):
    ozonetel.server.switch("ozonetel", duplicates=reading)
    url = failed_url(ozonetel, receiver, [A, A, ["x", "", ""]], checkDuplicate="true")
    assert counts(record(receiver)) == told
    assert [found[-1] for found in failed_rows(ozonetel, url)[1:]] == ["Invalid PhoneNumber"]
    ozonetel.add([A], checkDuplicate="true", callBackUrl=receiver.url)
    received(receiver, 2)
    assert record(receiver)["failedFilePath"] == ""


def test_layouts_of_the_failed_file(ozonetel, receiver):
    ozonetel.server.switch("ozonetel", reason_column="", failed_file_reversed=True, spaces_around_path=True)
    url = failed_url(ozonetel, receiver, [["x", "", ""], A, ["y", "", ""]])
    assert url.startswith(" ") and url.endswith(" ")
    assert failed_rows(ozonetel, url) == [HEADER, ["y", "", ""], ["x", "", ""]]


# --- faults


def test_drop_before_and_after(ozonetel):
    ozonetel.server.fault("ozonetel", "drop_before")
    ozonetel.server.fault("ozonetel", "drop_after", nth=2)
    for number in (0, 1):
        with pytest.raises(httpx.TransportError):
            ozonetel.post([A])
        assert len(ozonetel.state()["transactions"]) == number
    assert [call["status"] for call in ozonetel.state()["requests"]] == [None, None]
    assert len(ozonetel.state()["hits"]) == 1  # the other never reached the vendor


def test_refused_on_the_way(ozonetel):
    ozonetel.server.fault("ozonetel", "status", status=429, retry_after=7)
    ozonetel.server.fault("ozonetel", "status", status=503, nth=2)
    first, second = ozonetel.post([A]), ozonetel.post([A])
    assert (first.status_code, first.headers["retry-after"]) == (429, "7")
    assert (first.json()["status"], second.status_code) == ("error", 503)
    assert ozonetel.state()["transactions"] == []


def test_faults_of_the_failed_file(ozonetel, receiver):
    url = failed_url(ozonetel, receiver)
    ozonetel.server.fault("ozonetel", "status", op="failed_file", status=503)
    ozonetel.server.fault("ozonetel", "truncated", op="failed_file", nth=2)
    assert ozonetel.http.get(url).status_code == 503
    with pytest.raises(httpx.RemoteProtocolError):
        ozonetel.http.get(url)
    assert ozonetel.http.get(url).status_code == 200


def test_forged_callbacks(ozonetel, receiver):
    ozonetel.server.fault("ozonetel", "webhook_forged")
    told = ozonetel.add([A, ["x", "", ""]], callBackUrl=receiver.url)
    received(receiver, 3)
    assert [path for path, _, _ in receiver.calls] == [
        f"/callbacks/{MADE_UP_TOKEN}", "/callbacks/real-token", "/callbacks/real-token",
    ]  # fmt: skip
    forged, real = record(receiver, 1), record(receiver, 2)
    assert (forged["transactionId"], counts(forged)) == (MADE_UP_TRANSACTION, (2, 2, 0))
    assert (real["transactionId"], counts(real)) == (told["transactionId"], (2, 1, 1))


def test_lost_doubled_late_and_garbled_callbacks(ozonetel, receiver):
    for nth, fault in enumerate(("lost", "doubled", "late", "garbage"), 1):
        ozonetel.server.fault("ozonetel", f"webhook_{fault}", nth=nth, seconds=0.5)
    ids = [ozonetel.add([row], callBackUrl=receiver.url)["transactionId"] for row in (A, B, D, A)]
    received(receiver, 4)
    assert [record(receiver, at)["transactionId"] for at in range(3)] == [ids[1], ids[1], ids[2]]
    assert receiver.garbage[0].startswith(b'{"data": "{')


def test_reordered_callbacks(ozonetel, receiver):
    ozonetel.server.fault("ozonetel", "webhook_reordered")
    ozonetel.server.fault("ozonetel", "webhook_reordered", nth=3)
    ids = [ozonetel.add([row], callBackUrl=receiver.url)["transactionId"] for row in (A, B, D)]
    received(receiver, 3)  # nothing comes after the third: it does not wait for ever
    assert [record(receiver, at)["transactionId"] for at in range(3)] == [ids[1], ids[0], ids[2]]


@pytest.mark.parametrize(
    ("fault", "status", "calls"), [("load_error", "Fail", 1), ("load_crash", "crashed", 0)]
)
def test_loads_that_stop_half_way(ozonetel, receiver, fault, status, calls):
    ozonetel.server.fault("ozonetel", fault, match="Renew")
    assert ozonetel.add([A], campaignName="Win-back")["status"] == "Success"
    told = ozonetel.add([A, B, D, A], callBackUrl=receiver.url)
    assert (told["status"], ozonetel.phones()) == (status, [A[0], B[0]])
    time.sleep(0.1)
    assert len(receiver.calls) == calls
    if calls:
        assert counts(record(receiver)) == (4, 2, 2)
    assert ozonetel.add([A])["status"] == "Success"  # the queue goes on
