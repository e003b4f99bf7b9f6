"""A hundred thousand rows into Ozonetel's campaigns at its own limit, on a faster clock: `make soak`.

Three loads in three processes compete for one account: two of 45,000 rows, and one of 10,000 that keeps coming
between. The process of the first is killed in the middle, and another goes on. Sandbox and clients live on one clock
that runs 8 times as fast as real time, so 40 minutes pass in five. Prints simulated minutes (floor: 40), the
highest count of calls in any 60 seconds (limit: 5), and how much of the limit was used while rows waited; exits
non-zero when one is wrong, a row is lost, or a row stands in a campaign twice.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

SPEED = 8.0
ROWS = {"first": 45_000, "second": 45_000, "between": 10_000}
CAMPAIGNS = {"first": "Collections nightly", "second": "Win-back", "between": "Renewals"}
KILLED, KILLED_AT = "first", 15_000
EVERY_BAD = 1_000
"""Each thousandth number is one that the vendor refuses, so that failed files are fetched under load."""

BATCH, CALLS, WINDOW = 500, 5, 60.0
LEAST_UTILISATION = 0.95
HEADER = ["PhoneNumber", "Name", "Priority"]


@dataclass(frozen=True)
class Clock:
    """The sandbox's clock as every process sees it: they share the machine's monotonic one."""

    begun: datetime
    since: float
    speed: float

    def now(self) -> datetime:
        return self.begun + timedelta(seconds=(time.monotonic() - self.since) * self.speed)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self.speed)


def number(load: str, row: int) -> str:
    """The number of a row; each is another one."""
    return "bad" if row % EVERY_BAD == EVERY_BAD - 1 else f"{7 + list(ROWS).index(load)}{row:09d}"


def send(load: str, load_id: str, folder: str, clock: Clock, receiver: str) -> None:
    """One worker: load one campaign to the end, as the delivery's task and its triggers would."""
    from listkeeper.hooks.ledger import ledger_url
    from listkeeper.hooks.ozonetel import OzonetelHook

    from include.campaign.loop import Campaign, Pause, Rules
    from include.campaign.payload import Payload
    from include.ledger import Ledger
    from include.staging import RunFolder

    logging.disable(logging.WARNING)
    hook = OzonetelHook()

    class Account:
        account, pace = hook.settings.account, hook.settings.pace

        def load(self, rows: Sequence[Sequence[str]], token: str, *, action: bool) -> Any:
            return hook.load(
                campaign=CAMPAIGNS[load],
                header=HEADER,
                rows=rows,
                duplicates="skip_all",
                callback_url=f"{receiver}/listkeeper/callbacks/ozonetel/{token}",
            )

        def failed_rows(self, url: str) -> Any:
            return hook.failed_rows(url, HEADER)

    ledger = Ledger(ledger_url(), now=clock.now)
    payload = Payload(Path(folder) / f"{load}.csv", Path(folder) / f"{load}.parquet")
    payload.lay_out([batch.rows for batch in ledger.batches(load_id)])
    rules = Rules(
        safe=True,
        answers=True,
        callbacks=timedelta(hours=2),
        latest=None,
        preflight=None,
        nap=timedelta(0),
    )
    campaign = Campaign(
        ledger,
        load_id,
        payload,
        Account(),
        rules,
        notes=RunFolder(f"runs/soak/{load}"),
        now=clock.now,
        sleep=clock.sleep,
    )
    while (pause := campaign.run()) is not None:
        assert isinstance(pause, Pause)
        # What a trigger does: a turn is waited for to the moment, callbacks are looked for again and again.
        seconds = max((pause.until - clock.now()).total_seconds(), 0.0)
        clock.sleep(seconds if pause.kind == "turn" else min(seconds, 3.0))


