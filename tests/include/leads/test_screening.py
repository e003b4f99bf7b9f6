from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from include.leads.clean import clean
from include.leads.packs import version
from include.leads.reasons import REASONS
from include.leads.rules import CleanRules, PackRules
from include.leads.schema import LEAD_COLUMNS
from include.leads.screening import Screening, looks_back

MORNING = datetime(
    2026, 11, 20, 14, 30, tzinfo=UTC
)  # Friday: 9:30 in New York, 6:30 in Los Angeles, 1:30 in Sydney
NEW_YORK, LOS_ANGELES, MIAMI, TOLL_FREE = 12125550100, 13105550100, 13055550100, 18005550100
SYDNEY, AU_MOBILE, LONDON, PARIS = 61298765432, 61412345678, 442079460018, 33142685300

US = f"US {version('US')}"
FLORIDA = f"US-FL {version('US-FL')}"


def screened(
    leads: Iterable[tuple[int | None, dict[str, str]]], now: datetime = MORNING, **settings: Any
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Screen leads of (number, fields): `timezone` is the lead's column, all else its data."""
    import json

    rows = [
        {
            "number": number,
            "timezone": fields.get("timezone"),
            "data": json.dumps({name: value for name, value in fields.items() if name != "timezone"}),
            "reason": None,
            "detail": None,
        }
        for number, fields in leads
    ]
    schema = {"number": pl.Int64, **dict.fromkeys(("timezone", "data", "reason", "detail"), pl.String)}
    chosen = {"countries": ["US"], "calls": "live", "state_field": "state", **settings}
    screening = Screening(PackRules.model_validate(chosen), now)
    return screening.apply(pl.DataFrame(rows, schema=schema)), screening.about()


def one(number: int | None, fields: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
    frame, _ = screened([(number, fields or {})], **settings)
    assert frame["reason"][0] is None or frame["reason"][0] in REASONS
    return frame.row(0, named=True)


def test_a_lead_that_may_be_called_now_is_kept_with_its_window() -> None:
    lead = one(NEW_YORK)
    assert lead["reason"] is None
    assert (lead["zone"], lead["packs"]) == ("America/New_York", US)
    assert (lead["call_from"], lead["call_until"]) == ("2026-11-20T14:30:00Z", "2026-11-21T02:00:00Z")


def test_a_lead_that_may_not_be_called_now_is_held_and_says_from_when() -> None:
    lead = one(LOS_ANGELES)
    assert lead["reason"] == "outside_calling_hours"
    assert lead["detail"] == f"{US}: calling_hours in America/Los_Angeles: from 2026-11-20 16:00 UTC"


def test_a_window_that_closes_soon_does_not_count() -> None:
    evening = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)  # 20:30 in New York
    assert one(NEW_YORK, now=evening, at_least_minutes=30)["reason"] is None
    lead = one(NEW_YORK, now=evening, at_least_minutes=31)
    assert lead["reason"] == "outside_calling_hours"
    assert lead["call_from"] == "2026-11-21T13:00:00Z"


@pytest.mark.parametrize("outside", ["schedule", "dialer"])
def test_or_it_is_sent_with_its_next_moment(outside: str) -> None:
    lead = one(LOS_ANGELES, outside_hours=outside)
    assert lead["reason"] is None
    assert lead["call_from"] == "2026-11-20T16:00:00Z"


def test_times_are_written_as_the_flow_wants_them() -> None:
    asked = {"time_format": "%Y-%m-%d %H:%M:%S", "time_zone": "America/Chicago", "outside_hours": "schedule"}
    assert one(LOS_ANGELES, **asked)["call_from"] == "2026-11-20 10:00:00"
    asked |= {"time_format": "%Y-%m-%d"}
    assert one(LOS_ANGELES, **asked)["call_until"] == "2026-11-20"


def test_the_state_of_an_area_code_or_an_address_makes_it_stricter() -> None:
    assert one(MIAMI)["call_until"] == "2026-11-21T01:00:00Z"
    assert one(MIAMI)["packs"] == f"{US}; {FLORIDA}"
    moved = one(NEW_YORK, {"state": "Florida"})
    assert (moved["packs"], moved["call_until"]) == (f"{US}; {FLORIDA}", "2026-11-21T01:00:00Z")


def test_without_any_state_the_rules_of_all_states_hold() -> None:
    lead = one(TOLL_FREE, {"timezone": "America/New_York"})
    # Kentucky begins at 10, Rhode Island ends at 18.
    assert lead["packs"] == f"{US}; all parts of US"
    assert lead["reason"] == "outside_calling_hours"
    assert (lead["call_from"], lead["call_until"]) == ("2026-11-20T15:00:00Z", "2026-11-20T23:00:00Z")


def test_the_zone_comes_from_field_then_number_then_address() -> None:
    leads = [
        (NEW_YORK, {"timezone": "America/Detroit", "state": "NY"}),
        (NEW_YORK, {"timezone": "", "state": "NJ"}),
        (TOLL_FREE, {"state": "NJ"}),
        (AU_MOBILE, {}),
        (TOLL_FREE, {}),
        (NEW_YORK, {"timezone": "Eastern (US)"}),
    ]
    frame, about = screened(leads, countries=["US", "AU"], outside_hours="dialer")
    zones = frame["zone"].to_list()
    assert zones[:3] == ["America/Detroit", "America/New_York", "America/New_York"]
    assert len(zones[3].split()) > 4
    assert zones[4] is None
    assert zones[5] == "America/New_York"
    assert about["zone_from"] == {"field": 1, "number": 2, "address": 1, "country": 1, "nothing": 1}
    assert (about["conflicts"], about["unreadable"]) == (0, 1)


def test_a_flow_may_trust_the_address_first() -> None:
    lead = (NEW_YORK, {"timezone": "America/Chicago", "state": "CA"})
    frame, about = screened([lead], zone_from=["address"], outside_hours="dialer")
    assert frame["zone"][0] == "America/Los_Angeles"
    assert (about["zone_from"], about["conflicts"]) == ({"address": 1}, 0)


def test_a_zone_may_be_in_a_field_of_the_data() -> None:
    lead = one(NEW_YORK, {"timezone": "America/Chicago", "tz": "America/Detroit"}, zone_field="tz")
    assert lead["zone"] == "America/Detroit"


def test_an_unknown_zone_is_held_whatever_the_settings() -> None:
    for outside in ("hold", "schedule", "dialer"):
        lead = one(TOLL_FREE, outside_hours=outside)
        assert lead["reason"] == "zone_unknown"
        assert lead["detail"].startswith(f"{US}; all parts of US: ")
        assert lead["call_from"] is None


def test_contradicting_zones() -> None:
    fields = {"timezone": "America/New_York"}
    overlap = one(LOS_ANGELES, fields)
    assert overlap["zone"] == "America/Los_Angeles America/New_York"
    assert overlap["reason"] == "outside_calling_hours"  # half past six on one of the two clocks
    assert overlap["detail"].endswith("from 2026-11-20 16:00 UTC")
    assert one(LOS_ANGELES, fields, zone_conflict="first")["reason"] is None
    held = one(LOS_ANGELES, fields, zone_conflict="hold")
    assert (held["reason"], held["detail"]) == (
        "zone_conflict",
        f"{US}: America/Los_Angeles and America/New_York",
    )
    _, about = screened([(LOS_ANGELES, fields), (NEW_YORK, fields), (NEW_YORK, {"timezone": "US/Eastern"})])
    assert about["conflicts"] == 1


def test_zones_that_never_open_together_are_held() -> None:
    lead = one(SYDNEY, {"timezone": "Europe/London"}, countries=["AU"])
    assert lead["reason"] == "no_calling_window"
    assert "none in 14 days" in lead["detail"]


def test_a_country_without_rules_is_held() -> None:
    lead = one(PARIS)
    assert (lead["reason"], lead["detail"]) == (
        "no_rule_pack",
        "numbers of FR: the flow names no rules for them",
    )
    assert one(LONDON)["reason"] == "no_rule_pack"
    assert one(80012345678)["reason"] == "no_rule_pack"


@pytest.mark.parametrize(
    ("fields", "lacks"),
    [
        ({}, "date that can be read"),
        ({"when": "soon", "where": "web"}, "date that can be read"),
        ({"when": "2026-11-21", "where": "web"}, "date that has come"),
        ({"when": "2026-11-19T10:00:00Z"}, "source"),
        ({"when": "2026-11-19", "where": " "}, "source"),
        ({"when": "2026-11-19", "where": "web form"}, None),
        ({"when": "2026-11-20 03:00", "where": "web form"}, None),
    ],
)
def test_consent_needs_a_date_and_a_source_where_the_pack_says_so(
    fields: dict[str, str], lacks: str | None
) -> None:
    mapped = {"consent_date": "when", "consent_source": "where"}
    lead = one(NEW_YORK, fields, calls="automated", **mapped)
    if lacks is None:
        assert lead["reason"] is None
    else:
        assert lead["reason"] == "consent_missing"
        assert lead["detail"] == f"{US}: consent_for automated: no {lacks}"
    assert one(NEW_YORK, fields, calls="live", **mapped)["reason"] is None


def test_consent_that_no_field_holds_is_missing() -> None:
    assert one(NEW_YORK, {"when": "2026-11-19"}, calls="automated")["reason"] == "consent_missing"


def test_consent_comes_before_the_hour() -> None:
    assert one(LOS_ANGELES, calls="automated")["reason"] == "consent_missing"


def test_a_flow_overrides_a_value() -> None:
    override = {"US": {"calling_hours": {"mon-fri": "10:00-12:00"}}, "US-NY": {"consent_for": ["live"]}}
    lead = one(NEW_YORK, override=override, outside_hours="dialer")
    assert lead["reason"] == "consent_missing"
    assert lead["detail"].startswith(f"US-NY {version('US')} own: consent_for live")
    assert lead["packs"] == f"{US} own; US-NY {version('US')} own"
    assert lead["call_from"] == "2026-11-20T15:00:00Z"


def test_leads_with_a_reason_keep_it() -> None:
    frame = pl.DataFrame(
        {
            "number": [LOS_ANGELES, None],
            "timezone": [None, None],
            "data": ["{}", "{}"],
            "reason": ["on_suppression_list", "phone_empty"],
            "detail": ["dnc: phone1", None],
        },
        schema_overrides={"number": pl.Int64, "timezone": pl.String},
    )
    screening = Screening(PackRules(countries=("US",), calls="live"), MORNING)
    after = screening.apply(frame)
    assert after.select(frame.columns).equals(frame)
    assert screening.about()["zone_from"] == {}


def test_it_makes_no_difference_how_leads_are_cut(lead_frame: Any, tmp_path: Path) -> None:
    """Decisions are shared among leads that are alike, in and across slices; every row keeps its own."""
    numbers = ["2125550100", "3105550123", "3055550100", "8005550100", "+61298765432", "+442079460018", "na"]
    zones = [None, "America/New_York", "nonsense", "Australia/Perth"]
    states = [None, "FL", "Texas"]
    leads = lead_frame(
        {"phone1": number, "timezone": zone, "data": "{}" if state is None else f'{{"state":"{state}"}}'}
        for number in numbers
        for zone in zones
        for state in states
    )
    assert leads.schema == pl.Schema(LEAD_COLUMNS)
    leads.write_parquet(tmp_path / "part-0.parquet")
    chosen = {"countries": ["US", "AU"], "calls": "live", "state_field": "state"}
    rules = CleanRules.model_validate({"packs": chosen, "unique_by": []})
    ends = []
    for slice_rows in (1, 7, 1000):
        out = tmp_path / str(slice_rows)
        result = clean([tmp_path / "part-0.parquet"], rules, out, now=MORNING, slice_rows=slice_rows)
        kept = pl.concat([pl.read_parquet(file) for file in result.kept_files])
        gone = pl.concat([pl.read_parquet(file) for file in result.outcome_files])
        ends.append((kept.sort("row_key").rows(), gone.sort("row_key").rows(), result.packs, result.outcomes))
    assert ends[0] == ends[1] == ends[2]
    assert set(ends[0][3]["held"]) == {
        "no_rule_pack",
        "no_calling_window",
        "outside_calling_hours",
        "zone_unknown",
    }
    assert ends[0][2]["unchecked"] == [
        "the do-not-call registry of US (no suppression list has `registry: US`)",
        "the do-not-call registry of AU (no suppression list has `registry: AU`)",
        "the attempt caps of US-FL, US-MD, US-OK (the flow has no `calls`)",
    ]


def test_no_detail_holds_what_a_person_told_us(lead_frame: Any, tmp_path: Path) -> None:
    secret = "Jane Roe +1 212 555 0100"
    leads = lead_frame(
        [
            {"phone1": "2125550100", "timezone": secret, "data": f'{{"state":"{secret}","when":"{secret}"}}'},
            {"phone1": "8005550100", "timezone": secret, "data": f'{{"state":"{secret}"}}'},
        ]
    )
    leads.write_parquet(tmp_path / "part-0.parquet")
    chosen = {"countries": ["US"], "calls": "automated", "state_field": "state", "consent_date": "when"}
    result = clean(
        [tmp_path / "part-0.parquet"],
        CleanRules.model_validate({"packs": chosen}),
        tmp_path / "out",
        now=MORNING,
    )
    outcomes = pl.concat([pl.read_parquet(file) for file in result.outcome_files])
    assert outcomes["reason"].to_list() == ["consent_missing", "zone_unknown"]
    assert "Roe" not in " ".join(outcomes["detail"])
    assert "Roe" not in str(result.packs)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"countries": ["FR"]}, "no rule pack for FR"),
        ({"countries": []}, "at least 1"),
        ({"calls": "robot"}, "live"),
        ({"calls": None}, "live"),
        ({"override": {"AU": {}}}, "AU is none of the countries"),
        ({"override": {"US-XX": {}}}, "US-XX is none of the countries"),
        ({"time_zone": "Mars/Olympus"}, "no IANA time zone"),
        ({"time_zone": "America/Chicago"}, "Z stands for UTC"),
        ({"zone_from": []}, "at least 1"),
        ({"state_field": "a'b"}, "pattern"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PackRules.model_validate({"countries": ["US"], "calls": "live", **wrong})


def test_how_a_lead_is_called_must_be_said() -> None:
    with pytest.raises(ValidationError, match="calls"):
        PackRules.model_validate({"countries": ["US"]})


def test_a_registry_has_the_age_of_its_pack() -> None:
    lists = [
        {"name": "dnc", "file": "dnc.csv", "registry": "US"},
        {"name": "tps", "file": "tps.csv", "registry": "GB", "max_age_days": 7},
        {"name": "own", "file": "own.csv"},
    ]
    rules = CleanRules.model_validate({"suppression": lists})
    assert [entry.max_age_days for entry in rules.dated_suppression] == [31, 7, None]
    chosen = {"countries": ["US", "GB"], "calls": "live", "override": {"US": {"registry_max_age_days": 14}}}
    rules = CleanRules.model_validate({"suppression": lists, "packs": chosen})
    assert [entry.max_age_days for entry in rules.dated_suppression] == [14, 7, None]
    assert [what.split(" of ")[0] for what in rules.unchecked] == ["the attempt caps"]
    with pytest.raises(ValidationError, match="no rule pack for FR"):
        CleanRules.model_validate({"suppression": [{"name": "x", "file": "x.csv", "registry": "FR"}]})


def test_how_far_back_the_rules_of_a_flow_look() -> None:
    def back(**changes: Any) -> Any:
        packs = changes.pop("packs", None)
        calls = {"source": "calls", "dead_days": 1, **changes}
        return looks_back(CleanRules.model_validate({"calls": calls, "packs": packs}))

    packs = {"countries": ["US"], "calls": "live", "override": {"US": {"attempts": {"max": 8, "hours": 100}}}}
    assert looks_back(CleanRules()) == timedelta()
    assert back() == timedelta(days=1)
    assert back(not_within_hours=30) == timedelta(hours=30)
    assert back(packs=packs) == timedelta(hours=100)
    assert back(packs=packs, attempts={"max": 3, "hours": 200}) == timedelta(hours=200)
    assert back(dead_days=90, packs=packs) == timedelta(days=90)
    for marks in ({"wrap_code": [9]}, {"dial_status": ["x"]}):
        assert back(do_not_call=marks) is None, "an opt-out counts however old it is"
