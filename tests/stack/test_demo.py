"""`make demo` as a newcomer runs it: what it prints and writes is what the sandbox itself knows."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from include.settings import PROJECT_ROOT

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]  # seconds: of a stack on a busy machine

STATES = ("delivered", "rejected", "suppressed", "held", "uncertain")
SOURCE = "ftc_callers"
LISTS = {"five9_nightly": "Nightly callers", "ringcx_nightly": "RingCX nightly"}


@dataclass
class Ran:
    """How a demo ended: its exit code, what it printed and wrote, and what the sandbox knew just before."""

    code: int
    text: str
    written: dict[str, Any]
    told: dict[str, Any] = field(repr=False)

    @property
    def flows(self) -> dict[str, dict[str, Any]]:
        return {flow["flow"]: flow for flow in self.written["flows"]}

    @property
    def table(self) -> dict[str, list[str]]:
        """The printed table's rows by flow."""
        lines = [re.split(r"\s{2,}", line) for line in self.text.splitlines()]
        return {cells[0]: cells[1:] for cells in lines if cells[0] in self.flows and len(cells) == 9}


@pytest.fixture
def demo(tmp_path: Path, ports: Callable[[], tuple[int, int]], migrated: Path) -> Callable[..., Ran]:
    """Run the demo on free ports with a state of its own. `change` edits a flow file's text on its way there."""

    def run(
        *arguments: str, faults: list[dict[str, Any]] | None = None, change: Callable[[str], str] = str
    ) -> Ran:
        state, flows = tmp_path / "state", tmp_path / "flows"
        flows.mkdir()
        for name in (SOURCE, *LISTS):
            text = (PROJECT_ROOT / "include" / "flows" / f"{name}.yaml").read_text(encoding="utf-8")
            (flows / f"{name}.yaml").write_text(
                change(text.replace(".listkeeper/", f"{state}/")), encoding="utf-8"
            )
        state.mkdir()
        (state / "cache").symlink_to(migrated)
        airflow_port, sandbox_port = ports()
        command = [sys.executable, "-m", "include.stack.demo", *arguments]
        command += [
            "--airflow-port",
            str(airflow_port),
            "--sandbox-port",
            str(sandbox_port),
            "--timeout",
            "900",
        ]
        environment = os.environ | {"LISTKEEPER_STATE": str(state), "LISTKEEPER_FLOWS": str(flows)}
        told: dict[str, Any] = {}
        with (tmp_path / "printed").open("w+", encoding="utf-8") as printed:
            process = subprocess.Popen(
                command, cwd=PROJECT_ROOT, env=environment, stdout=printed, stderr=subprocess.STDOUT
            )
            url = f"http://127.0.0.1:{sandbox_port}/_sandbox"
            try:
                with httpx.Client(base_url=url, trust_env=False) as sandbox:
                    while process.poll() is None:
                        told |= ask(sandbox, faults if not told else None)
                        time.sleep(1)  # an answer with all rows costs the sandbox something
            finally:
                process.kill()
                process.wait()
            printed.seek(0)
            text = printed.read()
        return Ran(process.returncode, text, json.loads((state / "demo.json").read_text()), told)

    return run


