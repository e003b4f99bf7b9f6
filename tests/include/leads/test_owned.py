"""A number of the night belongs to one list: the others hold it, and say whose it is."""

from __future__ import annotations

import polars as pl

from include.leads.owned import Owned, hold_owned
from include.leads.reasons import REASONS


def test_only_leads_that_are_still_in_and_whose_number_is_owned_are_held() -> None:
    leads = pl.DataFrame(
        {
            "number": [1, 2, 3, None, 1],
            "reason": [None, None, None, None, "phone_empty"],
            "detail": [None, None, None, None, "phone1"],
        },
        schema={"number": pl.Int64, "reason": pl.String, "detail": pl.String},
    )
    owned = [Owned("first", pl.Series([1, 9])), Owned("second", pl.Series([1, 2]))]
    held = hold_owned(leads, owned)
    assert held.rows() == [
        (1, "owned_by_another_list", "first"),
        (2, "owned_by_another_list", "second"),
        (3, None, None),
        (None, None, None),
        (1, "phone_empty", "phone1"),
    ]
    assert REASONS["owned_by_another_list"].state == "held"
    assert hold_owned(leads, []).equals(leads)
