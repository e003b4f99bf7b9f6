"""Rows that do not add up must show, whoever lost them."""

from __future__ import annotations

from collections import Counter
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.ledger import Batch, Counts, reconcile

GOOD = Batch(
    load_id="l",
    seq=1,
    rows=600,
    fingerprint="aa",
    state="confirmed",
    delivered=590,
    rejected=10,
    vendor_counts={"valid": 590, "invalid": 4, "inactive": 5, "dnc": 1, "total": 600},
)
DECIDED = Counter(rejected=30, suppressed=60, held=10)


def problems(*batches, rows_in=700, decided=DECIDED, **limit):
    return "\n".join(reconcile(rows_in, decided, batches, **limit).problems)


def test_rows_that_add_up_are_green():
    result = reconcile(700, DECIDED, [GOOD], min_valid_share=0.9)
    assert result.problems == ()
    assert result.green
    assert result.counts == Counts(700, delivered=590, rejected=40, suppressed=60, held=10)
    assert result.counts.accounted
    assert result.counts.to_dict() == {
        "rows_in": 700,
        "delivered": 590,
        "rejected": 40,
        "suppressed": 60,
        "held": 10,
        "uncertain": 0,
    }


def test_counts_cannot_be_touched():
    with pytest.raises(FrozenInstanceError):
        Counts(1).delivered = 1  # type: ignore[misc]


def test_nothing_in_and_nothing_out_adds_up():
    assert reconcile(0, {}, []).green


@pytest.mark.parametrize("rows_in", [699, 701])
def test_a_lost_or_doubled_row_shows(rows_in):
    result = reconcile(rows_in, DECIDED, [GOOD])
    assert not result.green
    assert not result.counts.accounted
    assert f"{rows_in} rows came in, but 700 ended somewhere" in result.problems[0]


@pytest.mark.parametrize("state", ["planned", "intended", "accepted"])
def test_rows_of_a_batch_without_an_outcome_are_uncertain(state):
    result = reconcile(700, DECIDED, [Batch("l", 1, 600, "aa", state=state)])
    assert result.counts.uncertain == 600
    assert result.counts.accounted
    assert not result.green
    assert f"not settled ({state})" in result.problems[0]


def test_a_settled_batch_with_uncertain_rows_shows():
    batch = replace(
        GOOD, state="uncertain", delivered=400, uncertain=190, vendor_counts={"valid": 400, "total": 400}
    )
    result = reconcile(700, DECIDED, [batch])
    assert (result.counts.delivered, result.counts.uncertain) == (400, 190)
    assert result.problems == ("Batch 1: 190 of 600 rows are uncertain.",)


@pytest.mark.parametrize("state", ["confirmed", "rejected"])
def test_a_vendor_that_saw_another_number_of_rows_shows(state):
    counts = {"valid": 590, "invalid": 9, "total": 599}
    assert "600 rows were sent, the vendor counted 599" in problems(
        replace(GOOD, state=state, vendor_counts=counts)
    )


def test_a_vendor_whose_parts_do_not_make_its_total_shows():
    assert "parts make 599, its total says 600" in problems(
        replace(GOOD, vendor_counts={"valid": 590, "invalid": 9, "total": 600})
    )


def test_a_vendor_that_took_other_than_what_we_wrote_down_shows():
    batch = replace(
        GOOD, delivered=600, rejected=0, vendor_counts={"valid": 590, "invalid": 10, "total": 600}
    )
    assert "600 rows stand as delivered, the vendor took 590" in problems(batch)


def test_a_status_word_without_counts_proves_nothing():
    assert "without the vendor's own counts" in problems(replace(GOOD, vendor_counts={}))


def test_a_request_refused_as_a_whole_needs_no_counts():
    batch = replace(GOOD, state="rejected", delivered=0, rejected=600, vendor_counts={})
    assert problems(batch) == "600 rows were sent and none was delivered."


