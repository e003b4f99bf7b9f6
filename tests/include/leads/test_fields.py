from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.leads.fields import clean_fields, clean_json, clean_text

DIRTY = st.text("ab1 \t\n\r\x00\x1f\x7f\x85\u00a0\u2028=+-@＝\"\\/{}[]:,'é☎", max_size=12)


@pytest.mark.parametrize(
    ("text", "clean", "rules"),
    [
        ("Ann Lee", "Ann Lee", ()),
        ("12 High St \r\n\t Apt 4", "12 High St Apt 4", ("line_break",)),
        ("a\x00b\x7f", "ab", ("control",)),
        ("\u00a0 Ann ", "Ann", ("blank",)),
        ("=1+1", "1+1", ("formula",)),
        ("@SUM(A1)", "SUM(A1)", ("formula",)),
        ("+cmd|' /C calc'!A0", "cmd|' /C calc'!A0", ("formula",)),
        ("-2+A1", "2+A1", ("formula",)),
        ("＝1+1", "1+1", ("formula",)),
        ("\t=1", "1", ("line_break", "blank", "formula")),
        ("\x00 = =1", "1", ("control", "blank", "formula")),
        ("-12.50", "-12.50", ()),
        ("-$5", "-$5", ()),
        ("+1 (202) 555-0123", "+1 (202) 555-0123", ()),
        ("-", "-", ()),
        ("--", "--", ()),
        ("=", "", ("formula",)),
        ("", "", ()),
        ("a = b", "a = b", ()),
        ("👩\u200d🔧", "👩\u200d🔧", ()),
    ],
)
def test_a_text(text: str, clean: str, rules: tuple[str, ...]) -> None:
    assert clean_text(text) == (clean, rules)


def test_formulas_may_be_kept() -> None:
    assert clean_text(" =1+1", formulas="keep") == ("=1+1", ("blank",))


@given(DIRTY)
def test_a_clean_text_is_clean(text: str) -> None:
    once, _ = clean_text(text)
    assert clean_text(once) == (once, ())
    assert once == once.strip()
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in once)
    assert once[:1] not in tuple("=@＝＠")


def test_json_keeps_what_it_does_not_clean() -> None:
    text = '{"=id": 12345678901234567890123, "b":1.10, "ok": "x", "note":"=1\\n2", "sub": [{"a": " y"}], "b":null}'
    clean, rules = clean_json(text)
    assert clean == (
        '{"=id": 12345678901234567890123, "b":1.10, "ok": "x", "note":"1 2", "sub": [{"a": "y"}], "b":null}'
    )
    assert rules == ("line_break", "formula", "blank")


def test_json_with_half_a_character_can_be_sent_afterwards() -> None:
    clean, rules = clean_json('{"a":"x\\ud83d","b":"\\ud83d\\ude00"}')
    assert (json.loads(clean), rules) == ({"a": "x", "b": "😀"}, ("control",))
    clean.encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | DIRTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(DIRTY, inner, max_size=3),
    max_leaves=6,
)


def cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [cleaned(inner) for inner in value]
    return clean_text(value)[0] if isinstance(value, str) else value


@given(
    st.lists(st.dictionaries(DIRTY, JSON, max_size=4), max_size=4),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\n")]),
)
@settings(deadline=None)
def test_a_frames_data_is_cleaned_as_each_value_is(
    rows: list[dict[str, Any]], ascii_only: bool, separators: tuple[str, str]
) -> None:
    """The pattern that looks for dirt must not miss any, however the JSON is written."""
    data = [json.dumps(row, ensure_ascii=ascii_only, separators=separators) for row in rows]
    frame = pl.DataFrame(
        {"customer_key": None, "timezone": None, "data": data},
        schema={"customer_key": pl.String, "timezone": pl.String, "data": pl.String},
    )
    after, _ = clean_fields(frame)
    assert [json.loads(text) for text in after["data"]] == [cleaned(row) for row in rows]


def test_a_frame(lead_frame: Callable[..., pl.DataFrame]) -> None:
    before = lead_frame(
        [
            {
                "customer_key": " -7\n",
                "timezone": "\tUTC",
                "phone1": "=2025550123",
                "data": '{"a":"=x","b":" =y "}',
            },
            {"row_key": " =1 ", "customer_key": "C2", "data": None},
        ]
    )
    after, changes = clean_fields(before)
    assert after["customer_key"].to_list() == ["-7", "C2"]
    assert after["timezone"].to_list() == ["UTC", None]
    assert after["data"].to_list() == ['{"a":"x","b":"y"}', None]
    untouched = [name for name in before.columns if name not in ("customer_key", "timezone", "data")]
    assert after.select(untouched).equals(before.select(untouched))
    assert dict(changes) == {"line_break": 2, "blank": 3, "formula": 2}


@pytest.mark.parametrize(
    "dirt", ["x ", " x", "=x", "＝x", "x\u2028", "x\x85", "x\n", "\tx", "x\x00", "x\u00a0"]
)
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" , ", " : ")])
def test_one_dirty_value_is_found(
    lead_frame: Callable[..., pl.DataFrame], dirt: str, ascii_only: bool, separators: tuple[str, str]
) -> None:
    for value in ({"a": dirt, "b": 1}, {"a": [dirt]}, {"b": "y", "a": {"c": dirt}}):
        text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
        after, changes = clean_fields(lead_frame([{"data": text}]))
        assert json.loads(after["data"][0]) == cleaned(value)
        assert changes


def test_a_clean_frame_stays_letter_for_letter(lead_frame: Callable[..., pl.DataFrame]) -> None:
    before = lead_frame([{"customer_key": "C1", "timezone": "UTC", "data": '{"a": "b", "n": 1.0}'}])
    after, changes = clean_fields(before)
    assert after.equals(before)
    assert not changes


def test_letters_stay_as_they_are_and_raw_control_characters_do_no_harm() -> None:
    assert clean_json('{"name": " Jos\u00e9 "}') == ('{"name": "Jos\u00e9"}', ("blank",))
    assert clean_json('{"name": "a\tb"}') == ('{"name": "a b"}', ("line_break",))
