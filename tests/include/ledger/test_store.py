"""The database itself: how it is opened, how transactions keep apart, how tables come up to date."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, insert, inspect, select, text, update
from sqlalchemy.exc import DatabaseError, IntegrityError

from include.ledger import Ledger, store
from include.ledger.store import Store
from include.ledger.tables import REVISION, evidence_head, loads, metadata, targets


@pytest.fixture
def opened(url):
    ready = Store(url)
    yield ready
    ready.close()


def test_the_newest_migration_is_the_one_the_code_expects():
    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_migrations_make_the_tables_that_the_code_describes(url):
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def shape(url):
    """What the comparison above leaves out too: checks, keys, foreign keys."""
    engine = create_engine(url)
    seen = inspect(engine)
    tables = {
        name: [
            seen.get_pk_constraint(name),
            sorted(seen.get_check_constraints(name), key=lambda check: check["name"]),
            sorted(seen.get_unique_constraints(name), key=lambda unique: unique["name"]),
            seen.get_foreign_keys(name),
            seen.get_indexes(name),
            [(column["name"], str(column["type"]), column["nullable"]) for column in seen.get_columns(name)],
        ]
        for name in seen.get_table_names()
        if name != "alembic_version"
    }
    engine.dispose()
    return tables


def test_a_migrated_database_equals_a_described_one(url):
    migrated = shape(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    engine.dispose()
    assert migrated == shape(url)
    assert len(migrated) == len(metadata.tables)


def test_migrating_again_needs_no_alembic(url, monkeypatch):
    monkeypatch.setitem(sys.modules, "alembic", None)  # importing it would fail, and take a second
    with Ledger(url) as ledger:
        ledger.migrate()
        assert ledger.loads(1) == []


def test_a_migration_that_fails_leaves_nothing_behind(empty_url):
    fresh = Store(empty_url)
    with fresh.write() as connection:
        connection.execute(text("CREATE TABLE evidence (of_someone_else INTEGER)"))
    with pytest.raises(DatabaseError):
        fresh.migrate()
    with fresh.read() as connection:
        assert inspect(connection).get_table_names() == ["evidence"]
    fresh.close()


def test_migrating_keeps_what_is_there(ledger, open_load):
    load = open_load()
    ledger.migrate()
    assert ledger.load(load.id) == load


def test_what_fails_is_taken_back_whole(opened):
    with pytest.raises(RuntimeError), opened.write() as connection:
        connection.execute(insert(targets).values(key="t", paused=False))
        raise RuntimeError
    with opened.read() as connection:
        assert connection.execute(select(targets)).all() == []


def test_no_update_is_lost_between_writers(opened):
    """Read, think, write, from eight threads: without a lock at the start some would read the same number."""

    def count():
        for _ in range(5):
            with opened.write() as connection:
                query = select(evidence_head.c.count).with_for_update()
                number = connection.execute(query).scalar_one()
                time.sleep(0.001)
                connection.execute(update(evidence_head).values(count=number + 1))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened.read() as connection:
        assert connection.execute(select(evidence_head.c.count)).scalar_one() == 40


def test_a_reader_neither_waits_for_a_writer_nor_sees_half_of_it(opened):
    with opened.read() as reader:
        assert reader.execute(select(evidence_head.c.count)).scalar_one() == 0
        with opened.write() as writer:
            writer.execute(update(evidence_head).values(count=1))
            assert reader.execute(select(evidence_head.c.count)).scalar_one() == 0
        assert reader.execute(select(evidence_head.c.count)).scalar_one() == 0  # one picture to its end
    with opened.read() as reader:
        assert reader.execute(select(evidence_head.c.count)).scalar_one() == 1


def test_a_load_needs_its_list(opened):
    values: dict[str, object] = dict.fromkeys(
        ("id", "flow", "vendor", "dag_id", "run_id", "target", "snapshot", "plan_hash"), "x"
    )
    now = datetime(2026, 11, 21, tzinfo=UTC)
    values |= {"mode": "apply", "rows_in": 1, "state": "open", "source_time": now, "opened_at": now}
    with opened.write() as connection:
        connection.execute(insert(targets).values(key="x", paused=False))
        connection.execute(insert(loads).values(**values))
    with pytest.raises(IntegrityError), opened.write() as connection:
        connection.execute(insert(loads).values(**values | {"id": "y", "run_id": "y", "target": "y"}))


def test_a_database_error_tells_no_values(opened):
    row = {"key": "secret-value", "paused": False}
    with opened.write() as connection:
        connection.execute(insert(targets).values(row))
    with pytest.raises(IntegrityError) as refused, opened.write() as connection:
        connection.execute(insert(loads).values(id="secret-value"))
    assert "secret-value" not in str(refused.value).split("DETAIL")[0]
    assert "parameters hidden" in str(refused.value)


def test_sqlite_is_set_up_for_many_processes(tmp_path):
    path = tmp_path / "not" / "there yet" / "ledger.db"
    fresh = Store(f"sqlite:///{path}")
    fresh.migrate()
    with fresh.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 30_000, "synchronous": 2}
    assert path.exists()
    fresh.close()
