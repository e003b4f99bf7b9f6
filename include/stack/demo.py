"""Runs tonight's flows once, in front of your eyes: `make demo`.

Starts a stack from a clean state, triggers last night's pull of every source through the real scheduler,
waits for the deliveries that follow it by themselves, prints where every row went, writes the same to
`.listkeeper/demo.json`, and stops what it started. Beside them old Vicidial leads are archived: that run
meets the office's hours, waits without a worker, and goes on when the sandbox's clock says that it is evening.
Exits non-zero unless every run ended well and every row is accounted for. What should run is read from the
flow files, so that a DAG that never shows up is noticed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import httpx

from include.flow_files import KINDS, ArchiveFlow, Delivery, FlowFileError, PlatformSource, load_flows
from include.stack import console as screen
from include.stack.airflow_client import Airflow, AirflowError
from include.stack.airflow_settings import SettingsError
from include.stack.console import Console
from include.stack.demo_result import FlowResult, read_counts, table, write_json
from include.stack.processes import Stack, StackError

RUN_SECONDS = 600.0
FOLLOW_SECONDS = 60.0  # how long after its pull a delivery may take to start
POLL_SECONDS = 0.5
LOG_LINES = 15
ENDED = ("success", "failed")

S = TypeVar("S", bound=Stack)

# Task states worth a line, the most telling first: a mapped task shows the first one any of its parts is in.
TOLD = {
    "failed": "failed",
    "up_for_retry": "failed, will be tried again",
    "awaiting_input": "waits for a person (Required Actions)",
    "deferred": "waits, without holding a worker",
    "success": "done",
}


@dataclass
class Flow:
    """One DAG that has to run tonight. `after` is the pull it follows, None for a pull itself."""

    name: str
    dag_id: str
    night: str
    after: str | None
    run: dict[str, Any] | None = None
    machines: dict[str, list[str]] = field(default_factory=dict)
    """Where each task was seen to run, in order: more than one machine after a wait or a second try."""

    @property
    def archives(self) -> bool:
        """Whether it archives leads, which needs no night's pull."""
        return self.dag_id.startswith("archive_vicidial_leads__")

    def is_mine(self, run: dict[str, Any]) -> bool:
        """Whether a run that Airflow lists is the one of tonight."""
        if run["dag_id"] != self.dag_id:
            return False
        # An archive has one run at a time: after its hour Airflow starts one by itself, and ours waits behind it.
        return self.archives or bool(run["partition_key"] == self.night)

    def look(self, runs: Sequence[dict[str, Any]]) -> None:
        """Follow the first of tonight's runs that has begun, to its end; the others find its work done."""
        if self.run is not None and self.run["state"] != "queued":
            runs = [run for run in runs if run["dag_run_id"] == self.run["dag_run_id"]]
        self.run = next((run for run in runs if run["state"] != "queued"), runs[0] if runs else None)

    @property
    def state(self) -> str | None:
        """State of its run, None before there is one."""
        return self.run["state"] if self.run else None


def tonight(now: datetime) -> list[Flow]:
    """List what should run, from the flow files: every source, every delivery behind its source, every archive.

    :raises FlowFileError: a flow file is broken
    """
    sources, broken = load_flows(PlatformSource)
    flows = [Flow(s.name, s.dag_id, s.last_night(now).isoformat(), None) for s in sources]
    pulls = {flow.name: flow for flow in flows}
    for kind in KINDS.values():
        if not issubclass(kind, Delivery):
            continue
        deliveries, more = load_flows(kind)
        broken += more
        for delivery in deliveries:
            pull = pulls.get(delivery.source)
            if pull is None:
                raise StackError(
                    f"{delivery.dag_id} delivers the source {delivery.source}, which no file defines."
                )
            flows.append(Flow(delivery.name, delivery.dag_id, pull.night, pull.dag_id))
    archives, more = load_flows(ArchiveFlow)
    broken += more
    if broken:
        raise broken[0].error
    if not pulls:
        raise StackError("There is no flow file of a source, so there is nothing to pull.")
    night = max(flow.night for flow in flows)
    return [*flows, *(Flow(flow.name, flow.dag_id, night, None) for flow in archives)]


