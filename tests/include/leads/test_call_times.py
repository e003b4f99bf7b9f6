"""The next moment of a lead, as each vendor takes it: from flow file to payload, through the vendor's own check."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from include.flow_files import KINDS, Delivery
from include.guards import GuardLimits
from include.leads.clean import clean
from include.plan import Before, make_plan

FLOWS = Path(__file__).parents[3] / "include" / "flows"
SATURDAY_NIGHT = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)  # 23:30 on Saturday in New York


@pytest.mark.parametrize(
    ("file", "column", "packs", "written"),
    [
        ("winback.yaml", {"to": "nextAttemptTimestamp", "from": "call_from"}, {}, "2026-11-22T13:00:00Z"),
        # iSales' own time zone is that of the flow file.
        ("isales_nightly.yaml", {"to": "recycleTime", "from": "call_from"}, {}, "2026-11-22 21:00:00"),
        (
            "collections.yaml",
            {"to": "ExpiryDate", "from": "call_until"},
            {"time_format": "%Y-%m-%d", "time_zone": "America/New_York"},
            "2026-11-22",
        ),
        ("five9_nightly.yaml", {"to": "call_at", "from": "call_from"}, {}, "2026-11-22T13:00:00Z"),
    ],
)
def test_each_vendor_takes_the_next_moment(
    tmp_path: Path,
    lead_frame: Callable[..., pl.DataFrame],
    file: str,
    column: dict[str, str],
    packs: dict[str, Any],
    written: str,
) -> None:
    raw = yaml.safe_load((FLOWS / file).read_text(encoding="utf-8"))
    if column not in raw["columns"]:
        raw["columns"].append(column)
    chosen = {"countries": ["US"], "calls": "live", "outside_hours": "schedule", **packs}
    raw["clean"] = {"region": "US", "packs": chosen}
    flow = KINDS[raw["kind"]].model_validate(raw)
    assert isinstance(flow, Delivery)
    fields = '{"state":"NY","subject":"x","name":"Ann"}'
    lead_frame([{"phone1": "212 555 0101", "customer_key": "C1", "data": fields}]).write_parquet(
        tmp_path / "part.parquet"
    )
    result = clean([tmp_path / "part.parquet"], flow.clean, tmp_path / "clean", now=SATURDAY_NIGHT)
    plan = make_plan(
        result.kept_files,
        flow.recipe,
        Before(),
        tmp_path,
        subject=dict.fromkeys(
            ("flow", "dag_id", "vendor", "target", "list", "mode", "night", "snapshot"), "x"
        ),
        cleaned={"rows_in": 1, "decided": result.outcomes, "suppression": [], "changes": result.changes},
        source_time=SATURDAY_NIGHT,
        action="apply",
        limits=GuardLimits(),
        now=SATURDAY_NIGHT,
    )
    assert (plan["to_send"], plan["decided"]) == (1, {})
    payload = pl.read_csv(tmp_path / "payload.csv", infer_schema=False)
    assert written in payload.row(0)
