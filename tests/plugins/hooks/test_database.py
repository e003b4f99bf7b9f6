"""A dialer's own database by an ordinary Airflow connection."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from listkeeper.hooks.database import database_url

from include import settings


def define(monkeypatch, **connection):
    monkeypatch.setenv("AIRFLOW_CONN_VICIDIAL_DB", json.dumps(connection))


def test_mysql_goes_through_pymysql(monkeypatch):
    define(
        monkeypatch, conn_type="mysql", host="db", port=3307, schema="asterisk", login="cron", password="p@ss/w:rd#1",
        extra={"charset": "utf8mb4", "ssl_ca": "/ca.pem", "local_infile": True},
    )  # fmt: skip
    url = sa.make_url(database_url("vicidial_db"))
    assert (url.drivername, url.host, url.port, url.database) == ("mysql+pymysql", "db", 3307, "asterisk")
    assert (url.username, url.password) == ("cron", "p@ss/w:rd#1")
    assert dict(url.query) == {"charset": "utf8mb4", "ssl_ca": "/ca.pem"}


@pytest.mark.parametrize(
    ("conn_type", "driver"),
    [("mariadb", "mysql+pymysql"), ("postgres", "postgresql+psycopg2"), ("mssql+pyodbc", "mssql+pyodbc")],
)
def test_other_types(monkeypatch, conn_type, driver):
    define(monkeypatch, conn_type=conn_type, host="db", schema="asterisk")
    assert sa.make_url(database_url("vicidial_db")).drivername == driver


def test_a_sqlite_file_is_absolute_or_in_the_state_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "STATE_FOLDER", tmp_path)
    define(monkeypatch, conn_type="sqlite", host="vicidial.db")
    assert database_url("vicidial_db") == f"sqlite:///{tmp_path}/vicidial.db"
    define(monkeypatch, conn_type="sqlite", host="/elsewhere/vicidial.db")
    assert database_url("vicidial_db") == "sqlite:////elsewhere/vicidial.db"


def test_a_real_server_answers(monkeypatch, mariadb_url):
    address = sa.make_url(mariadb_url)
    define(
        monkeypatch, conn_type="mysql", host=address.host, port=address.port, schema=address.database,
        login=address.username, password=address.password,
    )  # fmt: skip
    engine = sa.create_engine(database_url("vicidial_db"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT DATABASE()").scalar_one() == address.database
    engine.dispose()
