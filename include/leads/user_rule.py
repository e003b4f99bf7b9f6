"""A flow's own rule: a Python function over a pandas frame, called batch by batch.

`def rule(leads: pandas.DataFrame) -> pandas.Series` gets the leads that are still in (the columns of a kept
lead, `data` as JSON text) and returns, on the same index, the reason for each lead it turns down; empty or
None keeps it.
"""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

if TYPE_CHECKING:
    import pandas as pd

Rule = Callable[["pd.DataFrame"], "pd.Series[Any]"]

_PANDAS_TYPES: Final = {
    pl.String(): "str",
    pl.Int64(): "Int64",
    pl.Boolean(): "boolean",
    pl.Datetime("us", "UTC"): "datetime64[us, UTC]",
}
_PRIVATE: Final = re.compile(
    r"\S+@\S+|\+?\d(?:[\s().\-/]*\d){6,}"
)  # an e-mail address, or seven digits and more
_LONGEST: Final = 200


class UserRuleError(ValueError):
    """A flow's own rule cannot be found, failed, or returned something else than reasons."""


def load(name: str) -> Rule:
    """Return the function named "package.module:function"; raise UserRuleError if there is none."""
    module, _, function = name.partition(":")
    try:
        rule = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserRuleError(f"rule {name!r}: {error}") from None
    if not callable(rule):
        raise UserRuleError(f"rule {name!r} is not a function")
    return rule  # type: ignore[no-any-return]


def apply(rule: Rule, decided: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Set reason and detail of the rows that the rule turns down, of those without a reason; it sees
    `columns`.

    What the rule says is cut short, and what looks like a phone or an e-mail address is taken out of it.
    """
    asked = decided.with_row_index("place").filter(pl.col("reason").is_null())
    if asked.is_empty():
        return decided
    said = asked.select("place", said=pl.Series(_ask(rule, asked.select(columns)), dtype=pl.String))
    said = said.filter(pl.col("said").is_not_null())
    return decided.with_columns(
        decided["reason"].scatter(said["place"], pl.Series(["user_rule"] * said.height, dtype=pl.String)),
        decided["detail"].scatter(said["place"], said["said"]),
    )


def _ask(rule: Rule, leads: pl.DataFrame) -> list[str | None]:
    """Call the rule and return what it says of each lead, None where it says nothing."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            name: pd.Series(leads[name].to_list(), dtype=_PANDAS_TYPES[kind])
            for name, kind in leads.schema.items()
        }
    )
    index = frame.index
    name = f"{rule.__module__}:{rule.__name__}"
    try:
        reasons = rule(frame)
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        # The error's own words may hold a lead's data, so neither they nor the chain are shown.
        raise UserRuleError(
            f"rule {name} raised {type(error).__name__} in {Path(line.filename).name}, line {line.lineno}"
        ) from None
    if not isinstance(reasons, pd.Series) or not reasons.index.equals(index):
        raise UserRuleError(f"rule {name} must return a pandas.Series with the index of the frame it got")
    said = [None if value is None or value is pd.NA or value != value else value for value in reasons]
    if not all(value is None or isinstance(value, str) for value in said):
        raise UserRuleError(f"rule {name} must return texts (the reason), or None for leads to keep")
    return [
        _PRIVATE.sub("[hidden]", text).strip()[:_LONGEST] if text and text.strip() else None for text in said
    ]
