"""The servers of a fleet, by the programs of this machine: PostgreSQL, Redis, and an object store that moto plays.

Here is what each needs on disk, its command line and its address; `include.stack.fleet` starts and ends them. All
listen on loopback only; PostgreSQL and Redis ask for a password that is made anew each time. Nothing of them is kept.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

SERVICES: Final = ("postgres", "redis", "storage")
DATABASES: Final = ("airflow", "ledger", "vicidial")
POSTGRES_FOLDERS: Final = (
    "usr/lib/postgresql/*/bin",  # Debian and Ubuntu keep them off the PATH
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",
)
POSTGRES_USER: Final = "postgres"
"""Who runs PostgreSQL where we are root: it refuses root."""
OWNER: Final = "listkeeper"
LINGER_SECONDS: Final = 10.0


class ServiceError(Exception):
    """A server cannot run on this machine; the message says what to do."""


def require_programs() -> None:
    """Check that this machine has what a fleet needs. Raises ServiceError, in one sentence."""
    if _postgres() is None or shutil.which("redis-server") is None:
        raise ServiceError(
            "A fleet needs the programs of PostgreSQL and Redis: on Debian and Ubuntu "
            "`apt-get install postgresql redis-server`, on macOS `brew install postgresql@17 redis`."
        )
    if os.geteuid() == 0 and POSTGRES_USER not in {user.pw_name for user in pwd.getpwall()}:
        raise ServiceError(
            f"PostgreSQL refuses to run as root, and there is no user {POSTGRES_USER} here: use another user than root."
        )


def _postgres() -> Path | None:
    """The folder of `initdb` and `postgres`; off the PATH the one of the newest version."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = [folder for pattern in POSTGRES_FOLDERS for folder in Path("/").glob(pattern)]
    usable = [folder for folder in folders if (folder / "initdb").is_file()]
    return max(
        usable, key=lambda folder: [int(number) for number in re.findall(r"\d+", str(folder))], default=None
    )


class Services:
    """The three servers, each on a port of its own."""

    def __init__(self, host: str, ports: dict[str, int]) -> None:
        self.host = host
        self.ports = ports
        self.password = secrets.token_urlsafe(24)
        # Outside the state folder: PostgreSQL's own user must reach it.
        self.folder: Path | None = None

    def __repr__(self) -> str:
        return f"Services({self.ports!r})"

    @property
    def storage_url(self) -> str:
        """Address of the object store."""
        return f"http://{self.host}:{self.ports['storage']}"

    @property
    def broker_url(self) -> str:
        """Celery's URL of Redis (it holds the password: never log it)."""
        return f"redis://:{self.password}@{self.host}:{self.ports['redis']}/0"

    def database_url(self, name: str) -> str:
        """SQLAlchemy URL of a database (it holds the password: never log it)."""
        return f"postgresql+psycopg2://{OWNER}:{self.password}@{self.host}:{self.ports['postgres']}/{name}"

    def connection(self, name: str) -> dict[str, Any]:
        """Return Airflow's connection to a database, as `AIRFLOW_CONN_<ID>` holds it (with the password)."""
        return {
            "conn_type": "postgres",
            "host": self.host,
            "port": self.ports["postgres"],
            "login": OWNER,
            "password": self.password,
            "schema": name,
        }

    def prepare(self) -> None:
        """Make an empty PostgreSQL cluster and Redis's configuration. Raises ServiceError."""
        require_programs()
        self.folder = Path(tempfile.mkdtemp(prefix="listkeeper-fleet-"))
        self.folder.chmod(0o711)
        redis = _private(self.folder / "redis.conf")
        redis.write_text(
            f"bind {self.host}\nport {self.ports['redis']}\nrequirepass {self.password}\n"
            f'save ""\nappendonly no\ndir {self.folder}\n'
        )
        data, password = self.folder / "postgres", _private(self.folder / "password")
        data.mkdir(mode=0o700)
        password.write_text(self.password)
        if user := self.user_of("postgres"):
            shutil.chown(data, user)
            shutil.chown(password, user)
        options = ("-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", f"--pwfile={password}")
        made = subprocess.run(  # noqa: S603 - our own command, no shell
            [str(_program("initdb")), "-D", str(data), "-U", OWNER, *options],
            cwd=data,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        password.unlink()
        if made.returncode != 0:
            raise ServiceError(f"PostgreSQL's initdb failed:\n{made.stdout.strip()}")

    def command(self, service: str) -> list[str]:
        """Return the command line of a server whose files are prepared."""
        port = self.ports[service]
        if service == "postgres":
            # Nothing of it is kept, so nothing waits for the disk. It is reached by its port only.
            settings = {
                "listen_addresses": self.host,
                "port": port,
                "unix_socket_directories": "",
                "fsync": "off",
                "max_connections": 200,
            }
            flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
            return [str(_program("postgres")), "-D", f"{self.folder}/postgres", *flags]
        if service == "redis":
            return ["redis-server", f"{self.folder}/redis.conf"]
        return [sys.executable, "-m", "moto.server", "-H", self.host, "-p", str(port)]

    def user_of(self, service: str) -> str | None:
        """Whom a server runs as, None for ourselves."""
        return POSTGRES_USER if service == "postgres" and os.geteuid() == 0 else None

    def answers(self, service: str) -> bool:
        """Whether somebody listens on a server's port."""
        try:
            socket.create_connection((self.host, self.ports[service]), timeout=1).close()
        except OSError:
            return False
        return True

    def make_databases(self) -> None:
        """Make the databases, as soon as PostgreSQL takes connections (an OperationalError says that it does not)."""
        from sqlalchemy import create_engine, text  # what only lists a stack's parts need not wait for it

        engine = create_engine(self.database_url("postgres"), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                for name in DATABASES:
                    connection.execute(text(f"CREATE DATABASE {name}"))
        finally:
            engine.dispose()

    def remove(self) -> None:
        """Remove what the servers had on disk; call it when they have ended.

        PostgreSQL's helpers are in sessions of their own, and end by themselves a moment after it was killed.
        """
        deadline = time.monotonic() + LINGER_SECONDS
        while self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists() or time.monotonic() > deadline:
                self.folder = None
            else:
                time.sleep(0.1)


def _program(name: str) -> Path:
    folder = _postgres()
    if folder is None:
        raise ServiceError(f"PostgreSQL's {name} is not installed.")
    return folder / name


def _private(file: Path) -> Path:
    """Make an empty file that only its owner can read."""
    file.touch(mode=0o600)
    return file
