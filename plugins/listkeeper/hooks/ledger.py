"""The ledger as Airflow's processes reach it: connection `listkeeper_ledger`, else the SQLite file beside the staging.

Workers, triggers and the API server all open it here. The connection is of type `postgres` in production (its
extras may hold libpq's ssl settings), or `sqlite` with the file as its host.
"""

from __future__ import annotations

import functools
import json
import os
from typing import Final

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from sqlalchemy import URL

from include import settings
from include.ledger import Ledger

DRIVERS: Final = {"postgres": "postgresql+psycopg2", "postgresql": "postgresql+psycopg2"}
SSL_SETTINGS: Final = ("sslmode", "sslrootcert", "sslcert", "sslkey")


def ledger_url() -> str:
    """SQLAlchemy URL of the ledger, for code that may block (it holds a password: never log it)."""
    try:
        return _url(BaseHook.get_connection(settings.LEDGER_CONNECTION))
    except AirflowNotFoundException:
        return settings.default_ledger_url()


async def aledger_url() -> str:
    """SQLAlchemy URL of the ledger, for a trigger's event loop."""
    try:
        return _url(await BaseHook.aget_connection(settings.LEDGER_CONNECTION))
    except AirflowNotFoundException:
        return settings.default_ledger_url()


def open_ledger(url: str | None = None) -> Ledger:
    """Return this process's ledger, its tables up to date; opened once per process and URL, never closed.

    :param url: from `aledger_url`, where a connection may not be looked up here (in a trigger's thread).
    """
    return _opened(url or ledger_url(), os.getpid())


@functools.cache
def _opened(url: str, _process: int) -> Ledger:
    # The process is part of the key: a forked worker must not share its parent's database connections.
    ledger = Ledger(url)
    ledger.migrate()
    return ledger


def _url(connection: Connection) -> str:
    kind = connection.conn_type or ""
    if kind == "sqlite":
        return f"sqlite:///{connection.host or connection.schema or ''}"
    extra = json.loads(connection.extra or "{}")  # extra_dejson would block a trigger's event loop
    return URL.create(
        DRIVERS.get(kind, kind),
        username=connection.login or None,
        password=connection.password or None,
        host=connection.host or None,
        port=connection.port,
        database=connection.schema or None,
        query={name: extra[name] for name in SSL_SETTINGS if name in extra},
    ).render_as_string(hide_password=False)
