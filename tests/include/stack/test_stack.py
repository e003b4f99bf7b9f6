"""The stack's rules that need no Airflow: ports, state folder, environment, configuration."""

from __future__ import annotations

import configparser
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.stack.airflow_config import write_config
from include.stack.processes import Stack, StackError, require_free_port


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_taken_port_is_named_with_its_holder_and_the_variable_that_moves_it(taken_port: int) -> None:
    with pytest.raises(StackError) as error:
        require_free_port(taken_port, "SANDBOX_PORT", "the sandbox")
    assert f"Port {taken_port} for the sandbox" in str(error.value)
    assert f"process {os.getpid()}" in str(error.value)
    assert "SANDBOX_PORT=" in str(error.value)


def test_a_free_port_passes() -> None:
    require_free_port(free_port(), "AIRFLOW_PORT", "Airflow")


def test_a_taken_port_stops_the_start_before_anything_is_written(taken_port: int, tmp_path: Path) -> None:
    leftover = tmp_path / "demo.json"
    leftover.write_text("{}")
    stack = Stack(tmp_path, airflow_port=free_port(), sandbox_port=taken_port, fresh=True)
    with pytest.raises(StackError, match="SANDBOX_PORT"), stack:
        pass
    assert stack.pids == {}
    assert leftover.exists()
    assert not stack.home.exists()


def test_a_second_stack_in_the_same_folder_is_told_who_is_there(tmp_path: Path) -> None:
    first = Stack(tmp_path, airflow_port=18081)
    first._take_lock()
    with pytest.raises(StackError) as error, Stack(tmp_path):
        pass
    assert "already running" in str(error.value)
    assert str(os.getpid()) in str(error.value)
    assert "http://127.0.0.1:18081" in str(error.value)
    first.stop()
    Stack(tmp_path)._take_lock()


@pytest.mark.parametrize(
    ("fresh", "left"), [(False, ["airflow", "logs/tasks/attempt=1.log", "staging"]), (True, [])]
)
def test_what_a_start_leaves_of_the_last_one(tmp_path: Path, fresh: bool, left: list[str]) -> None:
    for folder in ("airflow", "staging", "logs/tasks", "logs/dags"):
        (tmp_path / folder).mkdir(parents=True)
    for log in ("scheduler.log", "tasks/attempt=1.log", "dags/pull.log"):
        (tmp_path / "logs" / log).write_text("...")
    Stack(tmp_path, fresh=fresh)._clear()
    here = [path for path in tmp_path.rglob("*") if path.is_file() or not any(path.iterdir())]
    assert sorted(str(path.relative_to(tmp_path)) for path in here) == left


def test_a_production_shell_does_not_lead_the_sandbox_to_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://production/airflow")
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", "purecallerid://production")
    monkeypatch.setenv("LISTKEEPER_STAGING", "s3://production/staging")
    monkeypatch.setenv("LISTKEEPER_FLOWS", "/home/ana/flows")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    environment = Stack(tmp_path, airflow_port=18082).environment()
    assert not [name for name in environment if name.startswith("AIRFLOW_") and name != "AIRFLOW_HOME"]
    assert environment["LISTKEEPER_STAGING"] == str(tmp_path / "staging")
    assert environment["LISTKEEPER_PUBLIC_URL"] == "http://127.0.0.1:18082"
    assert environment["LISTKEEPER_FLOWS"] == "/home/ana/flows"
    assert "127.0.0.1" in environment["NO_PROXY"]


def test_the_configuration_keeps_its_keys_and_shows_them_to_the_owner_only(tmp_path: Path) -> None:
    def written() -> configparser.ConfigParser:
        write_config(tmp_path, host="127.0.0.1", port=18083, logs=tmp_path / "100% logs")
        config = configparser.ConfigParser()
        config.read(tmp_path / "airflow.cfg")
        return config

    first, second = written(), written()
    assert first["core"]["fernet_key"] == second["core"]["fernet_key"]  # or stored passwords were lost
    assert len(first["api_auth"]["jwt_secret"]) >= 64
    assert first["core"]["execution_api_server_url"] == "http://127.0.0.1:18083/execution/"
    assert first["logging"]["base_log_folder"] == str(tmp_path / "100% logs" / "tasks")
    passwords = tmp_path / "simple_auth_manager_passwords.json.generated"
    assert json.loads(passwords.read_text()) == {"admin": "admin", "ana": "ana"}
    for file in (tmp_path / "airflow.cfg", passwords, tmp_path / "secrets.json"):
        assert file.stat().st_mode & 0o077 == 0
