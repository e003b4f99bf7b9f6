"""The schema contract: what is seen of a source's fields, and which change is told."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from include.contract import LEADS, NOTHING, Contract, changes, count, total


def lead(**data: Any) -> dict[str, Any]:
    return {
        "leadId": 1,
        "listId": 100,
        "completed": False,
        "phones": [],
        "timestamps": {},
        "dataFields": data,
    }


def seen(*leads: dict[str, Any]) -> Any:
    return count(leads)


BEFORE = seen(*[lead(state="NY", zip="10001", rare=None)] * 3, lead(state=None, zip="10002", seldom="x"))


def found(*leads: dict[str, Any], before: Any = BEFORE, **rules: Any) -> list[str]:
    return changes(seen(*leads), before, Contract.model_validate(rules))


def test_fields_and_types_are_counted():
    odd = [
        {"leadId": "7"},
        {"leadId": 7.5, "dataFields": None},
        {"dataFields": {"a": [1], "b": {}, "c": True}},
    ]
    assert count(odd) == {
        LEADS: {"object": 3},
        "leadId": {"text": 1, "number": 1},
        "dataFields": {NOTHING: 1, "object": 1},
        "data.a": {"list": 1},
        "data.b": {"object": 1},
        "data.c": {"boolean": 1},
    }
    assert count([]) == {}


def test_pages_add_up_to_the_whole():
    dice = random.Random(5)
    leads = [
        lead(**{name: dice.choice([None, 1, "x", True, [1]]) for name in "abc" if dice.random() < 0.7})
        for _ in range(200)
    ]
    expected: Counter[str] = Counter()
    for one in leads:
        for name in one["dataFields"]:
            expected[f"data.{name}"] += 1
    whole = count(leads)
    assert {
        name: sum(kinds.values()) for name, kinds in whole.items() if name.startswith("data.")
    } == expected
    assert total(count(leads[start : start + 7]) for start in range(0, 200, 7)) == whole


def test_the_same_fields_are_no_news():
    assert found(lead(state="CA", zip="90001", rare=None)) == []
    assert found(lead(state=None, zip=None, rare="now it says something", seldom=None)) == []


def test_what_is_new_missing_or_retyped_is_named():
    assert found(lead(state="NY", zip="1", rare=1, extra=None)) == ["data.extra is new"]
    assert found(lead(zip="1", rare=1)) == ["data.state is missing: no lead has it any more"]
    assert found(*[lead(state="NY", zip=10001, rare=1)] * 2, lead(state="NY", zip="1", rare=1)) == [
        "data.zip was text, and is number in 2 leads"
    ]
    gone = {name: value for name, value in lead(state="NY", zip="1", rare=1).items() if name != "phones"}
    assert found(gone) == ["phones is missing: no lead has it any more"]


def test_what_few_leads_had_may_be_absent():
    assert found(lead(state="NY", zip="1", rare=None)) == []  # data.seldom


def test_one_lead_of_many_keeps_a_field():
    assert found(*[lead(zip="1", rare=1)] * 99, lead(state="NY", zip="1", rare=1)) == []


def test_nights_without_leads_and_the_first_night_say_nothing():
    assert found() == []
    assert found(lead(), before=None) == []
    assert found(lead(), before={}) == []


def test_a_file_may_say_what_must_be_there():
    fields = {"data.state": "text", "data.age": "number"}
    assert found(lead(state="NY", age=40), fields=fields) == []
    assert found(lead(state=None, age=None), fields=fields) == []
    assert found(lead(state=5, extra="x"), fields=fields) == [
        "data.extra is new",
        "data.state was text, and is number in 1 leads",
        "data.age is missing: no lead has it",
    ]
    assert found(lead(state=5), fields=fields, on_change="ignore") == []


def test_a_value_is_never_told():
    secret = "+1 212 555 0100"
    for text in found(lead(state=5, zip=[secret], new=secret)):
        assert "555" not in text


def test_wrong_contracts_are_refused():
    for wrong in ({"on_change": "shout"}, {"fields": {"data.a": "date"}}, {"field": {}}):
        with pytest.raises(ValidationError):
            Contract.model_validate(wrong)
