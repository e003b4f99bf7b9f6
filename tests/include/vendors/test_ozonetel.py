"""Ozonetel's answers, callbacks and files of failed rows as the client must read them; numbers are contract cases."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.vendors import ozonetel
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)
from include.vendors.ozonetel import (
    CALLBACK_FIELDS,
    DUPLICATE_FLAGS,
    ENCODINGS,
    Accepted,
    Callback,
    bulk_data,
    callback_record,
    encode,
    file_problem,
    find_callback,
    judge,
    load_problems,
    read_answer,
    read_callback,
    read_failed_rows,
    request_fields,
    safe_to_resend,
)

KEY = "KK0123456789abcdef0123456789abcdef"
LONG_ID = "1720678529012345678901234"

# Section 3 of the contract: message -> error
DOCUMENTED = {
    ("error", "apiKey should not be empty"): AuthenticationError,  # 3
    ("error", "userName should not be empty"): AuthenticationError,  # 5
    ("error", "Invalid userName or apiKey"): AuthenticationError,  # 4, 6
    ("error", "campaignName should not be empty"): RequestRefusedError,  # 7
    ("error", "Invalid Campaign Name"): RequestRefusedError,  # 8, 9
    ("failure", "Please provide valid data"): RequestRefusedError,  # 10, 11
    ("error", "too many Requests and failed to add Data to queue"): RateLimitedError,  # 17
}


def plain(answer: dict[str, str]) -> bytes:
    return json.dumps(answer).encode()


def double_encoded(answer: dict[str, str]) -> bytes:
    return json.dumps(json.dumps(answer)).encode()


def csv_quoted(answer: dict[str, str]) -> bytes:
    return ('"' + json.dumps(answer).replace('"', '""') + '"').encode()


SHAPES = [plain, double_encoded, csv_quoted]


# --- answers


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])  # OZ-7: the body decides
@pytest.mark.parametrize("shape", SHAPES)  # 28
@pytest.mark.parametrize(("word", "message"), DOCUMENTED)
def test_every_documented_error_in_every_shape_and_status(word, message, shape, status):
    with pytest.raises(DOCUMENTED[word, message]) as caught:
        read_answer(status, shape({"status": word, "message": message}))
    assert message in str(caught.value)
    assert caught.value.http_status == status


@pytest.mark.parametrize("message", [message for _, message in DOCUMENTED])
def test_every_documented_error_says_what_to_do(message):
    with pytest.raises(VendorError) as caught:
        read_answer(200, plain({"status": "error", "message": message}))
    assert "The contract does not know" not in str(caught.value)


@pytest.mark.parametrize("spelling", ["ERROR", "Failure", "fail"])
def test_the_status_word_in_any_letter_case(spelling):
    with pytest.raises(RequestRefusedError):
        read_answer(200, plain({"status": spelling, "message": "?", "transactionId": "1"}))


def test_a_rate_limit_asks_for_a_minute():
    with pytest.raises(RateLimitedError) as caught:
        read_answer(200, plain({"status": "error", "message": "too many Requests and failed to add Data"}))
    assert caught.value.retry_after == 60 and caught.value.again


@pytest.mark.parametrize("shape", SHAPES)
def test_an_accepted_batch_keeps_every_digit_of_its_id(shape):  # 1, 31
    answer = {"transactionId": LONG_ID, "status": "success", "message": "Data added to queue"}
    assert read_answer(200, shape(answer)) == Accepted(LONG_ID)


@pytest.mark.parametrize(
    "body",
    [
        b'{"transactionId": "17"}',
        b'{"transactionId": 17, "status": "anything"}',
        b'\xef\xbb\xbf {"transactionId": " 17 ", "message": "never looked at"}\n',
    ],
)
def test_what_else_counts_as_accepted(body):
    assert read_answer(200, body) == Accepted("17")


def test_an_id_without_quotes_loses_no_digit():
    assert read_answer(200, b'{"transactionId": %s}' % LONG_ID.encode()) == Accepted(LONG_ID)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, LostAnswerError),
        (202, LostAnswerError),
        (301, RequestRefusedError),
        (400, RequestRefusedError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, RequestRefusedError),
        (405, RequestRefusedError),  # 32
        (429, RateLimitedError),
        (500, LostAnswerError),
        (502, LostAnswerError),
        (503, UnavailableError),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b"17", b'{"other": 1}', b"\xff", b'"'])
def test_a_body_that_tells_nothing_is_judged_by_its_status(status, kind, body):
    with pytest.raises(VendorError) as caught:
        read_answer(status, body)
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [401, 405, 500])
def test_an_error_status_is_an_error_whatever_the_body_says(status):
    with pytest.raises(VendorError):
        read_answer(status, plain({"transactionId": "17", "status": "success"}))


def test_an_unknown_message_is_told_without_its_numbers():
    with pytest.raises(RequestRefusedError) as caught:
        read_answer(200, plain({"status": "error", "message": "row 3: +91 98765-43210 is bad"}))
    assert "row 3: " in str(caught.value) and "98765" not in str(caught.value)
    assert "43210" not in str(caught.value)


@settings(deadline=None)
@given(status=st.sampled_from([200, 302, 400, 401, 429, 500, 503]), body=st.binary(max_size=60))
def test_no_body_breaks_the_reader(status, body):
    with pytest.raises(VendorError):
        read_answer(status, body)


# --- requests


def fields(**changes):
    values = {
        "key": KEY,
        "user": "demo",
        "campaign": "Out & bound",
        "bulk": bulk_data(["PhoneNumber", "Name"], [["9876543210", "Åsa +"]]),
        "duplicates": "skip_all",
        "action": None,
        "callback_url": None,
    }
    return request_fields(**values | changes)


def test_rows_are_positional_and_a_priority_is_a_number():
    header = ["PhoneNumber", "Priority", "ExpiryDate"]
    assert json.loads(bulk_data(header, [["9876543210", "6", "2025-12-31"], ["9876543211", "", ""]])) == {
        "map": header,
        "data": [["9876543210", 6, "2025-12-31"], ["9876543211", "", ""]],
    }


def test_nothing_is_asked_for_that_the_flow_does_not_name():
    assert set(fields(duplicates="add_all")) == {"apiKey", "userName", "campaignName", "bulkData"}
    full = fields(action="start", callback_url="https://x.example/t")
    assert (full["action"], full["callBackUrl"]) == ("start", "https://x.example/t")


def test_the_two_duplicate_flags_never_go_together():
    assert fields()["checkDuplicate"] == "true"
    assert fields(duplicates="skip_existing")["isDelete"] == "true"
    assert all(len(flags) <= 1 for flags in DUPLICATE_FLAGS.values())


def test_only_a_checked_batch_is_safe_to_send_again():
    assert [way for way in DUPLICATE_FLAGS if safe_to_resend(way)] == ["skip_all"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding_carries_the_same_fields(encoding):
    sent = fields(callback_url="https://x.example/t?a=b&c")
    body, content_type = encode(sent, encoding)
    if encoding == "form":
        assert content_type == "application/x-www-form-urlencoded"
        assert {name: value for name, [value] in parse_qs(body.decode()).items()} == sent
    elif encoding == "json":
        assert content_type == "application/json" and json.loads(body) == sent
    else:
        boundary = content_type.removeprefix("multipart/form-data; boundary=").encode()
        parts = [part.partition(b"\r\n\r\n") for part in body.split(b"--" + boundary)[1:-1]]
        read = {head.split(b'name="')[1][:-1].decode(): text[:-2].decode() for head, _, text in parts}
        assert read == sent


def test_columns_are_checked_before_anything_is_sent():
    def problems(*columns, agent_wise=False, skill_wise=False):
        return " ".join(load_problems(columns=columns, agent_wise=agent_wise, skill_wise=skill_wise))

    assert problems("PhoneNumber", "Name") == ""
    assert "PhoneNumber" in problems("phonenumber")
    assert "Name is mapped more than once" in problems("PhoneNumber", "Name", "Name")
    assert "AgentId" in problems("PhoneNumber", "AgentID", agent_wise=True)
    assert "skill" in problems("PhoneNumber", "Skill", skill_wise=True)
    assert problems("PhoneNumber", "AgentId", "skill", agent_wise=True, skill_wise=True) == ""


# --- callbacks

RECORD = {
    "totalNoUploaded": "6",
    "numbersProcessed": "2",
    "numbersNotProcessed": "4",
    "failedFilePath": "https://b.s3.ap-south-1.amazonaws.com/f.csv?X-Amz-Signature=5ec+re=t",
    "transactionId": LONG_ID,
    "status": "Success",
    "message": "File Successfully uploaded.",
    "startDateTime": "2024-07-11 11:45:29",
    "endDateTime": "2024-07-11 11:45:30",
}
PRINTED = {**RECORD, "failedFilePath": f" {RECORD['failedFilePath']} "}  # with stray spaces, as on the page

CALLBACK_SHAPES = {
    "object": json.dumps({"data": PRINTED}),
    "string": json.dumps({"data": json.dumps(PRINTED)}),
    "form": "data=" + quote_plus(json.dumps(PRINTED)),
    "raw_unescaped": '{"data":"' + json.dumps(PRINTED) + '"}',
}


@pytest.mark.parametrize("shape", CALLBACK_SHAPES)
def test_every_shape_of_a_callback_is_the_same_record(shape):  # 29
    assert callback_record(CALLBACK_SHAPES[shape].encode()) == RECORD


def test_a_record_is_read_again_as_itself():
    assert callback_record(json.dumps(RECORD).encode()) == RECORD


def test_numbers_without_quotes_become_text():
    told = {**RECORD, "totalNoUploaded": 6, "transactionId": int(LONG_ID), "extra": "dropped"}
    assert callback_record(json.dumps({"data": told}).encode()) == RECORD


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"data": 1}', '{"data":""}', "data=", "data={}", "a=b", "\0"]
)
def test_what_is_no_callback(text):
    with pytest.raises(UnexpectedAnswerError):
        callback_record(text.encode())


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_no_callback_body_breaks_the_reader(body):
    with pytest.raises(UnexpectedAnswerError):
        callback_record(body)


def test_a_callback_is_read_field_by_field():
    assert read_callback(RECORD) == Callback(
        LONG_ID, "Success", "File Successfully uploaded.", 6, 2, 4, RECORD["failedFilePath"]
    )
    assert "5ec" not in repr(read_callback(RECORD))
    assert read_callback({**RECORD, "failedFilePath": ""}).failed_file is None


@pytest.mark.parametrize("wrong", ["", "-1", "two", "1.5", "²"])
@pytest.mark.parametrize("name", CALLBACK_FIELDS[:3])
def test_counts_must_be_counts(name, wrong):
    with pytest.raises(UnexpectedAnswerError):
        read_callback({**RECORD, name: wrong})


def test_the_transaction_tells_which_callback_is_ours():
    other, broken = {**RECORD, "transactionId": "1"}, {**RECORD, "numbersProcessed": "?"}
    repeated = {**RECORD, "numbersProcessed": "6", "numbersNotProcessed": "0"}
    assert find_callback([other, broken, RECORD, repeated], LONG_ID) == read_callback(RECORD)
    assert find_callback([other], LONG_ID) is None
    assert find_callback([other], None) == read_callback(other)  # its answer was lost: the token tells
    assert find_callback([], None) is None


def ended(total: int, processed: int, failed: int, status: str = "Success") -> Callback:
    return Callback("1", status, "", total, processed, failed, None)


@pytest.mark.parametrize(
    ("callback", "sent", "counts", "problem"),
    [
        (ended(3, 3, 0), 3, (3, 0, 0), None),  # 2
        (ended(6, 2, 4), 6, (2, 4, 0), None),  # 15: the share of valid rows decides
        (ended(6, 0, 6), 6, (0, 6, 0), "not one row"),
        (ended(6, 0, 6, "Fail"), 6, (0, 6, 0), "mapping file"),  # 12, 13, 14
        (ended(6, 2, 4, "Fail"), 6, (2, 4, 0), "mapping file"),
        (ended(6, 6, 0), 7, (0, 0, 7), "do not add up"),
        (ended(6, 5, 0), 6, (0, 0, 6), "do not add up"),
        (ended(6, 6, 1), 6, (0, 0, 6), "do not add up"),
    ],
)
def test_a_batch_is_judged_by_its_counts(callback, sent, counts, problem):
    outcome = judge(callback, sent)
    assert (outcome.delivered, outcome.rejected, outcome.uncertain) == counts
    assert problem is None if outcome.problem is None else problem in outcome.problem


# --- the file of failed rows

HEADER = ["PhoneNumber", "Name"]


def test_failed_rows_are_read_with_the_vendors_reason():
    data = b'\xef\xbb\xbfPhoneNumber,Name,Reason\r\n+91 98765-43210,"O\'Neil, A",Invalid Name\r\n\r\n2,B,Duplicate\r\n'
    first, second = read_failed_rows(data, HEADER)
    assert (first.phone, first.cells) == ("919876543210", ("+91 98765-43210", "O'Neil, A"))
    assert (first.reason, first.duplicate) == ("Invalid Name", False)
    assert (second.reason, second.duplicate) == ("Duplicate", True)
    assert "98765" not in repr(first) and "Neil" not in repr(first)


def test_the_reason_stands_under_any_other_header_and_the_word_is_a_setting():
    (row,) = read_failed_rows(b"Why,PhoneNumber\nschon da,12", HEADER, duplicate="Schon")
    assert (row.reason, row.duplicate, row.cells) == ("schon da", True, ("12", ""))


@pytest.mark.parametrize("data", [b"", b"<Error>AccessDenied</Error>", b"a,b\n1,2\n"])
def test_what_is_no_file_of_failed_rows(data):
    with pytest.raises(UnexpectedAnswerError):
        read_failed_rows(data, HEADER)


HOSTS = [".amazonaws.com", "files.example"]


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        (RECORD["failedFilePath"], True),
        ("https://files.example/x", True),
        ("http://b.s3.amazonaws.com/x", False),
        ("https://amazonaws.com.evil.example/x", False),
        ("https://evilamazonaws.com/x", False),
        ("https://b.amazonaws.com@evil.example/x", False),
        ("https://u:p@files.example/x", False),
        ("https://169.254.169.254/latest", False),
        ("file:///etc/passwd", False),
        ("https://[", False),
        ("", False),
        ("http://127.0.0.1:8900/x", False),
    ],
)
def test_only_the_vendors_own_file_is_fetched(url, fine):
    problem = file_problem(url, HOSTS, allow_http=False)
    assert (problem is None) == fine
    assert problem is None or "evil" not in problem


def test_a_sandbox_may_serve_the_file_over_http():
    assert file_problem("http://127.0.0.1:8900/x", HOSTS, allow_http=True) is None
    assert file_problem("http://files.example/x", HOSTS, allow_http=True) is None
    assert file_problem("http://192.168.0.1/x", HOSTS, allow_http=True) is not None


def test_limits_are_those_of_the_page():
    assert (ozonetel.MAX_ROWS, ozonetel.MAX_ROW_CHARS, ozonetel.CALLS) == (500, 2000, 5)