def watch(
    stack: Stack,
    airflow: Airflow,
    flows: list[Flow],
    console: Console,
    timeout: float,
    waits: Callable[[Flow], None] = lambda flow: None,
) -> None:
    """Follow the flows until all have ended or nothing more can come, telling each change in one line.

    Nobody sits beside a demo, so a flow that asks for a person's approval is told no.

    :param waits: called each time a task of a flow has begun to wait.
    """
    told: dict[tuple[str, str], str] = {}
    waiting_since: dict[str, float] = {}
    width = max(len(flow.dag_id) for flow in flows)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        stack.require_running()
        runs = airflow.runs()
        for flow in flows:
            if flow.state in ENDED:
                continue
            flow.look([run for run in runs if flow.is_mine(run)])
            if flow.run is None:
                continue
            # The run was read before its tasks: when it has ended, they have too.
            tasks = airflow.task_instances(flow.dag_id, flow.run["dag_run_id"])
            _note_machines(flow, tasks)
            lines = _task_lines(tasks)
            if flow.state in ENDED:
                lines["run"] = str(flow.state)
            for task, state in lines.items():
                if told.get((flow.dag_id, task)) != state:
                    told[flow.dag_id, task] = state
                    console.say(f"{flow.dag_id:<{width}}  {task}: {state}")
                    if state == TOLD["deferred"]:
                        waits(flow)
                    elif state == TOLD["awaiting_input"]:
                        why = "nobody approves in make demo; see the plan in make up"
                        airflow.answer(flow.dag_id, flow.run["dag_run_id"], task, "Reject", {"why": why})
        if not any(_may_still_come(flow, flows, waiting_since) for flow in flows):
            return
        time.sleep(POLL_SECONDS)


def _may_still_come(flow: Flow, flows: list[Flow], waiting_since: dict[str, float]) -> bool:
    if flow.state in ENDED:
        return False
    if flow.run is not None or flow.after is None:
        return True
    pull = next(other for other in flows if other.dag_id == flow.after)
    if pull.state != "success":
        return pull.state != "failed"
    since = waiting_since.setdefault(flow.dag_id, time.monotonic())
    return time.monotonic() - since < FOLLOW_SECONDS


def _note_machines(flow: Flow, tasks: list[dict[str, Any]]) -> None:
    for task in tasks:
        seen, machine = flow.machines.setdefault(task["task_id"], []), task.get("hostname")
        if machine and machine not in seen:
            seen.append(machine)


def _task_lines(tasks: list[dict[str, Any]]) -> dict[str, str]:
    """Say what is worth saying of each task: name (and number of parts) -> words."""
    states: dict[str, list[str]] = {}
    for task in tasks:
        states.setdefault(task["task_id"], []).append(task["state"])
    lines = {}
    for task_id, parts in states.items():
        telling = next((state for state in TOLD if state in parts), None)
        if telling is None or (telling == "success" and set(parts) - {"success", "skipped"}):
            continue
        lines[task_id] = TOLD[telling] + (f" ({len(parts)} parts)" if len(parts) > 1 else "")
    return lines


def judge(airflow: Airflow, flow: Flow) -> FlowResult:
    """Read what a flow's run left behind."""
    if flow.run is None:
        return FlowResult(flow.name, flow.dag_id, None, None, None, "never started", well=False)
    run_id = flow.run["dag_run_id"]
    summary = airflow.xcom(flow.dag_id, run_id, "reconcile", "summary")
    counts = read_counts(summary)
    verdict, report = (None, None) if counts is None else (summary.get("verdict"), summary.get("report"))
    if flow.state not in ENDED:
        verdict = f"not finished ({flow.state})"
    elif counts is None:
        verdict = f"{flow.state}, but no summary of its rows"
    elif flow.state == "failed":
        verdict = f"failed: {verdict}" if verdict else "failed"
    return FlowResult(
        flow=flow.name,
        dag_id=flow.dag_id,
        run_id=run_id,
        counts=counts,
        seconds=flow.run["duration"],
        verdict=str(verdict or flow.state),
        well=flow.state == "success",
        report=report,
    )


def failures(airflow: Airflow, flow: Flow) -> str:
    """Tell the failed tasks of a run, each with the end of its log."""
    if flow.run is None or flow.state != "failed":
        return ""
    run_id = flow.run["dag_run_id"]
    told = []
    for task in airflow.task_instances(flow.dag_id, run_id):
        if task["state"] != "failed":
            continue
        log = airflow.log(flow.dag_id, run_id, task["task_id"], task["try_number"], task["map_index"])
        told += [
            f"\n{flow.dag_id} failed at {task['task_id']}:",
            *(f"  | {line}" for line in log[-LOG_LINES:]),
        ]
    return "\n".join(told)


