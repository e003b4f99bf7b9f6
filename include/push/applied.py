"""What a push left on its list: the keys of the plan without those of the leads that the vendor refused."""

from __future__ import annotations

import polars as pl

from include import applied_keys
from include.outcomes import named_rows
from include.staging import RunFolder


def write_applied(out: RunFolder, plan: str, notes: RunFolder) -> None:
    """Write the key file that the next plan is set against, so that a refused lead is sent again once it is mended.

    :param plan: path of the plan's run folder.
    :param notes: where the push wrote down which rows were refused.
    """
    refused = [key for rows in named_rows(notes).values() for key in rows]
    applied_keys.write_applied(out, plan, pl.Series(refused, dtype=pl.String))
