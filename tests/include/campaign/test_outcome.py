"""What became of a batch: the vendor's counts against the rows it names."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from include.campaign.outcome import joined, not_there, settle, whole_failure
from include.campaign.payload import Payload
from include.ledger import BatchPlan, Ledger
from include.outcomes import named_rows
from include.staging import RunFolder
from include.vendors.errors import RequestRefusedError
from include.vendors.ozonetel import Callback, FailedRow

HEADER = ["PhoneNumber", "Name"]
ROWS = [(f"201200000{n}", f"Lead {n}") for n in range(6)]


def failed(place: int, reason: str = "Invalid Name", **changes) -> FailedRow:
    values = {
        "phone": ROWS[place][0],
        "cells": ROWS[place],
        "reason": reason,
        "duplicate": reason == "Duplicate",
    }
    return FailedRow(**values | changes)


# --- joining


def test_failed_rows_are_found_by_number_in_any_order():
    assert joined(HEADER, ROWS, [failed(4), failed(1)]) == {1: failed(1), 4: failed(4)}
    assert joined(HEADER, ROWS, []) == {}


def test_a_row_that_we_did_not_send_is_no_match():
    assert joined(HEADER, ROWS, [failed(1, phone="15550000")]) is None
    assert joined(HEADER, ROWS, [failed(1), failed(1)]) is None


def test_numbers_are_compared_by_their_digits():
    assert joined(HEADER, [("+91 98765", "A")], [failed(0, phone="9198765", cells=("x", "y"))])


def test_of_rows_with_one_number_the_same_cells_decide_else_the_last():
    twice = [("11", "A"), ("11", "B"), ("11", "C")]
    by_cells = failed(0, phone="11", cells=("11", "B"))
    assert joined(HEADER, twice, [by_cells]) == {1: by_cells}
    changed = failed(0, phone="11", cells=("11", "other"), reason="Duplicate")
    assert set(joined(HEADER, twice, [changed]) or {}) == {2}
    assert set(joined(HEADER, [("11", "A")] * 3, [changed, changed]) or {}) == {1, 2}


# --- settling


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    pl.DataFrame(ROWS, HEADER, orient="row").write_csv(tmp_path / "payload.csv")
    pl.DataFrame({"row_key": [f"k{n}" for n in range(6)]}).write_parquet(tmp_path / "sent.parquet")
    return Payload(tmp_path / "payload.csv", tmp_path / "sent.parquet")


@pytest.fixture
def ended(tmp_path, payload, staging_folder):
    """Send one batch of six rows (again, where asked for), and settle it."""

    def run(callback: Callback, told, *, again: bool = False):
        with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
            ledger.migrate()
            load = ledger.open_load(
                flow="f", vendor="ozonetel", dag_id="d", run_id="r", target="ozonetel:a:c", night=None,
                source_time=datetime(2026, 11, 21, tzinfo=UTC), snapshot="s", plan_hash="h", mode="apply",
                requested_by=None, reason=None, rows_in=6,
            )  # fmt: skip
            plans = payload.cut(6, preflight=False)
            ledger.plan_batches(load.id, plans)
            payload.lay_out([6])
            ledger.claim_target(load.id, timedelta(hours=1))
            ledger.intend(load.id, 1)
            if again:
                ledger.intend(load.id, 1, again=True)
            ledger.accept(load.id, 1, "17", {})
            notes = RunFolder("runs/notes")
            settle(ledger, ledger.batches(load.id)[0], callback, told, payload, notes)
            (batch,) = ledger.batches(load.id)
            return batch, named_rows(notes).get(1, {})

    return run


def callback(processed: int, not_processed: int, status: str = "Success") -> Callback:
    return Callback("17", status, "File said so.", 6, processed, not_processed, "https://f")


def test_all_added(ended):
    batch, named = ended(callback(6, 0), None)
    assert (batch.state, batch.delivered, batch.vendor_counts) == ("confirmed", 6, {"total": 6, "valid": 6})
    assert named == {} and batch.note is None


def test_failed_rows_get_the_vendors_reason(ended):
    batch, named = ended(callback(4, 2), [failed(1), failed(3, "Duplicate")])
    assert (batch.state, batch.delivered, batch.rejected) == ("confirmed", 4, 2)
    assert batch.vendor_counts == {"total": 6, "valid": 4, "duplicate": 1, "rejected": 1}
    assert named == {"k1": ["vendor_rejected", "Invalid Name"], "k3": ["vendor_duplicate", "Duplicate"]}


def test_after_a_second_try_duplicates_are_delivered(ended):
    told = [failed(n, "Duplicate") for n in range(1, 5)] + [failed(5)]
    batch, named = ended(callback(1, 5), told, again=True)
    assert (batch.state, batch.delivered, batch.rejected) == ("confirmed", 5, 1)
    assert batch.vendor_counts == {"total": 6, "valid": 5, "duplicate": 0, "rejected": 1}
    assert set(named) == {"k5"} and "4 rows stood" in batch.note


def test_after_a_second_try_all_may_be_duplicates(ended):
    batch, named = ended(callback(0, 6), [failed(n, "Duplicate") for n in range(6)], again=True)
    assert (batch.state, batch.delivered, named) == ("confirmed", 6, {})


@pytest.mark.parametrize(
    "told", [None, [failed(1)], [failed(1), failed(2, phone="999")], RequestRefusedError("o", "Gone.")]
)
def test_rows_that_cannot_be_named_are_counted(ended, told):
    batch, named = ended(callback(4, 2), told)
    assert (batch.state, batch.delivered, batch.rejected, named) == ("confirmed", 4, 2, {})
    assert batch.vendor_counts == {"total": 6, "valid": 4, "rejected": 2} and batch.note


def test_after_a_second_try_they_are_uncertain(ended):
    batch, _ = ended(callback(4, 2), None, again=True)
    assert (batch.state, batch.delivered, batch.uncertain) == ("uncertain", 4, 2)


def test_a_batch_that_was_not_read_is_rejected_whole(ended):
    batch, named = ended(callback(0, 6, "Fail"), None)
    assert (batch.state, batch.rejected) == ("rejected", 6)
    assert batch.vendor_counts == {"total": 6, "valid": 0, "unread": 6}
    assert len(named) == 6 and {tuple(why) for why in named.values()} == {("vendor_unread", "File said so.")}


def test_counts_that_do_not_add_up_leave_all_uncertain(ended):
    batch, named = ended(callback(5, 2), [failed(1), failed(2)])
    assert (batch.state, batch.uncertain, named) == ("uncertain", 6, {})
    assert "do not add up" in batch.note


def test_nothing_of_a_row_stands_in_the_ledger(ended, tmp_path):
    ended(callback(4, 2), [failed(1), failed(3, "Duplicate")])
    assert b"201200000" not in b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))
    assert "201200000" not in json.dumps(named_rows(RunFolder("runs/notes")))


# --- what follows from it


def batch(seq: int, rows: int, state: str, **counts):
    from include.ledger import Batch

    return Batch("l", seq, rows, "f", state=state, vendor_counts=counts, note="Why.")


@pytest.mark.parametrize(
    ("one", "stops"),
    [
        (batch(1, 5, "confirmed", total=5, valid=1, rejected=4), False),
        (batch(1, 5, "rejected", total=5, valid=0, rejected=5), True),
        (batch(1, 5, "rejected", total=5, valid=0, duplicate=4, rejected=1), True),
        (batch(1, 5, "rejected", total=5, valid=0, duplicate=5), False),
        (batch(1, 1, "rejected", total=1, valid=0, rejected=1), False),
        (batch(1, 1, "rejected", total=1, valid=0, unread=1), True),
        (batch(1, 5, "uncertain"), False),
    ],
)
def test_when_nothing_more_is_sent(one, stops):
    assert (whole_failure([one]) is not None) == stops


def test_what_is_not_in_the_campaign(payload):
    payload.lay_out([1, 1, 1, 1, 1, 1])
    states = ["confirmed", "confirmed", "rejected", "rejected", "uncertain", "planned"]
    batches = [batch(seq, 1, state) for seq, state in enumerate(states, 1)]
    named = {
        2: {"k1": ["vendor_rejected", "?"]},
        3: {"k2": ["vendor_duplicate", "Duplicate"]},
        4: {"k3": ["vendor_unread", None]},
    }
    assert not_there(batches, payload, named, repeats=True) == ["k1", "k3", "k4", "k5"]


def test_rows_that_nobody_named_are_sent_again_where_that_adds_nothing(payload):
    payload.lay_out([3, 3])
    batches = [
        replace(batch(1, 3, "confirmed"), delivered=1, rejected=2),
        replace(batch(2, 3, "confirmed"), delivered=2, rejected=1),
    ]
    named = {2: {"k4": ["vendor_rejected", "?"]}}
    assert not_there(batches, payload, named, repeats=True) == ["k0", "k1", "k2", "k4"]
    assert not_there(batches, payload, named, repeats=False) == ["k4"]


def test_batches_cover_every_row_once(payload):
    for size in range(1, 8):
        for preflight in (False, True):
            plans = payload.cut(size, preflight=preflight)
            payload.lay_out([plan.rows for plan in plans])
            assert [key for plan in plans for key in payload.keys(plan.seq)] == [f"k{n}" for n in range(6)]
            assert [row for plan in plans for row in payload.rows(plan.seq)] == ROWS
            assert max(plan.rows for plan in plans) <= size
            assert all(payload.fingerprint(payload.rows(plan.seq)) == plan.fingerprint for plan in plans)
            assert plans[0].rows == 1 if preflight else isinstance(plans[0], BatchPlan)
