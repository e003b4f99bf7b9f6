"""Real processes at the same database: racing each other, and killed in the middle of their work."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select

from include.ledger import (
    BatchPlan,
    BatchStateError,
    Ledger,
    LedgerError,
    OlderSourceError,
    TargetLockedError,
)
from include.ledger.records import SETTLED
from include.ledger.store import Store
from include.ledger.tables import evidence
from tests.waiting import LIMIT, until

SPAWN = multiprocessing.get_context("spawn")
HOUR = timedelta(hours=1)
NIGHT = datetime(2026, 11, 21, tzinfo=UTC)
OPEN = {
    "flow": "five9_daily",
    "vendor": "purecallerid",
    "dag_id": "load_purecallerid__five9_daily",
    "night": None,
    "source_time": NIGHT,
    "snapshot": "s",
    "plan_hash": "h",
    "mode": "apply",
    "requested_by": None,
    "reason": None,
    "rows_in": 40,
}


def together(worker, *calls):
    """Run the worker in one process per call, started at the same moment; return what each put out."""
    barrier, results = SPAWN.Barrier(len(calls)), SPAWN.Queue()
    processes = [SPAWN.Process(target=worker, args=(barrier, results, *call)) for call in calls]
    for process in processes:
        process.start()
    answers = [results.get(timeout=LIMIT) for _ in processes]
    for process in processes:
        process.join(LIMIT)
        assert process.exitcode == 0
    return answers


def migrate(barrier, results, url):
    importlib.import_module("alembic.command")  # slow: afterwards all arrive at once
    with Ledger(url) as ledger:
        barrier.wait(LIMIT)
        ledger.migrate()
        results.put(ledger.head().count)


def test_several_processes_migrate_a_new_database_at_once(empty_url):
    assert together(migrate, *[(empty_url,)] * 5) == [0] * 5


def open_new_files(barrier, results, folder, seed):
    dice = random.Random(seed)
    for number in range(100):
        store = Store(f"sqlite:///{folder}/{number}.db")
        barrier.wait(LIMIT)
        time.sleep(dice.uniform(0, 0.002))
        with store.write() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS things (number INTEGER)")
        store.close()
    results.put("opened")


def test_several_processes_open_a_new_file_at_once(tmp_path):
    """The switch to the write-ahead log fails at once when another process is at it, whatever the timeout."""
    assert together(open_new_files, *[(str(tmp_path), seed) for seed in range(5)]) == ["opened"] * 5


def claim(barrier, results, url, name):
    outcomes = []
    with Ledger(url) as ledger:
        for number in range(25):
            load = ledger.open_load(**OPEN, run_id=f"{name}{number}", target=f"purecallerid:1:{number}")
            barrier.wait(LIMIT)
            try:
                ledger.claim_target(load.id, HOUR)
                outcomes.append(("won", load.id))
            except TargetLockedError as refused:
                outcomes.append(("lost to", refused.owner))
    results.put(outcomes)


def test_of_two_claimants_exactly_one_wins(url):
    for pair in zip(*together(claim, (url, "a"), (url, "b")), strict=True):
        assert {outcome for outcome, _ in pair} == {"won", "lost to"}
        assert len({winner for _, winner in pair}) == 1


def open_same(barrier, results, url):
    with Ledger(url) as ledger:
        barrier.wait(LIMIT)
        results.put(
            [ledger.open_load(**OPEN, run_id=str(n), target="purecallerid:1:x").id for n in range(25)]
        )


def test_two_tries_of_one_run_open_one_load(url):
    first, second = together(open_same, (url,), (url,))
    assert first == second
    assert len(set(first)) == 25


def send(barrier, results, url, load_id):
    won = []
    with Ledger(url) as ledger:
        barrier.wait(LIMIT)
        for seq in range(1, 26):
            with suppress(LedgerError):
                ledger.intend(load_id, seq)
                won.append(seq)
    results.put(won)


def test_two_tries_of_one_run_send_each_batch_once(url):
    with Ledger(url) as ledger:
        load = ledger.open_load(**OPEN, run_id="r", target="purecallerid:1:x")
        ledger.plan_batches(load.id, [BatchPlan(seq, 10, "x") for seq in range(1, 26)])
        ledger.claim_target(load.id, HOUR)
        first, second = together(send, (url, load.id), (url, load.id))
        assert sorted(first + second) == list(range(1, 26))
        assert {batch.attempts for batch in ledger.batches(load.id)} == {1}


def settle(barrier, results, url, load_id, delivered):
    won = []
    with Ledger(url) as ledger:
        for seq in range(1, 26):
            barrier.wait(LIMIT)
            with suppress(BatchStateError):
                end = {
                    "delivered": delivered,
                    "rejected": 10 - delivered,
                    "uncertain": 0,
                    "vendor_counts": {},
                }
                ledger.settle(load_id, seq, "confirmed", **end)
                won.append(seq)
    results.put((delivered, won))


def test_of_two_ends_of_one_batch_the_first_stays(url):
    with Ledger(url) as ledger:
        load = ledger.open_load(**OPEN, run_id="r", target="purecallerid:1:x")
        ledger.plan_batches(load.id, [BatchPlan(seq, 10, "x") for seq in range(1, 26)])
        ledger.claim_target(load.id, HOUR)
        for seq in range(1, 26):
            ledger.intend(load.id, seq)
        ends = dict(together(settle, (url, load.id, 3), (url, load.id, 7)))
        assert sorted(ends[3] + ends[7]) == list(range(1, 26))
        for batch in ledger.batches(load.id):
            assert batch.seq in ends[batch.delivered]


def append(barrier, results, url, name):
    broken = []
    with Ledger(url) as ledger:
        barrier.wait(LIMIT)
        for number in range(25):
            ledger.record("race", None, {"who": name, "n": number})
            if number % 10 == 0:
                broken += ledger.verify()  # while the others go on
    results.put(broken)


def test_a_hundred_appends_from_four_processes_make_one_chain(url):
    assert together(append, *[(url, name) for name in "abcd"]) == [[]] * 4
    with Ledger(url) as ledger:
        assert ledger.verify() == []
        assert ledger.head().count == 100
    engine = create_engine(url)
    with engine.connect() as connection:
        bodies = connection.execute(select(evidence.c.body).order_by(evidence.c.seq)).scalars().all()
    engine.dispose()
    for name in "abcd":
        assert [body["n"] for body in bodies if body["who"] == name] == list(range(25))


def call_back(barrier, results, url, token, seed):
    bodies = [json.dumps({"status": "PROCESSING", "n": number}).encode() for number in range(25)]
    random.Random(seed).shuffle(bodies)
    with Ledger(url) as ledger:
        barrier.wait(LIMIT)
        results.put(sum(ledger.receive("purecallerid", token, body).new for body in bodies))


def test_doubled_callbacks_are_stored_once(url):
    with Ledger(url) as ledger:
        load = ledger.open_load(**OPEN, run_id="r", target="purecallerid:1:x")
        ledger.plan_batches(load.id, [BatchPlan(1, 10, "x")])
        ledger.claim_target(load.id, HOUR)
        token = ledger.intend(load.id, 1)
        assert sum(together(call_back, *[(url, token, seed) for seed in range(4)])) == 25
        assert sorted(event.body["n"] for event in ledger.events(load.id, 1)) == list(range(25))


# Killed in the middle


class Notebook:
    """Lines that survive a kill: what a worker knows to be done, and what the vendor saw."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *line: object) -> None:
        os.write(self._file, (json.dumps(line) + "\n").encode())


