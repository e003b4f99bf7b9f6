"""The plan of an archive run: which leads, under which rule, how long it takes, and whether it may.

It has the shape of `include.plan`, so that pages, reports and the hash treat it like any other; what only an archive
has stands under `archive`. Instead of a payload it ties the file of lead ids.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl

from include.approval import Approval, decide
from include.canary import Canary, option, sizes
from include.guards import Refusal
from include.hours import OfficeHours
from include.leads.retention import ArchiveGuards
from include.leads.schema import OUTCOME_COLUMNS
from include.ledger import Batch, BatchPlan
from include.plan import PLAN, SENT, plan_hash
from include.staging import sha256_of
from include.vendors.vicidial import Flags

MOST_WINDOWS: Final = 400
"""Windows that an estimate looks ahead; a plan that needs more has no end worth telling."""


@dataclass(frozen=True)
class Estimate:
    """How long a plan takes: calls, minutes, and where they fall between the office's hours. Times are UTC."""

    batches: int
    seconds_per_call: float
    minutes: float
    begins: datetime
    fits_first: int
    """Batches that fit into the first window: all of them when the office never opens again."""
    ends: datetime | None
    windows: int

    def as_json(self) -> dict[str, Any]:
        """As plain JSON, times in ISO 8601."""
        return {
            **self.__dict__,
            "begins": self.begins.isoformat(),
            "ends": self.ends.isoformat() if self.ends else None,
        }


def estimate(
    batches: int, seconds_per_call: float, hours: OfficeHours | None, now: datetime, margin: timedelta
) -> Estimate:
    """Lay the batches of a plan into the windows between office hours.

    :param hours: None: at any time.
    :param margin: how long before the office opens the last call begins.
    """
    begins = moment = now if hours is None else hours.next_close(now)
    left, fits_first, windows = batches, 0, 0
    ends: datetime | None = begins if not batches else None
    while left and windows < MOST_WINDOWS:
        windows += 1
        opens = None if hours is None else hours.next_open(moment)
        fits = (
            left
            if opens is None
            else math.floor((opens - moment - margin).total_seconds() / seconds_per_call)
        )
        fits = min(left, max(0, fits))
        fits_first = fits if windows == 1 else fits_first
        left -= fits
        if not left:
            ends = moment + timedelta(seconds=fits * seconds_per_call)
        elif hours is not None and opens is not None:
            moment = hours.next_close(opens)
    return Estimate(
        batches,
        round(seconds_per_call, 2),
        round(batches * seconds_per_call / 60, 1),
        begins.astimezone(UTC),
        fits_first,
        None if ends is None else ends.astimezone(UTC),
        windows,
    )


def measured_seconds(batches: Sequence[Batch], otherwise: float) -> float:
    """Seconds that one batch took by the ledger's own times: the median, or `otherwise` when nothing was measured."""
    took = [
        (batch.settled_at - batch.intended_at).total_seconds()
        for batch in batches
        if batch.state == "confirmed" and batch.settled_at and batch.intended_at
    ]
    return max(0.01, statistics.median(took)) if took else otherwise


def check(
    limits: ArchiveGuards,
    *,
    rows_in: int,
    to_send: int,
    table_rows: int | None,
    keep_lists: Sequence[Mapping[str, Any]],
    source_time: datetime,
    now: datetime,
) -> list[Refusal]:
    """Ask every guard of an archive.

    :param rows_in: leads that the rules or the file picked.
    :param to_send: leads that would be archived.
    :param table_rows: rows of `vicidial_list`, None where nobody counted them.
    :param keep_lists: name, age_days and max_age_days of each.
    """
    refusals = []
    if not to_send and not limits.allow_empty:
        why = "no rule picks any lead" if not rows_in else "every lead that was picked is kept back"
        refusals.append(
            Refusal(
                "empty_selection",
                f"Nothing to archive: {why}. Check rules and connection; where that is normal, set guards.allow_empty.",
            )
        )
    if limits.max_rows is not None and to_send > limits.max_rows:
        refusals.append(
            Refusal(
                "max_rows",
                f"{to_send} leads would be archived, the limit is {limits.max_rows}. Look at the counts per rule; give "
                "the run a limit, or raise guards.max_rows.",
            )
        )
    if table_rows and 100 * to_send / table_rows > limits.max_share_percent:
        refusals.append(
            Refusal(
                "max_share",
                f"{to_send} of the {table_rows} leads on the list would be archived "
                f"({100 * to_send / table_rows:.1f} %), the limit is {limits.max_share_percent:g} %. Look at the "
                "counts per rule; give the run a limit, or raise guards.max_share_percent.",
            )
        )
    age = now - source_time
    if age > timedelta(hours=limits.max_source_age_hours):
        refusals.append(
            Refusal(
                "stale_source",
                f"The selection is {age.total_seconds() / 3600:.1f} hours old, the limit is "
                f"{limits.max_source_age_hours:g}. Select anew, or raise guards.max_source_age_hours.",
            )
        )
    for entry in keep_lists:
        limit, days = entry["max_age_days"], entry["age_days"]
        if limit is not None and (days is None or days > limit):
            age_text = "of unknown age" if days is None else f"{days:g} days old"
            refusals.append(
                Refusal(
                    "keep_list_age",
                    f"Keep-list {entry['name']} is {age_text}, the limit is {limit:g} days. Fetch a newer one.",
                )
            )
    return refusals


