"""The payload of a plan cut into batches: which rows go out with which, and the row keys behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import orjson
import polars as pl

from include.canary import Canary, sizes
from include.ledger import BatchPlan

Row = tuple[str, ...]


class Payload:
    """
    The rows that a plan sends.

    :param payload: the plan's `payload.csv`; :param sent: its `sent.parquet`, the row keys in the same order.
    """

    def __init__(self, payload: Path, sent: Path) -> None:
        self._cells = pl.read_csv(payload, infer_schema=False).fill_null("")
        self._keys = pl.read_parquet(sent, columns=["row_key"], glob=False)["row_key"]
        self._starts: list[int] = []
        if self._cells.height != len(self._keys):
            raise ValueError("The payload and its row keys differ in length. Run the plan step again.")

    @property
    def header(self) -> list[str]:
        """The names of the columns."""
        return self._cells.columns

    def cut(self, batch_size: int, *, preflight: bool, canary: Canary | None = None) -> list[BatchPlan]:
        """Plan the batches; a preflight is a first batch of one row, unless a canary goes first anyway."""
        trial = Canary(rows=1) if preflight else None  # type: ignore[call-arg]
        plans, start = [], 0
        for seq, rows in enumerate(sizes(len(self._keys), batch_size, canary or trial), 1):
            plans.append(BatchPlan(seq, rows, self.fingerprint(self._slice(start, rows))))
            start += rows
        return plans

    def lay_out(self, sizes: Sequence[int]) -> None:
        """Take over the batches as they were planned: rows of each, in order."""
        self._sizes = list(sizes)
        self._starts = [0, *accumulate(self._sizes)]

    def rows(self, seq: int) -> list[Row]:
        """The rows of a batch."""
        return self._slice(self._starts[seq - 1], self._sizes[seq - 1])

    def keys(self, seq: int) -> list[str]:
        """The row keys of a batch, in the order of its rows."""
        return self._keys.slice(self._starts[seq - 1], self._sizes[seq - 1]).to_list()

    @staticmethod
    def fingerprint(rows: Sequence[Row]) -> str:
        """A hash over rows."""
        return hashlib.sha256(orjson.dumps(rows)).hexdigest()

    def _slice(self, start: int, length: int) -> list[Row]:
        return self._cells.slice(start, length).rows()
