"""The PureCallerID hook against the sandbox: one request per call, streamed, and what became of it told honestly."""

from __future__ import annotations

import email
import json
import os
import socket
import subprocess
import sys
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest
from listkeeper.hooks.purecallerid import PureCallerIdHook

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    VendorError,
)
from include.vendors.purecallerid import process_request
from tests.waiting import until

ROWS = "number1,state\n" + "".join(f"20120000{n:02d},NJ\n" for n in range(40))
HOOK_URL = "https://callbacks.example/listkeeper/callbacks/purecallerid/5ecret-token"
FIRST = (Path(__file__).parents[2] / "samples/purecallerid/first_response.json").read_bytes()


def asked(dialer_list: str = "Nightly callers", webhook: str | None = None) -> str:
    columns = [{"columnIndex": 0, "columnId": "number1"}, {"columnIndex": 1, "columnId": "state"}]
    return process_request(
        dialer="five9",
        mode="REPLACE",
        dialer_list=dialer_list,
        mapped=columns,
        dedupe=None,
        webhook_url=webhook,
    )


@pytest.fixture
def workspace(sandbox, connect, tmp_path):
    """The sandbox, a file of forty rows, and a hook."""
    told = sandbox.info()["purecallerid"]
    connect("purecallerid_default", sandbox.base_url, told["key"], extra={"timeout": 120})
    csv = tmp_path / "leads.csv"
    csv.write_text(ROWS)
    hook = PureCallerIdHook()
    campaign = told["campaigns"]["five9"]

    def load(hook=hook, **changes):
        request = {
            "campaign": campaign,
            "csv": csv,
            "file_name": "run-1.csv",
            "process_request": asked(),
            **changes,
        }
        return hook.load_list(**request)

    yield SimpleNamespace(sandbox=sandbox, hook=hook, load=load, key=told["key"], campaign=campaign, csv=csv)
    hook.close()


def calls(sandbox, at_least: int = 1) -> int:
    """How often the load was called; a call that is answered late is written down late."""

    def found() -> int:
        return int(sandbox.state("purecallerid", rows=False)["calls"].get("load", 0))

    until(lambda: found() >= at_least, f"{at_least} calls")
    return found()


def finished(sandbox) -> dict:
    def ended() -> bool:
        loads = sandbox.state("purecallerid", rows=False)["loads"]
        return all(load["status"] in ("FINALIZED", "ERROR") for load in loads)

    until(ended, "all loads to end")
    return sandbox.state("purecallerid", rows=False)


def test_a_load_is_taken(workspace):
    load = workspace.load()
    assert (load.status, load.name, load.campaign) == ("UPLOADED", "run-1.csv", workspace.campaign)
    state = finished(workspace.sandbox)
    assert state["loads"][0]["id"] == load.id
    assert state["loads"][0]["metrics"]["total"] == 40
    assert (state["counts"]["Nightly callers"], calls(workspace.sandbox)) == (40, 1)


FAULTS = [
    ({"fault": "drop_before"}, LostAnswerError, 0),
    ({"fault": "drop_after"}, LostAnswerError, 1),
    ({"fault": "delay", "seconds": 2}, LostAnswerError, 0),
    ({"fault": "broken_json"}, LostAnswerError, 1),
    ({"fault": "truncated"}, LostAnswerError, 1),
    ({"fault": "status", "retry_after": 7}, RateLimitedError, 0),
    ({"fault": "status", "status": 500}, LostAnswerError, 0),
    ({"fault": "status", "status": 502}, LostAnswerError, 0),
    ({"fault": "status", "status": 503}, UnavailableError, 0),
    ({"fault": "status", "status": 400}, RequestRefusedError, 0),
    ({"fault": "expired_token"}, AuthenticationError, 0),
]


@pytest.mark.parametrize(("fault", "error", "loads"), FAULTS, ids=str)
def test_a_fault_is_told_and_the_request_never_repeated(workspace, nothing_leaks, fault, error, loads):
    workspace.sandbox.fault("purecallerid", **fault)
    workspace.hook.session()
    if fault["fault"] == "delay":
        workspace.hook._timeout = 0.2
    with pytest.raises(VendorError) as caught:
        workspace.load(process_request=asked(webhook=HOOK_URL))
    assert type(caught.value) is error
    assert calls(workspace.sandbox) == 1
    if error in (RateLimitedError, UnavailableError, RequestRefusedError, AuthenticationError):
        assert loads == 0  # these say that nothing was done
    assert len(finished(workspace.sandbox)["loads"]) == loads
    if error is RateLimitedError:
        assert caught.value.retry_after == 7
    nothing_leaks(caught.value, workspace.key, HOOK_URL, "5ecret-token", "2012000001")


