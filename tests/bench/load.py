"""Measure the load: the plan's memory against ten times the leads; the upload's memory, and its time against curl.

`python tests/bench/load.py [--rows N] [--rounds N] [--json]`; ends with 1 when a target is missed. Every run is a
fresh process: `make_plan` on leads as the clean step keeps them, first on an empty list and then on top of the load
before; the hook's own upload of that plan's payload, `curl` with the same parts, and the obvious way, `files=` of
requests. The server reads what comes and keeps nothing. The sides take turns, and the figures are ratios of medians.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from lib.measuring import ROOT, Figure, Runs, child, median, peak_mb, run_bench, serving

PART_ROWS = 50_000
KEY_BYTES = 17  # what the plan keeps of each key of the load before
CAMPAIGN = "64be9f5c0c8d4a1f2b3c4d5e"
PROCESS_REQUEST = json.dumps({"mode": "REPLACE", "dialerListId": "Nightly callers", "mappedCols": []})


def make(folder: str, rows: int) -> dict[str, float]:
    """Write `rows` leads as the clean step would."""
    import polars as pl

    from include.leads.clean import KEPT_COLUMNS

    for start in range(0, rows, PART_ROWS):
        id_ = pl.int_range(start, min(start + PART_ROWS, rows), eager=True)
        national = (2_012_000_000 + id_ * 7).cast(pl.String)
        frame = pl.select(
            row_key=id_.cast(pl.String),
            lead_id=id_,
            customer_key=pl.format("C{}", id_),
            phone=pl.format("+1{}", national),
            national=national,
            data=pl.lit('{"name":"Lead","state":"New York","subject":"Reducing debt"}'),
        )
        columns = [pl.col(n) if n in frame.columns else pl.lit(None).alias(n) for n in KEPT_COLUMNS]
        frame.select(columns).cast(dict(KEPT_COLUMNS)).write_parquet(
            f"{folder}/kept-{start // PART_ROWS:05}.parquet"
        )
    return {"rows": rows}


def plan(folder: str, out: str, before: str | None = None) -> dict[str, float]:
    """Plan a REPLACE of a Five9 list, on top of the load planned in `before`."""
    from include.flow_files import PureCallerIdFlow
    from include.guards import GuardLimits
    from include.plan import KEYS, Before, make_plan

    flow = PureCallerIdFlow.model_validate(
        {
            "kind": "load_purecallerid",
            "name": "bench",
            "source": "bench",
            "dialer": "five9",
            "campaign": CAMPAIGN,
            "list": "Nightly callers",
            "mode": "REPLACE",
            "unique_column": "uniqueId",
            "columns": [
                {"to": "number1", "from": "phone"},
                {"to": "uniqueId", "from": "customer_key"},
                {"to": "state", "from": "data.state"},
                {"to": "subject", "from": "data.subject"},
            ],
        }
    )
    kept = sorted(Path(folder).glob("kept-*.parquet"))
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir()
    now = datetime.now(UTC)
    subject = dict.fromkeys(
        ("flow", "dag_id", "vendor", "target", "list", "mode", "night", "snapshot"), "bench"
    )
    base = peak_mb()
    start = time.perf_counter()
    made = make_plan(
        kept,
        flow.recipe,
        Before(rows=1, keys=Path(before) / KEYS) if before else Before(),
        Path(out),
        subject=subject,
        cleaned={"rows_in": 1, "decided": {}, "suppression": [], "changes": {}},
        source_time=now,
        action="apply",
        limits=GuardLimits(),
        now=now,
    )
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "rows": made["to_send"], "unchanged": made["unchanged"], "base_mb": base}


def upload(payload: str, url: str) -> dict[str, float]:
    """Upload by the hook; its connection comes by the environment."""
    from listkeeper.hooks.purecallerid import PureCallerIdHook

    hook = PureCallerIdHook()
    hook.session()
    base = peak_mb()
    start = time.perf_counter()
    hook.load_list(
        campaign=CAMPAIGN, csv=Path(payload), file_name="bench.csv", process_request=PROCESS_REQUEST
    )
    return {"seconds": time.perf_counter() - start, "base_mb": base}


def curl(payload: str, url: str) -> dict[str, float]:
    """Upload by curl, which tells its own time."""
    parts = [f"campaignId={CAMPAIGN}", f"processRequest={PROCESS_REQUEST}", f"file=@{payload};type=text/csv"]
    form = [word for part in parts for word in ("-F", part)]
    command = ["curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{time_total}", "-H", "Expect:", *form, url]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"seconds": float(done.stdout)}


def obvious(payload: str, url: str) -> dict[str, float]:
    """Upload as a script would."""
    import requests

    base = peak_mb()
    start = time.perf_counter()
    with Path(payload).open("rb") as file:
        form = {"campaignId": CAMPAIGN, "processRequest": PROCESS_REQUEST}
        requests.post(url, data=form, files={"file": file}, timeout=60).raise_for_status()
    return {"seconds": time.perf_counter() - start, "base_mb": base}


def measure(rows: int, rounds: int) -> list[Figure]:
    """Return the figures."""
    runs: Runs = {
        name: [] for name in ("many", "few", "many again", "few again", "upload", "curl", "obvious")
    }
    with tempfile.TemporaryDirectory() as folder, serving(str(ROOT / "tests/bench/lib/sink.py")) as url:
        for name, count in (("many", rows), ("few", rows // 10)):
            (Path(folder) / name).mkdir()
            child(__file__, "make", folder=f"{folder}/{name}", rows=count)
        for _ in range(rounds):
            for name, count in (("many", rows), ("few", rows // 10)):
                leads, first, again = (f"{folder}/{name}{end}" for end in ("", "-first", "-again"))
                runs[name].append(child(__file__, "plan", folder=leads, out=first))
                figures = child(__file__, "plan", folder=leads, out=again, before=first)
                runs[f"{name} again"].append(figures)
                if (figures["rows"], figures["unchanged"]) != (count, count):
                    raise SystemExit(f"the plan of {count} leads sends {figures['rows']:.0f}")
        payload = Path(folder) / "many-first" / "payload.csv"
        megabytes = payload.stat().st_size / 1e6
        connection = {"conn_type": "purecallerid", "host": url, "password": "not-a-secret"}
        environment = {
            "AIRFLOW_HOME": f"{folder}/airflow",
            "AIRFLOW_CONN_PURECALLERID_DEFAULT": json.dumps(connection),
            "NO_PROXY": "127.0.0.1",
        }
        for _ in range(rounds):
            for name in ("upload", "curl", "obvious"):
                runs[name].append(child(__file__, name, environment, payload=str(payload), url=url))

    def growth(name: str) -> float:
        return median(runs, f"many{name}", "peak_mb") / median(runs, f"few{name}", "peak_mb")

    def over_base(name: str) -> float:
        return median(runs, name, "peak_mb") - median(runs, name, "base_mb")

    seconds = {name: median(runs, name, "seconds") for name in runs}
    keys_of_before = KEY_BYTES * rows / 1e6 / median(runs, "few again", "peak_mb")
    return [
        Figure(f"memory: plan of {rows:,} leads / {rows // 10:,}", growth(""), at_most=1.25),
        Figure(
            "memory: the same on top of a load", growth(" again"), at_most=round(1.25 + keys_of_before, 2)
        ),
        Figure(f"memory: upload of {megabytes:.0f} MB, MB over base", over_base("upload"), at_most=20),
        Figure("time: upload / curl", seconds["upload"] / seconds["curl"], at_most=1.6),
        Figure("time: requests files= / curl", seconds["obvious"] / seconds["curl"]),
        Figure("memory: requests files=, MB over base", over_base("obvious")),
        Figure(f"memory: plan of {rows:,} leads, MB", median(runs, "many again", "peak_mb")),
        Figure(f"time: plan of {rows:,} leads, s", seconds["many again"]),
    ]


if __name__ == "__main__":
    sides = {"make": make, "plan": plan, "upload": upload, "curl": curl, "obvious": obvious}
    sys.exit(run_bench("Plan and upload of a list", __doc__, sides, measure, rows=1_000_000))
