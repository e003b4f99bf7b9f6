"""The rows of a push: what fits, what is cut where, and that no cell changes on its way."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.canary import Canary
from include.push.rows import Rows, fit_cells, open_rows
from include.vendors.platform import body_of_cells

CELL = st.text(max_size=12) | st.sampled_from(
    ["2019-08-24T14:15:22Z", "2026-01-01T00:00:00+1000", "2026-01-01T00:00:00.25-03:30", "0001-01-01T00:00:00+10:00",
     "9999-12-31T23:59:59-12:00", "2026-01-01T00:00Z", "5", "-5", "+5", "5.0", " 5", "99999999999999999999", "٥"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("nextAttemptTimestamp", "2026-11-21T09:00:00Z", None),
        ("nextAttemptTimestamp", "2026-11-21T09:00:00+1000", None),
        ("nextAttemptTimestamp", "2026-11-21T09:00:00+10:00", None),
        ("nextAttemptTimestamp", "2026-11-21T09:00:00", "time_unreadable"),
        ("nextAttemptTimestamp", "tomorrow", "time_unreadable"),
        ("nextAttemptTimestamp", "", None),
        ("nextAttemptTimestamp", None, None),
        ("statusCode", "12", None),
        ("statusCode", "1.5", "not_a_number"),
        ("agentId", "1002", None),
        ("agentId", "1003", "agent_not_active"),
        ("agentId", "", None),
        ("agentId", None, None),
        ("agentId", "Ana", "not_a_number"),
        ("leadData.agentId", "Ana", None),
        ("timezone", "x", None),
    ],
)
def test_what_the_vendor_could_not_take(column, cell, reason):
    cells = pl.DataFrame({column: [cell]}, schema={column: pl.String})
    same, reasons, changes = fit_cells(cells, agents=frozenset({1002}))
    assert reasons.to_list() == [reason]
    assert same.equals(cells) and changes == {}


def test_without_agents_to_ask_for_anybody_is_taken():
    cells = pl.DataFrame({"agentId": ["1003"]})
    assert fit_cells(cells, agents=None)[1].to_list() == [None]


@given(st.sampled_from(["nextAttemptTimestamp", "statusCode", "agentId", "phone1", "leadData.x"]), CELL)
def test_whatever_fits_can_be_written(column, cell):
    """A cell that passed the plan must not stop the push half way."""
    if fit_cells(pl.DataFrame({column: [cell]}), agents=None)[1].is_null().item():
        body_of_cells({column: cell}, 1)


@settings(deadline=None)
@given(
    st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20),
    st.integers(1, 7),
)
def test_cells_arrive_as_they_were_planned(tmp_path_factory, pairs, size):
    folder = tmp_path_factory.mktemp("rows")
    first, second = ([pair[place] for pair in pairs] for place in (0, 1))
    keys = [f"k{n}" for n in range(len(pairs))]
    cells = pl.DataFrame({"customerKey": keys, "phone1": first, "phone2": second})
    cells.write_csv(folder / "payload.csv")
    pl.DataFrame({"row_key": [str(n) for n in range(len(pairs))]}).write_parquet(folder / "sent.parquet")
    with open_rows(folder / "payload.csv", folder / "sent.parquet", size) as rows:
        plans = list(rows.batch_plans())
        chunks = [rows.chunk(plan.seq) for plan in plans]
    assert [plan.seq for plan in plans] == list(range(1, -(-len(pairs) // size) + 1))
    assert [chunk.frame.height for chunk in chunks] == [plan.rows for plan in plans]
    whole = pl.concat([chunk.frame for chunk in chunks])
    assert whole["row_key"].to_list() == [str(n) for n in range(len(pairs))]
    assert whole.drop("row_key").equals(cells)
    assert chunks[0].row_keys == whole["row_key"].to_list()[:size]
    # One import's leads by their places.
    assert [body["customerKey"] for body in chunks[0].bodies([0], 9)] == ["k0"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 5), st.none() | st.integers(1, 8))
def test_no_batch_holds_new_and_changed_leads(tmp_path_factory, new, changed, size, first):
    file = tmp_path_factory.getbasetemp() / "kinds.parquet"
    kinds = ["new"] * new + ["changed"] * changed
    pl.DataFrame(
        {"row_key": kinds, "customerKey": kinds}, schema=dict.fromkeys(("row_key", "customerKey"), pl.String)
    ).write_parquet(file)
    canary = None if first is None else Canary(rows=first)
    rows = Rows(file, size, canary, changed)
    plans = list(rows.batch_plans())
    cut = [(rows.changes(one.seq), one.rows) for one in plans]
    assert all(
        set(rows.chunk(one.seq).keys) == {"changed" if changes else "new"}
        for one, (changes, _) in zip(plans, cut, strict=True)
    )
    assert sum(count for changes, count in cut if changes) == changed
    assert sum(count for changes, count in cut if not changes) == new
    if first is not None and cut:
        assert cut[0][1] == min(new or changed, size, first), "the canary is cut from what goes first"


def test_no_row_is_no_batch(tmp_path):
    pl.DataFrame(schema={"customerKey": pl.String}).write_csv(tmp_path / "payload.csv")
    pl.DataFrame(schema={"row_key": pl.String}).write_parquet(tmp_path / "sent.parquet")
    with open_rows(tmp_path / "payload.csv", tmp_path / "sent.parquet", 5) as rows:
        assert list(rows.batch_plans()) == []