def test_the_vendors_broken_json_is_a_lost_answer(workspace, nothing_leaks):
    workspace.sandbox.switch("purecallerid", broken_name_json=True)
    with pytest.raises(LostAnswerError, match=r"cannot be read.*webhook") as caught:
        workspace.load()
    assert len(finished(workspace.sandbox)["loads"]) == 1
    nothing_leaks(caught.value, workspace.key)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"campaign": "000000000000000000000000"}, RequestRefusedError, "campaign"),
        ({"process_request": "{}"}, RequestRefusedError, "HTTP 400"),
        ({"process_request": "no JSON"}, RequestRefusedError, "HTTP 400"),
        ({"process_request": asked(webhook="http://callbacks.example/x")}, RequestRefusedError, "https"),
    ],
)
def test_what_the_vendor_refuses(workspace, changes, error, words):
    with pytest.raises(error, match=words):
        workspace.load(**changes)
    assert workspace.sandbox.state("purecallerid")["loads"] == []


def test_a_file_over_the_limit(workspace):
    workspace.sandbox.switch("purecallerid", max_file_bytes=100)
    with pytest.raises(RequestRefusedError, match="fewer rows"):
        workspace.load()


def test_a_wrong_key(workspace, connect, nothing_leaks):
    connect("purecallerid_default", workspace.sandbox.base_url, "wr0ngKeyOfSomeoneElse=")
    with pytest.raises(AuthenticationError, match="trailing =") as caught:
        workspace.load(PureCallerIdHook())
    assert workspace.sandbox.state("purecallerid")["loads"] == []
    nothing_leaks(caught.value, "wr0ngKeyOfSomeoneElse=")


def test_nothing_listens(workspace, connect, nothing_leaks):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    connect("purecallerid_default", f"http://127.0.0.1:{port}", workspace.key)
    with pytest.raises(UnavailableError, match="nothing listens") as caught:
        workspace.load(PureCallerIdHook())
    nothing_leaks(caught.value, workspace.key)


def test_a_dialer_list_that_is_not_there_is_told_by_webhook_only(workspace):
    assert workspace.load(process_request=asked("No such list")).status == "UPLOADED"
    assert finished(workspace.sandbox)["loads"][0]["status"] == "ERROR"


# --- the bytes that go out


def parts_of(request) -> list[Message]:
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    return email.message_from_bytes(head + request.body).get_payload()


def answer_first(_, handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(FIRST)))
    handler.end_headers()
    handler.wfile.write(FIRST)


def test_the_request_is_three_parts_of_a_known_length(workspace, connect, raw):
    raw.answer = answer_first
    connect("purecallerid_default", raw.url, workspace.key)
    workspace.load(PureCallerIdHook(), file_name="Nächte.csv")
    [request] = raw.requests
    assert (request.method, request.path) == ("POST", "/api/public/lists/load")
    assert set(request.headers) == {
        "host", "user-agent", "accept-encoding", "accept", "connection", "x-api-key", "content-type", "content-length",
    }  # fmt: skip
    assert request.headers["x-api-key"] == workspace.key
    assert int(request.headers["content-length"]) == len(request.body)
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    parts = {part.get_param("name", header="content-disposition"): part for part in parts_of(request)}
    assert set(parts) == {"campaignId", "processRequest", "file"}
    assert parts["campaignId"].get_payload() == workspace.campaign
    assert json.loads(parts["processRequest"].get_payload()) == json.loads(asked())
    assert [parts[name].get_filename() for name in ("campaignId", "processRequest")] == [None, None]
    assert parts["file"].get_content_type() == "text/csv"
    assert parts["file"].get_payload().replace("\r\n", "\n") == ROWS


@pytest.mark.parametrize(
    "break_off", [lambda h: h.connection.close(), lambda h: h.wfile.write(b"HTTP/1.1 200 OK\r\n")]
)
def test_no_second_request_whatever_becomes_of_the_first(workspace, connect, raw, break_off):
    raw.answer = lambda _, handler: break_off(handler)
    connect("purecallerid_default", raw.url, workspace.key)
    with pytest.raises(VendorError) as caught:
        workspace.load(PureCallerIdHook())
    assert isinstance(caught.value, LostAnswerError)
    assert len(raw.requests) == 1


