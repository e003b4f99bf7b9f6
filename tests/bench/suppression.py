"""Measure suppression and duplicates at scale: 5 million leads against a list of 10 million numbers.

Our side is what the clean step does for both: the list read through the phone rules, each slice of leads asked for
hits, duplicates by number over all slices, the kept ids written. The other side is the obvious pandas way: the list
in one frame, `isin`, `sort_values`, `drop_duplicates`. It takes the numbers as they are, so it does less. The list is
the same text file for both; the leads are staged Parquet parts for us and a CSV for pandas, as in the bench of the
whole clean step. Both must keep the same ids.

`python tests/bench/suppression.py [--rows N] [--listed N] [--rounds N] [--json]`; ends with 1 when a target is
missed. Every run is a fresh child process, the sides take turns, and the figures are ratios of medians.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from lib.measuring import Figure, Runs, child, median, run_bench

PART_ROWS = 50_000
SLICE_ROWS = 25_000  # as the clean step's own


def make(folder: str, rows: int, listed: int) -> dict[str, float]:
    """Write the leads twice and the list once; one lead in six is on the list, and many repeat."""
    import numpy as np
    import polars as pl

    place, seed = Path(folder), np.random.default_rng(7)
    # Real area codes, so that the phone rules take most numbers on their fast way, as they do with real ones.
    areas = np.array([202, 212, 305, 312, 404, 415, 512, 617, 702, 713, 808, 917])

    def numbers(count: int) -> np.ndarray:
        lines = seed.integers(2_000_000, 10_000_000, count)
        return 10_000_000_000 + areas[seed.integers(0, len(areas), count)] * 10_000_000 + lines

    pool = numbers(listed)
    pl.DataFrame({"phone": pool}).write_csv(place / "listed.csv")
    fresh = numbers(int(rows * 0.7))
    for start in range(0, rows, PART_ROWS):
        count = min(PART_ROWS, rows - start)
        phone = fresh[seed.integers(0, len(fresh), count)]
        on_list = seed.random(count) < 1 / 6
        phone[on_list] = pool[seed.integers(0, len(pool), int(on_list.sum()))]
        uploaded = 1_795_000_000_000_000 + seed.integers(0, 86_400, count) * 1_000_000
        leads = pl.DataFrame(
            {
                "row_key": [f"{id_:08}" for id_ in range(start, start + count)],
                "number": phone,
                "uploaded_at": pl.Series(uploaded).cast(pl.Datetime("us", "UTC")),
            }
        )
        leads.write_parquet(place / f"part-{start // PART_ROWS:05}.parquet")
        with (place / "leads.csv").open("a" if start else "w", encoding="utf-8") as file:
            file.write(leads.write_csv(include_header=not start))
    return {"rows": rows}


def ours(folder: str) -> dict[str, float]:
    """Suppress and find duplicates as the clean step does."""
    import polars as pl

    from include.leads.duplicates import SHARE_ROWS, among, find_duplicates
    from include.leads.rules import SuppressionList
    from include.leads.suppression import read_suppression

    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        listed = read_suppression(SuppressionList(name="dnc", file="listed.csv"), base=Path(folder))
        read = time.perf_counter() - start
        files, rows = [], 0
        for part in sorted(Path(folder).glob("part-*.parquet")):
            whole = pl.read_parquet(part)
            for leads in whole.iter_slices(SLICE_ROWS):
                hit = listed.hits(leads["number"])
                files.append(Path(scratch) / f"{rows:08}.arrow")
                leads.with_columns(
                    customer_key=pl.lit(None, pl.String),
                    reason=pl.when(pl.lit(hit)).then(pl.lit("on_suppression_list")),
                ).with_row_index("row", offset=rows).write_ipc(files[-1])
                rows += leads.height
        shares = 1 + rows // SHARE_ROWS
        lost = find_duplicates(files, ["phone"], "newest", shares=shares)
        kept, mark, first = 0, 0, 0
        for file in files:
            frame = pl.read_ipc(file)
            here = among(lost, first, frame.height)
            first += frame.height
            frame = frame.filter(pl.col("reason").is_null()).join(here, on="row", how="anti")
            frame.select("row_key").write_parquet(Path(scratch) / f"kept-{file.stem}.parquet")
            kept += frame.height
            mark += int(frame["row_key"].cast(pl.Int64).sum())
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "cpu": time.process_time(), "list": read, "kept": kept, "mark": mark}


def obvious(folder: str) -> dict[str, float]:
    """Do the same with whole pandas frames."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        listed = pd.read_csv(Path(folder) / "listed.csv")
        leads = pd.read_csv(Path(folder) / "leads.csv", dtype={"row_key": str})
        usable = leads[~leads["number"].isin(listed["phone"])]
        ordered = usable.sort_values(["uploaded_at", "row_key"], ascending=False)
        kept = ordered.drop_duplicates("number")
        kept[["row_key"]].to_csv(Path(scratch) / "kept.csv", index=False)
        seconds, mark = time.perf_counter() - start, int(kept["row_key"].astype(int).sum())
        return {"seconds": seconds, "cpu": time.process_time(), "kept": len(kept), "mark": mark}


def measure(rows: int, listed: int, rounds: int) -> list[Figure]:
    """Both sides on the same leads and list."""
    runs: Runs = {"ours": [], "obvious": []}
    with tempfile.TemporaryDirectory() as folder:
        child(__file__, "make", folder=folder, rows=rows, listed=listed)
        for _ in range(rounds):
            for side, done in runs.items():
                done.append(child(__file__, side, folder=folder))
    same = {(run["kept"], run["mark"]) for done in runs.values() for run in done}
    if len(same) != 1:
        raise SystemExit(f"the sides keep other ids: {sorted(same)}")
    memory = {side: median(runs, side, "peak_mb") for side in runs}
    seconds = {side: median(runs, side, "seconds") for side in runs}
    return [
        Figure(
            f"time: pandas / ours, {rows:,} leads, {listed:,} listed",
            seconds["obvious"] / seconds["ours"],
            at_least=3,
        ),
        Figure("memory: ours / pandas", memory["ours"] / memory["obvious"], at_most=0.6),
        Figure("memory: ours, MB", memory["ours"]),
        Figure("time: ours, s", seconds["ours"]),
        # Seconds of processors: they tell more where other processes take their share of the machine.
        Figure("processor: pandas / ours", median(runs, "obvious", "cpu") / median(runs, "ours", "cpu")),
        Figure("time: of that the list, s", median(runs, "ours", "list")),
        Figure("leads kept by both", median(runs, "ours", "kept")),
    ]


if __name__ == "__main__":
    sides = {"make": make, "ours": ours, "obvious": obvious}
    sys.exit(
        run_bench("Suppression and duplicates", __doc__, sides, measure, rows=5_000_000, listed=10_000_000)
    )
