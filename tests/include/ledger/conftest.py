"""A ledger on each database: a SQLite file, and a real PostgreSQL.

PostgreSQL is the one that LISTKEEPER_TEST_POSTGRES names (a URL whose user may create databases), or a
throw-away server from Debian's packages that listens on a socket in a temporary folder only. Each test gets a
database of its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from include.ledger import Ledger, Load

TARGET = "purecallerid:64be:ATTEMPT"


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **by: float) -> None:
        self.moment += timedelta(**by)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server, with the database `postgres`."""
    if url := os.environ.get("LISTKEEPER_TEST_POSTGRES"):
        yield url
        return
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    as_root = os.geteuid() == 0
    if not found or (as_root and "postgres" not in {user.pw_name for user in pwd.getpwall()}):
        why = "no PostgreSQL server here: apt-get install postgresql, or set LISTKEEPER_TEST_POSTGRES"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    binaries = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="lk-pg-"))  # short: a socket's path may have 107 bytes
    user: dict[str, Any] = {}
    if as_root:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **user)
        assert done.returncode == 0, done.stdout.decode()

    data = folder / "data"
    run(str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=60"
    control = (str(binaries / "pg_ctl"), "-D", str(data), "-w")
    # pg_ctl keeps its own output open for the server unless the server logs to a file.
    run(*control, "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg2://postgres@/postgres?host={folder}"
    finally:
        run(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def make_database(postgres_server: str) -> Iterator[Callable[[str], str]]:
    """Make a database on the server from another one, and return its URL. A server that stays gets clean."""
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    made = []

    def make(template: str) -> str:
        made.append(f"listkeeper_test_{uuid.uuid4().hex[:12]}")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {made[-1]} TEMPLATE {template}"))
        return make_url(postgres_server).set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    with engine.connect() as connection:
        for name in made if "LISTKEEPER_TEST_POSTGRES" in os.environ else ():
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(scope="session")
def migrated_postgres(make_database: Callable[[str], str]) -> str:
    """The name of a database with the ledger's tables, to copy."""
    url = make_database("template1")
    with Ledger(url) as ledger:
        ledger.migrate()
    return str(make_url(url).database)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the ledger's tables, to copy."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.migrate()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, once on each kind of server."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/new folder/ledger.db"
    return request.getfixturevalue("make_database")("template1")


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the ledger's tables."""
    if kind == "sqlite":
        return f"sqlite:///{shutil.copy(request.getfixturevalue('migrated_sqlite'), tmp_path)}"
    return request.getfixturevalue("make_database")(request.getfixturevalue("migrated_postgres"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    with Ledger(url, now=clock) as opened:
        yield opened


@pytest.fixture
def open_load(ledger: Ledger) -> Callable[..., Load]:
    """Open a load of the night of the 20th; name what should differ."""

    def opened(**changes: Any) -> Load:
        values: dict[str, Any] = {
            "flow": "five9_daily",
            "vendor": "purecallerid",
            "dag_id": "load_purecallerid__five9_daily",
            "run_id": "partition_2026-11-20",
            "target": TARGET,
            "night": "2026-11-20",
            "source_time": datetime(2026, 11, 21, tzinfo=UTC),
            "snapshot": "pull/2026-11-20",
            "plan_hash": "c0ffee",
            "mode": "apply",
            "requested_by": None,
            "reason": None,
            "rows_in": 1000,
        }
        return ledger.open_load(**values | changes)

    return opened
