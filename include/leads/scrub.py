"""Scrub services: somebody else says of a number whether it is listed, reassigned since its consent, or of which type.

A service is anything with a `name` and a `check` (`ScrubService`). One is built in: `FileService` reads the answers
that a service has delivered as a file. Another one is named in the flow file (`service: package.module:make`); its
answers are kept in the staging area (`scrub/<name>`), by hashes instead of numbers, and asked for again when they
are too old. It fails closed: a lead without an answer that is young enough is held.
"""

from __future__ import annotations

import hashlib
import importlib
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl

from include import staging
from include.leads.phones import to_e164
from include.leads.rules import ScrubCheck
from include.leads.suppression import SuppressionError, fetch
from include.scratch import scratch_folder
from include.staging import Manifest, RunFolder

_BATCH: Final = 50_000
_KEPT: Final = {"key": pl.String(), "verdict": pl.String(), "as_of": pl.Date()}
ANSWER: Final = {"verdict": pl.String(), "as_of": pl.Date()}
"""An answer: `clear`; or `listed`, `reassigned` or a type of line, by what is checked; null when nobody knows. And the
day on which that was so."""


class ScrubError(ValueError):
    """A scrub service cannot be asked, or its answers cannot be used; the message says what to do."""


class ScrubService(Protocol):
    """Who is asked."""

    name: str

    def check(self, numbers: pl.Series, consent_dates: pl.Series) -> pl.DataFrame:
        """Answer for each number (Int64, E.164 digits) and the date of its consent (Date, null where none is known).

        Returns the columns ANSWER, one row per number, in their order.
        """
        ...


class FileService:
    """The answers that a service delivered as a file: columns phone, answer, checked, and consent_date if dated.

    Raises ScrubError for a file that is missing, cannot be read, or lacks a column.
    """

    def __init__(self, settings: ScrubCheck, *, region: str = "US", base: Path | None = None) -> None:
        self.name = settings.name
        self._dated = settings.checks == "reassigned"
        self._columns = ("phone", "answer", "checked", *(("consent_date",) if self._dated else ()))
        place = settings.file or ""
        try:
            if "://" in place:
                with scratch_folder() as scratch:
                    self._answers = self._read(fetch(place, scratch)[0], region, settings.words)
            else:
                self._answers = self._read((base or Path()) / place, region, settings.words)
        except SuppressionError as error:
            raise ScrubError(f"scrub {self.name}: {error}") from None
        except (OSError, pl.exceptions.PolarsError) as error:  # their words may quote a row
            raise ScrubError(
                f"scrub {self.name}: its file cannot be read ({type(error).__name__}); fetch it again"
            ) from None

    def _read(self, path: Path, region: str, words: dict[str, str]) -> pl.DataFrame:
        if path.suffix == ".parquet":
            scan = pl.scan_parquet(path, glob=False)
        else:
            scan = pl.scan_csv(path, infer_schema=False, encoding="utf8-lossy", glob=False)
        names = scan.collect_schema().names()
        if lacking := [name for name in self._columns if name not in names]:
            raise ScrubError(f"scrub {self.name}: {path.name} has no column {', '.join(lacking)}")
        date = [pl.col(name).str.head(10).str.to_date("%Y-%m-%d", strict=False) for name in self._columns[2:]]
        text = [pl.col(name).cast(pl.String) for name in self._columns]
        parts = [
            batch.select(
                date[-1].alias("since"),
                number=to_e164(batch["phone"], region)[0],
                verdict=_ours(pl.col("answer"), words),
                as_of=date[0],
            )
            for batch in scan.select(text).collect_batches(chunk_size=_BATCH)
        ]
        if not parts:
            raise ScrubError(f"scrub {self.name}: {path.name} holds no answer")
        return pl.concat(parts).drop_nulls("number")

    def check(self, numbers: pl.Series, consent_dates: pl.Series) -> pl.DataFrame:
        """Look the numbers up. An answer about another date of consent counts where it holds for this one too."""
        asked = pl.DataFrame({"number": numbers, "consent": consent_dates}).with_row_index("place")
        found = asked.join(self._answers, on="number", how="inner")
        if self._dated:
            clear = pl.col("verdict") == "clear"
            # Not reassigned since a date, so not since a later one; reassigned since one, so since an earlier one.
            holds = pl.when(clear).then(pl.col("since") <= pl.col("consent"))
            found = found.filter(holds.otherwise(pl.col("since") >= pl.col("consent"))).sort(~clear, "as_of")
        else:  # the newest answer; of two of one day the one that is not clear
            found = found.sort("as_of", pl.col("verdict") != "clear")
        last = found.unique("place", keep="last", maintain_order=True).select("place", *ANSWER)
        return asked.join(last, on="place", how="left", maintain_order="left").select(*ANSWER)


