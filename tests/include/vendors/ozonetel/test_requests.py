"""What the client asks of Ozonetel; numbers are contract cases."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from include.vendors import ozonetel
from include.vendors.errors import RequestRefusedError
from include.vendors.ozonetel import (
    DUPLICATE_FLAGS,
    ENCODINGS,
    bulk_data,
    check_size,
    encode,
    load_problems,
    request_fields,
    safe_to_resend,
)

KEY = "KK0123456789abcdef0123456789abcdef"


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


@pytest.mark.parametrize("rows", [0, 501])
def test_a_request_holds_1_to_500_rows(rows):
    check_size(1)
    check_size(500)
    with pytest.raises(RequestRefusedError, match=f"1 to 500 rows, not {rows}; it was not sent"):
        check_size(rows)


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


def test_limits_are_those_of_the_page():
    assert (ozonetel.MAX_ROWS, ozonetel.MAX_ROW_CHARS, ozonetel.CALLS) == (500, 2000, 5)
