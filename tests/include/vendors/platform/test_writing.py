"""Leads for writing: their names, their types, and the way there and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.vendors.platform import (
    WRITE_FIELDS,
    LeadFieldError,
    as_written,
    body_of_cells,
    lead_body,
    read_lead,
    update_body,
)

SECRET = "0499123456"
BODY = {
    "listId": 100,
    "customerKey": "10000001",
    "timezone": "Australia/Sydney",
    "phone1": "+61499999999",
    "phone3": "+61255501234",
    "nextAttemptTimestamp": "2026-11-21T09:00:00+11:00",
    "leadData": {"city": "Perth", "score": 5},
    "statusCode": 3,
    "agentId": 1002,
}


def shown(body: dict, **more: object) -> dict:
    """The lead that a vendor shows after it was written like this (section 3: the names differ)."""
    return {
        "leadId": 1,
        "campaignId": 2,
        "listId": body.get("listId"),
        "customerKey": body.get("customerKey"),
        "timezone": body.get("timezone"),
        "agentId": body.get("agentId"),
        "lastStatusCode": body.get("statusCode"),
        "dataFields": body.get("leadData", {}),
        "phones": [
            {"phoneIndex": place, "phoneNumber": body[f"phone{place}"], "dialAttempts": 0}
            for place in (1, 2, 3)
            if body.get(f"phone{place}") is not None
        ],
        "timestamps": {"nextAttempt": body.get("nextAttemptTimestamp")},
        "completed": False,
        **more,
    }


TEXT = st.text(max_size=12)
LEADS = st.fixed_dictionaries(
    {"listId": st.integers(1, 1 << 40)},
    optional={
        "customerKey": TEXT,
        "timezone": TEXT,
        "phone1": TEXT,
        "phone2": TEXT,
        "phone3": TEXT,
        "nextAttemptTimestamp": st.sampled_from(
            ["2019-08-24T14:15:22Z", "2026-01-01T00:00:00+1000", "2026-01-01T00:00:00-03:30"]
        ),
        "leadData": st.dictionaries(TEXT, TEXT | st.integers(0, 1 << 40) | st.booleans(), max_size=3),
        "statusCode": st.integers(0, 99),
        "agentId": st.integers(1, 9999),
    },
)


@given(LEADS)
def test_written_and_read_a_lead_is_the_same(lead):
    row = read_lead(shown(lead_body(lead)))
    again = {name: value for name, value in as_written(row).items() if value not in (None, {})}
    for one in (again, lead := dict(lead)):
        if "nextAttemptTimestamp" in one:
            one["nextAttemptTimestamp"] = datetime.fromisoformat(one["nextAttemptTimestamp"])
    assert again == {name: value for name, value in lead.items() if value != {}}
    # And nothing would be sent to make it what it is.
    assert update_body(shown(lead_body(lead)), lead) == {}


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("2026-01-01T00:00:00+1000", "2026-01-01T00:00:00+10:00"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00"),
        ("2026-01-01T00:00:00.5+10:00", "2026-01-01T00:00:00.500000+10:00"),
    ],
)
def test_times_go_out_with_a_colon(text, sent):
    assert lead_body({"listId": 1, "nextAttemptTimestamp": text})["nextAttemptTimestamp"] == sent


def test_none_is_left_out():
    assert lead_body({**BODY, "agentId": None, "phone2": None}) == {
        name: value for name, value in BODY.items() if name != "agentId"
    }
    moment = datetime(2026, 11, 21, 9, tzinfo=UTC)
    assert lead_body({"listId": 1, "nextAttemptTimestamp": moment}) == {
        "listId": 1,
        "nextAttemptTimestamp": "2026-11-21T09:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"listId": None}, "listId is needed"),
        ({"listId": "100"}, "listId must be a whole number"),
        ({"listId": True}, "listId must be a whole number"),
        ({"statusCode": 1.5}, "statusCode must be a whole number"),
        ({"phone1": 499999999}, "phone1 must be a text"),
        ({"nextAttemptTimestamp": "2026-11-21"}, "nextAttemptTimestamp must be a time with an offset"),
        ({"nextAttemptTimestamp": datetime(2026, 11, 21)}, "nextAttemptTimestamp must be a time"),  # noqa: DTZ001
        ({"leadData": "{}"}, "leadData must be an object"),
        ({"leadData": {"city": None}}, "leadData.city must not be null"),
        ({"dataFields": {}}, "'dataFields' is no field"),
        ({"isCompleted": True}, "switch of its own"),
    ],
)
def test_a_wrong_field_is_named_without_its_value(change, complaint):
    with pytest.raises(LeadFieldError, match=complaint) as caught:
        lead_body({**BODY, "phone2": SECRET, **change})
    assert "499" not in str(caught.value)


def test_a_row_of_text_becomes_a_lead():
    cells = {
        "customerKey": "007",
        "phone1": "+61499999999",
        "phone2": "",
        "statusCode": "5",
        "agentId": "",
        "leadData.city": "Perth",
        "leadData.note": "",
    }
    assert body_of_cells(cells, 9) == {
        "listId": 9,
        "customerKey": "007",
        "phone1": "+61499999999",
        "statusCode": 5,
        "leadData": {"city": "Perth"},
    }
    with pytest.raises(LeadFieldError, match="statusCode"):
        body_of_cells({"statusCode": "five"}, 9)


# --- updates


NOW = shown(BODY)


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ({}, {}),
        ({"statusCode": 3}, {}),
        ({"statusCode": 4}, {"statusCode": 4}),
        ({"phone2": "+61400000000", "phone1": "+61499999999"}, {"phone2": "+61400000000"}),
        ({"listId": 101}, {"listId": 101}),
        ({"nextAttemptTimestamp": "2026-11-20T22:00:00Z"}, {}),
        (
            {"nextAttemptTimestamp": "2026-11-20T22:00:01Z"},
            {"nextAttemptTimestamp": "2026-11-20T22:00:01+00:00"},
        ),
        ({"leadData": {"city": "Perth"}}, {}),
        # The free fields are one field to the vendor: a new one takes the others with it.
        ({"leadData": {"street": "A"}}, {"leadData": {"city": "Perth", "score": 5, "street": "A"}}),
    ],
)
def test_only_what_changes_is_sent(wanted, sent):
    assert update_body(NOW, wanted) == sent


def test_completing_has_its_own_switch_and_one_way():
    assert update_body(NOW, {}, complete=True) == {"isCompleted": True}
    assert update_body(shown(BODY, completed=True), {}, complete=True) == {}
    assert "isCompleted" not in update_body(shown(BODY, completed=True), {"statusCode": 9})
    for value in (True, False):
        with pytest.raises(LeadFieldError, match="switch of its own"):
            update_body(NOW, {"isCompleted": value})


@pytest.mark.parametrize(
    ("wanted", "options", "complaint"),
    [
        ({"phone2": None}, {}, "phone2 must not be null"),
        ({"leadData": {"city": None}}, {}, "leadData.city must not be null"),
        ({"phone2": "1"}, {"clear": ["phone2"], "null_clears": True}, "wanted and cleared"),
        ({}, {"clear": ["phone2"]}, "takes null as unchanged"),
        ({}, {"clear": ["listId"], "null_clears": True}, "listId cannot be cleared"),
        ({}, {"clear": ["completed"], "null_clears": True}, "completed cannot be cleared"),
    ],
)
def test_no_null_by_accident(wanted, options, complaint):
    with pytest.raises(LeadFieldError, match=complaint):
        update_body(NOW, wanted, **options)


def test_a_field_is_cleared_where_the_tenant_does_so():
    assert update_body(NOW, {}, clear=["phone3", "phone2"], null_clears=True) == {"phone3": None}
    assert update_body(NOW, {}, clear=["leadData"], null_clears=True) == {"leadData": None}
    # A single free field needs no null: the others are sent without it.
    assert update_body(NOW, {}, clear=["leadData.city"]) == {"leadData": {"score": 5}}


@given(LEADS, LEADS)
def test_an_update_ends_where_it_was_meant_to(before, wanted):
    sent = update_body(shown(before), wanted)
    assert None not in sent.values()
    after = {**before, **sent}
    assert update_body(shown(after), wanted) == {}
    assert set(sent) <= set(WRITE_FIELDS)
