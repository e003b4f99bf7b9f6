"""Scrub services: what an answer does to a lead, what is kept of answers, and that nothing passes without one."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from pydantic import ValidationError
from upath import UPath

from include.leads import scrub
from include.leads.clean import clean
from include.leads.rules import CleanRules, ScrubCheck
from include.leads.schema import LEAD_COLUMNS
from include.leads.scrub import Scrub, ScrubError

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PHONE = "202555010{}"
TODAY = "2026-11-20"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LISTKEEPER_STAGING", str(tmp_path / "staging"))
    return tmp_path


def leads(*consents: str | None) -> pl.DataFrame:
    """One lead per date of consent; the numbers are 1202555010n."""
    rows = [
        dict.fromkeys(LEAD_COLUMNS)
        | {
            "row_key": str(n),
            "phone1": PHONE.format(n),
            "data": json.dumps({} if consent is None else {"consent": consent}),
        }
        for n, consent in enumerate(consents)
    ]
    return pl.DataFrame(rows, schema=LEAD_COLUMNS)


def ask(leads: pl.DataFrame, base: Path, now: datetime = NOW, **settings: Any) -> dict[str, Any]:
    """Clean the leads with one check; each one's reason and detail, the kept ones without."""
    check = ScrubCheck(**{"name": "own", "max_age_days": 30} | settings)
    leads.write_parquet(base / "part.parquet")
    result = clean([base / "part.parquet"], CleanRules(scrub=(check,)), base / "out", base=base, now=now)
    ended = pl.concat(map(pl.read_parquet, result.outcome_files))
    found: dict[str, Any] = {row["row_key"]: (row["reason"], row["detail"]) for row in ended.to_dicts()}
    for row in pl.concat(map(pl.read_parquet, result.kept_files))["row_key"]:
        found[row] = "kept"
    (found["about"],) = result.scrub
    return found


def answers(base: Path, *rows: tuple[str, ...], head: str = "phone,answer,checked") -> dict[str, str]:
    (base / "answers.csv").write_text("\n".join([head, *(",".join(row) for row in rows)]) + "\n")
    return {"file": "answers.csv"}


def test_a_registry(place):
    file = answers(
        place,
        (PHONE.format(0), "clear", TODAY),
        ("(202) 555-0101", "Listed ", TODAY),
        (PHONE.format(2), "clear", "2026-10-20"),
        (PHONE.format(3), "perhaps", TODAY),
        (PHONE.format(4), "clear", "no date"),
        (PHONE.format(6), "clear", "2027-01-01"),
        ("12", "clear", TODAY),
    )
    found = ask(leads(*[None] * 7), place, checks="registry", **file)
    assert found["0"] == "kept"
    assert found["1"] == ("scrub_listed", "own: listed")
    assert found["2"] == ("scrub_unknown", "own: the answer is too old")
    assert found["3"] == ("scrub_unknown", "own: an answer that `words` does not know")
    assert found["4"] == found["6"] == ("scrub_unknown", "own: the answer is too old")
    assert found["5"] == ("scrub_unknown", "own: no answer")
    assert found["about"]["answers"] == {"clear": 4, "listed": 1, "no answer": 1, "perhaps": 1}
    found = ask(leads(*[None] * 4), place, checks="registry", words={"perhaps": "listed"}, **file)
    assert found["3"] == ("scrub_listed", "own: listed")


def test_an_answer_counts_to_the_last_of_its_days(place):
    """30 days back, and one ahead: the service may live where it is tomorrow already."""
    days = ("2026-10-20", "2026-10-21", "2026-11-21", "2026-11-22")
    rows = [(PHONE.format(n), "clear", day) for n, day in enumerate(days)]
    found = ask(leads(*[None] * 4), place, checks="registry", **answers(place, *rows))
    assert (found["1"], found["2"]) == ("kept", "kept")
    assert found["0"] == found["3"] == ("scrub_unknown", "own: the answer is too old")
    about = {name: found["about"][name] for name in ("name", "checks", "max_age_days", "asked")}
    assert about == {"name": "own", "checks": "registry", "max_age_days": 30, "asked": None}


def test_an_answer_about_the_very_day_of_the_consent_holds(place):
    rows = [(PHONE.format(n), word, TODAY, "2026-01-01") for n, word in enumerate(["clear", "reassigned"])]
    found = ask(
        leads("2026-01-01", "2026-01-01"),
        place,
        checks="reassigned",
        consent_date="consent",
        **answers(place, *rows, head="phone,answer,checked,consent_date"),
    )
    assert (found["0"], found["1"][0]) == ("kept", "number_reassigned")


def test_the_newest_answer_counts_and_of_one_day_the_worse_one(place):
    rows = [
        (PHONE.format(0), "listed", "2026-11-01"),
        (PHONE.format(0), "clear", TODAY),
        (PHONE.format(1), "listed", TODAY),
        (PHONE.format(1), "clear", TODAY),
    ]
    found = ask(leads(None, None), place, checks="registry", **answers(place, *rows))
    assert (found["0"], found["1"][0]) == ("kept", "scrub_listed")


def test_a_line_type(place):
    rows = [(PHONE.format(n), kind, TODAY) for n, kind in enumerate(["landline", "mobile", "clear"])]
    found = ask(leads(*[None] * 4), place, checks="line_type", allow=["landline"], **answers(place, *rows))
    assert found["0"] == "kept"
    assert found["1"] == ("line_type_refused", "own: mobile")
    assert found["2"][0] == "line_type_refused", "what is not allowed by name is refused"
    assert found["3"][0] == "scrub_unknown"


