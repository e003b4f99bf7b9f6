"""PureCallerID's contract cases, by their number in the contract (section 7)."""

from __future__ import annotations

import json
import time
from datetime import datetime
from itertools import pairwise

import httpx
import pytest

from include.sandbox import webhooks
from include.sandbox.purecallerid import KEY

PATH = "/api/public/lists/load"
A, B, C = (2012000001, "NJ"), (2012000002, "NJ"), (2012000003, "CA")
LIST_OBJECT = [
    "id", "orgId", "workspaceId", "campaignId", "dialerListId", "name", "firstRowHeaders", "mode", "mapping",
    "webhookUrl", "uploaded", "status", "metrics", "processingStart", "processingFinish", "processingDuration",
    "processedBy", "events",
]  # fmt: skip
UNIQUE = [{"columnIndex": 0, "columnId": "number1"}, {"columnIndex": 1, "columnId": "uniqueId"}]


def metrics(valid=0, invalid=0, inactive=0, dnc=0):
    total = valid + invalid + inactive + dnc
    return {"valid": valid, "invalid": invalid, "inactive": inactive, "dnc": dnc, "total": total}


def numbers(rows):
    return [int(row.get("number1") or row["leadPhone"]) for row in rows]


def test_case_1_append(purecallerid):
    answer = purecallerid.post([A, B])
    first = answer.json()
    assert (answer.status_code, list(first)) == (200, LIST_OBJECT)
    assert (first["status"], first["events"], first["metrics"]) == ("UPLOADED", [], metrics())
    assert (first["processingStart"], first["processingFinish"], first["processingDuration"]) == (None,) * 3
    assert (first["name"], len(first["id"]), first["uploaded"][-1]) == ("leads.csv", 24, "Z")
    last = purecallerid.finished(first["id"])
    assert (last["status"], last["metrics"]) == ("FINALIZED", metrics(valid=2))
    assert [event["message"] for event in last["events"]] == [
        "list successfully loaded.", "Starting processing", "Queued for processing",
    ]  # fmt: skip
    assert purecallerid.rows() == [
        {"number1": "2012000001", "state": "NJ"}, {"number1": "2012000002", "state": "NJ"},
    ]  # fmt: skip


def test_case_2_webhooks(purecallerid, receiver):
    load = purecallerid.load([A, B], webhookUrl=receiver.url)
    assert receiver.wait(lambda seen: "FINALIZED" in seen) == ["QUEUED", "PROCESSING", "FINALIZED"]
    path, headers, body = receiver.calls[-1]
    assert path == "/callbacks/real-token"
    assert body == load
    assert list(body) == LIST_OBJECT
    started, finished = (datetime.fromisoformat(body[f"processing{end}"]) for end in ("Start", "Finish"))
    assert body["processingDuration"] == int((finished - started).total_seconds())
    assert headers["content-type"] == "application/json"
    assert headers["x-event-type"] == "CampaignList"
    assert headers["x-event-origin"] == "purecallerid.app"


def test_webhooks_follow_the_increments(purecallerid, receiver):
    purecallerid.server.switch("purecallerid", increment_rows=2)
    purecallerid.load([A, B, C, A, B], webhookUrl=receiver.url)
    receiver.wait(lambda seen: "FINALIZED" in seen)
    totals = [body["metrics"]["total"] for _, _, body in receiver.calls]
    assert receiver.statuses == ["QUEUED", "PROCESSING", "PROCESSING", "PROCESSING", "FINALIZED"]
    assert totals == [0, 0, 2, 4, 5]


def test_case_3_no_webhook(purecallerid):
    assert purecallerid.load([A])["webhookUrl"] is None
    assert purecallerid.server.state("purecallerid")["webhooks"] == []


def test_case_4_replace(purecallerid):
    purecallerid.load([A, B])
    purecallerid.load([C], mode="REPLACE")
    assert numbers(purecallerid.rows()) == [C[0]]


def test_case_5_replace_converges(purecallerid):
    first = purecallerid.load([A, B], mode="REPLACE")
    rows = purecallerid.rows()
    second = purecallerid.load([A, B], mode="REPLACE")
    assert purecallerid.rows() == rows
    assert first["id"] != second["id"]


def test_case_6_append_twice_doubles(purecallerid):
    purecallerid.load([A, B])
    purecallerid.load([A, B])
    assert numbers(purecallerid.rows()) == [A[0], B[0], A[0], B[0]]


