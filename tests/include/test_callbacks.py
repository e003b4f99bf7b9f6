"""Bodies from a relay: each stored once, none lost, strangers set aside."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from include import callbacks
from include.callbacks import MAX_BODY, callback_address, collect, receive
from include.ledger import BadCallbackError, BatchPlan, Ledger

VENDOR = "purecallerid"
BODY = {"id": "64bea", "status": "FINALIZED"}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def load(ledger):
    return open_load(ledger, VENDOR)


def open_load(ledger, vendor):
    opened = ledger.open_load(
        flow="five9_daily",
        vendor=vendor,
        dag_id="load_purecallerid__five9_daily",
        run_id="r1",
        target="purecallerid:64be:ATTEMPT",
        night="2026-11-20",
        source_time=datetime(2026, 11, 21, tzinfo=UTC),
        snapshot="s",
        plan_hash="c0ffee",
        mode="apply",
        requested_by=None,
        reason=None,
        rows_in=10,
    )
    ledger.plan_batches(opened.id, [BatchPlan(1, 10, "aa")])
    ledger.claim_target(opened.id, timedelta(hours=1))
    return opened


@pytest.fixture
def token(ledger, load):
    return ledger.intend(load.id, 1)


def drop(relay, token, body, name="1.json", vendor=VENDOR, age=0.0):
    file = relay / vendor / token / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    if age:
        os.utime(file, (time.time() - age,) * 2)
    return file


def statuses(ledger, load):
    return [event.body["status"] for event in ledger.events(load.id, 1)]


def test_a_body_is_stored_once_and_taken_away(tmp_path, ledger, load, token):
    first = drop(tmp_path, token, BODY)
    again = drop(tmp_path, token, BODY, "2.json")
    other = drop(tmp_path, token, BODY | {"status": "QUEUED"}, "0.json")
    assert collect(ledger, VENDOR, str(tmp_path)) == 2
    assert not any(file.exists() for file in (first, again, other))
    assert sorted(statuses(ledger, load)) == ["FINALIZED", "QUEUED"]
    assert collect(ledger, VENDOR, str(tmp_path)) == 0


def test_an_empty_relay_is_no_error(tmp_path, ledger):
    assert collect(ledger, VENDOR, str(tmp_path / "nowhere")) == 0


@pytest.mark.parametrize(
    ("sent_to", "body"),
    [("forged", BODY), (None, b"x" * (MAX_BODY + 1)), (None, b"[1]"), (None, b"no json")],
    ids=["unknown token", "too large", "no object", "no JSON"],
)
def test_what_nobody_waits_for_is_set_aside(tmp_path, ledger, load, token, sent_to, body, caplog):
    known = sent_to or token
    file = drop(tmp_path, known, body, age=callbacks.SETTLE_SECONDS + 1)
    with caplog.at_level(logging.DEBUG):
        assert collect(ledger, VENDOR, str(tmp_path)) == 0
    assert not file.exists()
    (aside,) = (tmp_path / "refused").iterdir()
    assert known not in aside.name
    assert aside.stat().st_size == (len(body) if isinstance(body, bytes) else len(json.dumps(body)))
    assert "1 bodies" in caplog.text and known not in caplog.text
    assert ledger.events(load.id, 1) == []
    caplog.clear()
    collect(ledger, VENDOR, str(tmp_path))
    assert caplog.text == ""  # counted once


def test_a_half_written_file_is_left_until_it_is_whole(tmp_path, ledger, load, token):
    whole = json.dumps(BODY).encode()
    file = drop(tmp_path, token, whole[:10])
    assert collect(ledger, VENDOR, str(tmp_path)) == 0
    assert file.exists()
    file.write_bytes(whole)
    assert collect(ledger, VENDOR, str(tmp_path)) == 1
    assert statuses(ledger, load) == ["FINALIZED"]


def test_a_file_under_another_name_is_not_ready(tmp_path, ledger, token):
    file = drop(tmp_path, token, BODY, "1.json.part")
    assert collect(ledger, VENDOR, str(tmp_path)) == 0
    assert file.exists()


def test_another_vendors_token_is_not_taken(tmp_path, ledger, load, token):
    drop(tmp_path, token, BODY, vendor="ozonetel")
    assert collect(ledger, VENDOR, str(tmp_path)) == 0
    assert collect(ledger, "ozonetel", str(tmp_path)) == 0
    assert ledger.events(load.id, 1) == []
    assert [p.name.partition("-")[0] for p in (tmp_path / "refused").iterdir()] == ["ozonetel"]


def test_a_ledger_that_fails_loses_nothing(tmp_path, ledger, load, token):
    file = drop(tmp_path, token, BODY)

    class Down:
        def receive(self, *_):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        collect(Down(), VENDOR, str(tmp_path))
    assert file.exists()
    assert collect(ledger, VENDOR, str(tmp_path)) == 1


@pytest.mark.parametrize("kind", ["memory", "S3"])
def test_an_object_store_works_too(kind, request, ledger, load, token):
    from include.storage import open_place

    url = "memory://relay" if kind == "memory" else f"{request.getfixturevalue('bucket')}/relay"
    relay = open_place(url)
    file = relay / VENDOR / token / "1.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(json.dumps(BODY).encode())
    forged = relay / VENDOR / "forged" / "1.json"
    forged.parent.mkdir(parents=True)
    forged.write_bytes(b"{}")
    assert collect(ledger, VENDOR, url) == 1
    assert not file.exists() and not forged.exists()
    assert len(list((relay / "refused").iterdir())) == 1
    assert statuses(ledger, load) == ["FINALIZED"]


def test_many_may_collect_at_the_same_time(tmp_path, ledger, load, token):
    for number in range(30):
        drop(tmp_path, token, BODY | {"n": number}, f"{number}.json")
    stored, errors = [], []

    def work():
        try:
            stored.append(collect(ledger, VENDOR, str(tmp_path)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, sum(stored)) == ([], 30)
    assert sorted(event.body["n"] for event in ledger.events(load.id, 1)) == list(range(30))
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("url", "allow_http", "called"),
    [
        ("https://callbacks.example/x", False, True),
        ("https://", True, False),
        ("http://127.0.0.1:8080/x", False, False),
        ("http://127.0.0.1:8080/x", True, True),
        ("http://localhost/x", True, True),
        ("http://[::1]:8080/x", True, True),
        ("http://callbacks.example/x", True, False),
        ("http://127.0.0.1.evil.example/x", True, False),
        ("http://127.0.0.1@evil.example/x", True, False),
        ("ftp://127.0.0.1/x", True, False),
        ("callbacks.example", True, False),
        ("https://[bad/x", True, False),
    ],
)
def test_where_a_vendor_may_call(monkeypatch, url, allow_http, called):
    monkeypatch.setenv("LISTKEEPER_PUBLIC_URL", url)
    if called:
        address = callback_address(VENDOR, allow_http=allow_http)
        assert address == f"{url.rstrip('/')}/listkeeper/callbacks/{VENDOR}"
    else:
        with pytest.raises(ValueError, match="LISTKEEPER_PUBLIC_URL"):
            callback_address(VENDOR, allow_http=allow_http)


def test_without_an_address_nobody_calls(monkeypatch):
    monkeypatch.delenv("LISTKEEPER_PUBLIC_URL", raising=False)
    assert callback_address(VENDOR, allow_http=True) is None


def test_a_vendor_with_shapes_of_its_own_is_kept_as_one_record(tmp_path, ledger):
    load = open_load(ledger, "ozonetel")
    token = ledger.intend(load.id, 1)
    record = {"transactionId": "17", "status": "Success", "totalNoUploaded": "1", "failedFilePath": " "}
    with pytest.raises(BadCallbackError):
        receive(ledger, "ozonetel", token, b"{}")
    assert receive(ledger, "ozonetel", token, json.dumps({"data": json.dumps(record)}).encode()).new
    file = tmp_path / "ozonetel" / token / "1.json"  # and once more, through a relay
    file.parent.mkdir(parents=True)
    file.write_text('data={"transactionId":"17","status":"Success","totalNoUploaded":1}')
    assert collect(ledger, "ozonetel", str(tmp_path)) == 0
    assert not file.exists()
    (event,) = ledger.events(load.id, 1)
    assert (event.body["totalNoUploaded"], event.body["failedFilePath"]) == ("1", "")