def test_reassigned_numbers_are_judged_by_the_date_of_consent(place):
    rows = [
        (PHONE.format(n), answer, TODAY, "2026-01-01")
        for n, answer in enumerate(["no", "no", "yes", "yes", "no"])
    ]
    consents = ("2026-02-01T10:00:00Z", "2025-12-01", "2025-12-01", "2026-02-01", None, "soon")
    found = ask(
        leads(*consents),
        place,
        checks="reassigned",
        consent_date="consent",
        words={"no": "clear", "yes": "reassigned"},
        **answers(place, *rows, head="phone,answer,checked,consent_date"),
    )
    assert found["0"] == "kept", "not reassigned since a date before its consent"
    assert found["1"] == ("scrub_unknown", "own: no answer"), "it may have been reassigned before that date"
    assert found["2"] == ("number_reassigned", "own: reassigned")
    assert found["3"] == ("scrub_unknown", "own: no answer"), "reassigned before its consent, or after it"
    assert found["4"] == found["5"] == ("consent_missing", "own: no date of consent")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        ("phone,answer\n1,2\n", "answers.csv has no column checked"),
        ("", "cannot be read"),
        ("phone,answer,checked\n", "holds no answer"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_load(place, content, says):
    if content is not None:
        (place / "answers.csv").write_text(content)
    with pytest.raises(ScrubError, match=f"scrub own: .*{says}"):
        ask(leads(None), place, checks="registry", file="answers.csv")


def test_answers_in_object_storage(place):
    bucket = UPath("memory://answers")
    bucket.mkdir(exist_ok=True)
    (bucket / "a.csv").write_text(f"phone,answer,checked\n{PHONE.format(0)},listed,{TODAY}\n")
    found = ask(leads(None), place, checks="registry", file="memory://answers/a.csv")
    assert found["0"][0] == "scrub_listed"
    with pytest.raises(ScrubError, match=r"scrub own: there is no b\.csv"):
        ask(leads(None), place, checks="registry", file="memory://answers/b.csv")


class Service:
    """A service of somebody's own; even numbers are listed."""

    asked: ClassVar[list[int]] = []
    today = NOW.date()
    broken: Exception | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self, numbers: pl.Series, consent_dates: pl.Series) -> pl.DataFrame:
        assert len(numbers) == len(consent_dates)
        if self.broken is not None:
            raise self.broken
        self.asked.extend(numbers)
        verdicts = [None if n % 10 == 9 else "clear" if n % 2 else "listed" for n in numbers]
        return pl.DataFrame({"verdict": verdicts, "as_of": [self.today] * len(numbers)})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> type[Service]:
    monkeypatch.setattr(scrub, "Service", Service, raising=False)
    monkeypatch.setattr(Service, "asked", [])
    monkeypatch.setattr(Service, "broken", None)
    return Service


OWN = {"checks": "registry", "service": "include.leads.scrub:Service"}


def test_answers_are_kept_until_they_are_too_old(place, service, monkeypatch):
    found = ask(leads(None, None), place, **OWN)
    assert (found["0"][0], found["1"]) == ("scrub_listed", "kept")
    assert found["about"]["asked"] == len(service.asked) == 2
    found = ask(leads(None, None, None), place, **OWN)
    assert (found["0"][0], found["1"], found["2"][0]) == ("scrub_listed", "kept", "scrub_listed")
    assert found["about"]["asked"] == 1
    later = NOW + timedelta(days=31)
    monkeypatch.setattr(service, "today", later.date())
    assert ask(leads(None, None, None), place, now=later, **OWN)["about"]["asked"] == 3
    kept = [path.read_bytes() for path in (place / "staging").rglob("*.parquet")]
    assert kept
    assert not [number for number in service.asked for each in kept if str(number).encode() in each]


def test_old_answers_of_a_service_that_answers_late_are_not_believed(place, service, monkeypatch):
    monkeypatch.setattr(service, "today", date(2026, 10, 1))
    assert ask(leads(None, None), place, **OWN)["1"] == ("scrub_unknown", "own: the answer is too old")


def test_a_service_that_does_not_know_holds_and_is_asked_again(place, service):
    ten = leads(*[None] * 10)
    assert ask(ten, place, **OWN)["9"] == ("scrub_unknown", "own: no answer")
    assert ask(ten, place, **OWN)["about"]["asked"] == 1


def test_a_service_that_fails_stops_the_load_and_tells_no_number(place, service, monkeypatch):
    monkeypatch.setattr(service, "broken", RuntimeError("2025550100 is unknown"))
    with pytest.raises(ScrubError, match=r"the service failed \(RuntimeError\)") as caught:
        ask(leads(None), place, **OWN)
    assert "2025550100" not in str(caught.value)
    with pytest.raises(ScrubError, match="cannot be made"):
        Scrub(ScrubCheck(name="own", max_age_days=1, checks="registry", service="no.such:thing"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"checks": "registry"}, "exactly one of file and service"),
        ({"checks": "line_type", "file": "a.csv"}, "allow: line_type needs it"),
        ({"checks": "registry", "file": "a.csv", "allow": ["mobile"]}, "allow: line_type needs it"),
        ({"checks": "reassigned", "file": "a.csv"}, "consent_date: reassigned needs it"),
    ],
)
def test_a_check_must_be_whole(settings, says):
    with pytest.raises(ValidationError, match=says):
        ScrubCheck(name="own", max_age_days=1, **settings)
