"""The Platform hook against the sandbox: every fault is a clear outcome, never a short snapshot that looks whole."""

from __future__ import annotations

import re
import socket
from datetime import date
from types import SimpleNamespace
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listkeeper.hooks.platform import PlatformHook

from include.flow_files import PlatformSource
from include.leads.schema import LEAD_COLUMNS
from include.snapshots import Shard, assemble, newest_snapshot, snapshot_place
from include.staging import RunFolder, StagingError
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)
from include.vendors.platform import (
    BadCursorError,
    ChangedFilterError,
    CursorLoopError,
    LeadQuery,
    NotFoundError,
    window_shards,
)
from tests.waiting import until

LIST = LeadQuery(listId=100)
SECRET = LeadQuery(listId=100, customerKey="CUSTOMER-77")
PHONE = re.compile(r"\d{7,}")


@pytest.fixture
def tenant(sandbox, connect):
    """The sandbox and a hook on it whose waits are only written down."""
    told = sandbox.info()["platform"]
    connect(
        "platform_default", sandbox.base_url, told["token"], extra={"prefix": told["prefix"], "timeout": 120}
    )
    waits: list[float] = []
    hook = PlatformHook(sleep=waits.append)
    yield SimpleNamespace(sandbox=sandbox, hook=hook, waits=waits, token=told["token"])
    hook.close()


def requests(sandbox, at_least: int = 0) -> list[dict]:
    """The calls so far; a call that the vendor answers too late is written down late, too."""

    def found() -> list[dict]:
        return [r for r in sandbox.state("platform")["requests"] if r["op"] == "list_leads"]

    until(lambda: len(found()) >= at_least, f"{at_least} calls")
    return found()


def hurry(tenant, fault: dict, tries: int = 1) -> None:
    """Wait less for an answer than a delay takes, for so many tries."""
    hook, patience = tenant.hook, tenant.hook._timeout
    hook.session()
    if fault["fault"] != "delay":
        return
    hook._timeout = 0.2

    def sleep(seconds: float) -> None:
        tenant.waits.append(seconds)
        if len(tenant.waits) >= tries:
            hook._timeout = patience

    hook._sleep = sleep


# --- one page


def test_a_page_and_the_next(tenant):
    first = tenant.hook.list_leads(LIST)
    second = tenant.hook.list_leads(LIST, first.next_uri)
    assert [len(first.items), len(second.items)] == [10, 10]
    assert {lead["leadId"] for lead in first.items}.isdisjoint(lead["leadId"] for lead in second.items)
    assert (tenant.waits, len(requests(tenant.sandbox))) == ([], 2)


MENDED = [
    ({"fault": "drop_before"}, [0.5]),
    ({"fault": "drop_after"}, [0.5]),
    ({"fault": "drop_before", "times": 4}, [0.5, 1, 2, 4]),
    ({"fault": "delay", "seconds": 2}, [0.5]),
    ({"fault": "status", "retry_after": 2}, [2]),
    ({"fault": "status", "retry_after": 0, "times": 3}, [0, 0, 0]),
    ({"fault": "status", "retry_after": 60}, [60]),
    ({"fault": "status"}, [5]),
    ({"fault": "status", "status": 500}, [0.5]),
    ({"fault": "status", "status": 502}, [0.5]),
    ({"fault": "status", "status": 503, "retry_after": 9}, [0.5]),
    ({"fault": "broken_json"}, [0.5]),
    ({"fault": "truncated"}, [0.5]),
    ({"fault": "no_metadata"}, [0.5]),
]


@pytest.mark.parametrize(("fault", "waits"), MENDED, ids=str)
def test_what_passes_is_waited_for(tenant, nothing_leaks, fault, waits):
    tenant.sandbox.fault("platform", op="list_leads", **fault)
    hurry(tenant, fault)
    assert len(tenant.hook.list_leads(LIST).items) == 10
    assert tenant.waits == waits
    assert len(requests(tenant.sandbox, len(waits) + 1)) == len(waits) + 1
    nothing_leaks(None, tenant.token, "listId")


