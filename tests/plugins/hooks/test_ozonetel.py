"""The Ozonetel hook against the sandbox: one request per call in each encoding, and the file of failed rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from listkeeper.hooks.ozonetel import OzonetelHook

from include.ledger import Pace
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)
from include.vendors.ozonetel import callback_record, read_callback
from tests.waiting import until

HEADER = ["PhoneNumber", "Name", "Priority"]
ROWS = [[f"20120000{n:02d}", f"Lead {n}", "6"] for n in range(6)]
CAMPAIGN = "Renewals"


@pytest.fixture
def account(sandbox, connect):
    """A hook for the sandbox's account, and a load of six rows."""
    told = sandbox.info()["ozonetel"]

    def hook(password=told["api_key"], login=told["user_name"], **extra):
        extra = {"allow_http": True, "timeout": 120} | extra
        connect("ozonetel_default", sandbox.base_url, password, login=login, extra=extra)
        return OzonetelHook()

    return hook


def load(hook, **changes):
    values = {"campaign": CAMPAIGN, "header": HEADER, "rows": ROWS, "duplicates": "skip_all"}
    return hook.load(**values | changes)


def leads(sandbox, campaign=CAMPAIGN):
    return sandbox.state("ozonetel")["campaigns"][campaign]["leads"]


@pytest.mark.parametrize("encoding", ["form", "multipart", "json"])
def test_a_batch_arrives_in_each_encoding(account, sandbox, encoding):
    sandbox.switch("ozonetel", work_seconds=0)
    accepted = load(account(encoding=encoding))
    assert accepted.transaction_id.isdigit() and len(accepted.transaction_id) >= 24
    until(lambda: len(leads(sandbox)) >= 6)
    assert [lead["PhoneNumber"] for lead in leads(sandbox)] == [row[0] for row in ROWS]
    assert sandbox.state("ozonetel")["calls"] == {"add_bulk_data": 1}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"campaign": "Nobody's"}, RequestRefusedError),
        ({"campaign": "Support hotline"}, RequestRefusedError),
    ],
)
def test_what_the_vendor_refuses(account, changes, kind):
    with pytest.raises(kind):
        load(account(), **changes)


@pytest.mark.parametrize("rows", [[], ROWS[:1] * 501])
def test_more_rows_than_the_vendor_takes_are_not_sent(account, sandbox, rows):
    with pytest.raises(RequestRefusedError, match="1 to 500 rows"):
        load(account(), rows=rows)
    assert sandbox.state("ozonetel")["calls"] == {}


def test_as_many_rows_as_the_vendor_takes(account):
    assert load(account(), rows=ROWS[:1] * 500).transaction_id


def test_the_sixth_call_of_a_minute_is_told_as_such(account):
    hook = account()
    for _ in range(5):
        load(hook)
    with pytest.raises(RateLimitedError) as caught:
        load(hook)
    assert caught.value.retry_after == 60


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"fault": "drop_before"}, LostAnswerError),
        ({"fault": "drop_after"}, LostAnswerError),
        ({"fault": "broken_json"}, LostAnswerError),
        ({"fault": "truncated"}, LostAnswerError),
        ({"fault": "status", "status": 503}, UnavailableError),
        ({"fault": "status", "status": 429}, RateLimitedError),
    ],
)
def test_faults_on_the_way(account, sandbox, fault, kind):
    sandbox.fault("ozonetel", **fault)
    with pytest.raises(kind):
        load(account())


def test_a_server_that_is_not_there_was_never_asked(account, connect):
    connect("ozonetel_default", "http://127.0.0.1:9", "KK01234567", login="x")
    with pytest.raises(UnavailableError):
        load(OzonetelHook())


def test_a_wrong_key_and_a_wrong_user(account):
    for wrong in ({"password": "KKwrong-key"}, {"login": "nobody"}):
        with pytest.raises(AuthenticationError):
            load(account(**wrong))


# --- settings


def test_the_defaults_are_the_contracts(account):
    settings = account(allow_http=None).settings
    assert settings.pace == Pace(5, timedelta(seconds=60))
    assert (settings.encoding, settings.allow_http) == ("form", False)
    assert settings.failed_file_hosts == (".amazonaws.com",)


def test_the_pace_is_the_keys_whatever_the_connection(account, connect, sandbox):
    first = account().settings.account
    told = sandbox.info()["ozonetel"]
    connect("ozonetel_other", None, told["api_key"], login=told["user_name"])
    assert OzonetelHook("ozonetel_other").settings.account == first
    assert told["api_key"] not in first and account(password="KKanother").settings.account != first
    assert account(pace_account="shared").settings.account == "shared"


