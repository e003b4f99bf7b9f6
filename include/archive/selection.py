"""Which leads shall be archived: by rules over the dialer's own `vicidial_list`, or from a file of ids.

From the database come lead ids and the name of the rule that picked each, and nothing else: no name, no number.
It is read in windows of the primary key, each one short query, so that a MyISAM table is never locked for long
and memory stays flat.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import polars as pl
import sqlalchemy as sa

from include import settings
from include.leads.retention import IdFile, Keep, RetentionRule, Selection
from include.leads.schema import OUTCOME_COLUMNS
from include.leads.suppression import Suppression, read_suppression
from include.scratch import scratch_folder
from include.staging import PART_ROWS
from include.storage import open_place

WINDOW_ROWS: Final = 20_000
"""Rows of `vicidial_list` that one query looks at."""

LOOK_UP: Final = 1_000
"""Ids or numbers of one look-up."""

NEVER_CALLED: Final = "2008-01-01 00:00:00"
"""What VICIdial's list loader writes as the last call of a lead that was never called."""

MAX_LEAD_ID: Final = 2**32 - 1
FROM_FILE: Final = "ids"
"""Name of the rule that stands for a file of ids."""

SELECTED: Final = {"row_key": pl.String(), "lead_id": pl.Int64(), "rule": pl.String()}

vicidial_list: Final = sa.table(
    "vicidial_list",
    *(
        sa.column(name)
        for name in (
            "lead_id",
            "entry_date",
            "status",
            "list_id",
            "called_count",
            "last_local_call_time",
            "phone_number",
        )
    ),
)
vicidial_list_archive: Final = sa.table("vicidial_list_archive", sa.column("lead_id"))


Value = TypeVar("Value")


class SelectionError(ValueError):
    """The leads cannot be selected; the message says what to do."""


@dataclass
class Selected:
    """What a selection found: rows by rule, those kept back, and how large the table is."""

    rows_in: int = 0
    kept: int = 0
    rules: dict[str, int] = field(default_factory=dict)
    decided: dict[str, dict[str, int]] = field(default_factory=dict)
    table_rows: int | None = None
    keep_lists: list[dict[str, Any]] = field(default_factory=list)
    source_time: datetime | None = None
    """The moment the leads were as described: of the first query, or the file's date."""

    def facts(self) -> dict[str, Any]:
        """As plain JSON, for the run folder's manifest and XCom."""
        return {
            "rows_in": self.rows_in,
            "rules": self.rules,
            "decided": self.decided,
            "table_rows": self.table_rows,
            "keep_lists": self.keep_lists,
        }