LASTING = [
    ({"fault": "drop_before"}, LostAnswerError, 5),
    ({"fault": "drop_after"}, LostAnswerError, 5),
    ({"fault": "delay", "seconds": 2}, LostAnswerError, 5),
    ({"fault": "status", "retry_after": 1}, RateLimitedError, 5),
    ({"fault": "status", "retry_after": 61}, RateLimitedError, 1),
    ({"fault": "status", "status": 500}, UnavailableError, 5),
    ({"fault": "status", "status": 503}, UnavailableError, 5),
    ({"fault": "broken_json"}, UnexpectedAnswerError, 5),
    ({"fault": "truncated"}, LostAnswerError, 5),
    ({"fault": "no_metadata"}, UnexpectedAnswerError, 5),
    ({"fault": "expired_token"}, AuthenticationError, 1),
    ({"fault": "status", "status": 403}, AuthenticationError, 1),
    ({"fault": "status", "status": 400}, RequestRefusedError, 1),
    ({"fault": "status", "status": 404}, NotFoundError, 1),
    ({"fault": "status", "status": 405}, RequestRefusedError, 1),
    ({"fault": "status", "status": 422}, RequestRefusedError, 1),
]


@pytest.mark.parametrize(("fault", "error", "tries"), LASTING, ids=str)
def test_what_stays_is_a_clear_error(tenant, nothing_leaks, fault, error, tries):
    tenant.sandbox.fault("platform", op="list_leads", times=None, **fault)
    hurry(tenant, fault, tries)
    with pytest.raises(VendorError) as caught:
        tenant.hook.list_leads(SECRET)
    assert type(caught.value) is error
    assert len(requests(tenant.sandbox, tries)) == tries
    assert len(tenant.waits) == tries - 1
    assert "Platform API" in str(caught.value)
    nothing_leaks(caught.value, tenant.token, "CUSTOMER-77", "customerKey")


def test_a_long_wait_is_left_to_the_tasks_next_try(tenant):
    tenant.sandbox.fault("platform", "status", retry_after=61)
    with pytest.raises(RateLimitedError) as caught:
        tenant.hook.list_leads(LIST)
    assert (caught.value.retry_after, tenant.waits) == (61, [])


def test_a_forgotten_cursor_is_told_at_once(tenant, nothing_leaks):
    cursor = "5ecret"
    with pytest.raises(BadCursorError) as caught:
        tenant.hook.list_leads(LIST, f"/platform-api/v3.0/leads?listId=100&cursor={cursor}")
    assert (tenant.waits, len(requests(tenant.sandbox))) == ([], 1)
    nothing_leaks(caught.value, tenant.token, cursor)


def test_a_wrong_filter_on_the_first_page_is_no_forgotten_cursor(tenant):
    tenant.sandbox.fault("platform", "status", status=400)
    with pytest.raises(RequestRefusedError) as caught:
        tenant.hook.list_leads(LIST)
    assert not isinstance(caught.value, BadCursorError)


def test_a_wrong_key(tenant, connect, nothing_leaks):
    connect("platform_default", tenant.sandbox.base_url, "wr0ng-token-of-someone")
    with pytest.raises(AuthenticationError, match="password of the connection") as caught:
        PlatformHook(sleep=tenant.waits.append).list_leads(LIST)
    nothing_leaks(caught.value, "wr0ng-token-of-someone")


# --- whole walks


def walk(hook: PlatformHook, name: str, shards: int = 2):
    """Pull the sandbox's night as the operator does; return ids of the snapshot and its outcomes."""
    source = PlatformSource(kind="pull_platform_leads", name="s", zone="America/New_York")
    window = source.window(date.fromisoformat(walk.night))
    pages = RunFolder(f"pulls/s/{name}")
    made = []
    for number, part in enumerate(window_shards(*window, shards)):
        query = LeadQuery(listId=100, uploadedTimestampFrom=part[0], uploadedTimestampTo=part[1])
        made.append(Shard(pages, number, query, part))
        made[-1].walk(lambda link, query=query: hook.list_leads(query, link))
    snapshot = RunFolder(f"{snapshot_place('s', walk.night)}/{name}")
    assemble(pages, made, snapshot, source_time=window[1], night=walk.night, facts={})
    return leads_of(snapshot)