def test_case_7_append_twice_with_unique_id_updates(purecallerid):
    purecallerid.load([(2012000001, "k1"), (2012000002, "k2"), (2012000003, "")], mappedCols=UNIQUE)
    purecallerid.load([(2012000009, "k1"), (2012000002, "k2"), (2012000003, "")], mappedCols=UNIQUE)
    assert numbers(purecallerid.rows()) == [2012000009, 2012000002, 2012000003, 2012000003]


def test_the_unique_id_column_is_a_switch(purecallerid):
    purecallerid.server.switch("purecallerid", unique_id_column="externalKey")
    purecallerid.load([(2012000001, "k1")], mappedCols=UNIQUE)
    purecallerid.load([(2012000001, "k1")], mappedCols=UNIQUE)
    assert len(purecallerid.rows()) == 2


def test_case_8_finalized_and_nothing_delivered(purecallerid):
    load = purecallerid.load([(201200001, "NJ"), (201200002, "NJ")])
    assert (load["status"], load["metrics"]) == ("FINALIZED", metrics(invalid=2))
    assert purecallerid.rows() == []


@pytest.mark.parametrize(
    ("number", "strip", "valid"),
    [
        ("(201) 200-0001", False, 1),
        ("201.200.0001", False, 1),
        ("12012000001", False, 0),
        ("+12012000001", False, 0),
        ("12012000001", True, 1),
        ("+1 201 200 0001", True, 1),
        ("201\u00a0200\u00a00001", False, 0),
        ("201200000A", False, 0),
        ("", False, 0),
    ],
)
def test_ten_digits(purecallerid, number, strip, valid):
    purecallerid.server.switch("purecallerid", strip_us_prefix=strip)
    assert purecallerid.load([(number, "x")])["metrics"] == metrics(valid=valid, invalid=1 - valid)
    assert numbers(purecallerid.rows()) == [2012000001] * valid


def test_case_9_inactive_and_dnc(purecallerid):
    purecallerid.server.switch("purecallerid", inactive=["2012000001"], dnc=["2012000002"])
    assert purecallerid.load([A, B, C])["metrics"] == metrics(valid=1, inactive=1, dnc=1)
    assert numbers(purecallerid.rows()) == [C[0]]


def test_case_9_by_the_hash_rule(purecallerid):
    purecallerid.server.switch("purecallerid", inactive=None, dnc=None)
    rows = [(2012000000 + n, "NJ") for n in range(20_000)]
    first, second = (purecallerid.load(rows, mode="REPLACE")["metrics"] for _ in range(2))
    assert first == second
    assert 30 < first["inactive"] < 90
    assert 30 < first["dnc"] < 90


def test_case_10_first_row_has_headers(purecallerid):
    load = purecallerid.load([("phone", "state"), A], firstRowHasHeaders=True)
    assert (load["firstRowHeaders"], load["metrics"]) == (True, metrics(valid=1))


@pytest.mark.parametrize(
    ("dedupe", "kept"),
    [
        ("RING_RETAIN_ALL", [A, A, B, A, C]),
        ("RING_REMOVE_FROM_LIST", [A, B, A, C]),
        ("RING_REMOVE_ALL_EXISTING", [A, A, B, C]),
    ],
)
def test_case_11_ringcx_dedupe(purecallerid, dedupe, kept):
    purecallerid.load([A, A, B], ringcx=True, dedupe=dedupe)
    last = purecallerid.load([A, C], ringcx=True, dedupe=dedupe)
    assert numbers(purecallerid.rows("RingCX nightly")) == [number for number, _ in kept]
    assert last["metrics"] == metrics(valid=2)  # repeats are not counted


def test_ringcx_remembers_only_loads_of_the_same_option_in_any_list(purecallerid):
    purecallerid.load([A], ringcx=True, dedupe="RING_RETAIN_ALL")
    purecallerid.load([B], ringcx=True, dedupe="RING_REMOVE_ALL_EXISTING", dialerListId="RingCX weekend")
    purecallerid.load([A, B, C], ringcx=True, dedupe="RING_REMOVE_ALL_EXISTING")
    assert numbers(purecallerid.rows("RingCX nightly")) == [A[0], A[0], C[0]]