class Office:
    """The hours of the sandbox's dialer: the demo moves the sandbox's clock from a working day into its evening."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack, self._console, self._is_open = stack, console, False
        zone = ZoneInfo("Africa/Johannesburg")  # whose local time the sandbox's dialer keeps
        today = datetime.now(zone).date()
        self._day = today - timedelta(days=max(0, today.weekday() - 4))
        self._zone = zone

    def opens(self) -> None:
        """Make it ten in the morning."""
        # At that time iSales would not take a signature of ours: its clock is the sandbox's.
        self._post("switches", {"isales": {"clock_tolerance_minutes": None}})
        self._set(10)
        self._is_open = True

    def closes(self, flow: Flow) -> None:
        """Make it eight in the evening, once an archive has met the office and waits."""
        if flow.archives and self._is_open:
            self._is_open = False
            self._set(20)
            self._console.say("the office closes: the sandbox's clock now says 20:00")

    def _set(self, hour: int) -> None:
        now = datetime.combine(self._day, clock_time(hour), self._zone)
        self._post("clock", {"now": now.isoformat()})

    def _post(self, what: str, body: dict[str, Any]) -> None:
        url = f"{self._stack.sandbox_url}/_sandbox/{what}"
        httpx.post(url, json=body, trust_env=False).raise_for_status()


def run(stack: Stack, flows: list[Flow], console: Console, timeout: float) -> bool:
    """Run the flows on a started stack and return whether all is well."""
    with stack.airflow as airflow:
        screen.begin(stack, console, airflow)
        screen.wait_for_dags(stack, airflow, {flow.dag_id for flow in flows})
        console.say(f"Airflow lists {len(flows)} flows")
        for flow in flows:
            airflow.unpause(flow.dag_id)
        office = Office(stack, console)
        for flow in flows:
            if flow.archives:
                office.opens()
                asked = {"action": "apply", "reason": "make demo", "window": "ask the server"}
                airflow.trigger(flow.dag_id, conf=asked, note="make demo")
                console.say(f"{flow.dag_id} archives old leads, as soon as the office lets it")
            elif flow.after is None:
                airflow.trigger(flow.dag_id, partition_key=flow.night, note="make demo")
                console.say(
                    f"{flow.dag_id} pulls the night {flow.night}; its deliveries follow by themselves"
                )
        watch(stack, airflow, flows, console, timeout, waits=office.closes)
        screen.require_no_import_errors(airflow)
        results = [judge(airflow, flow) for flow in flows]
        for flow in flows:
            if told := failures(airflow, flow):
                console.show(told)
    night = ", ".join(sorted({flow.night for flow in flows}))
    well = write_json(stack.state / "demo.json", results, night=night, seconds=console.seconds)
    console.show(f"\nThe night {night}\n\n{table(results)}\n")
    console.show(f"What each left is below {stack.environment()['LISTKEEPER_STAGING']}:")
    for result in results:
        if result.report:
            console.show(f"  {result.report}")
    console.show(f"The same as JSON: {stack.state / 'demo.json'}")
    console.show(
        "Every row is accounted for."
        if well
        else f"NOT every run ended well with every row accounted for. Logs: {stack.state / 'logs'}"
    )
    return well


def see_runs(_stack: Stack, _flows: list[Flow], console: Console) -> bool:
    """Say where the runs are kept."""
    console.show("See the runs in the browser: make up")
    return True


def asked(command: str, argv: Sequence[str] | None) -> dict[str, Any]:
    """Read the command line of a demo: the arguments of its stack, and `timeout` in seconds."""
    parser = screen.arguments(command, "Run tonight's flows once and show where every row went.")
    parser.add_argument(
        "--timeout", type=float, default=RUN_SECONDS, help="seconds for the runs; make: TIMEOUT="
    )
    return vars(parser.parse_args(argv))


def play(stack: S, timeout: float, afterwards: Callable[[S, list[Flow], Console], bool]) -> int:
    """Start a stack and run the demo on it; 0 when all is well, 1 when not, 130 after Ctrl-C.

    :param afterwards: what else there is to say while the stack still runs; returns whether that is well too.
    """
    screen.end_on_signals()
    console = Console()
    try:
        flows = tonight(datetime.now(UTC))
        console.say("starting the sandbox and Airflow, from a clean state")
        with stack:
            well = run(stack, flows, console, timeout)
            return 0 if afterwards(stack, flows, console) and well else 1
    except (StackError, SettingsError, FlowFileError, AirflowError, httpx.HTTPError) as error:
        console.show(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        console.show("\nStopped.")
        return 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; its exit code is that of `play`, 2 for a wrong argument."""
    arguments = asked("make demo", argv)
    timeout = arguments.pop("timeout")
    return play(Stack(**arguments, fresh=True), timeout, see_runs)


if __name__ == "__main__":
    sys.exit(main())
