"""How leads of the Platform API are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.leads.schema import LEAD_COLUMNS
from include.vendors.platform import (
    BadLeadError,
    ChangedFilterError,
    LeadQuery,
    check_item,
    read_lead,
)
from tests.include.vendors.platform.samples import FULL_LEAD, SAMPLES, SECRETS

LEAD = json.loads((SAMPLES / "lead.json").read_text())


@pytest.mark.parametrize(
    ("query", "change"),
    [
        ({"listId": 100}, {"listId": 101}),
        ({"listId": 100}, {"listId": None}),
        ({"campaignId": 2}, {"campaignId": 3}),
        ({"statusCode": 3}, {"lastStatusCode": 4}),
        ({"statusCode": 3}, {"lastStatusCode": None}),
        ({"customerKey": "10000001"}, {"customerKey": "10000009"}),
        ({"customerKey": "10000001"}, {"customerKey": None}),
    ],
)
def test_a_lead_that_was_not_asked_for_is_noticed(query, change):
    check_item(LEAD, LeadQuery(**query))
    check_item({"leadId": 1}, LeadQuery(**query))  # a field that is absent says nothing
    check_item({**LEAD, **change}, LeadQuery())
    with pytest.raises(ChangedFilterError) as caught:
        check_item({**LEAD, **change}, LeadQuery(**query))
    assert "1000000" not in str(caught.value)


def test_a_number_as_customer_key_is_the_same_key():
    check_item({"customerKey": 10000001}, LeadQuery(customerKey="10000001"))


def test_the_printed_lead_is_read_field_by_field():
    assert read_lead(LEAD) == {
        "row_key": "999",
        "lead_id": 999,
        "customer_key": "10000001",
        "list_id": 100,
        "campaign_id": 2,
        "timezone": "Australia/Sydney",
        "phone1": None,
        "phone2": None,
        "phone3": None,
        "status_code": 3,
        "agent_id": 1002,
        "completed": False,
        "uploaded": None,
        "uploaded_at": None,
        "last_attempt": None,
        "next_attempt": None,
        "data": "{}",
    }
    assert list(read_lead(LEAD)) == list(LEAD_COLUMNS)


def test_the_unfolded_lead_too():
    row = read_lead(FULL_LEAD)
    assert (row["phone1"], row["phone2"], row["phone3"]) == ("+61499999999", None, "+61255501234")
    assert row["uploaded_at"] == datetime(2021, 8, 1, 3, 55, 6, tzinfo=UTC)
    assert row["uploaded"] == "2021-08-01T13:55:06+10:00"
    assert (row["last_attempt"], row["next_attempt"]) == ("2021-08-02T13:55:06+1000", "2019-08-24T14:15:22Z")
    assert json.loads(row["data"]) == FULL_LEAD["dataFields"]
    assert row["completed"] is True
    assert row["status_code"] is None


@pytest.mark.parametrize(
    ("phones", "found"),
    [
        (..., (None, None, None)),
        (None, (None, None, None)),
        ([], (None, None, None)),
        ([{"phoneIndex": 2, "phoneNumber": "b"}], (None, "b", None)),
        ([{"phoneIndex": 3, "phoneNumber": "c"}, {"phoneIndex": 1, "phoneNumber": "a"}], ("a", None, "c")),
        ([{"phoneIndex": "2", "phoneNumber": "b"}], (None, "b", None)),
        ([{"phoneNumber": "a"}, {"phoneNumber": "b"}], ("a", "b", None)),
        ([{"phoneIndex": None, "phoneNumber": "a"}], ("a", None, None)),
        ([{"phoneIndex": 0, "phoneNumber": "a"}, {"phoneIndex": 1, "phoneNumber": "b"}], ("a", "b", None)),
        ([{"phoneIndex": 1, "phoneNumber": "a"}, {"phoneIndex": 1, "phoneNumber": "b"}], ("a", "b", None)),
        ([{"phoneIndex": 1, "phoneNumber": None}, {"phoneIndex": 1, "phoneNumber": "b"}], ("b", None, None)),
        ([{"phoneIndex": 4, "phoneNumber": "d"}], ("d", None, None)),
        (["a", "b", "c", "d"], ("a", "b", "c")),
        ([None, "b"], (None, "b", None)),
        ([61499999999], ("61499999999", None, None)),
        ([""], ("", None, None)),
    ],
)
def test_no_shape_of_phones_loses_a_number(phones, found):
    row = read_lead({"leadId": 1} if phones is ... else {"leadId": 1, "phones": phones})
    assert (row["phone1"], row["phone2"], row["phone3"]) == found


@pytest.mark.parametrize(
    ("lead", "field"),
    [
        ({}, "leadId"),
        ({"leadId": None}, "leadId"),
        ({"leadId": "999"}, "leadId"),
        ({"leadId": 9.5}, "leadId"),
        ({"leadId": True}, "leadId"),
        ({"leadId": 1 << 63}, "leadId"),
        ({"leadId": 1, "listId": "100"}, "listId"),
        ({"leadId": 1, "listId": 1 << 63}, "listId"),
        ({"leadId": 1, "campaignId": 1.0}, "campaignId"),
        ({"leadId": 1, "lastStatusCode": True}, "lastStatusCode"),
        ({"leadId": 1, "agentId": {}}, "agentId"),
        ({"leadId": 1, "timestamps": {"uploaded": "yesterday"}}, "timestamps.uploaded"),
        ({"leadId": 1, "timestamps": {"uploaded": "2026-11-20T00:00:00"}}, "timestamps.uploaded"),
        ({"leadId": 1, "timestamps": {"uploaded": 1700000000}}, "timestamps.uploaded"),
        ({"leadId": 1, "timestamps": {"uploaded": "0001-01-01T00:00:00+10:00"}}, "timestamps.uploaded"),
        ({"leadId": 1, "phones": "0499999999"}, "phones"),
        ({"leadId": 1, "phones": {"phone1": "0499999999"}}, "phones"),
        ({"leadId": 1, "phones": [{"phoneIndex": 1, "number": "0499999999"}]}, "phones"),
    ],
)
def test_a_bad_lead_names_the_field_and_no_value(lead, field):
    with pytest.raises(BadLeadError, match=field) as caught:
        read_lead(lead)
    assert not any(secret in str(caught.value) for secret in SECRETS)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*LEAD, "leadId"]), JSON))
def test_whatever_a_lead_holds_it_is_read_or_refused(changes):
    try:
        row = read_lead({**FULL_LEAD, **changes})
    except BadLeadError:
        return
    assert pl.DataFrame([row], schema=LEAD_COLUMNS).height == 1
