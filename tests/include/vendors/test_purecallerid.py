"""PureCallerID's answers and webhooks as the client must read them, and what a load ends as."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)
from include.vendors.purecallerid import (
    DEDUPES,
    STATUSES,
    ListLoad,
    Metrics,
    find_outcome,
    is_ours,
    judge,
    load_problems,
    mapping,
    process_request,
    read_answer,
    read_list,
    safe_to_resend,
)

SAMPLES = Path(__file__).parents[2] / "samples" / "purecallerid"
FIRST = json.loads((SAMPLES / "first_response.json").read_text())
FINAL = json.loads((SAMPLES / "finalized.json").read_text())


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def about(**changes: object) -> dict[str, object]:
    """The printed list object with changes; `...` leaves a field out."""
    return {name: value for name, value in {**FINAL, **changes}.items() if value is not ...}


def ended(status: str = "FINALIZED", **counts: int) -> ListLoad:
    metrics = {"valid": 0, "invalid": 0, "inactive": 0, "dnc": 0, **counts}
    metrics.setdefault("total", sum(metrics.values()))
    return read_list(about(status=status, metrics=metrics))


# --- the list object


def test_the_printed_success_is_read_field_by_field():
    assert read_list(sample("finalized.json")) == ListLoad(
        id="64bea5d3c2f1a2463dc3f9d1",
        status="FINALIZED",
        metrics=Metrics(valid=0, invalid=12430, inactive=0, dnc=0, total=12430),
        campaign="64be9f5c0c8d4a1f2b3c4d5e",
        dialer_list="Test List",
        name="ATTEMPT.csv",
        message="list successfully loaded.",  # the newest event comes first
    )


@pytest.mark.parametrize("status", STATUSES)
def test_the_five_statuses(status):
    load = read_list(about(status=status))
    assert (load.status, load.terminal) == (status, status in ("ERROR", "FINALIZED"))
    assert read_list(about(status=status.capitalize())) == load


def test_answer_and_webhook_have_one_reader():
    assert read_list(FINAL) == read_list(json.dumps(FINAL).encode())


@pytest.mark.parametrize(
    ("changes", "metrics"),
    [
        ({"metrics": None}, (0, 0, 0, 0, 0)),
        ({"metrics": ...}, (0, 0, 0, 0, 0)),
        ({"metrics": {}}, (0, 0, 0, 0, 0)),
        ({"metrics": {"valid": 5, "total": 5}}, (5, 0, 0, 0, 5)),
        ({"metrics": {"valid": 5, "more": "x"}}, (5, 0, 0, 0, 0)),
        ({"metrics": {"valid": 5, "dnc": None, "total": 5}}, (5, 0, 0, 0, 5)),
        ({"metrics": {"valid": "5", "dnc": "07", "total": "12"}}, (5, 0, 0, 7, 12)),
    ],
)
def test_counts_that_are_absent_are_zero_and_those_in_quotes_are_counts(changes, metrics):
    found = read_list(about(**changes)).metrics
    assert (found.valid, found.invalid, found.inactive, found.dnc, found.total) == metrics


@pytest.mark.parametrize("name", ["campaignId", "dialerListId", "name", "events", "processedBy", "mapping"])
@pytest.mark.parametrize("value", [..., None, 5, [], {}])
def test_only_id_status_and_metrics_are_needed(name, value):
    load = read_list(about(**{name: value}))
    assert (load.id, load.terminal) == (FINAL["id"], True)


@pytest.mark.parametrize(
    "body",
    [
        sample("broken_name.txt"),  # the vendor's own typo (case 18)
        b"",
        b"null",
        b"[]",
        b"OK",
        b"\xff",
        sample("finalized.json")[:300],
        sample("error.json"),
        about(id=...),
        about(id=""),
        about(id=5),
        about(id=None),
        about(status=...),
        about(status="FINAL"),
        about(status="DONE"),
        about(status=None),
        about(status=["FINALIZED"]),
        about(metrics=[1]),
        about(metrics="12430"),
        about(metrics={"valid": "five"}),
        about(metrics={"valid": ""}),
        about(metrics={"valid": -1}),
        about(metrics={"valid": 1.5}),
        about(metrics={"valid": True}),
        [FINAL],
        "text",
        None,
    ],
)
def test_what_is_no_list_object_is_refused(body):
    with pytest.raises(UnexpectedAnswerError) as caught:
        read_list(body)
    assert not any(text in str(caught.value) for text in ("ATTEMPT", "Test List", "64be"))


@given(st.integers(0, len(sample("finalized.json").rstrip()) - 1))
def test_no_cut_of_a_list_object_reads_as_one(length):
    with pytest.raises(UnexpectedAnswerError):
        read_list(sample("finalized.json")[:length])


# --- the answer of the POST


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("word", STATUSES)
def test_any_2xx_in_any_status_is_taken(status, word):
    load = read_answer(status, {}, json.dumps({**FIRST, "status": word}).encode())
    assert (load.id, load.status) == (FIRST["id"], word)


@pytest.mark.parametrize(
    "body", [sample("broken_name.txt"), b"", b"OK", b"{}", sample("first_response.json")[:200]]
)
def test_a_2xx_that_cannot_be_read_was_taken_all_the_same(body):
    with pytest.raises(LostAnswerError, match="webhook") as caught:
        read_answer(200, {}, body)
    assert caught.value.http_status == 200
    assert "ATTEMPT" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "headers", "error", "word"),
    [
        (400, {}, RequestRefusedError, "mode, list, columns"),
        (401, {}, AuthenticationError, "key"),
        (403, {}, AuthenticationError, "key"),
        (404, {}, RequestRefusedError, "campaign"),
        (405, {}, RequestRefusedError, "host of the connection"),
        (413, {}, RequestRefusedError, "fewer rows"),
        (415, {}, RequestRefusedError, "host of the connection"),
        (302, {"Location": "https://elsewhere"}, RequestRefusedError, "host of the connection"),
        (429, {"Retry-After": "30"}, RateLimitedError, "30 s"),
        (429, {}, RateLimitedError, "nothing was loaded"),
        (503, {}, UnavailableError, "nothing was loaded"),
        (500, {}, LostAnswerError, "unknown"),
        (502, {}, LostAnswerError, "unknown"),
        (504, {}, LostAnswerError, "unknown"),
    ],
)
@pytest.mark.parametrize("body", [sample("error.json"), sample("first_response.json"), b"<html>"])
def test_an_error_is_read_by_its_status_alone(status, headers, error, word, body):
    with pytest.raises(VendorError) as caught:
        read_answer(status, headers, body)
    assert type(caught.value) is error
    assert caught.value.http_status == status
    assert word in str(caught.value)


# --- how a load ended


@pytest.mark.parametrize(
    ("load", "sent", "ends", "problem"),
    [
        (ended(valid=10), 10, (10, 0, 0), None),
        (ended(valid=6, invalid=1, inactive=2, dnc=1), 10, (6, 4, 0), None),
        (ended(valid=5, invalid=5), 10, (5, 5, 0), None),
        (ended(valid=4, invalid=6), 10, (4, 6, 0), "less than 50%"),
        (ended(invalid=10), 10, (0, 10, 0), "not one row was valid"),
        (read_list(FINAL), 12430, (0, 12430, 0), "not one row was valid"),
        (ended(), 0, (0, 0, 0), None),
        (ended(), 10, (0, 0, 10), "only 0 of 10"),
        (ended(valid=9), 10, (9, 0, 1), "only 9 of 10"),
        (ended("ERROR", valid=3, dnc=2), 10, (3, 2, 5), "ERROR after 5 of 10"),
        (ended("ERROR"), 10, (0, 0, 10), "ERROR after 0 of 10"),
        (ended("ERROR", valid=10), 10, (10, 0, 0), "ERROR after 10 of 10"),
        (ended(valid=11), 10, (0, 0, 10), "do not add up"),
        (ended(valid=5, total=10), 10, (0, 0, 10), "do not add up"),
        (ended(valid=10, total=5), 10, (0, 0, 10), "do not add up"),
        (ended(valid=8, dnc=4, total=10), 10, (0, 0, 10), "do not add up"),
        (ended("ERROR", valid=8, total=4), 10, (0, 0, 10), "do not add up"),
    ],
)
def test_metrics_decide_not_the_status_word(load, sent, ends, problem):
    outcome = judge(load, sent, min_valid_share=0.5)
    assert (outcome.delivered, outcome.rejected, outcome.uncertain) == ends
    assert (problem is None) == (outcome.problem is None)
    assert problem is None or problem in outcome.problem


def test_the_reason_of_an_error_is_told_without_what_it_quotes_of_a_lead():
    def problem(events: object) -> str:
        return judge(read_list(about(status="ERROR", events=events)), 20_000, 0.5).problem or ""

    newest = {"type": "ERROR", "message": "The dialer has\nno such list: (201) 200-0001, a.b@x.example"}
    assert problem([newest, {"message": "Starting processing"}]).endswith(
        'what it delivered stays there. The vendor says: "The dialer has no such list: …, …".'
    )
    assert problem([]).endswith("what it delivered stays there.")


COUNTS = st.integers(0, 20)


@given(st.sampled_from(("FINALIZED", "ERROR")), COUNTS, COUNTS, COUNTS, COUNTS, st.integers(0, 60), COUNTS)
def test_every_row_sent_ends_somewhere(status, valid, invalid, inactive, dnc, total, sent):
    load = ended(status, valid=valid, invalid=invalid, inactive=inactive, dnc=dnc, total=total)
    outcome = judge(load, sent, min_valid_share=0.5)
    assert outcome.delivered + outcome.rejected + outcome.uncertain == sent
    assert min(outcome.delivered, outcome.rejected, outcome.uncertain) >= 0
    if outcome.problem is None:
        assert outcome.delivered == valid
        assert status == "FINALIZED"
        assert outcome.uncertain == 0
        assert sent == 0 or valid > 0


# --- which webhook is ours

OURS = {"campaign": FINAL["campaignId"], "dialer_list": "Test List", "file_name": "ATTEMPT.csv"}


@pytest.mark.parametrize(
    ("changes", "ref", "ours"),
    [
        ({}, FINAL["id"], True),
        ({"id": "other"}, FINAL["id"], False),
        ({"name": "other.csv", "dialerListId": "x"}, FINAL["id"], True),
        ({}, None, True),
        ({"name": "other.csv"}, None, False),
        ({"name": None}, None, False),
        ({"campaignId": "other"}, None, False),
        ({"dialerListId": "other"}, None, False),
        ({"id": "whatever"}, None, True),
    ],
)
def test_a_webhook_is_ours_by_its_id_or_by_every_echo(changes, ref, ours):
    assert is_ours(read_list(about(**changes)), vendor_ref=ref, **OURS) is ours


@given(
    st.permutations(
        [
            about(status="QUEUED"),
            about(status="PROCESSING"),
            about(status="PROCESSING"),
            about(status="FINALIZED", metrics={"valid": 3, "total": 3}),
            about(id="forged", status="FINALIZED"),
            {"status": "FINALIZED"},
            {},
        ]
    )
)
def test_the_end_is_found_in_any_order(bodies):
    found = find_outcome(bodies, vendor_ref=FINAL["id"], **OURS)
    assert found is not None
    assert (found.id, found.status, found.metrics.valid) == (FINAL["id"], "FINALIZED", 3)


def test_while_it_runs_there_is_no_end():
    running = [about(status=status) for status in ("UPLOADED", "QUEUED", "PROCESSING")]
    assert find_outcome(running, vendor_ref=FINAL["id"], **OURS) is None
    assert find_outcome([], vendor_ref=None, **OURS) is None


def test_the_first_end_stands():
    bodies = [about(metrics={"valid": 1, "total": 1}), about(status="ERROR"), about(status="PROCESSING")]
    assert find_outcome(bodies, vendor_ref=FINAL["id"], **OURS).metrics.valid == 1


# --- requests


@pytest.mark.parametrize(
    ("dialer", "mode", "dedupe", "columns", "words"),
    [
        ("five9", "REPLACE", None, ["number1", "zip"], []),
        ("five9", "APPEND", None, ["number1"], []),
        *[("ringcx", "APPEND", dedupe, ["leadPhone", "zip", "externId"], []) for dedupe in DEDUPES],
        ("ringcx", "REPLACE", DEDUPES[0], ["leadPhone"], ["mode"]),
        ("ringcx", "APPEND", None, ["leadPhone"], ["dedupe"]),
        ("five9", "APPEND", DEDUPES[0], ["number1"], ["dedupe"]),
        ("five9", "APPEND", None, ["zip"], ["number1"]),
        ("ringcx", "APPEND", DEDUPES[0], ["number1"], ["leadPhone"]),
        ("five9", "APPEND", None, ["number1", "zip", "zip"], ["zip is mapped"]),
        ("ringcx", "REPLACE", None, [], ["mode", "dedupe", "leadPhone"]),
    ],
)
def test_a_wrong_load_is_named_before_it_is_sent(dialer, mode, dedupe, columns, words):
    problems = load_problems(dialer=dialer, mode=mode, dedupe=dedupe, columns=columns)
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))


@pytest.mark.parametrize(
    ("dialer", "mode", "unique", "safe"),
    [
        ("five9", "REPLACE", False, True),
        ("five9", "REPLACE", True, True),
        ("five9", "APPEND", True, True),
        ("five9", "APPEND", False, False),
        ("ringcx", "APPEND", False, False),
        ("ringcx", "APPEND", True, False),
        ("ringcx", "REPLACE", True, False),
    ],
)
def test_what_may_be_sent_again(dialer, mode, unique, safe):
    assert safe_to_resend(dialer, mode, unique_mapped=unique) is safe


def test_columns_are_found_in_the_header():
    assert mapping(["zip", "x", "number1"], ["number1", "zip"]) == [
        {"columnIndex": 2, "columnId": "number1"},
        {"columnIndex": 0, "columnId": "zip"},
    ]


@pytest.mark.parametrize("header", [["zip"], [], ["number1", "zip", "number1"], ["Number1", "zip"]])
def test_a_wrong_header_is_never_sent(header):
    with pytest.raises(ValueError, match="number1"):
        mapping(header, ["number1"])


def test_the_request_of_five9():
    mapped = [{"columnIndex": 0, "columnId": "number1"}]
    text = process_request(
        dialer="five9",
        mode="REPLACE",
        dialer_list="Test List",
        mapped=mapped,
        dedupe=None,
        webhook_url="https://h/x",
    )
    assert json.loads(text) == {
        "mode": "REPLACE",
        "dialerListId": "Test List",
        "firstRowHasHeaders": True,
        "mappedCols": mapped,
        "webhookUrl": "https://h/x",
    }


def test_the_request_of_ringcx_without_a_webhook():
    text = process_request(
        dialer="ringcx", mode="APPEND", dialer_list="é", mapped=[], dedupe=DEDUPES[1], webhook_url=None
    )
    body = json.loads(text)
    assert body["dedupe"] == "RING_REMOVE_FROM_LIST"
    assert "webhookUrl" not in body
    assert body["dialerListId"] == "é"
    assert text.isascii()
