"""Rule packs in a whole delivery: from the flow file to the outcome of each row, the report and the evidence."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from include.leads.packs import version
from tests.flows.conftest import flow_file, lead, numbers

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
    assert details["zone_unknown"].startswith(f"{US} own; all parts of US: ")
    assert details["zone_conflict"] == f"{US} own: America/Los_Angeles and America/New_York"
    assert run.plan["packs"]["packs"][0] == f"{US} own"
    assert run.plan["packs"]["conflicts"] == 1
    assert b"Product rules, not legal advice." in (run.folder("report").get("report.md") or b"")


def test_outside_its_hours_a_lead_is_held_or_carries_its_next_moment(deliver, snapshot, vendor):
    snapshot(5)
    run = deliver(with_packs(override={"US": NEVER}))
    assert run.reasons == {"no_calling_window": 5}
    assert run.state == "failed"  # nothing is left to load

    one_minute_a_week = {"calling_hours": {day_before_yesterday(): "12:00-12:01"}}
    run = deliver(with_packs(override={"US": one_minute_a_week}))
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
