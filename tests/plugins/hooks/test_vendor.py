"""What every vendor's hook shares: extras by name, one session, honest errors, and a key that goes nowhere else."""

from __future__ import annotations

import json
import socket
import struct
import threading

import certifi
import pytest
from listkeeper.hooks.platform import PlatformHook
from listkeeper.hooks.purecallerid import PureCallerIdHook
from listkeeper.hooks.vendor import Answer

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RequestRefusedError,
    UnavailableError,
    VendorError,
)
from include.vendors.platform import LeadQuery

TOKEN = "tok-5ecret-of-the-tenant"
KEY = "c2VjcmV0IGtleSBvZiB0aGUgd29ya3NwYWNlLCBub25l="
PAGE = json.dumps({"items": [], "metadata": {}}).encode()
PATH = "/platform-api/v3.0/leads"
QUERY = LeadQuery(customerKey="CUSTOMER-77")


def ask(hook: PlatformHook) -> Answer:
    """One request, without the patience of `list_leads`."""
    hook.session()
    return hook.send("GET", hook.base_url + PATH, params=QUERY.params(), operation="list of leads")


# --- extras


@pytest.mark.parametrize("hook", [PlatformHook, PureCallerIdHook])
@pytest.mark.parametrize("name", ["X-Debug", "verify_ssl", "prefx", "stream", "srv_lookup", "login"])
def test_an_extra_that_nobody_knows_is_refused_by_name(connect, raw, hook, name):
    connect(hook.default_conn_name, raw.url, TOKEN, extra={name: "5ecret"})
    with pytest.raises(ValueError, match=f"unknown extra {name}; known are .*timeout.*verify") as caught:
        hook().session()
    assert "5ecret" not in str(caught.value)
    assert raw.requests == []


def test_extras_do_not_become_headers(connect, raw, certificate):
    extras = {
        "prefix": "/platform-api",
        "auth_header": "X-Token",
        "auth_scheme": "none",
        "paths": {"list_leads": "/v3.0/leads"},
        "verify": str(certificate),
        "cert": None,
        "proxies": {},
        "timeout": 5,
        "trust_env": False,
        "headers": {"X-Team": "dialing"},
    }
    connect("platform_default", raw.url, TOKEN, extra=extras)
    raw.answer = lambda _, handler: reply_page(handler)
    PlatformHook().list_leads(QUERY)
    standard = {"host", "user-agent", "accept-encoding", "accept", "connection"}
    assert set(raw.requests[0].headers) == standard | {"x-token", "x-team"}
    assert raw.requests[0].headers["x-token"] == TOKEN


def reply_page(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(PAGE)))
    handler.end_headers()
    handler.wfile.write(PAGE)


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -5}, "timeout"),
        ({"timeout": [10, 120]}, "timeout"),
        ({"verify": "/no/such/file.pem"}, "verify"),
        ({"headers": "X-Team: dialing"}, "headers"),
        ({"proxies": "http://proxy"}, "proxies"),
        ({"prefix": "platform-api"}, "prefix"),
        ({"paths": {"list_leads": "v3.0/leads"}}, "paths"),
    ],
)
def test_an_extra_of_no_use_is_refused_by_name(connect, raw, extra, word):
    connect("platform_default", raw.url, TOKEN, extra=extra)
    with pytest.raises(ValueError, match=word):
        PlatformHook().session()
    assert PlatformHook().test_connection()[0] is False


@pytest.mark.parametrize(("value", "seconds"), [(30, 30), ("30", 30), (0.5, 0.5)])
def test_the_timeout_is_in_seconds(connect, raw, value, seconds):
    connect("platform_default", raw.url, TOKEN, extra={"timeout": value})
    hook = PlatformHook()
    hook.session()
    assert hook._timeout == seconds


def test_empty_fields_of_the_form_mean_the_default(connect, raw):
    names = ("prefix", "auth_header", "auth_scheme", "verify", "timeout")
    for empty in (None, ""):
        connect("platform_default", raw.url, TOKEN, extra=dict.fromkeys(names, empty))
        raw.answer = lambda _, handler: reply_page(handler)
        PlatformHook().list_leads(QUERY)
        assert raw.requests[-1].path.startswith(PATH)
        assert raw.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


# --- addresses


@pytest.mark.parametrize(
    ("host", "rest", "url"),
    [
        ("tenant.ipscape.com.au", {}, "https://tenant.ipscape.com.au"),
        ("tenant.ipscape.com.au", {"port": 8443}, "https://tenant.ipscape.com.au:8443"),
        ("tenant.ipscape.com.au", {"schema": "http"}, "http://tenant.ipscape.com.au"),
        ("http://127.0.0.1:8900", {}, "http://127.0.0.1:8900"),
        ("https://tenant.ipscape.com.au/", {}, "https://tenant.ipscape.com.au"),
        ("https://tenant.ipscape.com.au/platform-api", {}, "https://tenant.ipscape.com.au"),
        ("https://tenant.ipscape.com.au/platform-api/", {}, "https://tenant.ipscape.com.au"),
        ("https://gateway.example/ipscape", {}, "https://gateway.example/ipscape"),
    ],
)
def test_a_host_alone_means_https(connect, host, rest, url):
    connect("platform_default", host, TOKEN, **rest)
    hook = PlatformHook()
    hook.session()
    assert hook.base_url == url


