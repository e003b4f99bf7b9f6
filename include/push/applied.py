"""What a push left on its list: the keys of the plan without those of the leads that the vendor refused."""

from __future__ import annotations

import polars as pl

from include.outcomes import named_rows
from include.plan import KEYS
from include.staging import Manifest, RunFolder


def write_applied(out: RunFolder, plan: str, notes: RunFolder) -> None:
    """Write the key file that the next plan is set against, so that a refused lead is sent again once it is mended.

    :param plan: path of the plan's run folder.
    :param notes: where the push wrote down which rows were refused.
    """
    refused = [key for rows in named_rows(notes).values() for key in rows]
    with RunFolder(plan).reading(KEYS) as files, out.writing() as scratch:
        keys = pl.scan_parquet(files[0], glob=False).filter(~pl.col("row_key").is_in(refused))
        keys.sink_parquet(scratch / KEYS)
        rows: int = pl.scan_parquet(scratch / KEYS, glob=False).select(pl.len()).collect().item()
        out.commit(scratch, Manifest(kind="applied", rows=rows))
