"""The canary of a load: how rows are cut for one, and what the vendor must have said of it before the rest may go."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.canary import Canary, free, option, planned, problem, sizes, told
from include.csv_parts import write_part
from include.ledger import Batch

TEN = Canary(rows=10, max_rejected_percent=20)
REST = Batch("l", 2, 50, "f")
STATES = st.sampled_from(["planned", "intended", "accepted", "confirmed", "rejected", "uncertain"])


def first(state="confirmed", delivered=10, rejected=0, **changes) -> Batch:
    counts = {"total": 10, "valid": delivered, "invalid": rejected}
    about = {"delivered": delivered, "rejected": rejected, "vendor_counts": counts} | changes
    return Batch("l", 1, 10, "f", state=state, **about)


@given(st.integers(0, 300), st.integers(1, 60), st.none() | st.builds(Canary, rows=st.integers(1, 80)))
def test_every_row_is_in_one_batch_that_the_vendor_takes(rows, size, canary):
    cut = sizes(rows, size, canary)
    assert sum(cut) == rows and all(0 < part <= size for part in cut)
    if canary is None:
        assert cut == [min(size, rows - start) for start in range(0, rows, size)], (
            "as before there were canaries"
        )
    elif rows:
        assert cut[0] == min(rows, size, canary.rows)


@pytest.mark.parametrize(
    ("batch", "word"),
    [
        (first("intended", 0), "nobody knows"),
        (first("accepted", 0), "nobody knows"),
        (first("uncertain", 0, note="no callback came"), "no callback came"),
        (first(vendor_counts={}), "a person has settled it"),
        (first(vendor_counts={"total": 11, "valid": 11}), "10 rows were sent, the vendor counted 11"),
        (first(vendor_counts={"total": 10, "valid": 9, "invalid": 1}), "the vendor took 9"),
        (first(delivered=7, rejected=3), "refused 3 of 10 rows (30.0 %), the limit is 20 %"),
        (first("rejected", 0, 10), "refused 10 of 10 rows (100.0 %)"),
        (first("rejected", note="The load stopped with ERROR."), "stopped with ERROR"),
        (
            first("rejected", 0, 10, vendor_counts={"total": 10, "duplicate": 9, "rejected": 1}),
            "refused 1 of 1 rows",
        ),
        (first("rejected", 0, 10, vendor_counts={"no_longer_old": 10}), "refused 0 of 0 rows"),
    ],
)
def test_the_rest_is_held_while_the_first_batch_is_not_good(batch, word):
    assert list(free(TEN, [batch, REST])) == [batch]
    why = problem(TEN, [batch, REST])
    assert why is not None and word in why and "The other 50 rows are held" in why


@pytest.mark.parametrize(
    "batch",
    [
        first(),
        first(delivered=8, rejected=2),
        first("rejected", 0, 10, vendor_counts={"total": 10, "duplicate": 10}),  # they stand there already
        first(delivered=5, rejected=5, vendor_counts={"valid": 5, "duplicate": 5}),
        first(delivered=4, rejected=6, vendor_counts={"valid": 4, "no_longer_old": 5, "stayed_behind": 1}),
    ],
)
def test_the_rest_goes_when_the_vendors_counts_are_good(batch):
    assert list(free(TEN, [batch, REST])) == [batch, REST] and problem(TEN, [batch, REST]) is None


@given(STATES, st.integers(0, 10), st.booleans(), st.floats(0, 100))
def test_nothing_but_good_counts_of_the_vendor_lets_the_rest_go(state, rejected, counted, limit):
    counts = {"total": 10, "valid": 10 - rejected, "invalid": rejected} if counted else {}
    batch = first(state, 10 - rejected, rejected, vendor_counts=counts)
    good = state == "confirmed" and counted and rejected * 10 <= limit
    canary = Canary(rows=10, max_rejected_percent=limit)
    assert (len(free(canary, [batch, REST])) == 2) == good


def test_without_a_canary_or_a_rest_nothing_is_held():
    bad = first("rejected", 0, 10)
    assert list(free(None, [bad, REST])) == [bad, REST] and problem(None, [bad, REST]) is None
    assert problem(TEN, [bad]) is None and list(free(TEN, [])) == []
    never_sent = first("planned", 0, vendor_counts={})
    assert problem(TEN, [never_sent, REST]) is None, "it did not stop what was never sent"
    assert list(free(TEN, [never_sent, REST])) == [never_sent]


def test_a_plan_tells_of_its_canary_and_only_of_one_that_has_a_rest():
    plan = {"to_send": 60, "options": {"x": 1} | option(TEN)}
    assert planned(plan) == TEN
    assert told(plan) == (
        "A canary goes first: 10 of 60 rows. The others follow when the vendor has refused at most 20 % of it, and are "
        "held otherwise."
    )
    assert "10 of 60 rows" in str(told(plan | {"to_update": 60})), "there is nothing new"
    assert "4 of 60 rows" in str(told(plan | {"to_update": 56})), "cut from what is new"
    assert planned(plan | {"to_send": 10}) is None and told(plan | {"to_send": 10}) is None
    assert planned({"to_send": 60, "options": {}}) is None and planned({}) is None
    assert option(None) == {}, "the hash of a plan without a canary stays what it was"
    assert option(TEN, 4)["canary"]["rows"] == 4


CELLS = st.text(st.sampled_from('ab,"\n\r é'), max_size=6)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12), st.data())
def test_parts_of_a_file_hold_its_bytes_once_each(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp("parts")
    frame = pl.DataFrame(rows, schema=["one", "two"], orient="row")
    frame.write_csv(folder / "whole.csv")
    whole = (folder / "whole.csv").read_bytes()
    cut = data.draw(st.integers(0, len(rows)))
    write_part(folder / "whole.csv", folder / "a.csv", 0, cut)
    write_part(folder / "whole.csv", folder / "b.csv", cut, None)
    head, tail = ((folder / name).read_bytes() for name in ("a.csv", "b.csv"))
    header = b"one,two\n"
    assert head.startswith(header) and tail.startswith(header) and head + tail[len(header) :] == whole
    assert pl.read_csv(folder / "a.csv", infer_schema=False).fill_null("").equals(frame.head(cut)) or not cut
