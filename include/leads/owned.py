"""One number, one list: leads are held whose number another list of the night owns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from include.leads.suppression import on_list


@dataclass(frozen=True)
class Owned:
    """The numbers that one other list of the night owns: `numbers` is Int64, sorted, not empty."""

    owner: str
    numbers: pl.Series = field(repr=False)


def hold_owned(leads: pl.DataFrame, owned: Sequence[Owned]) -> pl.DataFrame:
    """Give the leads that are still in, and whose `number` one of the lists owns, the reason for that."""
    for entry in owned:
        hit = pl.col("reason").is_null() & pl.lit(on_list(entry.numbers, leads["number"]))
        leads = leads.with_columns(
            reason=pl.when(hit).then(pl.lit("owned_by_another_list")).otherwise("reason"),
            detail=pl.when(hit).then(pl.lit(entry.owner)).otherwise("detail"),
        )
    return leads
