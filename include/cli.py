"""Commands for people and scripts: `listkeeper <command>`, or `python -m include.cli <command>`.

Every command takes `--json`. Exit codes: 0 all is good, 1 something is wrong (a broken file, a plan that a guard
refuses, a broken chain, nothing found), 2 the command line is wrong. The ledger is that of
`AIRFLOW_CONN_LISTKEEPER_LEDGER`, else `.listkeeper/ledger.db`; rows are read from `LISTKEEPER_STAGING`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from include import settings
from include.explain import Finding, explain, story
from include.flow_files import (
    KINDS,
    Delivery,
    FlowFile,
    FlowFileError,
    KeepHouse,
    PlatformSource,
    load_flows,
    read_flow_file,
)
from include.house.days import KeepDays
from include.house.told import removed, removed_markdown, run_removed
from include.leads.phones import to_e164
from include.leads.schema import STATES
from include.ledger import Head, Ledger, LedgerError, Load
from include.masking import Quietly, mask
from include.plan import masked
from include.report.run import report_markdown
from include.staging import RunFolder, StagingError, run_path

GOOD, WRONG = 0, 1


class CommandError(Exception):
    """A command cannot do what it was asked; the message says what to do."""


@dataclass(frozen=True)
class Answer:
    """What a command found: for a script, for a person, and whether all is good."""

    data: Any
    text: str
    good: bool = True


def flows(_asked: argparse.Namespace) -> Answer:
    """List the flow files."""
    good: list[FlowFile] = []
    broken = []
    for kind in KINDS.values():
        flows_of_kind, broken_of_kind = load_flows(kind)
        good += flows_of_kind
        broken += broken_of_kind
    listed = [
        {
            "kind": flow.kind,
            "name": flow.name,
            "dag_id": flow.dag_id,
            "target": getattr(flow, "target", None),  # a source writes to no list
            "released": getattr(flow, "released", None),
        }
        for flow in good
    ]
    wrong = [
        {"dag_id": flow.dag_id, "file": flow.error.file, "problems": flow.error.problems} for flow in broken
    ]
    text = _table(("kind", "name", "DAG id", "target", "released"), [list(flow.values()) for flow in listed])
    return Answer(
        {"flows": listed, "broken": wrong},
        "\n\n".join([text, *(str(flow.error) for flow in broken)]),
        good=not broken,
    )


def validate(asked: argparse.Namespace) -> Answer:
    """Check flow files: those named, each by itself, or all of the flows folder."""
    folder = settings.flows_folder()
    paths = asked.files or sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    sources = {source.name for source in load_flows(PlatformSource)[0]}
    read: list[tuple[Path, FlowFile]] = []
    errors: list[FlowFileError] = []
    for path in paths:
        try:
            read.append((path, read_flow_file(path)))
        except FlowFileError as error:
            errors.append(error)
    if not asked.files:  # the folder's own reader also knows the rules between files
        errors = [broken.error for kind in KINDS.values() for broken in load_flows(kind)[1]]
    sources |= {flow.name for _, flow in read if isinstance(flow, PlatformSource)}
    problems = [_problem(error.file, problem) for error in errors for problem in error.problems]
    problems += [
        _problem(path.name, f"source: no file defines the source {flow.source}")
        for path, flow in read
        if isinstance(flow, Delivery) and flow.source not in sources
    ]
    lines = [f"{p['file']}: {p['key']}: {p['rule']}" for p in problems]
    text = "\n".join(lines) or f"{len(paths)} flow files are good."
    return Answer({"files": len(paths), "problems": problems}, text, good=not problems)


def plan(asked: argparse.Namespace) -> Answer:
    """Show the plan of a run, or of a flow's newest run that has one. One that a guard refuses is not good."""
    with _ledger() as ledger:
        if len(asked.what) == 2:
            load = ledger.load_for_run(*asked.what)
        else:
            load = next(iter(_loads(ledger, asked.what[0], 1)), None)
        if load is None:
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
    with _ledger() as ledger:
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
    with _ledger() as ledger:
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


def loads(asked: argparse.Namespace) -> Answer:
    """List the last loads."""
    with _ledger() as ledger:
        listed = _loads(ledger, asked.flow, asked.limit)
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
    return Answer([asdict(load) for load in listed], _table(heads, rows))


def resolve(asked: argparse.Namespace) -> Answer:
    """Settle a load that ended uncertain, as a person found it at the vendor."""
    with _ledger() as ledger:
        load = ledger.load(asked.load)
        flow = _flow(load.dag_id)
        again = not asked.delivered and flow is not None and flow.safe_to_resend
        load = ledger.resolve(
            load.id,
            delivered=asked.delivered,
            who=asked.who,
            why=asked.why,
            applied=None if again else _applied(ledger, load, delivered=asked.delivered),
        )
    counts = load.counts.to_dict() if load.counts else {}
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    text = f"Load {load.id} is {load.verdict}: {told}."
    return Answer(asdict(load), text)


