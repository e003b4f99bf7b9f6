from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from include.hours import public_holidays
from include.leads import packs
from include.leads.packs import Pack, Values, rules_of


def test_the_countries_and_their_figures() -> None:
    assert set(packs.countries()) == {"US", "CA", "AU", "GB", "IN"}
    ages = {code: rules_of(code).registry_max_age_days for code in packs.countries()}
    assert ages == {"US": 31, "CA": 31, "AU": 30, "GB": 28, "IN": 7}
    assert rules_of("US").week == (((8 * 60, 21 * 60),),) * 7
    assert rules_of("AU").week == (((9 * 60, 20 * 60),),) * 5 + (((9 * 60, 17 * 60),), ())
    assert rules_of("US-FL").attempts == packs.Attempts(max=3, hours=24)


def test_every_value_has_a_source_and_a_date() -> None:
    facts = [(pack.code, name, fact) for pack in packs.packs().values() for name, fact in pack.facts.items()]
    assert len(facts) > 40
    for code, name, fact in facts:
        assert fact.source, (code, name)
        assert date(2026, 1, 1) <= fact.as_of <= datetime.now(UTC).date(), (code, name)
        assert fact.as_of <= date.fromisoformat(packs.version(code)), (code, name)


def test_every_part_with_a_pack_is_a_part_of_its_country() -> None:
    for code in packs.packs():
        assert packs.known(code)
    for code in ("US-XX", "FR", "FR-75", "GB-ENG"):
        assert not packs.known(code)


def test_every_calendar_is_known() -> None:
    for pack in packs.packs().values():
        closed_on = rules_of(pack.code).closed_on
        for calendar in closed_on.calendars if closed_on else ():
            assert public_holidays(calendar, 2026)


def test_every_state_is_stricter_than_its_country() -> None:
    """A state that adds nothing would only slow things down; one that is laxer would be a mistake of ours."""
    for code in packs.packs():
        own, country = rules_of(code), rules_of(code[:2])
        if own.week is None or "-" not in code:
            continue
        assert country.week is not None
        inside = [
            all(any(first >= f and last <= t for f, t in there) for first, last in here)
            for here, there in zip(own.week, country.week, strict=True)
        ]
        assert all(inside), code
        assert own.week != country.week or own.closed_on, code


def test_a_flow_replaces_and_removes_values() -> None:
    own = Values.model_validate({"registry_max_age_days": 7, "closed_on": None})
    rules = rules_of("AU", own)
    assert (rules.registry_max_age_days, rules.closed_on) == (7, None)
    assert rules.week == rules_of("AU").week
    assert rules.label == f"AU {packs.version('AU')} own"
    assert rules_of("AU").label == f"AU {packs.version('AU')}"
    assert rules_of("AU", Values()).label == rules_of("AU").label


def test_a_part_without_a_pack_takes_a_flows_values() -> None:
    rules = rules_of("US-NY", Values.model_validate({"calling_hours": {"mon-fri": "10:00-18:00"}}))
    assert rules.week is not None
    assert rules.week[5] == ()
    assert rules.label == f"US-NY {packs.version('US')} own"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"calling_hours": {"mon": "8-21"}}, "span"),
        ({"calling_hours": {"funday": "08:00-21:00"}}, "weekday"),
        ({"closed_on": {"dates": ["14-06"]}}, "pattern"),
        ({"attempts": {"max": 0, "hours": 24}}, "greater than or equal"),
        ({"consent_for": ["robots"]}, "live"),
        ({"hours": {}}, "Extra inputs"),
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Values.model_validate(wrong)


def test_a_pack_without_a_source_or_hours_is_refused() -> None:
    fact = {"value": 31, "source": "law", "url": "https://law.example", "as_of": "2026-11-21"}
    part = {"code": "US-XX", "name": "X"}
    assert Pack.model_validate({**part, "registry_max_age_days": fact}).facts
    for name in ("source", "url", "as_of"):
        less = {key: value for key, value in fact.items() if key != name}
        with pytest.raises(ValidationError, match=name):
            Pack.model_validate({**part, "registry_max_age_days": less})
    with pytest.raises(ValidationError, match="calling_hours"):
        Pack.model_validate({"code": "FR", "name": "France", "regions": ["FR"]})
    with pytest.raises(ValidationError, match="span"):
        Pack.model_validate({**part, "calling_hours": {**fact, "value": {"mon": "late"}}})
