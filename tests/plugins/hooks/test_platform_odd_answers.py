"""The Platform hook before a server that answers oddly: what it says is read, or told from what it should have said."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from listkeeper.hooks.platform import PlatformHook

from include.vendors.errors import LostAnswerError, UnexpectedAnswerError, VendorError
from include.vendors.platform import LeadQuery, UserQuery
from tests.plugins.hooks.conftest import RawServer, reply

WRITES: dict[str, Callable[[PlatformHook], Any]] = {
    "create_lead": lambda hook: hook.create_lead({"listId": 300}),
    "create_list": lambda hook: hook.create_list("Spring", 3),
    "bulk_create": lambda hook: hook.bulk_create([{"listId": 300}]),
    "delete_customer": lambda hook: hook.delete_customer(phone="+12025550123"),
    "update_lead": lambda hook: hook.update_lead(7, {"statusCode": 2}),
    "delete_lead": lambda hook: hook.delete_lead(7),
    "set_presence": lambda hook: hook.set_presence(1001, available=True),
}
REPEATED = {"update_lead", "delete_lead", "set_presence"}
"""Those that may be sent again."""


@pytest.fixture
def hook(connect, raw):
    connect("platform_default", raw.url, "token", extra={"timeout": 5})
    made = PlatformHook(sleep=lambda _: None)
    yield made
    made.close()


def says(raw: RawServer, told: Any, status: int = 200, **headers: str) -> None:
    """Let the server answer everything with this."""
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    raw.answer = lambda _, handler: reply(handler, status, body, **headers)


def page(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "metadata": {"nextUri": None}}


def test_json_is_asked_for(hook, raw, connect):
    says(raw, page())
    hook.find_leads(LeadQuery())
    connect("platform_default", raw.url, "token", extra={"headers": {"Accept": "application/vnd.x+json"}})
    PlatformHook().find_leads(LeadQuery())
    says(raw, b"ID3", **{"Content-Type": "audio/mpeg"})
    assert hook.download_media(5).content == b"ID3"
    assert [request.headers["accept"] for request in raw.requests] == [
        "application/json", "application/vnd.x+json", "*/*",
    ]  # fmt: skip


# --- bytes


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/plain", "text/html", ""])
def test_a_byte_order_mark_and_the_type_change_nothing(hook, raw, kind):
    told = page({"leadId": 1, "listId": 300, "new": {"field": [None]}}) | {"more": 1}
    says(raw, b"\xef\xbb\xbf" + json.dumps(told).encode(), **{"content-TYPE": kind})
    assert hook.find_leads(LeadQuery(listId=300)) == told["items"]


def test_half_an_emoji_costs_no_page(hook, raw):
    says(
        raw,
        page({"leadId": 1, "dataFields": {"name": "Zoë \ud83d"}}, {"leadId": 2, "customerKey": "😀 שלום"}),
    )
    first, second = hook.find_leads(LeadQuery())
    assert first["dataFields"]["name"] == "Zoë \ufffd"
    assert second["customerKey"] == "😀 שלום"


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("told", [b"<!DOCTYPE html><html>Log in</html>", b"  <HTML>"])
def test_a_web_page_is_no_success_of_a_write(hook, raw, name, told):
    says(raw, told)
    with pytest.raises(LostAnswerError):
        WRITES[name](hook)
    assert len(raw.requests) == (5 if name in REPEATED else 1)


@pytest.mark.parametrize("name", WRITES)
def test_two_lengths_are_a_lost_answer_and_nothing_is_made_twice(hook, raw, name):
    raw.answer = lambda _, handler: handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 7\r\nConnection: close\r\n\r\n{}"
    )
    with pytest.raises(LostAnswerError):
        WRITES[name](hook)
    assert len(raw.requests) == (5 if name in REPEATED else 1)


# --- ids


@pytest.mark.parametrize("told", [7, "7"])
def test_an_id_may_be_text(hook, raw, told):
    says(raw, {"leadId": told, "listId": told, "inDialler": True})
    assert WRITES["create_lead"](hook) == (7, True)
    assert WRITES["create_list"](hook) == 7
    assert hook.get_lead(7)["leadId"] == told
    says(raw, page({"id": told, "name": "Spring"}))
    assert hook.find_list("Spring", 3) == 7
    says(raw, page({"listId": told, "listName": "Spring"}))
    assert hook.find_list("Spring", 3) == 7
    says(raw, page({"userId": told, "userType": "AGENT", "accountActive": "True"}))
    assert hook.active_agents() == {7}


@pytest.mark.parametrize("told", [None, True, "", "seven", "٧", 7.5, [7], "9" * 5000, ...])
def test_what_is_no_id_is_a_lost_answer(hook, raw, told):
    says(raw, {} if told is ... else {"leadId": told, "listId": told})
    for name in ("create_lead", "create_list"):
        with pytest.raises(LostAnswerError):
            WRITES[name](hook)
    assert len(raw.requests) == 2


@pytest.mark.parametrize(
    "told", [{}, {"message": "no", "errors": {}}, {"leadId": 8, "id": 8}, {"leadId": None}]
)
def test_an_answer_of_another_one_is_not_taken(hook, raw, told):
    says(raw, told)
    for ask in (hook.get_lead, hook.get_list):
        with pytest.raises(UnexpectedAnswerError, match="7, which it was asked for"):
            ask(7)


@pytest.mark.parametrize("item", [{}, {"name": "Spring"}, {"id": None, "name": "Spring"}, {"id": 5}])
def test_a_list_that_cannot_be_told_is_not_passed_over(hook, raw, item):
    """Else it would be made a second time."""
    says(raw, page({"id": 4, "name": "Autumn"}, item))
    with pytest.raises(UnexpectedAnswerError, match="without its id or name"):
        hook.find_list("Spring", 3)


@pytest.mark.parametrize("item", [{}, {"userId": None}, {"userId": "jane"}])
def test_an_agent_without_an_id_is_no_agent(hook, raw, item):
    says(raw, page({"userId": 1001}, item))
    with pytest.raises(UnexpectedAnswerError, match="agent without an id"):
        hook.active_agents()


def test_a_filter_that_the_vendor_ignores_is_noticed(hook, raw):
    for item in ({"userId": 1, "userType": "user"}, {"userId": 1, "accountActive": False}):
        says(raw, page(item))
        with pytest.raises(VendorError, match="ignored the filter"):
            list(hook.every(hook.list_users, UserQuery(userType="agent", accountActive=True)))


# --- presence


@pytest.mark.parametrize(
    "told",
    [{}, {"agentId": 1001}, {"available": "true"}, {"agentId": 1002, "available": True}, {"available": None}],
)
def test_a_presence_that_is_not_told_is_not_guessed(hook, raw, told):
    says(raw, told)
    with pytest.raises(LostAnswerError, match="what it is now"):
        hook.set_presence(1001, available=True)


# --- paths


def test_a_uuid_leads_to_no_other_path(hook, raw):
    says(raw, {"uuid": "u", "status": "queued"})
    hook.bulk_status("../../customer?phoneNumber=1#ü")
    assert raw.requests[-1].path == (
        "/platform-api/v3.0/leads/bulk/..%2F..%2Fcustomer%3FphoneNumber%3D1%23%C3%BC"
    )
