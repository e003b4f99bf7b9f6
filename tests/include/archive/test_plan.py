"""How long an archive takes, and whether it may: estimates against a plain simulation, guards at their limits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.approval import Approval
from include.archive.plan import batch_plans, check, estimate, make_archive_plan, measured_seconds
from include.hours import OfficeHours
from include.leads.retention import ArchiveGuards
from include.ledger import Batch
from include.plan import PLAN, SENT, PlanError, check_plan
from include.report.run import report_markdown
from include.vendors.vicidial import Flags

JOBURG = OfficeHours(zone="Africa/Johannesburg", week={"mon-fri": "08:00-17:00"})
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)  # Monday noon in Johannesburg
MARGIN = timedelta(minutes=3)


def test_an_estimate_begins_when_the_office_closes() -> None:
    found = estimate(10, 60, JOBURG, NOW, MARGIN)
    assert found.begins == datetime(2026, 11, 23, 15, tzinfo=UTC)
    assert (found.fits_first, found.windows) == (10, 1)
    assert found.ends == found.begins + timedelta(minutes=10)


def test_an_estimate_over_several_nights() -> None:
    """A night has 15 hours; less the margin 14:57, so 897 batches of a minute."""
    found = estimate(2000, 60, JOBURG, NOW, MARGIN)
    assert (found.fits_first, found.windows) == (897, 3)
    assert found.ends == datetime(2026, 11, 25, 15, tzinfo=UTC) + timedelta(minutes=2000 - 2 * 897)


def test_without_office_hours_everything_fits_now() -> None:
    found = estimate(2000, 60, None, NOW, MARGIN)
    assert (found.begins, found.fits_first, found.windows) == (NOW, 2000, 1)


def test_nothing_ends_at_once() -> None:
    assert estimate(0, 2, JOBURG, NOW, MARGIN).ends == datetime(2026, 11, 23, 15, tzinfo=UTC)


def test_windows_too_short_never_end() -> None:
    tight = OfficeHours(zone="UTC", week={"mon-sun": "00:02-24:00"})
    found = estimate(5, 60, tight, NOW, MARGIN)
    assert (found.ends, found.fits_first) == (None, 0)


@settings(max_examples=60, deadline=None)
@given(
    batches=st.integers(1, 4000),
    seconds=st.sampled_from([1.0, 7.5, 61.0, 900.0]),
    start=st.integers(0, 390_000).map(
        lambda minutes: datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
)
def test_an_estimate_is_what_happens(batches: int, seconds: float, start: datetime) -> None:
    hours = OfficeHours(zone="America/New_York", week={"mon-fri": "08:00-17:00", "sat": "09:00-13:00"})
    found = estimate(batches, seconds, hours, start, MARGIN)
    moment, left = start, batches
    while left:
        opens = hours.next_open(moment)
        assert opens is not None
        if opens <= moment or (opens - moment - MARGIN).total_seconds() < seconds:
            moment = hours.next_close(opens)
            continue
        moment += timedelta(seconds=seconds)
        left -= 1
    assert found.ends is not None and abs((found.ends - moment).total_seconds()) < 1


def batch(seconds: float, state: Any = "confirmed") -> Batch:
    return Batch("l", 1, 500, "f", state, intended_at=NOW, settled_at=NOW + timedelta(seconds=seconds))


def test_seconds_are_measured_by_the_ledger() -> None:
    assert measured_seconds([batch(1), batch(2), batch(9), batch(100, "rejected")], 5) == 2
    assert measured_seconds([], 5) == 5
    assert measured_seconds([batch(0)], 5) == 0.01


def refused(**changes: Any) -> list[str]:
    values: dict[str, Any] = {
        "rows_in": 100, "to_send": 100, "table_rows": 1000, "keep_lists": [],
        "source_time": NOW, "now": NOW, "limits": ArchiveGuards(),
    }  # fmt: skip
    values |= changes
    return [refusal.guard for refusal in check(values.pop("limits"), **values)]


def test_a_usual_night_is_not_refused() -> None:
    assert refused() == []


@pytest.mark.parametrize(
    ("changes", "guards"),
    [
        ({"rows_in": 0, "to_send": 0}, ["empty_selection"]),
        ({"to_send": 0}, ["empty_selection"]),
        ({"to_send": 0, "limits": ArchiveGuards(allow_empty=True)}, []),
        ({"limits": ArchiveGuards(max_rows=100)}, []),
        ({"limits": ArchiveGuards(max_rows=99)}, ["max_rows"]),
        ({"to_send": 10**6, "table_rows": None, "limits": ArchiveGuards(max_rows=None)}, []),
        ({"limits": ArchiveGuards(max_share_percent=10)}, []),
        ({"limits": ArchiveGuards(max_share_percent=9.9)}, ["max_share"]),
        ({"source_time": NOW - timedelta(hours=96)}, []),
        ({"source_time": NOW - timedelta(hours=96.1)}, ["stale_source"]),
        ({"keep_lists": [{"name": "vips", "age_days": 7.0, "max_age_days": 7}]}, []),
        ({"keep_lists": [{"name": "vips", "age_days": 7.1, "max_age_days": 7}]}, ["keep_list_age"]),
        ({"keep_lists": [{"name": "vips", "age_days": None, "max_age_days": 7}]}, ["keep_list_age"]),
        ({"keep_lists": [{"name": "vips", "age_days": 900.0, "max_age_days": None}]}, []),
    ],
)
def test_guards_at_their_limits(changes: dict[str, Any], guards: list[str]) -> None:
    assert refused(**changes) == guards


def made(tmp_path: Path, rows: int = 25, **changes: Any) -> dict[str, Any]:
    kept = tmp_path / "kept-00000.parquet"
    ids = pl.DataFrame({"lead_id": range(1, rows + 1)}, schema={"lead_id": pl.Int64})
    ids.select(
        row_key=pl.col("lead_id").cast(pl.String), lead_id="lead_id", rule=pl.lit("old")
    ).write_parquet(kept)
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "subject": {
            "flow": "old", "dag_id": "d", "vendor": "vicidial", "target": "t", "list": "vicidial_list",
            "night": "2026-11-23", "snapshot": "s",
        },
        "selected": {
            "rows_in": rows + 2, "rules": {"old": rows + 2}, "decided": {"held": {"on_keep_list": 2}},
            "table_rows": 1000, "keep_lists": [{"name": "vips", "rows": 2, "age_days": 1.0, "max_age_days": None}],
        },
        "flags": Flags(True, True, True), "batch_size": 10, "limit": None, "source_time": NOW, "action": "apply",
        "limits": ArchiveGuards(), "now": NOW,
        "schedule": {"hours": JOBURG, "zone": JOBURG.zone, "margin": MARGIN, "seconds": 2.0},
    }  # fmt: skip
    return make_archive_plan([kept], out, **(values | changes))


def test_a_plan_ties_its_ids(tmp_path: Path) -> None:
    plan = made(tmp_path)
    sent = tmp_path / "out" / SENT
    assert pl.read_parquet(sent)["lead_id"].to_list() == list(range(1, 26))
    assert json.loads((tmp_path / "out" / PLAN).read_text()) == plan
    check_plan(plan, sent, plan["hash"])
    pl.DataFrame({"row_key": ["1"], "lead_id": [1]}).write_parquet(sent)
    with pytest.raises(PlanError):
        check_plan(plan, sent, plan["hash"])


def test_what_a_plan_does_makes_its_hash(tmp_path: Path) -> None:
    usual = made(tmp_path)["hash"]
    assert made(tmp_path)["hash"] == usual
    later = {"hours": None, "zone": "UTC", "margin": MARGIN, "seconds": 9.0}
    assert made(tmp_path, schedule=later)["hash"] == usual, "when it is sent changes nothing in what is sent"
    for changes in ({"limit": 5}, {"flags": Flags(True, True, False)}, {"action": "plan"}, {"batch_size": 5}):
        assert made(tmp_path, **changes)["hash"] != usual


def test_delete_is_off_unless_it_is_applied(tmp_path: Path) -> None:
    assert made(tmp_path)["options"]["delete"] is True
    assert made(tmp_path, action="plan")["options"]["delete"] is False
    shown = made(tmp_path, action="plan", limits=ArchiveGuards(max_rows=1))
    assert shown["decision"] == "plan_only" and shown["refusals"], "what the guards would say is shown"
    never = Approval(ask="never")
    refused_plan = made(tmp_path, limits=ArchiveGuards(max_rows=1), approval=never)
    assert refused_plan["decision"] == "refused" and refused_plan["options"]["delete"] is False
    asked = made(tmp_path, limits=ArchiveGuards(max_rows=1))
    assert asked["decision"] == "ask" and asked["options"]["delete"] is True, "this very plan may be approved"


def test_a_limit_holds_the_last_back(tmp_path: Path) -> None:
    plan = made(tmp_path, limit=10)
    held = pl.read_parquet(tmp_path / "out" / "outcomes-00000.parquet")
    assert (plan["to_send"], plan["held"]) == (10, {"over_limit": 15})
    assert held["row_key"].to_list() == [str(n) for n in range(11, 26)]


def test_batches_are_cut_and_fingerprinted() -> None:
    ids = pl.Series("lead_id", range(1, 26), dtype=pl.Int64)
    plans = batch_plans(ids, 10)
    assert [(plan.seq, plan.rows) for plan in plans] == [(1, 10), (2, 10), (3, 5)]
    assert len({plan.fingerprint for plan in plans}) == 3 and plans == batch_plans(ids, 10)
    assert batch_plans(ids.head(0), 10) == []


def test_the_report_tells_rules_nights_and_odd_batches(tmp_path: Path) -> None:
    plan = made(tmp_path, batch_size=1, schedule={
        "hours": JOBURG, "zone": JOBURG.zone, "margin": MARGIN, "seconds": 7200.0,
    })  # fmt: skip
    whole = {
        "state": "confirmed", "rows": 500, "delivered": 500, "note": None, "vendor_ref": None,
        "vendor_counts": {"valid": 500, "selected": 500, "deleted": 500},
    }  # fmt: skip
    odd = whole | {
        "delivered": 499, "note": "4 requests", "vendor_counts": {"valid": 499, "selected": 500, "stayed_behind": 1}
    }  # fmt: skip
    batches = [{"seq": n, **(odd if n == 17 else whole)} for n in range(1, 101)]
    summary = {
        "flow": "old",
        "rows_in": 27,
        "delivered": 25,
        "held": 2,
        "rejected": 0,
        "suppressed": 0,
        "uncertain": 0,
    }
    text = report_markdown(plan, summary, [], batches)
    assert "It takes 4 nights." in text and "Mon 2026-11-23 17:00 SAST" in text
    assert "| `old` | 27 |" in text and "| vips | 2 | 1 days |" in text
    assert "| all |  | 50,000 | 49,999 |" in text and "| 17 | confirmed |" in text and "| 18 |" not in text
    assert "| rejected | `stayed_behind` | 1 |" in text
