"""The callback receiver: open to the world, and nothing gets in that should not."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import uuid
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.callbacks import MAX_BODY
from tests.waiting import LIMIT

VENDOR = "purecallerid"
FINALIZED = {"id": "64bea", "status": "FINALIZED", "metrics": {"valid": 9, "invalid": 1, "total": 10}}


@pytest.fixture(scope="module")
def client():
    from listkeeper.web.app import app

    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def bodies(ledger, load):
    return [event.body for event in ledger.events(load.id, 1)]


def test_a_callback_is_stored_once(client, ledger, load, token):
    path = f"/callbacks/{VENDOR}/{token}"
    answer = client.post(path, json=FINALIZED)
    assert (answer.status_code, answer.json()) == (200, {"stored": True})
    again = client.post(
        path,
        content=json.dumps(FINALIZED, indent=4),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    assert (again.status_code, again.json()) == (200, {"stored": False})
    assert bodies(ledger, load) == [FINALIZED]


def test_a_callback_of_a_settled_batch_changes_nothing(client, ledger, load, token):
    ledger.accept(load.id, 1, "64bea", {})
    ledger.settle(
        load.id,
        1,
        "confirmed",
        delivered=9,
        rejected=1,
        uncertain=0,
        vendor_counts={"total": 10, "valid": 9, "invalid": 1},
    )
    before = ledger.batches(load.id)
    assert client.post(f"/callbacks/{VENDOR}/{token}", json={"status": "PROCESSING"}).status_code == 200
    assert ledger.batches(load.id) == before


def test_strangers_all_get_the_same_answer_and_leave_nothing(client, ledger, load, token):
    paths = [
        f"/callbacks/{VENDOR}/{'x' * 43}",
        f"/callbacks/{VENDOR}/{token[:-1]}",
        f"/callbacks/{VENDOR}/%00",
        f"/callbacks/ozonetel/{token}",
        f"/callbacks/no-such-vendor/{token}",
        f"/callbacks/PureCallerID/{token}",
        f"/callbacks/%00/{token}",
    ]
    answers = [client.post(path, json=FINALIZED) for path in paths]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert bodies(ledger, load) == []


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[1]", b'"x"', b"1", b"null", b'{"a": NaN}', b'{"a"', b"[" * 100_000, b"\xff"]
)
def test_what_is_no_json_object_is_refused(client, ledger, load, token, body):
    answer = client.post(
        f"/callbacks/{VENDOR}/{token}", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert bodies(ledger, load) == []


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/x+json",
        "x",
    ],
)
def test_a_body_is_read_whatever_its_headers_say(client, ledger, load, token, kind):
    """No vendor calls a second time: an outcome must not be lost for a header that its page does not promise."""
    headers = {"Content-Type": kind} if kind else {}
    path, body = f"/callbacks/{VENDOR}/{token}", b"\xef\xbb\xbf" + json.dumps(FINALIZED).encode()
    assert client.post(path, content=b"a=b", headers=headers).status_code == 400
    assert client.post(path, content=body, headers=headers).json() == {"stored": True}
    assert bodies(ledger, load) == [FINALIZED]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(client, token, method):
    assert client.request(method, f"/callbacks/{VENDOR}/{token}").status_code == 405


def test_a_body_may_have_as_many_bytes_as_the_limit_says(client, ledger, load, token):
    path, headers = f"/callbacks/{VENDOR}/{token}", {"Content-Type": "application/json"}
    largest = b'{"a": "' + b"x" * (MAX_BODY - 9) + b'"}'
    assert client.post(path, content=largest, headers=headers).json() == {"stored": True}
    assert client.post(path, content=largest + b" ", headers=headers).status_code == 413
    assert len(bodies(ledger, load)) == 1


def test_a_body_without_end_is_cut_off_at_the_limit(client, token):
    sent = 0

    def endless():
        nonlocal sent
        while sent < 100 * MAX_BODY:
            sent += 16_384
            yield b" " * 16_384

    answer = client.post(
        f"/callbacks/{VENDOR}/{token}", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_a_caller_who_dawdles_is_let_go(token, monkeypatch):
    import asyncio

    from listkeeper.web import receiver
    from listkeeper.web.app import app

    monkeypatch.setattr(receiver, "READ_SECONDS", 0.05)
    sent = []

    async def call():
        async def receive():
            await asyncio.sleep(3600)

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": f"/callbacks/{VENDOR}/{token}",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        await app(scope, receive, send)
        return scope

    scope = asyncio.run(asyncio.wait_for(call(), LIMIT))
    assert sent[0]["status"] == 408
    assert token not in str(scope)


def test_a_ledger_that_is_down_asks_to_try_again(client, token, state, caplog):
    ledger = state / "ledger.db"
    shutil.move(ledger, state / "away.db")
    for leftover in state.glob("ledger.db-*"):
        leftover.unlink()
    ledger.mkdir()
    from listkeeper.hooks import ledger as door

    door._opened.cache_clear()
    answer = client.post(f"/callbacks/{VENDOR}/{token}", json=FINALIZED)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert token not in caplog.text and "64bea" not in caplog.text


def test_neither_token_nor_body_is_logged(client, token, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        client.post(f"/callbacks/{VENDOR}/{token}", json=FINALIZED | {"secret": "s3cr3t-body"})
        client.post(
            f"/callbacks/{VENDOR}/{token}",
            content=b"s3cr3t-body",
            headers={"Content-Type": "application/json"},
        )
        client.post(f"/callbacks/{VENDOR}/forged-{token}", json=FINALIZED)
    # The test client logs its own requests; that is the vendor's side of the wire.
    ours = [
        record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    ]
    out = "\n".join(ours) + "".join(capfd.readouterr())
    assert any("Callback of purecallerid for load" in line for line in ours)
    assert token not in out and "s3cr3t-body" not in out


def test_answers_carry_the_headers_that_keep_browsers_tame(client, token):
    answer = client.post(f"/callbacks/{VENDOR}/{token}", json=FINALIZED)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_there_is_no_description_of_the_app_to_read(client):
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert client.get(path).status_code == 404


def test_the_same_body_from_many_at_once_is_stored_once(client, ledger, load, token):
    answers = []

    def call():
        answers.append(client.post(f"/callbacks/{VENDOR}/{token}", json=FINALIZED).json()["stored"])

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]
    assert bodies(ledger, load) == [FINALIZED]


RECORD = {
    "totalNoUploaded": "10",
    "numbersProcessed": "9",
    "numbersNotProcessed": "1",
    "failedFilePath": " https://b.s3.ap-south-1.amazonaws.com/f.csv ",
    "transactionId": "1720678529012345678901234",
    "status": "Success",
    "message": "File Successfully uploaded.",
    "startDateTime": "2024-07-11 11:45:29",
    "endDateTime": "2024-07-11 11:45:30",
}
SHAPES = {
    "object": ("application/json", json.dumps({"data": RECORD})),
    "string": ("application/json", json.dumps({"data": json.dumps(RECORD)})),
    "form": ("application/x-www-form-urlencoded", urlencode({"data": json.dumps(RECORD)})),
    "raw_unescaped": ("text/plain", '{"data":"' + json.dumps(RECORD) + '"}'),
}


def test_every_shape_of_ozonetels_callback_is_one_event(client, ledger, open_load):
    load = open_load(vendor="ozonetel", target="ozonetel:a:c")
    path = f"/callbacks/ozonetel/{ledger.intend(load.id, 1)}"
    stored = []
    for kind, body in SHAPES.values():
        answer = client.post(path, content=body, headers={"Content-Type": kind})
        stored.append(answer.json())
    assert stored == [{"stored": True}, *[{"stored": False}] * 3]
    assert bodies(ledger, load) == [RECORD | {"failedFilePath": RECORD["failedFilePath"].strip()}]


def test_what_is_no_callback_of_ozonetel_is_refused(client, ledger, open_load):
    load = open_load(vendor="ozonetel", target="ozonetel:a:c")
    token = ledger.intend(load.id, 1)
    assert client.post(f"/callbacks/ozonetel/{token}", content=b"data=hello").status_code == 400
    assert client.post("/callbacks/ozonetel/forged", content=SHAPES["string"][1]).status_code == 404
    assert bodies(ledger, load) == []


STATUSES = ("UPLOADED", "QUEUED", "PROCESSING", "FINALIZED", "ERROR")
calls = st.tuples(
    st.sampled_from(["known", "known", "known", "earlier", "forged", "other vendor", "settle"]),
    st.sampled_from(STATUSES),
    st.integers(0, 2),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=st.lists(calls, max_size=20), end=st.sampled_from(["confirmed", "rejected", "uncertain"]))
def test_any_order_of_callbacks_keeps_every_body_once_and_every_end(client, ledger, open_load, schedule, end):
    """Late, repeated, reordered and forged calls, before and after the load has its outcome."""
    unique = uuid.uuid4().hex
    load = open_load(run_id=unique, target=f"purecallerid:{unique}:L")
    earlier = ledger.intend(load.id, 1)
    tokens = {"known": ledger.intend(load.id, 1, again=True), "earlier": earlier, "forged": f"{earlier}x"}
    settled = None
    expected = []
    for caller, status, valid in schedule:
        if caller == "settle":
            counts = {"delivered": 10, "rejected": 0, "uncertain": 0}
            if end != "confirmed":
                counts = dict.fromkeys(counts, 0) | {end: 10}
            ledger.settle(load.id, 1, end, **counts, vendor_counts={})
            settled = settled or ledger.batches(load.id)
            continue
        body = {"id": "64bea", "status": status, "metrics": {"valid": valid, "total": 10}}
        vendor = "vicidial" if caller == "other vendor" else VENDOR
        answer = client.post(f"/callbacks/{vendor}/{tokens.get(caller, tokens['known'])}", json=body)
        if caller in ("forged", "other vendor"):
            assert answer.status_code == 404
            continue
        assert answer.json() == {"stored": body not in expected}
        expected += [body] if body not in expected else []
    assert bodies(ledger, load) == expected
    if settled and end != "uncertain":
        assert ledger.batches(load.id) == settled
