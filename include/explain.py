"""Why a lead was loaded or not: what runs wrote down about its row.

Of one flow by the row's key (`explain`), or of all flows, nights and vendors by phone or key (`story`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from include import staging
from include.leads.phones import to_e164
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
    ended: datetime
    row_key: str
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
            "ended": self.ended.isoformat(),
            "night": self.load.night if self.load else None,
            "vendor": self.load.vendor if self.load else None,
            "list": self.load.target if self.load else None,
            "row_key": self.row_key,
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
    return [
        finding
        for name in staging.places("runs")
        if name == flow or name.endswith(f"__{flow}")
        for finding in _findings(ledger, name, {row_key}, runs)
    ]


def story(ledger: Ledger, who: str, region: str, runs: int) -> list[Finding]:
    """What the last `runs` runs of every flow say about the leads of a phone or key, in the order in which they ended.

    :param who: a row key, a customer key, or a phone number as people write it; its leads are looked up in every
        staged snapshot. Leads whose snapshot is gone are found by their row key only.
    :param region: country of numbers without a country code, in `who` and in the leads.
    """
    number = to_e164(pl.Series([who]), region)[0].item()
    keys = {source: _row_keys(source, who, number, region) for source in staging.places("snapshots")}
    found = []
    for dag_id in staging.places("runs"):
        # A row key means another lead in another source, so each run is asked for those of its own.
        by_source = {load.id: keys.get(_source(load.snapshot), set()) for load in _loads(ledger, dag_id)}
        every = {who}.union(*by_source.values())
        found += [
            finding
            for finding in _findings(ledger, dag_id, every, runs)
            if finding.row_key == who or (finding.load and finding.row_key in by_source[finding.load.id])
        ]
    return sorted(found, key=lambda finding: finding.ended)


def _source(snapshot: str) -> str:
    """The source that a load's leads came from. What the night before left over comes from a run's own folder."""
    place = RunFolder(snapshot)
    if not snapshot.startswith("snapshots/") and place.exists():
        return str(place.manifest().facts.get("source", ""))
    return snapshot.removeprefix("snapshots/").partition("/")[0]


def _row_keys(source: str, who: str, number: int | None, region: str) -> set[str]:
    """Keys of the leads of a source that have this row key, customer key or number, in any staged night."""
    keys: set[str] = set()
    for night in staging.places(f"snapshots/{source}"):
        for folder in staging.folders(f"snapshots/{source}/{night}"):
            with folder.reading("part-*.parquet") as files:
                for file in files:
                    leads = pl.read_parquet(file, glob=False)
                    if "customer_key" in leads.columns:  # a snapshot of calls has none
                        keys.update(leads.filter(_is_lead(leads, who, number, region))["row_key"])
    return keys


def _is_lead(leads: pl.DataFrame, who: str, number: int | None, region: str) -> pl.Series:
    """Which leads are asked for."""
    found = leads["row_key"].eq_missing(who) | leads["customer_key"].eq_missing(who)
    for name in ("phone1", "phone2", "phone3") if number is not None else ():
        # Only what holds the same digits is read as a number: all of them, night by night, would take minutes.
        alike = leads[name].str.replace_all(r"\D", "").str.contains(str(number)[-7:], literal=True)
        maybe = leads.select(pl.when(alike).then(name))[name]
        found |= to_e164(maybe, region)[0].eq_missing(number)
    return found


def _findings(ledger: Ledger, dag_id: str, keys: Collection[str], runs: int) -> list[Finding]:
    """What the last runs of one DAG say about some rows, newest first."""
    found = []
    loads = {staging.slug(load.run_id): load for load in _loads(ledger, dag_id)}
    for run, folder in _ended(dag_id)[:runs]:
        load = loads.get(run)
        rows = _rows(folder, keys) or (_rows(RunFolder(load.snapshot), keys) if load else [])
        for row in rows:
            batches = ledger.batches(load.id) if load and row["batch"] is not None else []
            batch = next((batch for batch in batches if batch.seq == row["batch"]), None)
            about = (row["row_key"], row["state"], row["reason"], row["detail"])
            found.append(Finding(dag_id, run, folder.manifest().created_at, *about, load, batch))
    return found


def _loads(ledger: Ledger, dag_id: str) -> list[Load]:
    """The flow's loads, oldest first: of a run that planned twice the last one counts."""
    loads = ledger.loads(SEARCHED_LOADS, flow=dag_id.partition("__")[2])
    return [load for load in reversed(loads) if load.dag_id == dag_id]


def _ended(dag_id: str) -> list[tuple[str, RunFolder]]:
    """Runs that have written their outcomes down, newest first, with the folder that holds them."""
    folders = [(run, RunFolder(f"runs/{dag_id}/{run}/outcomes")) for run in staging.places(f"runs/{dag_id}")]
    ended = [(folder.manifest().created_at, run, folder) for run, folder in folders if folder.exists()]
    return [(run, folder) for _, run, folder in sorted(ended, key=lambda entry: entry[:2], reverse=True)]


def _rows(folder: RunFolder, keys: Collection[str]) -> list[dict[str, Any]]:
    """The outcomes of some rows in a folder."""
    if not folder.exists():
        return []
    pattern = "*.parquet" if folder.path.endswith("/outcomes") else "outcomes-*.parquet"
    found: list[dict[str, Any]] = []
    with folder.reading(pattern) as files:
        for file in files:
            # Read, not scanned: a name in the path may hold what a scan would take for a pattern.
            found += pl.read_parquet(file, glob=False).filter(pl.col("row_key").is_in(list(keys))).to_dicts()
    return found