def test_a_redirect_is_not_followed(workspace, connect, raw, other):
    def redirect(_, handler):
        handler.send_response(307)
        handler.send_header("Location", other.url + "/api/public/lists/load")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    raw.answer = redirect
    connect("purecallerid_default", raw.url, workspace.key)
    with pytest.raises(RequestRefusedError, match="307"):
        workspace.load(PureCallerIdHook())
    assert (len(raw.requests), other.requests) == (1, [])


def test_an_encrypted_upload_that_is_broken_off_may_have_been_taken(
    workspace, connect, encrypted, certificate
):
    """The vendor hangs up while we still write: that is no fault of its certificate."""
    workspace.csv.write_bytes(b"2012000001,NJ\n" * (1 << 20))

    def hang_up(handler):
        raw_socket = socket.socket(fileno=handler.connection.detach())
        raw_socket.close()

    encrypted.read_body = False
    encrypted.answer = lambda _, handler: hang_up(handler)
    connect("purecallerid_default", encrypted.url, workspace.key, extra={"verify": str(certificate)})
    with pytest.raises(LostAnswerError):
        workspace.load(PureCallerIdHook())
    assert len(encrypted.requests) == 1


UPLOAD = """
import resource
import sys
from pathlib import Path
from listkeeper.hooks.purecallerid import PureCallerIdHook

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells on Linux begins with the memory of the process that started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # macOS tells bytes

def load(file):
    hook = PureCallerIdHook()
    hook.load_list(campaign="c", csv=Path(file), file_name="f.csv", process_request="{}")
    hook.close()

load(sys.argv[1])
before = peak()
load(sys.argv[2])
print("grown", peak() - before)
"""


def test_memory_stays_flat_whatever_the_file(connect, sink, tmp_path):
    """100 MB go out; the process grows by less than a fifth of that."""
    sink.answer = answer_first
    connect("purecallerid_default", sink.url, "someKeyOfTheWorkspace=")
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    for file, size in ((small, 1 << 20), (large, 100 << 20)):
        with file.open("wb") as opened:
            opened.truncate(size)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", UPLOAD, str(small), str(large)],
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'plugins'}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert [int(r.headers["content-length"]) >> 20 for r in sink.requests] == [1, 100]
    assert not [r for r in sink.requests if "transfer-encoding" in r.headers]
    assert int(done.stdout.split("grown")[1]) < 20 << 10  # in kB


# --- the connection


@pytest.mark.parametrize(
    ("value", "allowed"),
    [(True, True), ("true", True), (False, False), ("false", False), (None, False), (..., False)],
)
def test_plain_http_webhooks_are_a_switch(connect, value, allowed):
    connect("purecallerid_default", None, "k", extra={} if value is ... else {"allow_http_webhook": value})
    assert PureCallerIdHook().allows_http_webhook() is allowed


def test_the_test_button_on_a_good_connection(workspace):
    good, message = workspace.hook.test_connection()
    assert (good, "accepts the key" in message) == (True, True)
    assert workspace.sandbox.state("purecallerid")["loads"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wr0ngKeyOfSomeoneElse="}, "does not accept the key"),
        ({"password": None}, "holds no key"),
        ({"password": "key\n"}, "no usable key"),
        ({"host": "closed"}, "nothing listens"),
        ({"extra": {"prefix": "/x"}}, "unknown extra prefix"),
        ({"host": "wrong path"}, "refused"),
    ],
)
def test_the_test_button_on_a_bad_connection(workspace, connect, nothing_leaks, change, words):
    if change.get("host") == "closed":
        with socket.create_server(("127.0.0.1", 0)) as taken:
            change = {"host": f"http://127.0.0.1:{taken.getsockname()[1]}"}
    elif "host" in change:
        change = {"host": workspace.sandbox.base_url + "/elsewhere"}
    connect(
        "purecallerid_default", **{"host": workspace.sandbox.base_url, "password": workspace.key, **change}
    )
    good, message = PureCallerIdHook().test_connection()
    assert not good
    assert words in message
    nothing_leaks(None, workspace.key, "wr0ngKeyOfSomeoneElse=")


@pytest.mark.parametrize("status", [200, 202, 500, 503, 429, 302])
def test_the_test_button_on_something_else(connect, raw, status):
    connect("purecallerid_default", raw.url, "someKeyOfTheWorkspace=")

    def answer(_, handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(FIRST)))
        handler.end_headers()
        handler.wfile.write(FIRST)

    raw.answer = answer
    assert PureCallerIdHook().test_connection()[0] is False
