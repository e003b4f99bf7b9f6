"""The rows of an Ozonetel campaign as the vendor takes them (sections 2 and 5 of its contract): shaped and checked at
plan time, so that what would fail there is rejected here, with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import phonenumbers
import polars as pl

from include.vendors.ozonetel import AGENT, EXPIRY, MAX_ROW_CHARS, NAME, NAME_CHARS, PHONE, PRIORITY, SKILL

_NAME: Final = f"^[{NAME_CHARS}]*$"
_PRIORITY: Final = r"^0*[1-9][0-9]?$"
_DATE: Final = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}$"


@dataclass(frozen=True)
class RowRules:
    """How rows are shaped.

    :param numbers: `national`: without the country code, for numbers of `region` only; `international`: with it.
    :param region: ISO code of the country whose numbers go without their country code.
    :param names: what to do with a Name that the vendor would refuse.
    :param agent_wise: whether each row needs an agent; `skill_wise`: a skill.
    :param max_chars: most characters of a row, the names of its columns counted in (OZ-4).
    """

    numbers: Literal["national", "international"]
    region: str
    names: Literal["clean", "reject"]
    agent_wise: bool = False
    skill_wise: bool = False
    max_chars: int = MAX_ROW_CHARS


def shape(
    rules: RowRules, leads: pl.DataFrame, cells: pl.DataFrame
) -> tuple[pl.DataFrame, pl.Series, dict[str, int]]:
    """Return the cells as they go out, why a row cannot go (null when it can), and rows changed by rule.

    Takes and returns what `include.flow_files.Recipe.shape` says; the phone comes as E.164.
    """
    del leads  # all that is checked stands in the cells
    before = cells.fill_null("")
    after = before.with_columns(_number(rules))
    changed = {}
    if NAME in cells.columns and rules.names == "clean":
        after = after.with_columns(
            pl.when(pl.col(NAME).str.contains(_NAME)).then(NAME).otherwise(_plain(pl.col(NAME))).alias(NAME)
        )
        changed["names_cleaned"] = int((after[NAME] != before[NAME]).sum())
    problem = pl.lit(None, pl.String)
    for name, code, wrong in reversed(_checks(rules)):
        if name in cells.columns:
            problem = pl.when(wrong(pl.col(name))).then(pl.lit(code)).otherwise(problem)
    length = pl.sum_horizontal(pl.all().str.len_chars()) + sum(map(len, cells.columns))
    problem = (
        pl.when(problem.is_null() & (length > rules.max_chars))
        .then(pl.lit("row_too_long"))
        .otherwise(problem)
    )
    return after, after.select(problem=problem)["problem"], changed


def _number(rules: RowRules) -> pl.Expr:
    """The digits of the phone, empty for a number that has no such form."""
    if rules.numbers == "international":
        return pl.col(PHONE).str.strip_prefix("+")
    code = f"+{phonenumbers.country_code_for_region(rules.region)}"
    return (
        pl.when(pl.col(PHONE).str.starts_with(code))
        .then(pl.col(PHONE).str.strip_prefix(code))
        .otherwise(pl.lit(""))
    )


def _plain(name: pl.Expr) -> pl.Expr:
    """A name in the letters that the vendor takes: without accents and apostrophes, a blank for anything else."""
    return (
        name.str.normalize("NFKD")
        .str.replace_all(r"[\p{M}'’`´]", "")
        .str.replace_all(f"[^{NAME_CHARS}]", " ")
        .str.replace_all(r" +", " ")
        .str.strip_chars(" ")
    )


def _checks(rules: RowRules) -> list[tuple[str, str, Callable[[pl.Expr], pl.Expr]]]:
    """Column, reason and rule; a row gets the first reason that applies."""
    checks: list[tuple[str, str, Callable[[pl.Expr], pl.Expr]]] = [
        (PHONE, "other_country", lambda cell: cell == ""),
        (NAME, "name_not_allowed", lambda cell: ~cell.str.contains(_NAME)),
        (PRIORITY, "priority_not_allowed", lambda cell: (cell != "") & ~cell.str.contains(_PRIORITY)),
        (EXPIRY, "expiry_not_a_date", lambda cell: (cell != "") & ~_is_date(cell)),
    ]
    if rules.agent_wise:
        checks.append((AGENT, "agent_missing", lambda cell: cell.str.strip_chars() == ""))
    if rules.skill_wise:
        checks.append((SKILL, "skill_missing", lambda cell: cell.str.strip_chars() == ""))
    return checks


def _is_date(cell: pl.Expr) -> pl.Expr:
    return cell.str.contains(_DATE) & cell.str.to_date("%Y-%m-%d", strict=False).is_not_null()
