"""The whole of Listkeeper on one machine: the sandbox and Airflow's four components on SQLite.

Each component is a process of its own (not `airflow standalone`), so that tests can kill and restart one.
All state lives in one folder, all addresses are loopback. Nothing survives the stack: `stop` ends it
politely, and a watchdog process (`include.stack.sessions`) ends what is left when the owner was killed.
Airflow's settings are written to `<state>/airflow/airflow.cfg`, so that its own commands work too:
`AIRFLOW_HOME=.listkeeper/airflow .venv/bin/airflow dags list`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

import httpx
import psutil

from include.settings import PROJECT_ROOT as ROOT
from include.settings import STATE_FOLDER
from include.stack import sessions
from include.stack.airflow_client import Airflow
from include.stack.airflow_config import write_config

HOST = "127.0.0.1"
AIRFLOW_PORT = 8080
SANDBOX_PORT = 8900

AIRFLOW_COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
COMPONENTS = ("sandbox", *AIRFLOW_COMPONENTS)
MIGRATION = "db-migrate"
# Where Airflow's health answer speaks of a component: section and heartbeat.
HEARTBEATS = {
    "scheduler": ("scheduler", "latest_scheduler_heartbeat"),
    "dag-processor": ("dag_processor", "latest_dag_processor_heartbeat"),
    "triggerer": ("triggerer", "latest_triggerer_heartbeat"),
}
# What a stack leaves in its state folder, apart from the empty database kept for the next start.
LEFT_BEHIND = ("airflow", "logs", "staging", "ledger.db*", "suppression.csv", "vicidial.db*", "demo.json")
# What a stack that keeps its state begins anew: what its processes say. The logs of tasks stay, as the runs do.
BEGUN_ANEW = ("logs/*.log", "logs/dags")
SFTP_ABOVE = 22  # the sandbox's SFTP server listens so far above its vendors
VICIDIAL_LEADS = 10_000  # on the sandbox's dialer: enough for some thousand old ones
START_SECONDS = 120.0
STOP_SECONDS = 6.0
POLL_SECONDS = 0.2


class StackError(Exception):
    """The stack cannot start or go on; the message says what to do."""


class Stack:
    """Sandbox and Airflow as processes of this one.

    `leads` is the user's own list for the sandbox. `fresh` removes what an earlier stack left in `state`.
    `environment` goes to every process, last (tests move Airflow's folders with it). Use as a context
    manager: entering starts the processes, leaving ends them. Another description of the same stack
    (`include.stack.fleet`) names other `components`, and says how each is configured and started.
    """

    components: tuple[str, ...] = COMPONENTS
    left_behind: tuple[str, ...] = LEFT_BEHIND
    start_seconds = START_SECONDS

    def __init__(
        self,
        state: Path = STATE_FOLDER,
        *,
        airflow_port: int = AIRFLOW_PORT,
        sandbox_port: int = SANDBOX_PORT,
        leads: Path | None = None,
        fresh: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.state = state.resolve()
        self.airflow_port = airflow_port
        self.sandbox_port = sandbox_port
        self.leads = leads
        self.fresh = fresh
        self.url = f"http://{HOST}:{airflow_port}"
        self.sandbox_url = f"http://{HOST}:{sandbox_port}"
        self._environment = dict(environment or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, datetime] = {}
        self._log_starts: dict[str, int] = {}
        self._watchdog: subprocess.Popen[str] | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def home(self) -> Path:
        """Airflow's home folder."""
        return self.state / "airflow"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return f"sqlite:///{self.state / 'ledger.db'}"

    @property
    def vicidial_url(self) -> str:
        """SQLAlchemy URL of the database of the sandbox's dialer."""
        return f"sqlite:///{self.state / 'vicidial.db'}"

    @property
    def airflow(self) -> Airflow:
        """A new REST client, logged in as the administrator."""
        return Airflow(self.url, "admin", "admin")

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each started component; it is the id of the component's session too."""
        return {component: process.pid for component, process in self._processes.items()}

    def log_file(self, component: str) -> Path:
        """Where a component's output goes."""
        return self.state / "logs" / f"{component}.log"

    def start(self) -> None:
        """Start every process; does not wait until they are healthy.

        :raises StackError: another stack owns this state folder, a port is taken, or the database failed
        """
        self._take_lock()
        for port, variable, purpose in self._needed_ports():
            require_free_port(port, variable, purpose)
        self._clear()
        self.home.mkdir(parents=True, exist_ok=True)
        (self.state / "logs").mkdir(exist_ok=True)
        self._start_watchdog()
        self._configure()
        self._spawn("sandbox")
        self._prepare_database()
        for component in self.components:
            if component not in self._processes:
                self._spawn(component)

    def stop(self) -> None:
        """End every process, politely first; safe to call twice and after a failed start."""
        living = set(self.pids.values())
        try:
            sessions.end(living, STOP_SECONDS)
        finally:
            sessions.kill(living)  # also when a second Ctrl-C cut the polite part short
            for process in self._processes.values():
                process.wait()
            self._processes.clear()
            if self._watchdog is not None and self._watchdog.stdin is not None:
                self._watchdog.stdin.close()
                self._watchdog.wait()
                self._watchdog = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def kill(self, component: str) -> None:
        """End one component with SIGKILL, children included, as a crash of its machine would.

        `worker` kills the processes of the tasks that run now; the scheduler that started them lives on.
        """
        if component == "worker":
            for pid in self.task_processes():
                sessions.send(pid, signal.SIGKILL)
            return
        process = self._processes[component]
        sessions.kill({process.pid})
        process.wait()

    def task_processes(self) -> list[int]:
        """List the processes of the tasks that run now: each leads a process group of its own."""
        leader = self._processes["scheduler"].pid
        return [pid for pid in sessions.members({leader}) if os.getpgid(pid) == pid != leader]

    def restart(self, component: str) -> None:
        """Start a component again, ending it first when it still runs. Its log file goes on."""
        process = self._processes[component]
        sessions.end({process.pid}, STOP_SECONDS)
        process.wait()
        self._spawn(component)

    def wait_healthy(self, timeout: float | None = None, ready: Callable[[str], None] | None = None) -> None:
        """Wait until every component answers or has sent a heartbeat since it was (re)started.

        :param timeout: seconds, by default as long as such a stack may take to start
        :param ready: called once with the name of each component as it becomes ready
        :raises StackError: a component ended, or is not ready after `timeout` seconds
        """
        waiting = list(self.components)
        patience = self.start_seconds if timeout is None else timeout
        deadline = time.monotonic() + patience
        with self.airflow as airflow:
            while waiting:
                self.require_running()
                for component in [c for c in waiting if self._is_ready(c, airflow)]:
                    waiting.remove(component)
                    if ready:
                        ready(component)
                if waiting and time.monotonic() > deadline:
                    raise StackError(
                        f"Not ready after {patience:.0f} seconds: {', '.join(waiting)}.\n"
                        + self._last_words(waiting[0])
                    )
                time.sleep(POLL_SECONDS)

    def require_running(self) -> None:
        """Check that no component has ended.

        :raises StackError: one has; the message holds the end of its log
        """
        for component, process in self._processes.items():
            if process.poll() is not None:
                raise StackError(
                    f"{component} ended with exit code {process.returncode}.\n{self._last_words(component)}"
                )

    def _is_ready(self, component: str, airflow: Airflow) -> bool:
        try:
            if component == "sandbox":
                return httpx.get(f"{self.sandbox_url}/_sandbox", timeout=5, trust_env=False).is_success
            health = airflow.health()
        except (httpx.HTTPError, ValueError):
            return False
        if component == "api-server":
            return bool(health["metadatabase"]["status"] == "healthy")
        section, key = HEARTBEATS[component]
        heartbeat = health[section].get(key)
        return bool(heartbeat) and datetime.fromisoformat(heartbeat) > self._started[component]

    def _last_words(self, component: str) -> str:
        log = self.log_file(component)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        return f"The end of {log}:\n" + "\n".join(lines[-20:])

    def _needed_ports(self) -> list[tuple[int, str, str]]:
        """Ports that must be free, each with the variable that moves it and what it is for."""
        return [
            (self.airflow_port, "AIRFLOW_PORT", "Airflow"),
            (self.sandbox_port, "SANDBOX_PORT", "the sandbox"),
            (self.sandbox_port + SFTP_ABOVE, "SANDBOX_PORT", "the sandbox's SFTP server"),
        ]

    def _take_lock(self) -> None:
        """Own the state folder until this process ends (the system drops the lock, however it ends)."""
        self.state.mkdir(parents=True, exist_ok=True)
        lock = (self.state / "stack.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = json.loads(lock.read() or "{}")
            lock.close()
            raise StackError(
                f"Listkeeper is already running here (process {owner.get('pid', 'unknown')}): "
                f"{owner.get('url', 'starting')}\nEnd it with Ctrl-C there, or: kill {owner.get('pid', '')}"
            ) from None
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "url": self.url}))
        lock.flush()
        self._lock = lock

    def _clear(self) -> None:
        """Clear what the last stack left: all of it for a fresh start."""
        for leftover in self.left_behind if self.fresh else BEGUN_ANEW:
            for path in self.state.glob(leftover):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _start_watchdog(self) -> None:
        self._watchdog = subprocess.Popen(
            [sys.executable, "-m", "include.stack.sessions"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _command(self, component: str) -> list[str]:
        if component == "sandbox":
            leads = ["--leads", str(self.leads.resolve())] if self.leads else []
            suppression = ["--suppression", str(self.state / "suppression.csv")]
            vicidial = ["--vicidial-db", self.vicidial_url]
            vicidial += ["--vicidial-leads", str(VICIDIAL_LEADS)]
            port = ["--port", str(self.sandbox_port), "--sftp-port", str(self.sandbox_port + SFTP_ABOVE)]
            return [sys.executable, "-m", "include.sandbox", *port, *suppression, *vicidial, *leads]
        if component == MIGRATION:
            return [sys.executable, "-m", "airflow", "db", "migrate"]
        # One machine, one disk: the API server reads task logs from files. Log servers would cost two more
        # ports and 0.5 GB. (While a task runs, its log page says that it could not ask one, folded away.)
        quiet = ["--skip-serve-logs"] if component in ("scheduler", "triggerer") else []
        return [sys.executable, "-m", "airflow", component, *quiet]

    def _spawn(self, component: str, user: str | None = None) -> None:
        """Start a component, as another user where it asks for one."""
        self._started[component] = datetime.now(UTC)
        self._log_starts[component] = log.stat().st_size if (log := self.log_file(component)).exists() else 0
        with self.log_file(component).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                self._command(component),
                cwd=ROOT,
                env=self.environment(component),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        self._processes[component] = process
        if self._watchdog is None or self._watchdog.stdin is None:
            raise StackError("The stack was not started.")
        self._watchdog.stdin.write(f"{process.pid}\n")
        self._watchdog.stdin.flush()

    def _configure(self) -> None:
        """Write Airflow's configuration."""
        write_config(self.home, host=HOST, port=self.airflow_port, logs=self.state / "logs")

    def _prepare_database(self) -> None:
        """Bring Airflow's database up to date.

        What migrating an empty database yields depends on the locked packages alone, and takes a third of a
        start: a copy is kept for the next fresh start, and a database of this lock is left as it is.
        """
        database = self.home / "airflow.db"
        lock = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()
        migrated_for = self.home / "migrated-for"
        template = self.state / "cache" / f"airflow-{lock[:16]}.db"
        fresh = not database.exists()
        if fresh and template.exists():
            shutil.copyfile(template, database)
        elif fresh or not migrated_for.exists() or migrated_for.read_text() != lock:
            self._migrate()
            if fresh:
                template.parent.mkdir(exist_ok=True)
                unfinished = template.with_suffix(".part")
                shutil.copyfile(database, unfinished)
                unfinished.rename(template)
        migrated_for.write_text(lock)

    def _migrate(self) -> None:
        self._spawn(MIGRATION)
        if self._processes[MIGRATION].wait() != 0:
            raise StackError(f"`airflow db migrate` failed.\n{self._last_words(MIGRATION)}")
        del self._processes[MIGRATION]

    def environment(self, component: str | None = None) -> dict[str, str]:
        """Return the environment variables that every process sees, or those of one component.

        Airflow's and Listkeeper's own variables of the calling shell are left out: a shell that is set up
        for production must not lead the sandbox's fake lists there. Only LISTKEEPER_FLOWS passes.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "LISTKEEPER_")) or name == "LISTKEEPER_FLOWS"
        }
        return inherited | {
            # Airflow 3.3.2 uses a name that its library wants to drop, and every task's log would begin with that.
            "PYTHONWARNINGS": "ignore:GitWildMatchPattern",
            "AIRFLOW_HOME": str(self.home),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": f"{HOST},localhost",
            "no_proxy": f"{HOST},localhost",
            "LISTKEEPER_PUBLIC_URL": self.url,
            "LISTKEEPER_STATE": str(self.state),
            "LISTKEEPER_STAGING": str(self.state / "staging"),
            **self._environment,
        }


def require_free_port(port: int, variable: str, purpose: str) -> None:
    """Check that nobody listens on this loopback port.

    :raises StackError: somebody does; the message says who, and which variable chooses another port
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StackError(
                f"Port {port} for {purpose} cannot be used{_holder(port)}: {error.strerror}. "
                f"Choose another one, for example {variable}={port + 10000 if port < 50000 else 18080}."
            ) from None


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr[1:2] == (port,)
                and connection.pid
            ):
                return f" (held by {psutil.Process(connection.pid).name()}, process {connection.pid})"
    except psutil.Error:
        pass  # not ours to see
    return ""
