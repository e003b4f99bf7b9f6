"""Duplicates by customer key and by number: which row stays, which rows go.

What is held in memory of a lead is eight bytes, a number or the hash of a key, to see which values repeat; and of
many leads only one share of the values at a time. Everything else is read again, file by file, for the rows that
share one; that also settles by the real key what the hash only suspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import polars as pl

SHARE_ROWS: Final = 2_000_000  # leads for which values are looked at in one go; more are cut into shares
_AT_ONCE: Final = 8  # files read together: fewer take longer, more take more memory
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
    files: Sequence[Path],
    unique_by: Sequence[Literal["key", "phone"]],
    keep: Literal["newest", "first"],
    *,
    shares: int = 1,
) -> pl.DataFrame:
    """Return the rows that go, as columns of LOST, in order of `row`.

    The Arrow `files` have row (UInt32, place in the night), row_key, customer_key, number (Int64), uploaded_at
    and reason; rows with a reason, and empty keys, do not compete. `newest` keeps the largest uploaded_at, then
    the largest row_key as text; `first` keeps the smallest row. Keys come first: a lead that goes by its key does
    not compete for its number. Values are looked at in so many `shares`, which bounds the memory and decides nothing.
    """
    lost = pl.DataFrame(schema=LOST)
    for by, column, reason in _PASSES:
        if by in unique_by:
            gone = [_losers(_sharing(files, column, lost, (share, shares)), keep) for share in range(shares)]
            told = pl.concat(gone).select("row", pl.lit(reason, LOST["reason"]).alias("reason"), "kept")
            lost = pl.concat([lost, told])
    return lost.sort("row")


def among(lost: pl.DataFrame, first: int, rows: int) -> pl.DataFrame:
    """Return what `find_duplicates` found of so many rows from the row `first` on."""
    begin, end = (int(lost["row"].search_sorted(row)) for row in (first, first + rows))
    return lost.slice(begin, end - begin)


def _sharing(files: Sequence[Path], column: str, lost: pl.DataFrame, share: tuple[int, int]) -> pl.DataFrame:
    """Return row, row_key, uploaded_at and `same` of the rows whose value in `column` repeats.

    Of all values only those of a share are looked at: (which, of how many).
    """
    which, shares = share
    leads = [
        _competing(files[at : at + _AT_ONCE], column, lost).filter(pl.col("value") % shares == which)
        for at in range(0, len(files), _AT_ONCE)
    ]
    values = pl.concat([part.select("value").drop_nulls().collect() for part in leads])["value"].sort()
    repeated = values[1:].filter(values[1:] == values[:-1]).unique().to_frame()
    del values
    sharing = [part.join(repeated.lazy(), on="value", how="semi").collect() for part in leads]
    return pl.concat(sharing).select("row", "row_key", "uploaded_at", same=column)


def _competing(files: Sequence[Path], column: str, lost: pl.DataFrame) -> pl.LazyFrame:
    """Read the rows of some files that are still in, with the column's `value` as a number."""
    value = pl.col(column)
    if column == "customer_key":
        value = pl.when(value != "").then(value.hash())
    leads = (
        pl.scan_ipc(list(files), glob=False)
        .filter(pl.col("reason").is_null())
        .join(lost.lazy(), on="row", how="anti")
    )
    return leads.select("row", "row_key", "uploaded_at", column, value=value)


def _losers(group: pl.DataFrame, keep: Literal["newest", "first"]) -> pl.DataFrame:
    """Return row and kept of all rows but the best of each value."""
    if (
        keep == "newest"
    ):  # the largest time and key of each value, which is a third of the work of sorting by them
        newest = group.group_by("same").agg(pl.col("uploaded_at").max())
        best = group.join(newest, on=["same", "uploaded_at"], how="semi", nulls_equal=True)
        best = best.group_by("same").agg(kept=pl.col("row_key").max())
    else:
        first = group.group_by("same").agg(pl.col("row").min())
        best = group.join(first, on=["same", "row"], how="semi").select("same", kept="row_key")
    return group.join(best, on="same").filter(pl.col("row_key") != pl.col("kept"))
