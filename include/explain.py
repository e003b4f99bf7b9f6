"""Why a lead was loaded or not: what the newest runs of a flow wrote down about its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from include import staging
from include.leads.reasons import REASONS
from include.ledger import Batch, Ledger, Load
from include.staging import RunFolder

SEARCHED_LOADS: Final = 500
"""Loads of the flow among which a run's load is looked for."""


@dataclass(frozen=True)
class Finding:
    """What one run says about one row. `load` and `batch` are None where the run never came that far."""

    dag_id: str
    run: str
    state: str
    code: str
    detail: str | None
    load: Load | None
    batch: Batch | None

    @property
    def reason(self) -> str:
        """What the code means."""
        return REASONS[self.code].text if self.code in REASONS else self.code

    @property
    def how_to_fix(self) -> str:
        """What a person can do about it."""
        return REASONS[self.code].fix if self.code in REASONS else ""

    @property
    def since(self) -> str | None:
        """How a person resolved the load after the run had written its outcomes down."""
        resolved = self.load is not None and self.load.state != "uncertain"
        return self.load.verdict if self.load and self.state == "uncertain" and resolved else None

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain JSON."""
        return {
            "dag_id": self.dag_id,
            "run": self.load.run_id if self.load else self.run,
            "night": self.load.night if self.load else None,
            "state": self.state,
            "code": self.code,
            "reason": self.reason,
            "how_to_fix": self.how_to_fix,
            "detail": self.detail,
            "since": self.since,
            "load": self.load.id if self.load else None,
            "batch": self.batch.seq if self.batch else None,
            "batch_state": self.batch.state if self.batch else None,
            "vendor_counts": dict(self.batch.vendor_counts) if self.batch else {},
            "counts": self.load.counts.to_dict() if self.load and self.load.counts else {},
        }


def explain(ledger: Ledger, flow: str, row_key: str, runs: int) -> list[Finding]:
    """What the last `runs` runs of a flow (its name or DAG id) say about a row, newest first.

    A row that no run's outcomes hold is looked for among those that the pull could not keep.
    """
    found = []
    for dag_id in _dag_ids(flow):
        loads = {staging.slug(load.run_id): load for load in _loads(ledger, dag_id)}
        for run, folder in _ended(dag_id)[:runs]:
            load = loads.get(run)
            row = _row(folder, row_key) or (_row(RunFolder(load.snapshot), row_key) if load else None)
            if row is not None:
                batches = ledger.batches(load.id) if load and row["batch"] is not None else []
                batch = next((batch for batch in batches if batch.seq == row["batch"]), None)
                found.append(Finding(dag_id, run, row["state"], row["reason"], row["detail"], load, batch))
    return found


def _dag_ids(flow: str) -> list[str]:
    """DAG ids of a flow that have left runs."""
    return [name for name in staging.places("runs") if name == flow or name.endswith(f"__{flow}")]


def _loads(ledger: Ledger, dag_id: str) -> list[Load]:
    """The flow's loads, oldest first: of a run that planned twice the last one counts."""
    loads = ledger.loads(SEARCHED_LOADS, flow=dag_id.partition("__")[2])
    return [load for load in reversed(loads) if load.dag_id == dag_id]


def _ended(dag_id: str) -> list[tuple[str, RunFolder]]:
    """Runs that have written their outcomes down, newest first, with the folder that holds them."""
    folders = [(run, RunFolder(f"runs/{dag_id}/{run}/outcomes")) for run in staging.places(f"runs/{dag_id}")]
    ended = [(folder.manifest().created_at, run, folder) for run, folder in folders if folder.exists()]
    return [(run, folder) for _, run, folder in sorted(ended, key=lambda entry: entry[:2], reverse=True)]


def _row(folder: RunFolder, row_key: str) -> dict[str, Any] | None:
    """The outcome of a row in a folder, None when it holds none."""
    if not folder.exists():
        return None
    pattern = "*.parquet" if folder.path.endswith("/outcomes") else "outcomes-*.parquet"
    with folder.reading(pattern) as files:
        for file in files:
            # Read, not scanned: a name in the path may hold what a scan would take for a pattern.
            rows = pl.read_parquet(file).filter(pl.col("row_key") == row_key)
            if rows.height:
                return rows.row(0, named=True)
    return None
