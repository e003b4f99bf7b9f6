"""The leads of the last night that its load could not send before its end time: tonight's load takes them along.

They are cleaned again with everybody else, so that whoever asked not to be called meanwhile is not.
"""

from __future__ import annotations

import shutil
from typing import Final

import polars as pl

from include.flow_files import Delivery
from include.ledger import Ledger, Load
from include.staging import Manifest, RunFolder, run_path

END_TIME: Final = "end_time"
"""Reason of rows that were held because the flow's end time had come."""

LOOKED_AT: Final = 50
"""How many loads back the last one that wrote is looked for; runs that only planned stand between."""


def with_leftovers(
    ledger: Ledger, flow: Delivery, run_id: str, tonight: RunFolder, out: RunFolder
) -> RunFolder:
    """Return tonight's snapshot with the leads that the load before left, or tonight's itself when it left none.

    A lead that stands in tonight's snapshot is taken from there.

    :param run_id: this run; its own earlier load does not count.
    :param out: where the snapshot of both is written.
    """
    before = _last_written(ledger, flow, run_id)
    manifest = tonight.manifest()
    if before is None or before.source_time >= (manifest.source_time or manifest.created_at):
        return tonight
    outcomes, earlier = (
        RunFolder(run_path(before.dag_id, before.run_id, "outcomes")),
        RunFolder(before.snapshot),
    )
    if not (outcomes.exists() and earlier.exists()):
        return tonight
    with (
        outcomes.reading("*.parquet") as ended,
        earlier.reading("part-*.parquet") as parts,
        tonight.reading("part-*.parquet") as own,
        out.writing() as scratch,
    ):
        left = pl.scan_parquet(ended, glob=False).filter(reason=END_TIME).select("row_key")
        here = pl.scan_parquet(own, glob=False).select("row_key")
        leads = (
            pl.scan_parquet(parts, glob=False)
            .join(left, on="row_key", how="semi")
            .join(here, on="row_key", how="anti")
            .collect(engine="streaming")
        )
        if leads.is_empty():
            return tonight
        for file in own:
            shutil.copyfile(file, scratch / file.name)
        leads.write_parquet(scratch / "part-leftovers.parquet")
        facts = {**manifest.facts, "leftovers": leads.height, "source": flow.source}
        out.commit(
            scratch,
            Manifest(
                kind=manifest.kind,
                rows=manifest.rows + leads.height,
                source_time=manifest.source_time or manifest.created_at,
                night=manifest.night,
                facts=facts,
            ),
        )
    return out


def _last_written(ledger: Ledger, flow: Delivery, run_id: str) -> Load | None:
    """The flow's last load that was meant to write and has ended, of an earlier run."""
    return next(
        (
            load
            for load in ledger.loads(LOOKED_AT, flow=flow.name)
            if load.mode == "apply"
            and load.state != "open"
            and load.run_id != run_id
            and load.target == flow.target
        ),
        None,
    )
