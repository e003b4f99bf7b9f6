"""The same stack as a fleet: PostgreSQL, Redis, an object store, and Celery workers that share no disk.

Everything runs on this machine, but as production runs it on several: each worker has a home, a state folder and a
place for temporary files of its own, and no other way to hand rows on than `s3://`. Airflow's metadata, the ledger
and the sandbox's dialer are databases of one PostgreSQL; task logs go to the object store, where the API server finds
them whichever worker wrote them. What a process is told here is what docs/operations.md, "Several machines", names.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
from upath import UPath

from include.settings import STATE_FOLDER, flows_folder
from include.stack import machine, sessions
from include.stack.airflow_client import Airflow
from include.stack.airflow_config import write_config
from include.stack.processes import (
    AIRFLOW_COMPONENTS,
    HOST,
    LEFT_BEHIND,
    POLL_SECONDS,
    SANDBOX_PORT,
    STOP_SECONDS,
    Stack,
    StackError,
)
from include.stack.services import SERVICES, ServiceError, Services

WORKERS: Final = ("worker-1", "worker-2")
PORTS_ABOVE: Final = {"postgres": 32, "redis": 79, "storage": 90}
"""How far above the sandbox's port each server listens."""
BUCKET: Final = "listkeeper"
STAGING: Final = f"s3://{BUCKET}/staging"
SUPPRESSION: Final = "suppression.csv"
SERVICE_SECONDS: Final = 30.0