class LeadDatabase:
    """The dialer's database, only ever read.

    :param url: SQLAlchemy URL; it holds a password, so it is never shown.
    :param rules: which leads are old.
    :param keep: which are never archived; its keep-lists are not looked at here.
    :param local_now: the present time on the dialer's clock, without a zone: what its columns hold.
    """

    def __init__(self, url: str, rules: Sequence[RetentionRule], keep: Keep, local_now: datetime) -> None:
        with _unreadable():
            self._engine = sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True)
        self._picked = picked_query(rules, keep, local_now) if rules else None

    def close(self) -> None:
        """Let the connections go."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _unreadable(), self._engine.connect() as connection:
            yield connection

    def picked(self, window_rows: int = WINDOW_ROWS) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield, window by window, how many rows were looked at and the picked leads (`lead_id`, `rule`), by id."""
        if self._picked is None:
            return
        last = -1
        while True:
            with self._reading() as connection:
                upper, looked_at = connection.execute(_window(last, window_rows)).one()
                if not looked_at:
                    return
                query = self._picked.where(vicidial_list.c.lead_id > last, vicidial_list.c.lead_id <= upper)
                rows = connection.execute(query.order_by(vicidial_list.c.lead_id)).all()
            yield (
                int(looked_at),
                pl.DataFrame(
                    [tuple(row) for row in rows],
                    schema={"lead_id": pl.Int64(), "rule": pl.String()},
                    orient="row",
                ),
            )
            last = int(upper)

    def fitting(self, lead_ids: Collection[int]) -> set[int]:
        """Those of the leads that the rules still pick."""
        if self._picked is None:
            return self.listed(lead_ids)
        return self._found(lead_ids, self._picked, vicidial_list.c.lead_id)

    def listed(self, lead_ids: Collection[int]) -> set[int]:
        """Those of the leads that stand in `vicidial_list`."""
        ids = vicidial_list.c.lead_id
        return self._found(lead_ids, sa.select(ids), ids)

    def archived(self, lead_ids: Collection[int]) -> set[int]:
        """Those of the leads that stand in `vicidial_list_archive`."""
        ids = vicidial_list_archive.c.lead_id
        return self._found(lead_ids, sa.select(ids), ids)

    def with_numbers(self, numbers: pl.Series) -> set[int]:
        """Ids of the leads whose main number is one of these (E.164 digits as integers)."""
        spellings = set(_spellings(numbers))
        return self._found(spellings, sa.select(vicidial_list.c.lead_id), vicidial_list.c.phone_number)

    def _found(self, values: Collection[Value], query: sa.Select[Any], column: Any) -> set[int]:
        """Ids that a query finds for these values of a column, looked up some at a time."""
        found: set[int] = set()
        some = list(values)
        with self._reading() as connection:
            for start in range(0, len(some), LOOK_UP):
                rows = connection.execute(query.where(column.in_(some[start : start + LOOK_UP])))
                found.update(int(row[0]) for row in rows)
        return found


