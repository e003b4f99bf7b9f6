"""Where commands look things up: the ledger, and the flow files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import make_url

from include import settings
from include.cli.answers import CommandError
from include.flow_files import KINDS, load_flows
from include.ledger import Ledger, Load, UnknownLoadError

SEARCHED_LOADS: Final = 1000
SHORTEST_ID: Final = 8


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


def load_named(ledger: Ledger, text: str) -> Load:
    """
    One load by its id, or by the first characters of it, eight at least.

    :raises UnknownLoadError: there is none
    :raises CommandError: several begin so
    """
    try:
        return ledger.load(text)
    except UnknownLoadError:
        found = [load for load in ledger.loads(SEARCHED_LOADS) if load.id.startswith(text)]
        if len(text) < SHORTEST_ID or not found:
            raise
    if len(found) > 1:
        raise CommandError(
            f"The loads {' and '.join(load.id for load in found)} begin with {text}; give the whole id."
        )
    return found[0]


def require_flow(ledger: Ledger, text: str) -> None:
    """Raise CommandError when no good flow file and no load is of a flow of this name or DAG id."""
    if flow_of(text) is None and not loads_of(ledger, text, 1):
        raise CommandError(f"No flow that writes to a list is called {text}; `listkeeper flows` lists them.")


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
