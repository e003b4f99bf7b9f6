"""Does anybody's data get where it may not be? Run everything, as badly as it can go, and look everywhere.

    python -m tests.proof.leaks

A whole stack runs every flow over leads that nobody can mistake, with all logging at its most talkative. Vendors answer
with what they were sent, under 4xx, 5xx and 200; bodies are cut, numbers become texts; webhooks are garbage; the SFTP
server refuses; workers are killed in the middle. Then it goes well, rejects are fixed in files that nobody should send,
a customer is erased, a list is restored, the house is kept, and each command and page is asked. After that the bytes
are searched: every log, every column of every table of Airflow's database and of the ledger, each report, page and
answer of a command. Not searched are the places where rows belong: snapshots and payloads in the staging area, the
files of rejects that people download and upload, and the sandbox.

Prints a table: place, bytes, finds. Fails when there is one, or when it had little to look at. Takes minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from include.flow_files import PlatformSource, load_flows
from include.ledger import Ledger
from include.sandbox.webhooks import MADE_UP_TOKEN
from include.settings import PROJECT_ROOT
from include.stack import console as screen
from include.stack.airflow_client import Airflow
from include.stack.airflow_settings import at_sandbox, read_settings
from include.stack.processes import Stack
from include.staging import slug
from tests.proof.lib.fixed import fixed_files, keys_of
from tests.proof.lib.planted import HEADER_KEY, Needles, Parrot, Search, phone, write_leads
from tests.stack.conftest import FASTER, free_ports

LEADS = 200
SOURCE = "pull_platform_leads__ftc_callers"
DELIVERIES = (
    "load_purecallerid__five9_nightly",
    "load_purecallerid__ringcx_nightly",
    "load_ozonetel__collections",
    "import_isales__isales_nightly",
    "push_platform_leads__winback",
)
ARCHIVE = "archive_vicidial_leads__old_leads"
FIXED = ("load_purecallerid__five9_nightly", "load_ozonetel__collections")
"""Deliveries whose rejects are fixed: of a list that is replaced, and of one that is added to."""
ROUND_SECONDS = 420.0
LEAST_BYTES = 20_000_000
ENDED = ("success", "failed")
TALKATIVE = {
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "sqlalchemy.engine=DEBUG urllib3=DEBUG paramiko=DEBUG httpx=DEBUG",
}
POLICY = """
from datetime import timedelta


def task_policy(task):
    task.retries, task.retry_delay, task.retry_exponential_backoff = 6, timedelta(seconds=1), 0
"""

# Of Airflow's tables these have a line of their own.
APART = {
    "xcom": "XCom",
    "rendered_task_instance_fields": "rendered fields",
    "dag_run": "runs and their conf",
    "dag_run_note": "run notes",
    "hitl_detail": "Required Actions",
    "hitl_detail_history": "Required Actions",
    "log": "audit log",
    "task_instance": "task instances",
    "task_instance_history": "task instances",
    "trigger": "triggers",
}
REPORTS = ("report.md", "summary.json", "plan.json", "manifest.json", "certificate.*", "house.json", "*.txt")


def write_flows(folder: Path, state: Path) -> None:
    """The demo's flows over the one planted source, naming people wherever a vendor takes names."""
    folder.mkdir()
    names = {"load_ozonetel": [], "import_isales": [{"to": "callData.name", "from": "data.name"}]}
    for file in sorted((PROJECT_ROOT / "include" / "flows").glob("*.yaml")):
        flow: dict[str, Any] = yaml.safe_load(file.read_text().replace(".listkeeper/", f"{state}/"))
        kind = flow["kind"]
        if flow["name"] == "weekend_callers":
            continue
        if kind == "pull_platform_leads":
            flow["outcomes"] = {"days": 2}
        elif kind != "archive_vicidial_leads" and "columns" in flow:
            flow["source"] = "ftc_callers"
            flow["columns"] += names.get(kind, [])
            flow["guards"] = {"max_shrink_percent": 100, "min_valid_percent": 0} if "mode" in flow else {}
        if kind in ("load_purecallerid", "load_ozonetel"):
            flow["callback_hours"] = 0.01
        if kind == "push_platform_leads":
            flow |= {"import_hours": 0.01, "lookup_minutes": 0}
        if kind == "import_isales":
            flow["outcome_hours"] = 0.02
        (folder / file.name).write_text(yaml.safe_dump(flow, sort_keys=False))