@contextmanager
def _unreadable() -> Iterator[None]:
    """Turn a database's error into one that is safe to show: its own words may hold the address, the user, or a row."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        raise SelectionError(
            f"The dialer's database cannot be read ({type(error).__name__}). Check the connection, and that its "
            "user may select from vicidial_list and vicidial_list_archive."
        ) from None


def picked_query(rules: Sequence[RetentionRule], keep: Keep, now: datetime) -> sa.Select[Any]:
    """Select `lead_id` and the name of the first rule that fits, of the leads that are picked and not kept.

    :param now: on the dialer's clock, without a zone. Times go in as text, which every database compares alike.
    """
    fits = [(_fits(rule, now), rule.name) for rule in rules]
    rule = sa.case(*((condition, sa.literal(name)) for condition, name in fits))
    query = sa.select(vicidial_list.c.lead_id, rule.label("rule")).where(
        sa.or_(*(condition for condition, _ in fits))
    )
    if keep.statuses:
        query = query.where(sa.func.coalesce(vicidial_list.c.status, "").not_in(keep.statuses))
    if keep.lists:
        query = query.where(sa.func.coalesce(vicidial_list.c.list_id, -1).not_in(keep.lists))
    return query


def _fits(rule: RetentionRule, now: datetime) -> sa.ColumnElement[bool]:
    column = vicidial_list.c
    limit = f"{now - timedelta(days=rule.older_than_days):%Y-%m-%d %H:%M:%S}"
    called = sa.case((column.last_local_call_time > NEVER_CALLED, column.last_local_call_time))
    since = {
        "last_call": called,
        "entry": column.entry_date,
        "last_call_or_entry": sa.func.coalesce(called, column.entry_date),
    }[rule.since]
    conditions: list[sa.ColumnElement[bool]] = [since <= limit]
    if rule.statuses:
        conditions.append(column.status.in_(rule.statuses))
    if rule.lists:
        conditions.append(column.list_id.in_(rule.lists))
    attempts = sa.func.coalesce(column.called_count, 0)
    if rule.min_attempts is not None:
        conditions.append(attempts >= rule.min_attempts)
    if rule.max_attempts is not None:
        conditions.append(attempts <= rule.max_attempts)
    return sa.and_(*conditions)


def _window(last: int, rows: int) -> sa.Select[Any, Any]:
    """Where the next window of the primary key ends, and how many rows are in it."""
    ids = (
        sa.select(vicidial_list.c.lead_id)
        .where(vicidial_list.c.lead_id > last)
        .order_by(vicidial_list.c.lead_id)
        .limit(rows)
        .subquery("ids")
    )
    return sa.select(sa.func.max(ids.c.lead_id), sa.func.count())


def _spellings(numbers: pl.Series) -> Iterator[str]:
    """The ways in which a dialer may hold each number: with country code, without, and with a leading zero."""
    from phonenumbers import NumberParseException, parse

    for number in numbers:
        yield str(number)
        try:
            national = str(parse(f"+{number}").national_number)
        except NumberParseException:
            continue
        yield from (national, f"0{national}")


def select_leads(
    selection: Selection, keep: Keep, out: Path, *, now: datetime, database: LeadDatabase | None
) -> Selected:
    """Select the leads and write them into `out`: `kept-*.parquet` (row_key, lead_id, rule), `outcomes-*.parquet`.

    :param database: needed for rules, and for a keep-list of numbers.

    Raises SelectionError, and SuppressionError for a keep-list of numbers that cannot be used.
    """
    found = Selected(source_time=now)
    kept_ids = _keep_list(keep, found, database, now)
    writer = _Writer(out, found, kept_ids)
    if selection.ids is not None:
        found.rules = {FROM_FILE: 0}
        _read_ids(selection.ids, found, writer, now)
    elif database is None:
        raise SelectionError("Rules need the dialer's database; name its connection under select.database.")
    else:
        found.rules = {rule.name: 0 for rule in selection.rules}
        found.table_rows = 0
        for looked_at, frame in database.picked():
            found.table_rows += looked_at
            writer.add(frame)
    writer.close()
    return found


def _keep_list(keep: Keep, found: Selected, database: LeadDatabase | None, now: datetime) -> pl.Series:
    """Ids of the leads on the keep-lists; notes age and size of each list."""
    ids: set[int] = set()
    if keep.leads is not None:
        frame, changed = read_id_file(keep.leads)
        ids.update(frame["lead_id"].drop_nulls())
        found.keep_lists.append(_about_file("lead ids", keep.leads, frame.height, changed, now))
    if keep.phones is not None:
        if database is None:
            raise SelectionError("A keep-list of phone numbers needs the dialer's database; give lead ids.")
        listed: Suppression = read_suppression(
            keep.phones, region=keep.region, base=settings.PROJECT_ROOT, now=now
        )
        ids.update(database.with_numbers(listed.numbers))
        about = listed.about()
        found.keep_lists.append(
            {name: about[name] for name in ("name", "rows", "age_days", "max_age_days", "sha256")}
        )
    return pl.Series("lead_id", sorted(ids), dtype=pl.Int64)


def _about_file(name: str, file: IdFile, rows: int, changed: datetime, now: datetime) -> dict[str, Any]:
    age = max(0.0, (now - changed).total_seconds() / 86_400)
    return {"name": name, "rows": rows, "age_days": round(age, 2), "max_age_days": file.max_age_days}


class _Writer:
    """Writes picked leads in parts: those to archive, and those that the keep-list holds back."""

    def __init__(self, out: Path, found: Selected, keep: pl.Series) -> None:
        self._out, self._found, self._keep = out, found, keep
        self._waiting: list[pl.DataFrame] = []
        self._parts = 0
        self._outcomes = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Take more picked leads (`lead_id`, `rule`)."""
        self._found.rows_in += frame.height
        for rule, rows in frame["rule"].value_counts().iter_rows():
            self._found.rules[rule] = self._found.rules.get(rule, 0) + rows
        listed = frame["lead_id"].is_in(self._keep.implode())
        self.decide(frame.filter(listed)["lead_id"].cast(pl.String), "held", "on_keep_list")
        self._waiting.append(frame.filter(~listed))
        if sum(part.height for part in self._waiting) >= PART_ROWS:
            self._flush()

    def decide(self, row_keys: pl.Series, state: str, reason: str) -> None:
        """Write down rows that are not archived, and why."""
        if row_keys.is_empty():
            return
        counts = Counter(self._found.decided.setdefault(state, {}))
        counts[reason] += len(row_keys)
        self._found.decided[state] = dict(counts)
        pl.DataFrame({"row_key": row_keys}).select(
            "row_key",
            pl.lit(state).alias("state"),
            pl.lit(reason).alias("reason"),
            pl.lit(None, pl.String).alias("detail"),
            pl.lit(None, pl.Int64).alias("batch"),
        ).cast(OUTCOME_COLUMNS).write_parquet(self._out / f"outcomes-{self._outcomes:05d}.parquet")  # type: ignore[arg-type]
        self._outcomes += 1

    def close(self) -> None:
        """Write what waits; there is always one part."""
        self._flush(force=not self._parts)

    def _flush(self, *, force: bool = False) -> None:
        frame = pl.concat([pl.DataFrame(schema={"lead_id": pl.Int64, "rule": pl.String}), *self._waiting])
        self._waiting = []
        if frame.is_empty() and not force:
            return
        frame.select(pl.col("lead_id").cast(pl.String).alias("row_key"), "lead_id", "rule").write_parquet(
            self._out / f"kept-{self._parts:05d}.parquet", compression="zstd"
        )
        self._found.kept += frame.height
        self._parts += 1


