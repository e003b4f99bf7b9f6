"""The archive API's contract cases, by their number in the contract (section 7), on SQLite and on MariaDB."""

from __future__ import annotations

import json

import httpx
import pytest

from include.sandbox.vicidial import KEY

DONE = "lead_ids batch was successfully processed"
INTEGERS = "lead_ids must only contain integer values"
AT_LEAST = "lead_ids must contain atleast 1 value"
DUPLICATES = "lead_ids cannot contain duplicate values"
UNKNOWN = "lead_ids does not exist"
OFFICE_HOURS = "api cannot be executed during office hours time condition"
SATURDAY, MONDAY = "2026-11-21", "2026-11-23"


def refused(answer, status, message, ids=()):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"message": message, "lead_errors": len(ids), "lead_ids": list(ids)}
    # true is 1 in Python: compare how it is written, too
    assert json.dumps(answer.json()["lead_ids"]) == json.dumps(list(ids))


def test_case_1_archive(vicidial):
    answer = vicidial.post(vicidial.body("TTT", [1]))
    assert answer.status_code == 200
    counts = {"select_count": 1, "insert_count": 1, "update_count": 0, "delete_count": 1}
    assert answer.json() == {"message": DONE, **counts}
    assert vicidial.where(1, 2) == ["archive", "list"]


def test_cases_2_to_6_copy_change_sync_delete(vicidial):
    assert vicidial.archive("TTF", [2]) == (1, 1, 0, 0)
    assert vicidial.where(2) == ["both"]
    assert vicidial.archive("TTF", [2]) == (1, 0, 0, 0)
    vicidial.server.edit(2, status="SALE")
    assert vicidial.archive("TTF", [2]) == (1, 0, 1, 0)
    vicidial.server.edit(2, comments="asked for Friday")
    assert vicidial.archive("TFT", [2]) == (1, 0, 0, 0)
    assert vicidial.where(2) == ["both"]
    assert vicidial.archive("TTF", [2]) == (1, 0, 1, 0)
    assert vicidial.archive("FFT", [2]) == (1, 0, 0, 1)
    assert vicidial.where(2) == ["archive"]


def test_case_7_nothing_is_deleted_that_was_never_archived(vicidial):
    assert vicidial.archive("FFT", [3]) == (1, 0, 0, 0)
    assert vicidial.where(3) == ["list"]


def test_case_8_no_flags_only_count(vicidial):
    assert vicidial.archive("FFF", [3]) == (1, 0, 0, 0)
    assert vicidial.where(3) == ["list"]


def test_case_9_500_ids(vicidial):
    assert vicidial.archive("TTT", range(1, 501)) == (500, 500, 0, 500)
    assert vicidial.server.state("vicidial", rows=False)["counts"] == {"list": 100, "archive": 500}


def test_case_10_501_ids(vicidial):
    answer = vicidial.post(vicidial.body("TTT", list(range(1, 502))))
    refused(answer, 400, "lead_ids cannot exceed 500 values")
    assert vicidial.server.state("vicidial", rows=False)["counts"] == {"list": 600, "archive": 0}


@pytest.mark.parametrize("path", ["archive", "dearchive"])
@pytest.mark.parametrize(
    "header", [None, "Key=wrong", f"Bearer {KEY}", KEY, f"Key= {KEY}", f"key={KEY}", f"Key={KEY}x", "Key="]
)
def test_case_11_keys(vicidial, header, path):
    if header is None:
        del vicidial.http.headers["Authorization"]
    else:
        vicidial.http.headers["Authorization"] = header
    vicidial.at(f"{MONDAY}T10:00:00")  # the key is looked at first
    answer = vicidial.post(b"no JSON", path)
    assert (answer.status_code, answer.json()) == (401, {"message": "unable to validate api user"})


def test_case_12_office_hours(vicidial):
    vicidial.at(f"{MONDAY}T10:00:00")
    for body in (vicidial.body("TTT", [1]), b"no JSON"):
        answer = vicidial.post(body)
        assert (answer.status_code, answer.json()) == (403, {"message": OFFICE_HOURS})
    assert vicidial.where(1) == ["list"]


@pytest.mark.parametrize(
    ("time", "status"),
    [("07:59:59", 200), ("08:00:00", 403), ("16:59:59", 403), ("17:00:00", 200)],
)
def test_case_13_edges_of_the_office_hours(vicidial, time, status):
    body = vicidial.body("FFF", [1])
    vicidial.at(f"{MONDAY}T{time}")
    assert vicidial.post(body).status_code == status
    vicidial.at(f"{SATURDAY}T{time}")
    assert vicidial.post(body).status_code == 200


