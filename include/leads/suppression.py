"""Suppression lists: numbers that must not be called, from files (here or in object storage), tables and queries.

A list is read in batches, through the same phone rules as the leads, into sorted Int64 numbers. It fails
closed: a list that is missing, empty or has no readable number is an error, and what cannot be read in it is
counted. How old a list may be is reported, not judged: guards do that.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from upath import UPath

from include.leads.phones import to_e164
from include.leads.rules import SuppressionList
from include.scratch import scratch_folder
from include.storage import open_place

_Read = tuple[pl.Series, int, Counter[str], datetime | None, str]  # numbers, rows, unreadable, as_of, sha256
_BATCH: Final = 50_000
_DELIMITERS: Final = ",;\t|"
_PHONE_HEADER: Final = re.compile(
    r"phone|mobile|telefon|msisdn|^(?:number|number\s?[123]|tel|cell|ani|dnc number|do not call)$",
    re.IGNORECASE,
)


class SuppressionError(ValueError):
    """
    A suppression list cannot be used as it is; the message says what to do.

    :param again: whether it may be good in a moment, so that a task tries again by itself.
    """

    def __init__(self, text: str, *, again: bool = False) -> None:
        super().__init__(text)
        self.again = again


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
        if numbers.null_count() == len(numbers):  # often so for phone2 and phone3
            return pl.repeat(value=False, n=len(numbers), eager=True)
        return on_list(self.numbers, numbers)


def on_list(listed: pl.Series, numbers: pl.Series) -> pl.Series:
    """Return for each Int64 number whether it is among the `listed` ones (at least one, sorted); null is not."""
    known, asked = listed.to_numpy(), numbers.fill_null(-1).to_numpy()
    order = asked.argsort()  # in order, the search walks through the list instead of jumping about in it
    asked = asked[order]
    found = np.empty(len(asked), dtype=bool)
    found[order] = known.take(known.searchsorted(asked), mode="clip") == asked
    return pl.Series(found)


def read_suppression(
    settings: SuppressionList, *, region: str = "US", base: Path | None = None, now: datetime | None = None
) -> Suppression:
    """Read one list. `base` is the folder that a relative file is taken from; `now` (UTC) is what its age
    counts from.

    Raises SuppressionError if it is missing, empty, dated in the future, changed meanwhile or cannot be read.
    """
    now = now or datetime.now(UTC)
    if settings.file is None:
        source = _read_table(settings, region)
    elif "://" in settings.file:
        source = _read_stored(settings, settings.file, region)
    else:
        source = _read_file(settings, (base or Path()) / settings.file, region)
    numbers, rows, unreadable, as_of, sha256 = source
    if numbers.is_empty():
        raise SuppressionError(
            f"suppression list {settings.name}: no readable number in {rows} rows. An empty list would let "
            "everybody through: check the source and the column, or take the list out of the flow file."
        )
    if settings.as_of is not None:
        as_of = datetime.combine(settings.as_of, time(), UTC)
    if as_of is not None and as_of - now > timedelta(days=1):
        raise SuppressionError(
            f"suppression list {settings.name}: its date {as_of.date()} lies in the future; "
            "correct as_of, or the clock"
        )
    return Suppression(
        name=settings.name,
        numbers=numbers,
        rows=rows,
        unreadable=dict(sorted(unreadable.items())),
        as_of=as_of,
        age_days=None if as_of is None else max(0, (now - as_of).days),
        max_age_days=settings.max_age_days,
        sha256=sha256,
    )


def _gather(batches: Iterable[pl.Series], region: str) -> tuple[pl.Series, int, Counter[str]]:
    """Return the numbers in text batches, sorted and each once, the rows read, and what was no number."""
    rows, unreadable, parts = 0, Counter[str](), [pl.Series([], dtype=pl.Int64)]
    for batch in batches:
        number, reason = to_e164(batch, region)
        rows += len(batch)
        unreadable.update(reason.drop_nulls().to_list())
        parts.append(number.drop_nulls())
    numbers = pl.concat(parts).to_numpy(writable=True)
    parts.clear()
    numbers.sort()  # in place: a set of ten million numbers would take several times their memory
    once = np.ones(len(numbers), dtype=bool)
    np.not_equal(numbers[1:], numbers[:-1], out=once[1:])
    return pl.Series("numbers", numbers[once]), rows, unreadable


def _read_stored(settings: SuppressionList, url: str, region: str) -> _Read:
    """Read a list from object storage: a copy of it is read, its age is that of the object."""
    with scratch_folder() as scratch:
        try:
            local, changed = fetch(url, scratch)
        except SuppressionError as error:
            raise SuppressionError(f"suppression list {settings.name}: {error}") from None
        numbers, rows, unreadable, _, sha256 = _read_file(settings, local, region)
    return numbers, rows, unreadable, changed, sha256


def fetch(url: str, folder: Path) -> tuple[Path, datetime | None]:
    """Copy an object into a folder; return the copy, and when the object was changed, None where its storage does not
    tell.

    Raises SuppressionError if it is missing, cannot be fetched, or changes meanwhile.
    """
    name = url.rpartition("/")[2]
    local = folder / name
    try:
        place = open_place(url)
        before = _state(place)
        with place.open("rb") as source, local.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        after = _state(place)
    except FileNotFoundError:
        raise SuppressionError(f"there is no {name} at the place the flow file names", again=True) from None
    except Exception as error:  # each storage has its own; their words may hold an address or a key
        raise SuppressionError(
            f"{name} cannot be fetched ({type(error).__name__}); check the address, and the credentials of the worker",
            again=True,
        ) from None
    if before != after or local.stat().st_size != after[0]:
        raise SuppressionError(f"{name} changed while it was read; run again", again=True)
    return local, after[1]


def _state(place: UPath) -> tuple[int, datetime | None]:
    """Size and last change of an object, as the storage has it now."""
    files = place.fs
    size = int(files.info(place.path)["size"])
    try:
        changed = files.modified(place.path)
    except NotImplementedError:
        return size, None
    return size, changed.astimezone(UTC) if changed.tzinfo else changed.replace(tzinfo=UTC)


def _read_file(settings: SuppressionList, path: Path, region: str) -> _Read:
    readers = {
        ".csv": _csv_batches,
        ".txt": _text_batches,
        ".xlsx": _xlsx_batches,
        ".parquet": _parquet_batches,
    }
    batches = readers.get(path.suffix.lower())
    if batches is None:
        raise SuppressionError(
            f"suppression list {settings.name}: {path.name} is not .csv, .txt, .xlsx or .parquet; "
            "save it as one of these"
        )
    if not path.is_file():
        raise SuppressionError(f"suppression list {settings.name}: there is no file {path}", again=True)
    before = path.stat()
    if not before.st_size:
        raise SuppressionError(f"suppression list {settings.name}: {path.name} is empty", again=True)
    try:
        numbers, rows, unreadable = _gather(batches(settings, path), region)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, pl.exceptions.PolarsError, zipfile.BadZipFile, KeyError) as error:
        # The error's own words may quote the list.
        raise SuppressionError(
            f"suppression list {settings.name}: {path.name} cannot be read ({type(error).__name__}); "
            "open it and save it again"
        ) from None
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise SuppressionError(
            f"suppression list {settings.name}: {path.name} changed while it was read; run again", again=True
        )
    return numbers, rows, unreadable, datetime.fromtimestamp(after.st_mtime, UTC), sha256


def _text_batches(_: SuppressionList, path: Path) -> Iterator[pl.Series]:
    return _batches(pl.scan_lines(path, name="line", glob=False))


def _csv_batches(settings: SuppressionList, path: Path) -> Iterator[pl.Series]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = file.readline()
    delimiter = max(_DELIMITERS, key=first.count)
    index = _column(settings, path, next(csv.reader([first], delimiter=delimiter), []))
    scan = pl.scan_csv(
        path,
        separator=delimiter,
        has_header=index is not None,
        infer_schema=False,
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
        raise_if_empty=False,
        glob=False,
    )
    return _batches(scan.select(pl.nth(index or 0)))


def _parquet_batches(settings: SuppressionList, path: Path) -> Iterator[pl.Series]:
    scan = pl.scan_parquet(path, glob=False)
    names = scan.collect_schema().names()
    index = _column(settings, path, names)
    if index is None:
        raise _no_column(settings, path, names)
    return _batches(scan.select(pl.col(names[index]).cast(pl.String)))


def _batches(scan: pl.LazyFrame) -> Iterator[pl.Series]:
    for frame in scan.collect_batches(chunk_size=_BATCH):
        yield frame.to_series()


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


def _read_table(settings: SuppressionList, region: str) -> _Read:
    import sqlalchemy as sa

    url = os.environ.get(settings.url_env or "")
    if not url:
        raise SuppressionError(
            f"suppression list {settings.name}: environment variable {settings.url_env} is not set; "
            "it must hold the SQLAlchemy URL of the database"
        )
    source = _table(settings)
    as_of = None
    try:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            if settings.as_of_column is not None:
                as_of = _utc(
                    settings, connection.scalar(sa.select(sa.func.max(source.c[settings.as_of_column])))
                )
            rows = connection.execution_options(yield_per=_BATCH).execute(
                sa.select(source.c[settings.column or ""])
            )
            numbers, count, unreadable = _gather(_chunks(_cell(value) for (value,) in rows), region)
        engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        # The error's own words may hold the address, the user, or a row.
        raise SuppressionError(
            f"suppression list {settings.name}: the table cannot be read ({type(error).__name__}); "
            f"check the URL in {settings.url_env}, the table or query, and the columns",
            again=True,
        ) from None
    return numbers, count, unreadable, as_of, hashlib.sha256(numbers.to_numpy().tobytes()).hexdigest()


def _table(settings: SuppressionList) -> Any:
    """Return the table or query as something to select from."""
    import sqlalchemy as sa

    names = (settings.column, settings.as_of_column)
    columns: list[Any] = [sa.column(name) for name in names if name is not None]
    if settings.query is not None:
        return sa.text(settings.query).columns(*columns).subquery("suppression")
    schema, _, name = (settings.table or "").rpartition(".")
    return sa.table(name, *columns, schema=schema or None)


def _utc(settings: SuppressionList, value: object) -> datetime | None:
    """Return a database's date or time in UTC; SQLite gives text."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise SuppressionError(
                f"suppression list {settings.name}: {settings.as_of_column} does not hold ISO dates"
            ) from None
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    return None


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
    # The names stay unsaid: in a file without a header they are somebody's row.
    if settings.column is not None:
        found = "two columns are" if settings.column in header else "no column is"
        why = f"{found} named {settings.column}, as `column:` says; write a name as in the first row"
    else:
        why = "it is not clear which one holds the numbers; name it exactly with `column:`"
    return SuppressionError(
        f"suppression list {settings.name}: {path.name} has {len(header)} columns and {why}"
    )


def _cell(value: object) -> str:
    """Return a cell as text; spreadsheets and databases may hold numbers as numbers."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _chunks(values: Iterator[str]) -> Iterator[pl.Series]:
    while batch := list(islice(values, _BATCH)):
        yield pl.Series(batch, dtype=pl.String)
