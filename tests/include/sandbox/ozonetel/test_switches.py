"""What of the sandbox's Ozonetel can be switched, and how it can fail; cases by their number."""

from __future__ import annotations

import csv
import json
import time
from urllib.parse import parse_qs

import httpx
import pytest

from include.sandbox import webhooks
from include.sandbox.ozonetel import MADE_UP_TRANSACTION
from include.sandbox.webhooks import MADE_UP_TOKEN
from tests.include.sandbox.ozonetel.conftest import (
    HEADER,
    LONG,
    NO_DATA,
    NO_KEY,
    PATH,
    A,
    B,
    D,
    counts,
    failed_rows,
    failed_url,
    received,
    record,
)


def row(name="", phone="9876543210", **cells):
    return [phone, name, *cells.values()]


# --- encodings


def test_multipart(ozonetel):
    files = {name: (None, value) for name, value in ozonetel.fields([A]).items()}
    assert ozonetel.http.post(PATH, files=files).json()["status"] == "success"


def test_a_large_multipart(ozonetel):
    rows = [[f"98765{i:05}", "x" * LONG] for i in range(500)]
    files = {name: (None, value) for name, value in ozonetel.fields(rows, ["PhoneNumber", "Name"]).items()}
    assert len(files["bulkData"][1]) > 900_000
    told = ozonetel.http.post(PATH, files=files).json()
    assert counts(ozonetel.finished(told["transactionId"])) == (500, 500, 0)


@pytest.mark.parametrize("bulk", [json.dumps({"map": HEADER, "data": [A]}), {"map": HEADER, "data": [A]}])
def test_json_with_bulk_data_as_text_or_object(ozonetel, bulk):
    fields = ozonetel.fields([], bulkData=bulk, checkDuplicate=True)
    assert ozonetel.http.post(PATH, json=fields).json()["status"] == "success"
    told = ozonetel.http.post(PATH, json=fields).json()
    assert counts(ozonetel.finished(told["transactionId"])) == (1, 0, 1)


def test_json_flags_that_are_there_and_false(ozonetel):
    fields = ozonetel.fields([A, A], isDelete=False, checkDuplicate=True)
    told = ozonetel.http.post(PATH, json=fields).json()
    assert counts(ozonetel.finished(told["transactionId"])) == (2, 2, 0)


def test_strict_encoding_reads_no_json(ozonetel):
    ozonetel.server.switch("ozonetel", strict_encoding=True)
    assert ozonetel.http.post(PATH, json=ozonetel.fields([A])).json() == NO_KEY
    assert ozonetel.post([A]).json()["status"] == "success"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null"])
def test_a_json_body_without_fields(ozonetel, content):
    answer = ozonetel.http.post(PATH, content=content, headers={"Content-Type": "application/json"})
    assert answer.json() == NO_KEY


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x", "text/plain", ""])
def test_a_body_that_is_no_form_has_no_fields(ozonetel, kind):
    answer = ozonetel.http.post(PATH, content=b"apiKey=x", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()) == (200, NO_KEY)


# --- switches


def test_case_28_double_encoded_and_csv_quoted(ozonetel):
    ozonetel.server.switch("ozonetel", double_encoded=True)
    assert json.loads(ozonetel.post([]).json()) == NO_DATA
    ozonetel.server.switch("ozonetel", double_encoded=False, csv_quoted=True)
    text = ozonetel.post([]).text
    assert text.startswith('"{""status"": ""failure""')
    assert next(csv.reader([text])) == [json.dumps(NO_DATA)]
    assert '""transactionId""' in ozonetel.post([A]).text


def test_error_http_status(ozonetel):
    ozonetel.server.switch("ozonetel", error_http_status=400)
    answer = ozonetel.post([])
    assert (answer.status_code, answer.json()) == (400, NO_DATA)
    assert ozonetel.post([A]).status_code == 200


def test_bare_success(ozonetel):
    ozonetel.server.switch("ozonetel", bare_success=True)
    assert list(ozonetel.post([A]).json()) == ["transactionId"]


