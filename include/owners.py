"""One number, one list a night: who comes first among the flows of a group, and who has claimed which numbers.

A run claims the numbers that its clean step kept: they are written into a folder of the run, then the folder is named
in the ledger, which takes it only if the run has looked at all claims of the others (`include.ledger.owners`). A run
holds every number that another flow of its group has claimed. Priority comes from order: a run first waits until the
released flows before it have claimed theirs.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from include.flow_files import Delivery, deliveries
from include.leads.owned import Owned
from include.ledger import Claim, Ledger
from include.staging import Manifest, RunFolder, run_path


def before(flow: Delivery) -> list[str]:
    """DAG ids of the released flows of the group that come before this one; equal priorities go by DAG id."""
    if flow.owner_group is None:
        return []
    place = (flow.priority, flow.dag_id)
    group = [other for other in deliveries() if other.owner_group == flow.owner_group and other.released]
    return sorted(other.dag_id for other in group if (other.priority, other.dag_id) < place)


def missing(ledger: Ledger, group: str, night: str, flows: Sequence[str]) -> list[str]:
    """Those of some flows that have not claimed numbers of the night yet."""
    claimed = {claim.dag_id for claim in ledger.claims_of(group, night)}
    return [flow for flow in flows if flow not in claimed]


def owned_by_others(claims: Sequence[Claim], dag_id: str) -> list[Owned]:
    """The numbers that other flows have claimed. Raises StagingError when a folder that holds them is gone."""
    owned = []
    for claim in claims:
        if claim.dag_id == dag_id:
            continue
        with RunFolder(claim.path).reading("numbers.parquet") as files:
            numbers = pl.concat([pl.read_parquet(file, glob=False)["number"] for file in files])
        if len(numbers):
            owned.append(Owned(claim.dag_id, numbers))
    return owned


def write_claim(dag_id: str, run_id: str, kept_files: Sequence[Path]) -> Claim:
    """Write the numbers of kept leads into a folder of their own; nobody sees it until the ledger names it."""
    folder = RunFolder(run_path(dag_id, run_id, f"owned-{uuid.uuid4().hex[:8]}"))
    kept = [pl.read_parquet(file, columns=["phone"], glob=False)["phone"] for file in kept_files]
    numbers = pl.concat(kept).str.slice(1).cast(pl.Int64).unique().sort()
    with folder.writing() as scratch:
        numbers.alias("number").to_frame().write_parquet(scratch / "numbers.parquet")
        folder.commit(scratch, Manifest(kind="owned", rows=len(numbers)))
    return Claim(dag_id, folder.path)