class KeptAnswers:
    """Answers of a service that were paid for, below `scrub/<name>` of the staging area; one folder per run."""

    def __init__(self, service: ScrubService, settings: ScrubCheck, now: datetime) -> None:
        self.name, max_age_days = settings.name, settings.max_age_days
        self._service, self._words = service, settings.words
        self._place = f"scrub/{self.name}"
        self._new: list[pl.DataFrame] = []
        self.asked = 0
        oldest = now.date() - timedelta(days=max_age_days)
        parts = [pl.DataFrame(schema=_KEPT)]
        for folder in staging.folders(self._place):
            if folder.manifest().created_at < now - timedelta(days=max_age_days + 1):
                folder.remove()  # every answer in it was too old a day ago
                continue
            with folder.reading("answers.parquet") as files:
                parts += [
                    pl.read_parquet(file, glob=False).filter(pl.col("as_of") >= oldest) for file in files
                ]
        self._known = pl.concat(parts).sort("as_of").unique("key", keep="last")

    def check(self, numbers: pl.Series, consent_dates: pl.Series) -> pl.DataFrame:
        """Answer from what is kept, and ask the service for the rest."""
        pairs = zip(numbers, consent_dates, strict=True)
        asked = pl.DataFrame({"number": numbers, "consent": consent_dates}).with_columns(
            key=pl.Series([_key(*pair) for pair in pairs], dtype=pl.String)
        )
        unknown = asked.join(self._known, on="key", how="anti")
        if unknown.height:
            answers = self._ask(unknown)
            self.asked += unknown.height
            self._new.append(answers)
            self._known = pl.concat([self._known, answers])
        return asked.join(self._known, on="key", how="left", maintain_order="left").select(*ANSWER)

    def _ask(self, unknown: pl.DataFrame) -> pl.DataFrame:
        try:
            answers = self._service.check(unknown["number"], unknown["consent"]).select(*ANSWER).cast(ANSWER)  # type: ignore[arg-type]
        except Exception as error:  # whatever the service is made of; its words may hold a number
            raise ScrubError(
                f"scrub {self.name}: the service failed ({type(error).__name__}); nothing passes without it"
            ) from None
        if answers.height != unknown.height:
            raise ScrubError(f"scrub {self.name}: {answers.height} answers came for {unknown.height} numbers")
        answers = answers.with_columns(unknown["key"], verdict=_ours(pl.col("verdict"), self._words))
        return answers.select(*_KEPT).drop_nulls()

    def keep(self) -> None:
        """Write down what was asked for in this run."""
        if not self._new:
            return
        folder = RunFolder(f"{self._place}/{uuid.uuid4().hex[:12]}")
        answers = pl.concat(self._new)
        with folder.writing() as scratch:
            answers.write_parquet(scratch / "answers.parquet")
            folder.commit(scratch, Manifest(kind="scrub", rows=answers.height))
        self._new.clear()


