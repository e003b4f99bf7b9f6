"""The sandbox's SFTP server: a real one for paramiko and for OpenSSH's own client, and its faults."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import paramiko
import pytest

from include.sandbox.server import PortTakenError, SandboxServer
from tests.waiting import LIMIT

CONTENT = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(10_000))  # 320,000 bytes
PATH = "/home/sftp/leads.xlsx"
DROPPED = (OSError, EOFError, paramiko.SSHException)
"""What paramiko raises when the connection closes."""

Connect = Callable[..., Any]


@pytest.fixture
def where(small: SandboxServer) -> dict[str, Any]:
    return small.info()["isales"]["sftp"]


@contextmanager
def session(
    host: str,
    port: int,
    user: str,
    password: str | None,
    host_key: str,
    key_file: Path | None = None,
    folder: str = "",
) -> Iterator[paramiko.SFTPClient]:
    """Open a session as the provider's hook does: paramiko, with the host key checked."""
    kind, key = host_key.split()
    with paramiko.SSHClient() as client:
        known = paramiko.PKey.from_type_string(kind, base64.b64decode(key))
        client.get_host_keys().add(f"[{host}]:{port}", kind, known)
        client.connect(
            host,
            port,
            user,
            password,
            key_filename=key_file and str(key_file),
            look_for_keys=False,
            allow_agent=False,
        )
        with client.open_sftp() as sftp:
            yield sftp


@pytest.fixture
def connect(where: dict[str, Any]) -> Connect:
    return lambda **changes: session(**{**where, **changes})


def files(server: SandboxServer) -> dict[str, int]:
    return {file["path"]: file["size"] for file in server.state("isales")["files"]}


def events(server: SandboxServer) -> list[tuple[str, str]]:
    return [(event["op"], event["path"]) for event in server.state("isales")["sftp"]]


def test_put_rename_read_and_remove(small, connect):
    with connect() as sftp:
        sftp.mkdir("/home/sftp/night")
        part, whole = "/home/sftp/night/leads.part", "/home/sftp/night/leads.xlsx"
        assert sftp.putfo(io.BytesIO(CONTENT), part).st_size == len(CONTENT)
        sftp.rename(part, whole)
        assert sftp.listdir("/home/sftp/night") == ["leads.xlsx"]
        assert sftp.open(whole).read() == CONTENT
        with pytest.raises(OSError):
            sftp.rename(part, whole)
        assert files(small) == {whole: len(CONTENT)}
        sftp.remove(whole)
    assert files(small) == {}
    assert events(small) == [("login", "listkeeper"), ("upload", part), ("rename", whole), ("remove", whole)]


def test_it_does_what_openssh_does(sftp_place):
    with session(**asdict(sftp_place)) as sftp:
        first, second, missing = (f"{sftp_place.folder}/{name}" for name in ("a", "b", "missing"))
        for name in (first, second):
            sftp.putfo(io.BytesIO(CONTENT), name)
        with pytest.raises(OSError):
            sftp.rename(first, second)
        sftp.posix_rename(first, second)
        for call in (sftp.stat, sftp.remove, sftp.open, sftp.listdir):
            with pytest.raises(FileNotFoundError):
                call(first)
        with pytest.raises(FileNotFoundError):
            sftp.rename(first, missing)
        with pytest.raises(OSError):
            sftp.mkdir(sftp_place.folder)
        with sftp.open(second, "r+b") as file:
            file.seek(len(CONTENT))
            file.write(b"more")
        with sftp.open(second, "ab") as file:
            file.write(b" and more")
        assert sftp.open(second).read() == CONTENT + b"more and more"
        sftp.putfo(io.BytesIO(b"short"), second)
        assert sftp.stat(second).st_size == 5


def test_an_upload_goes_on_where_it_was_cut(small, connect):
    small.fault("sftp", "upload_cut", after_bytes=100_000)
    with pytest.raises(DROPPED), connect() as sftp:
        sftp.putfo(io.BytesIO(CONTENT), PATH)
    assert files(small) == {PATH: 100_000}
    with connect() as sftp:
        with sftp.open(PATH, "r+b") as file:
            file.seek(sftp.stat(PATH).st_size)
            file.write(CONTENT[100_000:])
        assert sftp.open(PATH).read() == CONTENT


def test_nobody_leaves_the_folder(small, connect):
    with connect() as sftp:
        assert sftp.listdir("/") == ["home"]
        sftp.putfo(io.BytesIO(b"x"), "/../../../escaped")
        assert files(small) == {"/escaped": 1}


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"user": "root"}])
def test_wrong_logins(small, connect, changes):
    with pytest.raises(paramiko.AuthenticationException), connect(**changes):
        pass
    assert events(small)[0][0] == "login refused"