def test_a_connection_without_a_host_says_so(connect):
    connect("platform_default", None, TOKEN)
    with pytest.raises(ValueError, match=r"platform_default names no host"):
        PlatformHook().session()


def test_purecallerid_knows_its_own_host(connect):
    connect("purecallerid_default", None, KEY)
    hook = PureCallerIdHook()
    hook.session()
    assert hook.base_url == "https://api.purecallerid.app"


# --- the key


@pytest.mark.parametrize(
    "key", [None, "", "tok\n", " tok", "tok ", "to\u2026k", "t\u00f6k", "tok\x00", "two words"]
)
def test_a_key_that_cannot_be_one_is_refused_before_anything_is_sent(connect, raw, nothing_leaks, key):
    connect("platform_default", raw.url, key)
    with pytest.raises(AuthenticationError, match="password field") as caught:
        PlatformHook().session()
    assert raw.requests == []
    nothing_leaks(caught.value, *([key] if key else []))


def test_a_netrc_does_not_replace_the_key(connect, raw, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password eve\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    connect("platform_default", raw.url, TOKEN)
    ask(PlatformHook())
    assert raw.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(connect, raw, other, nothing_leaks, status):
    connect("platform_default", raw.url, TOKEN)

    def redirect(_, handler):
        handler.send_response(status)
        handler.send_header("Location", f"{other.url}/5ecret")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    raw.answer = redirect
    with pytest.raises(RequestRefusedError, match=str(status)) as caught:
        PlatformHook().list_leads(QUERY)
    assert (len(raw.requests), other.requests) == (1, [])
    nothing_leaks(caught.value, TOKEN, "5ecret", "CUSTOMER-77")


@pytest.mark.parametrize("address", ["http://[bad", "http://host:99999/", "/\xff\xfe", "//", ""])
def test_a_redirect_to_nowhere_is_a_redirect(connect, raw, address):
    connect("platform_default", raw.url, TOKEN)
    told = f"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    raw.answer = lambda _, handler: handler.wfile.write(told) and None
    with pytest.raises(RequestRefusedError, match="302"):
        PlatformHook().list_leads(QUERY)


def test_a_link_to_another_host_is_not_followed_and_its_page_not_taken(connect, raw, other, nothing_leaks):
    connect("platform_default", raw.url, TOKEN)
    body = {"items": [{"leadId": 1}], "metadata": {"nextUri": f"{other.url}/v3.0/leads?cursor=5ecret"}}
    raw.answer = lambda _, handler: (
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(body).encode()) and None
    )
    with pytest.raises(VendorError, match="another host") as caught:
        PlatformHook(sleep=lambda _: None).list_leads(QUERY)
    assert other.requests == []
    nothing_leaks(caught.value, TOKEN, "5ecret", other.address)


# --- what is lost, and what never left


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_nothing_listens(connect, nothing_leaks):
    connect("platform_default", f"http://127.0.0.1:{free_port()}", TOKEN)
    with pytest.raises(UnavailableError, match="nothing listens") as caught:
        ask(PlatformHook())
    nothing_leaks(caught.value, TOKEN, "CUSTOMER-77")


