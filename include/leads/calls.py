"""Outcome rules: what earlier calls say of a lead, out of the calls that were staged night by night.

* do not call: somebody asked not to be called again; every staged night counts, by any number of the lead or its id
* dead: a number that is out of service is not used; another number of the lead may be
* called recently, attempts: too soon, or too often, by number and by lead, whichever was called more often; who called
  us was not called by us

The calls are read in pieces. What stays in memory is a few bytes for each call that a rule looks at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Final

import polars as pl

from include.leads.phones import to_e164
from include.leads.rules import CallRules, Marks
from include.leads.schema import CALL_COLUMNS

_BATCH: Final = 100_000


class CallHistoryError(ValueError):
    """The staged calls cannot be used as they are; the message says what to do."""


class CallHistory:
    """The calls that a flow's rules look at.

    :param files: Parquet files of call frames (CALL_COLUMNS), of every staged night.
    :param rules: the section `calls:` of a flow file.
    :param region: country of numbers without a country code.
    :param now: aware; what hours and days are counted back from.
    :param hours: windows, in hours, whose calls somebody will count (`counts`).
    """

    def __init__(
        self,
        files: Sequence[Path],
        rules: CallRules,
        *,
        region: str,
        now: datetime,
        hours: Collection[float] = (),
    ) -> None:
        self._rules, self._now = rules, now
        own = {rules.attempts.hours} if rules.attempts else set()
        self._hours = sorted({*hours, *own, *([rules.not_within_hours] if rules.not_within_hours else [])})
        self._hits: Counter[str] = Counter()
        oldest = now - timedelta(hours=max(self._hours, default=0))
        dead_since = now - timedelta(days=rules.dead_days)
        asked, dead, recent = [], [], []
        self._rows = 0
        for frame in _pieces(files):
            self._rows += frame.height
            number, _ = to_e164(frame["phone"], region)
            at = pl.col("called_at").fill_null(now)  # of unknown time: it may have been this moment
            calls = frame.select(
                "call_key",
                "lead_id",
                at,
                pl.col("inbound").fill_null(value=False),
                pl.lit(number).alias("number"),
                *_marks(rules.do_not_call, rules.dead),
            )
            asked.append(calls.filter("asked").select("number", "lead_id"))
            dead.append(calls.filter(pl.col("dead") & (pl.col("called_at") >= dead_since))["number"])
            recent.append(
                calls.filter((pl.col("called_at") >= oldest) & ~pl.col("inbound")).select(
                    "call_key", "number", "lead_id", "called_at"
                )
            )
        who = pl.concat([pl.DataFrame(schema={"number": pl.Int64, "lead_id": pl.Int64}), *asked])
        self._asked = {name: who[name].drop_nulls().unique() for name in ("number", "lead_id")}
        self._dead = pl.concat([pl.Series([], dtype=pl.Int64), *dead]).drop_nulls().unique()
        schema: dict[str, Any] = {
            "call_key": pl.String,
            "number": pl.Int64,
            "lead_id": pl.Int64,
            "called_at": pl.Datetime("us", "UTC"),
        }
        # A call that two nights hold is one call.
        calls = pl.concat([pl.DataFrame(schema=schema), *recent]).unique("call_key")
        self._counts = {
            hours: {name: _count(calls, name, now - timedelta(hours=hours)) for name in ("number", "lead_id")}
            for hours in self._hours
        }

    def is_dead(self, number: pl.Series) -> pl.Series:
        """Which numbers (Int64) are out of service; null is not."""
        found = _among(number, self._dead)
        self._hits["number_dead"] += int(found.sum())
        return found

    def asked_not_to_call(self, numbers: Mapping[str, pl.Series], lead_id: pl.Series) -> pl.Series:
        """Which leads asked not to be called: by any of their numbers, or by their id."""
        by_number = [_among(number, self._asked["number"]) for number in numbers.values()]
        found = reduce(or_, by_number) | _among(lead_id, self._asked["lead_id"])
        self._hits["asked_not_to_call"] += int(found.sum())
        return found

    def counts(self, numbers: Mapping[str, pl.Series], lead_id: pl.Series, hours: float) -> pl.Series:
        """How often each lead was called in the last hours: the largest count of its numbers and of its id."""
        by = self._counts[hours]
        found = [_look_up(number, by["number"]) for number in numbers.values()]
        return pl.select(pl.max_horizontal(*found, _look_up(lead_id, by["lead_id"]))).to_series()

    def apply(self, leads: pl.DataFrame, numbers: Mapping[str, pl.Series]) -> pl.DataFrame:
        """Set reason and detail of the leads that were called too soon or too often, of those without a reason.

        :param numbers: the lead's usable numbers (Int64) by phone field.
        """
        reason, detail = pl.col("reason"), pl.col("detail")
        rules = []
        if self._rules.not_within_hours:
            rules.append(("called_recently", 1, self._rules.not_within_hours))
        if self._rules.attempts:
            rules.append(("attempts_used_up", self._rules.attempts.max, self._rules.attempts.hours))
        for code, most, hours in rules:
            count = self.counts(numbers, leads["lead_id"], hours)
            over = pl.lit(count) >= most
            words = pl.format("calls: {} in " + f"{hours:g} hours", pl.lit(count))
            detail = pl.when(reason.is_null() & over).then(words).otherwise(detail)
            reason = pl.when(reason.is_null() & over).then(pl.lit(code)).otherwise(reason)
        return leads.with_columns(reason=reason, detail=detail)

    def about(self) -> dict[str, Any]:
        """What a report and the evidence say of the calls, as plain JSON values."""
        return {
            "rows": self._rows,
            "do_not_call": len(self._asked["number"]),
            "dead": len(self._dead),
            "hits": dict(self._hits),
        }


def _pieces(files: Sequence[Path]) -> Any:
    for file in files:
        scan = pl.scan_parquet(file, glob=False)
        schema = scan.collect_schema()
        wrong = [name for name, kind in CALL_COLUMNS.items() if schema.get(name) != kind]
        if wrong:
            raise CallHistoryError(
                f"{file.name} is no call frame: missing or of another type: {', '.join(wrong)}. Pull the calls again."
            )
        yield from scan.select(*CALL_COLUMNS).collect_batches(chunk_size=_BATCH)


def _marks(asked: Marks, dead: Marks) -> list[pl.Expr]:
    """Columns `asked` and `dead`: whether a call's dial status or wrap code is one of those named."""

    def named(marks: Marks) -> pl.Expr:
        found = pl.lit(value=False)
        for wanted, number, text in (
            (marks.dial_status, "dial_status_id", "dial_status"),
            (marks.wrap_code, "wrap_code", "wrap"),
        ):
            ids = [value for value in wanted if isinstance(value, int)]
            names = [value.lower() for value in wanted if isinstance(value, str)]
            same_name = pl.col(text).str.strip_chars().str.to_lowercase().is_in(names)
            found = (
                found | pl.col(number).is_in(ids).fill_null(value=False) | same_name.fill_null(value=False)
            )
        return found

    return [named(asked).alias("asked"), named(dead).alias("dead")]


def _count(calls: pl.DataFrame, name: str, since: datetime) -> pl.DataFrame:
    """Calls since a moment: key and `calls`."""
    chosen = calls.filter((pl.col("called_at") > since) & pl.col(name).is_not_null())
    return chosen.group_by(pl.col(name).alias("key")).agg(pl.len().cast(pl.Int64).alias("calls"))


def _among(values: pl.Series, wanted: pl.Series) -> pl.Series:
    return values.is_in(wanted.implode()).fill_null(value=False)


def _look_up(values: pl.Series, counts: pl.DataFrame) -> pl.Series:
    """The count of each value, 0 where there is none."""
    return values.replace_strict(counts["key"], counts["calls"], default=0, return_dtype=pl.Int64).fill_null(
        0
    )
