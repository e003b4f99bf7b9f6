"""Pushing leads under random faults and kills: the sandbox's list is compared with what was said of every row."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from listkeeper.hooks.platform import PlatformHook

from include.ledger import Ledger
from include.outcomes import named_rows
from include.push.loop import CLAIM, Patience, Pusher
from include.push.rows import Rows
from include.push.verdict import BROKEN_OFF, REFUSED, UNEXPLAINED
from include.staging import RunFolder
from include.vendors.errors import VendorError

WIN_BACK = 300
STEP = 30
"""Seconds that an import is queued, and that it is processed."""

SOON = timedelta(hours=1.9)

PATIENCE = Patience(ended=timedelta(hours=2), lookup=timedelta(minutes=10))


class Killed(BaseException):
    """The process ends here."""


class Mortal:
    """Passes calls on; the process is killed before or after the call at which the fuse ends."""

    def __init__(self, thing: Any, names: set[str], fuse: list[tuple[int, bool]]) -> None:
        self._thing, self._names, self._fuse = thing, names, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if name not in self._names:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._fuse:
                return found(*args, **kwargs)
            left, before = self._fuse[0]
            self._fuse[0] = (left - 1, before)
            if left == 0 and before:
                self._fuse.pop(0)
                raise Killed
            told = found(*args, **kwargs)
            if left == 0:
                self._fuse.pop(0)
                raise Killed
            return told

        return call


class Clock:
    """Our clock, and the sandbox's with it."""

    def __init__(self, sandbox) -> None:
        self._sandbox = sandbox
        self.moment = datetime(2026, 11, 21, 9, tzinfo=UTC)
        self.forward(timedelta())

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, by: timedelta) -> None:
        self.moment += by
        self._sandbox.clock(self.moment)


@pytest.fixture(scope="module")
def empty_ledger(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.migrate()
    return path


@pytest.fixture
def bench(sandbox, connect, empty_ledger, tmp_path, staging_folder):
    """Everything that a push needs; `push` makes one of rows, some of them bad."""
    told = sandbox.info()["platform"]
    connect(
        "platform_default", sandbox.base_url, told["token"], extra={"prefix": told["prefix"], "timeout": 120}
    )

    def push(good: list[bool], size: int, faults=(), fuse=()) -> SimpleNamespace:
        sandbox.reset()
        sandbox.switch("platform", bulk_step_seconds=STEP, page_size=1_000)
        for fault in faults:
            sandbox.fault("platform", **fault)
        shutil.rmtree(staging_folder, ignore_errors=True)
        file = tmp_path / "rows.parquet"
        pl.DataFrame(
            {
                "row_key": [f"r{n}" for n in range(len(good))],
                "customerKey": [f"K-{n:04d}" for n in range(len(good))],
                "phone1": ["+12025550123" if fine else "call me" for fine in good],
            }
        ).write_parquet(file)
        ledger = Ledger(f"sqlite:///{shutil.copy(empty_ledger, tmp_path)}", now=(clock := Clock(sandbox)))
        load = ledger.open_load(
            flow="win_back", vendor="platform", dag_id="push_platform_leads__win_back", run_id="r", target="t",
            night="2026-11-20", source_time=clock(), snapshot="s", plan_hash="h", mode="apply", requested_by=None,
            reason=None, rows_in=len(good),
        ).id  # fmt: skip
        rows, notes = Rows(file, size), RunFolder("push/notes")
        ledger.plan_batches(load, rows.batch_plans())
        drive(ledger, load, rows, notes, clock, list(fuse))
        on_list = Counter(lead["customerKey"] for lead in sandbox.state("platform")["written"])
        batches = ledger.batches(load)
        ledger.close()
        return SimpleNamespace(
            batches=batches, named=named_rows(notes), on_list=on_list, good=good, size=size
        )

    return push


def drive(ledger, load, rows, notes, clock, fuse) -> None:
    """Run the push as tasks, triggers and retries would, until all is settled."""
    for _ in range(200):
        hook = PlatformHook(sleep=lambda seconds: None)
        hook.session()
        try:
            ledger.claim_target(load, PATIENCE.ended + CLAIM)
            pusher = Pusher(
                Mortal(ledger, {"intend", "accept", "withdraw", "settle"}, fuse),
                load,
                rows,
                list_id=WIN_BACK,
                tenant=Mortal(hook, {"bulk_create", "bulk_status", "every_bulk_error", "find_leads"}, fuse),
                notes=Mortal(notes, {"put"}, fuse),
                patience=PATIENCE,
                now=clock,
            )
            wait = pusher.run()
        except (Killed, VendorError):
            clock.forward(timedelta(minutes=5))  # the delay of a retry
            continue
        finally:
            hook.close()
        if wait is None:
            return
        left = wait.until - clock()  # an import is asked for more than once before its time is up
        clock.forward(left if not wait.uuids else timedelta(seconds=40) if left > SOON else left)
    raise AssertionError("the push does not come to an end")


def check(done: SimpleNamespace) -> None:
    """Nothing lost, nothing twice, every row told of as it is."""
    assert max(done.on_list.values(), default=1) == 1, "a lead stands on the list twice"
    for batch in done.batches:
        places = range((batch.seq - 1) * done.size, min(batch.seq * done.size, len(done.good)))
        assert batch.rows == len(places) == batch.delivered + batch.rejected + batch.uncertain
        there = {f"r{n}" for n in places if done.on_list[f"K-{n:04d}"]}
        if batch.state == "uncertain":
            assert batch.uncertain == batch.rows
            continue
        named = done.named.get(batch.seq, {})
        assert batch.state in ("confirmed", "rejected")
        assert there == {f"r{n}" for n in places} - set(named), "delivered is what stands on the list"
        assert (batch.delivered, batch.rejected) == (len(there), len(named))
        for n in places:
            reason = named.get(f"r{n}", (None,))[0]
            assert reason in (
                (None, BROKEN_OFF, UNEXPLAINED) if done.good[n] else (REFUSED, BROKEN_OFF, UNEXPLAINED)
            )


CALLS = st.fixed_dictionaries(
    {
        "fault": st.sampled_from(["drop_before", "drop_after", "broken_json", "truncated", "expired_token"]),
        "op": st.sampled_from(["create_bulk", "get_bulk", "list_bulk_errors", "list_leads"]),
        "nth": st.integers(1, 6),
        "times": st.integers(1, 7),
    }
)
STATUSES = st.fixed_dictionaries(
    {
        "fault": st.just("status"),
        "op": st.sampled_from(["create_bulk", "get_bulk", "list_bulk_errors", "list_leads"]),
        "status": st.sampled_from([429, 500, 502, 503]),
        "nth": st.integers(1, 6),
        "times": st.integers(1, 7),
    }
)
IMPORTS = st.fixed_dictionaries(
    {
        "fault": st.sampled_from(["import_error", "import_loses_row", "import_stuck"]),
        "nth": st.integers(1, 4),
        "times": st.integers(1, 4),
    }
)
FUSES = st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=4)


