"""The `auth-v2` signature by its four vectors, and what makes one invalid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from include.vendors.isales_signature import Signer, clock_advice, host_header

AT = datetime(2024, 3, 1, 8, 30, tzinfo=UTC)
PATH = "/rest/isales/v1/openapi/campaigns/1/calldatafile/uploadFileServer/1803096731904991234"
BODY = '{"serverId":"164690088271159234793429225848","filePath":"/isales/20220310","fileName":"demo.xlsx"}'
SK = "sandbox-sk-0123456789"


def headers(body: str = BODY) -> dict[str, str]:
    return {
        "content-length": str(len(body.encode())),
        "content-type": "application/json; charset=UTF-8",
        "host": "isales.example.com:28443",
    }


def sign(*, signer: Signer | None = None, body: str = BODY, **changes: object) -> str:
    asked = {"method": "POST", "path": PATH, "headers": headers(body), "body": body, "at": AT, **changes}
    return (signer or Signer("sandbox-ak", SK)).authorization(**asked)  # type: ignore[arg-type]


def test_the_import_call():
    canonical = Signer("sandbox-ak", SK).canonical_request("POST", PATH, headers(), BODY, (), False)
    assert canonical.count("\n") == 6
    assert sha256(canonical.encode()).hexdigest() == (
        "3cf6b65570dec9e3a876246cbdbba9f39497b18bb7071ec08cbd2f6bcfc7d175"
    )
    assert sign() == (
        "auth-v2/sandbox-ak/2024-03-01T08:30:00.000Z/content-length;content-type;host/"
        "3b40377476dda3f52cee7f8df6be776db0dca6d17d0e3557852a0e7e8db7bfc9"
    )


def test_the_same_with_an_empty_query_line():
    assert sign(empty_query_line=True).endswith(
        "/cc94e160ec7f69350fe1b8503655596deb0c2f22f4ffeb76cca076acfdffeb9f"
    )


def test_only_the_host_signed():
    assert sign(signer=Signer("sandbox-ak", SK, ("host",))).endswith(
        "/host/acefaa3fc48e9b3fce8d8798c8db445e42d1dee9a2b2fdf8dcf295c45b39ac86"
    )


def test_a_get_with_a_query():
    query = [("name", "spring sale"), ("status", "0"), ("deviceType", "0"), ("beginTime", "")]
    query += [("curPage", "1"), ("rowsPerPage", "10")]
    signed = sign(
        signer=Signer("sandbox-ak", SK, ("host", "content-type")),
        method="GET",
        path="/rest/isales/v1/openapi/campaigns/1",
        query=query,
        body="",
    )
    assert signed.endswith(
        "/content-type;host/2ceafb64249ca4600b818cbe12e16f6ba69bc3f07cecd94ba919f3479273a37a"
    )


def test_letters_of_another_language():
    assert sign(body='{"serverId":"1","fileName":"客户 名单.xlsx"}').endswith(
        "/af76176c74574d08dbfba6c683572624b25a98876cc054d33ba587a85b02d4c3"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "PUT"},
        {"path": PATH + "5"},
        {"body": BODY.replace("demo", "demp")},
        {"query": [("x", "1")]},
        {"headers": headers() | {"host": "isales.example.com"}},
        {"signer": Signer("sandbox-ak", SK + "x")},
        {"at": AT + timedelta(milliseconds=1)},
    ],
)
def test_whatever_is_signed_changes_the_signature(changes):
    assert sign(**changes).rsplit("/", 1)[-1] != sign().rsplit("/", 1)[-1]


def test_a_time_without_milliseconds_and_of_another_zone():
    signed = sign(
        signer=Signer("sandbox-ak", SK, milliseconds=False),
        at=datetime.fromisoformat("2024-03-01T16:30:00.9+08:00"),
    )
    assert signed.split("/")[2] == "2024-03-01T08:30:00Z"


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        ("a/b", ("host",)),
        ("", ("host",)),
        ("ä", ("host",)),
        ("ak", ("content-type",)),
        ("ak", ("host", "authorization")),
    ],
)
def test_what_no_server_accepts_is_refused(key, signed):
    with pytest.raises(ValueError, match=r"access key|signed_headers"):
        Signer(key, SK, signed)


def test_a_signer_shows_no_secret():
    assert SK not in repr(Signer("sandbox-ak", SK)) and "sandbox-ak" not in repr(Signer("sandbox-ak", SK))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://isales.example.com:28443/x", "isales.example.com:28443"),
        ("https://isales.example.com:443", "isales.example.com"),
        ("http://isales.example.com:443", "isales.example.com:443"),
        ("http://127.0.0.1:8900/x", "127.0.0.1:8900"),
        ("https://[::1]:28443", "[::1]:28443"),
        ("https://Isales.Example.com", "isales.example.com"),
    ],
)
def test_the_host_as_it_is_sent(url, host):
    assert host_header(url) == host


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("Fri, 01 Mar 2024 08:14:00 GMT", "16 minutes ahead of"),
        ("Fri, 01 Mar 2024 08:50:00 GMT", "20 minutes behind"),
        ("Fri, 01 Mar 2024 08:29:00 GMT", ""),
        ("yesterday", ""),
        (None, ""),
    ],
)
def test_a_wrong_clock_is_told(date, said):
    advice = clock_advice(date, AT)
    assert (said in advice) if said else advice == ""
