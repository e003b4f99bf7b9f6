"""A night's calls: dialler calls and activities, put together into one snapshot of CALL_COLUMNS.

The dialler says of each call whom it rang and with what result, the activity what the agent said of it (the wrap code).
Both have the attempt's id; what only one list names is kept as well. Every item of both lists ends somewhere: a row, a
row that another already is (`joined`), an activity that is no call (`other`), or a reject.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl

from include.leads.schema import CALL_COLUMNS
from include.snapshots import Items, PartWriter, Shard, id_of, lost_rows, read_walk
from include.staging import Manifest, RunFolder
from include.vendors import platform

STATISTICS: Final = "statistics.json"
"""File of a snapshot: what each campaign said of itself, `{"outbound 2": {...}}`."""

CALLS: Final = Items(
    CALL_COLUMNS,
    "call_key",
    platform.read_call,
    platform.called_at,
    lambda item: id_of(item, "attemptId"),
    "call ",
)


def _activity_id(item: Mapping[str, Any]) -> str | None:
    data = item.get("data")
    return id_of(data, "activityId") if isinstance(data, dict) else None


ACTIVITIES: Final = Items(
    CALL_COLUMNS,
    "call_key",
    platform.read_activity,
    platform.called_at,
    _activity_id,
    "activity ",
)


def calls_of(source: str) -> str:
    """Name under which the calls of a source are staged; what `clean.calls.source` names."""
    return f"{source}_calls"


def assemble_calls(
    pages: RunFolder,
    calls: Sequence[Shard],
    activities: Sequence[Shard],
    statistics: Mapping[str, Any],
    snapshot: RunFolder,
    *,
    source_time: datetime,
    night: str,
    facts: dict[str, Any],
) -> dict[str, int]:
    """Put the walked pages of both lists together and commit the snapshot. Returns the counts in its facts.

    The calls of one window are held in memory. Raises StagingError for a shard whose last page has not been read.
    """
    frames: list[pl.DataFrame] = []
    bad: list[dict[str, str]] = []
    repeats: list[pl.DataFrame] = []
    counts = dict.fromkeys(("pages", "seen", "other", "outside"), 0)
    for shards, label in ((calls, CALLS.label), (activities, ACTIVITIES.label)):
        walked = read_walk(pages, shards)
        empty = pl.DataFrame(schema=CALL_COLUMNS)
        found = list(walked.frames(pages))
        frames.append(pl.concat([empty, *(kept for kept, _ in found)]))
        repeats += [again.select(row_key=pl.lit(label) + pl.col("call_key")) for _, again in found]
        bad += walked.bad
        counts["pages"] += len(walked.names)
        counts["seen"] += walked.seen
        counts["other"] += walked.other
        counts["outside"] += walked.outside
    dialled, told = frames
    joined = told.join(dialled, on="call_key", how="semi").height
    both = dialled.join(told, on="call_key", how="full", coalesce=True, suffix="_told")
    rows = both.select(
        "call_key",
        *(pl.coalesce(name, f"{name}_told").alias(name) for name in CALL_COLUMNS if name != "call_key"),
    )
    with snapshot.writing() as scratch:
        writer = PartWriter(scratch, CALL_COLUMNS)
        writer.add(rows)
        kept = writer.close()
        lost = lost_rows(bad, repeats)
        lost.write_parquet(scratch / "outcomes-00000.parquet")
        (scratch / STATISTICS).write_text(json.dumps(dict(statistics), sort_keys=True), encoding="utf-8")
        counts |= {
            "kept": kept,
            "joined": joined,
            "inbound": rows.filter("inbound").height,
            "wrapped": rows.filter(pl.col("wrap_code").is_not_null() | pl.col("wrap").is_not_null()).height,
            "bad": lost.filter(reason="source_unreadable").height,
            "repeated": lost.filter(reason="source_repeated").height,
            "statistics": len(statistics),
        }
        snapshot.commit(
            scratch,
            Manifest(
                kind="calls", rows=kept, source_time=source_time, night=night, facts={**facts, **counts}
            ),
        )
    return counts
