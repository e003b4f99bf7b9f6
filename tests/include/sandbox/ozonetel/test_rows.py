"""What the sandbox's Ozonetel makes of rows and duplicates, and its file of failed rows; cases by their number."""

from __future__ import annotations

from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from tests.include.sandbox.ozonetel.conftest import (
    HEADER,
    LONG,
    A,
    B,
    C,
    D,
    counts,
    failed_rows,
    failed_url,
    received,
    record,
)

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