def test_ringcx_ignores_the_mode(purecallerid):
    purecallerid.load([A], ringcx=True, mode="REPLACE")
    assert purecallerid.load([B], ringcx=True, mode=...)["mode"] == "APPEND"
    assert numbers(purecallerid.rows("RingCX nightly")) == [A[0], B[0]]


@pytest.mark.parametrize("dedupe", [..., "RETAIN_ALL", None])
def test_case_12_ringcx_needs_dedupe(purecallerid, dedupe):
    assert purecallerid.post([A], ringcx=True, dedupe=dedupe).status_code == 400


@pytest.mark.parametrize("key", [None, "wrong", KEY.rstrip("=")])
def test_case_13_key(purecallerid, key):
    del purecallerid.http.headers["X-API-KEY"]
    if key:
        purecallerid.http.headers["X-API-KEY"] = key
    answer = purecallerid.post([A])
    assert answer.status_code == 401
    assert set(answer.json()) == {"timestamp", "status", "error", "message", "path"}


def test_case_14_unknown_campaign(purecallerid):
    assert purecallerid.post([A], parts={"campaignId": "0" * 24}).status_code == 404


@pytest.mark.parametrize("part", ["file", "campaignId", "processRequest"])
def test_case_15_missing_part(purecallerid, part):
    answer = purecallerid.post([A], parts={part: None})
    assert answer.status_code == 400
    assert part in answer.json()["message"]


def test_case_16_process_request_not_json(purecallerid):
    assert purecallerid.post([A], parts={"processRequest": "{mode: APPEND}"}).status_code == 400
    assert purecallerid.post([A], parts={"processRequest": "[]"}).status_code == 400


PHONE = {"columnIndex": 0, "columnId": "number1"}


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "MERGE"},
        {"mode": ...},
        {"mappedCols": []},
        {"mappedCols": ...},
        {"mappedCols": [PHONE, {"columnIndex": 2, "columnId": "state"}]},
        {"mappedCols": [PHONE, {"columnIndex": -1, "columnId": "state"}]},
        {"mappedCols": [PHONE, {"columnIndex": "1", "columnId": "state"}]},
        {"mappedCols": [PHONE, {"columnIndex": 0, "columnId": "state"}]},
        {"mappedCols": [PHONE, {"columnIndex": 1, "columnId": "number1"}]},
        {"mappedCols": [PHONE, {"columnIndex": 1, "columnId": ""}]},
        {"mappedCols": [{"columnIndex": 0, "columnId": "leadPhone"}]},
        {"dialerListId": ...},
        {"dialerListId": ""},
        {"firstRowHasHeaders": "yes"},
    ],
)
def test_case_16_bad_values(purecallerid, changes):
    assert purecallerid.post([A], **changes).status_code == 400
    assert purecallerid.server.state("purecallerid")["loads"] == []


@pytest.mark.parametrize("file", [b"", b"\xff\xfe\x00", b'"open'])
def test_empty_or_unreadable_file(purecallerid, file):
    assert purecallerid.post(file).status_code == 400


@pytest.mark.parametrize(
    ("url", "allowed", "status"),
    [
        ("http://127.0.0.1:9/x", True, 200),
        ("http://127.0.0.1:9/x", False, 400),
        ("http://listkeeper.example/x", True, 400),
        ("https://", True, 400),
        ("nonsense", True, 400),
        (7, True, 400),
        ("https://[bad", True, 400),
        ("https://a b.example/x", True, 400),
        ("https://a.example:99999/x", True, 400),
    ],
)
def test_case_17_webhook_url(purecallerid, url, allowed, status):
    purecallerid.server.switch("purecallerid", allow_http_webhook=allowed)
    assert purecallerid.post([A], webhookUrl=url).status_code == status


def test_case_18_broken_name(purecallerid):
    purecallerid.server.switch("purecallerid", broken_name_json=True)
    answer = purecallerid.post([A])
    assert answer.status_code == 200
    assert '"name":leads.csv",' in answer.text
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_case_19_unknown_list(purecallerid, receiver):
    load = purecallerid.load([A], dialerListId="nobody's", webhookUrl=receiver.url)
    assert (load["status"], load["metrics"]) == ("ERROR", metrics())
    assert load["events"][0]["type"] == "ERROR"
    assert receiver.wait(lambda seen: "ERROR" in seen)[-1] == "ERROR"