def notes(folder: Path, name: str) -> list[list]:
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def load_lists(url: str, folder: str, seed: int, ready) -> None:
    """Load two lists over and over, in any order, as a task does that knows nothing of its past."""
    dice = random.Random(seed)
    done, vendor = Notebook(Path(folder, "done")), Notebook(Path(folder, "vendor"))
    with Ledger(url) as ledger:
        ready.release()
        while True:
            run = dice.randrange(60)
            source = NIGHT + timedelta(minutes=run // 3)
            load = ledger.open_load(
                **OPEN | {"source_time": source}, run_id=str(run), target=f"purecallerid:1:{run % 2}"
            )
            ledger.plan_batches(load.id, [BatchPlan(seq, 10, f"{run}/{seq}") for seq in range(1, 5)])
            try:
                ledger.claim_target(load.id, timedelta(milliseconds=300))
                done.write("claimed", load.target, source.isoformat())
                for batch in ledger.batches(load.id):
                    send_batch(ledger, load, batch, done, vendor)
                ledger.mark_applied(load.id, str(run))
                done.write("applied", load.target, source.isoformat())
                ledger.release_target(load.id)
            except (OlderSourceError, TargetLockedError):
                ledger.record("refused", load.id, {"run": run})
            except LedgerError:  # the other worker has the same run: it goes on with it
                continue
            done.write("evidence", ledger.record("tried", load.id, {"run": run}).seq)


def send_batch(ledger, load, batch, done, vendor) -> None:
    """Send what is planned; never send again what may have been sent."""
    if batch.state == "intended":
        ledger.settle(
            load.id, batch.seq, "uncertain", delivered=0, rejected=0, uncertain=10, vendor_counts={}
        )
        done.write("settled", load.id, batch.seq, "uncertain")
    elif batch.state == "planned":
        token = ledger.intend(load.id, batch.seq)
        vendor.write(load.id, batch.seq)
        ledger.accept(load.id, batch.seq, "v", {})
        ledger.receive("purecallerid", token, b'{"status": "FINALIZED"}')
        done.write("called back", load.id, batch.seq)
        batch = ledger.batches(load.id)[batch.seq - 1]
    if batch.state == "accepted":
        ledger.settle(load.id, batch.seq, "confirmed", delivered=9, rejected=1, uncertain=0, vendor_counts={})
        done.write("settled", load.id, batch.seq, "confirmed")


def until_more_is_done(folder: Path, lines: int) -> None:
    """Wait until the workers have noted so many lines more, and at least one batch that ended well."""
    before = len(notes(folder, "done"))

    def done() -> bool:
        found = notes(folder, "done")
        return len(found) >= before + lines and any(line[-1] == "confirmed" for line in found)

    until(done, f"{lines} lines more")


def check(ledger: Ledger, folder: Path) -> Counter:
    """What must be true of the ledger, whenever everybody died."""
    assert ledger.verify() == []
    sent = Counter((load_id, seq) for load_id, seq in notes(folder, "vendor"))
    assert set(sent.values()) <= {1}, "a batch was sent twice"
    loads = {load.id: load for load in ledger.loads(1000)}
    assert len(loads) == len({load.run_id for load in loads.values()})
    states: Counter = Counter()
    for load_id in loads:
        batches = ledger.batches(load_id)
        assert len(batches) in (0, 4), "batches are planned whole or not at all"
        for batch in batches:
            states[batch.state] += 1
            assert (batch.state != "planned") == (batch.attempts == 1)
            if (load_id, batch.seq) in sent:
                assert batch.state != "planned", "sent without an intent"
            if batch.state in ("accepted", "confirmed"):
                assert (load_id, batch.seq) in sent, "accepted but never sent"
            if batch.settled:
                assert batch.delivered + batch.rejected + batch.uncertain == batch.rows
    for what, *told in notes(folder, "done"):  # nothing that was said to be done is gone
        if what == "evidence":
            assert ledger.head().count >= told[0]
        elif what == "claimed":
            assert ledger.target(told[0]).fence_source_time >= datetime.fromisoformat(told[1])
        elif what == "applied":
            assert ledger.target(told[0]).applied_source_time >= datetime.fromisoformat(told[1])
        elif what == "called back":
            assert [e.body for e in ledger.events(told[0], told[1])] == [{"status": "FINALIZED"}]
        else:
            state = ledger.batches(told[0])[told[1] - 1].state
            assert state in SETTLED
            assert state == told[2]
    for target in ledger.targets():
        applied, fence = target.applied_source_time, target.fence_source_time
        assert applied is None or (fence is not None and applied <= fence)
        assert target.lock_load_id is None or loads[target.lock_load_id].target == target.key
    return states


@pytest.mark.parametrize("seed", [85, 38])
def test_kill_9_in_the_middle_of_anything_breaks_no_promise(url, tmp_path, seed):
    dice = random.Random(seed)
    states: Counter = Counter()
    with Ledger(url) as ledger:
        for _ in range(4):
            ready = SPAWN.Semaphore(0)
            workers = [
                SPAWN.Process(target=load_lists, args=(url, str(tmp_path), dice.randrange(10**6), ready))
                for _ in range(2)
            ]
            for worker in workers:
                worker.start()
            for _ in workers:
                assert ready.acquire(timeout=LIMIT)
            for worker in workers:
                until_more_is_done(tmp_path, dice.randrange(1, 30))
                time.sleep(dice.uniform(0, 0.02))
                os.kill(worker.pid, signal.SIGKILL)
            for worker in workers:
                worker.join(LIMIT)
                assert worker.exitcode == -signal.SIGKILL
            states = check(ledger, tmp_path)
    assert states["confirmed"] > 0, "the workers got nothing done: this test would prove nothing"
