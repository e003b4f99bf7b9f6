"""Duplicates by customer key and by number: which row stays, which rows go.

What is held in memory of all leads is eight bytes each, a number or the hash of a key, to see which values repeat.
Everything else is read again, file by file, for the rows that share one; that also settles by the real key what
the hash only suspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import polars as pl

_PASSES: Final = (
    ("key", "customer_key", "duplicate_key"),
    ("phone", "number", "duplicate_phone"),
)
LOST: Final = {
    "row": pl.UInt32(),  # place of the row that goes
    "reason": pl.Enum([reason for _, _, reason in _PASSES]),
    "kept": pl.String(),  # row_key of the row that stays instead
}


def find_duplicates(
    files: Sequence[Path], unique_by: Sequence[Literal["key", "phone"]], keep: Literal["newest", "first"]
) -> pl.DataFrame:
    """Return the rows that go, as columns of LOST.

    The Parquet `files` have row (UInt32, place in the night), row_key, customer_key, number (Int64), uploaded_at
    and reason; rows with a reason, and empty keys, do not compete. `newest` keeps the largest uploaded_at, then
    the largest row_key as text; `first` keeps the smallest row. Keys come first: a lead that goes by its key does
    not compete for its number.
    """
    lost = pl.DataFrame(schema=LOST)
    for by, column, reason in _PASSES:
        if by in unique_by:
            gone = _losers(_sharing(files, column, lost), keep)
            lost = pl.concat(
                [lost, gone.select("row", pl.lit(reason, LOST["reason"]).alias("reason"), "kept")]
            )
    return lost


def _sharing(files: Sequence[Path], column: str, lost: pl.DataFrame) -> pl.DataFrame:
    """Return row, row_key, uploaded_at and `same` of the rows whose value in `column` repeats."""
    values = pl.concat([_competing(file, [column], lost)["value"] for file in files]).sort()
    repeated = values[1:].filter(values[1:] == values[:-1]).unique().to_frame()
    del values
    names = ["row_key", "uploaded_at", column]
    parts = [_competing(file, names, lost).join(repeated, on="value", how="semi") for file in files]
    return pl.concat(parts).select("row", "row_key", "uploaded_at", same=column)


def _competing(file: Path, columns: list[str], lost: pl.DataFrame) -> pl.DataFrame:
    """Read row and columns of the rows that are still in, with the last column's `value` as a number."""
    value = pl.col(columns[-1])
    if columns[-1] == "customer_key":
        value = pl.when(value != "").then(value.hash())
    leads = pl.scan_ipc(file).filter(pl.col("reason").is_null()).select("row", *columns, value=value)
    return leads.drop_nulls("value").join(lost.lazy(), on="row", how="anti").collect()


def _losers(group: pl.DataFrame, keep: Literal["newest", "first"]) -> pl.DataFrame:
    """Return row and kept of all rows but the best of each value."""
    if keep == "newest":
        order = ["same", "uploaded_at", "row_key"]
        group = group.sort(order, descending=[False, True, True], nulls_last=True)
    else:
        group = group.sort("same", "row")
    best = (pl.col("same") != pl.col("same").shift()).fill_null(value=True)
    return group.with_columns(kept=pl.when(best).then("row_key").forward_fill()).filter(~best)
