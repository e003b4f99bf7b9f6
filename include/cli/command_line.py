"""The command line: its parser, and how a command is run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from include.cli.answers import GOOD, WRONG, Answer, CommandError
from include.cli.decisions import house, pause, resolve, verify
from include.cli.flow_commands import flows, validate
from include.cli.run_commands import explain_row, loads, plan
from include.flow_files import FlowFileError
from include.ledger import Head, LedgerError
from include.masking import Quietly, mask
from include.staging import StagingError


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
    command.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="files or folders; default: the flows folder"
    )
    command = add("plan", plan, "show what a run would change, and whether it may")
    command.usage = "listkeeper plan [--json] FLOW\n       listkeeper plan [--json] DAG_ID RUN_ID"
    command.add_argument(
        "what",
        nargs="+",
        action=_OneOrTwo,
        metavar="FLOW or DAG_ID RUN_ID",
        help="a flow (its newest plan), or one run",
    )
    command = add("explain", explain_row, "tell why a lead was loaded or not")
    command.usage = (
        "listkeeper explain [--json] [--runs N] [--region CC] PHONE, KEY or -\n"
        "       listkeeper explain [--json] [--runs N] FLOW ROW_KEY"
    )
    command.add_argument(
        "what",
        nargs="+",
        action=_OneOrTwo,
        metavar="PHONE, KEY or FLOW ROW_KEY",
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
    command.add_argument(
        "load", metavar="LOAD", help="id of the load, as in the report; its first eight characters will do"
    )
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
            raise argparse.ArgumentError(self, "one word or two")
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
