"""Duplicates by customer key and by number: which row stays, which rows go.

Only narrow columns of all leads are held in memory: the row's place in the night, its number, and a hash of
its key. The texts (key, row key) and times are read again for the rows that share one, which also settles by
the real key what the hash only suspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

LOST = {"row": pl.UInt32(), "reason": pl.String(), "kept": pl.String()}
"""A frame of rows that go: the row, why, and the row key of the row that stays."""


def find_duplicates(
    narrow: pl.DataFrame,
    leads: pl.LazyFrame,
    unique_by: Sequence[Literal["key", "phone"]],
    keep: Literal["newest", "first"],
) -> pl.DataFrame:
    """Return the rows that go (columns of LOST).

    `narrow` has columns row (UInt32), key (UInt64 hash, null without a key) and number (Int64) of all leads
    that may be kept; `leads` has row, row_key, customer_key, number and uploaded_at of at least those.
    `newest` keeps the largest uploaded_at, then the largest row_key as text; `first` keeps the smallest row.
    Keys come first: a lead that goes by its key does not compete for its number.
    """
    lost = pl.DataFrame(schema=LOST)
    for by, hashed, column, reason in (
        ("key", "key", "customer_key", "duplicate_key"),
        ("phone", "number", "number", "duplicate_phone"),
    ):
        if by not in unique_by:
            continue
        shared = (
            narrow.lazy().filter(pl.col(hashed).is_not_null() & pl.col(hashed).is_duplicated()).select("row")
        )
        group = (
            leads.join(shared, on="row", how="semi")
            .join(lost.lazy(), on="row", how="anti")
            .select("row", "row_key", "uploaded_at", same=column)
            .collect(engine="streaming")
        )
        if keep == "newest":
            group = group.sort("uploaded_at", "row_key", descending=True, nulls_last=True)
        else:
            group = group.sort("row")
        gone = group.with_columns(
            kept=pl.col("row_key").first().over("same"), best=pl.col("row").first().over("same")
        )
        lost = pl.concat(
            [
                lost,
                gone.filter(pl.col("row") != pl.col("best")).select(
                    "row", pl.lit(reason).alias("reason"), "kept"
                ),
            ]
        )
    return lost
