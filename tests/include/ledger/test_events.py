"""Callbacks: stored once, whenever they come, and never with a person or a token in them."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, func, select

from include.ledger import BadCallbackError, BatchPlan, Ledger, UnknownTokenError
from include.ledger.events import parse
from include.ledger.tables import callbacks, events

VENDOR = "purecallerid"
FINALIZED = b'{"id": "64bea", "status": "FINALIZED", "metrics": {"valid": 598, "invalid": 2, "total": 600}}'


@pytest.fixture
def load(ledger, open_load):
    opened = open_load()
    ledger.plan_batches(opened.id, [BatchPlan(1, 600, "aa"), BatchPlan(2, 400, "bb")])
    ledger.claim_target(opened.id, timedelta(hours=1))
    return opened


def count(url, table):
    engine = create_engine(url)
    with engine.connect() as connection:
        number = connection.execute(select(func.count()).select_from(table)).scalar_one()
    engine.dispose()
    return number


def test_a_callback_is_stored_once_however_it_is_spelled(ledger, load):
    token = ledger.intend(load.id, 1)
    first = ledger.receive(VENDOR, token, FINALIZED)
    assert (first.load_id, first.seq, first.new) == (load.id, 1, True)
    assert not ledger.receive(VENDOR, token, FINALIZED).new
    other_spelling = json.dumps(json.loads(FINALIZED), sort_keys=True, indent=2).encode("utf-8-sig")
    assert not ledger.receive(VENDOR, token, other_spelling).new
    assert [event.body for event in ledger.events(load.id, 1)] == [json.loads(FINALIZED)]
    assert ledger.events(load.id, 2) == []


def test_the_same_body_for_two_batches_is_two_events(ledger, load):
    for seq in (1, 2):
        assert ledger.receive(VENDOR, ledger.intend(load.id, seq), FINALIZED).new


def test_events_come_back_in_order_of_arrival_not_of_meaning(ledger, load, clock):
    token = ledger.intend(load.id, 1)
    arrived = []
    for status in ("FINALIZED", "PROCESSING", "QUEUED"):
        clock.forward(seconds=1)
        arrived.append((status, clock()))
        ledger.receive(VENDOR, token, json.dumps({"status": status}).encode())
    ledger.receive(VENDOR, token, b'{"status": "FINALIZED"}')
    assert [(e.body["status"], e.received_at) for e in ledger.events(load.id, 1)] == arrived


def test_a_callback_is_welcome_in_any_state(ledger, load):
    token = ledger.intend(load.id, 1)
    assert ledger.receive(VENDOR, token, b'{"n": 1}').new  # before the answer was written down
    ledger.accept(load.id, 1, "64bea", {})
    assert ledger.receive(VENDOR, token, b'{"n": 2}').new
    ledger.settle(
        load.id, 1, "confirmed", delivered=600, rejected=0, uncertain=0, vendor_counts={"total": 600}
    )
    ledger.release_target(load.id)
    ledger.pause_target(load.target, True, "ana", "outage")
    assert ledger.receive(VENDOR, token, b'{"n": 3}').new
    assert ledger.batches(load.id)[0].state == "confirmed"


@pytest.mark.parametrize("token", ["", "x" * 43, "\ud800", "é", "' OR 1=1 --", "\x00"])
def test_a_forged_token_stores_nothing(ledger, load, url, token):
    ledger.intend(load.id, 1)
    with pytest.raises(UnknownTokenError):
        ledger.receive(VENDOR, token, FINALIZED)
    assert count(url, events) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"FINALIZED"',
        b"null",
        b'{"valid": NaN}',
        b'{"valid": 1e999}',
        b'{"valid": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe\xfa",
        b'{"name": x.csv"}',
    ],
)
def test_a_body_that_is_no_json_object_stores_nothing(ledger, load, url, body):
    token = ledger.intend(load.id, 1)
    with pytest.raises(BadCallbackError):
        ledger.receive(VENDOR, token, body)
    assert count(url, events) == 0


def test_odd_text_survives(ledger, load):
    token = ledger.intend(load.id, 1)
    odd = {"name": "a\u0000b\ud800 \U0001f4de", "big": 2**70, "tiny": 1e-300, "": None}
    assert ledger.receive(VENDOR, token, json.dumps(odd).encode()).new
    assert ledger.events(load.id, 1)[0].body == odd


def test_no_person_and_no_token_is_kept(ledger, load, url):
    token = ledger.intend(load.id, 1)
    body = {
        "id": "64bea",
        "status": "FINALIZED",
        "webhookUrl": f"https://lk.example/listkeeper/callbacks/purecallerid/{token}",
        "processedBy": {"id": 7, "firstName": "Ada", "lastName": "Byron", "email": "ada@example.com"},
    }
    ledger.receive(VENDOR, token, json.dumps(body).encode())
    assert ledger.events(load.id, 1)[0].body == {"id": "64bea", "status": "FINALIZED"}
    engine = create_engine(url)
    with engine.connect() as connection:
        kept = repr([connection.execute(select(table)).all() for table in (events, callbacks)])
    engine.dispose()
    for secret in (token, "Ada", "Byron", "ada@example.com"):
        assert secret not in kept


def test_tokens_never_repeat(ledger, load, url):
    tokens = {ledger.intend(load.id, 1)} | {ledger.intend(load.id, 1, again=True) for _ in range(20)}
    assert len(tokens) == 21 == count(url, callbacks)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_any_object_is_kept_as_it_is(body):
    kept = {key: value for key, value in body.items() if key not in ("processedBy", "webhookUrl")}
    assert parse(json.dumps(body).encode()) == kept


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_bad_callback(body):
    with suppress(BadCallbackError):
        assert isinstance(parse(body), dict)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)), repeats=st.lists(st.integers(0, 3), max_size=6))
def test_any_order_and_any_repetition_store_each_body_once(ledger: Ledger, open_load, order, repeats):
    load = open_load(plan_hash=repr((order, repeats)))
    ledger.plan_batches(load.id, [BatchPlan(1, 10, "aa")])
    ledger.claim_target(load.id, timedelta(hours=1))
    token = ledger.intend(load.id, 1)
    sent = [*order, *repeats]
    new = [ledger.receive(VENDOR, token, b'{"n": %d}' % number).new for number in sent]
    assert new == [True] * 4 + [False] * len(repeats)
    assert [event.body["n"] for event in ledger.events(load.id, 1)] == list(order)
    ledger.release_target(load.id)