class Rounds:
    """What is done with a started stack."""

    def __init__(self, stack: Stack, parrot: Parrot, console: screen.Console) -> None:
        self.stack, self.parrot, self.console = stack, parrot, console
        self.airflow = stack.airflow
        self.sandbox = httpx.Client(base_url=f"{stack.sandbox_url}/_sandbox", timeout=60, trust_env=False)
        self.ledger = Ledger(f"sqlite:///{stack.state / 'ledger.db'}")
        self.dags: set[str] = set()
        self.secrets: set[str] = {HEADER_KEY}
        self.uploads: Counter[tuple[int, int]] = Counter()
        """Files of fixed rejects, by the page's answer: the one that it should be, and the one that came."""

    def close(self) -> None:
        self.sandbox.close()
        self.airflow.close()
        self.ledger.close()

    def begin(self) -> None:
        """Connect everything to the parrot, and unpause nothing yet."""
        self.stack.wait_healthy()
        settings = at_sandbox(read_settings(PROJECT_ROOT / "airflow_settings.yaml"), self.stack.sandbox_url)
        for connection in settings.connections:
            if connection.conn_password:
                self.secrets.add(connection.conn_password)
            if (connection.conn_host or "").startswith(self.stack.sandbox_url):
                connection.conn_host = self.parrot.url
                connection.conn_extra = (connection.conn_extra or {}) | {"headers": {"X-Gateway": HEADER_KEY}}
        self.airflow.load(settings)
        self.ledger.migrate()
        listed = screen.wait_for_dags(
            self.stack, self.airflow, {SOURCE, ARCHIVE, *DELIVERIES, "restore_list", "resend_rejects"}
        )
        self.dags = {str(dag["dag_id"]) for dag in listed}

    def fault(self, vendor: str, fault: str, **rule: Any) -> None:
        self.sandbox.post("/faults", json={"vendor": vendor, "fault": fault, **rule}).raise_for_status()

    def settle(
        self, what: str, seconds: float = ROUND_SECONDS, each: Callable[[], None] = lambda: None
    ) -> None:
        """Wait until no run is under way; who is asked to approve says yes."""
        self.console.say(what)
        deadline, quiet_since = time.monotonic() + seconds, time.monotonic()
        asked: dict[tuple[str, str, str], float] = {}
        with Airflow(self.stack.url, "ana", "ana") as ana:
            while time.monotonic() < deadline and time.monotonic() - quiet_since < 8:
                self.stack.require_running()
                each()
                for run in self.airflow.runs():
                    if run["state"] in ENDED:
                        continue
                    quiet_since = time.monotonic()
                    for task in self.airflow.task_instances(run["dag_id"], run["dag_run_id"]):
                        place = (run["dag_id"], run["dag_run_id"], task["task_id"])
                        if task["state"] != "awaiting_input":
                            asked.pop(place, None)
                        # Nobody answers at once, and Airflow's scheduler is not ready for whoever does.
                        elif time.monotonic() - asked.setdefault(place, time.monotonic()) > 4:
                            del asked[place]
                            ana.answer(*place, "Approve", {"why": "the proof wants it"})
                time.sleep(1)
        states = Counter(f"{run['dag_id'].partition('__')[0]} {run['state']}" for run in self.airflow.runs())
        self.console.say(", ".join(f"{count} {state}" for state, count in sorted(states.items())))

    def run(self, *dag_ids: str, conf: dict[str, Any] | None = None, night: str | None = None) -> None:
        for dag_id in dag_ids:
            self.airflow.unpause(dag_id)
            self.airflow.trigger(dag_id, conf=conf, partition_key=night, note="leaks")

    def go(self) -> None:
        """All rounds."""
        night = load_flows(PlatformSource)[0][0].last_night(datetime.now(UTC)).isoformat()
        apply = {"action": "apply", "reason": "the proof wants it"}

        self.parrot.bad = ("/",)
        self.run(SOURCE, night=night)
        self.settle("a pull from a vendor that repeats all it hears")
        self.parrot.bad = ()
        self.fault("sftp", "login_refused", times=2)
        self.fault("sftp", "upload_cut", times=1, after_bytes=2000)
        self.run(SOURCE, night=night)
        self.settle("a good pull, which nobody follows yet")

        self.parrot.bad = ("/",)
        self.run(*DELIVERIES, ARCHIVE, conf=apply)
        self.settle("deliveries to such vendors, through an SFTP server that refuses")
        self._resolve()

        self.parrot.bad = ()
        for vendor in ("purecallerid", "ozonetel"):
            for number, fault in enumerate(("garbage", "forged", "doubled", "late"), start=1):
                self.fault(vendor, f"webhook_{fault}", nth=number, seconds=3)
        self.fault("platform", "broken_json", op="bulk_status", times=1)
        self.fault("ozonetel", "load_error", times=1)
        self.run(*DELIVERIES, ARCHIVE, conf=apply)
        self.settle("deliveries, whose workers are killed in the middle", each=self._killer())
        self._resolve()
        self.run(*DELIVERIES, conf=apply)
        self.settle("deliveries that go well")

        self.parrot.bad = ("/cloudAgentRestAPI/",)
        self._fix()
        self.settle("fixed rejects, to one vendor that repeats all it hears", each=self._killer())
        self.parrot.bad = ()
        self._resolve()
        self._erase()
        self.settle("an erasure")
        self.run(*DELIVERIES, conf=apply)
        self.settle("deliveries without the erased customer")
        self.run("restore_list", conf={"list": DELIVERIES[0], "reason": "the proof wants it"})
        self.settle("a list that is restored")
        house = sorted(dag_id for dag_id in self.dags if dag_id.startswith("keep_house"))
        self.run(*house)
        self.settle("the house is kept")

    def _killer(self) -> Callable[[], None]:
        """Kill the workers twice, while something is being sent."""
        killed = 0

        def kill() -> None:
            nonlocal killed
            loads = [load for load in self.ledger.loads(20) if load.state == "open"]
            if killed < 2 and any(
                batch.state == "intended" for load in loads for batch in self.ledger.batches(load.id)
            ):
                killed += 1
                self.stack.kill("worker")

        return kill

    def _resolve(self) -> None:
        """A person settles what is uncertain, and writes a customer's number into the reason."""
        for load in self.ledger.loads(50):
            if load.state in ("uncertain", "open"):
                why = f"looked: +1{phone(7)} is not there, nor {phone(8)}"
                self.listkeeper("resolve", load.id, "--not-delivered", "--who", "ben", "--why", why)

    def _fix(self) -> None:
        """On the page of the newest load with rejects: download them, and upload files that nobody should send."""
        self.airflow.unpause("resend_rejects")
        form = {"reason": f"called +1 {phone(899)}, who said so"}
        for dag_id in FIXED:
            loads = (load for load in self.ledger.loads(50) if load.dag_id == dag_id and load.counts)
            load = next(load for load in loads if load.counts and load.counts.rejected > 5)
            page = f"runs/{dag_id}/{slug(load.run_id)}"
            url, headers = f"{self.stack.url}/listkeeper/{page}/fix.xlsx", self.airflow._headers()
            rejects = httpx.get(url, headers=headers, timeout=60, trust_env=False).raise_for_status()
            for file in fixed_files(keys_of(rejects.content)):
                told = self._post(f"{page}/fixed", data=form, files={"file": (file.name, file.content)})
                self.uploads[file.status, told] += 1
        self.console.say(f"answers to files of fixed rejects (expected, came): {dict(self.uploads)}")

    def _erase(self) -> None:
        self.airflow.unpause("erase_customer")
        if (told := self._post("erase", data={"phone": f"+1{phone(0)}", "email": ""})) != 200:
            self.console.say(f"the erasure page answered {told}")

    def _post(self, page: str, **form: Any) -> int:
        """Send a form of Listkeeper's pages, keep the answer and return its status."""
        url, headers = f"{self.stack.url}/listkeeper/{page}", self.airflow._headers()
        told = httpx.post(url, headers=headers, timeout=60, trust_env=False, **form)
        self.answers.append((url, told.content))
        return told.status_code

    answers: list[tuple[str, bytes]] = []  # noqa: RUF012 - one proof, one list
    told: list[tuple[str, bytes]] = []  # noqa: RUF012

    def listkeeper(self, *words: str) -> None:
        """Ask the command line, and keep its answer."""
        environment = self.stack.environment() | {
            "AIRFLOW_CONN_LISTKEEPER_LEDGER": f'{{"conn_type": "sqlite", "host": "{self.stack.state / "ledger.db"}"}}'
        }
        command = [sys.executable, "-m", "include.cli", *words]
        done = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, timeout=120)
        self.told.append((" ".join(words[:1]), done.stdout + done.stderr))

    def ask(self) -> None:
        """Every command, every page."""
        self.console.say("asking the commands and the pages")
        for words in (
            ["flows"],
            ["validate"],
            ["loads"],
            ["verify"],
            ["explain", f"+1{phone(11)}"],
            ["explain", "K-00012"],
        ):
            self.listkeeper(*words)
            self.listkeeper(*words, "--json")
        for dag_id in DELIVERIES:
            name = dag_id.partition("__")[2]
            self.listkeeper("plan", name)
            self.listkeeper("explain", name, "1")
        self.listkeeper(
            "pause", "five9_nightly", "--who", "ben", "--why", f"they called +1 ({phone(9)[:3]}) 200-0009"
        )
        self.listkeeper("loads", "nothing-of-this-name")
        headers = self.airflow._headers() | {"Accept": "text/html"}
        # One connection each: the server closes one that has been idle for five seconds.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(
            base_url=self.stack.url, headers=headers, timeout=60, trust_env=False, limits=limits
        ) as browser:
            seen, waiting = set(), ["/listkeeper/"]
            while waiting:
                path = waiting.pop()
                seen.add(path)
                told = browser.get(path)
                self.answers.append((path, told.content))
                links = re.findall(r'(?:href|src)="(/listkeeper/[^"#]*)', told.text)
                waiting += (
                    {link for link in links if not re.search(r"(rejects[\w-]*|fix)\.\w+$", link)}
                    - seen
                    - set(waiting)
                )


