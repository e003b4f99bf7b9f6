"""The clean step: lead frames in, kept leads and the outcomes of all others out.

What is decided, in this order; the first that applies is the row's reason:

1. phone: the first usable of the flow's phone fields is the lead's number; none usable is a reject
2. suppression: a lead goes if ANY of its usable numbers is on a list. Whoever asked not to be called on one
   number is not called on another, so nothing falls back around a suppression.
3. customer key, where the flow needs one
4. the flow's own rule, called with the leads that are still in
5. duplicates by key, then by number, over the whole night; none of the leads above competes

The leads stream through in slices, so that memory does not grow with their number; what grows is a few bytes
a lead for the duplicates.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from include.leads import phones, user_rule
from include.leads.duplicates import LOST, find_duplicates
from include.leads.fields import RULES, clean_fields
from include.leads.reasons import REASONS
from include.leads.rules import CleanRules
from include.leads.schema import LEAD_COLUMNS, OUTCOME_COLUMNS
from include.leads.suppression import Suppression, read_suppression

SLICE_ROWS: Final = 50_000
_STATES: Final = {code: reason.state for code, reason in REASONS.items()}

KEPT_COLUMNS: Final[dict[str, pl.DataType]] = LEAD_COLUMNS | {
    "phone": pl.String(),  # E.164
    "national": pl.String(),  # ten digits, where it is a North American number
    "phone_field": pl.String(),  # which field it came from
}


class CleanError(ValueError):
    """The leads cannot be cleaned, or what was written does not add up; the message says what to do."""


@dataclass(frozen=True)
class CleanResult:
    """What the clean step wrote, counted from the files it wrote."""

    rows_in: int
    kept: int
    outcomes: dict[str, dict[str, int]]  # state -> reason -> rows
    changes: dict[str, int]  # clean-up rule -> cells changed
    suppression: tuple[dict[str, Any], ...]  # per list: Suppression.about(), and hits: leads found on it
    kept_files: tuple[Path, ...]
    outcome_files: tuple[Path, ...]


def clean(
    parts: Sequence[Path],
    rules: CleanRules,
    out: Path,
    *,
    base: Path | None = None,
    now: datetime | None = None,
    slice_rows: int = SLICE_ROWS,
) -> CleanResult:
    """Clean the lead frames of the Parquet files `parts`; write `kept-*.parquet` and `outcomes-*.parquet`.

    There is at least one file of each, with KEPT_COLUMNS and OUTCOME_COLUMNS, in the order of the input; such
    files of an earlier try are removed first. The caller commits the folder `out`.
    `base` is the folder that suppression files are relative to, `now` (UTC) what their age counts from;
    `slice_rows` bounds the memory and decides nothing.

    Raises CleanError for input that is no lead frame or repeats a row key, and if the rows written are not
    exactly the rows read; SuppressionError and UserRuleError for lists and rules that cannot be used.
    """
    now = now or datetime.now(UTC)
    lists = [read_suppression(entry, region=rules.region, base=base, now=now) for entry in rules.suppression]
    rule = user_rule.load(rules.rule) if rules.rule else None
    changes: Counter[str] = Counter(dict.fromkeys(RULES, 0))
    hits: Counter[str] = Counter()
    rows_in, keys, eligible, files = 0, [], [], []
    scratch = _empty(out)
    try:
        for index, leads in enumerate(_slices(parts, slice_rows)):
            leads, changed = clean_fields(leads, rules.formulas)
            changes.update(changed)
            decided = _decide(leads, rules, lists, hits)
            if rule is not None:
                decided = user_rule.apply(rule, decided, list(KEPT_COLUMNS))
            decided = decided.with_row_index("row", offset=rows_in)
            files.append(scratch / f"{index:05}.parquet")
            decided.write_parquet(files[-1], compression="lz4")
            keys.append(leads["row_key"].hash())
            eligible.append(_narrow(decided))
            rows_in += leads.height
        row_keys = pl.concat(keys) if keys else pl.Series([], dtype=pl.UInt64)
        _check_row_keys(row_keys)
        lost = _duplicates(eligible, files, rules)
        kept_files, outcome_files = _write(files, lost, out)
    finally:
        shutil.rmtree(scratch)
    kept, outcomes = _count(row_keys, kept_files, outcome_files)
    return CleanResult(
        rows_in=rows_in,
        kept=kept,
        outcomes=outcomes,
        changes=dict(changes),
        suppression=tuple(entry.about() | {"hits": hits[entry.name]} for entry in lists),
        kept_files=tuple(kept_files),
        outcome_files=tuple(outcome_files),
    )


def _empty(out: Path) -> Path:
    """Remove what an earlier try left in the folder, and return a new folder for scratch files in it."""
    scratch = out / ".scratch"
    if scratch.exists():
        shutil.rmtree(scratch)
    for left in (*out.glob("kept-*.parquet"), *out.glob("outcomes-*.parquet")):
        left.unlink()
    scratch.mkdir(parents=True)
    return scratch


def _slices(parts: Sequence[Path], rows: int) -> Iterator[pl.DataFrame]:
    """Read the parts as lead frames of at most `rows` rows: large parts cut, small parts put together."""
    waiting: list[pl.DataFrame] = []
    for part in parts:
        scan = pl.scan_parquet(part, glob=False)
        schema = scan.collect_schema()
        wrong = [name for name, kind in LEAD_COLUMNS.items() if schema.get(name) != kind]
        if wrong:
            raise CleanError(f"{part.name} is no lead frame: missing or of another type: {', '.join(wrong)}")
        height = scan.select(pl.len()).collect().item()
        for offset in range(0, height, rows):
            frame = scan.select(*LEAD_COLUMNS).slice(offset, rows).collect()
            if frame["row_key"].null_count():
                raise CleanError(f"{part.name} has rows without a row_key: pull the snapshot again")
            if sum(piece.height for piece in waiting) + frame.height > rows:
                yield pl.concat(waiting)
                waiting = []
            waiting.append(frame)
    if waiting:
        yield pl.concat(waiting)


def _decide(
    leads: pl.DataFrame, rules: CleanRules, lists: Sequence[Suppression], hits: Counter[str]
) -> pl.DataFrame:
    """Add number, KEPT_COLUMNS, reason and detail, as far as a row decides by itself; count hits per list."""
    numbers, reasons, listed = {}, {}, []
    region = _region(leads, rules)
    for name in rules.phones:
        numbers[name], reasons[name] = phones.to_e164(leads[name], region)
    for entry in lists:
        found = pl.DataFrame([entry.hits(numbers[name]).alias(name) for name in rules.phones])
        hits[entry.name] += found.select(pl.any_horizontal(pl.all()).sum()).item()
        listed += [
            found.select(pl.when(name).then(pl.lit(f"{entry.name}: {name}"))).to_series()
            for name in rules.phones
        ]
    number = pl.coalesce(*numbers.values())
    telling = [reasons[name].replace("phone_empty", None) for name in rules.phones]
    why = pl.concat_str([pl.format(f"{name}: {{}}", reasons[name]) for name in rules.phones], separator="; ")
    on_list = pl.concat_str([*listed, pl.lit(None, pl.String)], separator="; ", ignore_nulls=True)
    no_key = pl.col("customer_key").fill_null("") == ""
    return leads.with_columns(
        number=number,
        phone=phones.e164(number),
        national=phones.national(number),
        phone_field=pl.coalesce(
            pl.when(numbers[name].is_not_null()).then(pl.lit(name)) for name in rules.phones
        ),
        reason=pl.when(number.is_null())
        .then(pl.coalesce(*telling, pl.lit("phone_empty")))
        .when(on_list != "")
        .then(pl.lit("on_suppression_list"))
        .when(no_key & rules.require_key)
        .then(pl.lit("key_missing")),
        detail=pl.when(number.is_null()).then(why).when(on_list != "").then(on_list),
    )


def _region(leads: pl.DataFrame, rules: CleanRules) -> str | pl.Series:
    """Return the region of numbers without a country code: the flow's, or each lead's own."""
    if rules.region_field is None:
        return rules.region
    own = leads["data"].str.json_path_match(f"$['{rules.region_field}']").str.strip_chars().str.to_uppercase()
    return own.replace("", None).fill_null(rules.region)


def _narrow(decided: pl.DataFrame) -> pl.DataFrame:
    """Return what the search for duplicates holds of each lead that is still in."""
    key = pl.col("customer_key").replace("", None)
    return decided.filter(pl.col("reason").is_null()).select(
        "row", "number", key=pl.when(key.is_not_null()).then(key.hash())
    )


def _duplicates(eligible: list[pl.DataFrame], files: list[Path], rules: CleanRules) -> pl.DataFrame:
    if not eligible:
        return pl.DataFrame(schema=LOST)
    return find_duplicates(
        pl.concat(eligible), pl.scan_parquet(files, glob=False), rules.unique_by, rules.keep
    )


def _write(files: Sequence[Path], lost: pl.DataFrame, out: Path) -> tuple[list[Path], list[Path]]:
    """Split each decided slice into its kept leads and its outcomes; return the files of both."""
    lost = lost.select("row", duplicate="reason", winner=pl.format("kept row {}", "kept"))
    kept_files: list[Path] = []
    outcome_files: list[Path] = []
    for file in files:
        decided = (
            pl.read_parquet(file, glob=False)
            .join(lost, on="row", how="left", maintain_order="left")
            .with_columns(reason=pl.coalesce("reason", "duplicate"), detail=pl.coalesce("detail", "winner"))
        )
        kept = decided.filter(pl.col("reason").is_null()).select(*KEPT_COLUMNS)
        outcomes = decided.filter(pl.col("reason").is_not_null()).select(
            "row_key",
            pl.col("reason").replace_strict(_STATES, return_dtype=pl.String).alias("state"),
            "reason",
            "detail",
            pl.lit(None, pl.Int64).alias("batch"),
        )
        for frame, name, written in ((kept, "kept", kept_files), (outcomes, "outcomes", outcome_files)):
            if frame.height:
                written.append(out / f"{name}-{file.name}")
                frame.write_parquet(written[-1])
    for schema, name, written in (
        (KEPT_COLUMNS, "kept", kept_files),
        (OUTCOME_COLUMNS, "outcomes", outcome_files),
    ):
        if not written:  # readers expect at least one file of each
            written.append(out / f"{name}-00000.parquet")
            pl.DataFrame(schema=schema).write_parquet(written[-1])
    return kept_files, outcome_files


def _check_row_keys(keys: pl.Series) -> None:
    """Raise CleanError if a row key occurs twice: such rows could not be told apart afterwards."""
    ordered = keys.sort()
    if repeated := ordered.eq(ordered.shift()).sum():
        raise CleanError(
            f"{repeated} rows repeat the row_key of another row: the snapshot is not sound, so pull it again"
        )


def _count(
    row_keys: pl.Series, kept_files: list[Path], outcome_files: list[Path]
) -> tuple[int, dict[str, dict[str, int]]]:
    """Count what stands in the files, and raise CleanError unless it is exactly the rows read.

    Equal numbers would not show one row lost and another written twice, so the row keys are compared too, by
    the XOR of their hashes.
    """
    mark = pl.col("row_key").hash().bitwise_xor().fill_null(0)
    kept = (
        pl.scan_parquet(kept_files, glob=False)
        .select(pl.len(), mark.alias("mark"))
        .collect(engine="streaming")
    )
    left = pl.scan_parquet(outcome_files, glob=False)
    counts = left.group_by("state", "reason").len("rows").sort("state", "reason").collect(engine="streaming")
    outcomes: dict[str, dict[str, int]] = {}
    for state, reason, rows in counts.iter_rows():
        outcomes.setdefault(state, {})[reason] = rows
    rows_out = kept["len"].item() + counts["rows"].sum()
    mark_in = row_keys.to_frame("row_key").select(pl.col("row_key").bitwise_xor().fill_null(0)).item()
    mark_out = kept["mark"].item() ^ left.select(mark).collect(engine="streaming").item()
    if (len(row_keys), mark_in) != (rows_out, mark_out):
        raise CleanError(
            f"{len(row_keys)} rows were read, but {rows_out} were written, "
            "or not the same ones: load nothing of this run"
        )
    return kept["len"].item(), outcomes
