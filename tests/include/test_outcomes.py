"""Each row of a run ends exactly once in its outcome files, however far the run came."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.leads.reasons import REASONS
from include.leads.schema import OUTCOME_COLUMNS
from include.ledger import Batch, reconcile
from include.outcomes import write_outcomes
from include.staging import Manifest, RunFolder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("LISTKEEPER_STAGING", str(tmp_path / "staging"))
    return tmp_path


def keys(first: int, count: int) -> list[str]:
    return [str(n) for n in range(first, first + count)]


def commit(name: str, files: dict[str, pl.DataFrame]) -> RunFolder:
    folder = RunFolder(name)
    with folder.writing() as scratch:
        for file, frame in files.items():
            frame.write_parquet(scratch / file)
        folder.commit(scratch, Manifest(kind=name, rows=0))
    return folder


def outcome(names: list[str], state: str, reason: str) -> pl.DataFrame:
    rows = [(name, state, reason, None, None) for name in names]
    return pl.DataFrame(rows, schema=OUTCOME_COLUMNS, orient="row")


def only_keys(names: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"row_key": names}, schema={"row_key": pl.String})


SNAPSHOT, REJECTED, HELD_BY_PLAN, SENT = 30, 7, 3, 20
"""30 leads: 7 rejected by the clean step, 3 held by the plan, 20 to send."""


@pytest.fixture
def folders():
    sent = keys(10, SENT)
    snapshot = {"part-00000.parquet": only_keys(keys(0, 18)), "part-00001.parquet": only_keys(keys(18, 12))}
    clean = {
        "outcomes-00000.parquet": outcome(keys(0, 4), "rejected", "phone_empty"),
        "outcomes-00001.parquet": outcome(keys(4, 3), "suppressed", "on_suppression_list"),
        "kept-00000.parquet": only_keys(keys(7, 11)),
        "kept-00001.parquet": only_keys(keys(18, 12)),
    }
    plan = {
        "outcomes-00000.parquet": outcome(keys(7, 2), "held", "already_delivered"),
        "outcomes-00001.parquet": outcome(keys(9, 1), "rejected", "not_ten_digits"),
        "sent.parquet": only_keys(sent),
    }
    return commit("snapshot", snapshot), commit("clean", clean), commit("plan", plan)


def batch(rows: int = SENT, state: str = "confirmed", seq: int = 1, **counts) -> Batch:
    return Batch(load_id="x", seq=seq, rows=rows, fingerprint="f", state=state, **counts)


def written(out: Path, **given):
    out.mkdir()
    values = {"snapshot": None, "clean": None, "plan": None, "batches": [], "held_reason": "not_sent"}
    told = write_outcomes(out, **(values | given))
    frames = [pl.read_parquet(file) for file in sorted(out.glob("*.parquet"))]
    rows = pl.concat([pl.DataFrame(schema=OUTCOME_COLUMNS), *frames])
    assert rows.schema == pl.Schema(OUTCOME_COLUMNS)
    assert Counter(rows["state"]) == told.by_state
    assert [REASONS[reason].state for reason in rows["reason"]] == rows["state"].to_list()
    return rows, told


def everyone(rows: pl.DataFrame) -> None:
    assert sorted(rows["row_key"], key=int) == keys(0, SNAPSHOT)


def test_a_run_without_a_snapshot_has_no_rows(place):
    rows, told = written(place / "out")
    assert rows.height == 0 and not told.by_state and not told.decided


def test_a_run_that_stopped_before_it_cleaned(place, folders):
    rows, told = written(place / "out", snapshot=folders[0])
    everyone(rows)
    assert told.decided == {"held": 30}
    assert set(rows["reason"]) == {"not_sent"}


def test_a_run_that_stopped_before_it_planned(place, folders):
    rows, told = written(place / "out", snapshot=folders[0], clean=folders[1])
    everyone(rows)
    assert told.decided == {"rejected": 4, "suppressed": 3, "held": 23}


@pytest.mark.parametrize("reason", ["plan_only", "guard_stopped", "already_delivered", "not_sent"])
def test_a_plan_that_was_not_sent(place, folders, reason):
    snapshot, clean, plan = folders
    rows, told = written(place / "out", snapshot=snapshot, clean=clean, plan=plan, held_reason=reason)
    everyone(rows)
    assert told.decided == told.by_state == {"rejected": 5, "suppressed": 3, "held": 22}
    assert rows.filter(pl.col("row_key").cast(int) >= 10)["reason"].unique().to_list() == [reason]
    assert rows["batch"].null_count() == 30


ENDS = [
    (batch(delivered=20), {"delivered": 20}, "delivered"),
    (batch(delivered=18, rejected=2), {"delivered": 20}, "vendor_counts_only"),
    (batch(state="rejected", rejected=20), {"rejected": 20}, "vendor_rejected"),
    (batch(state="uncertain", uncertain=20), {"uncertain": 20}, "no_outcome"),
    (batch(state="uncertain", delivered=9, rejected=1, uncertain=10), {"uncertain": 20}, "no_outcome"),
    (batch(state="intended"), {"uncertain": 20}, "no_outcome"),
    (batch(state="accepted"), {"uncertain": 20}, "no_outcome"),
    (batch(state="planned"), {"held": 20}, "not_sent"),
]


@pytest.mark.parametrize(("end", "states", "reason"), ENDS, ids=[f"{e.state}-{r}" for e, _, r in ENDS])
def test_rows_follow_their_batch(place, folders, end, states, reason):
    snapshot, clean, plan = folders
    rows, told = written(place / "out", snapshot=snapshot, clean=clean, plan=plan, batches=[end])
    everyone(rows)
    sent = rows.filter(pl.col("row_key").cast(int) >= 10)
    assert Counter(sent["state"]) == states and set(sent["reason"]) == {reason}
    assert set(sent["batch"]) == ({None} if end.state == "planned" else {1})
    ours = {"rejected": 5, "suppressed": 3, "held": 2 + (20 if end.state == "planned" else 0)}
    assert told.decided == ours


def test_rows_that_the_vendor_named(place, folders):
    snapshot, clean, plan = folders
    rows, _ = written(
        place / "out",
        snapshot=snapshot,
        clean=clean,
        plan=plan,
        batches=[batch(delivered=18, rejected=2)],
        named={1: {"12": "vendor_dnc", "13": "vendor_invalid"}},
    )
    everyone(rows)
    refused = rows.filter(batch=1, state="rejected").sort("row_key").select("row_key", "reason").rows()
    assert refused == [("12", "vendor_dnc"), ("13", "vendor_invalid")]
    assert rows.filter(batch=1, state="delivered")["reason"].unique().to_list() == ["delivered"]


STATES = ["planned", "intended", "accepted", "confirmed", "rejected", "uncertain"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(STATES)), max_size=6))
def test_however_the_batches_end(place, folders, ends):
    """Any mixture: a batch that never went out stays in its place, the rest behind the last is held."""
    snapshot, clean, plan = folders
    batches, left = [], SENT
    for seq, (rows, state) in enumerate(ends, 1):
        rows = min(rows, left)
        left -= rows
        counts = {
            "confirmed": {"delivered": rows},
            "rejected": {"rejected": rows},
            "uncertain": {"uncertain": rows},
        }
        batches.append(batch(rows, state, seq, **counts.get(state, {})))
    out = place / str(len(list(place.iterdir())))
    rows, told = written(out, snapshot=snapshot, clean=clean, plan=plan, batches=batches)
    everyone(rows)
    expected, position = {}, 10
    for one in batches:
        for key in keys(position, one.rows):
            state = {"planned": "held", "confirmed": "delivered", "rejected": "rejected"}.get(
                one.state, "uncertain"
            )
            expected[key] = (state, None if one.state == "planned" else one.seq)
        position += one.rows
    for key in keys(position, left):
        expected[key] = ("held", None)
    found = rows.filter(pl.col("row_key").cast(int) >= 10).select("row_key", "state", "batch").rows()
    assert {key: (state, seq) for key, state, seq in found} == expected
    # The same sums as the ledger's own, from its side.
    went = [one for one in batches if one.state != "planned"]
    counts = reconcile(SNAPSHOT, told.decided, went).counts
    assert counts.accounted
    assert {name: n for name, n in counts.to_dict().items() if n and name != "rows_in"} == told.by_state


def test_a_folder_that_was_changed_is_not_believed(place, folders):
    from include.staging import StagingError

    snapshot, clean, plan = folders
    file = place / "staging" / "plan" / "sent.parquet"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(StagingError, match="not the file that was committed"):
        written(place / "out", snapshot=snapshot, clean=clean, plan=plan)