class Setting:
    """The sandbox, a ledger, the receiver, and the loads in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sandbox = subprocess.Popen(
            [sys.executable, "-m", "include.sandbox", "--port", "0", "--synthetic", "10"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.sandbox.stdout is not None
        self.http = httpx.Client(
            base_url=self.sandbox.stdout.readline().split()[-1], trust_env=False, timeout=60
        )
        info = self.http.get("").json()
        os.environ["LISTKEEPER_STAGING"] = str(folder / "staging")
        os.environ["AIRFLOW_HOME"] = str(folder / "airflow")
        os.environ["AIRFLOW_CONN_LISTKEEPER_LEDGER"] = json.dumps(
            {"conn_type": "sqlite", "host": str(folder / "ledger.db")}
        )
        os.environ["AIRFLOW_CONN_OZONETEL_DEFAULT"] = json.dumps(
            {
                "conn_type": "ozonetel",
                "host": info["base_url"],
                "login": info["ozonetel"]["user_name"],
                "password": info["ozonetel"]["api_key"],
                "extra": {"allow_http": True, "trust_env": False},
            }
        )
        self.receiver = self._serve()
        told = self.http.post("/clock", json={"speed": SPEED}).json()
        self.clock = Clock(datetime.fromisoformat(told["now"]), time.monotonic(), SPEED)

    def _serve(self) -> str:
        """Start the real receiver in a thread, and return its address."""
        import uvicorn
        from fastapi import FastAPI
        from listkeeper.web.app import create_app

        app = FastAPI()
        app.mount("/listkeeper", create_app())
        taken = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True).start()
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{taken.getsockname()[1]}"

    def open(self, load: str) -> str:
        """Write a load's payload, and open it in the ledger with its batches."""
        import polars as pl
        from listkeeper.hooks.ledger import open_ledger

        from include.campaign.payload import Payload

        total = ROWS[load]
        cells = pl.DataFrame(
            {
                "PhoneNumber": [number(load, row) for row in range(total)],
                "Name": [f"Lead {row}" for row in range(total)],
                "Priority": [str(1 + row % 99) for row in range(total)],
            }
        )
        cells.write_csv(self.folder / f"{load}.csv")
        pl.DataFrame({"row_key": [f"{load}-{row}" for row in range(total)]}).write_parquet(
            self.folder / f"{load}.parquet"
        )
        ledger = open_ledger()
        opened = ledger.open_load(
            flow=load,
            vendor="ozonetel",
            dag_id=f"load_ozonetel__{load}",
            run_id="soak",
            target=f"ozonetel:ozonetel_default:{CAMPAIGNS[load]}",
            night="2026-11-20",
            source_time=datetime.now(UTC),
            snapshot="soak",
            plan_hash=load,
            mode="apply",
            requested_by=None,
            reason=None,
            rows_in=total,
        )
        payload = Payload(self.folder / f"{load}.csv", self.folder / f"{load}.parquet")
        ledger.plan_batches(opened.id, payload.cut(BATCH, preflight=False))
        return opened.id

    def state(self, *, rows: bool = False) -> dict[str, Any]:
        return dict(self.http.get("/state/ozonetel", params={"rows": str(rows).lower()}).json())

    def close(self) -> None:
        self.http.close()
        self.sandbox.terminate()
        self.sandbox.wait()


def run(setting: Setting) -> tuple[list[str], float]:
    """Send everything; return what went wrong, and how many real seconds it took."""
    wrong, began = [], time.monotonic()
    context = multiprocessing.get_context("spawn")
    ids = {load: setting.open(load) for load in ROWS}

    def start(load: str) -> Any:
        arguments = (load, ids[load], str(setting.folder), setting.clock, setting.receiver)
        process = context.Process(target=send, args=arguments, name=load)
        process.start()
        return process

    working = {load: start(load) for load in ROWS}
    killed = False
    while working:
        time.sleep(0.2)
        if not killed and setting.state()["counts"][CAMPAIGNS[KILLED]] >= KILLED_AT:
            working[KILLED].kill()
            working[KILLED].join()
            killed, working[KILLED] = True, start(KILLED)
        for load, process in list(working.items()):
            if not process.is_alive():
                del working[load]
                if process.exitcode:
                    wrong.append(f"the process of {load} ended with {process.exitcode}")
    if not killed:
        wrong.append("nobody was killed")
    return wrong + judge_ledger(ids), time.monotonic() - began


