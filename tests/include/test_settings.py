"""The ledger is found outside Airflow by the same variable that Airflow reads."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import make_url

from include import settings

VARIABLE = "AIRFLOW_CONN_LISTKEEPER_LEDGER"


@pytest.mark.parametrize(
    ("conn", "url"),
    [
        ({"conn_type": "sqlite", "host": "/var/lib/l.db"}, "sqlite:////var/lib/l.db"),
        (
            {
                "conn_type": "postgres",
                "login": "lk",
                "password": "p@ss/w:rd",
                "host": "db",
                "port": "5432",
                "schema": "ledger",
                "extra": '{"sslmode": "require", "keepalives": 1}',
            },
            "postgresql+psycopg2://lk:p%40ss%2Fw%3Ard@db:5432/ledger?sslmode=require",
        ),
        (
            {"conn_type": "postgres", "host": "db", "schema": "ledger"},
            "postgresql+psycopg2://db/ledger",
        ),
    ],
)
def test_a_connection_as_json(monkeypatch, conn, url):
    monkeypatch.setenv(VARIABLE, json.dumps(conn))
    assert settings.ledger_url_outside_airflow() == url
    assert make_url(url).password == conn.get("password")


def test_a_connection_as_uri(monkeypatch):
    monkeypatch.setenv(VARIABLE, "postgres://lk:s%40@db/ledger?sslmode=require")
    url = "postgresql+psycopg2://lk:s%40@db/ledger?sslmode=require"
    assert settings.ledger_url_outside_airflow() == url


def test_without_a_connection(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert settings.ledger_url_outside_airflow() == f"sqlite:///{settings.STATE_FOLDER / 'ledger.db'}"
