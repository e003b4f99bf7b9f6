"""Commands that tell what became of runs and rows: `plan`, `explain`, `loads`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

import polars as pl

from include import settings
from include.cli.answers import Answer, CommandError, table
from include.cli.lookups import loads_of, opened_ledger, require_flow
from include.explain import Finding, explain, story
from include.flow_files import KINDS
from include.house.told import removed, removed_markdown, run_removed
from include.leads.phones import to_e164
from include.leads.schema import STATES
from include.masking import masked
from include.report.run import report_markdown
from include.staging import RunFolder, run_path


def plan(asked: argparse.Namespace) -> Answer:
    """Show the plan of a run, or of a flow's newest run that has one. One that a guard refuses is not good."""
    with opened_ledger() as ledger:
        if len(asked.what) == 2:
            load = ledger.load_for_run(*asked.what)
        else:
            load = next(iter(loads_of(ledger, asked.what[0], 1)), None)
        if load is None:
            require_flow(ledger, asked.what[0])
            raise CommandError(f"There is no plan of {' '.join(asked.what)}; `listkeeper loads` lists them.")
        batches = ledger.batches(load.id)
        gone = run_removed(ledger, run_path(load.dag_id, load.run_id, "").rstrip("/"))
    planned, summary = (
        json.loads(RunFolder(run_path(load.dag_id, load.run_id, step)).get(name) or b"{}")
        for step, name in (("plan", "plan.json"), ("report", "summary.json"))
    )
    if not planned:
        raise CommandError(
            gone
            or f"The plan of run {load.run_id} is not in {settings.staging_url()} (any more); set LISTKEEPER_STAGING "
            "to where its run folders are."
        )
    problems = summary.get("problems", [])
    text = (
        removed_markdown(load, planned, gone)
        if gone and not summary
        else report_markdown(planned, summary, problems, [asdict(batch) for batch in batches])
    )
    return Answer(
        {"load": load.id, "run_id": load.run_id, "plan": planned, "summary": summary},
        text.rstrip(),
        good=not planned["refusals"],
    )


def explain_row(asked: argparse.Namespace) -> Answer:
    """Tell why a lead was loaded or not: by one flow, or over all flows, nights and vendors."""
    if len(asked.what) == 1:
        return _story(asked)
    flow, row_key = asked.what
    with opened_ledger() as ledger:
        require_flow(ledger, flow)
        found = explain(ledger, flow, row_key, asked.runs)
        gone = [
            removed(ledger, "Outcomes of older runs", f"runs/{kind}__{flow}", "rejects") for kind in KINDS
        ]
    if not found:
        raise CommandError(
            " ".join(
                [
                    f"The last {asked.runs} runs of {flow} know no row {row_key}. Either it was not in their source, "
                    "or they have not ended.",
                    *filter(None, gone),
                ]
            )
        )
    return Answer([finding.to_dict() for finding in found], "\n\n".join(_told(finding) for finding in found))


def _story(asked: argparse.Namespace) -> Answer:
    who = sys.stdin.readline().strip() if asked.what == ["-"] else asked.what[0]
    number = to_e164(pl.Series([who]), asked.region)[0].item()
    shown = who if number is None else masked(f"+{number}")  # answers are kept in tickets and logs
    with opened_ledger() as ledger:
        found = story(ledger, who, asked.region, asked.runs)
        gone = removed(ledger, "Outcomes of older runs", "runs", "rejects")
    if not found:
        raise CommandError(
            f"The last {asked.runs} runs of each flow know no lead {shown}. Either it was in no source, or its rows "
            f"are not staged any more. {gone or ''}".rstrip()
        )
    lists = len({finding.dag_id for finding in found})
    told = [f"{shown}: outcomes {len(found)}, flows {lists}; oldest first.", *map(_told, found)]
    return Answer({"who": shown, "story": [finding.to_dict() for finding in found]}, "\n\n".join(told))


def _told(finding: Finding) -> str:
    facts = finding.to_dict()
    counts = ", ".join(f"{name} {count:,}" for name, count in facts["vendor_counts"].items())
    lines = [
        f"{facts['dag_id']}, night {facts['night'] or 'unknown'}, run {facts['run']}",
        f"  List {facts['list']}" if finding.load else "",
        f"  {finding.state}: {finding.reason} [{finding.code}]",
        f"  Detail: {finding.detail}" if finding.detail else "",
        f"  Fix: {finding.how_to_fix}" if finding.how_to_fix else "",
        f"  Since then the load was {finding.since}." if finding.since else "",
        f"  Load {facts['load']}, batch {facts['batch']} ({facts['batch_state']})" if finding.batch else "",
        f"  The vendor counted: {counts}" if counts else "",
    ]
    return "\n".join(line for line in lines if line)


def loads(asked: argparse.Namespace) -> Answer:
    """List the last loads."""
    with opened_ledger() as ledger:
        if asked.flow:
            require_flow(ledger, asked.flow)
        listed = loads_of(ledger, asked.flow, asked.limit)
    heads = ("flow", "night", "rows in", *STATES, "state", "verdict", "opened (UTC)", "load")
    rows = [
        (
            load.flow,
            load.night,
            load.rows_in,
            *(load.counts.to_dict()[state] if load.counts else None for state in STATES),
            load.state,
            load.verdict,
            f"{load.opened_at:%Y-%m-%d %H:%M}",
            load.id,
        )
        for load in listed
    ]
    text = table(heads, rows) if rows else "No load has been opened yet."
    return Answer([asdict(load) for load in listed], text)