def leads_of(snapshot: RunFolder):
    import polars as pl

    with snapshot.reading("part-*") as parts:
        leads = pl.concat([pl.read_parquet(part) for part in parts])
    with snapshot.reading("outcomes-*") as files:
        outcomes = pl.concat([pl.read_parquet(file) for file in files])
    assert dict(leads.schema) == LEAD_COLUMNS
    return leads, outcomes


@pytest.fixture
def night(tenant):
    walk.night = tenant.sandbox.info()["data"]["night"]
    return walk.night


def test_an_undisturbed_walk_has_every_lead(tenant, night):
    leads, outcomes = walk(tenant.hook, "a")
    assert (leads["lead_id"].n_unique(), leads.height, outcomes.height) == (100, 100, 0)
    assert len(requests(tenant.sandbox)) == 11  # the lead at noon is found by both halves


@pytest.mark.parametrize("switch", ["uri_without_prefix", "offset_without_colon", "times_in_utc"])
def test_the_other_readings_of_the_contract(tenant, night, switch):
    leads, _ = walk(tenant.hook, "a")
    tenant.sandbox.switch("platform", **{switch: True})
    again, _ = walk(tenant.hook, "b")
    texts = ("uploaded", "last_attempt")  # times as the vendor wrote them
    assert again.drop(texts).equals(leads.drop(texts))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"fault": "repeated_cursor", "nth": 1}, CursorLoopError),
        ({"fault": "repeated_cursor", "nth": 2}, CursorLoopError),
        ({"fault": "looping_cursor", "nth": 2}, CursorLoopError),
        ({"fault": "looping_cursor", "nth": 3, "times": None}, CursorLoopError),
        ({"fault": "looping_cursor", "nth": 4}, CursorLoopError),
        ({"fault": "changed_filter", "nth": 1}, ChangedFilterError),
        ({"fault": "changed_filter", "nth": 3}, ChangedFilterError),
        ({"fault": "no_metadata", "nth": 3, "times": None}, UnexpectedAnswerError),
        ({"fault": "truncated", "nth": 5, "times": None}, LostAnswerError),
        ({"fault": "expired_token", "nth": 7}, AuthenticationError),
    ],
    ids=str,
)
def test_a_walk_gone_wrong_is_no_snapshot_and_goes_on_later(tenant, night, nothing_leaks, fault, error):
    tenant.sandbox.fault("platform", op="list_leads", **fault)
    with pytest.raises(error) as caught:
        walk(tenant.hook, "a")
    assert newest_snapshot("s", None) is None
    assert RunFolder(f"{snapshot_place('s', night)}/a").names() == []
    nothing_leaks(caught.value, tenant.token, "cursor=", "uploadedTimestamp")
    tenant.sandbox._control("DELETE", "/faults")
    before = len(requests(tenant.sandbox))
    leads, outcomes = walk(tenant.hook, "a")
    assert (leads["lead_id"].n_unique(), leads.height, outcomes.height) == (100, 100, 0)
    # Pages that were good are not asked for again: it goes on from page n of eleven.
    assert len(requests(tenant.sandbox)) - before == 11 - (fault["nth"] - 1)


@pytest.mark.parametrize(("nth", "times"), [(1, 1), (2, 1), (2, 3), (11, 1), (1, 8)])
def test_empty_pages_lose_nothing(tenant, night, nth, times):
    tenant.sandbox.fault("platform", "empty_page", op="list_leads", nth=nth, times=times)
    leads, outcomes = walk(tenant.hook, "a")
    assert (leads["lead_id"].n_unique(), leads.height, outcomes.height) == (100, 100, 0)