def test_no_such_host(connect, nothing_leaks, monkeypatch):
    def unknown(*_args, **_kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    connect("platform_default", "https://tenant.invalid", TOKEN)
    with pytest.raises(UnavailableError, match="nothing listens") as caught:
        ask(PlatformHook())
    nothing_leaks(caught.value, TOKEN, "CUSTOMER-77")


@pytest.mark.parametrize("host", ["http://", "http://[::bad", "gopher://127.0.0.1"])
def test_an_address_that_is_none(connect, host):
    connect("platform_default", host, TOKEN)
    with pytest.raises((UnavailableError, ValueError)):
        ask(PlatformHook())
    assert PlatformHook().test_connection()[0] is False


def test_a_proxy_that_is_not_there(connect, raw, nothing_leaks):
    proxy = f"http://user:5ecret@127.0.0.1:{free_port()}"
    connect("platform_default", "http://tenant.invalid", TOKEN, extra={"proxies": {"http": proxy}})
    with pytest.raises(UnavailableError, match="proxy") as caught:
        ask(PlatformHook())
    nothing_leaks(caught.value, TOKEN, "5ecret", "CUSTOMER-77")


def test_the_connections_proxy_comes_before_the_machines(connect, raw, other, monkeypatch):
    monkeypatch.setenv("http_proxy", other.url)
    connect("platform_default", "http://tenant.invalid", TOKEN, extra={"proxies": {"http": raw.url}})
    raw.answer = lambda _, handler: reply_page(handler)
    assert ask(PlatformHook()).status == 200
    assert (raw.requests[0].path.startswith("http://tenant.invalid/"), other.requests) == (True, [])


def abort(handler):
    """Close the connection as a crash does: with a reset, without a word."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


ENDS = {
    "closed": lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
    "reset": abort,
    "status line cut": lambda handler: handler.wfile.write(b"HTTP/1.1 2"),
    "headers cut": lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "body cut": lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"),
    "chunk cut": lambda handler: handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"
    ),
    "two lengths": lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 9\r\n\r\n{}"),
    "no HTTP": lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "bad gzip": lambda handler: handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
    ),
}


@pytest.mark.parametrize("end", [end for end in ENDS if end != "headers cut"])
def test_a_request_that_was_read_may_have_been_carried_out(connect, raw, nothing_leaks, end):
    connect("platform_default", raw.url, TOKEN, extra={"timeout": 5})
    raw.answer = lambda _, handler: ENDS[end](handler)
    with pytest.raises(LostAnswerError) as caught:
        ask(PlatformHook())
    assert len(raw.requests) == 1
    nothing_leaks(caught.value, TOKEN, "CUSTOMER-77", "customerKey")


def test_headers_that_are_cut_are_no_page(connect, raw, nothing_leaks):
    connect("platform_default", raw.url, TOKEN)
    raw.answer = lambda _, handler: ENDS["headers cut"](handler)
    with pytest.raises(VendorError) as caught:
        PlatformHook(sleep=lambda _: None).list_leads(QUERY)
    nothing_leaks(caught.value, TOKEN, "CUSTOMER-77")


def test_a_silent_vendor_is_given_up(connect, raw, nothing_leaks):
    connect("platform_default", raw.url, TOKEN, extra={"timeout": 0.2})
    given_up = threading.Event()
    raw.answer = lambda *_: given_up.wait()
    with pytest.raises(LostAnswerError, match="in time") as caught:
        ask(PlatformHook())
    given_up.set()
    nothing_leaks(caught.value, TOKEN, "CUSTOMER-77")


def test_urllib3_tells_no_query(connect, raw, nothing_leaks, caplog):
    """It logs each URL on DEBUG, and on WARNING when headers are odd."""
    connect("platform_default", raw.url, TOKEN)
    raw.answer = lambda _, handler: handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nodd header without a colon\r\nX: 1\r\n\r\n{}"
    )
    assert ask(PlatformHook()).status == 200
    assert [r for r in caplog.records if r.name == "urllib3.connectionpool" and PATH in r.getMessage()]
    nothing_leaks(None, TOKEN, "CUSTOMER-77")


# --- TLS


def test_a_certificate_of_nobody_is_not_trusted(connect, encrypted, nothing_leaks):
    connect("platform_default", encrypted.url, TOKEN)
    with pytest.raises(UnavailableError, match="CA file in the connection's extra `verify`") as caught:
        ask(PlatformHook())
    assert encrypted.requests == []
    nothing_leaks(caught.value, TOKEN, "CUSTOMER-77")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("verify", ["file", False, "false"])
def test_a_ca_file_makes_it_trusted(connect, encrypted, certificate, verify, monkeypatch):
    """Also where the machine has authorities of its own."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    connect(
        "platform_default",
        encrypted.url,
        TOKEN,
        extra={"verify": str(certificate) if verify == "file" else verify},
    )
    assert ask(PlatformHook()).status == 200


@pytest.mark.parametrize("end", ["closed", "reset", "body cut", "garbage", "HTTP"])
def test_a_break_of_an_encrypted_connection_is_a_lost_answer(
    connect, encrypted, certificate, nothing_leaks, end
):
    """Not a certificate's fault: the request was read, so it may have been carried out."""
    connect("platform_default", encrypted.url, TOKEN, extra={"verify": str(certificate)})

    def answer(_, handler):
        if end == "body cut":
            ENDS[end](handler)
            handler.wfile.flush()
        # Below TLS, without its goodbye.
        raw_socket = socket.socket(fileno=handler.connection.detach())
        if end in ("garbage", "HTTP"):
            raw_socket.sendall(
                b"\x17\x03\x03\x00\x20" + bytes(32) if end == "garbage" else b"HTTP/1.1 502 Bad\r\n\r\n"
            )
        if end == "reset":
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw_socket.close()
        handler.close_connection = True

    encrypted.answer = answer
    with pytest.raises(LostAnswerError) as caught:
        ask(PlatformHook())
    assert len(encrypted.requests) == 1
    nothing_leaks(caught.value, TOKEN, "CUSTOMER-77")


def test_https_where_http_is_spoken(connect, raw):
    connect("platform_default", f"https://{raw.address}", TOKEN)
    with pytest.raises(UnavailableError, match="https"):
        ask(PlatformHook())
    assert raw.requests == []


# --- sessions and reprs


def test_one_session_for_all_requests(connect, raw):
    connect("platform_default", raw.url, TOKEN)
    hook = PlatformHook()
    assert hook.session() is hook.session()
    first = hook.session()
    hook.close()
    hook.close()
    assert hook.session() is not first


def test_an_answer_keeps_leads_out_of_its_repr():
    assert repr(Answer(200, {"x": "5ecret"}, b"+12012000001")) == "Answer(status=200)"