def make_archive_plan(
    kept: Sequence[Path],
    out: Path,
    *,
    subject: Mapping[str, Any],
    selected: Mapping[str, Any],
    flags: Flags,
    batch_size: int,
    limit: int | None,
    source_time: datetime,
    action: Literal["apply", "plan"],
    limits: ArchiveGuards,
    approval: Approval = Approval(),  # type: ignore[call-arg]  # noqa: B008 (frozen)
    schedule: Mapping[str, Any],
    canary: Canary | None = None,
    extra_refusals: Sequence[Refusal] = (),
    now: datetime,
) -> dict[str, Any]:
    """Make the plan, write it and the ids it archives into `out`, return it as plain JSON.

    :param kept: Parquet files of the selection (row_key, lead_id, rule), in order.
    :param subject: what the plan is about (flow, dag_id, vendor, target, list, night, snapshot), copied into it.
    :param selected: facts of the selection (`include.archive.selection.Selected.facts`).
    :param flags: what an apply asks for; a plan that only shows never asks to delete.
    :param limit: most leads to archive, None for all; the others are held as `over_limit`.
    :param canary: what goes first, alone.
    :param schedule: office hours, margin and seconds per call, for `estimate`: hours, margin, seconds.

    Writes `plan.json`, `sent.parquet` (row_key, lead_id) and, for what the limit holds back, `outcomes-*.parquet`.
    """
    rows = pl.scan_parquet(list(kept), glob=False).select("row_key", "lead_id")
    found = rows.select(pl.len()).collect().item()
    to_send = found if limit is None else min(limit, found)
    rows.head(to_send).sink_parquet(out / SENT)
    over = found - to_send
    if over:
        rows.slice(to_send).select(
            "row_key",
            pl.lit("held").alias("state"),
            pl.lit("over_limit").alias("reason"),
            pl.lit(None, pl.String).alias("detail"),
            pl.lit(None, pl.Int64).alias("batch"),
        ).cast(OUTCOME_COLUMNS).sink_parquet(out / "outcomes-00000.parquet")  # type: ignore[arg-type]
    refusals = [
        *extra_refusals,
        *check(
            limits,
            rows_in=selected["rows_in"],
            to_send=to_send,
            table_rows=selected["table_rows"],
            keep_lists=selected["keep_lists"],
            source_time=source_time,
            now=now,
        ),
    ]
    decision = decide(
        approval, action=action, refusals=refusals, changes=to_send > 0, destructive=flags.delete
    )
    deletes = flags.delete and decision in ("apply", "ask")
    batches = len(sizes(to_send, batch_size, canary))
    table_rows = selected["table_rows"]
    leaving = to_send if flags.delete else 0
    plan: dict[str, Any] = {
        **subject,
        "mode": "ARCHIVE" if flags.delete else "COPY",
        "action": action,
        "decision": decision,
        "source_time": source_time.isoformat(),
        "rows_in": selected["rows_in"],
        "decided": {state: dict(reasons) for state, reasons in selected["decided"].items()},
        "kept": found,
        "now": table_rows,
        "after": None if table_rows is None else table_rows - leaving,
        "added": 0,
        "changed": 0,
        "unchanged": None if table_rows is None else table_rows - leaving,
        "removed": leaving,
        "to_send": to_send,
        "held": {"over_limit": over} if over else {},
        "samples": [],
        "refusals": [refusal.__dict__ for refusal in refusals],
        "suppression": [],
        "changes": {},
        "columns": [],
        "options": {
            "insert": flags.insert,
            "update": flags.update,
            "delete": deletes,
            "batch_size": batch_size,
            **option(canary, batch_size),
        },
        "payload_sha256": sha256_of(out / SENT),
        "archive": {
            "rules": dict(selected["rules"]),
            "keep_lists": list(selected["keep_lists"]),
            "zone": schedule["zone"],
            **estimate(batches, schedule["seconds"], schedule["hours"], now, schedule["margin"]).as_json(),
        },
    }
    plan["hash"] = plan_hash(plan)
    (out / PLAN).write_text(json.dumps(plan, indent=1))
    return plan


def batch_plans(lead_ids: pl.Series, batch_size: int, canary: Canary | None = None) -> list[BatchPlan]:
    """Cut the ids of a plan into batches, numbered from 1, each with a fingerprint of its ids."""
    plans, start = [], 0
    for seq, rows in enumerate(sizes(len(lead_ids), batch_size, canary), 1):
        part = lead_ids.slice(start, rows)
        plans.append(BatchPlan(seq, rows, hashlib.sha256(part.to_numpy().tobytes()).hexdigest()))
        start += rows
    return plans