def test_another_host_key(connect):
    other = paramiko.Ed25519Key.from_private_key(io.StringIO(new_key())).get_base64()
    with pytest.raises(paramiko.BadHostKeyException), connect(host_key=f"ssh-ed25519 {other}"):
        pass


def new_key() -> str:
    from asyncssh import generate_private_key

    return generate_private_key("ssh-ed25519").export_private_key().decode()


def test_the_host_key_stays_the_same(where):
    with SandboxServer(synthetic=1) as other:
        told = other.info()["isales"]["sftp"]
    assert (told["host_key"], told["port"] == where["port"]) == (where["host_key"], False)
    assert where["host_key"].startswith("ssh-ed25519 AAAA")


def test_a_port_that_is_taken(where):
    with pytest.raises(PortTakenError, match="--sftp-port"):
        SandboxServer(sftp_port=where["port"])


# --- faults


def test_no_space_left(small, connect):
    small.fault("sftp", "upload_full", after_bytes=50_000, match="leads")
    with connect() as sftp:
        sftp.putfo(io.BytesIO(CONTENT), "/home/sftp/other")
        with pytest.raises(OSError, match="No space left"):
            sftp.open(PATH, "wb").write(CONTENT)  # putfo does not look at the answers of its writes
        assert files(small) == {"/home/sftp/other": len(CONTENT), PATH: 50_000}
        sftp.putfo(io.BytesIO(CONTENT), PATH)
        assert sftp.open(PATH).read() == CONTENT


def test_bytes_that_get_lost(small, connect):
    small.fault("sftp", "upload_short", after_bytes=100_000)
    with connect() as sftp:
        with pytest.raises(OSError, match="size mismatch"):
            sftp.putfo(io.BytesIO(CONTENT), PATH)
        assert sftp.stat(PATH).st_size == 100_000


def test_a_byte_that_changes(small, connect):
    small.fault("sftp", "upload_corrupt", after_bytes=100_000)
    with connect() as sftp:
        sftp.putfo(io.BytesIO(CONTENT), PATH)
        read = sftp.open(PATH).read()
    assert [at for at in range(len(CONTENT)) if read[at] != CONTENT[at]] == [100_000]


def test_slow_uploads(small, connect):
    small.fault("sftp", "upload_slow", seconds=0.01)
    with connect() as sftp:
        sftp.putfo(io.BytesIO(CONTENT), PATH)
        assert sftp.open(PATH).read() == CONTENT


def test_renames(small, connect):
    small.fault("sftp", "rename_refused", match="leads")
    small.fault("sftp", "rename_lost", nth=2)
    with pytest.raises(DROPPED), connect() as sftp:
        sftp.putfo(io.BytesIO(b"x"), "/home/sftp/part")
        with pytest.raises(PermissionError):
            sftp.rename("/home/sftp/part", PATH)
        assert files(small) == {"/home/sftp/part": 1}
        sftp.rename("/home/sftp/part", PATH)
    assert files(small) == {PATH: 1}


def test_logins(small, connect):
    small.fault("sftp", "login_refused")
    with pytest.raises(paramiko.AuthenticationException), connect():
        pass
    small.fault("sftp", "login_cut")
    with pytest.raises(DROPPED), connect():
        pass
    with connect() as sftp:
        assert sftp.listdir("/home") == ["sftp"]


def test_a_reset_ends_sessions_and_removes_files(small, connect):
    with pytest.raises(DROPPED), connect() as sftp:
        sftp.putfo(io.BytesIO(b"x"), PATH)
        small.reset()
        assert files(small) == {}
        sftp.listdir("/")
    with connect() as sftp:
        assert sftp.listdir("/home/sftp") == []


def test_openssh(small, where, tmp_path: Path):
    client = shutil.which("sftp")
    if client is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no sftp here: apt-get install openssh-client")
    (tmp_path / "known").write_text(f"[{where['host']}]:{where['port']} {where['host_key']}\n")
    (tmp_path / "leads.xlsx").write_bytes(CONTENT)
    answer = tmp_path / "answer"
    answer.write_text(f"#!/bin/sh\necho {where['password']}\n")
    answer.chmod(0o700)
    done = subprocess.run(
        [
            client, "-oBatchMode=no", f"-oUserKnownHostsFile={tmp_path / 'known'}", "-oStrictHostKeyChecking=yes",
            "-oPreferredAuthentications=password", f"-P{where['port']}", "-b-", f"{where['user']}@{where['host']}",
        ],
        input=f"cd /home/sftp\nput {tmp_path / 'leads.xlsx'} leads.part\nrename leads.part leads.xlsx\nls -l\n",
        env={**os.environ, "SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"},
        text=True, capture_output=True, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert files(small) == {PATH: len(CONTENT)}
