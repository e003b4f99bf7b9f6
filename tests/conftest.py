"""Fixtures of general use: the sandbox for a whole module, a staging area of the test's own, real servers.

The SFTP server is OpenSSH's own, from Debian's packages, on a loopback port, as the user who runs the tests.
MariaDB is the one that LISTKEEPER_TEST_MARIADB names (a URL whose user may create databases), or a throw-away
server from Debian's packages, in a temporary folder, on a loopback port and a socket of its own. Object storage is
moto's server, from requirements-distributed.txt.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.waiting import LIMIT, until

if TYPE_CHECKING:
    from include.sandbox.server import SandboxServer

# httpx gives up after five seconds, unless told otherwise: a busy machine may take longer to answer.
for _wait in ("connect", "read", "write", "pool"):
    setattr(httpx.Client.__init__.__kwdefaults__["timeout"], _wait, LIMIT)

# And hypothesis asks each example to end in a fifth of a second.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="module")
def small_sandbox() -> Iterator[SandboxServer]:
    """The sandbox with a hundred leads; reset it where a test needs its start."""
    from include.sandbox.server import SandboxServer

    with SandboxServer(synthetic=100) as server:
        yield server


@pytest.fixture
def staging_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A staging area of this test alone, on the local disk."""
    folder = tmp_path / "staging"
    monkeypatch.setenv("LISTKEEPER_STAGING", str(folder))
    return folder


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server over real HTTP; without the fleet's packages the test is skipped."""
    why = "no S3 server here: install requirements-distributed.lock (make distributed does)"
    pytest.importorskip("s3fs", reason=why)
    server = pytest.importorskip("moto.server", reason=why).ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket of this test alone, with credentials in the environment as in life."""
    import httpx

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL_S3": s3_server,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "tester",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    name = f"test-{uuid.uuid4().hex[:12]}"
    httpx.put(f"{s3_server}/{name}", trust_env=False).raise_for_status()
    return f"s3://{name}"


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[str]:
    """The URL of a server, without a database; its user may do everything, users and grants included."""
    if url := os.environ.get("LISTKEEPER_TEST_MARIADB"):
        yield url
        return
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    server, install = (shutil.which(name, path=path) for name in ("mariadbd", "mariadb-install-db"))
    if server is None or install is None:
        why = "no MariaDB server here: apt-get install mariadb-server, or set LISTKEEPER_TEST_MARIADB"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    folder = Path(tempfile.mkdtemp(prefix="lk-maria-"))  # short: a socket's path may have 107 bytes
    user = ["--user=root"] if os.geteuid() == 0 else []
    data, log = f"--datadir={folder / 'data'}", folder / "log"
    try:
        made = subprocess.run(
            [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", *user],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout
        start = folder / "start.sql"
        start.write_text("GRANT ALL ON *.* TO tester@'127.0.0.1' IDENTIFIED BY 'tester' WITH GRANT OPTION;\n")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = [
            "--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder / 'socket'}", f"--init-file={start}",
            f"--pid-file={folder / 'pid'}", "--skip-name-resolve", "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=0", "--performance-schema=off",
            "--default-time-zone=+02:00",  # Vicidial's server keeps local time: here Johannesburg's
        ]  # fmt: skip
        with log.open("w") as out:
            process = subprocess.Popen(
                [server, "--no-defaults", data, *options, *user], stdout=out, stderr=subprocess.STDOUT
            )
        try:
            _wait_for(process, port, log)
            yield f"mysql+pymysql://tester:tester@127.0.0.1:{port}"
        finally:
            process.kill()  # nothing of it is kept
            process.wait()
    finally:
        shutil.rmtree(folder)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import pymysql

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            pymysql.connect(host="127.0.0.1", port=port, user="tester", password="tester").close()
        except pymysql.err.OperationalError:
            return False
        return True

    until(answers, "MariaDB")


@pytest.fixture(scope="session")
def make_mariadb(mariadb_server: str) -> Iterator[Callable[[], str]]:
    """Make an empty database on the server, and return its URL. A server that stays gets clean."""
    from sqlalchemy import create_engine, make_url, text

    engine = create_engine(mariadb_server, isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def make() -> str:
        made.append(f"listkeeper_test_{uuid.uuid4().hex[:12]}")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {made[-1]} CHARACTER SET utf8mb4"))
        return make_url(mariadb_server).set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    with engine.connect() as connection:
        for name in made if "LISTKEEPER_TEST_MARIADB" in os.environ else ():
            connection.execute(text(f"DROP DATABASE {name}"))
    engine.dispose()


@pytest.fixture
def mariadb_url(make_mariadb: Callable[[], str]) -> str:
    """An empty database of this test alone, on a real MariaDB."""
    return make_mariadb()


@dataclass(frozen=True)
class SftpPlace:
    """Where a test may upload to: an account, the server's key, and an empty folder that exists."""

    host: str
    port: int
    user: str
    password: str | None
    key_file: Path | None
    host_key: str
    """As `known_hosts` writes it: `ssh-ed25519 AAAA...`."""
    folder: str


@pytest.fixture(scope="session")
def openssh_server() -> Iterator[SftpPlace]:
    """OpenSSH's sftp server, with a key instead of a password: only root's sshd can check passwords."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    server, keygen = (shutil.which(name, path=path) for name in ("sshd", "ssh-keygen"))
    if server is None or keygen is None:
        why = "no OpenSSH server here: apt-get install openssh-server openssh-client"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    folder = Path(tempfile.mkdtemp(prefix="lk-sshd-"))
    try:
        for name in ("host", "user"):
            subprocess.run(
                [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / name], check=True
            )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd insists on it
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config, log = folder / "config", folder / "log"
        config.write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {folder / 'host'}\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {folder / 'user.pub'}\nPasswordAuthentication no\nUsePAM no\n"
            "Subsystem sftp internal-sftp\n"
        )
        with log.open("w") as out:
            process = subprocess.Popen(
                [server, "-D", "-e", "-f", config], stdout=out, stderr=subprocess.STDOUT
            )
        try:

            def listens() -> bool:
                assert process.poll() is None, log.read_text()
                return f"listening on 127.0.0.1 port {port}" in log.read_text()

            until(listens, "sshd")
            yield SftpPlace(
                "127.0.0.1",
                port,
                getpass.getuser(),
                None,
                folder / "user",
                (folder / "host.pub").read_text().strip(),
                "",
            )
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sandbox", "openssh"])
def sftp_place(request: pytest.FixtureRequest, tmp_path: Path) -> SftpPlace:
    """An empty folder on each of two real SFTP servers: the sandbox's, and OpenSSH's."""
    if request.param == "openssh":
        folder = tmp_path / "remote"
        folder.mkdir()
        place: SftpPlace = request.getfixturevalue("openssh_server")
        return replace(place, folder=str(folder))
    sandbox: SandboxServer = request.getfixturevalue("small_sandbox")
    sandbox.reset()
    told = sandbox.info()["isales"]["sftp"]
    return SftpPlace(
        told["host"], told["port"], told["user"], told["password"], None, told["host_key"], told["folder"]
    )
