"""The rows of a push, chunk by chunk: what is sent, under which customer key, for which row of ours, and how."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl

from include.canary import Canary, sizes
from include.ledger import BatchPlan
from include.scratch import scratch_folder
from include.vendors.platform import WRITE_FIELDS, body_of_cells

KEY = "customerKey"
"""The column by which a lead is found again; every lead of a push has one, and each another."""

ROW_KEY = "row_key"


@dataclass(frozen=True)
class Chunk:
    """The rows of one batch, in the order in which they are sent."""

    frame: pl.DataFrame

    @property
    def row_keys(self) -> list[str]:
        """Our keys of the rows."""
        return self.frame[ROW_KEY].to_list()

    @property
    def keys(self) -> list[str]:
        """The vendor's keys of the rows."""
        return self.frame[KEY].to_list()

    @property
    def cells(self) -> list[dict[str, str]]:
        """The rows as text, by column."""
        return self.frame.drop(ROW_KEY).to_dicts()

    def bodies(self, places: list[int], list_id: int) -> list[dict[str, Any]]:
        """The leads at these places, as the vendor takes them."""
        cells = self.frame.drop(ROW_KEY)[places]
        return [body_of_cells(row, list_id) for row in cells.iter_rows(named=True)]


class Rows:
    """All rows of a plan, cut into chunks of `size` behind its canary, if any; any is read without the others.

    :param updates: how many rows, the last ones, are on the list and change there; no chunk holds both kinds.
    """

    def __init__(self, file: Path, size: int, canary: Canary | None = None, updates: int = 0) -> None:
        self._scan = pl.scan_parquet(file, glob=False)
        new = self._scan.select(pl.len()).collect().item() - updates
        imports = sizes(new, size, canary)
        changes = sizes(updates, size, None if imports else canary)
        self._imports = len(imports)
        self._starts = list(accumulate([*imports, *changes], initial=0))

    def changes(self, seq: int) -> bool:
        """Whether the rows of batch `seq` change leads that are there."""
        return seq > self._imports

    def chunk(self, seq: int) -> Chunk:
        """The rows of batch `seq`, which counts from 1."""
        start, end = self._starts[seq - 1 : seq + 1]
        return Chunk(self._scan.slice(start, end - start).collect())

    def batch_plans(self) -> Iterator[BatchPlan]:
        """Every batch with a hash over its rows."""
        for seq in range(1, len(self._starts)):
            frame = self.chunk(seq).frame
            yield BatchPlan(seq, frame.height, hashlib.sha256(frame.write_csv().encode()).hexdigest())


def fit_cells(
    cells: pl.DataFrame, *, agents: frozenset[int] | None
) -> tuple[pl.DataFrame, pl.Series, dict[str, int]]:
    """Say of each row why the vendor could not take it (`include.flow_files.Recipe.shape`); no cell is changed.

    :param agents: those whose leads are taken, None for all.
    """
    reason = pl.lit(None, pl.String)
    for name in cells.columns:
        filled = pl.col(name).fill_null("") != ""
        kind = WRITE_FIELDS.get(name)
        if kind is datetime:
            reason = pl.when(filled & ~_is_time(name)).then(pl.lit("time_unreadable")).otherwise(reason)
        elif kind is int:
            whole = pl.col(name).str.contains(r"^[+-]?[0-9]{1,18}$")
            reason = pl.when(filled & ~whole).then(pl.lit("not_a_number")).otherwise(reason)
            if name == "agentId" and agents is not None:
                known = pl.col(name).cast(pl.Int64, strict=False).is_in(list(agents))
                reason = pl.when(filled & whole & ~known).then(pl.lit("agent_not_active")).otherwise(reason)
    return cells, cells.select(reason.alias("reason"))["reason"], {}


def _is_time(name: str) -> pl.Expr:
    """Whether a cell is a time with an offset, in the vendor's three forms."""
    text = pl.col(name).str.replace(r"Z$", "+00:00")
    forms = ("%Y-%m-%dT%H:%M:%S%:z", "%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%z")
    moments = [text.str.to_datetime(form, strict=False, time_zone="UTC", time_unit="us") for form in forms]
    return pl.coalesce(moments).dt.year().is_between(1970, 2999).fill_null(value=False)


@contextmanager
def open_rows(
    payload: Path, sent: Path, size: int, canary: Canary | None = None, updates: int = 0
) -> Iterator[Rows]:
    """Lay the plan's payload (CSV) and its row keys (Parquet) side by side, in pieces of a chunk's size."""
    with scratch_folder() as folder:
        file = folder / "rows.parquet"
        cells = pl.scan_csv(payload, infer_schema=False, glob=False).fill_null("")
        keys = pl.scan_parquet(sent, glob=False).select(ROW_KEY)
        pl.concat([keys, cells], how="horizontal").sink_parquet(file, row_group_size=size)
        yield Rows(file, size, canary, updates)
