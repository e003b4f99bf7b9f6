"""Every fault does what its name says, to the call that it was set for, and to no other."""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic, sleep

import httpx
import pytest

from include.sandbox.purecallerid import MADE_UP_ID
from include.sandbox.webhooks import MADE_UP_TOKEN
from tests.waiting import before_it_comes

A, B = (2012000001, "NJ"), (2012000002, "NJ")


def calls(server, vendor):
    return [call["status"] for call in server.state(vendor)["requests"]]


def test_drop_before_does_nothing(purecallerid, small):
    small.fault("purecallerid", "drop_before")
    with pytest.raises(httpx.TransportError):
        purecallerid.post([A])
    assert small.state("purecallerid")["loads"] == []
    assert purecallerid.load([A])["status"] == "FINALIZED"
    assert calls(small, "purecallerid") == [None, 200]


def test_drop_before_closes_in_the_middle_of_a_large_upload(purecallerid, small):
    small.fault("purecallerid", "drop_before")
    with pytest.raises(httpx.TransportError):
        purecallerid.post(b"2012000001,NJ\n" * 1_000_000)
    assert small.state("purecallerid")["loads"] == []


def test_drop_after_does_the_work_and_loses_the_answer(purecallerid, small):
    small.fault("purecallerid", "drop_after")
    with pytest.raises(httpx.RemoteProtocolError):
        purecallerid.post([A])
    (load,) = small.state("purecallerid")["loads"]
    assert purecallerid.finished(load["id"])["metrics"]["valid"] == 1
    assert len(purecallerid.rows()) == 1


def test_delay(tenant, small):
    small.fault("platform", "delay", seconds=0.3)
    start = monotonic()
    assert tenant.get("/leads").status_code == 200
    assert monotonic() - start >= 0.3


def test_late_answer_comes_after_the_work(purecallerid, small):
    small.fault("purecallerid", "late_answer", seconds=0.5)
    answer = purecallerid.post([A]).json()
    (load,) = small.state("purecallerid")["loads"]
    assert small.now() - datetime.fromisoformat(load["uploaded"]) >= timedelta(seconds=0.5)
    assert answer["status"] == "UPLOADED"
    assert purecallerid.finished(load["id"])["status"] == "FINALIZED"


@pytest.mark.parametrize(
    ("fault", "rule", "status", "retry_after"),
    [
        ("status", {}, 429, None),
        ("status", {"retry_after": 7}, 429, "7"),
        ("status", {"status": 503, "retry_after": 0}, 503, "0"),
        ("status", {"status": 500}, 500, None),
        ("expired_token", {}, 401, None),
    ],
)
def test_refusals(tenant, purecallerid, small, fault, rule, status, retry_after):
    for vendor, call in (
        ("platform", lambda: tenant.get("/leads")),
        ("purecallerid", lambda: purecallerid.post([A])),
    ):
        small.fault(vendor, fault, **rule)
        refused = call()
        assert (refused.status_code, refused.headers.get("retry-after")) == (status, retry_after)
        assert refused.json()["message"]
        assert call().status_code == 200
    assert len(small.state("purecallerid")["loads"]) == 1


