"""What an ended import proves of its rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.leads.reasons import REASONS
from include.push.verdict import BROKEN_OFF, REFUSED, UNEXPLAINED, judge, safe_words
from include.vendors.platform import Import, RowError

KEYS = [f"k{n}" for n in range(5)]


def done(total: int | None = 5, created: int | None = 5, failed: int | None = 0) -> Import:
    return Import("u", "completed", "done", total, created, failed)


def test_all_good():
    verdict = judge(done(), [], KEYS)
    assert (verdict.named, verdict.problem) == ({}, None)


def test_errors_are_joined_by_key_and_else_by_place():
    errors = [RowError(0, "k3", "a"), RowError(1, None, "b"), RowError(None, "k4", "c")]
    verdict = judge(done(created=2, failed=3), errors, KEYS)
    assert (verdict.named, verdict.problem) == ({3: "a", 1: "b", 4: "c"}, None)


def test_places_count_from_nought():
    verdict = judge(done(created=3, failed=2), [RowError(0, None, "first"), RowError(4, None, "last")], KEYS)
    assert (verdict.named, verdict.problem) == ({0: "first", 4: "last"}, None)


def test_each_end_of_a_row_is_a_reason():
    assert {REFUSED, BROKEN_OFF, UNEXPLAINED} <= set(REASONS)


@pytest.mark.parametrize(
    ("ended", "errors", "word"),
    [
        (done(None, None, None), [], "does not count"),
        (done(5, 5, None), [], "does not count"),
        (done(5, None, 0), [], "does not count"),
        (done(None, 5, 0), [], "does not count"),
        (done(4, 4, 0), [], "5 leads were sent"),
        (done(6, 6, 0), [], "5 leads were sent"),
        (done(5, 3, 1), [RowError(1, None, "")], "3 created, 1 failed"),
        (done(5, 4, 1), [], "names 0"),
        (done(5, 4, 1), [RowError(1, None, ""), RowError(2, None, "")], "names 2"),
        (done(5, 3, 2), [RowError(1, None, ""), RowError(1, None, "")], "names 1"),
        (done(5, 4, 1), [RowError(1, None, ""), RowError(9, None, "")], "1 that were not"),
        (done(5, 4, 1), [RowError(1, "stranger", "")], "1 that were not"),
        (done(5, 4, 1), [RowError(-1, None, "")], "1 that were not"),
        (done(5, 4, 1), [RowError(5, None, "")], "1 that were not"),
        (done(5, 4, 1), [RowError(None, None, "")], "1 that were not"),
        (done(5, 5, 0), [RowError(1, None, "")], "counts 0 failed leads and names 1"),
    ],
)
def test_a_contradiction_is_never_believed(ended, errors, word):
    verdict = judge(ended, errors, KEYS)
    assert word in verdict.problem
    assert "stranger" not in verdict.problem


COUNTS = st.integers(0, 6) | st.none()
PLACES, NAMES = st.none() | st.integers(-1, 6), st.none() | st.sampled_from([*KEYS, "x"])


@given(COUNTS, COUNTS, COUNTS, st.lists(st.builds(RowError, PLACES, NAMES, st.just(""))))
def test_believed_counts_add_up_to_the_rows(total, created, failed, errors):
    verdict = judge(done(total, created, failed), errors, KEYS)
    assert set(verdict.named) <= set(range(5))
    if verdict.problem is None:
        assert created + len(verdict.named) == 5


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("phone1: Must be text.", "phone1: Must be text."),
        ("phone1 +61 499 999 999 is no number", "phone1 … is no number"),
        ('"Ana Lopez" is too long', "… is too long"),
        ("'Ana' is too long", "… is too long"),
        ("ana@example.com is taken", "… is taken"),
        ("key 10000001 exists", "key … exists"),
        ("at most 40 letters", "at most 40 letters"),
        ("x" * 500, "x" * 120),
        ("", ""),
    ],
)
def test_words_of_the_vendor_quote_nobody(message, words):
    assert safe_words(message) == words
