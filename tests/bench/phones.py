"""Measure the phone rules against `phonenumbers` value by value, and look for differences.

`python tests/bench/phones.py [--rows N] [--rounds N] [--json]`. Compared are a million numbers made like those of
`tests/bench/clean.py`, and one number of each of the 900,000 pairs of area code and exchange.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]


def one_by_one(values: list[str | None]) -> list[int | None]:
    """Ask `phonenumbers` for each value."""
    import phonenumbers

    numbers: list[int | None] = []
    for raw in values:
        try:
            number = phonenumbers.parse(raw or "", "US")
        except phonenumbers.NumberParseException:
            numbers.append(None)
            continue
        valid = phonenumbers.is_valid_number(number)
        numbers.append(
            int(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:])
            if valid
            else None
        )
    return numbers


def measure(rows: int = 1_000_000, rounds: int = 3) -> dict[str, float]:
    """Return `speedup` at `rows` values, and the differences found there and over all exchanges."""
    import polars as pl
    from clean import make_leads

    from include.leads.phones import to_e164

    with tempfile.TemporaryDirectory() as folder:
        make_leads(Path(folder) / "leads", rows)
        values = pl.read_parquet(Path(folder) / "leads" / "part-*.parquet", columns=["phone1"])["phone1"]
    every = pl.Series([f"{area}{exchange:03}2345" for area in range(100, 1000) for exchange in range(1000)])
    seconds: dict[str, list[float]] = {"ours": [], "one_by_one": []}
    for _ in range(rounds):
        start = time.perf_counter()
        ours, _ = to_e164(values, "US")
        seconds["ours"].append(time.perf_counter() - start)
        start = time.perf_counter()
        theirs = one_by_one(values.to_list())
        seconds["one_by_one"].append(time.perf_counter() - start)
    return {
        "rows": rows,
        "rounds": rounds,
        "speedup": round(statistics.median(seconds["one_by_one"]) / statistics.median(seconds["ours"]), 1),
        "differences": pl.Series(theirs).ne_missing(ours).sum(),
        "differences_all_exchanges": pl.Series(one_by_one(every.to_list()))
        .ne_missing(to_e164(every, "US")[0])
        .sum(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.rows, options.rounds)
    print(
        json.dumps(figures)
        if options.json
        else "\n".join(f"{name}: {value}" for name, value in figures.items())
    )
