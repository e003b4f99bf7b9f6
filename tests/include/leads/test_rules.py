from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from include.leads.rules import CleanRules, SuppressionList


def test_nothing_needs_to_be_said() -> None:
    rules = CleanRules()
    assert (rules.region, rules.phones, rules.keep, rules.unique_by) == (
        "US",
        ("phone1", "phone2", "phone3"),
        "newest",
        ("key", "phone"),
    )


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
