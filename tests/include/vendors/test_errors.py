"""The error tree: who failed, and whether the same request may be sent again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from include.vendors import errors, platform

AGAIN = {
    errors.AuthenticationError: False,
    errors.RequestRefusedError: False,
    errors.RateLimitedError: True,
    errors.UnavailableError: True,
    errors.LostAnswerError: True,
    errors.UnexpectedAnswerError: True,
    platform.CursorLoopError: True,
    platform.ChangedFilterError: False,
    platform.BadCursorError: True,
}


def test_every_error_says_whether_to_try_again():
    assert {kind: kind.again for kind in AGAIN} == AGAIN
    ours = [
        kind
        for kind in errors.VendorError.__subclasses__()
        if kind.__module__ == errors.__name__ or kind.__module__.startswith(platform.__name__)
    ]
    assert set(ours) == set(AGAIN)


def test_an_error_carries_vendor_and_status():
    error = errors.RateLimitedError("platform", "Wait.", retry_after=3)
    assert (error.vendor, error.http_status, error.retry_after, str(error)) == ("platform", 429, 3, "Wait.")
    assert errors.LostAnswerError("x", "y").http_status is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no campaign\n1803096731904991234", "no campaign …"),
        ("row 12, column 3: code 0200", "row 12, column 3: code 0200"),
        ("call +1 (201) 200-0001 or 201.200.0001 now", "call … or … now"),
        ("write to ada@x.example", "write to …"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_vendor_s_words_are_told_without_what_they_quote_of_a_lead(said, told):
    assert errors.safe_words(said) == told


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("1.5", 1.5),
        (" 2 ", 2),
        ("-3", 0),
        (None, 5),
        ("", 5),
        ("soon", 5),
        ("Wed, 21 Oct 2026", 5),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 5),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2026 09:28:30 +0200", 30),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0),
        ("Wed, 21 Oct 9026 07:28:00 GMT", 86_400),
        ("nan", 5),
        ("inf", 5),
        ("1e400", 5),
        ("99999999999999999999", 86_400),
    ],
)
def test_retry_after(header, seconds):
    now = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
    assert errors.retry_after_seconds(header, now=now) == seconds
    timedelta(
        seconds=errors.retry_after_seconds(header)
    )  # what the retry policy makes of it must be possible


def test_the_default_wait_is_the_callers():
    assert errors.retry_after_seconds(None, default=9) == 9