def test_each_assumption_is_an_extra(account):
    settings = account(
        encoding="json", path="x/y", calls="3", window_seconds=30, spacing_seconds=12.5,
        failed_file_hosts="files.example, .cdn.example", duplicate_reason="exists",
    ).settings  # fmt: skip
    assert settings.pace == Pace(3, timedelta(seconds=30), spacing=timedelta(seconds=12.5))
    assert (settings.encoding, settings.path) == ("json", "/x/y")
    assert settings.failed_file_hosts == ("files.example", ".cdn.example")
    assert settings.duplicate_reason == "exists"


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({"encoding": "xml"}, "encoding must be one of form, multipart, json"),
        ({"calls": 0}, "calls must be a number"),
        ({"window_seconds": "a minute"}, "window_seconds must be a number"),
        ({"spacing_seconds": -1}, "spacing_seconds must be a number"),
        ({"pace": 5}, "unknown extra pace"),
    ],
)
def test_a_mistake_in_the_extras_is_named(account, extra, why):
    with pytest.raises(ValueError, match=why):
        assert account(**extra).settings


@pytest.mark.parametrize("missing", ["login", "password"])
def test_user_and_key_are_both_needed(account, missing):
    with pytest.raises(AuthenticationError, match="user name as login"):
        load(account(**{missing: ""}))


# --- the file of failed rows


@pytest.fixture
def failed_file(sandbox, account, raw):
    """The address of a real file of failed rows: four of the six are bad."""
    sandbox.switch("ozonetel", work_seconds=0)
    bad = [[phone, name if n < 2 else "O'Neil", "6"] for n, (phone, name, _) in enumerate(ROWS)]
    load(account(), rows=bad, callback_url=f"{raw.url}/callback")
    until(lambda: raw.requests, "the callback")
    callback = read_callback(callback_record(raw.requests[0].body))
    assert (callback.total, callback.processed, callback.not_processed) == (6, 2, 4)
    return callback.failed_file


def test_the_failed_rows_are_fetched_and_their_address_is_never_told(account, failed_file, caplog):
    caplog.set_level("DEBUG")
    rows = account().failed_rows(failed_file, HEADER)
    assert [row.phone for row in rows] == [row[0] for row in ROWS[2:]]
    assert all(row.reason and not row.duplicate for row in rows)
    path, _, query = failed_file.removeprefix("http://").partition("/")[2].partition("?")
    logged = " ".join(
        f"{record.getMessage()} {record.args}" for record in caplog.records if "urllib3" in record.name
    )
    assert logged and path not in logged and query not in logged


def test_after_a_day_the_file_is_gone(account, failed_file, sandbox):
    sandbox.clock(datetime.now(UTC) + timedelta(hours=25))
    with pytest.raises(RequestRefusedError, match="24 hours"):
        account().failed_rows(failed_file, HEADER)


@pytest.mark.parametrize(
    "url", ["https://evil.example/f.csv?secret=1", "http://127.0.0.1:1/x", "file:///etc/passwd"]
)
def test_a_foreign_address_is_not_called(account, url):
    with pytest.raises(RequestRefusedError, match="not the vendor's") as caught:
        account(allow_http=False).failed_rows(url, HEADER)
    assert "secret" not in str(caught.value) and "evil" not in str(caught.value)


def test_an_endless_file_is_not_read(account, raw):
    def endless(_request, handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(20):
            handler.wfile.write(b"x" * 1024 * 1024)

    raw.answer = endless
    with pytest.raises((UnexpectedAnswerError, LostAnswerError)) as caught:
        account().failed_rows(f"{raw.url}/f.csv?X-Amz-Signature=5ecret", HEADER)
    assert isinstance(caught.value, UnexpectedAnswerError) and "5ecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "again"), [(403, False), (404, False), (429, True), (500, True), (503, True)]
)
def test_a_file_that_is_not_served(account, raw, status, again):
    def refuse(_request, handler):
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    raw.answer = refuse
    with pytest.raises(VendorError) as caught:
        account().failed_rows(f"{raw.url}/f.csv", HEADER)
    assert caught.value.again is again


# --- the Test button


def test_the_test_button(account, sandbox, state):
    assert account().test_connection() == (
        True,
        "Ozonetel answers and accepts user name and key. (An empty load was refused, as it should be.)",
    )
    fine, why = account(password="KKwrong-key").test_connection()
    assert not fine and "Invalid userName or apiKey" in why
    fine, why = account(path="/elsewhere").test_connection()
    assert not fine and "path" in why
    assert sandbox.state("ozonetel")["transactions"] == []


def test_the_test_button_keeps_the_pace(account, state):
    hook = account()
    for _ in range(5):
        assert hook.test_connection()[0]
    fine, why = hook.test_connection()
    assert not fine and "Test again in" in why


def test_nothing_of_the_connection_shows(account):
    hook = account()
    assert "KK73" not in repr(hook.settings) + json.dumps(str(hook.__dict__))