class Scrub:
    """One check of a flow: asks a service, and decides over the leads."""

    def __init__(
        self,
        settings: ScrubCheck,
        *,
        region: str = "US",
        base: Path | None = None,
        now: datetime | None = None,
    ) -> None:
        self._settings, self._now = settings, now or datetime.now(UTC)
        self._kept = None
        if settings.service is None:
            self._service: ScrubService = FileService(settings, region=region, base=base)
        else:
            service = _load(settings)
            self._service = self._kept = KeptAnswers(service, settings, self._now)
        self._answers: Counter[str] = Counter()

    def apply(self, leads: pl.DataFrame) -> pl.DataFrame:
        """Set reason and detail of the leads that may not be called, of those without a reason."""
        leads = leads.with_row_index("place")
        consent = pl.lit(None, pl.Date)
        if self._settings.consent_date is not None:
            path = f"$['{self._settings.consent_date}']"
            consent = (
                pl.col("data").str.json_path_match(path).str.head(10).str.to_date("%Y-%m-%d", strict=False)
            )
        asked = leads.filter(pl.col("reason").is_null()).select("place", "number", consent=consent)
        if self._settings.checks == "reassigned":
            undated = asked.filter(pl.col("consent").is_null()).select("place", asked=pl.lit(value=False))
            asked = asked.filter(pl.col("consent").is_not_null())
        else:
            undated = pl.DataFrame(schema={"place": pl.UInt32, "asked": pl.Boolean})
        once = asked.select("number", "consent").unique(maintain_order=True)
        answers = once.hstack(self._service.check(once["number"], once["consent"]))
        verdicts = asked.join(answers, on=["number", "consent"], how="left", nulls_equal=True)
        self._answers.update(verdicts["verdict"].fill_null("no answer").to_list())
        told = pl.concat(
            [
                verdicts.select("place", "verdict", "as_of", asked=pl.lit(value=True)),
                undated.select(
                    "place", pl.lit(None, pl.String).alias("verdict"), as_of=None, asked="asked"
                ).cast({"as_of": pl.Date}),
            ]
        ).select("place", *self._decide())
        return (
            leads.join(told, on="place", how="left", maintain_order="left")
            .with_columns(reason=pl.coalesce("reason", "why"), detail=pl.coalesce("detail", "what"))
            .drop("place", "why", "what")
        )

    def _decide(self) -> tuple[pl.Expr, pl.Expr]:
        """Reason and detail by the answer; null where the lead may be called."""
        settings, today = self._settings, self._now.date()
        verdict = pl.col("verdict")
        oldest = today - timedelta(days=settings.max_age_days)
        fresh = pl.col("as_of").is_between(oldest, today + timedelta(days=1)).fill_null(value=False)
        bad = {"registry": "listed", "reassigned": "reassigned"}.get(settings.checks)
        known = verdict.is_in(["clear", bad]) if bad else verdict.is_not_null()
        turned_down = verdict == bad if bad else ~verdict.is_in(list(settings.allow))
        code = {"registry": "scrub_listed", "reassigned": "number_reassigned"}.get(
            settings.checks, "line_type_refused"
        )
        why = (
            pl.when(~pl.col("asked"))
            .then(pl.lit("consent_missing"))
            .when(~(fresh & known.fill_null(value=False)))
            .then(pl.lit("scrub_unknown"))
            .when(turned_down)
            .then(pl.lit(code))
        )
        word = (
            pl.when(~pl.col("asked"))
            .then(pl.lit("no date of consent"))
            .when(verdict.is_null())
            .then(pl.lit("no answer"))
            .when(~fresh)
            .then(pl.lit("the answer is too old"))
            .when(known)
            .then(verdict)
            .otherwise(pl.lit("an answer that `words` does not know"))
        )
        what = pl.format("{}: {}", pl.lit(settings.name), word)
        return why.alias("why"), pl.when(why.is_not_null()).then(what).alias("what")

    def keep(self) -> None:
        """Keep what the service was asked, also when the run breaks off."""
        if self._kept is not None:
            self._kept.keep()

    def about(self) -> dict[str, Any]:
        """What the evidence says of the check, as plain JSON values. `asked`: numbers that the service was asked."""
        return {
            "name": self._settings.name,
            "checks": self._settings.checks,
            "max_age_days": self._settings.max_age_days,
            "answers": dict(sorted(self._answers.items())),
            "asked": self._kept.asked if self._kept else None,
        }


def _load(settings: ScrubCheck) -> ScrubService:
    module, _, name = (settings.service or "").partition(":")
    try:
        make: Callable[[str], ScrubService] = getattr(importlib.import_module(module), name)
        return make(settings.name)
    except Exception as error:  # a module of somebody's own
        raise ScrubError(
            f"scrub {settings.name}: {settings.service} cannot be made ({type(error).__name__})"
        ) from None


def _ours(answer: pl.Expr, words: dict[str, str]) -> pl.Expr:
    """A service's words as ours."""
    return answer.str.strip_chars().str.to_lowercase().replace(words)


def _key(number: int, consent: object) -> str:
    """What an answer is kept by. A hash keeps numbers out of sight; whoever tries all numbers still finds them."""
    return hashlib.sha256(f"{number} {consent}".encode()).hexdigest()[:32]
