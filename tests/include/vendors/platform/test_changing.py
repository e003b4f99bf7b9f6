"""Updates made of a row of text, and what the vendor says of one that it does not take."""

from __future__ import annotations

import json

import pytest

from include.vendors.errors import LostAnswerError, RequestRefusedError
from include.vendors.platform import (
    FieldsRefusedError,
    LeadFieldError,
    NotFoundError,
    change_of_cells,
    require_done,
)

LEAD = {
    "leadId": 7,
    "listId": 300,
    "customerKey": "K",
    "timezone": "Australia/Sydney",
    "phones": [{"phoneIndex": n, "phoneNumber": f"+6149999999{n}"} for n in (1, 2)],
    "dataFields": {"city": "Bern", "nested": {"a": 1}},
    "lastStatusCode": 4,
    "agentId": 1002,
    "timestamps": {"nextAttempt": "2026-12-01T09:30:00+1100"},
}


@pytest.mark.parametrize(
    ("cells", "sent"),
    [
        ({"customerKey": "K", "phone1": "+61499999991", "timezone": "Australia/Sydney"}, {}),
        ({"nextAttemptTimestamp": "2026-11-30T22:30:00Z"}, {}),
        ({"statusCode": "4", "agentId": "1002"}, {}),
        ({"statusCode": "5"}, {"statusCode": 5}),
        ({"timezone": "", "statusCode": "", "agentId": "", "nextAttemptTimestamp": ""}, {}),
        ({"phone3": "", "leadData.street": ""}, {}),
        ({"leadData.city": "Bern"}, {}),
        ({"leadData.city": "Basel"}, {"leadData": {"city": "Basel", "nested": {"a": 1}}}),
        ({"leadData.city": ""}, {"leadData": {"nested": {"a": 1}}}),
        ({"leadData.city": "", "leadData.zip": "1"}, {"leadData": {"nested": {"a": 1}, "zip": "1"}}),
    ],
)
def test_only_what_differs(cells, sent):
    assert change_of_cells(LEAD, cells, null_clears=False) == sent


def test_a_number_that_was_given_up():
    with pytest.raises(LeadFieldError, match="phone2 cannot be cleared"):
        change_of_cells(LEAD, {"phone2": ""}, null_clears=False)
    assert change_of_cells(LEAD, {"phone2": ""}, null_clears=True) == {"phone2": None}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"message": "m", "errors": {"phone1": ["No number.", "Too long."], "x": "odd"}},
            "phone1: No number. Too long.; x: odd",
        ),
        ({"message": "Not so.", "errors": {}}, "Not so."),
        ({"message": "Not so.", "errors": ["odd"]}, "Not so."),
        ({}, ""),
        (["odd"], ""),
    ],
)
@pytest.mark.parametrize("status", [400, 409, 422])
def test_the_words_of_a_refusal(status, body, words):
    with pytest.raises(FieldsRefusedError) as refused:
        require_done(status, {}, json.dumps(body).encode(), "update of a lead")
    assert (refused.value.words, refused.value.http_status) == (words, status)
    assert "No number" not in str(refused.value), "words may quote a lead"


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFoundError), (405, RequestRefusedError), (500, LostAnswerError)]
)
def test_what_is_not_about_the_fields(status, kind):
    with pytest.raises(kind) as error:
        require_done(status, {}, b"{}", "update of a lead")
    assert not isinstance(error.value, FieldsRefusedError)
