"""The database under the ledger: how it is opened, how a transaction begins, how its tables come up to date.

SQLite: write-ahead log, foreign keys on, 30 s of patience, and every writing transaction takes the write lock
at its start (BEGIN IMMEDIATE), so that what it read is still true when it writes. PostgreSQL: the rows that a
transaction decides over are locked (SELECT ... FOR UPDATE) by the modules that read them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, make_url, text
from sqlalchemy.dialects import postgresql, sqlite

from include.ledger.tables import REVISION

PATIENCE_SECONDS: Final = 30
MIGRATION_LOCK: Final = (
    0x4C4B4C47  # any number, the same in every process: PostgreSQL's advisory lock of a migration
)


class Store:
    """An engine with two kinds of transactions: `read` (one consistent picture) and `write`."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        # Parameters in a database error would carry free text and token hashes into logs.
        options: dict[str, Any] = {"hide_parameters": True}
        if parsed.get_backend_name() == "sqlite":
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(url, **options)
            _tune_sqlite(self._engine)
            self._reader = self._engine.execution_options(reading=True)
        else:
            self._engine = create_engine(url, pool_pre_ping=True, **options)
            self._reader = self._engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that sees one moment and writes nothing."""
        with self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, written whole or not at all."""
        with self._engine.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the tables up to date; a few milliseconds when they are."""
        with self.read() as connection:
            if _revision(connection) == REVISION:
                return
        with self.write() as connection:  # on SQLite this holds the write lock: others wait here
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            _upgrade(connection)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def insert_new(connection: Connection, table: Table, **values: object) -> bool:
    """Insert a row unless it is there already (by any unique key); tell whether it was new."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return connection.execute(insert(table).values(**values).on_conflict_do_nothing()).rowcount == 1


def _revision(connection: Connection) -> str | None:
    """The migration that the database is at."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    """Run the migrations on this connection, inside its transaction."""
    # Alembic is slow to import and only needed when there is something to do.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _tune_sqlite(engine: Engine) -> None:
    """Set up each new SQLite connection, and let us, not the driver, begin its transactions."""

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")
        _use_write_ahead_log(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch a new file to the write-ahead log. The busy timeout does not cover the switch, so wait here."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
