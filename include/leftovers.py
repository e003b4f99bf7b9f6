"""The leads of the last night that its load could not send before its end time: tonight's load takes them along.

They are cleaned again with everybody else, so that whoever asked not to be called meanwhile is not.
"""

from __future__ import annotations

import shutil
from typing import Final

import polars as pl

from include.flow_files import Delivery
from include.handed_in import kind_of
from include.leads.schema import LEAD_COLUMNS
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

    A lead that stands in tonight's snapshot is taken from there. What was handed in since the last night
    (`include.handed_in`) may have left leads too.

    :param run_id: this run; its own earlier load does not count.
    :param out: where the snapshot of both is written.
    """
    manifest = tonight.manifest()
    source_time = manifest.source_time or manifest.created_at
    with tonight.reading("part-*.parquet") as own, out.writing() as scratch:
        here = pl.scan_parquet(own, glob=False).select("row_key").collect()
        rows = 0
        for number, before in enumerate(_last_written(ledger, flow, run_id)):
            leads = _left(before).join(here, on="row_key", how="anti")
            if before.source_time >= source_time or leads.is_empty():
                continue
            leads.write_parquet(scratch / f"part-leftovers-{number:02d}.parquet")
            here = pl.concat([here, leads.select("row_key")])
            rows += leads.height
        if not rows:
            return tonight
        for file in own:
            shutil.copyfile(file, scratch / file.name)
        facts = {**manifest.facts, "leftovers": rows, "source": flow.source}
        out.commit(
            scratch,
            Manifest(
                kind=manifest.kind,
                rows=manifest.rows + rows,
                source_time=source_time,
                night=manifest.night,
                facts=facts,
            ),
        )
    return out


def _left(load: Load) -> pl.DataFrame:
    """The leads that a load could not send in time; none where its folders are gone."""
    outcomes, snapshot = RunFolder(run_path(load.dag_id, load.run_id, "outcomes")), RunFolder(load.snapshot)
    if not (outcomes.exists() and snapshot.exists()):
        return pl.DataFrame(schema=LEAD_COLUMNS)
    with outcomes.reading("*.parquet") as ended, snapshot.reading("part-*.parquet") as parts:
        left = pl.scan_parquet(ended, glob=False).filter(reason=END_TIME).select("row_key")
        leads = pl.scan_parquet(parts, glob=False).select(*LEAD_COLUMNS)
        return leads.join(left, on="row_key", how="semi").collect(engine="streaming")


def _last_written(ledger: Ledger, flow: Delivery, run_id: str) -> list[Load]:
    """The flow's last night that was meant to write and has ended, of an earlier run, and what was handed in since."""
    found: list[Load] = []
    for load in ledger.loads(LOOKED_AT, flow=flow.name):
        if (
            (load.mode, load.target) == ("apply", flow.target)
            and load.state != "open"
            and load.run_id != run_id
        ):
            found.append(load)
            if kind_of(load.run_id) is None:
                break
    return found