def ask(sandbox: httpx.Client, faults: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Set faults, once it answers, and ask the sandbox what it knows; nothing while it does not answer."""
    try:
        if faults:
            sandbox.post("/faults", json=faults).raise_for_status()
        return {"data": sandbox.get("").json()["data"], "load": sandbox.get("/state/purecallerid").json()}
    except httpx.TransportError:
        return {}


def check_told_as_it_was(ran: Ran) -> None:
    """Every flow is accounted for, the table says what the JSON says, and both what the sandbox knows."""
    night = ran.told["data"]["night"]
    assert ran.written["night"] == night
    assert set(ran.flows) == {SOURCE, *LISTS}
    for name, flow in ran.flows.items():
        assert flow["rows_in"] == sum(flow[state] for state in STATES), name
        assert flow["accounted"]
        counts = [int(cell.replace(",", "")) for cell in ran.table[name][:6]]
        assert counts == [flow["rows_in"], *(flow[state] for state in STATES)]
        assert ran.table[name][-1] == flow["verdict"]
    pulled = ran.flows[SOURCE]
    assert pulled["rows_in"] == ran.told["data"]["nights"][night]
    for name in LISTS:
        assert ran.flows[name]["rows_in"] == pulled["delivered"]


def check_delivered(ran: Ran, name: str) -> None:
    """A list was delivered, and the sandbox holds what the table tells."""
    flow, dialer_list = ran.flows[name], LISTS[name]
    assert flow["verdict"] == "delivered"
    assert len(ran.told["load"]["lists"][dialer_list]) == flow["delivered"] > 0
    (load,) = [load for load in ran.told["load"]["loads"] if load["dialerListId"] == dialer_list]
    assert load["metrics"]["valid"] == flow["delivered"]


def test_a_night_of_the_ftc_leads(demo: Callable[..., Ran]) -> None:
    ran = demo()
    assert ran.code == 0, ran.text
    assert ran.written["ok"] is ran.written["accounted"] is True
    check_told_as_it_was(ran)
    assert ran.flows[SOURCE]["rows_in"] > 10_000
    for name in LISTS:
        check_delivered(ran, name)
        assert ran.flows[name]["rejected"] > 0 and ran.flows[name]["suppressed"] > 0


ODD_ROWS = [
    # key, phone, second phone, name
    ("A-1", "(201) 200-0001", "", "Zoë Müller-Łukasz"),
    ("A-2", "+1 201 200 0002", "", '=HYPERLINK("http://example.com","x")'),
    ("A-3", "201.200.0003", "", "Doe, Jane"),
    ("A-4", "", "2012000004", "second number only"),
    ("A-5", "", "", "no number at all"),
    ("A-6", "12", "", "too short"),
    ("A-7", "call me", "", "letters"),
    ("A-8", "2012000001", "", "the number of A-1 again"),
    ("A-3", "2012000009", "", "the key of A-3 again"),
    ("", "2012000010", "", "no key"),
    ("A-11", "2012000011", "", 'quotes " and\na new line'),
    ("A-12", "２０１２００００１２", "", "李小龍 🙂"),
    ("A-13", "+44 20 7946 0018", "", "abroad"),
    ("A-14", "2012000014", "", "-1+1"),
]


def test_an_own_list_of_odd_rows_one_load_of_which_is_never_heard_of(
    demo: Callable[..., Ran], tmp_path: Path
) -> None:
    own = tmp_path / "my leads.csv"
    with own.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("Key", "Phone", "Phone 2", "Name"), *ODD_ROWS])
    silent = {"vendor": "purecallerid", "fault": "load_crash", "match": LISTS["ringcx_nightly"]}
    ran = demo(
        "--leads",
        str(own),
        faults=[silent],
        change=lambda text: text + "callback_hours: 0.003\n" if "dialer: ringcx" in text else text,
    )
    assert ran.code == 1
    assert ran.written["ok"] is False
    assert ran.written["accounted"] is True
    check_told_as_it_was(ran)
    assert ran.flows[SOURCE]["rows_in"] == ran.flows[SOURCE]["delivered"] == len(ODD_ROWS)

    check_delivered(ran, "five9_nightly")
    on_list = {row["uniqueId"] for row in ran.told["load"]["lists"]["Nightly callers"]}
    assert on_list == {"A-2", "A-3", "A-4", "A-8", "ROW-000010", "A-11", "A-12", "A-14"}

    silent_flow = ran.flows["ringcx_nightly"]
    assert silent_flow["verdict"] == "failed: uncertain"
    assert silent_flow["uncertain"] == len(on_list) and silent_flow["delivered"] == 0
    assert "NOT every run ended well" in ran.text
    assert f"all {len(on_list)} rows are uncertain" in ran.text
