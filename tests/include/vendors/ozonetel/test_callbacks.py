"""Ozonetel's callbacks as the client must read them, and what they say of a batch; numbers are contract cases."""

from __future__ import annotations

import json
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.vendors.errors import (
    UnexpectedAnswerError,
)
from include.vendors.ozonetel import (
    CALLBACK_FIELDS,
    Callback,
    callback_record,
    find_callback,
    judge,
    read_callback,
)
from tests.include.vendors.ozonetel.samples import LONG_ID, RECORD

PRINTED = {**RECORD, "failedFilePath": " " + RECORD["failedFilePath"].replace("?", "? ") + " "}
"""With stray spaces, as on the page."""

CALLBACK_SHAPES = {
    "object": json.dumps({"data": PRINTED}),
    "string": json.dumps({"data": json.dumps(PRINTED)}),
    "form": "data=" + quote_plus(json.dumps(PRINTED)),
    "parts": (
        '--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; '
        f'name="data"\r\nContent-Type: text/plain\r\n\r\n{json.dumps(PRINTED)}\r\n--b--\r\n'
    ),
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
    assert find_callback([other, RECORD], None) is None, "one attempt, two transactions: which is forged?"
    assert find_callback([other, RECORD], None, 2) == read_callback(other)
    assert find_callback([other, RECORD], LONG_ID) == read_callback(RECORD)


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
