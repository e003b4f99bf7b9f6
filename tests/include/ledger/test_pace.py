"""An account's pace: never more calls in a window than allowed, whatever the network and the processes do; and no fewer
than there could be.
"""

from __future__ import annotations

import heapq
import itertools
import multiprocessing
import random
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from include.ledger import Ledger, Pace, Turn
from include.ledger.pace import LONGEST_CALL
from tests.include.ledger.conftest import Clock
from tests.waiting import LIMIT

MINUTE = Pace(calls=5, window=timedelta(seconds=60))
ACCOUNT = "ozonetel:1a2b"


def take(
    ledger: Ledger, owner: str = "load", limit: Pace = MINUTE, account: str = ACCOUNT
) -> Turn | datetime:
    return ledger.take_turn(account, owner, limit)


def call(ledger: Ledger, clock: Clock, seconds: float = 1, **about) -> None:
    turn = take(ledger, **about)
    assert isinstance(turn, Turn)
    clock.forward(seconds=seconds)
    ledger.end_turn(about.get("account", ACCOUNT), turn)


def test_five_go_at_once_and_the_sixth_a_window_after_the_first_has_ended(ledger, clock):
    start = clock.moment
    for _ in range(5):
        call(ledger, clock)
    free = start + timedelta(seconds=1 + 60) + MINUTE.margin
    assert take(ledger) == free == ledger.next_turn(ACCOUNT, MINUTE)
    clock.moment = free - timedelta(microseconds=1)
    assert take(ledger) == free
    clock.moment = free
    assert isinstance(take(ledger), Turn)
    assert take(ledger, "other") == free + timedelta(seconds=1)  # when the second one's minute is over


def test_a_turn_under_way_is_not_free(ledger, clock):
    for name in "abcde":
        assert isinstance(take(ledger, name), Turn)
    clock.forward(seconds=59)
    assert take(ledger) == clock.moment + timedelta(seconds=60) + MINUTE.margin


def test_accounts_do_not_wait_for_each_other(ledger, clock):
    for _ in range(5):
        call(ledger, clock)
    call(ledger, clock, account="ozonetel:other")


def test_waiting_takes_nothing(ledger, clock):
    for _ in range(5):
        call(ledger, clock)
    for _ in range(20):
        assert isinstance(take(ledger), datetime)
    clock.forward(seconds=61)
    for _ in range(5):
        call(ledger, clock)


def test_a_turn_that_nobody_ended_comes_back(ledger, clock):
    for name in "abcde":
        take(ledger, name)  # and dies
    clock.moment += LONGEST_CALL + MINUTE.window + MINUTE.margin
    for _ in range(5):
        call(ledger, clock, 0)


def test_an_owner_that_was_tried_again_ends_its_earlier_call(ledger, clock):
    for _ in range(4):
        call(ledger, clock)
    assert isinstance(take(ledger), Turn)  # and dies
    clock.forward(seconds=20)
    assert isinstance(take(ledger), datetime)
    clock.forward(seconds=60.1)
    for _ in range(5):
        call(ledger, clock, 0)


def test_ending_what_is_forgotten_changes_nothing(ledger, clock):
    turn = take(ledger)
    clock.forward(hours=1)
    for _ in range(5):
        call(ledger, clock, 0)
    ledger.end_turn(ACCOUNT, turn)
    ledger.end_turn("never seen", turn)
    assert isinstance(take(ledger), datetime)


def test_a_rate_limit_answer_holds_everybody_back(ledger, clock):
    call(ledger, clock)
    ledger.hold_back(ACCOUNT, 60)
    free = clock.moment + timedelta(seconds=60)
    assert take(ledger, "other") == free == ledger.next_turn(ACCOUNT, MINUTE)
    ledger.hold_back(ACCOUNT, 5)  # never shorter
    assert take(ledger) == free
    clock.moment = free
    assert isinstance(take(ledger), Turn)


def test_calls_can_be_spread_evenly(ledger, clock):
    even = Pace(calls=5, window=timedelta(seconds=60), spacing=timedelta(seconds=12))
    first = clock.moment
    call(ledger, clock, limit=even)
    assert take(ledger, limit=even) == first + timedelta(seconds=12)


# --- any schedule


