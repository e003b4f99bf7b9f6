"""Where things are: the few settings a whole installation shares, read from the environment.

Everything else is a Connection (where a vendor is) or a flow file (what a list wants).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
STATE_FOLDER: Final = Path(os.environ.get("LISTKEEPER_STATE") or PROJECT_ROOT / ".listkeeper")
LEDGER_CONNECTION: Final = "listkeeper_ledger"
POSTGRES: Final = ("postgres", "postgresql")


def flows_folder() -> Path:
    """Folder of the flow files: `LISTKEEPER_FLOWS`, by default `include/flows`."""
    return Path(os.environ.get("LISTKEEPER_FLOWS") or PROJECT_ROOT / "include" / "flows")


def staging_url() -> str:
    """Where run folders live: `LISTKEEPER_STAGING`, a folder or an `s3://...` URL."""
    return os.environ.get("LISTKEEPER_STAGING") or str(STATE_FOLDER / "staging")


def public_url() -> str | None:
    """Address under which vendors reach the callback receiver (or a relay of yours), without a slash at its end.

    None when `LISTKEEPER_PUBLIC_URL` is unset: then no callback is asked for, and outcomes that only a
    callback could tell stay `uncertain`.
    """
    url = os.environ.get("LISTKEEPER_PUBLIC_URL", "").strip().rstrip("/")
    return url or None


def relay_url() -> str | None:
    """Folder or bucket where a relay drops callback bodies: `LISTKEEPER_RELAY`, None when there is no relay."""
    return os.environ.get("LISTKEEPER_RELAY", "").strip() or None


def default_ledger_url() -> str:
    """SQLAlchemy URL of the ledger when no connection `listkeeper_ledger` exists: SQLite beside the staging."""
    return f"sqlite:///{STATE_FOLDER / 'ledger.db'}"


def ledger_url_outside_airflow() -> str:
    """Ledger URL for commands that run without Airflow: `AIRFLOW_CONN_LISTKEEPER_LEDGER`, else the default.

    Both spellings of the variable are read, a URI and a JSON object.
    """
    raw = os.environ.get(f"AIRFLOW_CONN_{LEDGER_CONNECTION.upper()}", "").strip()
    if not raw:
        return default_ledger_url()
    if not raw.startswith("{"):
        return sqlalchemy_url(raw)
    from sqlalchemy import URL  # only commands need it; DAG files import this module

    conn = json.loads(raw)
    kind = str(conn.get("conn_type", ""))
    if kind == "sqlite":
        return f"sqlite:///{conn.get('host') or conn.get('schema') or ''}"
    extra = conn.get("extra") or {}
    if isinstance(extra, str):
        extra = json.loads(extra)
    return URL.create(
        "postgresql+psycopg2" if kind in POSTGRES else kind,
        username=conn.get("login") or None,
        password=conn.get("password") or None,
        host=conn.get("host") or None,
        port=int(conn["port"]) if conn.get("port") else None,
        database=conn.get("schema") or None,
        query={
            name: extra[name] for name in ("sslmode", "sslrootcert", "sslcert", "sslkey") if name in extra
        },
    ).render_as_string(hide_password=False)


def sqlalchemy_url(uri: str) -> str:
    """Turn a connection URI as Airflow writes it into one SQLAlchemy takes (`postgres` is `postgresql`)."""
    scheme, _, rest = uri.partition("://")
    if scheme in POSTGRES:
        return f"postgresql+psycopg2://{rest}"
    return uri
