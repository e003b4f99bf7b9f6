"""A soak run in a real Airflow: its own flow files, a stack in a folder that goes away, and what was wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from include.stack import console
from include.stack.console import Console
from include.stack.processes import Stack


def run_soak(
    soak: Callable[[Stack, Console], list[str]],
    flows: Mapping[str, Mapping[str, Any]],
    write_leads: Callable[[Path], None] | None = None,
) -> int:
    """Run it in a stack of its own; returns 0 when all is well.

    :param soak: does the work, and returns what is wrong.
    :param flows: name of a flow file -> its keys.
    :param write_leads: writes the sandbox's leads as CSV; left out, they are the FTC's.
    """
    screen = Console()
    console.end_on_signals()
    with tempfile.TemporaryDirectory(prefix="lk-soak-") as name:
        folder, leads = Path(name), Path(name) / "leads.csv"
        (folder / "flows").mkdir()
        for flow, keys in flows.items():
            (folder / "flows" / f"{flow}.yaml").write_text(yaml.safe_dump(keys))
        if write_leads is not None:
            write_leads(leads)
        with Stack(
            folder,
            airflow_port=18280,
            sandbox_port=18290,
            leads=leads if write_leads is not None else None,
            environment={"LISTKEEPER_FLOWS": str(folder / "flows")},
        ) as running:
            wrong = soak(running, screen)
    for line in wrong:
        screen.show(f"WRONG: {line}")
    return 1 if wrong else 0
