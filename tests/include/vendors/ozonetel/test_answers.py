"""Ozonetel's answers as the client must read them; numbers are contract cases."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    VendorError,
)
from include.vendors.ozonetel import (
    Accepted,
    read_answer,
)
from tests.include.vendors.ozonetel.samples import LONG_ID

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
