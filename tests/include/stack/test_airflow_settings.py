"""airflow_settings.yaml: Astro's schema, clear errors, and the sandbox at another port."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.settings import PROJECT_ROOT
from include.stack.airflow_settings import SANDBOX_ADDRESS, SettingsError, at_sandbox, read_settings

OWN = PROJECT_ROOT / "airflow_settings.yaml"


def settings_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "airflow_settings.yaml"
    path.write_text(text)
    return path


def test_our_own_file_holds_what_the_flows_need() -> None:
    settings = read_settings(OWN)
    types = {c.conn_id: c.conn_type for c in settings.connections}
    assert types["platform_default"] == "platform"
    assert types["purecallerid_default"] == "purecallerid"
    assert types["vicidial_default"] == "vicidial"
    assert (types["isales_default"], types["isales_sftp"]) == ("isales", "sftp")
    assert types["ozonetel_default"] == "ozonetel"
    assert {p.pool_name for p in settings.pools} >= {
        "platform_api",
        "purecallerid",
        "vicidial",
        "ozonetel",
        "isales",
    }
    hosts = {c.conn_id: c.conn_host for c in settings.connections}
    assert hosts.pop("isales_sftp") == "127.0.0.1"
    assert hosts.pop("vicidial_db") == "vicidial.db", "the sandbox's own database file, not a server"
    assert hosts.pop("listkeeper_erasure") is None, "a key, not a place"
    assert set(hosts.values()) == {SANDBOX_ADDRESS}


def test_another_sandbox_port_moves_every_address_and_nothing_else() -> None:
    settings = read_settings(OWN)
    moved = at_sandbox(settings, "http://127.0.0.1:18900")
    assert {c.conn_host for c in moved.connections} == {
        "http://127.0.0.1:18900",
        "127.0.0.1",
        "vicidial.db",
        None,
    }
    assert {c.conn_port for c in moved.connections} == {None, 18922}, "the SFTP server moves as far"
    assert [c.conn_password for c in moved.connections] == [c.conn_password for c in settings.connections]
    assert moved.pools == settings.pools
    assert SANDBOX_ADDRESS not in moved.model_dump_json()


def test_the_address_is_moved_inside_extras_and_variables(tmp_path: Path) -> None:
    path = settings_file(
        tmp_path,
        """
airflow:
  connections:
    - {conn_id: a, conn_type: http, conn_extra: {hosts: ["http://127.0.0.1:8900/x"], timeout: 5}}
  variables:
    - {variable_name: v, variable_value: "see http://127.0.0.1:8900"}
""",
    )
    moved = at_sandbox(read_settings(path), "http://127.0.0.1:1")
    assert moved.connections[0].conn_extra == {"hosts": ["http://127.0.0.1:1/x"], "timeout": 5}
    assert moved.variables[0].variable_value == "see http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("airflow:\n  connections:\n    - {conn_id: a}\n", "airflow.connections.0.conn_type"),
        ("airflow:\n  connection: []\n", "airflow.connection"),
        ("airflow:\n  pools:\n    - {pool_name: p, pool_slot: many}\n", "airflow.pools.0.pool_slot"),
        (
            "airflow:\n  variables:\n    - {variable_name: v, variable_value: 8}\n",
            "airflow.variables.0.variable_value",
        ),
        ("connections: []\n", "airflow"),
        ("", "the file"),
        ("airflow: [", "cannot be read as YAML"),
    ],
)
def test_a_mistake_is_told_with_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    path = settings_file(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        read_settings(path)
    assert str(path) in str(error.value)
    assert named in str(error.value)


def test_a_mistake_never_shows_a_password(tmp_path: Path) -> None:
    path = settings_file(
        tmp_path,
        "airflow:\n  connections:\n    - {conn_id: a, conn_type: http, conn_port: x, conn_password: hush-hush}\n",
    )
    with pytest.raises(SettingsError) as error:
        read_settings(path)
    assert "hush" not in str(error.value)
    secret = [c for c in read_settings(OWN).connections if c.conn_password is not None]
    assert secret
    assert all(c.conn_password not in repr(c) for c in secret)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / "nowhere.yaml")
