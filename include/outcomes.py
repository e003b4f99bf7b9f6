"""Where every row of a run ended: one outcome frame beside the run, put together from what each step wrote down.

So "why was this lead not loaded?" is a query, not a search in logs.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from include.leads.schema import OUTCOME_COLUMNS
from include.ledger import Batch, Reconciliation, reconcile
from include.plan import SENT
from include.staging import Manifest, RunFolder

Refused = str | Sequence[str]
"""Why a vendor refused a row: a reason, or a reason and the vendor's words without anything personal."""


@dataclass
class Written:
    """What was written: rows by state, and of these the ones that we decided ourselves (not the vendor)."""

    by_state: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)


def write_outcomes(
    out: Path,
    *,
    snapshot: RunFolder | None,
    clean: RunFolder | None,
    plan: RunFolder | None,
    batches: Sequence[Batch],
    held_reason: str,
    named: Mapping[int, Mapping[str, Refused]] | None = None,
) -> Written:
    """Write the outcome of every row of a run into `out`.

    Steps that a broken run never reached are None: then the rows they would have decided on are held as `not_sent`.
    Rows that were planned to be sent follow their batch; those of a batch that never went out (still planned), or
    without a batch, are held for `held_reason`.

    :param batches: all batches of the plan, in order.
    :param named: rows that a vendor refused by name: batch -> row key -> why (`named_rows`). The other rows of such
        a batch are delivered.

    Where a vendor refuses a few rows of a batch without naming them, all rows of the batch are written down as
    delivered with the reason `vendor_counts_only`: the run's counts, taken from the vendor's own, are the exact ones.
    """
    written = Written()

    def count(path: Path, *, ours: bool) -> None:
        states = pl.scan_parquet(path, glob=False).group_by("state").len().collect(engine="streaming")
        for state, rows in states.iter_rows():
            written.by_state[state] += rows
            if ours:
                written.decided[state] += rows

    def write(frame: pl.LazyFrame, name: str, *, ours: bool) -> None:
        frame.cast(OUTCOME_COLUMNS).sink_parquet(out / name)  # type: ignore[arg-type]
        count(out / name, ours=ours)

    def copy(folder: RunFolder, prefix: str) -> None:
        with folder.reading("outcomes-*.parquet") as files:
            for file in files:
                shutil.copyfile(file, out / f"{prefix}-{file.name}")
                count(file, ours=True)

    if clean is None:
        if snapshot is not None:
            with snapshot.reading("part-*.parquet") as files:
                for file in files:
                    keys = pl.scan_parquet(file, glob=False)
                    write(_outcome(keys, "held", "not_sent", None), f"snapshot-{file.name}", ours=True)
        return written
    copy(clean, "clean")
    if plan is None:
        with clean.reading("kept-*.parquet") as files:
            for file in files:
                keys = pl.scan_parquet(file, glob=False)
                write(_outcome(keys, "held", "not_sent", None), f"clean-{file.name}", ours=True)
        return written
    copy(plan, "plan")
    with plan.reading(SENT) as files:
        sent = pl.scan_parquet(files[0], glob=False)
        position = 0
        for batch in batches:
            keys = sent.slice(position, batch.rows)
            position += batch.rows
            never_sent = batch.state == "planned"
            state, reason = ("held", held_reason) if never_sent else _ending(batch)
            frame = _outcome(keys, state, reason, None if never_sent else batch.seq)
            refused = (named or {}).get(batch.seq, {}) if batch.settled and not batch.uncertain else {}
            if refused:
                frame = _by_name(frame, refused)
            write(frame, f"batch-{batch.seq:05d}.parquet", ours=never_sent)
        write(_outcome(sent.slice(position), "held", held_reason, None), "held.parquet", ours=True)
    return written


def add_up(
    out: RunFolder,
    *,
    rows_in: int,
    snapshot: RunFolder | None,
    clean: RunFolder | None,
    plan: RunFolder | None,
    sending: RunFolder,
    batches: Sequence[Batch],
    held_reason: str,
    min_valid_share: float = 0.0,
) -> Reconciliation:
    """Write where every row of a run ended into its folder `out`, and say whether they add up.

    :param rows_in: rows of the snapshot, as its own step counted them.
    :param sending: where the step that sent wrote down the rows that the vendor named (`named_rows`).

    The others are as in `write_outcomes` and `reconcile`.
    """
    with out.writing() as scratch:
        written = write_outcomes(
            scratch,
            snapshot=snapshot,
            clean=clean,
            plan=plan,
            batches=batches,
            held_reason=held_reason,
            named=named_rows(sending),
        )
        rows = written.by_state.total()
        out.commit(scratch, Manifest(kind="outcomes", rows=rows))
    sent = [batch for batch in batches if batch.state != "planned"]
    result = reconcile(rows_in, +written.decided, sent, min_valid_share=min_valid_share)
    if rows == rows_in:
        return result
    problem = f"{rows_in:,} rows came in, but the outcome files hold {rows:,}."
    return replace(result, problems=(*result.problems, problem))


def named_rows(folder: RunFolder) -> dict[int, dict[str, Refused]]:
    """Read what a step wrote down about single rows of its batches: files `named-<batch>.json`, row key -> why."""
    names = [name for name in folder.names() if name.startswith("named-") and name.endswith(".json")]
    return {
        int(name.removeprefix("named-").removesuffix(".json")): json.loads(folder.get(name) or b"{}")
        for name in names
    }


def _by_name(frame: pl.LazyFrame, refused: Mapping[str, Refused]) -> pl.LazyFrame:
    """The rows of a settled batch of which the vendor named those that it did not take."""
    reasons = {key: why if isinstance(why, str) else why[0] for key, why in refused.items()}
    details = {key: why[1] for key, why in refused.items() if not isinstance(why, str) and why[1]}
    key, text = pl.col("row_key"), {"default": None, "return_dtype": pl.String}
    reason = key.replace_strict(reasons, **text)  # type: ignore[arg-type]
    return frame.with_columns(
        state=pl.when(reason.is_null()).then(pl.lit("delivered")).otherwise(pl.lit("rejected")),
        reason=reason.fill_null("delivered"),
        detail=pl.coalesce(key.replace_strict(details, **text), "detail") if details else "detail",  # type: ignore[arg-type]
    )


def _ending(batch: Batch) -> tuple[str, str]:
    """State and reason of the single rows of a batch."""
    if not batch.settled or batch.uncertain:
        return "uncertain", "no_outcome"
    if not batch.delivered:
        return "rejected", "vendor_rejected"
    return "delivered", "delivered" if not batch.rejected else "vendor_counts_only"


def _outcome(keys: pl.LazyFrame, state: str, reason: str, batch: int | None) -> pl.LazyFrame:
    # By which rule packs the lead was found fit to be called, where the flow names some.
    decided_by = pl.col("packs") if "packs" in keys.collect_schema() else pl.lit(None, pl.String)
    return keys.select(
        "row_key",
        pl.lit(state).alias("state"),
        pl.lit(reason).alias("reason"),
        decided_by.alias("detail"),
        pl.lit(batch, pl.Int64).alias("batch"),
    )
