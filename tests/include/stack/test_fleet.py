"""A fleet's rules that need no server: what it asks of the machine, what its processes are told, what it says."""

from __future__ import annotations

import configparser
import os
import pwd
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from include.stack import distributed, services
from include.stack.airflow_config import write_config
from include.stack.demo import Flow
from include.stack.distributed import tell, where_steps_ran
from include.stack.fleet import STAGING, SUPPRESSION, WORKERS, Fleet
from include.stack.processes import StackError
from include.stack.services import ServiceError, Services, require_programs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Heard:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.text = ""

    def show(self, text: str) -> None:
        self.text += f"{text}\n"


@pytest.mark.parametrize("gone", ["redis-server", "initdb"])
def test_a_missing_program_is_told_in_one_sentence(
    gone: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(services, "POSTGRES_FOLDERS", ())
    monkeypatch.setattr(shutil, "which", lambda name: None if name == gone else f"/usr/bin/{name}")
    assert distributed.main([]) == 2
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 1
    assert "apt-get install postgresql redis-server" in said and "brew install" in said


def test_root_needs_another_user_for_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(pwd, "getpwall", list)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ServiceError, match="refuses to run as root"):
        require_programs()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    require_programs()


def test_off_the_path_the_newest_postgresql_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("9", "15", "16"):
        (tmp_path / version / "bin").mkdir(parents=True)
        if version != "16":  # a client only
            (tmp_path / version / "bin" / "initdb").touch()
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(services, "POSTGRES_FOLDERS", (f"{tmp_path}/*/bin".lstrip("/"),))
    command = Services("127.0.0.1", dict.fromkeys(services.SERVICES, 1)).command("postgres")
    assert command[0] == str(tmp_path / "15" / "bin" / "postgres")


def test_a_taken_port_of_a_server_is_told_before_anything_starts(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, airflow_port=free_port(), sandbox_port=free_port(), fresh=True)
    other = Fleet(tmp_path / "other", airflow_port=free_port(), sandbox_port=free_port())
    assert other.services.password != fleet.services.password
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", fleet.services.ports["redis"]))
        holder.listen()
        with pytest.raises(StackError, match=r"for redis cannot be used.*SANDBOX_PORT="), fleet:
            pass
    assert fleet.pids == {}


def test_each_worker_is_led_to_its_own_disk_and_none_to_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", "https://production.example")
    monkeypatch.setenv("LISTKEEPER_STAGING", "s3://production/staging")
    fleet = Fleet(tmp_path)
    one, two, rest = (fleet.environment(name) for name in (*WORKERS, "scheduler"))
    for name in ("AIRFLOW_HOME", "LISTKEEPER_STATE", "TMPDIR"):
        assert len({one[name], two[name], rest.get(name)}) == 3
        assert one[name].startswith(str(tmp_path / "worker-1"))
    for told in (one, two, rest):
        assert told["LISTKEEPER_STAGING"] == STAGING
        assert told["AWS_ENDPOINT_URL_S3"] == fleet.services.storage_url
        assert not {"AWS_PROFILE", "FSSPEC_S3_ENDPOINT_URL"} & set(told)
    assert fleet.services.password not in repr(fleet.services)


def test_all_machines_have_the_same_keys_and_only_their_logs_apart(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    read: list[configparser.ConfigParser] = []
    for number in (1, 2):
        home = tmp_path / f"home-{number}"
        home.mkdir()
        write_config(
            home, host="h", port=1, logs=home, keys=tmp_path / "secrets.json", changes=fleet._changes()
        )
        read.append(configparser.ConfigParser())
        read[-1].read(home / "airflow.cfg")
    one, two = read
    assert (
        one["core"] == two["core"] and one["celery"] == two["celery"] and one["database"] == two["database"]
    )
    assert one["api_auth"] == two["api_auth"] and one["api"]["secret_key"] == two["api"]["secret_key"]
    assert one["core"]["executor"] == "CeleryExecutor"
    assert one["database"]["sql_alchemy_conn"] == fleet.services.database_url("airflow")
    assert one["core"]["dags_folder"]  # what the fleet does not change stays


def test_the_suppression_list_of_the_flow_files_lies_where_all_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "a.yaml").write_text("file: .listkeeper/suppression.csv\nother: .listkeeper/mine.csv\n")
    monkeypatch.setenv("LISTKEEPER_FLOWS", str(flows))
    fleet = Fleet(tmp_path / "state")
    fleet.state.mkdir()
    fleet._copy_flows()
    copied = Path(fleet.environment()["LISTKEEPER_FLOWS"]) / "a.yaml"
    assert copied.read_text() == f"file: s3://listkeeper/{SUPPRESSION}\nother: .listkeeper/mine.csv\n"


def flow(**machines: list[str]) -> Flow:
    return Flow("five9", "load", "2026-11-20", "pull", machines=dict(machines))


def test_where_steps_ran_is_told_in_order() -> None:
    told = where_steps_ran([flow(clean=["worker-2"], load=["worker-1", "worker-2"], skipped=[])])
    assert told.splitlines() == [
        "five9",
        "  clean: worker-2",
        "  load: worker-1, worker-2",
        "  skipped: -",
    ]


@pytest.mark.parametrize(
    ("machines", "lies", "well", "says"),
    [
        ({"clean": ["worker-1"], "load": ["worker-2"]}, None, True, "No file was shared: 7 objects"),
        ({"clean": ["worker-1"], "load": ["worker-1"]}, None, False, "NOT by both workers: worker-2"),
        (
            {"clean": ["worker-1"], "load": ["worker-2"]},
            "worker-2/tmp/rows.csv",
            False,
            "NOT without a shared",
        ),
        ({"clean": ["worker-1"], "load": ["worker-2"]}, "staging/runs/a/part", False, "NOT without a shared"),
    ],
)
def test_a_row_on_a_disk_or_an_idle_worker_is_no_fleet(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machines: dict[str, Any],
    lies: str | None,
    well: bool,
    says: str,
) -> None:
    monkeypatch.setattr(Fleet, "objects", lambda _self: 7)
    fleet, heard = Fleet(tmp_path), Heard()
    for own in ("worker-1/airflow/airflow.cfg", "worker-2/logs/tasks/1.log", *([lies] if lies else [])):
        (tmp_path / own).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / own).touch()
    assert tell(fleet, [flow(**machines)], heard) is well  # type: ignore[arg-type]
    assert says in heard.text
