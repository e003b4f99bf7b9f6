"""What a load left on its list, where that is less than its plan: the keys that the next plan is set against."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

from include.ledger import Batch
from include.plan import KEYS, SENT
from include.staging import Manifest, RunFolder


def never_sent(plan: RunFolder, batches: Sequence[Batch]) -> pl.Series:
    """The row keys of batches that never went out."""
    return keys_of(plan, batches, [batch.seq for batch in batches if batch.state == "planned"])


def keys_of(plan: RunFolder, batches: Sequence[Batch], wanted: Collection[int]) -> pl.Series:
    """The row keys of some batches.

    :param batches: all of the load, in order; :param wanted: the places of those that are wanted.
    """
    with plan.reading(SENT) as files:
        keys = pl.read_parquet(files[0], columns=["row_key"], glob=False)["row_key"]
    pieces, start = [keys.clear()], 0
    for batch in batches:
        if batch.seq in wanted:
            pieces.append(keys.slice(start, batch.rows))
        start += batch.rows
    return pl.concat(pieces)


def write_applied(out: RunFolder, plan: str, left_out: pl.Series) -> None:
    """Write the plan's key file as it is true when some rows did not arrive, so that they are sent again.

    A row that was to be added is not there, one that was to be changed is there as it was.

    :param plan: path of the plan's run folder.
    :param left_out: row keys.
    """
    folder = RunFolder(plan)
    with folder.reading(KEYS) as (keys,), folder.reading(SENT) as (sent,), out.writing() as scratch:
        missing = pl.LazyFrame({"row_key": left_out}, schema={"row_key": pl.String})
        there = pl.scan_parquet(keys, glob=False).join(missing, on="row_key", how="anti")
        as_before = (
            pl.scan_parquet(sent, glob=False)
            .join(missing, on="row_key", how="semi")
            .filter(pl.col("before").is_not_null())
            .select("row_key", row_hash="before")
        )
        pl.concat([there, as_before]).sink_parquet(scratch / KEYS)
        rows: int = pl.scan_parquet(scratch / KEYS, glob=False).select(pl.len()).collect().item()
        out.commit(scratch, Manifest(kind="applied", rows=rows))
