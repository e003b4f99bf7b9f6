"""Commands on flow files: `flows`, `validate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from include import settings
from include.cli.answers import Answer, table
from include.flow_files import (
    KINDS,
    Delivery,
    FlowFile,
    FlowFileError,
    PlatformSource,
    load_flows,
    read_flow_file,
)


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
    text = table(("kind", "name", "DAG id", "target", "released"), [list(flow.values()) for flow in listed])
    return Answer(
        {"flows": listed, "broken": wrong},
        "\n\n".join([text, *(str(flow.error) for flow in broken)]),
        good=not broken,
    )


def validate(asked: argparse.Namespace) -> Answer:
    """Check flow files: those named, each by itself, or all of the flows folder."""
    folder = settings.flows_folder()
    paths = [path for place in asked.files or [folder] for path in _flow_files(place)]
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
    text = "\n".join(lines) or (
        "The flow file is good." if len(paths) == 1 else f"{len(paths)} flow files are good."
    )
    return Answer({"files": len(paths), "problems": problems}, text, good=not problems)


def _flow_files(place: Path) -> list[Path]:
    """The flow files of a folder; of a file, itself."""
    return sorted([*place.glob("*.yaml"), *place.glob("*.yml")]) if place.is_dir() else [place]


def _problem(file: str, problem: str) -> dict[str, str]:
    key, mark, rule = problem.partition(": ")
    return {"file": file, "key": key if mark else "the file", "rule": rule if mark else problem}