@pytest.mark.parametrize("value", ["true", 1, 0, None, ..., [], {}])
@pytest.mark.parametrize("name", ["insert_leads", "update_leads", "delete_leads"])
def test_cases_14_and_15_booleans(vicidial, name, value):
    answer = vicidial.post(vicidial.body("TTT", [1], **{name: value}))
    refused(answer, 400, f"{name} must be a boolean value")
    assert vicidial.where(1) == ["list"]


@pytest.mark.parametrize(
    ("ids", "wrong"),
    [
        (["0"], ["0"]),
        ([1, "2", 3.5, True], ["2", 3.5, True]),
        ([False, 1.0, 1e2, None, [1], {"a": 1}], [False, 1.0, 100.0, None, [1], {"a": 1}]),
        (["1", "1"], ["1", "1"]),
        (7, [7]),
        ("7", ["7"]),
        (True, [True]),
        ({"1": 2}, [{"1": 2}]),
        (["x"] * 501, ["x"] * 501),
    ],
)
def test_cases_16_and_17_integers(vicidial, ids, wrong):
    refused(vicidial.post(vicidial.body("TTT", ids)), 400, INTEGERS, wrong)
    assert vicidial.where(1) == ["list"]


@pytest.mark.parametrize("ids", [[], None, ...])
def test_case_18_no_id(vicidial, ids):
    refused(vicidial.post(vicidial.body("TTT", ids)), 400, AT_LEAST)


def test_case_19_repeats(vicidial):
    refused(vicidial.post(vicidial.body("TTT", [5, 5, 6, 6, 7])), 400, DUPLICATES, [5, 6])
    refused(vicidial.post(vicidial.body("TTT", [9999, 9999, 9999])), 400, DUPLICATES, [9999])
    assert vicidial.where(5, 6, 7) == ["list"] * 3


@pytest.mark.parametrize(
    ("ids", "unknown"),
    [
        ([7, 9999], [9999]),
        ([0, -1, 7], [0, -1]),
        ([601, 600, 700], [601, 700]),
        ([2**32 + 1, 2**63, -(2**63) - 1, 10**30, 1], [2**32 + 1, 2**63, -(2**63) - 1, 10**30]),
    ],
)
def test_case_20_unknown_leads(vicidial, ids, unknown):
    refused(vicidial.post(vicidial.body("TTT", ids)), 400, UNKNOWN, unknown)
    assert vicidial.server.state("vicidial", rows=False)["counts"] == {"list": 600, "archive": 0}


def test_case_21_the_same_call_twice(vicidial):
    vicidial.archive("TTT", [1])
    refused(vicidial.post(vicidial.body("TTT", [1])), 400, UNKNOWN, [1])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b'{"lead_ids": [1, s]}',
            "Unexpected character encountered while parsing value: s. Path 'lead_ids[1]', line 1, position 17.",
        ),
        (
            b"no JSON",
            "Unexpected character encountered while parsing value: n. Path '', line 0, position 0.",
        ),
        (b"", "Unexpected end of content while loading JObject. Path '', line 0, position 0."),
        (
            b'{"insert_leads": true',
            "Unexpected end of content while loading JObject. Path 'insert_leads', line 1, position 21.",
        ),
        (
            b'{"a": {"b": [[0], ["]}", 1 2]]}}',
            "After parsing a value an unexpected character was encountered: 2. Path 'a.b[1][1]', line 1, position 27.",
        ),
        (
            b"[1]",
            "Error reading JObject from JsonReader. Current JsonReader item is not an object. "
            "Path '', line 1, position 1.",
        ),
    ],
)
def test_case_22_a_body_that_is_no_json_object(vicidial, body, message):
    refused(vicidial.post(body), 500, message)


def test_case_22_as_in_the_vendors_sample(vicidial):
    """One id per line, the 98th holds a letter: `line 104, position 5` needs 98 lines of ids and 5 before them."""
    lines = [*(f"    {n}," for n in range(1, 98)), "    9s"]
    flags = ['  "insert_leads": true,', '  "update_leads": true,', '  "delete_leads": true,']
    text = "\n".join(["{", *flags, '  "lead_ids":', "  [", *lines, "  ]", "}"])
    message = (
        "Unexpected character encountered while parsing number: s. Path 'lead_ids[97]', line 104, position 5."
    )
    refused(vicidial.post(text.encode()), 500, message)
    refused(vicidial.post(text.replace("\n", "\r\n").encode()), 500, message)


