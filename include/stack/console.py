"""What `make demo` and `make up` have in common: their arguments, their lines on the screen, their end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from include.settings import PROJECT_ROOT
from include.stack.airflow_client import Airflow
from include.stack.airflow_settings import at_sandbox, read_settings
from include.stack.processes import AIRFLOW_PORT, SANDBOX_PORT, Stack, StackError

LEADS_SUFFIXES = (".csv", ".json")


class Console:
    """Prints lines with the seconds since the start before them."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def say(self, line: str) -> None:
        """Print one line of progress."""
        self.show(f"{self.seconds:6.1f} s  {line}")

    @staticmethod
    def show(text: str) -> None:
        """Print text as it is, at once."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def arguments(prog: str, description: str) -> argparse.ArgumentParser:
    """Build the parser of the options that every stack has."""
    usage = f"{prog} [LEADS=my.csv] [AIRFLOW_PORT={AIRFLOW_PORT}] [SANDBOX_PORT={SANDBOX_PORT}]"
    parser = argparse.ArgumentParser(prog=prog, usage=usage, description=description)
    parser.add_argument("--airflow-port", type=_port, default=AIRFLOW_PORT, help="make: AIRFLOW_PORT=")
    parser.add_argument("--sandbox-port", type=_port, default=SANDBOX_PORT, help="make: SANDBOX_PORT=")
    parser.add_argument("--leads", type=_leads_file, help="your own list, CSV or JSON; make: LEADS=")
    return parser


def begin(stack: Stack, console: Console, airflow: Airflow) -> None:
    """Wait for a started stack and load `airflow_settings.yaml` into it."""
    stack.wait_healthy(ready=lambda component: console.say(f"{component} is ready"))
    settings = at_sandbox(read_settings(PROJECT_ROOT / "airflow_settings.yaml"), stack.sandbox_url)
    airflow.load(settings)
    console.say(
        f"loaded {len(settings.connections)} connections, {len(settings.pools)} pools, "
        f"{len(settings.variables)} variables from airflow_settings.yaml"
    )


def wait_for_dags(
    stack: Stack, airflow: Airflow, expected: set[str], timeout: float = 60.0
) -> list[dict[str, object]]:
    """Wait until Airflow lists all `expected` DAGs, and return every DAG it lists.

    :raises StackError: a DAG file could not be imported, or a DAG does not appear in time
    """
    deadline = time.monotonic() + timeout
    while True:
        stack.require_running()
        require_no_import_errors(airflow)
        dags = airflow.dags()
        missing = expected - {dag["dag_id"] for dag in dags}
        if not missing:
            return dags
        if time.monotonic() > deadline:
            raise StackError(
                f"Airflow does not list {', '.join(sorted(missing))} after {timeout:.0f} seconds. "
                f"See {stack.log_file('dag-processor')} and {stack.state / 'logs' / 'dags'}."
            )
        time.sleep(0.3)


def require_no_import_errors(airflow: Airflow) -> None:
    """Check that Airflow could read every DAG file. Raises StackError with the tracebacks."""
    if errors := airflow.import_errors():
        found = "\n\n".join(f"{error['filename']}:\n{error['stack_trace'].strip()}" for error in errors)
        raise StackError(f"Airflow cannot import {len(errors)} DAG file(s).\n\n{found}")


def end_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into an orderly end, as Ctrl-C already is one."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; choose one from 1024 to 65535")
    return int(text)


def _leads_file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {path} (a relative path starts at {Path.cwd()})")
    if path.suffix.lower() not in LEADS_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{path} must be a CSV or JSON file, ending in .csv or .json")
    if not os.access(path, os.R_OK):
        raise argparse.ArgumentTypeError(f"{path} cannot be read; check its permissions")
    if path.stat().st_size == 0:
        raise argparse.ArgumentTypeError(f"{path} is empty")
    return path