class Fleet(Stack):
    """Sandbox, servers, Airflow and its workers as processes of this one; see `Stack`.

    Databases, broker and bucket are empty at each start.
    """

    components = ("sandbox", *SERVICES, *AIRFLOW_COMPONENTS, *WORKERS)
    left_behind = (*LEFT_BEHIND, "fleet-flows", *WORKERS)
    start_seconds = 300.0

    def __init__(
        self,
        state: Path = STATE_FOLDER / "distributed",
        *,
        sandbox_port: int = SANDBOX_PORT,
        **arguments: Any,
    ) -> None:
        super().__init__(state, sandbox_port=sandbox_port, **arguments)
        self.services = Services(HOST, {name: sandbox_port + PORTS_ABOVE[name] for name in SERVICES})

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger (it holds a password: never log it)."""
        return self.services.database_url("ledger")

    @property
    def vicidial_url(self) -> str:
        """SQLAlchemy URL of the database of the sandbox's dialer: the workers reach it as one on another machine."""
        return self.services.database_url("vicidial")

    def disk(self, worker: str) -> Path:
        """The folder that one worker has to itself."""
        return self.state / worker

    def stop(self) -> None:
        """End Airflow first, which needs its servers to end well, then the servers."""
        pids = self.pids
        try:
            sessions.end({pid for name, pid in pids.items() if name not in SERVICES}, STOP_SECONDS)
            if "postgres" in pids:
                sessions.send(pids["postgres"], signal.SIGINT)  # at SIGTERM it would wait for its clients
        finally:
            super().stop()
            self.services.remove()

    def left_on_disks(self) -> list[Path]:
        """Files that workers have written for anything but their own start and their logs."""
        left = [
            path
            for worker in WORKERS
            for path in self.disk(worker).rglob("*")
            if path.is_file() and path.relative_to(self.disk(worker)).parts[0] not in ("airflow", "logs")
        ]
        common = self.state / "staging"
        return [*left, *(path for path in common.rglob("*") if path.is_file())]

    def objects(self) -> int:
        """How many objects lie in the staging area."""
        keys = {"key": BUCKET, "secret": BUCKET, "endpoint_url": self.services.storage_url}
        staging = UPath(STAGING, **keys, use_listings_cache=False)
        return len(staging.fs.find(staging.path))

    def environment(self, component: str | None = None) -> dict[str, str]:
        """Return the variables of one component; a worker's lead to its own disk.

        Settings of the calling shell for a real object store are left out, as Airflow's are.
        """
        common = {
            name: value
            for name, value in super().environment(component).items()
            if not name.startswith(("AWS_", "FSSPEC_"))
        }
        told = {
            "LISTKEEPER_STAGING": STAGING,
            "LISTKEEPER_FLOWS": str(self.state / "fleet-flows"),
            "AIRFLOW_CONN_LISTKEEPER_LEDGER": json.dumps(self.services.connection("ledger")),
            "AIRFLOW_CONN_VICIDIAL_DB": json.dumps(self.services.connection("vicidial")),
            "AWS_ENDPOINT_URL_S3": self.services.storage_url,
            "AWS_ACCESS_KEY_ID": BUCKET,
            "AWS_SECRET_ACCESS_KEY": BUCKET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
        if component in WORKERS:
            disk = self.disk(component)
            told |= {
                "AIRFLOW_HOME": str(disk / "airflow"),
                "LISTKEEPER_STATE": str(disk),
                "TMPDIR": str(disk / "tmp"),
                machine.VARIABLE: component,
            }
        return common | told

    def _needed_ports(self) -> list[tuple[int, str, str]]:
        own = [(port, "SANDBOX_PORT", name) for name, port in self.services.ports.items()]
        return [*super()._needed_ports(), *own]

    def _configure(self) -> None:
        """Start the servers, and write what every machine of a fleet is set up with."""
        try:
            self.services.prepare()
        except ServiceError as error:
            raise StackError(str(error)) from None
        for service in SERVICES:
            self._spawn(service, user=self.services.user_of(service))
        write_config(
            self.home, host=HOST, port=self.airflow_port, logs=self.state / "logs", changes=self._changes()
        )
        for worker in WORKERS:
            home = self.disk(worker) / "airflow"
            for folder in (home, self.disk(worker) / "tmp"):
                folder.mkdir(parents=True, exist_ok=True)
            write_config(
                home,
                host=HOST,
                port=self.airflow_port,
                logs=self.disk(worker) / "logs",
                keys=self.home / "secrets.json",
                changes=self._changes(),
            )
        self._copy_flows()
        self._until_ready(*SERVICES)
        self.services.make_databases()
        httpx.put(f"{self.services.storage_url}/{BUCKET}", trust_env=False).raise_for_status()

    def _changes(self) -> Mapping[str, Mapping[str, object]]:
        return {
            "core": {
                "executor": "CeleryExecutor",
                "hostname_callable": "include.stack.machine.name",
            },
            "database": {"sql_alchemy_conn": self.services.database_url("airflow")},
            "celery": {
                "broker_url": self.services.broker_url,
                "result_backend": f"db+{self.services.database_url('airflow')}",
                "worker_concurrency": 2,
            },
            "logging": {
                "remote_logging": True,
                "remote_base_log_folder": f"s3://{BUCKET}/logs",
            },
        }

    def _copy_flows(self) -> None:
        """Write the flow files as a fleet has them: the suppression list lies where every worker reaches it."""
        source = Path(super().environment().get("LISTKEEPER_FLOWS") or flows_folder())
        target = self.state / "fleet-flows"
        target.mkdir(exist_ok=True)
        for file in source.glob("*.y*ml"):
            text = file.read_text(encoding="utf-8")
            text = text.replace(f".listkeeper/{SUPPRESSION}", f"s3://{BUCKET}/{SUPPRESSION}")
            (target / file.name).write_text(text, encoding="utf-8")

    def _until_ready(self, *components: str) -> None:
        """Wait for parts of the stack that the next step of its start needs."""
        deadline = time.monotonic() + SERVICE_SECONDS
        while waiting := [
            component for component in components if not self._is_ready(component, self.airflow)
        ]:
            self.require_running()
            if time.monotonic() > deadline:
                raise StackError(
                    f"{waiting[0]} does not answer after {SERVICE_SECONDS:.0f} seconds.\n{self._last_words(waiting[0])}"
                )
            time.sleep(POLL_SECONDS)

    def _prepare_database(self) -> None:
        """Make Airflow's tables; put the sandbox's suppression list, written meanwhile, where all reach it."""
        self._migrate()
        self._until_ready("sandbox")
        content = (self.state / SUPPRESSION).read_bytes()
        place = f"{self.services.storage_url}/{BUCKET}/{SUPPRESSION}"
        httpx.put(place, content=content, trust_env=False).raise_for_status()

    def _command(self, component: str) -> list[str]:
        if component in SERVICES:
            return self.services.command(component)
        if component in WORKERS:
            return [
                *super()._command("celery"),
                "worker",
                "--skip-serve-logs",
                "--celery-hostname",
                component,
            ]
        return super()._command(component)

    def _is_ready(self, component: str, airflow: Airflow) -> bool:
        if component in SERVICES:
            return self.services.answers(component)
        if component in WORKERS:
            return self._has_joined(component)
        if not super()._is_ready(component, airflow):
            return False
        return component != "api-server" or self._serves_workers()

    def _serves_workers(self) -> bool:
        """Whether the API that tasks talk to answers. It is built at the first call, for seconds in which nobody is
        answered: here, rather than when the first tasks start.
        """
        try:
            health = httpx.get(f"{self.url}/execution/health", timeout=SERVICE_SECONDS, trust_env=False)
        except httpx.HTTPError:
            return False
        return health.is_success

    def _has_joined(self, worker: str) -> bool:
        """Whether a worker has said since its start that it takes tasks."""
        log = self.log_file(worker)
        since = self._log_starts.get(worker, 0)
        with log.open("rb") as file:
            file.seek(since)
            return f"{worker} ready" in file.read().decode(errors="replace")