def test_an_undisturbed_push(bench):
    done = bench([True, False, True, True, False], 2)
    check(done)
    assert [(batch.delivered, batch.rejected) for batch in done.batches] == [(1, 1), (2, 0), (0, 1)]
    assert set(done.on_list) == {"K-0000", "K-0002", "K-0003"}


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_after_a_lost_answer_only_what_is_missing_is_sent(bench, sandbox, fault):
    done = bench([True, False, True, True], 2, [{"fault": fault, "op": "create_bulk", "nth": 1}])
    check(done)
    assert len(done.on_list) == 3
    assert [batch.rejected for batch in done.batches] == [1, 0]


def test_a_kill_before_and_after_every_step(bench):
    for place in range(20):
        for before in (True, False):
            done = bench([True, False, True], 2, fuse=[(place, before)])
            check(done)
            assert set(done.on_list) == {"K-0000", "K-0002"}, (place, before)


def test_an_import_that_always_breaks_off_ends_in_rejects(bench):
    done = bench([True] * 16, 16, [{"fault": "import_error", "times": None}])
    check(done)
    assert len(done.on_list) == 8 + 4 + 2
    assert {why[0] for why in done.named[1].values()} == {BROKEN_OFF}


def test_an_import_that_never_ends_is_uncertain(bench):
    done = bench([True] * 3, 2, [{"fault": "import_stuck"}])
    check(done)
    assert [batch.state for batch in done.batches] == ["uncertain", "confirmed"]


def test_a_row_that_is_lost_in_silence_is_named(bench):
    done = bench([True, False, True], 3, [{"fault": "import_loses_row"}])
    check(done)
    assert {row: why[0] for row, why in done.named[1].items()} == {"r1": REFUSED, "r2": UNEXPLAINED}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.booleans() | st.just(True), min_size=1, max_size=12),
    st.integers(1, 6),
    st.lists(CALLS | STATUSES | IMPORTS, max_size=5),
    FUSES,
)
@example(
    [True, True],
    2,
    [{"fault": "import_error", "times": 2}, {"fault": "drop_after", "op": "create_bulk", "nth": 2}],
    [],
)
def test_whatever_happens_no_lead_is_lost_or_doubled(bench, good, size, faults, fuse):
    check(bench(good, size, faults, fuse))
