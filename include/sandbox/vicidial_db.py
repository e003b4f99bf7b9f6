"""Vicidial's two tables, and the steps that the archive API takes between them (contract sections 2 and 5).

The columns are those of VICIdial 2.14. SQLite in memory serves by default; MariaDB and MySQL get MyISAM tables
as in life. There are no transactions on either: each step is committed by itself, so a crash between two
steps leaves what the steps before it did. Calls are served one at a time (VA-12).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from sqlalchemy import (
    DDL,
    Column,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Engine,
    Enum,
    Float,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    and_,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    make_url,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from include.sandbox.faults import Rule

IN_MEMORY: Final = "sqlite://"
LARGEST_ID: Final = 2**32 - 1
ZONE_OFFSET: Final = "+02:00"
"""The zone of the tables' times, Africa/Johannesburg, which has no summer time."""

_METADATA: Final = MetaData()
_MARK: Final = Table("listkeeper_sandbox", _METADATA, Column("made_by", Integer, primary_key=True))
"""Its presence says that the tables beside it are the sandbox's, and may be emptied."""

_BIG: Final = mysql.BIGINT(unsigned=True)
_SECONDS: Final = sqlite.DATETIME(truncate_microseconds=True)  # type: ignore[no-untyped-call]
_TIME: Final = DateTime().with_variant(_SECONDS, "sqlite")
_STAMP: Final = _TIME.with_variant(mysql.TIMESTAMP(), "mysql", "mariadb")
_OFFSET: Final = Float().with_variant(Numeric(4, 2, asdecimal=False), "mysql", "mariadb")
_CALLED: Final = ("Y", "N", *(f"Y{n}" for n in range(1, 11)), "D")


def _table(name: str, *, numbered: bool) -> Table:
    """Describe one of the two tables; only `vicidial_list` numbers its own leads."""
    return Table(
        name,
        _METADATA,
        Column("lead_id", mysql.INTEGER(unsigned=True), primary_key=True, autoincrement=numbered),
        Column("entry_date", _TIME),
        Column("modify_date", _STAMP),
        Column("status", String(6), index=True),
        Column("user", String(20)),
        Column("vendor_lead_code", String(20)),
        Column("source_id", String(50)),
        Column("list_id", _BIG, nullable=False, default=0, index=True),
        Column("gmt_offset_now", _OFFSET, default=0),
        Column("called_since_last_reset", Enum(*_CALLED, name="called_since_last_reset"), default="N"),
        Column("phone_code", String(10)),
        Column("phone_number", String(18), nullable=False, index=True),
        Column("title", String(4)),
        Column("first_name", String(30)),
        Column("middle_initial", String(1)),
        Column("last_name", String(30)),
        Column("address1", String(100)),
        Column("address2", String(100)),
        Column("address3", String(100)),
        Column("city", String(50)),
        Column("state", String(2)),
        Column("province", String(50)),
        Column("postal_code", String(10)),
        Column("country_code", String(3)),
        Column("gender", Enum("M", "F", "U", name="gender"), default="U"),
        Column("date_of_birth", Date),
        Column("alt_phone", String(12)),
        Column("email", String(70)),
        Column("security_phrase", String(100)),
        Column("comments", String(255)),
        Column("called_count", mysql.SMALLINT(unsigned=True), default=0),
        Column("last_local_call_time", _TIME, index=True),
        Column("rank", mysql.SMALLINT(), nullable=False, default=0),
        Column("owner", String(20), default=""),
        Column("entry_list_id", _BIG, nullable=False, default=0),
        mysql_engine="MyISAM",
        mysql_charset="utf8mb4",
    )


LIST: Final = _table("vicidial_list", numbered=True)
ARCHIVE: Final = _table("vicidial_list_archive", numbered=False)
TEXT_WIDTHS: Final[dict[str, int]] = {
    column.name: column.type.length
    for column in LIST.c
    if isinstance(column.type, String) and not isinstance(column.type, Enum) and column.type.length
}
"""How long the text columns are."""

for _name in ("mysql", "mariadb"):  # they move modify_date by themselves, unless a statement sets it
    for _each in (LIST, ARCHIVE):
        _moves = DDL(  # type: ignore[no-untyped-call]
            "ALTER TABLE %(table)s MODIFY modify_date TIMESTAMP NOT NULL "
            "DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"
        )
        event.listen(_each, "after_create", _moves.execute_if(dialect=_name))


class VicidialDatabaseError(Exception):
    """The database cannot serve as Vicidial's; the message says what to do."""


