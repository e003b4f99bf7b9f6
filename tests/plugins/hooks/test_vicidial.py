"""The Vicidial hook against the sandbox: the contract's cases as a client sees them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from listkeeper.hooks.vicidial import VicidialHook

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RequestRefusedError,
    UnavailableError,
    VendorError,
)
from include.vendors.vicidial import LOOK, Counts, Flags, NotNowError, UnknownLeadsError
from tests.waiting import STILL

KEY = "sandbox-vicidial-key"
NIGHT = datetime(2026, 11, 21, 18, tzinfo=UTC)  # Saturday evening
MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)  # ten in Johannesburg
TTT, TTF = Flags(True, True, True), Flags(True, True, False)
TFF, FFF = Flags(True, False, False), LOOK


@pytest.fixture
def hook(sandbox, connect):
    sandbox.clock(NIGHT)
    connect("vicidial_default", sandbox.base_url, KEY, extra={"timeout": 120})
    opened = VicidialHook()
    yield opened
    opened.close()


def ids(sandbox) -> tuple[set[int], list[int]]:
    found = sandbox.state("vicidial")["ids"]
    return set(found["list"]), found["archive"]


def test_the_header_is_key_without_a_space(sandbox, hook):
    assert hook.archive([1], TTT) == Counts(1, 1, 0, 1)
    assert hook.session().headers["Authorization"] == f"Key={KEY}"
    assert ids(sandbox)[1] == [1] and 1 not in ids(sandbox)[0]


def test_contract_cases_of_the_flags(sandbox, hook):
    """Cases 2 to 8; a delete without insert and update is never sent."""
    assert hook.archive([2], TTF) == Counts(1, 1, 0, 0)
    assert hook.archive([2], TTF) == Counts(1, 0, 0, 0)
    sandbox.edit(2, status="SALE")
    assert hook.archive([2], TFF) == Counts(1, 0, 0, 0)
    assert hook.archive([2], TTF) == Counts(1, 0, 1, 0)
    assert hook.archive([3], FFF) == Counts(1, 0, 0, 0)
    assert hook.archive([2], TTT) == Counts(1, 0, 0, 1)
    assert ids(sandbox)[1] == [2]


def test_contract_cases_of_the_ids(sandbox, hook):
    """Cases 9, 10, 16 to 21."""
    assert hook.archive(range(1, 501), TTT) == Counts(500, 500, 0, 500)
    with pytest.raises(UnknownLeadsError) as caught:
        hook.archive([501, 9999, 1], TTT)
    assert set(caught.value.lead_ids) == {9999, 1}
    for wrong in (range(1, 502), [], ["1"], [7, 7]):
        with pytest.raises(ValueError):
            hook.archive(wrong, TTT)
    assert sandbox.state("vicidial")["calls"] == {"archive": 2}


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [("07:59:58", False), ("08:00:00", True), ("16:59:58", True), ("17:00:00", False)],
)
def test_contract_case_13_the_edges_of_the_office_hours(sandbox, hook, moment, is_open):
    sandbox.clock(datetime.fromisoformat(f"2026-11-23T{moment}+02:00"), speed=STILL)
    if is_open:
        with pytest.raises(NotNowError):
            hook.archive([1], TTT)
    else:
        assert hook.archive([1], TTT).delete == 1


def test_contract_case_11_a_wrong_key(sandbox, connect):
    for password in ("wrong", f"Key={KEY}"):
        connect("vicidial_default", sandbox.base_url, password)
        hook = VicidialHook()
        with pytest.raises(AuthenticationError, match="without `Key=`"):
            hook.archive([1], TTT)
        hook.close()


@pytest.mark.parametrize(
    ("fault", "rule", "error"),
    [
        ("drop_before", {}, LostAnswerError),
        ("drop_after", {}, LostAnswerError),
        ("crash_after_insert", {}, LostAnswerError),
        ("status", {"status": 500}, LostAnswerError),
        ("status", {"status": 503}, LostAnswerError),
        ("broken_json", {}, LostAnswerError),
    ],
)
def test_faults_may_have_been_carried_out(sandbox, hook, fault, rule, error):
    sandbox.fault("vicidial", fault, **rule)
    with pytest.raises(error) as caught:
        hook.archive([1, 2], TTT)
    assert caught.value.again
    hook.archive([3], TTT)


@pytest.mark.parametrize("switch", ["broken_commas", "legacy_status_code"])
def test_other_shapes_of_the_same_answers(sandbox, hook, switch):
    sandbox.switch("vicidial", **{switch: True})
    assert hook.archive([1], TTT).delete == 1
    with pytest.raises(UnknownLeadsError):
        hook.archive([1], TTT)
    assert hook.test_connection()[0]


def test_nobody_there(connect):
    connect("vicidial_default", "http://127.0.0.1:9", KEY)
    with pytest.raises(UnavailableError):
        VicidialHook().archive([1], TTT)
    assert not VicidialHook().test_connection()[0]


def test_another_path(sandbox, connect):
    sandbox.clock(NIGHT)
    connect("vicidial_default", sandbox.base_url, KEY, extra={"path": "/vicidial/lead/archive/"})
    with pytest.raises(RequestRefusedError, match="host and path"):
        VicidialHook().archive([1], TTT)


@pytest.mark.parametrize("moment", [NIGHT, MONDAY])
def test_the_test_button_archives_nothing_at_any_time(sandbox, hook, moment):
    sandbox.clock(moment)
    good, words = hook.test_connection()
    assert good and "accepts the key" in words
    listed, archived = ids(sandbox)
    assert archived == [] and len(listed) >= 100


def test_the_test_button_knows_a_wrong_key(sandbox, connect):
    connect("vicidial_default", sandbox.base_url, "wrong")
    good, words = VicidialHook().test_connection()
    assert not good and "API key" in words and "wrong" not in words


def test_the_certificate_is_checked_unless_told_otherwise(connect, encrypted, certificate):
    connect("vicidial_default", encrypted.url, KEY)
    with pytest.raises(UnavailableError, match="CA file in the connection's extra `verify`"):
        VicidialHook().archive([1], TTT)
    for verify in (str(certificate), False):
        connect("vicidial_default", encrypted.url, KEY, extra={"verify": verify})
        with pytest.raises(VendorError) as caught:  # it answers, though not as Vicidial does
            VicidialHook().archive([1], TTT)
        assert not isinstance(caught.value, UnavailableError)
