"""The clean step: lead frames in, kept leads and the outcomes of all others out.

What is decided, in this order; the first that applies is the row's reason:

0. who was erased: by any readable number, or by an address among the lead's data (`include.erasure.erased`)
1. phone: the first usable of the flow's phone fields is the lead's number; none usable is a reject. A number that
   earlier calls found out of service is not usable (`include.leads.calls`)
2. suppression: a lead goes if ANY of its readable numbers is on a list, or asked in a call not to be called.
   Whoever asked not to be called on one number is not called on another, so nothing falls back around a
   suppression.
3. customer key, where the flow needs one
4. the rule packs, where the flow names some: country, time zone, consent, calling hours (`include.leads.screening`)
5. earlier calls: too soon, too often
6. scrub services, asked for the number that was chosen (`include.leads.scrub`)
7. the flow's own rule, called with the leads that are still in
8. the other lists of the night: a number that one of them owns is held (`include.leads.owned`); and of leads that a
   person has fixed, what stands on the list already (`include.leads.standing`)
9. duplicates by key, then by number, over the whole night; none of the leads above competes

The leads stream through in slices, so that memory does not grow with their number; what grows is a few bytes
a lead for the duplicates.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Final

import polars as pl

from include.erasure.erased import Erased, hold_erased
from include.leads import phones, user_rule
from include.leads.calls import CallHistory
from include.leads.duplicates import SHARE_ROWS, among, find_duplicates
from include.leads.fields import RULES, clean_fields
from include.leads.owned import Owned, hold_owned
from include.leads.reasons import REASONS
from include.leads.rules import CleanRules
from include.leads.schema import LEAD_COLUMNS, OUTCOME_COLUMNS, SCREENED_COLUMNS
from include.leads.screening import Screening, attempt_hours
from include.leads.scrub import Scrub
from include.leads.standing import Standing, reject_standing
from include.leads.suppression import Suppression, read_suppression

SLICE_ROWS: Final = 25_000
# XOR of the row keys' hashes: equal row counts would not show one row lost and another written twice, this does.
_MARK: Final = pl.col("row_key").hash().bitwise_xor().fill_null(0)
_NOT_SCREENED: Final = {name: pl.lit(None, kind) for name, kind in SCREENED_COLUMNS.items()}
_STATES: Final = {code: reason.state for code, reason in REASONS.items()}

KEPT_COLUMNS: Final[dict[str, pl.DataType]] = {
    **LEAD_COLUMNS,
    "phone": pl.String(),  # E.164
    "national": pl.String(),  # ten digits, where it is a North American number
    "phone_field": pl.String(),  # which field it came from
    **SCREENED_COLUMNS,  # null where the flow names no rule packs
}


class CleanError(ValueError):
    """The leads cannot be cleaned, or what was written does not add up; the message says what to do."""


@dataclass(frozen=True)
class CleanResult:
    """What the clean step wrote, counted from the files it wrote."""

    rows_in: int
    kept: int
    kept_from: dict[str, int]  # phone field -> kept leads whose number it gave
    outcomes: dict[str, dict[str, int]]  # state -> reason -> rows
    changes: dict[str, int]  # clean-up rule -> cells changed
    suppression: tuple[dict[str, Any], ...]  # per list: Suppression.about(), and hits: leads found on it
    areas: dict[str, int]  # area (area code of North America, else calling code) -> kept leads
    calls: dict[str, Any] | None  # CallHistory.about(); None without rules over calls
    scrub: tuple[dict[str, Any], ...]  # Scrub.about()
    packs: dict[str, Any] | None  # Screening.about(), and `unchecked` rules; None without rule packs
    kept_files: tuple[Path, ...]
    outcome_files: tuple[Path, ...]


def clean(
    parts: Sequence[Path],
    rules: CleanRules,
    out: Path,
    *,
    base: Path | None = None,
    calls: Sequence[Path] = (),
    owned: Sequence[Owned] = (),
    standing: Standing | None = None,
    erased: Erased | None = None,
    now: datetime | None = None,
    slice_rows: int = SLICE_ROWS,
) -> CleanResult:
    """Clean the lead frames of the Parquet files `parts`; write `kept-*.parquet` and `outcomes-*.parquet`.

    There is at least one file of each, with KEPT_COLUMNS and OUTCOME_COLUMNS, in the order of the input; such
    files of an earlier try are removed first. The caller commits the folder `out`.
    `base` is the folder that suppression files are relative to, `now` (UTC) what their age counts from; `calls` are
    the staged calls that `rules.calls` looks at (Parquet files of CALL_COLUMNS);
    `owned` are the numbers that other lists of the night own; `standing` is what stands on the list
    already, where the leads are only a few of a night; `erased` knows the customers who were erased;
    `slice_rows` bounds the memory and decides nothing.

    Raises CleanError for input that is no lead frame or repeats a row key, and if the rows written are not
    exactly the rows read; SuppressionError, ScrubError and UserRuleError for what cannot be used.
    """
    now = now or datetime.now(UTC)
    lists = [
        read_suppression(entry, region=rules.region, base=base, now=now) for entry in rules.dated_suppression
    ]
    history = None
    if rules.calls:
        hours = attempt_hours(rules.packs) if rules.packs else ()
        history = CallHistory(calls, rules.calls, region=rules.region, now=now, hours=hours)
    screening = Screening(rules.packs, now, history) if rules.packs else None
    scrubs = [Scrub(entry, region=rules.region, base=base, now=now) for entry in rules.scrub]
    rule = user_rule.load(rules.rule) if rules.rule else None
    changes: Counter[str] = Counter(dict.fromkeys(RULES, 0))
    hits: Counter[str] = Counter()
    rows_in, mark, files = 0, 0, []
    scratch = _empty(out)
    try:
        for index, leads in enumerate(_slices(parts, slice_rows)):
            leads, changed = clean_fields(leads, rules.formulas)
            changes.update(changed)
            decided, numbers = _decide(leads, rules, lists, hits, history)
            decided = (
                screening.apply(decided, numbers) if screening else decided.with_columns(**_NOT_SCREENED)
            )
            if history is not None:
                decided = history.apply(decided, numbers)
            decided = hold_erased(decided, numbers, erased)
            for scrub in scrubs:
                decided = scrub.apply(decided)
            if rule is not None:
                decided = user_rule.apply(rule, decided, list(KEPT_COLUMNS))
            decided = hold_owned(decided, owned)
            if standing is not None:
                decided = reject_standing(decided, standing, rules.unique_by)
            decided = decided.with_row_index("row", offset=rows_in)
            files.append(scratch / f"{index:05}.arrow")
            decided.write_ipc(files[-1])
            rows_in += leads.height
            mark ^= leads.select(_MARK).item()
        shares = 1 + rows_in // SHARE_ROWS
        _check_row_keys(files, shares)
        lost = find_duplicates(files, rules.unique_by, rules.keep, shares=shares)
        kept_files, outcome_files = _write(files, lost, out)
    finally:
        shutil.rmtree(scratch)
        for scrub in scrubs:
            scrub.keep()
    kept, kept_mark = _count(kept_files, "phone_field")
    ended, ended_mark = _count(outcome_files, "state", "reason")
    rows_out = kept.total() + ended.total()
    if (rows_in, mark) != (rows_out, kept_mark ^ ended_mark):
        raise CleanError(
            f"{rows_in} rows were read, but {rows_out} were written, or not the same ones: load nothing of this run"
        )
    outcomes: dict[str, dict[str, int]] = {}
    for (state, reason), rows in sorted(ended.items()):
        outcomes.setdefault(state, {})[reason] = rows
    return CleanResult(
        rows_in=rows_in,
        kept=kept.total(),
        kept_from={field: kept[(field,)] for field in rules.phones},
        outcomes=outcomes,
        changes=dict(changes),
        suppression=tuple(entry.about() | {"hits": hits[entry.name]} for entry in lists),
        areas=_areas(kept_files),
        calls=history.about() if history else None,
        scrub=tuple(entry.about() for entry in scrubs),
        packs=screening.about() | {"unchecked": list(rules.unchecked)} if screening else None,
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
    """Read the parts as at least one lead frame of at most `rows` rows: large parts cut, small ones put together."""
    waiting = [pl.DataFrame(schema=LEAD_COLUMNS)]
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
            if (held := sum(piece.height for piece in waiting)) and held + frame.height > rows:
                yield pl.concat(waiting)
                waiting.clear()
            waiting.append(frame)
    yield pl.concat(waiting)


def _decide(
    leads: pl.DataFrame,
    rules: CleanRules,
    lists: Sequence[Suppression],
    hits: Counter[str],
    history: CallHistory | None,
) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    """Add number, KEPT_COLUMNS, reason and detail, as far as a row decides by itself; count hits per list.

    Returns the leads, and their readable numbers (Int64) by phone field.
    """
    region = region_of(leads, rules)
    read = {name: phones.to_e164(leads[name], region) for name in rules.phones}
    numbers: dict[str, pl.Series] = {name: number for name, (number, _) in read.items()}
    asked = pl.lit(value=False)
    if history is not None:
        asked = pl.lit(history.asked_not_to_call(numbers, leads["lead_id"]))
        read = {name: _without_dead(number, reason, history) for name, (number, reason) in read.items()}
    listed = []
    for entry in lists:
        found = {name: entry.hits(number) for name, number in numbers.items()}
        hits[entry.name] += int(reduce(or_, found.values()).sum())
        listed += [pl.when(hit).then(pl.lit(f"{entry.name}: {name}")) for name, hit in found.items()]
    number = pl.coalesce(*(number for number, _ in read.values()))
    field = pl.coalesce(
        *(pl.when(pl.lit(number).is_not_null()).then(pl.lit(name)) for name, (number, _) in read.items())
    )
    telling = [pl.lit(reason).replace("phone_empty", None) for _, reason in read.values()]
    why = pl.concat_str(
        [pl.format(f"{name}: {{}}", reason) for name, (_, reason) in read.items()], separator="; "
    )
    on_list = pl.concat_str([*listed, pl.lit(None, pl.String)], separator="; ", ignore_nulls=True)
    no_key = pl.col("customer_key").fill_null("") == ""
    decided = leads.with_columns(
        number=number,
        phone=phones.e164(number),
        national=phones.national(number),
        phone_field=field,
        reason=pl.when(on_list != "")
        .then(pl.lit("on_suppression_list"))
        .when(asked)
        .then(pl.lit("asked_not_to_call"))
        .when(number.is_null())
        .then(pl.coalesce(*telling, pl.lit("phone_empty")))
        .when(no_key & rules.require_key)
        .then(pl.lit("key_missing")),
        detail=pl.when(on_list != "").then(on_list).when(number.is_null() & ~asked).then(why),
    )
    return decided, numbers


def _without_dead(number: pl.Series, reason: pl.Series, history: CallHistory) -> tuple[pl.Series, pl.Series]:
    """Numbers and reasons of a phone field, without the numbers that earlier calls found out of service."""
    dead = history.is_dead(number)
    return number.zip_with(~dead, pl.Series([None], dtype=pl.Int64)), reason.zip_with(
        ~dead, pl.Series(["number_dead"])
    )


def region_of(leads: pl.DataFrame, rules: CleanRules) -> str | pl.Series:
    """Return the region of numbers without a country code: the flow's, or each lead's own."""
    if rules.region_field is None:
        return rules.region
    own = leads["data"].str.json_path_match(f"$['{rules.region_field}']").str.strip_chars().str.to_uppercase()
    return own.replace("", None).fill_null(rules.region)


def _write(files: Sequence[Path], lost: pl.DataFrame, out: Path) -> tuple[list[Path], list[Path]]:
    """Split each decided slice into its kept leads and its outcomes; return the files of both."""
    kept_files: list[Path] = []
    outcome_files: list[Path] = []
    first = 0
    for file in files:
        decided = pl.scan_ipc(file, glob=False).collect()
        here = among(lost, first, decided.height)
        first += decided.height
        decided = decided.join(
            here.select("row", pl.col("reason").cast(pl.String), detail=pl.format("kept row {}", "kept")),
            on="row",
            how="left",
            maintain_order="left",
        ).with_columns(pl.coalesce("reason", "reason_right"), pl.coalesce("detail", "detail_right"))
        kept = decided.filter(pl.col("reason").is_null()).select(*KEPT_COLUMNS)
        outcomes = decided.filter(pl.col("reason").is_not_null()).select(
            "row_key",
            "reason",
            "detail",
            state=pl.col("reason").replace_strict(_STATES, return_dtype=pl.String),
            batch=pl.lit(None, pl.Int64),
        )
        outcomes = outcomes.select(*OUTCOME_COLUMNS)
        for frame, name, written in ((kept, "kept", kept_files), (outcomes, "outcomes", outcome_files)):
            if frame.height or not written:  # readers expect at least one file of each
                written.append(out / f"{name}-{file.stem}.parquet")
                frame.write_parquet(written[-1])
    return kept_files, outcome_files


def _check_row_keys(files: Sequence[Path], shares: int) -> None:
    """Raise CleanError if a row key occurs twice: such rows could not be told apart afterwards."""
    repeated = 0
    for share in range(shares):
        hashes = (
            pl.scan_ipc(file, glob=False).select("row_key").collect()["row_key"].hash() for file in files
        )
        keys = pl.concat([part.filter(part % shares == share) for part in hashes]).sort()
        repeated += int((keys[1:] == keys[:-1]).sum())
    if repeated:
        raise CleanError(
            f"{repeated} rows repeat the row_key of another row: the snapshot is not sound, so pull it again"
        )


def _areas(files: Sequence[Path]) -> dict[str, int]:
    """Kept leads by the first digits of their number: enough to see that a list comes from elsewhere."""
    phone = pl.col("phone")
    area = pl.when(pl.col("national").is_null()).then(phone.str.head(3)).otherwise(phone.str.head(5))
    counts: Counter[str] = Counter()
    for file in files:
        frame = pl.read_parquet(file, columns=["phone", "national"], glob=False)
        counts.update(dict(frame.select(area=area)["area"].value_counts().iter_rows()))
    return dict(sorted(counts.items()))


def _count(files: Sequence[Path], *by: str) -> tuple[Counter[tuple[Any, ...]], int]:
    """Count the rows that stand in written files by some columns, and mark their row keys."""
    counts: Counter[tuple[Any, ...]] = Counter()
    mark = 0
    for file in files:
        frame = pl.read_parquet(file, columns=["row_key", *by], glob=False)
        counts.update({tuple(values): rows for *values, rows in frame.group_by(by).len().iter_rows()})
        mark ^= frame.select(_MARK).item()
    return counts, mark