def test_no_phone_in_any_record_of_a_walk(tenant, night, caplog):
    caplog.set_level("DEBUG")
    tenant.sandbox.fault("platform", "broken_json", op="list_leads", nth=2)
    leads, _ = walk(tenant.hook, "a")
    texts = [r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert any("Trying again" in text for text in texts)
    assert not [phone for phone in leads["phone1"] if phone and any(phone in text for text in texts)]
    assert not [text for text in texts if PHONE.search(text)]


FAULTS = st.fixed_dictionaries(
    {
        "fault": st.sampled_from(
            [
                "drop_before", "drop_after", "status", "broken_json", "truncated", "expired_token", "no_metadata",
                "repeated_cursor", "looping_cursor", "changed_filter", "empty_page",
            ]
        ),
        "nth": st.integers(1, 14),
        "times": st.integers(1, 6),
    }
)  # fmt: skip


@given(st.lists(FAULTS, min_size=1, max_size=3))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_goes_wrong_the_snapshot_is_whole_or_not_there(tenant, night, faults):
    tenant.sandbox.reset()
    tenant.sandbox.switch("platform", page_size=10)
    for fault in faults:
        tenant.sandbox.fault("platform", op="list_leads", **fault)
    name, leads = f"run-{uuid4().hex}", None
    for _ in range(25):
        try:
            leads, outcomes = walk(tenant.hook, name)
            break
        except VendorError:
            assert not RunFolder(f"{snapshot_place('s', night)}/{name}").exists()
            tenant.hook.close()
    else:
        pytest.fail("the walk never ended, although the faults did")
    assert sorted(leads["lead_id"]) == sorted(set(leads["lead_id"]))
    assert leads.height == 100
    # A page that a fault made us read twice is told as such, and nothing else is.
    assert set(outcomes["reason"]) <= {"source_repeated"}


def test_a_page_that_holds_other_leads_is_noticed(tenant):
    """The vendor ignores a filter: the sandbox is asked without it, on behalf of a query that has it."""
    shard = Shard(RunFolder("pulls/s/r"), 0, LeadQuery(listId=101), None)
    with pytest.raises(ChangedFilterError, match="listId"):
        shard.walk(lambda link: tenant.hook.list_leads(LIST, link))
    with pytest.raises(StagingError):
        assemble(RunFolder("pulls/s/r"), [shard], RunFolder("x"), source_time=None, night="", facts={})


# --- the Test button


def test_the_test_button_on_a_good_connection(tenant):
    good, message = tenant.hook.test_connection()
    assert good
    assert "accepts the token and shows 4 lead lists" in message
    assert tenant.sandbox.state("platform")["calls"] == {"list_lists": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wr0ng-token-of-someone"}, "does not accept the token"),
        ({"password": None}, "holds no key"),
        ({"host": "closed"}, "nothing listens"),
        ({"host": None}, "names no host"),
        ({"extra": {"prefix": "/nothing"}}, "Check"),
        ({"extra": {"prefx": "/platform-api"}}, "unknown extra prefx"),
        ({"extra": {"prefix": "platform-api"}}, "slash"),
    ],
)
def test_the_test_button_on_a_bad_connection(tenant, connect, nothing_leaks, change, words):
    if change.get("host") == "closed":
        with socket.create_server(("127.0.0.1", 0)) as taken:
            change = {"host": f"http://127.0.0.1:{taken.getsockname()[1]}"}
    connect("platform_default", **{"host": tenant.sandbox.base_url, "password": tenant.token, **change})
    good, message = PlatformHook().test_connection()
    assert not good
    assert words in message
    assert not any(secret in message for secret in (tenant.token, "wr0ng"))
    nothing_leaks(None, tenant.token, "wr0ng-token-of-someone")


def test_the_test_button_survives_what_is_no_vendor(connect, raw):
    connect("platform_default", raw.url, "some-token")
    for answer in (b"<html>hello</html>", b"{}", b"[]"):
        raw.answer = lambda _, handler, answer=answer: (
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + answer) and None
        )
        good, message = PlatformHook().test_connection()
        assert not good
        assert "Platform API sent" in message
