"""What the sandbox's iSales makes of the rows of a workbook; cases by their number."""

from __future__ import annotations

import json

import pytest

from tests.include.sandbox.isales.conftest import GOOD, IVR, called, workbook

ROWS = [
    ("[{'calledNo':1234566}]", True),
    (called("1" * 24), True),
    (called("*31#90"), True),
    (f"[{{'calledNo':{'2' * 24}}}]", True),
    (f'[{{"calledNo": {"3" * 24}}}]', True),
    (f'[{{"calledNo": {"3" * 25}}}]', False),
    ("[" * 10_000, False),
    (called("1" * 25), False),
    (called("90a"), False),
    (called("+901"), False),
    (called(""), False),
    ('{"calledNo": "901"}', False),
    ('["901"]', False),
    ('[{"calledNo": null}]', False),
    ("-", False),
    ({"customField": "x"}, False),
    (called("901", delayTime=7200), True),
    (called("901", delayTime="60", type="home"), True),
    (called("901", delayTime=None), True),
    (called("901", delayTime=7201), False),
    (called("901", delayTime=-1), False),
    (called("901", delayTime=True), False),
    (called("901", "9x"), False),
    ({"called": GOOD, "sessionId": "s" * 32}, True),
    ({"called": GOOD, "sessionId": "s" * 33}, False),
    ({"called": GOOD, "caller": "1" * 25}, False),
    ({"called": GOOD, "callData": "x" * 1024}, True),
    ({"called": GOOD, "callData": "x" * 1025}, False),
    ({"called": GOOD, "customField": "x" * 201}, False),
    ({"called": GOOD, "customField": "😀" * 100}, True),
    ({"called": GOOD, "customField": "😀" * 101}, False),
    ({"called": GOOD, "customField": "-"}, True),
    ({"called": GOOD, "recycleTime": "2026-02-29 10:00:00"}, False),
    ({"called": GOOD, "recycleTime": "2026-02-28T10:00:00"}, False),
]
"""A row, and whether it is good; `901` stands for a number of its own."""


def test_cases_28_to_31_rows(isales):
    texts = [json.dumps({"called": row} if isinstance(row, str) else row) for row, _ in ROWS]
    rows = [json.loads(text.replace("901", str(9000 + n))) for n, text in enumerate(texts)]
    good = [good for _, good in ROWS]
    assert isales.counts(*rows) == ("2", sum(good), 0, len(good) - sum(good))
    taken = {row["called"] for row in isales.rows()}
    assert [row.get("called") in taken for row in rows] == good


def test_call_data_of_an_intelligent_ivr_is_json(isales):
    rows = [{"called": called("901"), "callData": "plain"}, {"called": called("902"), "callData": '{"a": 1}'}]
    assert isales.counts(*rows, campaign=IVR) == ("2", 1, 0, 1)
    assert isales.counts(*rows) == ("2", 2, 0, 0)


def test_columns_in_any_order(isales):
    book = workbook({"called": GOOD, "sessionId": "s1"}, headers=["note", "sessionId", "called(Mandatory)"])
    assert isales.counts(book) == ("2", 1, 0, 0)
    assert isales.rows() == [{"called": GOOD, "sessionId": "s1"}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (workbook({"sessionId": "s1"}, headers=["sessionId (Optional)"]), "The column called is missing."),
        (workbook(headers=[]), "The column called is missing."),
        (b"no workbook", "The file cannot be parsed."),
        (b"", "The file cannot be parsed."),
        (workbook(GOOD)[:2000], "The file cannot be parsed."),
    ],
)
def test_workbooks_that_cannot_be_read(isales, content, reason):
    told = isales.imported(content)
    assert (told["status"], told["errMsg"]) == ("3", reason)


def test_a_file_that_is_too_large(isales):
    isales.server.switch("isales", max_file_bytes=1000)
    assert isales.imported(GOOD)["errMsg"] == "The file is too large."