def test_finalized_with_nothing_valid_is_a_failed_load():
    counts = {"valid": 0, "invalid": 600, "inactive": 0, "dnc": 0, "total": 600}
    batch = replace(GOOD, delivered=0, rejected=600, vendor_counts=counts)
    result = reconcile(700, DECIDED, [batch])
    assert result.counts.accounted
    assert result.problems == ("600 rows were sent and none was delivered.",)
    assert not result.green


def test_too_small_a_share_shows_and_the_limit_itself_is_enough():
    assert "took 590 of 600 rows (98.3%), less than the 99.0%" in problems(GOOD, min_valid_share=0.99)
    assert problems(GOOD, min_valid_share=590 / 600) == ""


def test_a_share_is_taken_over_all_batches_that_were_sent():
    failed = replace(
        GOOD, seq=2, delivered=0, rejected=600, vendor_counts={"valid": 0, "invalid": 600, "total": 600}
    )
    assert "took 590 of 1,200 rows (49.2%)" in problems(GOOD, failed, rows_in=1300, min_valid_share=0.5)


def test_rows_that_the_list_had_already_ask_for_nothing():
    """Of 600 rows 500 stood there, 90 were taken: that is 90 of 100, and no better."""
    batch = replace(
        GOOD,
        delivered=90,
        rejected=510,
        vendor_counts={"valid": 90, "duplicate": 500, "rejected": 10, "total": 600},
    )
    assert problems(batch, min_valid_share=0.9) == ""
    assert "took 90 of 600 rows" in problems(batch, min_valid_share=0.901)


def test_without_repeats_every_row_counts():
    small = replace(
        GOOD, rows=10, delivered=8, rejected=2, vendor_counts={"valid": 8, "invalid": 2, "total": 10}
    )
    assert problems(small, rows_in=110, min_valid_share=0.8) == ""
    assert "took 8 of 10 rows (80.0%)" in problems(small, rows_in=110, min_valid_share=0.81)


def test_a_batch_whose_rows_do_not_add_up_is_named():
    torn = replace(GOOD, rejected=9, vendor_counts={"valid": 590, "invalid": 10, "total": 600})
    assert "Batch 1: 590 delivered, 9 rejected and 0 uncertain do not make its 600 rows." in problems(torn)


def test_what_never_went_out_is_not_part_of_the_share():
    unsent = Batch("l", 2, 400, "bb")
    assert problems(GOOD, unsent, rows_in=1100, min_valid_share=0.9).startswith("Batch 2 is not settled")
    assert "%" not in problems(GOOD, unsent, rows_in=1100, min_valid_share=0.9)
    assert "were sent" not in problems(unsent, rows_in=500)


@pytest.mark.parametrize("state", ["delivered", "uncertain", "lost"])
def test_only_a_vendor_delivers(state):
    with pytest.raises(ValueError, match=state):
        reconcile(1, {state: 1}, [])


def settled(rows: int, cut: tuple[float, float]) -> tuple[int, int, int]:
    delivered = int(rows * cut[0])
    rejected = int((rows - delivered) * cut[1])
    return delivered, rejected, rows - delivered - rejected


@given(
    st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1), st.floats(0, 1)), max_size=6),
    st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)),
    st.integers(-3, 3),
)
def test_green_means_that_every_row_ended_with_certainty(shapes, ours, slip):
    batches = []
    for seq, (rows, *cut) in enumerate(shapes):
        delivered, rejected, uncertain = settled(rows, (cut[0], cut[1]))
        batches.append(
            Batch(
                "l",
                seq,
                rows,
                "aa",
                state="uncertain" if uncertain else "confirmed",
                delivered=delivered,
                rejected=rejected,
                uncertain=uncertain,
                vendor_counts={
                    "valid": delivered,
                    "invalid": rejected,
                    "total": delivered + rejected,
                },
            )
        )
    decided = dict(zip(("rejected", "suppressed", "held"), ours, strict=True))
    rows_in = sum(ours) + sum(batch.rows for batch in batches) + slip
    result = reconcile(rows_in, decided, batches)
    assert result.counts.accounted == (slip == 0)
    if result.green:
        assert slip == 0
        assert result.counts.uncertain == 0
        assert not batches or result.counts.delivered > 0