def _read_ids(file: IdFile, found: Selected, writer: _Writer, now: datetime) -> None:
    frame, changed = read_id_file(file)
    found.source_time = min(changed, now)
    unreadable = frame.filter(pl.col("lead_id").is_null())
    good = frame.filter(pl.col("lead_id").is_not_null())
    first = good["lead_id"].is_first_distinct()
    writer.decide("row " + unreadable["row"].cast(pl.String), "rejected", "source_unreadable")
    writer.decide(good.filter(~first)["lead_id"].cast(pl.String), "rejected", "source_repeated")
    found.rows_in += unreadable.height + int((~first).sum())
    writer.add(good.filter(first).select("lead_id", pl.lit(FROM_FILE).alias("rule")))


def read_id_file(file: IdFile) -> tuple[pl.DataFrame, datetime]:
    """Read a file of ids: `row` (from 1) and `lead_id` (null where it is none), and when the file was changed.

    Raises SelectionError when it is missing, cannot be read, or lacks the column.
    """
    url = file.file if "://" in file.file else str(settings.PROJECT_ROOT / file.file)
    path = open_place(url)
    try:
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        with scratch_folder() as scratch:
            local = scratch / path.name
            with path.open("rb") as source, local.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            scan = (
                pl.scan_parquet(local, glob=False)
                if local.suffix == ".parquet"
                else pl.scan_csv(local, infer_schema=False, encoding="utf8-lossy", glob=False)
            )
            if file.column not in scan.collect_schema().names():
                raise SelectionError(f"{path.name} has no column {file.column}; name it with `column:`.")
            ids = scan.select(pl.col(file.column).cast(pl.String).str.strip_chars()).collect().to_series()
    except FileNotFoundError:
        raise SelectionError(f"There is no file {path.name} at the place the flow file names.") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SelectionError(
            f"{path.name} cannot be read as a table ({type(error).__name__}). Save it again as CSV with a header, or "
            "as Parquet."
        ) from None
    lead_ids = ids.cast(pl.Int64, strict=False)
    usable = (lead_ids >= 1) & (lead_ids <= MAX_LEAD_ID)
    frame = pl.DataFrame({"lead_id": lead_ids}).with_columns(
        pl.when(usable).then(pl.col("lead_id")).alias("lead_id")
    )
    return frame.with_row_index("row", offset=1), changed
