"""Where commands look things up: the ledger, and the flow files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from include import settings
from include.cli.answers import CommandError
from include.flow_files import KINDS, load_flows
from include.ledger import Ledger, Load


@contextmanager
def opened_ledger() -> Iterator[Ledger]:
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


def loads_of(ledger: Ledger, flow: str | None, limit: int) -> list[Load]:
    """The newest loads of all flows, or of one by its name or DAG id."""
    kind, mark, name = (flow or "").partition("__")
    if not mark:
        return ledger.loads(limit, flow=kind or None)
    return [load for load in ledger.loads(limit, flow=name) if load.dag_id == flow]


def flow_of(text: str) -> Any:
    """The flow of this name or DAG id that writes to a list, None when no good file defines it."""
    for kind in KINDS.values():
        for flow in load_flows(kind)[0]:
            if text in (flow.name, flow.dag_id) and hasattr(flow, "target"):
                return flow
    return None


def vendors() -> set[str]:
    """The vendors that the flow files write to."""
    return {flow.vendor for kind in KINDS.values() for flow in load_flows(kind)[0] if hasattr(flow, "vendor")}
