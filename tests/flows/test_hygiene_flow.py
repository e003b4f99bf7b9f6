"""Rule packs in a whole delivery: from the flow file to the outcome of each row, the report and the evidence."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import polars as pl

from include.leads.packs import version
from include.leads.schema import CALL_COLUMNS
from include.staging import Manifest, RunFolder
from tests.flows.conftest import NIGHT, flow_file, lead, numbers, phone

ALWAYS = {"calling_hours": {"mon-sun": "00:00-24:00"}}
NEVER = {"calling_hours": {}}
US = f"US {version('US')}"


def with_packs(columns=(), **packs):
    flow = flow_file(clean={"packs": {"countries": ["US"], "calls": "live", **packs}})
    return flow | {"columns": [*flow["columns"], *columns]}


def test_what_nobody_knows_is_held_and_named(deliver, snapshot, vendor):
    odd = [
        lead(20, phone1="800 555 0100"),  # toll free: it may be anywhere
        lead(21, phone1="+44 20 7946 0018"),  # no rules for it
        lead(22, timezone="America/Los_Angeles"),  # its number says New York
    ]
    snapshot([lead(n) for n in range(5)] + odd)
    run = deliver(with_packs(zone_conflict="hold", override={"US": ALWAYS}))
    assert run.state == "success"
    assert run.reasons == {"delivered": 5, "zone_unknown": 1, "no_rule_pack": 1, "zone_conflict": 1}
    assert vendor.numbers() == numbers(range(5))
    run.assert_accounted()
    details = {row["reason"]: row["detail"] for row in run.outcomes.iter_rows(named=True)}
    assert details["delivered"] == f"{US} own"
    assert details["zone_unknown"].startswith(f"{US} own; all parts of US: ")
    assert details["zone_conflict"] == f"{US} own: America/Los_Angeles and America/New_York"
    assert run.plan["packs"]["packs"][0] == f"{US} own"
    assert run.plan["packs"]["conflicts"] == 1
    assert b"Product rules, not legal advice." in (run.folder("report").get("report.md") or b"")


def test_outside_its_hours_a_lead_is_held_or_carries_its_next_moment(deliver, snapshot, vendor):
    snapshot(5)
    run = deliver(with_packs(override={"US": NEVER}) | {"approval": {"ask": "never"}})
    assert run.reasons == {"no_calling_window": 5}
    assert run.state == "failed"  # nothing is left to load

    one_minute_a_week = {"calling_hours": {day_before_yesterday(): "12:00-12:01"}}
    run = deliver(with_packs(override={"US": one_minute_a_week}) | {"approval": {"ask": "never"}})
    assert run.reasons == {"outside_calling_hours": 5}

    mapped = [{"to": "call_at", "from": "call_from"}, {"to": "zone", "from": "zone"}]
    run = deliver(with_packs(mapped, override={"US": one_minute_a_week}, outside_hours="schedule"))
    assert run.reasons == {"delivered": 5}
    for row in vendor.rows():
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT1[67]:00:00Z", row["call_at"])
        assert row["zone"] == "America/New_York"


def day_before_yesterday() -> str:
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    return days[datetime.now(UTC).weekday() - 2]


def stage_calls(calls, night=NIGHT, source_time=None):
    """Commit a night of calls as a pull of them would."""
    folder = RunFolder(f"snapshots/callers_calls/{night}/{time.time_ns()}")
    rows = [
        {**dict.fromkeys(CALL_COLUMNS), "call_key": f"{night}-{n}", **call} for n, call in enumerate(calls)
    ]
    as_of = source_time or datetime.now(UTC) - timedelta(hours=2)
    with folder.writing() as scratch:
        pl.DataFrame(rows, schema=CALL_COLUMNS).write_parquet(scratch / "part-00000.parquet")
        folder.commit(scratch, Manifest(kind="calls", rows=len(rows), source_time=as_of, night=night))


CALLS = {"source": "callers_calls", "do_not_call": {"wrap_code": [9]}, "attempts": {"max": 2, "hours": 24}}


def test_earlier_calls_of_every_night_are_looked_at(deliver, snapshot, vendor):
    now = datetime.now(UTC)
    stage_calls(
        [{"phone": phone(0), "wrap_code": 9, "called_at": now - timedelta(days=30)}], night="2026-10-21"
    )
    stage_calls([{"phone": phone(1), "called_at": now - timedelta(hours=h)} for h in (3, 4)])
    snapshot(5)
    run = deliver(flow_file(clean={"calls": CALLS}))
    assert run.reasons == {"delivered": 3, "asked_not_to_call": 1, "attempts_used_up": 1}
    assert vendor.numbers() == numbers(range(2, 5))
    run.assert_accounted()
    assert (run.plan["calls"]["nights"], run.plan["calls"]["rows"]) == (2, 3)
    assert b"## Earlier calls" in (run.folder("report").get("report.md") or b"")


def test_old_or_missing_calls_stop_the_load(deliver, snapshot, vendor):
    snapshot(5)
    run = deliver(flow_file(clean={"calls": CALLS}))
    assert run.state == "failed"
    assert "source callers_calls has no complete snapshot of calls" in run.problems
    stage_calls([], source_time=datetime.now(UTC) - timedelta(hours=37))
    run = deliver(flow_file(clean={"calls": CALLS}, approval={"ask": "never"}))
    assert [refusal["guard"] for refusal in run.plan["refusals"]] == ["calls_age"]
    assert "37.0 hours old, the limit is 36" in run.problems
    assert not vendor.numbers()


def nights(count):
    """The last nights, oldest first, each with the time that its leads describe."""
    now = datetime.now(UTC)
    return [
        ((now - timedelta(days=n)).date().isoformat(), now - timedelta(days=n)) for n in range(count, 0, -1)
    ]


def test_a_night_unlike_the_others_is_told_or_refused(deliver, snapshot, vendor):
    flow = flow_file(mode="APPEND", approval={"ask": "never"})
    for night, as_of in nights(6)[:-1]:
        snapshot(20, night=night, source_time=as_of)
        assert deliver(flow).plan["warnings"] == []
    night, as_of = nights(6)[-1]
    snapshot(
        [lead(n) for n in range(60)], night=night, source_time=as_of, facts={"contract": ["data.x is new"]}
    )
    refusing = flow | {"guards": {"drift": {"when": "refuse"}}}
    run = deliver(refusing)
    assert [refusal["guard"] for refusal in run.plan["refusals"]] == ["drift"]
    assert run.plan["warnings"] == [
        "The source has changed: data.x is new.",
        "60 leads came in; in the last 5 nights it was 20 to 20, most often about 20.",
    ]
    run = deliver(flow)
    assert run.state == "success"
    assert run.counts == {"delivered": 60}
    report = (run.folder("report").get("report.md") or b"").decode()
    assert (
        "## What is unlike other nights\n\n- The source has changed: data.x is new.\n- 60 leads came in"
        in report
    )
