"""How the Platform API's answers and links are read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.vendors.errors import (
    AuthenticationError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)
from include.vendors.platform import (
    NotFoundError,
    Page,
    read_answer,
    read_page,
    resolve_uri,
)
from tests.include.vendors.platform.samples import FULL_LEAD, SAMPLES, SECRETS

BASE = "https://tenant.ipscape.com.au"


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


# --- answers


@pytest.mark.parametrize(
    ("status", "headers", "error", "word"),
    [
        (400, {}, RequestRefusedError, "filters"),
        (401, {}, AuthenticationError, "token"),
        (403, {}, AuthenticationError, "token"),
        (404, {}, NotFoundError, "paths"),
        (405, {}, RequestRefusedError, "405"),
        (409, {}, RequestRefusedError, "409"),
        (413, {}, RequestRefusedError, "413"),
        (422, {}, RequestRefusedError, "422"),
        (301, {"Location": "https://elsewhere"}, RequestRefusedError, "301"),
        (304, {}, RequestRefusedError, "304"),
        (429, {"Retry-After": "3"}, RateLimitedError, "3 s"),
        (429, {}, RateLimitedError, "5 s"),
        (500, {}, UnavailableError, "500"),
        (502, {}, UnavailableError, "502"),
        (503, {"Retry-After": "3"}, UnavailableError, "503"),
        (504, {}, UnavailableError, "504"),
    ],
)
@pytest.mark.parametrize("body", [sample("error.json"), b"<html>", b""])
def test_an_error_is_read_by_its_status_alone(status, headers, error, word, body):
    with pytest.raises(VendorError) as caught:
        read_page(status, headers, body)
    assert type(caught.value) is error
    assert caught.value.http_status == status
    assert word in str(caught.value)
    if error is RateLimitedError:
        assert caught.value.retry_after == (3 if headers else 5)


@pytest.mark.parametrize("status", [200, 201, 203, 206])
def test_any_2xx_with_a_page_is_a_page(status):
    page = read_page(status, {}, sample("page.json"))
    assert [item["leadId"] for item in page.items] == [999, 1000]
    assert page.next_uri == "/platform-api/v3.0/leads?listId=100&cursor=eyJpZCI6MTAwfQ%3D%3D"


@pytest.mark.parametrize("end", [{}, {"nextUri": None}, {"nextUri": ""}])
def test_the_last_page_has_no_next(end):
    assert read_page(200, {}, json.dumps({"metadata": end, "items": []}).encode()).next_uri is None


def test_an_empty_page_with_a_next_is_legal():
    page = read_page(200, {}, sample("page_without_prefix.json"))
    assert (page.items, page.next_uri is None) == ([], False)


WHOLE = sample("page.json")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"<html>maintenance</html>",
        b"\xff\xfe",
        WHOLE[: len(WHOLE) // 2],
        WHOLE.rstrip()[:-1],
        WHOLE + b"}",
        b'{"items": []}',
        b'{"items": [], "metadata": null}',
        b'{"items": [], "metadata": []}',
        b'{"metadata": {}}',
        b'{"items": null, "metadata": {}}',
        b'{"items": {"0": {}}, "metadata": {}}',
        b'{"items": [1], "metadata": {}}',
        b'{"items": [null], "metadata": {}}',
        b'{"items": [], "metadata": {"nextUri": 5}}',
        b'{"items": [], "metadata": {"nextUri": {}}}',
        b'{"items": [], "metadata": {"nextUri": true}}',
        b'{"items": [NaN], "metadata": {}}',
        b"[" * 5000,
    ],
)
def test_what_cannot_be_told_from_a_cut_page_is_refused(body):
    with pytest.raises(UnexpectedAnswerError) as caught:
        read_page(200, {}, body)
    assert caught.value.http_status == 200


@given(st.integers(0, len(WHOLE.rstrip()) - 1))
def test_no_cut_of_a_page_reads_as_a_page(length):
    with pytest.raises(UnexpectedAnswerError):
        read_page(200, {}, WHOLE[:length])


def test_an_answer_without_a_body_is_not_an_answer():
    with pytest.raises(UnexpectedAnswerError, match="no JSON"):
        read_answer(204, {}, b"", "list of leads")


def test_a_page_keeps_leads_out_of_its_repr():
    page = Page([FULL_LEAD], "/v3.0/leads?cursor=secret-cursor")
    assert not any(secret in repr(page) for secret in SECRETS)


# --- links


@pytest.mark.parametrize(
    ("prefix", "uri", "url"),
    [
        ("/platform-api", "/platform-api/v3.0/leads?cursor=a", f"{BASE}/platform-api/v3.0/leads?cursor=a"),
        ("/platform-api", "/v3.0/leads?cursor=a", f"{BASE}/platform-api/v3.0/leads?cursor=a"),
        ("/platform-api/", "/v3.0/leads?cursor=a", f"{BASE}/platform-api/v3.0/leads?cursor=a"),
        ("/platform-api", "v3.0/leads?cursor=a", f"{BASE}/platform-api/v3.0/leads?cursor=a"),
        ("/platform-api", "/platform-apis/v3.0", f"{BASE}/platform-api/platform-apis/v3.0"),
        ("/platform-api", f"{BASE}/platform-api/v3.0/leads", f"{BASE}/platform-api/v3.0/leads"),
        ("/platform-api", "https://TENANT.ipscape.com.au/x", "https://TENANT.ipscape.com.au/x"),
        ("/platform-api", f"{BASE}:443/x", f"{BASE}:443/x"),
        ("/", "/v3.0/leads?cursor=a", f"{BASE}/v3.0/leads?cursor=a"),
        ("", "/v3.0/leads?cursor=a", f"{BASE}/v3.0/leads?cursor=a"),
    ],
)
def test_a_link_is_followed_in_both_styles(prefix, uri, url):
    assert resolve_uri(f"{BASE}/", prefix, uri) == url


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/platform-api/v3.0/leads?cursor=secret-cursor",
        "//evil.example/platform-api/v3.0/leads",
        "http://tenant.ipscape.com.au/v3.0/leads",
        "https://tenant.ipscape.com.au:8443/v3.0/leads",
        "https://tenant.ipscape.com.au:80/v3.0/leads",
        "https://user@tenant.ipscape.com.au:443/v3.0/leads",
        "https://tenant.ipscape.com.au@evil.example/",
        "https://user:pw@tenant.ipscape.com.au/",
        "https://tenant.ipscape.com.au.evil.example/",
        "ftp://tenant.ipscape.com.au/",
        "javascript:alert(1)",
        "https://[bad",
    ],
)
def test_the_token_goes_to_no_other_host(uri):
    with pytest.raises(UnexpectedAnswerError) as caught:
        resolve_uri(BASE, "/platform-api", uri)
    assert "evil" not in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=60))
def test_whatever_the_link_it_stays_on_the_host(uri):
    try:
        url = resolve_uri(BASE, "/platform-api", uri)
    except UnexpectedAnswerError:
        return
    assert url.startswith((f"{BASE}/", "https://tenant.ipscape.com.au"))
