"""A dialer's own database by an ordinary Airflow SQL connection, as a URL that SQLAlchemy takes.

The connection may be of any type whose name SQLAlchemy knows; `mysql` and `mariadb` go through PyMySQL. No provider
package is needed. `sqlite` names a file as its host; a relative path starts at Listkeeper's state folder.
"""

from __future__ import annotations

from typing import Final

from airflow.sdk import BaseHook
from sqlalchemy import URL

from include import settings

DRIVERS: Final = {
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "postgres": "postgresql+psycopg2",
    "postgresql": "postgresql+psycopg2",
}
MYSQL_EXTRAS: Final = ("charset", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket")
"""Extras of a mysql connection that PyMySQL takes; others are left to those who use them."""


def database_url(conn_id: str) -> str:
    """SQLAlchemy URL of a connection (it holds a password: never log it)."""
    connection = BaseHook.get_connection(conn_id)
    kind = connection.conn_type or ""
    if kind == "sqlite":
        return f"sqlite:///{settings.STATE_FOLDER / (connection.host or connection.schema or '')}"
    driver = DRIVERS.get(kind, kind)
    extra = connection.extra_dejson if driver.startswith("mysql") else {}
    return URL.create(
        driver,
        username=connection.login or None,
        password=connection.password or None,
        host=connection.host or None,
        port=connection.port,
        database=connection.schema or None,
        query={name: str(extra[name]) for name in MYSQL_EXTRAS if extra.get(name)},
    ).render_as_string(hide_password=False)