class Vendor:
    """Workers that call a vendor over a slow, uneven network, and die; on a clock of their own."""

    def __init__(self, dice: random.Random, *, slow: float, deaths: float, naps: float) -> None:
        self.dice, self.slow, self.deaths, self.naps = dice, slow, deaths, naps
        self.clock = Clock()
        self.arrivals: list[datetime] = []
        self.ends: list[datetime] = []

    def run(self, backlogs: list[int]) -> None:
        """Let each worker make its calls; a worker that dies comes back as another process of the same owner."""
        account = f"account {next(NUMBERS)}"
        LEDGER._now = self.clock
        moves = itertools.count()
        queue = [(self.clock.moment, next(moves), owner, None) for owner in range(len(backlogs))]
        left = list(backlogs)
        while queue:
            self.clock.moment, _, owner, turn = heapq.heappop(queue)
            if turn is not None:
                LEDGER.end_turn(account, turn)
                self.ends.append(self.clock.moment)
            if not left[owner]:
                continue
            taken = LEDGER.take_turn(account, str(owner), MINUTE)
            if isinstance(taken, datetime):
                assert taken > self.clock.moment
                after = taken + timedelta(seconds=self.dice.uniform(0, self.naps))
                heapq.heappush(queue, (after, next(moves), owner, None))
                continue
            there = self.clock.moment + timedelta(seconds=self.dice.uniform(0, self.slow))
            back = there + timedelta(seconds=self.dice.uniform(0, self.slow))
            left[owner] -= 1
            if self.dice.random() >= self.deaths:
                self.arrivals.append(there)
                heapq.heappush(queue, (back, next(moves), owner, taken))
                continue
            if self.dice.random() < 0.5:  # it died after its call had left
                self.arrivals.append(there)
            if self.dice.random() < 0.8:  # and is tried again
                heapq.heappush(queue, (back, next(moves), owner, None))

    def most(self) -> int:
        """Most arrivals in any minute, both ends counted in."""
        times = sorted(self.arrivals)
        return max(
            (
                sum(first <= time <= first + MINUTE.window for time in times[at:])
                for at, first in enumerate(times)
            ),
            default=0,
        )


NUMBERS = itertools.count()
LEDGER = Ledger("sqlite://")


@pytest.fixture(scope="module", autouse=True)
def tables():
    LEDGER.migrate()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**9),
    backlogs=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    slow=st.sampled_from([0.0, 0.3, 5.0, 45.0, 120.0]),
    deaths=st.sampled_from([0.0, 0.2]),
    naps=st.sampled_from([0.0, 2.0, 30.0]),
)
@example(seed=1, backlogs=[12, 12, 12], slow=120.0, deaths=0.0, naps=0.0)
def test_never_more_than_five_arrive_in_any_minute(seed, backlogs, slow, deaths, naps):
    vendor = Vendor(random.Random(seed), slow=slow, deaths=deaths, naps=naps)
    vendor.run(backlogs)
    note(f"{vendor.most()} of {len(vendor.arrivals)}")
    assert vendor.most() <= 5
    assert deaths or len(vendor.arrivals) == sum(backlogs)


@pytest.mark.parametrize(
    ("backlogs", "slow"), [([200], 0.3), ([70, 70, 60], 0.3), ([100], 0.0), ([34, 33, 33], 1.0)]
)
def test_the_rate_is_used_up(backlogs, slow):
    """At most 1.02 times twelve seconds a call: over 95 % of what the vendor allows."""
    vendor = Vendor(random.Random(7), slow=slow, deaths=0, naps=0)
    start = vendor.clock.moment
    vendor.run(backlogs)
    assert (max(vendor.ends) - start).total_seconds() <= 1.02 * 12 * (sum(backlogs) - 1)
    assert vendor.most() == 5


# --- real processes

SPAWN = multiprocessing.get_context("spawn")
QUICK = Pace(calls=5, window=timedelta(seconds=0.4), margin=timedelta(0))


def make_calls(barrier, results, url, seed):
    dice = random.Random(seed)
    arrivals = []
    with Ledger(url) as ledger:
        ledger.next_turn(ACCOUNT, QUICK)
        barrier.wait(LIMIT)
        while len(arrivals) < 10:
            turn = ledger.take_turn(ACCOUNT, str(seed), QUICK)
            if isinstance(turn, datetime):
                time.sleep(max(0.0, (turn - datetime.now(UTC)).total_seconds()))
                continue
            time.sleep(dice.uniform(0, 0.02))
            arrivals.append(time.time())
            time.sleep(dice.uniform(0, 0.02))
            ledger.end_turn(ACCOUNT, turn)
    results.put(arrivals)


def test_three_processes_keep_the_pace_together(url):
    barrier, results = SPAWN.Barrier(3), SPAWN.Queue()
    workers = [SPAWN.Process(target=make_calls, args=(barrier, results, url, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    arrivals = sorted(moment for _ in workers for moment in results.get(timeout=LIMIT))
    for worker in workers:
        worker.join(LIMIT)
        assert worker.exitcode == 0
    assert len(arrivals) == 30
    gaps = [later - earlier for earlier, later in zip(arrivals, arrivals[5:], strict=False)]
    assert min(gaps) > 0.4