def _applied(ledger: Ledger, load: Load, *, delivered: bool) -> str:
    """Where the keys lie of what a resolved load left on its list: its plan, less the batches that are not there."""
    from include.applied_keys import keys_of, write_applied

    plan = run_path(load.dag_id, load.run_id, "plan")
    batches = ledger.batches(load.id)
    missing = [
        batch.seq
        for batch in batches
        if batch.state == "planned"
        or (batch.state not in ("confirmed", "rejected") and not (delivered or batch.delivered))
    ]
    if not isinstance(_flow(load.dag_id), Delivery) or not missing:
        return plan
    out = RunFolder(run_path(load.dag_id, load.run_id, "applied"))
    write_applied(out, plan, keys_of(RunFolder(plan), batches, missing))
    return out.path


def pause(asked: argparse.Namespace) -> Answer:
    """Let nothing be sent to a list, or to any list of a vendor, until a person resumes it; or resume it."""
    paused = asked.command == "pause"
    flow = _flow(asked.target)
    key = flow.target if flow else asked.target
    with _ledger() as ledger:
        if whole_vendor := asked.target in _vendors():
            ledger.pause_vendor(key, paused, asked.who, asked.why)
        else:
            if flow is None:
                ledger.target(key)  # a list that nobody knows is a slip of the pen, and must not look paused
            ledger.pause_target(key, paused, asked.who, asked.why)
        ledger.record(
            "paused" if paused else "resumed", None, {"target": key, "who": asked.who, "why": asked.why}
        )
    what = f"Everything that goes to {key}" if whole_vendor else key
    return Answer(
        {"vendor" if whole_vendor else "target": key, "paused": paused, "who": asked.who, "why": asked.why},
        f"{what} is {'paused: nothing is sent to it' if paused else 'open to loads again'}.",
    )


def house(_asked: argparse.Namespace) -> Answer:
    """Show what house-keeping would remove, and what it keeps although it is old. Removes nothing."""
    from include.house.house import House
    from include.house.report import house_markdown

    good, broken = load_flows(KeepHouse)
    if broken:
        raise broken[0].error
    days = good[0].days if good else KeepDays.model_validate({})
    with _ledger() as ledger:
        found = House(ledger, days).plan()
    return Answer(found.to_json() | {"counts": found.count()}, house_markdown(found, days).rstrip())


def verify(asked: argparse.Namespace) -> Answer:
    """Check the evidence, and print where it ends."""
    with _ledger() as ledger:
        problems, head = ledger.verify(asked.head), ledger.head()
    lines = [f"record {problem.seq}: {problem.what}" for problem in problems]
    state = "is broken" if problems else "holds"
    text = "\n".join([*lines, f"The chain of {head.count} records {state}. Head: {head.count}:{head.hash}"])
    return Answer(
        {"head": f"{head.count}:{head.hash}", "problems": [asdict(problem) for problem in problems]},
        text,
        good=not problems,
    )


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="listkeeper",
        description="Look after call lists from the command line.",
        epilog="Exit codes: 0 all is good, 1 something is wrong, 2 the command line is wrong.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, run: Callable[[argparse.Namespace], Answer], words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        command.add_argument("--json", action="store_true", help="answer in JSON")
        command.set_defaults(run=run)
        return command

    def add_person(command: argparse.ArgumentParser) -> None:
        command.add_argument("--who", type=_words, required=True, help="who decides; kept as evidence")
        command.add_argument("--why", type=_words, required=True, help="why; kept as evidence")

    add("flows", flows, "list the flow files and the DAGs they become")
    command = add("validate", validate, "check flow files")
    command.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: the whole folder")
    command = add("plan", plan, "show what a run would change, and whether it may")
    command.add_argument(
        "what",
        nargs="+",
        action=_OneOrTwo,
        metavar="FLOW | DAG_ID RUN_ID",
        help="a flow (its newest plan), or one run",
    )
    command = add("explain", explain_row, "tell why a lead was loaded or not")
    command.add_argument(
        "what",
        nargs="+",
        action=_OneOrTwo,
        metavar="PHONE | KEY | FLOW ROW_KEY",
        help="a phone, customer key or row key over all flows and nights (- reads it from standard input), or a row "
        "key as in rejects.csv in the runs of one flow",
    )
    command.add_argument(
        "--runs", type=_count, default=10, metavar="N", help="how many runs of a flow to look into (10)"
    )
    command.add_argument(
        "--region", default="US", metavar="CC", help="country of numbers without a country code (US)"
    )
    command = add("loads", loads, "list the last loads")
    command.add_argument("flow", nargs="?", metavar="FLOW", help="only of this flow")
    command.add_argument("--limit", type=_count, default=20, metavar="N", help="how many (20)")
    command = add("resolve", resolve, "settle a load that ended uncertain, after a look at the vendor's list")
    command.add_argument("load", metavar="LOAD", help="id of the load, as in the report")
    outcome = command.add_mutually_exclusive_group(required=True)
    outcome.add_argument("--delivered", action="store_true", help="the rows are on the list")
    outcome.add_argument("--not-delivered", action="store_true", help="the rows are not on the list")
    add_person(command)
    for name, words in (
        ("pause", "send nothing to a list, or to a whole vendor, any more"),
        ("resume", "let loads write a list, or a whole vendor, again"),
    ):
        command = add(name, pause, words)
        command.add_argument("target", metavar="TARGET", help="the flow, its list's key, or a vendor")
        add_person(command)
    add("house", house, "show what house-keeping would remove, and what it keeps although it is old")
    command = add("verify", verify, "check that the evidence was not changed")
    command.add_argument(
        "--head", type=_head, metavar="COUNT:HASH", help="a head that was noted down earlier"
    )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    asked = parser().parse_args(argv)
    with Quietly():
        answer = _answer(asked)
    text = answer.text
    if asked.json:
        text = json.dumps(answer.data, default=lambda moment: moment.isoformat(), indent=2)
    sys.stdout.write(f"{text}\n")
    return GOOD if answer.good else WRONG


