"""An Airflow of the tests' own: settings and database in a temporary folder, before anything imports Airflow."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME = Path(tempfile.mkdtemp(prefix="listkeeper-airflow-"))
USERS = {"admin": "admin", "ana": "user", "eve": "viewer"}

for name in [name for name in os.environ if name.startswith(("AIRFLOW", "LISTKEEPER_"))]:
    del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "platform.node",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    "AIRFLOW__API__BASE_URL": "http://testserver",
    "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of the tests, long enough to sign with: 0123456789abcdef0123456789",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(HOME / "logs"),
}


@pytest.fixture(scope="session", autouse=True)
def airflow_home() -> Iterator[Path]:
    """The folder that holds it all, gone after the last test."""
    (HOME / "simple_auth_manager_passwords.json.generated").write_text(
        json.dumps({name: name for name in USERS})
    )
    yield HOME
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_db(airflow_home: Path) -> None:
    """Airflow's database, migrated."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Staging and ledger of this test alone; returns their folder."""
    monkeypatch.setenv("LISTKEEPER_STAGING", str(tmp_path / "staging"))
    monkeypatch.setenv(
        "AIRFLOW_CONN_LISTKEEPER_LEDGER",
        json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}),
    )
    return tmp_path
