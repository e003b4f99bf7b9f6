"""Random crashes and vendor faults while a campaign is loaded: nothing is lost, and nothing is sent twice in silence.

The judge is what the sandbox's campaign holds, and its own count of calls in a minute. Sandbox and sender live on one
clock that runs faster than real time. A crash is a process that is gone at a write of the ledger, at a call of the
vendor, or at a note in the run folder: nothing more of it is written, and the next try knows only what was.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, example, given, note, settings
from hypothesis import strategies as st

from include.campaign.loop import MOST_SENDS, Campaign, CampaignStoppedError, Rules
from include.campaign.payload import Payload
from include.ledger import Batch, Ledger
from include.sandbox.server import SandboxServer
from include.staging import RunFolder
from include.vendors.errors import VendorError
from tests.flows.conftest import Receiver, phone

EXAMPLES = os.environ.get("CRASH_EXAMPLES")
"""Set it to look at so many new schedules; without it the same few are run each time."""

CAMPAIGN, HEADER = "Renewals", ["PhoneNumber", "Name", "Priority"]
ROWS, BATCH = 12, 3
BAD, THERE = {4: "O'Neil", 9: "a, b"}, 7
"""Rows that the vendor refuses, and one whose number stands in the campaign before."""

SPEED = 400
PATIENCE = timedelta(minutes=6)
"""How long callbacks are waited for while they may be lost: 0.9 real seconds."""

TIMEOUT = 1.0
"""Real seconds that an answer may take."""

TRIES, ROUNDS = 8, 60
"""Tries of the task, and how often it may go on after a pause in all: a loop without an end is a failure."""

WRITES = (
    "claim_target",
    "take_turn",
    "end_turn",
    "intend",
    "accept",
    "withdraw",
    "hold_back",
    "settle",
    "mark_proven",
    "load",  # the calls of the vendor
    "failed_rows",
    "put",  # of a note
)
POINTS = [f"{when} {write}" for write in WRITES for when in ("before", "after")]

CALL = "add_bulk_data"
CALL_FAULTS = ("drop_before", "drop_after", "truncated", "broken_json", "late_answer")
FAULTS = st.one_of(
    st.builds(
        lambda fault, nth, times: {
            "fault": fault,
            "op": CALL,
            "nth": nth,
            "times": times,
            "seconds": TIMEOUT * 1.2,
        },
        st.sampled_from(CALL_FAULTS),
        st.integers(1, 4),
        st.integers(1, 2),
    ),
    st.builds(
        lambda status, nth: {"fault": "status", "op": CALL, "status": status, "nth": nth},
        st.sampled_from([429, 500, 503, 401]),
        st.integers(1, 4),
    ),
    st.builds(
        lambda fault, nth: {"fault": fault, "nth": nth, "seconds": 0.2},
        st.sampled_from(["webhook_lost", "webhook_late", "webhook_garbage"]),
        st.integers(1, 4),
    ),
    st.builds(
        lambda fault: {"fault": fault, "times": None},
        st.sampled_from(["webhook_doubled", "webhook_reordered"]),
    ),
    st.builds(
        lambda fault, nth: {"fault": fault, "nth": nth},
        st.sampled_from(["load_error", "load_crash"]),
        st.integers(1, 4),
    ),
    st.builds(
        lambda fault, times: {"fault": fault, "op": "failed_file", "times": times, "status": 503},
        st.sampled_from(["drop_before", "truncated", "broken_json", "status"]),
        st.sampled_from([1, 4, None]),
    ),
    st.builds(lambda: {"fault": "status", "op": "failed_file", "times": None, "status": 403}),
)
READINGS = st.sampled_from(
    [
        {},
        {"callback_shape": "raw_unescaped", "failed_file_reversed": True, "spaces_around_path": True},
        {"callback_shape": "form", "bare_success": True, "double_encoded": True},
        {"duplicates": "counted", "csv_quoted": True},
        {"callback_shape": "object", "error_http_status": 400, "requests_per_minute": 4},
    ]
)


class SimulatedCrash(BaseException):
    """The process is gone: no `except Exception` of ours runs, and nothing more is written."""


class Crashes:
    """Crashes at the points of a schedule, one after the other: each arms when the one before has struck."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.schedule: list[str] = []
        self.gone = False
        for name in WRITES:
            owner: Any = {"load": Account, "failed_rows": Account, "put": RunFolder}.get(name, Ledger)
            monkeypatch.setattr(owner, name, self._wrapped(name, getattr(owner, name)))

    def _wrapped(self, name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._strike(f"before {name}")
            result = inner(*args, **kwargs)
            self._strike(f"after {name}")
            return result

        return call

    def _strike(self, point: str) -> None:
        if self.gone:  # a `finally` on the way out writes nothing either
            raise SimulatedCrash(point)
        if self.schedule and self.schedule[0] == point:
            self.gone = True
            raise SimulatedCrash(self.schedule.pop(0))


@dataclass(frozen=True)
class Clock:
    """The sandbox's clock, as the sender reads it."""

    begun: datetime
    since: float

    def now(self) -> datetime:
        return self.begun + timedelta(seconds=(time.monotonic() - self.since) * SPEED)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / SPEED)