def test_case_20_error_midway(purecallerid, receiver):
    purecallerid.server.fault("purecallerid", "load_error")
    load = purecallerid.load([A, B, C, A], mode="REPLACE", webhookUrl=receiver.url)
    assert (load["status"], load["metrics"]) == ("ERROR", metrics(valid=2))
    assert load["events"][0]["type"] == "ERROR"
    assert numbers(purecallerid.rows()) == [A[0], B[0]]
    assert purecallerid.load([C])["status"] == "FINALIZED"


def test_crash_midway(purecallerid, receiver):
    purecallerid.server.fault("purecallerid", "load_crash")
    first = purecallerid.post([A, B, C, A], webhookUrl=receiver.url).json()["id"]
    assert purecallerid.load([C])["status"] == "FINALIZED"  # the next load of the campaign goes on
    assert purecallerid.finished(first, ("PROCESSING",))["metrics"]["total"] == 2
    assert receiver.wait(lambda seen: len(seen) == 2) == ["QUEUED", "PROCESSING"]


def test_case_21_webhook_target_fails(purecallerid, receiver):
    receiver.status = 500
    assert purecallerid.load([A], webhookUrl=receiver.url)["status"] == "FINALIZED"
    assert receiver.wait(lambda seen: "FINALIZED" in seen) == ["QUEUED", "PROCESSING", "FINALIZED"]
    time.sleep(0.1)
    assert len(receiver.calls) == 3


def test_case_22_reordered_webhooks(purecallerid, receiver, monkeypatch):
    monkeypatch.setattr(webhooks, "HELD_SECONDS", 60)  # the next one comes in time on any machine
    purecallerid.server.fault("purecallerid", "webhook_reordered", nth=2)
    purecallerid.load([A], webhookUrl=receiver.url)
    seen = receiver.wait(lambda seen: len(seen) == 3)
    assert seen == ["QUEUED", "FINALIZED", "PROCESSING"]


def test_case_23_too_large(purecallerid):
    purecallerid.server.switch("purecallerid", max_file_bytes=100)
    assert purecallerid.post(b"x" * 101).status_code == 413
    assert purecallerid.post([A]).status_code == 200


def test_case_24_other_methods(purecallerid):
    for method in ("GET", "PUT", "DELETE"):
        answer = purecallerid.http.request(method, PATH)
        assert (answer.status_code, answer.json()["status"]) == (405, 405)


@pytest.mark.parametrize("status", [520, 599])
def test_a_status_without_a_name(purecallerid, status):
    purecallerid.server.fault("purecallerid", "status", status=status)
    answer = purecallerid.post([A])
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (status, status, "")


def test_case_25_not_multipart(purecallerid):
    assert purecallerid.http.post(PATH, json=purecallerid.request()).status_code == 415


@pytest.mark.parametrize("name", ["X-Api-Key", "x-api-key", "X-API-KEY"])
def test_case_26_letter_case_of_the_key_header(purecallerid, name):
    del purecallerid.http.headers["X-API-KEY"]
    purecallerid.http.headers[name] = KEY
    assert purecallerid.post([A]).status_code == 200


def test_the_csv_dialect(purecallerid):
    text = '\ufeff2012000001,"a ""b"", c"\r\n\r\n2012000002,"two\r\nlines"\r\n'.encode()
    assert purecallerid.load(text)["metrics"] == metrics(valid=2)
    assert [row["state"] for row in purecallerid.rows()] == ['a "b", c', "two\r\nlines"]


def test_unreadable_midway_is_an_error(purecallerid):
    load = purecallerid.load(b"2012000001,NJ\n2012000002,\xff\n")
    assert (load["status"], load["events"][0]["type"]) == ("ERROR", "ERROR")


def test_loads_of_a_campaign_run_one_after_the_other(purecallerid):
    ids = [purecallerid.post([(2012000000 + n, "NJ")]).json()["id"] for n in range(5)]
    loads = [purecallerid.finished(load_id) for load_id in ids]
    assert numbers(purecallerid.rows()) == [2012000000 + n for n in range(5)]
    for before, after in pairwise(loads):
        assert before["processingFinish"] <= after["processingStart"]


def test_there_is_no_way_to_read_a_list(purecallerid):
    load = purecallerid.load([A])
    assert httpx.get(f"{purecallerid.server.base_url}/api/public/lists/{load['id']}").status_code == 404
