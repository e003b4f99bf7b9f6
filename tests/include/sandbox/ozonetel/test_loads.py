"""What the sandbox's Ozonetel takes, refuses and calls back, and at which pace; cases by their number."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import httpx
import pytest

from tests.include.sandbox.ozonetel.conftest import (
    HEADER,
    INBOUND,
    NO_DATA,
    NO_KEY,
    PATH,
    A,
    B,
    C,
    D,
    counts,
    received,
    record,
)
from tests.waiting import STILL, before_it_comes, until

NO_USER = {"status": "error", "message": "userName should not be empty"}
NOBODY = {"status": "error", "message": "Invalid userName or apiKey"}
NO_NAME = {"status": "error", "message": "campaignName should not be empty"}
NO_CAMPAIGN = {"status": "error", "message": "Invalid Campaign Name"}
TOO_MANY = {"status": "error", "message": "too many Requests and failed to add Data to queue"}


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
    ozonetel.server.clock(datetime(2026, 11, 21, 20, 30, tzinfo=UTC), speed=STILL)
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
    assert body["startDateTime"] == body["endDateTime"] == "2026-11-22 02:00:00"  # India's time
    (callback,) = ozonetel.callbacks()
    assert callback == {
        "url": receiver.url, "transactionId": told["transactionId"], "status": "Success", "answer": 200,
    }  # fmt: skip


def test_case_31_transaction_ids_have_24_or_25_digits_and_tell_the_time(ozonetel):
    ozonetel.server.clock(datetime(2024, 7, 11, 6, 15, 29, tzinfo=UTC), speed=STILL)
    ids = [ozonetel.post([A]).json()["transactionId"] for _ in range(4)]
    assert sorted(map(len, ids)) == [24, 24, 25, 25]
    assert len(set(ids)) == 4
    assert {int(one[:10]) for one in ids} == {1720678529}


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
    for work in before_it_comes(0.2, 2, 20):
        ozonetel.server.reset()
        receiver.calls.clear()
        ozonetel.server.switch("ozonetel", work_seconds=work)
        ids = [
            ozonetel.post([[f"987654321{i}", "", ""]], campaignName=name, callBackUrl=receiver.url).json()[
                "transactionId"
            ]
            for i, name in enumerate((C, "Win-back", C))
        ]
        queued = [one["status"] for one in ozonetel.state()["transactions"]]
    assert queued == ["queued"] * 3
    until(lambda: len(receiver.calls) == 3)
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


@pytest.mark.parametrize(
    "address", ["http://[::1]:99999/x", "http://xn--a/x", "http://[bad", "http://a b/x", "\x00"]
)
def test_an_address_that_is_none_keeps_no_other_from_being_called(ozonetel, receiver, address):
    ozonetel.add([A], callBackUrl=address)
    ozonetel.add([B], callBackUrl=receiver.url)
    assert [callback["answer"] for callback in ozonetel.callbacks(2)][1] == 200


def test_a_reset_empties_the_account_and_its_queue(ozonetel, receiver):
    for work in before_it_comes(0.2, 2, 20):
        ozonetel.server.reset()
        receiver.bodies.clear()
        ozonetel.add([A], action="start")
        ozonetel.server.switch("ozonetel", work_seconds=work)
        ozonetel.post([B], callBackUrl=receiver.url)
        ozonetel.server.reset()
    time.sleep(2 * work)
    told = ozonetel.state()
    assert (set(told["counts"].values()), told["hits"], told["transactions"]) == ({0}, [], [])
    assert (told["campaigns"][C]["state"], receiver.bodies) == ("stopped", [])


def test_dialing_is_checked(ozonetel):
    url = f"{ozonetel.server.base_url}/_sandbox/ozonetel/dial"
    assert httpx.post(url, json={"campaign": "Nobody"}).status_code == 404
    assert httpx.post(url, json={"campaign": C, "leads": 0}).status_code == 400
