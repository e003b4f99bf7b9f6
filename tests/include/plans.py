"""Plans made of a few leads, and what they leave in their folder."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from include.flow_files import Recipe
from include.guards import GuardLimits
from include.leads.clean import KEPT_COLUMNS
from include.plan import Before, make_plan

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
SOURCE_TIME = NOW - timedelta(hours=3)
COLUMNS = (("number1", "phone"), ("key", "customer_key"), ("zip", "data.zip"))
LOOSE = GuardLimits(allow_empty=True, max_shrink_percent=100, min_valid_percent=0)


def recipe(**changes) -> Recipe:
    values = {
        "columns": COLUMNS,
        "phone": "national",
        "replaces": True,
        "updates": False,
        "options": {"d": "x"},
    }
    return Recipe(**(values | changes))


APPEND = recipe(replaces=False)
UPDATE = recipe(replaces=False, updates=True, unique="key")


def lead(number: int, **changes):
    row = dict.fromkeys(KEPT_COLUMNS)
    row |= {
        "row_key": str(number),
        "lead_id": number,
        "customer_key": f"C{number}",
        "phone": f"+1201200{number:04d}",
        "national": f"201200{number:04d}",
        "data": json.dumps({"zip": f"{number:05d}"}),
    }
    return row | changes


def plan(folder: Path, rows, *, recipe=None, before=None, limits=LOOSE, parts=2, decided=None, **changes):
    """Plan these kept leads, cut into parts."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    size = max(1, -(-len(rows) // parts))
    for number, start in enumerate(range(0, max(1, len(rows)), size)):
        kept.append(folder.parent / f"{folder.name}-kept-{number}.parquet")
        pl.DataFrame(rows[start : start + size], schema=KEPT_COLUMNS).write_parquet(kept[-1])
    gone = sum(sum(reasons.values()) for reasons in (decided or {}).values())
    values = {
        "subject": {
            "flow": "f",
            "dag_id": "d",
            "vendor": "v",
            "target": "t",
            "list": "l",
            "mode": "REPLACE",
            "night": "2026-11-20",
            "snapshot": "s",
        },
        "cleaned": {
            "rows_in": len(rows) + gone,
            "decided": decided or {},
            "suppression": [],
            "changes": {},
        },
        "source_time": SOURCE_TIME,
        "action": "apply",
        "limits": limits,
        "now": NOW,
    }
    return make_plan(kept, recipe or globals()["recipe"](), before or Before(), folder, **(values | changes))


def payload(folder: Path) -> list[dict[str, str]]:
    with (folder / "payload.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def keys(folder: Path, name: str = "sent.parquet") -> list[str]:
    return pl.read_parquet(folder / name)["row_key"].to_list()


def held(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in sorted(folder.glob("outcomes-*.parquet"))])


def applied(folder: Path, made) -> Before:
    return Before(rows=made["to_send"], keys=folder / "keys.parquet", plan_hash=made["hash"])
