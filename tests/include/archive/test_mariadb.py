"""The whole way on a real MariaDB, with Vicidial's own MyISAM tables: select, archive through faults, count."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import sqlalchemy as sa

from include.archive.loop import problems
from include.archive.selection import LeadDatabase, select_leads
from include.leads.retention import Keep, RetentionRule, Selection
from include.ledger import Ledger, reconcile
from include.sandbox.server import SandboxServer
from include.staging import RunFolder
from tests.include.archive.conftest import ALL, ALWAYS, NIGHT, Client, Clock, Job

RULE = RetentionRule(name="old", older_than_days=180)
SELECTION = Selection(database="vicidial_db", rules=(RULE,))  # type: ignore[call-arg]
KEEP = Keep()  # type: ignore[call-arg]


@pytest.fixture
def mariadb(mariadb_url: str) -> Iterator[tuple[SandboxServer, sa.Engine]]:
    with SandboxServer(synthetic=10, vicidial_db=mariadb_url, vicidial_leads=2_000) as server:
        server.clock(NIGHT)
        engine = sa.create_engine(mariadb_url, isolation_level="AUTOCOMMIT")
        yield server, engine
        engine.dispose()


def ids(engine: sa.Engine, table: str) -> list[int]:
    with engine.connect() as connection:
        return [row[0] for row in connection.exec_driver_sql(f"SELECT lead_id FROM {table} ORDER BY lead_id")]


@pytest.mark.parametrize("fault", ["drop_after", "crash_after_insert", "crash_in_delete", "agent_edits"])
def test_old_leads_move_once_whatever_breaks(
    mariadb: tuple[SandboxServer, sa.Engine],
    mariadb_url: str,
    empty_ledger: Path,
    tmp_path: Path,
    staging_folder: Path,
    fault: str,
) -> None:
    server, engine = mariadb
    with engine.connect() as connection:
        kind = connection.exec_driver_sql("SHOW TABLE STATUS LIKE 'vicidial_list'").mappings().one()["Engine"]
    assert kind == "MyISAM", "as in life: no transactions"
    local = datetime.now(ZoneInfo("Africa/Johannesburg")).replace(tzinfo=None)
    database = LeadDatabase(mariadb_url, (RULE,), KEEP, local)
    out = tmp_path / "select"
    out.mkdir()
    found = select_leads(SELECTION, KEEP, out, now=NIGHT, database=database)
    picked = pl.read_parquet(out / "kept-00000.parquet")["lead_id"].to_list()
    assert 500 < found.kept == len(picked) < 2_000

    client = Client(server)
    server.fault("vicidial", fault, nth=2)
    with Ledger(f"sqlite:///{shutil.copy(empty_ledger, tmp_path)}", now=Clock()) as ledger:
        work = Job(
            ledger, RunFolder("runs/maria/archive"), client, Clock(), picked,
            batch_size=200, flags=ALL, window=ALWAYS, database=database,
        ).open(run_id=fault)  # fmt: skip
        assert work.run() is None
        touched = {lead_id for lead_id, reason in work.named.items() if reason == "no_longer_old"}
        assert len(touched) == (1 if fault == "agent_edits" else 0) and touched == set(work.named)
        assert reconcile(len(picked), {}, work.batches).green and problems(work.batches) == []
    client.http.close()
    database.close()
    moved = sorted(set(picked) - touched)
    assert sorted(set(ids(engine, "vicidial_list_archive")) - touched) == moved
    assert ids(engine, "vicidial_list") == sorted(set(range(1, 2_001)) - set(moved))
