"""Where Airflow's processes find the ledger."""

from __future__ import annotations

import asyncio
import json

import pytest
from listkeeper.hooks.ledger import aledger_url, ledger_url, open_ledger
from sqlalchemy import make_url

from include import settings

NAME = "AIRFLOW_CONN_LISTKEEPER_LEDGER"


def both() -> str:
    """The URL, found the same way with and without an event loop."""
    url = ledger_url()
    assert asyncio.run(aledger_url()) == url
    return url


def test_without_a_connection_it_is_the_file_of_the_installation(airflow_db, monkeypatch):
    monkeypatch.delenv(NAME)
    assert both() == settings.default_ledger_url()


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://keeper:p%40ss%2Fword@db.example:5433/ledger?sslmode=require",
        json.dumps(
            {
                "conn_type": "postgres",
                "host": "db.example",
                "port": 5433,
                "login": "keeper",
                "password": "p@ss/word",
                "schema": "ledger",
                "extra": {"sslmode": "require", "cursor": "dictcursor"},
            }
        ),
    ],
    ids=["URI", "JSON"],
)
def test_a_postgres_connection_keeps_its_secrets_and_ssl_mode(monkeypatch, value):
    monkeypatch.setenv(NAME, value)
    url = make_url(both())
    assert (url.drivername, url.username, url.password) == ("postgresql+psycopg2", "keeper", "p@ss/word")
    assert (url.host, url.port, url.database, dict(url.query)) == (
        "db.example",
        5433,
        "ledger",
        {"sslmode": "require"},
    )


@pytest.mark.parametrize(
    "value",
    [
        "sqlite:////var/lib/ledger.db",
        '{"conn_type": "sqlite", "host": "/var/lib/ledger.db"}',
        '{"conn_type": "sqlite", "schema": "/var/lib/ledger.db"}',
    ],
)
def test_a_sqlite_connection_names_its_file(monkeypatch, value):
    monkeypatch.setenv(NAME, value)
    assert both() == "sqlite:////var/lib/ledger.db"


def test_it_is_opened_once_with_its_tables(state):
    ledger = open_ledger()
    assert ledger.targets() == []
    assert open_ledger() is ledger is open_ledger(ledger_url())
    assert (state / "ledger.db").exists()
