from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from include.leads.rules import CallRules, CleanRules, PackRules, ScrubCheck, SuppressionList
from tests.include.leads.settings import check_edges


def test_nothing_needs_to_be_said() -> None:
    rules = CleanRules()
    assert (rules.region, rules.phones, rules.keep, rules.unique_by) == (
        "US",
        ("phone1", "phone2", "phone3"),
        "newest",
        ("key", "phone"),
    )
    assert (rules.require_key, rules.formulas) == (False, "drop")
    packs = PackRules.model_validate({"countries": ["US"], "calls": "live"})
    assert (packs.zone_from, packs.zone_conflict) == (("field", "number", "address"), "overlap")
    assert (packs.outside_hours, packs.at_least_minutes, packs.time_zone) == ("hold", 0, "UTC")
    calls = CallRules.model_validate({"source": "calls"})
    assert (calls.max_age_hours, calls.dead_days) == (36, 90)


LIST = {"name": "own", "file": "own.csv"}
TABLE = {"name": "own", "table": "t", "url_env": "U", "column": "c"}
PACKS = {"countries": ["US"], "calls": "live"}
SCRUB = {"name": "own", "checks": "registry", "file": "a.csv", "max_age_days": 1}


@pytest.mark.parametrize(
    ("model", "rest", "name", "allowed", "refused"),
    [
        (CleanRules, {}, "phones", [["phone1"]], [[]]),
        (CleanRules, {}, "unique_by", [[], ["key"]], [["key", "key"]]),
        (CleanRules, {}, "rule", ["a:b", "a_1.b:c_2"], ["a:b.c", "1a:b"]),
        (SuppressionList, LIST, "name", ["a" * 60, "a-1_b"], ["", "a" * 61, "_a"]),
        (SuppressionList, LIST, "file", ["a"], [""]),
        (SuppressionList, LIST, "column", ["a"], [""]),
        (SuppressionList, LIST, "max_age_days", [0], [-1]),
        (SuppressionList, LIST, "registry", ["US"], ["XX"]),
        (SuppressionList, TABLE, "url_env", ["a"], [""]),
        (SuppressionList, TABLE, "table", ["a"], [""]),
        (SuppressionList, TABLE, "as_of_column", ["a"], [""]),
        (SuppressionList, {**TABLE, "table": None}, "query", ["a"], [""]),
        (PackRules, PACKS, "countries", [["US"], ["US", "CA"]], [[], ["XX"]]),
        (PackRules, PACKS, "zone_from", [["number"]], [[]]),
        (PackRules, PACKS, "at_least_minutes", [0, 1440], [-1, 1441]),
        (PackRules, PACKS, "time_format", ["%Y", "%H:%M:%SZ"], ["Y"]),
        (PackRules, {**PACKS, "time_zone": "Europe/Berlin"}, "time_format", ["%H:%M"], ["%H:%MZ"]),
        (PackRules, PACKS, "zone_field", ["zone of it"], ["it's", ""]),
        (PackRules, PACKS, "override", [{"US-FL": {}}, {"US": {}}], [{"CA": {}}, {"US-XX": {}}]),
        (CallRules, {"source": "calls"}, "max_age_hours", [0.5], [0]),
        (CallRules, {"source": "calls"}, "dead_days", [1], [0]),
        (CallRules, {"source": "calls"}, "not_within_hours", [0.5], [0]),
        (ScrubCheck, SCRUB, "max_age_days", [0], [-1]),
        (ScrubCheck, SCRUB, "file", ["a.parquet"], ["a.txt", None]),
        (ScrubCheck, SCRUB, "service", [None], ["a:b"]),
        (ScrubCheck, SCRUB, "checks", ["registry"], ["line_type", "reassigned"]),
        (ScrubCheck, SCRUB, "allow", [[]], [["mobile"]]),
        (ScrubCheck, SCRUB, "consent_date", [None], ["since"]),
    ],
)
def test_how_far_a_setting_may_go(
    model: Any, rest: dict[str, Any], name: str, allowed: list[Any], refused: list[Any]
) -> None:
    check_edges(model, rest, name, allowed, refused)


