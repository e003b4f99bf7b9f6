"""What a list holds already of the night that a few fixed leads belong to: those may not repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

STANDING: Final = "standing.parquet"
"""File of a handed-in snapshot: number (Int64) and customer_key of the leads that stand on the list."""

DETAIL: Final = "on the list already"


@dataclass(frozen=True)
class Standing:
    """Numbers and customer keys of leads that stand on the list."""

    numbers: pl.Series = field(repr=False)
    keys: pl.Series = field(repr=False)


def reject_standing(leads: pl.DataFrame, standing: Standing, unique_by: Sequence[str]) -> pl.DataFrame:
    """Reject the leads that are still in, and whose key or `number` stands on the list, where that must not repeat."""
    for by, column, known, reason in (
        ("key", "customer_key", standing.keys, "duplicate_key"),
        ("phone", "number", standing.numbers, "duplicate_phone"),
    ):
        if by in unique_by:
            found = leads[column].is_in(known.drop_nulls().implode()).fill_null(value=False)
            hit = pl.col("reason").is_null() & pl.lit(found)
            leads = leads.with_columns(
                reason=pl.when(hit).then(pl.lit(reason)).otherwise("reason"),
                detail=pl.when(hit).then(pl.lit(DETAIL)).otherwise("detail"),
            )
    return leads