class UnknownLeadsError(Exception):
    """Some ids are not in the table that a call takes leads from; `ids` tells which, in the order asked."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__(f"{len(ids)} unknown leads")
        self.ids = ids


class CrashError(Exception):
    """The server died between two steps, because a fault rule said so."""


@dataclass(frozen=True)
class Steps:
    """What a call asks for; the order is always insert, update, delete."""

    insert: bool
    update: bool
    delete: bool


@dataclass(frozen=True)
class Counts:
    """What a call did (VA-2)."""

    select_count: int
    insert_count: int
    update_count: int
    delete_count: int


Struck = dict[str, Rule]
"""The faults that strike a call's steps, by name."""


class VicidialDatabase:
    """The two tables on a database of our own; its methods may be called from any thread."""

    def __init__(self, url: str = IN_MEMORY) -> None:
        self._lock = threading.Lock()
        try:
            self._engine = _engine(url)
            self._create()
        except (SQLAlchemyError, ImportError) as error:
            raise VicidialDatabaseError(
                f"The database of --vicidial-db cannot be used: {error.__cause__ or error}"
            ) from error

    def _create(self) -> None:
        """Make the tables anew; those of somebody else are left alone."""
        there = inspect(self._engine).get_table_names()
        if _MARK.name not in there and {LIST.name, ARCHIVE.name} & set(there):
            raise VicidialDatabaseError(
                "The database of --vicidial-db holds Vicidial tables that the sandbox did not make. "
                "Name an empty database: the sandbox deletes leads."
            )
        _METADATA.drop_all(self._engine)
        _METADATA.create_all(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def reset(self, leads: Iterable[dict[str, Any]]) -> None:
        """Empty the archive, and let `vicidial_list` hold these leads only."""
        rows = iter(leads)
        with self._lock, self._engine.begin() as db:
            db.execute(delete(ARCHIVE))
            db.execute(delete(LIST))
            while chunk := list(islice(rows, 10_000)):
                db.execute(insert(LIST), chunk)

    def edit(self, lead_id: int, values: dict[str, Any]) -> bool:
        """Change columns of a lead in `vicidial_list`; return whether it is there."""
        with self._lock, self._steps() as db:
            return _edit(db, [lead_id], values) == 1

    def counts(self) -> dict[str, int]:
        """Return how many leads each table holds."""
        with self._lock, self._engine.connect() as db:
            return {
                name: db.scalar(select(func.count()).select_from(table)) or 0
                for name, table in (("list", LIST), ("archive", ARCHIVE))
            }

    def ids(self) -> dict[str, list[int]]:
        """Return the ids in each table."""
        with self._lock, self._engine.connect() as db:
            return {
                name: list(db.scalars(select(table.c.lead_id).order_by(table.c.lead_id)))
                for name, table in (("list", LIST), ("archive", ARCHIVE))
            }

    def archive(
        self,
        ids: list[int],
        steps: Steps,
        widths: dict[str, int],
        strike: Callable[[], Struck],
        now: datetime,
    ) -> Counts:
        """Take leads through the steps to the archive, where text columns may be narrower (`widths`).

        `strike` is asked once, after all ids were found. Raises UnknownLeadsError before anything is done.
        """
        return self._move(LIST, ARCHIVE, ids, steps, widths, strike, now)

    def dearchive(self, ids: list[int], steps: Steps, strike: Callable[[], Struck], now: datetime) -> Counts:
        """Take leads back out of the archive, by the same steps."""
        return self._move(ARCHIVE, LIST, ids, steps, {}, strike, now)

    @contextmanager
    def _steps(self) -> Iterator[Connection]:
        with self._engine.connect() as db:
            yield db.execution_options(isolation_level="AUTOCOMMIT")

    def _move(
        self,
        source: Table,
        target: Table,
        ids: list[int],
        steps: Steps,
        widths: dict[str, int],
        strike: Callable[[], Struck],
        now: datetime,
    ) -> Counts:
        with self._lock, self._steps() as db:
            found = set(db.scalars(select(source.c.lead_id).where(source.c.lead_id.in_(possible(ids)))))
            if unknown := [lead_id for lead_id in ids if lead_id not in found]:
                raise UnknownLeadsError(unknown)
            struck = strike()

            def step(name: str, wanted: bool, work: Callable[[list[int]], int]) -> int:
                """Do one step; `crash_in_...` stops it half way, as a killed MyISAM statement does."""
                dies = f"crash_in_{name}" in struck
                done = work(ids[: len(ids) // 2] if dies else ids) if wanted else 0
                if dies or f"crash_after_{name}" in struck:
                    raise CrashError
                return done

            inserted = step("insert", steps.insert, lambda ids: _insert(db, source, target, ids, widths))
            updated = step("update", steps.update, lambda ids: _update(db, source, target, ids, widths))
            if "agent_edits" in struck:
                _call(db, ids[: struck["agent_edits"].leads], now)
            deleted = step("delete", steps.delete, lambda ids: _delete(db, source, target, ids))
            return Counts(len(ids), inserted, updated, deleted)


def possible(ids: list[int]) -> list[int]:
    """Leave out what no lead_id can be."""
    return [lead_id for lead_id in ids if 0 < lead_id <= LARGEST_ID]


# --- the steps


def _copied(source: Table, widths: dict[str, int]) -> dict[str, ColumnElement[Any]]:
    """Write each column as the archive keeps it."""
    return {
        column.name: func.substr(column, 1, widths[column.name]) if column.name in widths else column
        for column in source.c
    }


def _insert(db: Connection, source: Table, target: Table, ids: list[int], widths: dict[str, int]) -> int:
    """Copy the leads that the target does not hold yet."""
    columns = _copied(source, widths)
    held = select(target.c.lead_id).where(target.c.lead_id == source.c.lead_id).correlate(source).exists()
    new = select(*columns.values()).where(source.c.lead_id.in_(ids), ~held)
    return db.execute(insert(target).from_select(list(columns), new)).rowcount


def _update(db: Connection, source: Table, target: Table, ids: list[int], widths: dict[str, int]) -> int:
    """Overwrite the target's rows that differ. modify_date is set too: otherwise it would move (section 5)."""
    columns = _copied(source, widths)
    del columns["lead_id"]
    differs = or_(*(target.c[name].is_distinct_from(value) for name, value in columns.items()))
    same_lead = target.c.lead_id == source.c.lead_id
    changed = update(target).where(same_lead, source.c.lead_id.in_(ids), differs).values(columns)
    return db.execute(changed).rowcount


def _delete(db: Connection, source: Table, target: Table, ids: list[int]) -> int:
    """Remove the leads whose copy in the target is equal in every column, NULLs included."""
    equal = and_(*(target.c[column.name].is_not_distinct_from(column) for column in source.c))
    safe = select(target.c.lead_id).where(equal).correlate(source).exists()
    return db.execute(delete(source).where(source.c.lead_id.in_(ids), safe)).rowcount


def _edit(db: Connection, ids: list[int], values: dict[str, Any]) -> int:
    return db.execute(update(LIST).where(LIST.c.lead_id.in_(ids)).values(values)).rowcount


def _call(db: Connection, ids: list[int], now: datetime) -> None:
    """Let an agent call some leads, and ask to call back."""
    called = {"called_count": LIST.c.called_count + 1, "status": "CALLBK", "user": "1001"}
    _edit(db, ids, {**called, "last_local_call_time": now, "modify_date": now})


# --- connecting


def _engine(url: str) -> Engine:
    """Prepare connections that suit the kind of database."""
    address = make_url(url)
    match address.get_backend_name():
        case "mysql" | "mariadb":
            setting = f"SET time_zone = '{ZONE_OFFSET}', sql_mode = ''"  # as VICIdial wants its server
            return create_engine(address, connect_args={"init_command": setting}, pool_pre_ping=True)
        case "sqlite" if address.database in (None, "", ":memory:"):  # all threads share the one connection
            return create_engine(address, poolclass=StaticPool, connect_args={"check_same_thread": False})
        case "sqlite":
            engine = create_engine(address)
            event.listen(engine, "connect", _let_others_read)
            return engine
        case "postgresql":  # in no Vicidial, but where a fleet has no other server for its workers to read
            zone = f"-c timezone={ZONE_OFFSET}"
            return create_engine(address, connect_args={"options": zone}, pool_pre_ping=True)
        case kind:
            raise VicidialDatabaseError(
                f"--vicidial-db takes SQLite, MariaDB, MySQL or PostgreSQL, not {kind}."
            )


def _let_others_read(connection: Any, _record: Any) -> None:
    """Let others read the file while the sandbox writes; what a power cut leaves does not matter here."""
    for pragma in ("journal_mode = WAL", "synchronous = OFF"):
        connection.execute(f"PRAGMA {pragma}").close()
