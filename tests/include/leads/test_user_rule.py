from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from include.leads import user_rule
from include.leads.user_rule import UserRuleError

COLUMNS = ["row_key", "lead_id", "completed", "uploaded_at", "phone1", "reason"]


@pytest.fixture
def decided(lead_frame: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    leads = lead_frame([{"lead_id": 7}, {"lead_id": None, "completed": True}, {"lead_id": 9}])
    reason = pl.Series(["phone_empty", None, None], dtype=pl.String)
    return leads.with_columns(reason=reason, detail=pl.lit(None, pl.String))


def test_only_leads_that_are_still_in_are_asked(decided: pl.DataFrame) -> None:
    seen = []

    def rule(leads: pd.DataFrame) -> pd.Series:
        seen.append(leads)
        return leads["lead_id"].isna().map({True: "no id", False: None})

    after = user_rule.apply(rule, decided, COLUMNS)
    assert list(seen[0].columns) == COLUMNS
    assert seen[0]["row_key"].tolist() == ["2", "3"]
    assert {name: str(kind) for name, kind in seen[0].dtypes.items() if name != "reason"} == {
        "row_key": "str",
        "lead_id": "Int64",
        "completed": "boolean",
        "uploaded_at": "datetime64[us, UTC]",
        "phone1": "str",
    }
    assert after["reason"].to_list() == ["phone_empty", "user_rule", None]
    assert after["detail"].to_list() == [None, "no id", None]


@pytest.mark.parametrize("nothing", [None, "", "  ", pd.NA, float("nan")])
def test_nothing_said_keeps_the_lead(decided: pl.DataFrame, nothing: object) -> None:
    after = user_rule.apply(lambda leads: pd.Series([nothing] * len(leads), dtype=object), decided, COLUMNS)
    assert after.equals(decided)


def test_what_looks_private_is_hidden(decided: pl.DataFrame) -> None:
    said = ["call (202) 555-0123 or a.b@example.com " + "x" * 300, "zip 90210, 3 tries"]
    after = user_rule.apply(lambda leads: pd.Series(said), decided, COLUMNS)["detail"].to_list()
    assert after[1].startswith("call ([hidden] or [hidden] xxx")
    assert len(after[1]) == 200
    assert after[2] == "zip 90210, 3 tries"


def failing(leads: pd.DataFrame) -> pd.Series:
    raise KeyError(f"2025550123 {leads['row_key'][0]}")


def test_a_rule_that_fails_tells_where_but_no_data(decided: pl.DataFrame) -> None:
    with pytest.raises(
        UserRuleError, match=r"failing raised KeyError in test_user_rule.py, line \d+$"
    ) as caught:
        user_rule.apply(failing, decided, COLUMNS)
    assert "2025550123" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (lambda leads: ["x"] * len(leads), "must return a pandas.Series"),
        (lambda leads: pd.Series(["x"]), "with the index of the frame"),
        (lambda leads: pd.Series([True] * len(leads)), "must return texts"),
    ],
)
def test_a_rule_must_return_reasons(decided: pl.DataFrame, rule: user_rule.Rule, says: str) -> None:
    with pytest.raises(UserRuleError, match=says):
        user_rule.apply(rule, decided, COLUMNS)


def test_a_rule_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_rules.py").write_text(
        "def weekend(leads):\n    return None\n\nlimit = 3\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert user_rule.load("shop_rules:weekend").__name__ == "weekend"
    for name, says in (
        ("shop_rules:weekday", "weekday"),
        ("no_such_rules:weekend", "No module"),
        ("shop_rules:limit", "not a function"),
    ):
        with pytest.raises(UserRuleError, match=says):
            user_rule.load(name)
    sys.modules.pop("shop_rules")
