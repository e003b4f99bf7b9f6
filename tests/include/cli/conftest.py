"""The commands, on a real ledger and real run folders: a place of their own, and a run made by hand."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from include import cli
from include.flow_files import PureCallerIdFlow, read_flow_file
from include.guards import GuardLimits
from include.leads.clean import clean
from include.leads.schema import LEAD_COLUMNS
from include.ledger import BatchPlan, Ledger
from include.outcomes import add_up
from include.plan import HELD_REASON, Before, make_plan
from include.staging import Manifest, RunFolder, run_path

ROOT = Path(__file__).parents[3]
NIGHT = "2026-11-20"
SOURCE_TIME = datetime(2026, 11, 21, 5, tzinfo=UTC)
WHO = ["--who", "Ana", "--why", "counted them in the dialer"]
SOURCE = "kind: pull_platform_leads\nname: callers\n"
FLOW = """
kind: load_purecallerid
name: ringcx
source: callers
dialer: ringcx
campaign: 64be
list: RingCX nightly
mode: APPEND
dedupe: RING_REMOVE_FROM_LIST
released: true
columns:
  - {to: leadPhone, from: phone}
"""
TARGET = "purecallerid:64be:RingCX nightly"
PHONES = {"1": "2012000001", "2": "2012000002", "3": "", "4": "2012000001", "5": "2012000005"}
"""Row key -> number: row 3 has none, rows 1 and 4 share one."""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Flow files, staging and ledger of this test alone."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "callers.yaml").write_text(SOURCE)
    (tmp_path / "flows" / "ringcx.yaml").write_text(FLOW)
    monkeypatch.setenv("LISTKEEPER_FLOWS", str(tmp_path / "flows"))
    monkeypatch.setenv("LISTKEEPER_STAGING", str(tmp_path / "staging"))
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    return tmp_path


@pytest.fixture
def ledger(place):
    with Ledger(f"sqlite:///{place / 'ledger.db'}") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def run(ledger):
    """Make a run as the DAG does, by hand: snapshot, clean, plan, load, outcomes. The vendor never answers."""

    def make(run_id="r1", *, refused=False, answers=False, breaks_off=None):
        """Make one run. `breaks_off` is the moment at which it is gone for ever: before, while or after sending."""
        flow = read_flow_file(Path(os.environ["LISTKEEPER_FLOWS"]) / "ringcx.yaml")
        assert isinstance(flow, PureCallerIdFlow)
        snapshot = RunFolder(f"snapshots/callers/{NIGHT}/{run_id}")
        leads = pl.DataFrame(
            {"row_key": list(PHONES), "phone1": list(PHONES.values()), "data": ["{}"] * len(PHONES)}
        )
        with snapshot.writing() as scratch:
            pl.concat([pl.DataFrame(schema=LEAD_COLUMNS), leads], how="diagonal").write_parquet(
                scratch / "part-00000.parquet"
            )
            pl.DataFrame(
                [("9", "rejected", "source_unreadable", "leadId: is missing", None)],
                schema=["row_key", "state", "reason", "detail", "batch"],
                orient="row",
            ).write_parquet(scratch / "outcomes-00000.parquet")
            snapshot.commit(scratch, Manifest("snapshot", len(PHONES), SOURCE_TIME, NIGHT))

        def step(name):
            return RunFolder(run_path(flow.dag_id, run_id, name))

        cleaned, planned, ended, reported = map(step, ("clean", "plan", "outcomes", "report"))
        with snapshot.reading("part-*") as parts, cleaned.writing() as scratch:
            result = clean(parts, flow.clean, scratch, base=ROOT)
            cleaned.commit(scratch, Manifest("clean", result.kept))
        with cleaned.reading("kept-*") as kept, planned.writing() as scratch:
            plan = make_plan(
                kept,
                flow.recipe,
                Before(),
                scratch,
                subject={
                    "flow": flow.name,
                    "vendor": flow.vendor,
                    "target": flow.target,
                    "list": flow.list,
                    "mode": flow.mode,
                    "night": NIGHT,
                },
                cleaned={
                    "rows_in": result.rows_in,
                    "decided": result.outcomes,
                    "changes": result.changes,
                    "suppression": [],
                },
                source_time=SOURCE_TIME,
                action="apply",
                limits=GuardLimits(),
                now=SOURCE_TIME + timedelta(hours=48 if refused else 1),
            )
            planned.commit(scratch, Manifest("plan", plan["to_send"]))
        load = ledger.open_load(
            flow=flow.name,
            vendor=flow.vendor,
            dag_id=flow.dag_id,
            run_id=run_id,
            target=flow.target,
            night=NIGHT,
            source_time=SOURCE_TIME,
            snapshot=snapshot.path,
            plan_hash=plan["hash"],
            mode="plan" if refused else "apply",
            requested_by=None,
            reason=None,
            rows_in=result.rows_in,
        )
        sent = plan["to_send"]
        if breaks_off == "before":
            return load
        if not refused:
            ledger.claim_target(load.id, timedelta(hours=1))
            ledger.plan_batches(load.id, [BatchPlan(1, sent, plan["payload_sha256"])])
            ledger.intend(load.id, 1)
            if breaks_off == "while":
                return load
            if answers:
                counts = {"total": sent, "valid": sent}
                ledger.settle(
                    load.id, 1, "confirmed", delivered=sent, rejected=0, uncertain=0, vendor_counts=counts
                )
            else:
                ledger.settle(
                    load.id, 1, "uncertain", delivered=0, rejected=0, uncertain=sent, vendor_counts={}
                )
            ledger.release_target(load.id)
        if breaks_off == "after":
            return load
        added = add_up(
            ended,
            rows_in=result.rows_in,
            snapshot=snapshot,
            clean=cleaned,
            plan=planned,
            sending=step("load"),
            batches=ledger.batches(load.id),
            held_reason=HELD_REASON[plan["decision"]],
        )
        state = "refused" if refused else "done" if answers else "uncertain"
        counts = added.counts
        ledger.finish_load(load.id, state=state, counts=counts, verdict=state)
        with reported.writing() as scratch:
            (scratch / "summary.json").write_text(json.dumps({"verdict": state, **counts.to_dict()}))
            reported.commit(scratch, Manifest("report", 0))
        return load

    return make


@pytest.fixture
def call(capsys):
    """Run a command; returns its exit code and what it printed, read when it is JSON."""

    def called(*words):
        code = cli.main([str(word) for word in words])
        text = capsys.readouterr().out
        return code, json.loads(text) if "--json" in words else text

    return called
