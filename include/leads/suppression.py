"""Suppression lists: numbers that must not be called, from files, tables and queries.

A list is read in batches, through the same phone rules as the leads, into sorted Int64 numbers. It fails
closed: a list that is missing, empty or has no readable number is an error, and what cannot be read in it is
counted. How old a list may be is reported, not judged: guards do that.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final

import polars as pl

from include.leads.phones import to_e164
from include.leads.rules import SuppressionList

_BATCH: Final = 50_000
_DELIMITERS: Final = ",;\t|"
_PHONE_HEADER: Final = re.compile(
    r"phone|mobile|telefon|msisdn|^(?:number|number\s?[123]|tel|cell|ani|dnc number|do not call)$",
    re.IGNORECASE,
)


class SuppressionError(ValueError):
    """A suppression list cannot be used as it is; the message says what to do."""


@dataclass(frozen=True)
class Suppression:
    """One list, read: its numbers and what is known of it."""

    name: str
    numbers: pl.Series = field(repr=False)  # Int64, sorted, each once
    rows: int  # entries read, blank ones included
    unreadable: dict[str, int]  # entries that are no number, by reason
    as_of: datetime | None  # UTC; None where nobody says
    age_days: int | None  # whole days before now
    max_age_days: int | None
    sha256: str  # of the file, or of the numbers read from a table

    @property
    def too_old(self) -> bool:
        """Whether the list is older than its limit, or of unknown age where there is one."""
        return self.max_age_days is not None and (self.age_days is None or self.age_days > self.max_age_days)

    def about(self) -> dict[str, Any]:
        """Return what a report and the evidence say of the list, as plain JSON values."""
        return {
            "name": self.name,
            "rows": self.rows,
            "numbers": len(self.numbers),
            "unreadable": self.unreadable,
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
            "age_days": self.age_days,
            "max_age_days": self.max_age_days,
            "too_old": self.too_old,
            "sha256": self.sha256,
        }

    def hits(self, numbers: pl.Series) -> pl.Series:
        """Return for each Int64 number whether it is on the list; null is not."""
        place = self.numbers.search_sorted(numbers.fill_null(-1)).clip(0, len(self.numbers) - 1)
        return self.numbers.gather(place).eq(numbers).fill_null(value=False)


def read_suppression(
    settings: SuppressionList, *, region: str = "US", base: Path | None = None, now: datetime | None = None
) -> Suppression:
    """Read one list. `base` is the folder that a relative file is taken from; `now` (UTC) is what its age
    counts from.

    Raises SuppressionError if it is missing, empty, unreadable, or names no usable column.
    """
    if settings.file is None:
        batches, digest, as_of = _table_batches(settings), hashlib.sha256(), _table_date(settings)
    else:
        path = (base or Path()) / settings.file
        if not path.is_file():
            raise SuppressionError(f"suppression list {settings.name}: there is no file {path}")
        batches = _file_batches(settings, path)
        as_of = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    if settings.as_of is not None:
        as_of = datetime.combine(settings.as_of, time(), UTC)

    rows, unreadable, parts = 0, Counter[str](), []
    for batch in batches:
        number, reason = to_e164(batch, region)
        rows += len(batch)
        unreadable.update(reason.drop_nulls().to_list())
        parts.append(number.drop_nulls())
    numbers = pl.concat(parts).unique().sort() if parts else pl.Series([], dtype=pl.Int64)
    if numbers.is_empty():
        raise SuppressionError(
            f"suppression list {settings.name}: no readable number in {rows} rows. An empty list would let "
            "everybody through: check the source and the column, or take the list out of the flow file."
        )
    if settings.file is None:
        digest.update(numbers.to_numpy().tobytes())
    now = now or datetime.now(UTC)
    return Suppression(
        name=settings.name,
        numbers=numbers,
        rows=rows,
        unreadable=dict(sorted(unreadable.items())),
        as_of=as_of,
        age_days=None if as_of is None else (now - as_of).days,
        max_age_days=settings.max_age_days,
        sha256=digest.hexdigest(),
    )


def _file_batches(settings: SuppressionList, path: Path) -> Iterator[pl.Series]:
    kind = path.suffix.lower()
    readers = {
        ".csv": _csv_batches,
        ".txt": _text_batches,
        ".xlsx": _xlsx_batches,
        ".parquet": _parquet_batches,
    }
    if kind not in readers:
        raise SuppressionError(
            f"suppression list {settings.name}: {path.name} is not .csv, .txt, .xlsx or .parquet; "
            "save it as one of these"
        )
    return readers[kind](settings, path)


def _text_batches(_: SuppressionList, path: Path) -> Iterator[pl.Series]:
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        yield from _chunks(line.rstrip("\n") for line in lines)


def _csv_batches(settings: SuppressionList, path: Path) -> Iterator[pl.Series]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = file.readline()
        delimiter = max(_DELIMITERS, key=first.count)
        header = next(csv.reader([first], delimiter=delimiter), [])
        index = _column(settings, path, header)
        if index is None:
            yield pl.Series([first.strip()])
            index = 0
        reader = csv.reader(file, delimiter=delimiter)
        yield from _chunks(row[index] if index < len(row) else "" for row in reader if row)


def _xlsx_batches(settings: SuppressionList, path: Path) -> Iterator[pl.Series]:
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        rows = book.worksheets[0].iter_rows(values_only=True)
        header = [_cell(value) for value in next(rows, ())]
        index = _column(settings, path, header)
        if index is None:
            yield pl.Series(header)
            index = 0
        yield from _chunks(_cell(row[index]) if index < len(row) else "" for row in rows)
    finally:
        book.close()


def _parquet_batches(settings: SuppressionList, path: Path) -> Iterator[pl.Series]:
    scan = pl.scan_parquet(path)
    header = scan.collect_schema().names()
    index = _column(settings, path, header)
    if index is None:
        raise _no_column(settings, path, header)
    for frame in scan.select(pl.col(header[index]).cast(pl.String)).collect_batches(chunk_size=_BATCH):
        yield frame.to_series().fill_null("")


def _table_batches(settings: SuppressionList) -> Iterator[pl.Series]:
    import sqlalchemy as sa

    source = _table(settings)
    engine = _engine(settings)
    try:
        with engine.connect().execution_options(yield_per=_BATCH) as connection:
            rows = connection.execute(sa.select(source.c[settings.column or ""]))
            yield from _chunks(_cell(value) for (value,) in rows)
    finally:
        engine.dispose()


def _table_date(settings: SuppressionList) -> datetime | None:
    import sqlalchemy as sa

    if settings.as_of_column is None:
        return None
    engine = _engine(settings)
    try:
        with engine.connect() as connection:
            newest = connection.scalar(sa.select(sa.func.max(_table(settings).c[settings.as_of_column])))
    finally:
        engine.dispose()
    if isinstance(newest, str):  # SQLite has no time type
        newest = datetime.fromisoformat(newest)
    if isinstance(newest, datetime):
        return newest if newest.tzinfo else newest.replace(tzinfo=UTC)
    if isinstance(newest, date):
        return datetime.combine(newest, time(), UTC)
    return None


def _engine(settings: SuppressionList) -> Any:
    import sqlalchemy as sa

    url = os.environ.get(settings.url_env or "")
    if not url:
        raise SuppressionError(
            f"suppression list {settings.name}: environment variable {settings.url_env} is not set; "
            "it must hold the SQLAlchemy URL of the database"
        )
    return sa.create_engine(url)


def _table(settings: SuppressionList) -> Any:
    """Return the table or query as something to select from."""
    import sqlalchemy as sa

    names = (settings.column, settings.as_of_column)
    columns: list[Any] = [sa.column(name) for name in names if name is not None]
    if settings.query is not None:
        return sa.text(settings.query).columns(*columns).subquery("suppression")
    schema, _, name = (settings.table or "").rpartition(".")
    return sa.table(name, *columns, schema=schema or None)


def _column(settings: SuppressionList, path: Path, header: Sequence[str]) -> int | None:
    """Return which column holds the numbers; None if the file is one column of numbers without a header."""
    names = [name.strip() for name in header]
    if settings.column is not None:
        if names.count(settings.column) != 1:
            raise _no_column(settings, path, names)
        return names.index(settings.column)
    phones = [
        index for index, name in enumerate(names) if _PHONE_HEADER.search(name.replace("_", " ").strip())
    ]
    if len(phones) == 1:
        return phones[0]
    if len(names) == 1 and not phones:
        return None
    raise _no_column(settings, path, names)


def _no_column(settings: SuppressionList, path: Path, header: Sequence[str]) -> SuppressionError:
    return SuppressionError(
        f"suppression list {settings.name}: {path.name} has {len(header)} columns and it is not clear "
        "which one holds the numbers; name it exactly with `column:`"
    )


def _cell(value: object) -> str:
    """Return a cell as text; spreadsheets and databases may hold numbers as numbers."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _chunks(values: Iterator[str]) -> Iterator[pl.Series]:
    from itertools import islice

    while batch := list(islice(values, _BATCH)):
        yield pl.Series(batch, dtype=pl.String)