def test_the_age_of_a_registry_is_that_of_its_pack_unless_the_flow_says_less() -> None:
    own = {"name": "own", "file": "a.csv", "registry": "US"}
    lists = [own, {**own, "name": "less", "max_age_days": 3}, {"name": "plain", "file": "b.csv"}]
    rules = CleanRules.model_validate({"suppression": lists})
    assert [entry.max_age_days for entry in rules.dated_suppression] == [31, 3, None]
    shorter = {**PACKS, "override": {"US": {"registry_max_age_days": 7}}}
    rules = CleanRules.model_validate({"suppression": lists, "packs": shorter})
    assert [entry.max_age_days for entry in rules.dated_suppression] == [7, 3, None]


def test_what_nothing_checks_is_told() -> None:
    assert (CleanRules().unchecked, CleanRules().calls_max_age_hours) == ((), 0)
    us = CleanRules.model_validate({"packs": PACKS}).unchecked
    assert us[0] == "the do-not-call registry of US (no suppression list has `registry: US`)"
    assert us[-1].startswith("the attempt caps of ") and "US-FL" in us[-1] and "US-NY" not in us[-1]
    scrubbed = {"suppression": [{**LIST, "registry": "US"}], "calls": {"source": "calls"}, "packs": PACKS}
    assert not any(
        "of US (" in words or "caps" in words for words in CleanRules.model_validate(scrubbed).unchecked
    )


def test_entries_of_one_kind_have_names_of_their_own() -> None:
    with pytest.raises(ValidationError, match="same name"):
        CleanRules.model_validate({"scrub": [SCRUB, SCRUB]})
    CleanRules.model_validate({"scrub": [SCRUB], "suppression": [LIST]})


def test_lists_of_yaml_are_taken() -> None:
    rules = CleanRules.model_validate(
        {
            "phones": ["phone2", "phone1"],
            "unique_by": [],
            "suppression": [{"name": "own", "file": "own.csv", "as_of": "2026-11-01", "max_age_days": 31}],
        }
    )
    assert rules.phones == ("phone2", "phone1")
    assert rules.suppression[0].max_age_days == 31


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"regoin": "US"}, "Extra inputs"),
        ({"region": False}, "valid string"),  # NO in YAML
        ({"region": "usa"}, "pattern"),
        ({"phones": []}, "at least 1"),
        ({"phones": ["phone4"]}, "phone1"),
        ({"phones": ["phone1", "phone1"]}, "only once"),
        ({"unique_by": ["email"]}, "key"),
        ({"keep": "last"}, "newest"),
        ({"rule": "os.system"}, "pattern"),
        ({"rule": "a b:c"}, "pattern"),
        ({"region_field": "x']"}, "pattern"),
        ({"suppression": [{"name": "a", "file": "x.csv"}, {"name": "a", "file": "y.csv"}]}, "same name"),
    ],
)
def test_a_wrong_rule_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CleanRules.model_validate(wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "exactly one of"),
        ({"file": "a.csv", "table": "t"}, "exactly one of"),
        ({"file": "a.csv", "url_env": "DNC_URL"}, "belong to a table"),
        ({"table": "t", "column": "phone"}, "needs url_env and column"),
        ({"query": "select 1", "url_env": "DNC_URL"}, "needs url_env and column"),
        (
            {
                "table": "t",
                "url_env": "U",
                "column": "c",
                "as_of": "2026-01-01",
                "as_of_column": "d",
            },
            "not both",
        ),
        ({"file": "a.csv", "max_age_days": -1}, "greater than or equal"),
        ({"name": "Own list", "file": "a.csv"}, "pattern"),
    ],
)
def test_a_list_names_one_source(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SuppressionList.model_validate({"name": "own", **wrong})


def test_every_setting_is_described() -> None:
    for model in (CleanRules, SuppressionList):
        assert [name for name, info in model.model_fields.items() if not info.description] == []
