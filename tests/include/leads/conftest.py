"""Real phone numbers, and lead frames made on the spot."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import polars as pl
import pytest

from include.leads.schema import LEAD_COLUMNS

ROOT = Path(__file__).parents[3]
FTC = ROOT / "include" / "sandbox" / "data"


@pytest.fixture(scope="session")
def ftc_complaints() -> list[str]:
    """The numbers of the FTC's CSV file, as published: 14,034, repeats and dirt included."""
    with gzip.open(FTC / "ftc_dnc_complaints_2021-07-08.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return [row["Company_Phone_Number"] for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def ftc_reported() -> list[str]:
    """The numbers of the FTC's JSON file: 12,506."""
    with gzip.open(FTC / "ftc_dnc_api_2020-02-14.json.gz", "rt", encoding="utf-8") as file:
        return [row["number"] for row in json.load(file)]


@pytest.fixture(scope="session")
def examples() -> list[tuple[int, str, str]]:
    """libphonenumber's own examples: (calling code, region, national number)."""
    with (ROOT / "tests" / "data" / "libphonenumber_examples.csv").open(encoding="utf-8", newline="") as file:
        return [
            (int(row["calling_code"]), row["region"], row["national_number"]) for row in csv.DictReader(file)
        ]


@pytest.fixture
def lead_frame() -> Callable[[Iterable[dict[str, object]]], pl.DataFrame]:
    """Make a lead frame from dicts; row_key counts from 1 unless given."""

    def make(leads: Iterable[dict[str, object]]) -> pl.DataFrame:
        rows = [{"row_key": str(number), **lead} for number, lead in enumerate(leads, 1)]
        columns = {name: [row.get(name) for row in rows] for name in LEAD_COLUMNS}
        return pl.DataFrame(columns, schema=LEAD_COLUMNS)

    return make
