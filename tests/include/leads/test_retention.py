"""The settings of an archive: what a rule takes when nothing is said, and how far each may go."""

from __future__ import annotations

from typing import Any

import pytest

from include.leads.retention import BUSY_STATUSES, ArchiveGuards, IdFile, Keep, RetentionRule, Selection
from tests.include.leads.settings import check_edges

RULE = {"name": "old", "older_than_days": 90}
DATABASE = {"database": "vicidial_db", "rules": [RULE]}
IDS = {"file": "ids.csv"}


def test_what_holds_when_nothing_is_said() -> None:
    rule = RetentionRule.model_validate(RULE)
    assert (rule.since, rule.statuses, rule.lists) == ("last_call_or_entry", (), ())
    assert (rule.min_attempts, rule.max_attempts) == (None, None)
    keep = Keep.model_validate({})
    assert (keep.statuses, keep.lists, keep.region) == (BUSY_STATUSES, (), "US")
    assert set(BUSY_STATUSES) == {"CALLBK", "CBHOLD", "DISPO", "INCALL", "QUEUE"}
    assert IdFile.model_validate(IDS).column == "lead_id"


def test_the_guards_of_an_archive_that_sets_none() -> None:
    guards = ArchiveGuards.model_validate({})
    assert (guards.allow_empty, guards.max_rows, guards.max_share_percent) == (False, 200_000, 40)
    assert (guards.max_source_age_hours, guards.max_plan_age_hours) == (96, 96)


@pytest.mark.parametrize(
    ("model", "rest", "name", "allowed", "refused"),
    [
        (RetentionRule, RULE, "older_than_days", [1], [0]),
        (RetentionRule, RULE, "name", ["a" * 60], ["a" * 61]),
        (RetentionRule, RULE, "min_attempts", [0], [-1]),
        (RetentionRule, RULE, "max_attempts", [0], [-1]),
        (RetentionRule, {**RULE, "min_attempts": 3}, "max_attempts", [3, None], [2]),
        (IdFile, {}, "file", ["a.csv", "s3://b/a.parquet"], ["", "a.txt"]),
        (IdFile, IDS, "column", ["x"], [""]),
        (IdFile, IDS, "max_age_days", [0.5], [0]),
        (Selection, {"rules": [RULE]}, "database", ["d"], ["", None]),
        (Selection, {"database": "d"}, "rules", [[RULE]], [[], [RULE, RULE]]),
        (Selection, DATABASE, "ids", [None], [IDS]),
        (Selection, {"ids": IDS}, "rules", [[]], [[RULE]]),
        (Keep, {}, "region", ["GB"], ["gb", "GBR"]),
        (ArchiveGuards, {}, "max_rows", [1, None], [0]),
        (ArchiveGuards, {}, "max_share_percent", [0.5, 100], [0, 100.5]),
        (ArchiveGuards, {}, "max_source_age_hours", [0.5], [0]),
        (ArchiveGuards, {}, "max_plan_age_hours", [0.5], [0]),
    ],
)
def test_how_far_a_setting_may_go(
    model: Any, rest: dict[str, Any], name: str, allowed: list[Any], refused: list[Any]
) -> None:
    check_edges(model, rest, name, allowed, refused)
