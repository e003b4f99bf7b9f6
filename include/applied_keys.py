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
    """Write the plan's key file without the rows that are not on the list, so that they are sent again.

    :param plan: path of the plan's run folder.
    :param left_out: row keys.
    """
    with RunFolder(plan).reading(KEYS) as files, out.writing() as scratch:
        missing = pl.LazyFrame({"row_key": left_out}, schema={"row_key": pl.String})
        keys = pl.scan_parquet(files[0], glob=False).join(missing, on="row_key", how="anti")
        keys.sink_parquet(scratch / KEYS)
        rows: int = pl.scan_parquet(scratch / KEYS, glob=False).select(pl.len()).collect().item()
        out.commit(scratch, Manifest(kind="applied", rows=rows))
