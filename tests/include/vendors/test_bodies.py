"""A body is a JSON object, or is told from one without being quoted."""

from __future__ import annotations

import pytest

from include.vendors.bodies import json_object, whole_number


def test_an_object_is_read():
    assert json_object(b'{"a": [1, null]}') == {"a": [1, None]}
    assert json_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\uDE00 x", "\ufffd x"),
        (rb"\ud83d\ude00", "😀"),
        (rb"\ud83d\ud83d\ude00\ud83d", "\ufffd😀\ufffd"),
        (rb"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (rb"\"\ud83dz", '"\ufffdz'),
    ],
)
def test_half_an_emoji_is_shown_as_unreadable(text, found):
    assert json_object(b'{"a": "%s"}' % text) == {"a": found}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "its text is no JSON (0 bytes)"),
        (b'{"phone": "+12025550100"', "its text is no JSON (24 bytes)"),
        (b'{"a": "\xff"}', "its text is no JSON (10 bytes)"),
        (b"[" * 2000, "its text is no JSON (2000 bytes)"),
        (b"[]", "it is no JSON object"),
        (b'"text"', "it is no JSON object"),
        (b"null", "it is no JSON object"),
    ],
)
def test_anything_else_is_named_but_not_quoted(body, told):
    with pytest.raises(ValueError) as error:
        json_object(body)
    assert str(error.value) == told


@pytest.mark.parametrize(
    "value", [None, True, -1, 1.0, "", "-1", "1.0", " 1", "1e3", "\u0661", "9" * 19, [1], {}]
)
def test_what_is_no_count(value):
    assert whole_number(value) is None


@pytest.mark.parametrize(("value", "count"), [(0, 0), (7, 7), (2**70, 2**70), ("0", 0), ("007", 7)])
def test_a_count(value, count):
    assert whole_number(value) == count
