"""Airflow connections to a sandbox, as the environment holds them."""

from __future__ import annotations

import json
from typing import Any

import pytest


def set_connection(monkeypatch: pytest.MonkeyPatch, conn_id: str, **value: Any) -> None:
    """Give Airflow a connection."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(value))


def connect_platform(monkeypatch: pytest.MonkeyPatch, sandbox: Any) -> None:
    """Reach the sandbox's Platform API."""
    token = sandbox.info()["platform"]["token"]
    set_connection(
        monkeypatch, "platform_default", conn_type="platform", host=sandbox.base_url, password=token
    )


def connect_isales(
    monkeypatch: pytest.MonkeyPatch, sandbox: Any, *, sk: str | None = None, host_key: str | None = None
) -> None:
    """Reach the sandbox's iSales and its file server; with another secret or host key, if given."""
    told = sandbox.info()["isales"]
    set_connection(
        monkeypatch,
        "isales_default",
        conn_type="isales",
        host=sandbox.base_url,
        login=told["ak"],
        password=sk or told["sk"],
        extra={"locale": "en_US"},
    )
    sftp = told["sftp"]
    set_connection(
        monkeypatch,
        "isales_sftp",
        conn_type="sftp",
        host=sftp["host"],
        port=sftp["port"],
        login=sftp["user"],
        password=sftp["password"],
        extra={"host_key": host_key or sftp["host_key"]},
    )