def test_broken_json(tenant, small):
    whole = tenant.get("/leads").content
    small.fault("platform", "broken_json")
    answer = tenant.get("/leads")
    assert answer.status_code == 200
    assert answer.content == whole[: len(whole) // 2]
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()


def test_truncated(tenant, small):
    small.fault("platform", "truncated")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        tenant.get("/leads")
    assert tenant.get("/leads").status_code == 200


def test_nth_times_op_and_match(tenant, small):
    small.fault("platform", "status", status=503, op="get_lead", nth=2, times=2, match="100002")
    asked = ["/leads/100002", "/leads/100001", "/leads", "/leads/100002", "/leads/100002", "/leads/100002"]
    assert [tenant.get(path).status_code for path in asked] == [200, 200, 200, 503, 503, 200]


def test_a_rule_without_an_end(tenant, small):
    small.fault("platform", "status", nth=3, times=None)
    assert [tenant.get("/users").status_code for _ in range(5)] == [200, 200, 429, 429, 429]


def test_repeated_cursor(tenant, small):
    small.fault("platform", "repeated_cursor", nth=2)
    second = tenant.get("/leads").json()["metadata"]["nextUri"]
    assert tenant.follow(second).json()["metadata"]["nextUri"] == second


def test_looping_cursor_goes_from_a_to_b_to_a(tenant, small):
    small.fault("platform", "looping_cursor", nth=3, times=None)
    uris = [tenant.get("/leads", listId=100).json()["metadata"]["nextUri"]]
    for _ in range(4):
        uris.append(tenant.follow(uris[-1]).json()["metadata"]["nextUri"])
    a, b = uris[:2]
    assert a != b
    assert uris == [a, b, a, b, a]


def test_changed_filter(tenant, small):
    small.fault("platform", "changed_filter")
    first = tenant.get("/leads", listId=100).json()
    assert "listId=101&cursor=" in first["metadata"]["nextUri"]
    small.fault("platform", "changed_filter")
    first = tenant.get("/leads", uploadedTimestampFrom="2020-01-01T00:00:00Z", listId=100).json()
    assert "uploadedTimestampFrom" not in first["metadata"]["nextUri"]
    assert "listId=100&cursor=" in first["metadata"]["nextUri"]


def test_no_metadata(tenant, small):
    small.fault("platform", "no_metadata", nth=2)
    first = tenant.get("/leads").json()
    assert list(tenant.follow(first["metadata"]["nextUri"]).json()) == ["items"]


def test_an_empty_page_loses_nothing(tenant, small):
    small.fault("platform", "empty_page", nth=2, times=2)
    pages = tenant.pages("/leads", listId=100)
    assert [len(page["items"]) for page in pages] == [3, 0, 0, 3, 3, 1]
    uris = [page["metadata"]["nextUri"] for page in pages]
    assert len(set(uris)) == len(uris)


# --- webhooks


def test_lost_webhook(purecallerid, small, receiver):
    small.fault("purecallerid", "webhook_lost", nth=3, match="/first")
    purecallerid.load([A], webhookUrl=f"{receiver.url}/first")
    receiver.wait(lambda seen: len(seen) == 2)
    purecallerid.load([A], webhookUrl=receiver.url)
    seen = receiver.wait(lambda seen: "FINALIZED" in seen)
    assert seen == ["QUEUED", "PROCESSING", "QUEUED", "PROCESSING", "FINALIZED"]


def test_late_webhook(purecallerid, small, receiver):
    for late in before_it_comes(0.3, 3, 30):
        small.reset()
        receiver.calls.clear()
        small.fault("purecallerid", "webhook_late", nth=2, seconds=late)
        purecallerid.load([A], webhookUrl=receiver.url)
        receiver.wait(lambda seen: len(seen) >= 2)
    assert receiver.wait(lambda seen: len(seen) == 3) == ["QUEUED", "FINALIZED", "PROCESSING"]
    assert receiver.calls[-1][2]["events"][0]["message"] == "Starting processing"


def test_doubled_webhook(purecallerid, small, receiver):
    small.fault("purecallerid", "webhook_doubled", nth=3)
    purecallerid.load([A], webhookUrl=receiver.url)
    assert receiver.wait(lambda seen: len(seen) == 4) == ["QUEUED", "PROCESSING", "FINALIZED", "FINALIZED"]
    assert receiver.calls[-1] == receiver.calls[-2]


def test_the_last_webhook_reordered_still_comes(purecallerid, small, receiver):
    small.fault("purecallerid", "webhook_reordered", nth=3)
    purecallerid.load([A], webhookUrl=receiver.url)
    assert receiver.wait(lambda seen: len(seen) == 3) == ["QUEUED", "PROCESSING", "FINALIZED"]


def test_forged_webhooks(purecallerid, small, receiver):
    small.fault("purecallerid", "webhook_forged")
    load = purecallerid.load([A], webhookUrl=receiver.url)
    receiver.wait(lambda seen: len(seen) == 5)
    token, other, real = receiver.calls[:3]
    assert token[0] == f"/callbacks/{MADE_UP_TOKEN}"
    assert (other[0], other[2]["id"], other[2]["status"]) == (
        "/callbacks/real-token",
        MADE_UP_ID,
        "FINALIZED",
    )
    assert (real[0], real[2]["id"], real[2]["status"]) == ("/callbacks/real-token", load["id"], "QUEUED")


def test_a_late_webhook_does_not_survive_a_reset(purecallerid, small, receiver):
    for late in before_it_comes(0.3, 3, 30):
        small.reset()
        receiver.calls.clear()
        small.fault("purecallerid", "webhook_late", nth=3, seconds=late)
        purecallerid.load([A], webhookUrl=receiver.url)
        receiver.wait(lambda seen: len(seen) >= 2)
        small.reset()
    sleep(late + 0.1)
    assert receiver.statuses == ["QUEUED", "PROCESSING"]


def test_garbled_webhook(purecallerid, small, receiver):
    small.fault("purecallerid", "webhook_garbage", nth=2)
    purecallerid.load([A], webhookUrl=receiver.url)
    assert receiver.wait(lambda seen: len(seen) == 2) == ["QUEUED", "FINALIZED"]
    (cut,) = receiver.garbage
    assert cut.startswith(b'{"id":') and not cut.endswith(b"}")


# --- setting rules


@pytest.mark.parametrize(
    "rule",
    [
        {"vendor": "platform", "fault": "webhook_lost"},
        {"vendor": "purecallerid", "fault": "looping_cursor"},
        {"vendor": "five9", "fault": "delay"},
        {"vendor": "platform", "fault": "explode"},
        {"vendor": "platform", "fault": "delay", "nth": 0},
        {"vendor": "platform", "fault": "delay", "colour": "blue"},
        {"vendor": "platform", "fault": "status", "status": 200},
    ],
)
def test_impossible_rules_are_refused(small, rule):
    answer = httpx.post(f"{small.base_url}/_sandbox/faults", json=rule)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_rules_are_listed_and_cleared(small, tenant):
    url = f"{small.base_url}/_sandbox/faults"
    rules = [
        {"vendor": "platform", "fault": "status"},
        {"vendor": "platform", "fault": "delay", "seconds": 0},
    ]
    assert [rule["fault"] for rule in httpx.post(url, json=rules).json()] == ["status", "delay"]
    assert len(httpx.get(url).json()) == 2
    assert httpx.delete(url).json() == []
    assert tenant.get("/leads").status_code == 200
