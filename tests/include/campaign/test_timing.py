"""How long a load takes at the limit: what a plan says must be what the pace does."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.campaign.timing import timing
from include.ledger import Ledger, Pace, Turn

MINUTE = Pace(5, timedelta(seconds=60), margin=timedelta(0))
BEGINS = datetime(2026, 11, 21, 20, tzinfo=UTC)
INDIA = ZoneInfo("Asia/Kolkata")


def test_a_hundred_thousand_rows_take_39_minutes():
    told = timing(100_000, 500, MINUTE, BEGINS, None)
    assert (told["batches"], told["minutes"], told["fits"]) == (200, 39.0, 200)
    assert told["ends"] == (BEGINS + timedelta(minutes=39)).isoformat()
    assert told["latest"] is None and told["rows_that_fit"] == 100_000


def test_spaced_calls_take_a_little_longer():
    told = timing(100_000, 500, Pace(5, timedelta(seconds=60), spacing=timedelta(seconds=12.5)), BEGINS, None)
    assert told["minutes"] == round(199 * 12.5 / 60, 1)


@pytest.mark.parametrize(
    ("minutes", "fits"), [(-1, 0), (0, 0), (0.5, 5), (1, 5), (1.01, 10), (38.9, 195), (39.1, 200), (99, 200)]
)
def test_what_fits_before_the_end_time(minutes, fits):
    latest = (BEGINS + timedelta(minutes=minutes)).astimezone(INDIA)
    told = timing(99_990, 500, MINUTE, BEGINS, latest)
    assert (told["fits"], told["zone"]) == (fits, "Asia/Kolkata")
    assert told["rows_that_fit"] == min(99_990, fits * 500)


def test_a_row_for_trial_is_a_call_of_its_own():
    told = timing(531, 60, MINUTE, BEGINS, BEGINS + timedelta(seconds=30), preflight=True)
    assert (told["batches"], told["minutes"], told["fits"], told["rows_that_fit"]) == (10, 1.0, 5, 241)
    assert timing(1, 60, MINUTE, BEGINS, None, preflight=True)["batches"] == 1


def test_nothing_to_send_takes_no_time():
    told = timing(0, 500, MINUTE, BEGINS, None)
    assert (told["batches"], told["minutes"], told["fits"]) == (0, 0, 0)


LEDGER = Ledger("sqlite://")
NUMBERS = itertools.count()


@settings(deadline=None)
@given(
    batches=st.integers(1, 24),
    calls=st.integers(1, 7),
    window=st.integers(1, 60),
    spacing=st.sampled_from([0, 1, 12.5]),
    room=st.floats(0.1, 600),
)
def test_the_plan_says_what_the_pace_does(batches, calls, window, spacing, room):
    """With calls that take no time, the ledger lets the last one through when the plan says so."""
    LEDGER.migrate()
    pace = Pace(calls, timedelta(seconds=window), timedelta(seconds=spacing), margin=timedelta(0))
    now, sent = BEGINS, []
    LEDGER._now = lambda: now
    account = f"account {next(NUMBERS)}"
    while len(sent) < batches:
        turn = LEDGER.take_turn(account, "load", pace)
        if isinstance(turn, Turn):
            LEDGER.end_turn(account, turn)
            sent.append(now)
        else:
            now = turn
    told = timing(batches, 1, pace, BEGINS, BEGINS + timedelta(seconds=room))
    if window / calls <= spacing or not spacing:
        assert told["ends"] == sent[-1].isoformat()
        assert told["fits"] == sum(at < BEGINS + timedelta(seconds=room) for at in sent)
    else:  # spaced bursts: the plan counts evenly, which is never early by more than a window
        ends = datetime.fromisoformat(told["ends"])
        assert abs(ends - sent[-1]) <= pace.window
