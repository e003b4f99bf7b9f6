"""Starts the sandbox and Airflow, and leaves them running until Ctrl-C: `make up`.

The state of the last time is kept (also that of `make demo`); the sandbox forgets what was loaded into it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import httpx

from include.flow_files import FlowFileError
from include.stack import console as screen
from include.stack.airflow_client import AirflowError
from include.stack.airflow_settings import SettingsError
from include.stack.console import Console
from include.stack.demo import Flow, tonight
from include.stack.processes import Stack, StackError


def run(stack: Stack, flows: list[Flow], console: Console) -> None:
    """Make a started stack ready for people, tell them how to go on, and watch over it."""
    with stack.airflow as airflow:
        screen.begin(stack, console, airflow)
        dags = screen.wait_for_dags(stack, airflow, {flow.dag_id for flow in flows})
        for dag in dags:
            airflow.unpause(str(dag["dag_id"]))
    first = flows[0]
    console.show(f"""
Airflow    {stack.url}    log in as admin / admin, or as the analyst ana / ana
Sandbox    {stack.sandbox_url}/_sandbox
Logs       {stack.state / "logs"}

All {len(dags)} DAGs are on; nothing runs before its time (the pulls start at night) unless you start it.
First: open {stack.url}/dags/{first.dag_id}
       press Trigger and choose the night {first.night} (partition key); its deliveries follow by themselves.
Stop with Ctrl-C.""")
    while True:
        stack.require_running()
        time.sleep(1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stack; 0 after Ctrl-C, 1 when it cannot start or go on, 2 for a wrong argument."""
    chosen = screen.arguments("make up", "Start the sandbox and Airflow and leave them running.").parse_args(
        argv
    )
    screen.end_on_signals()
    console = Console()
    try:
        flows = tonight(datetime.now(UTC))
        console.say("starting the sandbox and Airflow")
        with Stack(
            airflow_port=chosen.airflow_port, sandbox_port=chosen.sandbox_port, leads=chosen.leads
        ) as stack:
            run(stack, flows, console)
    except (StackError, SettingsError, FlowFileError, AirflowError, httpx.HTTPError) as error:
        console.show(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        console.show("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
