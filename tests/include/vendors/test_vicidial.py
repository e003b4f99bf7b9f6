"""The archive's contract: every documented answer, the generations before, and what must never be asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.vendors import vicidial
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    VendorError,
)
from include.vendors.vicidial import LOOK, Counts, Flags, NotNowError, UnknownLeadsError, judge, read_counts

ALL = Flags(insert=True, update=True, delete=True)
DONE = {
    "message": "lead_ids batch was successfully processed",
    "select_count": 3,
    "insert_count": 2,
    "update_count": 1,
    "delete_count": 3,
}


def refusal(message: str, lead_ids: list[Any] | None = None) -> dict[str, Any]:
    return {"message": message, "lead_errors": len(lead_ids or []), "lead_ids": lead_ids or []}


VALIDATIONS = [
    refusal("insert_leads must be a boolean value"),
    refusal("update_leads must be a boolean value"),
    refusal("delete_leads must be a boolean value"),
    refusal("lead_ids must only contain integer values", ["0"]),
    refusal("lead_ids must contain atleast 1 value"),
    refusal("lead_ids cannot exceed 500 values"),
    refusal("lead_ids cannot contain duplicate values", [0]),
]
UNKNOWN = refusal("lead_ids does not exist", [7, 9999])
OFFICE = {"message": "api cannot be executed during office hours time condition"}


def read(status: int, body: Any, headers: dict[str, str] | None = None) -> Counts:
    return read_counts(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def error_of(status: int, body: Any, headers: dict[str, str] | None = None) -> VendorError:
    with pytest.raises(VendorError) as caught:
        read(status, body, headers)
    return caught.value


# What is asked


def test_the_request_is_what_the_page_shows() -> None:
    assert json.loads(vicidial.archive_request([101, 102], ALL)) == {
        "insert_leads": True,
        "update_leads": True,
        "delete_leads": True,
        "lead_ids": [101, 102],
    }


@pytest.mark.parametrize(("insert", "update"), [(False, True), (True, False), (False, False)])
def test_delete_never_goes_without_insert_and_update(insert: bool, update: bool) -> None:
    with pytest.raises(ValueError, match="delete needs insert and update"):
        Flags(insert=insert, update=update, delete=True)


@pytest.mark.parametrize("lead_ids", [[], [1] * 2, list(range(501)), [True], ["1"], [1.0]])
def test_what_the_vendor_would_refuse_is_not_sent(lead_ids: list[Any]) -> None:
    with pytest.raises(ValueError):
        vicidial.archive_request(lead_ids, ALL)


def test_five_hundred_ids_are_sent() -> None:
    assert len(json.loads(vicidial.archive_request(range(500), ALL))["lead_ids"]) == 500


def test_the_probe_can_archive_nothing() -> None:
    body = json.loads(vicidial.probe_request())
    assert body.pop("lead_ids") == []
    assert list(body.values()) == [False, False, False]


# What is answered


def test_success_gives_the_counts() -> None:
    assert read(200, DONE) == Counts(3, 2, 1, 3)
    assert read(200, DONE | {"delete_count": "3"}) == Counts(3, 2, 1, 3)
    assert read(200, DONE | {"http_code": 200, "status_code": 200, "more": [1]}) == Counts(3, 2, 1, 3)


def test_a_byte_order_mark_hides_nothing() -> None:
    def marked(body: dict[str, Any]) -> bytes:
        return b"\xef\xbb\xbf" + json.dumps(body).encode()

    assert read(200, marked(DONE)) == Counts(3, 2, 1, 3)
    assert isinstance(error_of(400, marked(UNKNOWN)), UnknownLeadsError)
    assert isinstance(error_of(403, marked(OFFICE)), NotNowError)


def test_another_success_is_one() -> None:
    """Whatever its status: what was archived is not to be taken for refused."""
    assert read(201, DONE) == Counts(3, 2, 1, 3)
    assert isinstance(error_of(202, b""), LostAnswerError)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", {"message": "ok"}, DONE | {"delete_count": "3.0"}, DONE | {"insert_count": -1}, [DONE]],
)
def test_a_success_without_counts_is_a_lost_answer(body: Any) -> None:
    assert isinstance(error_of(200, body), LostAnswerError)


def test_401_stops_at_once() -> None:
    error = error_of(401, {"message": "unable to validate api user"})
    assert isinstance(error, AuthenticationError) and not error.again


@pytest.mark.parametrize("status", [403, 441])
def test_office_hours_are_a_not_now(status: int) -> None:
    error = error_of(status, OFFICE)
    assert isinstance(error, NotNowError) and error.again


def test_a_403_of_somebody_else_is_no_office_hours() -> None:
    assert isinstance(error_of(403, b"<html>blocked by the firewall</html>"), AuthenticationError)


@pytest.mark.parametrize("body", VALIDATIONS, ids=[str(body["message"]) for body in VALIDATIONS])
def test_each_validation_is_permanent_and_explained(body: dict[str, Any]) -> None:
    error = error_of(400, body)
    assert isinstance(error, RequestRefusedError) and not isinstance(error, UnknownLeadsError)
    assert not error.again
    assert "none that the contract knows" not in str(error)


def test_unknown_leads_are_named() -> None:
    error = error_of(400, UNKNOWN)
    assert isinstance(error, UnknownLeadsError) and error.lead_ids == (7, 9999)
    assert vicidial.named_leads(error, [7, 8, 9999]) == {7, 9999}


def test_leads_that_were_not_sent_are_not_believed() -> None:
    error = error_of(400, UNKNOWN)
    assert isinstance(error, UnknownLeadsError)
    with pytest.raises(RequestRefusedError, match="not sent"):
        vicidial.named_leads(error, [7, 8])


@pytest.mark.parametrize("named", [[], ["7"], [7, 7], [True], [7.0], None])
def test_unknown_leads_that_are_not_named_well_are_no_unknown_leads(named: Any) -> None:
    error = error_of(400, {"message": "lead_ids does not exist", "lead_errors": 1, "lead_ids": named})
    assert isinstance(error, RequestRefusedError) and not isinstance(error, UnknownLeadsError)


def test_an_unknown_reason_is_told_as_such_and_not_quoted() -> None:
    error = error_of(400, refusal("call +27 11 555 0100 please"))
    assert isinstance(error, RequestRefusedError)
    assert "555" not in str(error)


PARSER = (
    "Unexpected character encountered while parsing number: s. Path 'lead_ids[97]', line 104, position 5."
)


def test_a_500_of_the_parser_is_permanent() -> None:
    error = error_of(500, refusal(PARSER))
    assert isinstance(error, RequestRefusedError) and not error.again
    assert "lead_ids[97]" in str(error) and "parsing number: s" not in str(error)


def test_an_error_can_always_be_written_down() -> None:
    error = error_of(500, b'{"message": "Path \'\\ud83d\', line 1, position 5."}')
    assert isinstance(error, RequestRefusedError) and str(error).encode()


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_any_other_server_error_may_have_done_something(status: int) -> None:
    error = error_of(status, refusal("Deadlock found when trying to get lock"))
    assert isinstance(error, LostAnswerError) and error.again


def test_too_many_requests_are_waited_for() -> None:
    error = error_of(429, b"", {"Retry-After": "7"})
    assert isinstance(error, RateLimitedError) and error.retry_after == 7


@pytest.mark.parametrize("status", [301, 404, 405, 413])
def test_another_address_is_a_mistake_of_the_connection(status: int) -> None:
    error = error_of(status, b"")
    assert isinstance(error, RequestRefusedError) and "host and path" in str(error)


# Bodies as they were printed, and as they used to be


@pytest.mark.parametrize("body", [VALIDATIONS[0], VALIDATIONS[1], VALIDATIONS[2], VALIDATIONS[4]])
@pytest.mark.parametrize("blank", [" ", "\n    ", ""])
def test_a_missing_comma_hides_neither_status_nor_message(body: dict[str, Any], blank: str) -> None:
    printed = json.dumps(body).replace('value",', f'value"{blank}').encode()
    with pytest.raises(ValueError):
        json.loads(printed)
    assert vicidial.read_body(printed).message == body["message"]
    error = error_of(400, printed)
    assert error.http_status == 400 and "none that the contract knows" not in str(error)


@pytest.mark.parametrize(
    "status", [432, 433, 434, 435, 436, 437, 438, 439, 440, 441, 442, 443, 444, 445, 446, 447, 448]
)
def test_earlier_codes_are_validations(status: int) -> None:
    assert isinstance(error_of(status, {"error": "some values are wrong"}), RequestRefusedError)


def test_earlier_keys_are_read() -> None:
    error = error_of(439, {"error": "lead_ids does not exist", "status_code": 439, "values": [5]})
    assert isinstance(error, UnknownLeadsError) and error.lead_ids == (5,)
    assert isinstance(error_of(441, {"error": OFFICE["message"]}), NotNowError)
    assert vicidial.read_body(b'{"success": "yes", "values": [1]}').message == "yes"
    assert vicidial.read_body(b'{"message": "m", "error": "e", "success": "s"}').message == "m"
    both = vicidial.read_body(b'{"message": null, "error": "e", "lead_ids": null, "values": [5]}')
    assert (both.message, both.values) == ("e", (5,))


@given(
    st.integers(200, 599),
    st.binary(max_size=300) | st.from_regex(rb'\{"message": "[^"]*" "lead_ids": \[1\]\}'),
)
def test_no_answer_breaks_the_reader(status: int, body: bytes) -> None:
    try:
        read_counts(status, {}, body)
    except VendorError as error:
        assert error.http_status == status


def test_deep_nesting_does_not_break_the_reader() -> None:
    assert isinstance(error_of(500, b"[" * 100_000), LostAnswerError)


# Judging


def test_archived_is_what_left_the_list() -> None:
    assert judge(Counts(500, 500, 0, 500), 500, ALL) == vicidial.Verdict(500, 0)
    assert judge(Counts(500, 500, 0, 498), 500, ALL) == vicidial.Verdict(498, 2)


def test_without_delete_archived_is_what_was_found() -> None:
    copy = Flags(insert=True, update=True)
    assert judge(Counts(5, 0, 0, 0), 5, copy) == vicidial.Verdict(5, 0)
    denied = judge(Counts(5, 5, 0, 1), 5, copy)
    assert denied.problem and denied.archived == denied.stayed == 0


@pytest.mark.parametrize(
    "counts",
    [Counts(4, 4, 0, 4), Counts(6, 6, 0, 6), Counts(5, 6, 0, 5), Counts(5, 5, 0, 6), Counts(5, 5, 6, 5)],
)
def test_counts_that_contradict_are_not_believed(counts: Counts) -> None:
    verdict = judge(counts, 5, ALL)
    assert verdict.problem and verdict.archived == verdict.stayed == 0


# The Test button


@pytest.mark.parametrize(
    ("status", "body", "good"),
    [
        (400, VALIDATIONS[4], True),
        (400, UNKNOWN, True),
        (403, OFFICE, True),
        (441, {"error": OFFICE["message"]}, True),
        (401, {"message": "unable to validate api user"}, False),
        (403, b"<html>", False),
        (400, b"<html>", False),
        (404, b"", False),
        (500, b"", False),
        (200, DONE, False),
        (200, b"<html>log in</html>", False),
    ],
)
def test_a_probe_proves_the_key_by_a_known_refusal_only(status: int, body: Any, good: bool) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert vicidial.probe_verdict(status, raw)[0] is good


def test_looking_asks_for_nothing() -> None:
    assert (LOOK.insert, LOOK.update, LOOK.delete) == (False, False, False)
