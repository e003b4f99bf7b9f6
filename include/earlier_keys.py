"""What was applied last, as a plan looks at it: which rows come again as they were, changed, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

PIECE_ROWS: Final = 100_000


class EarlierKeys:
    """The keys applied last, by a hash of each: which of them come again, and which do not.

    Hashes of keys are polars' own, good for this process only; 64 bits, so that in ten million keys two equal ones
    are a matter of one in half a million.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        rows = 0 if path is None else pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        keys, hashes, filled = np.empty(rows, np.uint64), np.empty(rows, np.int64), 0
        for frame in self._pieces():
            here = slice(filled, filled + frame.height)
            keys[here], hashes[here] = frame["row_key"].hash().to_numpy(), frame["row_hash"].to_numpy()
            filled = here.stop
        order = keys.argsort()
        self._keys, self._hashes = keys[order], hashes[order]
        self._came = np.zeros(len(self._keys), dtype=bool)

    def take(self, row_keys: pl.Series) -> pl.Series:
        """The row hash that each key had, null for a new one. The keys count as having come again."""
        place, known = self._find(row_keys)
        self._came[place[known]] = True
        before = pl.Series(self._hashes.take(place, mode="clip") if len(self._keys) else place)
        return before.to_frame("h").select(pl.when(pl.Series(known)).then("h"))["h"]

    def left(self) -> Iterator[pl.DataFrame]:
        """Keys and hashes that did not come again, piece by piece."""
        for frame in self._pieces():
            place, known = self._find(frame["row_key"])
            yield frame.filter(pl.Series(~(known & self._came.take(place, mode="clip"))))

    @property
    def gone(self) -> int:
        """How many keys did not come again."""
        return int(np.count_nonzero(~self._came))

    def _pieces(self) -> Iterator[pl.DataFrame]:
        if self._path is not None:
            yield from pl.scan_parquet(self._path, glob=False).collect_batches(chunk_size=PIECE_ROWS)

    def _find(self, row_keys: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """The place of each key, and whether it is really there."""
        asked = row_keys.hash().to_numpy()
        place = self._keys.searchsorted(asked)
        if not len(self._keys):
            return place, np.zeros(len(asked), dtype=bool)
        return place, self._keys.take(place, mode="clip") == asked