def search(rounds: Rounds) -> Search:
    """Look everywhere."""
    state = rounds.stack.state
    for vendor in ("purecallerid", "ozonetel"):
        kept = rounds.sandbox.get(f"/state/{vendor}", params={"rows": "false"}).json()
        for key in ("loads", "webhooks", "callbacks"):
            for called in kept.get(key, []):
                address = called.get("webhookUrl") or called.get("url") or ""
                if (token := address.rpartition("/")[2]) and token != MADE_UP_TOKEN:
                    rounds.secrets.add(token)
    found = Search(Needles(rounds.secrets))
    found.files("task logs", state / "logs" / "tasks", "*")
    found.files("logs of DAG files", state / "logs" / "dags", "*")
    for component in ("api-server", "scheduler", "triggerer", "dag-processor", "db-migrate"):
        found.files(f"{component} log", state / "logs", f"{component}.log")
    found.database("Airflow's other tables", state / "airflow" / "airflow.db", apart=APART)
    found.database("the ledger", state / "ledger.db")
    found.files("reports and plans", state / "staging", *REPORTS)
    for where, content in rounds.told:
        found.text("answers of commands", where, content)
    for where, content in rounds.answers:
        found.text("pages", where, content)
    return found


@contextmanager
def started(console: screen.Console) -> Iterator[Rounds]:
    """A stack on planted leads, with the parrot before its vendors."""
    with tempfile.TemporaryDirectory(prefix="lk-leaks-") as folder:
        state = Path(folder)
        write_leads(state / "leads.csv", LEADS)
        write_flows(state / "flows", state)
        (state / "airflow" / "config").mkdir(parents=True)
        (state / "airflow" / "config" / "airflow_local_settings.py").write_text(POLICY)
        airflow_port, sandbox_port = free_ports()
        flows = {"LISTKEEPER_FLOWS": str(state / "flows")}
        os.environ |= flows
        parrot = Parrot(f"http://127.0.0.1:{sandbox_port}")
        try:
            with Stack(
                state,
                airflow_port=airflow_port,
                sandbox_port=sandbox_port,
                leads=state / "leads.csv",
                environment=FASTER | TALKATIVE | flows,
            ) as stack:
                rounds = Rounds(stack, parrot, console)
                try:
                    yield rounds
                finally:
                    rounds.close()
        finally:
            parrot.close()


def main(argv: list[str] | None = None) -> int:
    """Run it all; 1 when something was found, or too little looked at."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.leaks", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--keep", type=Path, help="copy logs, databases and staging there, to look at finds")
    asked = parser.parse_args(argv)
    console = screen.Console()
    with started(console) as rounds:
        rounds.begin()
        try:
            rounds.go()
            rounds.ask()
            found = search(rounds)
        finally:
            if asked.keep:
                subprocess.run(["cp", "-r", f"{rounds.stack.state}/.", asked.keep], check=True)
        said, uploads = rounds.parrot.said, rounds.uploads
    size = sum(surface.size for surface in found.surfaces.values())
    console.show(f"\n{found.table()}\n")
    console.show(
        f"{found.finds} finds in {size:,} bytes, after {said} answers that repeated what a vendor heard."
    )
    enough = size >= LEAST_BYTES and said >= 30 and uploads and all(meant == told for meant, told in uploads)
    return 0 if enough and not found.finds else 1


if __name__ == "__main__":
    sys.exit(main())
