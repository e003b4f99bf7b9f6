"""Imports, media and erasures of the Platform API: every shape that an answer may have."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.vendors.errors import (
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from include.vendors.platform import (
    BulkWords,
    Erased,
    NotFoundError,
    RowError,
    bulk_body,
    customer_params,
    read_answer,
    read_erased,
    read_error_page,
    read_import,
    read_media,
)

WORDS = BulkWords()


def status(body: object, code: int = 200, *, writes: bool = False):
    return read_import(code, {}, json.dumps(body).encode(), WORDS, title="import", writes=writes)


def errors(body: object, words: BulkWords = WORDS):
    return read_error_page(200, {}, json.dumps(body).encode(), words, title="errors")


# --- writes whose outcome is unknown


@pytest.mark.parametrize(
    ("code", "body", "reading", "writing"),
    [
        (500, b"", UnavailableError, LostAnswerError),
        (502, b"<html>", UnavailableError, LostAnswerError),
        (200, b"<html>", UnexpectedAnswerError, LostAnswerError),
        (200, b"[]", UnexpectedAnswerError, LostAnswerError),
        (400, b"{}", RequestRefusedError, RequestRefusedError),
        (404, b"{}", NotFoundError, NotFoundError),
        (413, b"{}", RequestRefusedError, RequestRefusedError),
        (429, b"{}", RateLimitedError, RateLimitedError),
    ],
)
def test_an_unclear_answer_to_a_write_is_a_lost_one(code, body, reading, writing):
    for writes, error in ((False, reading), (True, writing)):
        with pytest.raises(error) as caught:
            read_answer(code, {}, body, "lead", writes=writes)
        assert type(caught.value) is error
        assert caught.value.http_status == code


# --- imports


def test_an_accepted_import():
    taken = status({"uuid": "u-1", "status": "queued"}, 201, writes=True)
    assert (taken.uuid, taken.word, taken.state, taken.total) == ("u-1", "queued", "open", None)


@pytest.mark.parametrize("more", [{}, {"status": None}, {"status": 2}, {"status": ""}])
def test_an_accepted_import_is_asked_for_by_its_uuid(more):
    taken = status({"uuid": "u", **more}, writes=True)
    assert (taken.uuid, taken.state) == ("u", "open")
    if more != {"status": ""}:
        with pytest.raises(UnexpectedAnswerError):
            status({"uuid": "u", **more})


@pytest.mark.parametrize("body", [{}, {"uuid": "", "status": "queued"}, {"uuid": 5, "status": "x"}])
def test_an_import_without_a_uuid_is_lost(body):
    with pytest.raises(LostAnswerError):
        status(body, writes=True)
    with pytest.raises(UnexpectedAnswerError):
        status(body)


@pytest.mark.parametrize(
    ("more", "counts", "link"),
    [
        ({"result": {"total": 3, "created": 2, "failed": 1}, "error_link": "/e"}, (3, 2, 1), "/e"),
        ({"result": None, "error_link": None}, (None, None, None), None),
        ({"result": {}, "error_link": {}}, (None, None, None), None),
        ({"result": "all fine", "error_link": ""}, (None, None, None), None),
        ({"result": {"total": "3", "created": True, "failed": -1}}, (3, None, None), None),
        ({}, (None, None, None), None),
    ],
)
def test_what_an_import_counts(more, counts, link):
    found = status({"uuid": "u", "status": "Completed", **more})
    assert found.state == "done"
    assert (found.total, found.created, found.failed) == counts
    assert found.error_uri == link
    assert "/e" not in repr(found)


@pytest.mark.parametrize("count", [0, 1001])
def test_an_import_has_a_size(count):
    with pytest.raises(ValueError, match="1 to 1000"):
        bulk_body([{}] * count)
    assert json.loads(bulk_body([{"listId": 1}])) == {"leads": [{"listId": 1}]}


# --- error pages

ENTRY = {"index": 4, "customerKey": "K4", "message": "phone1: Must  be\ntext."}
READ = RowError(4, "K4", "phone1: Must be text.")


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ([ENTRY], [READ]),
        ({"4": {"customerKey": "K4", "message": "phone1: Must be text."}}, [READ]),
        ({"0": ENTRY}, [READ]),
        ({"4": "phone1: Must be text."}, [RowError(4, None, "phone1: Must be text.")]),
        ({"K4": "no"}, [RowError(None, None, "no")]),
        ([{"index": "4", "customerKey": 44, "error": "no"}], [RowError(4, "44", "no")]),
        (["no"], [RowError(None, None, "no")]),
        ([{"index": 4, "customerKey": "", "message": "no"}], [RowError(4, None, "no")]),
        ([{}, None], [RowError(None, None, ""), RowError(None, None, "")]),
        ([], []),
        ({}, []),
    ],
)
def test_errors_as_a_list_or_an_object(listed, found):
    page = errors({"pageNo": 1, "limit": 100, "errorList": listed, "totalPages": 2, "nextPageLink": "/n"})
    assert page.errors == found
    assert (page.page, page.pages, page.next_uri) == (1, 2, "/n")
    assert not any(secret in repr(page) for secret in ("K4", "phone1", "/n"))


def test_an_index_that_counts_from_one():
    assert errors({"errorList": [ENTRY]}, BulkWords(first_index=1)).errors[0].index == 3


@pytest.mark.parametrize("body", [{}, {"errorList": None}, {"errorList": "none"}])
def test_a_page_without_a_list_is_none(body):
    with pytest.raises(UnexpectedAnswerError, match="errorList"):
        errors(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(st.fixed_dictionaries({}, optional={"index": JSON, "customerKey": JSON, "message": JSON}) | JSON)
)
def test_whatever_an_error_holds_it_is_counted(listed):
    assert len(errors({"errorList": listed}).errors) == len(listed)


# --- media


@pytest.mark.parametrize(
    ("kind", "body", "content", "suffix"),
    [
        ("audio/mpeg", b"ID3", b"ID3", ".mp3"),
        ("audio/mpeg; charset=x", b"ID3", b"ID3", ".mp3"),
        ("Audio/WAV", b"RIFF", b"RIFF", ".wav"),
        ("application/octet-stream", b"{}", b"{}", ".bin"),
        ("", b"ID3", b"ID3", ".bin"),
        ("application/json", json.dumps(base64.b64encode(b"ID3").decode()).encode(), b"ID3", ".bin"),
        ("Application/JSON; charset=utf-8", b'\xef\xbb\xbf"SUQz"', b"ID3", ".bin"),
        ("application/json", b'"SU\\r\\nQz\\n"', b"ID3", ".bin"),
    ],
)
def test_a_file_comes_as_bytes_or_inside_json(kind, body, content, suffix):
    media = read_media(200, {"Content-Type": kind}, body, "media file")
    assert (media.content, media.suffix) == (content, suffix)
    assert "ID3" not in repr(media)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("audio/mpeg", b""),
        ("application/json", b""),
        ("application/json", b"{}"),
        ("application/json", b'"not base64!"'),
        ("application/json", b'""'),
        ("application/json", b"ID3"),
        ("text/json", b"{}"),
        ("application/problem+json", b"{}"),
        ("text/html; charset=utf-8", b"Please log in"),
        ("audio/mpeg", b"\n<!doctype HTML><title>Log in</title>"),
    ],
)
def test_no_file_is_no_file(kind, body):
    with pytest.raises(UnexpectedAnswerError):
        read_media(200, {"Content-Type": kind}, body, "media file")


def test_a_deleted_medium_is_not_found():
    with pytest.raises(NotFoundError):
        read_media(404, {"Content-Type": "application/json"}, b"{}", "media file")


# --- erasure


def test_an_erasure_needs_somebody():
    for phone, email in ((None, None), ("", ""), (None, "")):
        with pytest.raises(ValueError, match="phone number or an e-mail"):
            customer_params(phone, email)
    assert customer_params("+614", None) == {"phoneNumber": "+614"}
    assert customer_params("+614", "a@b.c") == {"phoneNumber": "+614", "emailAddress": "a@b.c"}


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ({"callData": {"deleted": 2}, "emailData": {"deleted": 0}, "leadData": {"deleted": 1}}, (2, 0, 1)),
        ({"callData": 2, "emailData": {}, "leadData": None}, (2, None, None)),
        ({"leadData": {"deleted": "1"}, "callData": -1, "emailData": {"deleted": "all"}}, (None, None, 1)),
    ],
)
def test_what_an_erasure_counts(answer, counts):
    assert read_erased(answer) == Erased(*counts)


def test_an_erasure_that_says_nothing_is_a_lost_answer():
    with pytest.raises(LostAnswerError):
        read_erased({"ok": True})
