"""What a push left on its list: the keys of the plan, but for what the vendor refused to add or to change."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from include import applied_keys
from include.ledger import Batch
from include.outcomes import named_rows
from include.staging import RunFolder


def write_applied(out: RunFolder, plan: str, notes: RunFolder, batches: Sequence[Batch]) -> None:
    """Write the key file that the next plan is set against, so that what was refused is sent again.

    :param plan: path of the plan's run folder.
    :param notes: where the push wrote down which rows were refused.
    :param batches: all of the load, in order; those that were never sent are not on the list either.
    """
    refused = pl.Series([key for rows in named_rows(notes).values() for key in rows], dtype=pl.String)
    unsent = applied_keys.never_sent(RunFolder(plan), batches)
    applied_keys.write_applied(out, plan, pl.concat([refused, unsent]))