def test_case_29_callback_shapes(ozonetel, receiver):
    shapes = ["string", "object", "form", "raw_unescaped"]
    for number, shape in enumerate(shapes):
        ozonetel.server.switch("ozonetel", callback_shape=shape)
        ozonetel.add([A, ["x", "", ""]], callBackUrl=receiver.url)
        received(receiver, number + 1)
    kinds, bodies = zip(*((head["content-type"], body) for _, head, body in receiver.bodies), strict=True)
    assert kinds == ("application/json",) * 2 + ("application/x-www-form-urlencoded", "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(bodies[3])
    raw = bodies[3].decode()
    assert raw.startswith('{"data":"{"') and raw.endswith('"}"}')
    told = [
        json.loads(json.loads(bodies[0])["data"]),
        json.loads(bodies[1])["data"],
        json.loads(parse_qs(bodies[2].decode())["data"][0]),
        json.loads(raw.removeprefix('{"data":"').removesuffix('"}')),
    ]
    assert [counts(one) for one in told] == [(2, 1, 1)] * 4
    assert len({tuple(one) for one in told}) == 1


@pytest.mark.parametrize(
    ("reading", "fitting"),
    [("values", 1990), ("json", 2000 - len('{"PhoneNumber": "9876543210", "Name": ""}'))],
)
def test_other_row_lengths(ozonetel, reading, fitting):
    ozonetel.server.switch("ozonetel", row_length=reading)
    rows = [["9876543210", "x" * fitting], ["9876543211", "x" * (fitting + 1)]]
    ozonetel.add(rows, ["PhoneNumber", "Name"])
    assert ozonetel.phones() == ["9876543210"]


def test_a_bad_row_may_fail_the_load(ozonetel):
    ozonetel.server.switch("ozonetel", bad_row_fails_all=True)
    told = ozonetel.add([A, ["x", "", ""]])
    assert (told["status"], counts(told), ozonetel.phones()) == ("Fail", (2, 0, 2), [])
    ozonetel.add([A])
    assert ozonetel.add([A, B], checkDuplicate="true")["status"] == "Success"  # a duplicate is not bad


@pytest.mark.parametrize(
    ("key", "added"), [("digits", [A[0], "919876543210"]), ("text", None), ("last_10_digits", [A[0]])]
)
def test_what_of_a_number_is_compared(ozonetel, key, added):
    ozonetel.server.switch("ozonetel", duplicate_key=key)
    phones = [A[0], "919876543210", "+919876543210"]
    ozonetel.add([[phone] for phone in phones], ["PhoneNumber"], checkDuplicate="true")
    assert ozonetel.phones() == (added or phones)
    ozonetel.server.switch("ozonetel", duplicate_key="last_10_digits")
    assert counts(ozonetel.add([A], checkDuplicate="true")) == (1, 0, 1)


@pytest.mark.parametrize(("reading", "told"), [("counted", (3, 1, 2)), ("processed", (3, 2, 1))])
def test_how_duplicates_are_told(ozonetel, receiver, reading, told):
    ozonetel.server.switch("ozonetel", duplicates=reading)
    url = failed_url(ozonetel, receiver, [A, A, ["x", "", ""]], checkDuplicate="true")
    assert counts(record(receiver)) == told
    assert [found[-1] for found in failed_rows(ozonetel, url)[1:]] == ["Invalid PhoneNumber"]
    ozonetel.add([A], checkDuplicate="true", callBackUrl=receiver.url)
    received(receiver, 2)
    assert record(receiver)["failedFilePath"] == ""


def test_layouts_of_the_failed_file(ozonetel, receiver):
    ozonetel.server.switch("ozonetel", reason_column="", failed_file_reversed=True, spaces_around_path=True)
    url = failed_url(ozonetel, receiver, [["x", "", ""], A, ["y", "", ""]])
    assert url.startswith(" ") and url.endswith(" ")
    assert failed_rows(ozonetel, url) == [HEADER, ["y", "", ""], ["x", "", ""]]


# --- faults


def test_drop_before_and_after(ozonetel):
    ozonetel.server.fault("ozonetel", "drop_before")
    ozonetel.server.fault("ozonetel", "drop_after", nth=2)
    for number in (0, 1):
        with pytest.raises(httpx.TransportError):
            ozonetel.post([A])
        assert len(ozonetel.state()["transactions"]) == number
    assert [call["status"] for call in ozonetel.state()["requests"]] == [None, None]
    assert len(ozonetel.state()["hits"]) == 1  # the other never reached the vendor


def test_refused_on_the_way(ozonetel):
    ozonetel.server.fault("ozonetel", "status", status=429, retry_after=7)
    ozonetel.server.fault("ozonetel", "status", status=503, nth=2)
    first, second = ozonetel.post([A]), ozonetel.post([A])
    assert (first.status_code, first.headers["retry-after"]) == (429, "7")
    assert (first.json()["status"], second.status_code) == ("error", 503)
    assert ozonetel.state()["transactions"] == []


def test_faults_of_the_failed_file(ozonetel, receiver):
    url = failed_url(ozonetel, receiver)
    ozonetel.server.fault("ozonetel", "status", op="failed_file", status=503)
    ozonetel.server.fault("ozonetel", "truncated", op="failed_file", nth=2)
    assert ozonetel.http.get(url).status_code == 503
    with pytest.raises(httpx.RemoteProtocolError):
        ozonetel.http.get(url)
    assert ozonetel.http.get(url).status_code == 200


def test_forged_callbacks(ozonetel, receiver):
    ozonetel.server.fault("ozonetel", "webhook_forged")
    told = ozonetel.add([A, ["x", "", ""]], callBackUrl=receiver.url)
    received(receiver, 3)
    assert [path for path, _, _ in receiver.calls] == [
        f"/callbacks/{MADE_UP_TOKEN}", "/callbacks/real-token", "/callbacks/real-token",
    ]  # fmt: skip
    forged, real = record(receiver, 1), record(receiver, 2)
    assert (forged["transactionId"], counts(forged)) == (MADE_UP_TRANSACTION, (2, 2, 0))
    assert (real["transactionId"], counts(real)) == (told["transactionId"], (2, 1, 1))


def test_lost_doubled_late_and_garbled_callbacks(ozonetel, receiver):
    for nth, fault in enumerate(("lost", "doubled", "late", "garbage"), 1):
        ozonetel.server.fault("ozonetel", f"webhook_{fault}", nth=nth, seconds=0.5)
    ids = [ozonetel.add([row], callBackUrl=receiver.url)["transactionId"] for row in (A, B, D, A)]
    received(receiver, 4)
    assert [record(receiver, at)["transactionId"] for at in range(3)] == [ids[1], ids[1], ids[2]]
    assert receiver.garbage[0].startswith(b'{"data": "{')


def test_reordered_callbacks(ozonetel, receiver, monkeypatch):
    monkeypatch.setattr(webhooks, "HELD_SECONDS", 60)  # the next one comes in time on any machine
    ozonetel.server.fault("ozonetel", "webhook_reordered")
    ozonetel.server.fault("ozonetel", "webhook_reordered", nth=3)
    ids = [ozonetel.add([row], callBackUrl=receiver.url)["transactionId"] for row in (A, B)]
    received(receiver, 2)
    monkeypatch.setattr(webhooks, "HELD_SECONDS", 0.2)
    ids.append(ozonetel.add([D], callBackUrl=receiver.url)["transactionId"])
    received(receiver, 3)  # nothing comes after the third: it does not wait for ever
    assert [record(receiver, at)["transactionId"] for at in range(3)] == [ids[1], ids[0], ids[2]]


@pytest.mark.parametrize(
    ("fault", "status", "calls"), [("load_error", "Fail", 1), ("load_crash", "crashed", 0)]
)
def test_loads_that_stop_half_way(ozonetel, receiver, fault, status, calls):
    ozonetel.server.fault("ozonetel", fault, match="Renew")
    assert ozonetel.add([A], campaignName="Win-back")["status"] == "Success"
    told = ozonetel.add([A, B, D, A], callBackUrl=receiver.url)
    assert (told["status"], ozonetel.phones()) == (status, [A[0], B[0]])
    received(receiver, calls)
    time.sleep(0.1)
    assert len(receiver.calls) == calls
    if calls:
        assert counts(record(receiver)) == (4, 2, 2)
    assert ozonetel.add([A])["status"] == "Success"  # the queue goes on