def _answer(asked: argparse.Namespace) -> Answer:
    """Run the command; what is wrong becomes its answer."""
    try:
        answer: Answer = asked.run(asked)
    except (CommandError, FlowFileError, LedgerError, StagingError) as error:
        text = mask(str(error))
        return Answer({"error": text}, text, good=False)
    except SQLAlchemyError as error:
        # Its type only: the words of a driver may hold the address and the user.
        text = f"The ledger cannot be used ({type(error).__name__}); check AIRFLOW_CONN_LISTKEEPER_LEDGER."
        return Answer({"error": text}, text, good=False)
    return answer


@contextmanager
def _ledger() -> Iterator[Ledger]:
    """Open the ledger. A SQLite file that is not there is an error: a new, empty one would answer nothing."""
    url = make_url(settings.ledger_url_outside_airflow())
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise CommandError(
            f"There is no ledger at {url.database}. `make demo` makes one; in production set "
            "AIRFLOW_CONN_LISTKEEPER_LEDGER as Airflow has it."
        )
    with Ledger(url.render_as_string(hide_password=False)) as ledger:
        ledger.migrate()
        yield ledger


def _loads(ledger: Ledger, flow: str | None, limit: int) -> list[Load]:
    """The newest loads of all flows, or of one by its name or DAG id."""
    kind, mark, name = (flow or "").partition("__")
    if not mark:
        return ledger.loads(limit, flow=kind or None)
    return [load for load in ledger.loads(limit, flow=name) if load.dag_id == flow]


def _flow(text: str) -> Any:
    """The flow of this name or DAG id that writes to a list, None when no good file defines it."""
    for kind in KINDS.values():
        for flow in load_flows(kind)[0]:
            if text in (flow.name, flow.dag_id) and hasattr(flow, "target"):
                return flow
    return None


def _vendors() -> set[str]:
    """The vendors that the flow files write to."""
    return {flow.vendor for kind in KINDS.values() for flow in load_flows(kind)[0] if hasattr(flow, "vendor")}


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


def _problem(file: str, problem: str) -> dict[str, str]:
    key, mark, rule = problem.partition(": ")
    return {"file": file, "key": key if mark else "the file", "rule": rule if mark else problem}


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay rows out in columns, numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(heads), *cells]) for i in range(len(heads))]
    numbers = [
        any(isinstance(row[i], int) and not isinstance(row[i], bool) for row in rows)
        for i in range(len(heads))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        for line in [list(heads), *cells]
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


class _OneOrTwo(argparse.Action):
    """Takes one word or two."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if len(values) > 2:
            raise argparse.ArgumentError(self, f"give {self.metavar}")
        setattr(namespace, self.dest, values)


def _words(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text.strip()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return int(text)


def _head(text: str) -> Head:
    count, _, link = text.partition(":")
    if not count.isdecimal() or len(link) != 64:
        raise argparse.ArgumentTypeError("write a head as `listkeeper verify` prints it, COUNT:HASH")
    return Head(int(count), link)


if __name__ == "__main__":
    sys.exit(main())