@pytest.mark.parametrize(
    "body", [b"null", b"7", b'"x"', b'{"lead_ids": 1e999}', b"[" * 100_000, b'{"a": "}}\\q"}']
)
def test_more_bodies_that_are_no_json_object(vicidial, body):
    answer = vicidial.post(body)
    refused(answer, 500, answer.json()["message"])
    assert "Path '" in answer.json()["message"]


def test_case_23_crash_after_insert(vicidial):
    vicidial.server.fault("vicidial", "crash_after_insert")
    with pytest.raises(httpx.RemoteProtocolError):
        vicidial.post(vicidial.body("TTT", [1]))
    assert vicidial.where(1) == ["both"]
    assert vicidial.archive("TTT", [1]) == (1, 0, 0, 1)
    assert vicidial.where(1) == ["archive"]


def test_case_24_an_agent_edits_between_update_and_delete(vicidial):
    vicidial.server.fault("vicidial", "agent_edits")
    assert vicidial.archive("TTT", [1]) == (1, 1, 0, 0)
    assert vicidial.where(1) == ["both"]
    assert vicidial.archive("TTT", [1]) == (1, 0, 1, 1)
    assert vicidial.where(1) == ["archive"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"insert_leads": "true"}, "insert_leads must be a boolean value"),
        ({"update_leads": 1}, "update_leads must be a boolean value"),
        ({"delete_leads": ...}, "delete_leads must be a boolean value"),
        ({"lead_ids": []}, AT_LEAST),
    ],
)
def test_case_25_broken_commas(vicidial, changes, message):
    vicidial.server.switch("vicidial", broken_commas=True)
    answer = vicidial.post(vicidial.body("TTT", [1], **changes))
    assert answer.status_code == 400
    assert answer.text == f'{{"message": "{message}" "lead_errors": 0, "lead_ids": []}}'
    refused(vicidial.post(vicidial.body("TTT", ["0"])), 400, INTEGERS, ["0"])  # printed with its comma
    assert vicidial.archive("TTT", [1]) == (1, 1, 0, 1)


def test_case_26_legacy_status_code(vicidial):
    vicidial.server.switch("vicidial", legacy_status_code=True)
    assert vicidial.post(vicidial.body("TTT", [1])).json()["http_code"] == 200
    assert vicidial.post(vicidial.body("TTT", [1])).json()["http_code"] == 400
    vicidial.at(f"{MONDAY}T10:00:00")
    assert vicidial.post(b"").json() == {"message": OFFICE_HOURS, "http_code": 403}


def test_case_27_dearchive(vicidial):
    vicidial.archive("TTT", [1])
    vicidial.at(f"{MONDAY}T10:00:00")
    answer = vicidial.post(vicidial.body("TTT", [1], update_leads=...), "dearchive")
    assert answer.status_code == 200
    assert answer.json() == {"message": DONE, "select_count": 1, "insert_count": 1, "delete_count": 1}
    assert vicidial.where(1) == ["list"]
    refused(vicidial.post(vicidial.body("TTT", [1], update_leads=...), "dearchive"), 400, UNKNOWN, [1])
    vicidial.at(f"{SATURDAY}T20:00:00")
    assert vicidial.archive("TTT", [1]) == (1, 1, 0, 1)  # nothing was lost on the way


def test_va_7_the_first_failing_check_answers(vicidial):
    """Each body also breaks all rules that come later."""
    wrong = {"insert_leads": 1, "update_leads": 1, "delete_leads": 1, "lead_ids": ["0", "0"]}
    for name in ("insert_leads", "update_leads", "delete_leads"):
        refused(vicidial.post(wrong), 400, f"{name} must be a boolean value")
        wrong[name] = True
    refused(vicidial.post(wrong), 400, INTEGERS, ["0", "0"])
    refused(vicidial.post({**wrong, "lead_ids": [9999] * 501}), 400, "lead_ids cannot exceed 500 values")
    refused(vicidial.post({**wrong, "lead_ids": [9999, 9999]}), 400, DUPLICATES, [9999])


def test_va_10_any_content_type(vicidial):
    answer = vicidial.post(vicidial.body("TTT", [1]), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_va_11_other_methods(vicidial, method):
    answer = vicidial.http.request(method, "/vicidial/leads/archive")
    assert (answer.status_code, answer.content) == (405, b"")