class Account:
    """The real hook, for one campaign."""

    def __init__(self, receiver: str, duplicates: str) -> None:
        from listkeeper.hooks.ozonetel import OzonetelHook

        self.hook, self.receiver, self.duplicates = OzonetelHook(), receiver, duplicates
        self.account, self.pace = self.hook.settings.account, self.hook.settings.pace

    def load(self, rows: Sequence[Sequence[str]], token: str, *, action: bool) -> Any:
        return self.hook.load(
            campaign=CAMPAIGN,
            header=HEADER,
            rows=rows,
            duplicates=self.duplicates,  # type: ignore[arg-type]
            callback_url=f"{self.receiver}/listkeeper/callbacks/ozonetel/{token}",
        )

    def failed_rows(self, url: str) -> Any:
        return self.hook.failed_rows(url, HEADER)


class Night:
    """One load of twelve rows, in a ledger and a folder of its own."""

    def __init__(self, place: Path, sandbox: SandboxServer, receiver: Receiver, duplicates: str) -> None:
        self.sandbox, self.receiver, self.duplicates = sandbox, receiver, duplicates
        sandbox.reset()
        sandbox.switch("ozonetel", work_seconds=0)
        if duplicates == "skip_all":
            self._put_there(THERE)
            self.settle()
        sandbox.switch("ozonetel", work_seconds=1)
        sandbox.clock(None, speed=SPEED)
        self.clock = Clock(sandbox.now(), time.monotonic())
        self.ledger = Ledger(f"sqlite:///{place / 'ledger.db'}", now=self.clock.now)
        self.ledger.migrate()
        place.mkdir(exist_ok=True)
        rows = [(phone(row), BAD.get(row, f"Lead {row}"), str(1 + row)) for row in range(ROWS)]
        pl.DataFrame(rows, HEADER, orient="row").write_csv(place / "payload.csv")
        pl.DataFrame({"row_key": [str(row) for row in range(ROWS)]}).write_parquet(place / "sent.parquet")
        self.payload = Payload(place / "payload.csv", place / "sent.parquet")
        self.id = self.ledger.open_load(
            flow="renewals",
            vendor="ozonetel",
            dag_id="load_ozonetel__renewals",
            run_id="night",
            target="ozonetel:ozonetel_default:Renewals",
            night="2026-11-20",
            source_time=datetime.now(UTC),
            snapshot="s",
            plan_hash="h",
            mode="apply",
            requested_by=None,
            reason=None,
            rows_in=ROWS,
        ).id
        self.notes = RunFolder("runs/load_ozonetel__renewals/night/load")

    def _put_there(self, row: int) -> None:
        info = self.sandbox.info()["ozonetel"]
        fields = {
            "apiKey": info["api_key"],
            "userName": info["user_name"],
            "campaignName": CAMPAIGN,
            "bulkData": json.dumps({"map": ["PhoneNumber"], "data": [[phone(row)]]}),
        }
        httpx.post(self.sandbox.base_url + info["path"], data=fields).raise_for_status()

    def plan(self, *, preflight: bool) -> None:
        self.ledger.plan_batches(self.id, self.payload.cut(BATCH, preflight=preflight))
        self.payload.lay_out([batch.rows for batch in self.batches])

    @property
    def batches(self) -> list[Batch]:
        return self.ledger.batches(self.id)

    def run(self, crashes: Crashes, *, preflight: bool, patience: timedelta, tries: int) -> str:
        """Let a task with so many tries, and its pauses, come to its end; return how it ended."""
        rules = Rules(
            safe=self.duplicates == "skip_all",
            answers=True,
            callbacks=patience,
            latest=None,
            preflight="columns" if preflight else None,
            nap=timedelta(seconds=20),
        )
        rounds = 0
        for attempt in range(1, tries + 1):
            try:
                while True:
                    rounds += 1
                    assert rounds < ROUNDS, "it goes on for ever"
                    crashes.gone = False
                    campaign = Campaign(
                        self.ledger,
                        self.id,
                        self.payload,
                        Account(self.receiver.url, self.duplicates),
                        rules,
                        notes=self.notes,
                        now=self.clock.now,
                        sleep=self.clock.sleep,
                        last_try=attempt == tries,
                    )
                    pause = campaign.run()
                    if pause is None:
                        return "done"
                    seconds = max((pause.until - self.clock.now()).total_seconds(), 0.0)
                    self.clock.sleep(seconds if pause.kind == "turn" else min(seconds, 40))
            except SimulatedCrash:
                continue
            except CampaignStoppedError:
                return "stopped"
            except VendorError as error:
                if not error.again:
                    return f"failed: {type(error).__name__}"
        return "out of tries"

    def numbers(self) -> Counter[str]:
        """How often each number of the load stands in the campaign."""
        leads = self.sandbox.state("ozonetel")["campaigns"][CAMPAIGN]["leads"]
        return Counter(lead["PhoneNumber"] for lead in leads)

    def settle(self) -> None:
        """Wait until the vendor has worked off what it took in."""
        deadline = time.monotonic() + 10
        while any(
            t["status"] == "queued" for t in self.sandbox.state("ozonetel", rows=False)["transactions"]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def all_went_out(self) -> bool:
        """Whether nothing stayed behind, but for the want of an answer to the preflight."""
        return all(batch.settled for batch in self.batches) or self.batches[0].state == "uncertain"

    def judge(self) -> None:
        """What the ledger says must be true of the campaign."""
        self.settle()
        there = self.numbers()
        assert set(there.values()) <= {1}, "a row stands in the campaign twice"
        for batch in self.batches:
            at = sum(other.rows for other in self.batches if other.seq < batch.seq)
            rows = range(at, at + batch.rows)
            added = sum(phone(row) in there for row in rows)
            before = self.duplicates == "skip_all" and THERE in rows
            named = json.loads(self.notes.get(f"named-{batch.seq}.json") or b"{}")
            what = (
                f"batch {batch.seq}: {batch.state}, {batch.delivered} + {batch.rejected} + {batch.uncertain}"
            )
            if batch.state in ("planned",):
                assert added <= before and not batch.maybe_sent, f"{what}: something was sent"
            elif batch.settled:
                assert batch.delivered + batch.rejected + batch.uncertain == batch.rows
                assert batch.delivered <= added <= batch.delivered + batch.uncertain + before, (
                    f"{what}, {added} there"
                )
            if batch.state in ("confirmed", "rejected"):
                for key, (reason, _) in named.items():
                    is_there = phone(int(key)) in there
                    known = int(key) == THERE and self.duplicates == "skip_all"
                    assert is_there == (known or reason == "vendor_duplicate"), f"{what}: {key} is {reason}"
        told = self.sandbox.state("ozonetel", rows=False)
        times = [datetime.fromisoformat(c["time"]) for c in told["requests"] if c["op"] == "add_bulk_data"]
        if self.duplicates == "skip_all":
            times = times[1:]  # the one that put a number there
        for first, sixth in zip(times, times[5:], strict=False):
            assert sixth - first >= timedelta(seconds=60), "more than 5 calls in a minute"


@pytest.fixture
def crashes(monkeypatch: pytest.MonkeyPatch) -> Crashes:
    return Crashes(monkeypatch)


@pytest.fixture
def account(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    info = sandbox.info()
    about = {
        "conn_type": "ozonetel",
        "host": info["base_url"],
        "login": info["ozonetel"]["user_name"],
        "password": info["ozonetel"]["api_key"],
        "extra": {"allow_http": True, "timeout": TIMEOUT},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OZONETEL_DEFAULT", json.dumps(about))


@pytest.fixture
def nights(
    tmp_path: Path,
    sandbox: SandboxServer,
    receiver: Receiver,
    account: None,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Night]:
    count = itertools.count()

    def made(duplicates: str) -> Night:
        place = tmp_path / str(next(count))
        place.mkdir()
        monkeypatch.setenv("LISTKEEPER_STAGING", str(place / "staging"))
        url = {"conn_type": "sqlite", "host": str(place / "ledger.db")}
        monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_LEDGER", json.dumps(url))
        return Night(place, sandbox, receiver, duplicates)

    return made


@settings(
    max_examples=int(EXAMPLES or 12),
    deadline=None,
    derandomize=EXAMPLES is None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    duplicates=st.sampled_from(["skip_all", "skip_all", "add_all"]),
    preflight=st.booleans(),
    schedule=st.lists(st.sampled_from(POINTS), max_size=4),
    faults=st.lists(FAULTS, max_size=3),
    reading=READINGS,
)
@example(
    # Sent again, and nobody can tell which rows the vendor refused.
    duplicates="skip_all",
    preflight=False,
    schedule=[],
    faults=[
        {"fault": "drop_after", "op": CALL, "nth": 2, "times": 1},
        {"fault": "status", "op": "failed_file", "times": None, "status": 403},
    ],
    reading={},
)
@example(
    # Sent again, and the second try fails as a whole: the first one's rows stand in the campaign.
    duplicates="skip_all",
    preflight=False,
    schedule=[],
    faults=[{"fault": "drop_after", "op": CALL, "times": 1}, {"fault": "load_error", "nth": 2}],
    reading={},
)
def test_nothing_is_lost_and_nothing_sent_twice(
    nights, crashes, duplicates, preflight, schedule, faults, reading
):
    crashes.schedule, crashes.gone = [], False
    night = nights(duplicates)
    night.plan(preflight=preflight)
    for fault in faults:
        night.sandbox.fault("ozonetel", **fault)
    night.sandbox.switch("ozonetel", **reading)
    crashes.schedule = list(schedule)
    ended = night.run(crashes, preflight=preflight, patience=PATIENCE, tries=TRIES)
    crashes.schedule, crashes.gone = [], False
    note(f"{ended}: {[(b.state, b.delivered, b.rejected, b.uncertain, b.note) for b in night.batches]}")
    night.judge()
    assert ended != "done" or night.all_went_out()

    # The morning after the vendor is well again, and a person clears what is red: twice, because what the night left
    # in the vendor's queue may turn out to have been lost.
    night.sandbox._control("DELETE", "/faults")
    for _ in range(2):
        final = {b.seq: b for b in night.batches if b.state in ("confirmed", "rejected")}
        ended = night.run(crashes, preflight=preflight, patience=PATIENCE * 3, tries=2)
        note(f"cleared, {ended}: {[(b.state, b.delivered, b.rejected, b.uncertain) for b in night.batches]}")
        night.judge()
        assert {b.seq: b for b in night.batches if b.seq in final} == final, "what was final has changed"
        assert ended != "done" or night.all_went_out()
    if not reading.get("requests_per_minute"):
        lost = sum(f["times"] for f in faults if f["fault"] in CALL_FAULTS and f["op"] == CALL)
        put_off = sum(f["fault"] == "status" and f["op"] == CALL for f in faults)
        most = MOST_SENDS + len(schedule) + lost + put_off
        assert max(b.attempts for b in night.batches) <= most, "sent too often"
    if ended == "done" and duplicates == "skip_all" and not reading.get("duplicates"):
        assert not any(b.uncertain for b in night.batches), "sending again would have told"


def test_a_turn_that_comes_free_while_it_is_asked_for(nights, crashes, monkeypatch):
    night = nights("skip_all")
    night.plan(preflight=False)
    take_turn = Ledger.take_turn
    answers = iter([lambda: night.clock.now()])  # past by the time that anybody reads it

    def asked(*args):
        return next(answers, lambda: take_turn(*args))()

    monkeypatch.setattr(Ledger, "take_turn", asked)
    assert night.run(crashes, preflight=False, patience=PATIENCE, tries=1) == "done"
    night.judge()