def judge_ledger(ids: dict[str, str]) -> list[str]:
    """Compare what the ledger says with what was sent."""
    from listkeeper.hooks.ledger import open_ledger

    from include.staging import RunFolder

    wrong = []
    for load, load_id in ids.items():
        batches = open_ledger().batches(load_id)
        told = Counter(
            {n: sum(getattr(b, n) for b in batches) for n in ("delivered", "rejected", "uncertain")}
        )
        bad = ROWS[load] // EVERY_BAD
        if dict(told) != {"delivered": ROWS[load] - bad, "rejected": bad, "uncertain": 0}:
            wrong.append(f"the ledger says of {load}: {dict(told)}")
        notes = RunFolder(f"runs/soak/{load}")
        named = {key for b in batches for key in json.loads(notes.get(f"named-{b.seq}.json") or b"{}")}
        if named != {f"{load}-{row}" for row in range(ROWS[load]) if number(load, row) == "bad"}:
            wrong.append(f"of {load}, {len(named)} rows are named as rejected, or the wrong ones")
    return wrong


def judge_vendor(told: dict[str, Any]) -> list[str]:
    """Compare what the campaigns hold with what was to be there."""
    wrong = []
    for load, campaign in CAMPAIGNS.items():
        there = Counter(lead["PhoneNumber"] for lead in told["campaigns"][campaign]["leads"])
        wanted = {number(load, row) for row in range(ROWS[load])} - {"bad"}
        if lost := wanted - set(there):
            wrong.append(f"{len(lost):,} rows of {load} are lost")
        if doubled := sum(times > 1 for times in there.values()):
            wrong.append(f"{doubled:,} rows of {load} stand in {campaign} twice")
        if made_up := set(there) - wanted:
            wrong.append(f"{len(made_up):,} rows in {campaign} are nobody's")
    return wrong


def main() -> int:
    """Return 0 when all is well."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="lk-soak-") as name:
        folder = Path(name)
        (folder / "airflow").mkdir()
        setting = Setting(folder)
        try:
            wrong, took = run(setting)
            told = setting.state(rows=True)
        finally:
            setting.close()
    wrong += judge_vendor(told)
    times = [
        datetime.fromisoformat(call["time"]) for call in told["requests"] if call["op"] == "add_bulk_data"
    ]
    span = (times[-1] - times[0]).total_seconds()
    needed = sum(-(-rows // BATCH) for rows in ROWS.values())
    used = len(times) / CALLS * WINDOW / (span + WINDOW)  # the last calls have their window, too
    refused = sum(hit["answer"] != "accepted" for hit in told["hits"])
    if told["highest_in_60_seconds"] > CALLS or refused:
        wrong.append(f"{told['highest_in_60_seconds']} calls in 60 seconds, {refused} refused")
    if used < LEAST_UTILISATION:
        wrong.append(f"only {used:.1%} of the limit was used while rows waited")
    sys.stdout.write(
        f"{sum(ROWS.values()):,} rows in {len(times)} calls ({len(times) - needed} sent again), three processes, "
        f"one killed on the way\n"
        f"simulated minutes                {(span + WINDOW) / 60:.1f} (floor {needed / CALLS:.0f}), in {took:.0f} s\n"
        f"highest count in any 60 seconds  {told['highest_in_60_seconds']} (limit {CALLS})\n"
        f"limit used while rows waited     {used:.1%}\n"
    )
    for line in wrong:
        sys.stdout.write(f"WRONG: {line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
