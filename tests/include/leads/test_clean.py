from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import util
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.leads import clean as clean_module
from include.leads.clean import KEPT_COLUMNS, CleanError, CleanResult, clean
from include.leads.reasons import REASONS
from include.leads.rules import CleanRules
from include.leads.schema import LEAD_COLUMNS, OUTCOME_COLUMNS

Make = Callable[..., pl.DataFrame]
NIGHT = datetime(2026, 11, 20, tzinfo=UTC)
NOW = NIGHT + timedelta(days=1)


def write(frame: pl.DataFrame, folder: Path, *sizes: int) -> list[Path]:
    """Write a frame as parts of these sizes, the rest as the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    parts, start = [], 0
    for index, size in enumerate((*sizes, frame.height)):
        parts.append(folder / f"part-{index:03}.parquet")
        frame.slice(start, size).write_parquet(parts[-1])
        start += size
    return parts


def date(list_file: Path) -> None:
    """Give a suppression list the tests' own date: today's lies in their future."""
    os.utime(list_file, (NOW.timestamp(),) * 2)


def read(result: CleanResult) -> tuple[pl.DataFrame, pl.DataFrame]:
    return (
        pl.concat([pl.read_parquet(file) for file in result.kept_files]),
        pl.concat([pl.read_parquet(file) for file in result.outcome_files]),
    )


def decisions(result: CleanResult) -> dict[str, tuple[Any, ...]]:
    kept, outcomes = read(result)
    found = {row["row_key"]: ("kept", row["phone"], row["phone_field"]) for row in kept.iter_rows(named=True)}
    for row in outcomes.iter_rows(named=True):
        assert row["row_key"] not in found
        if row["reason"].startswith("phone_"):
            found[row["row_key"]] = (row["state"], "phone")
        else:
            found[row["row_key"]] = (row["state"], row["reason"], *filter(None, [row["detail"]]))
    return found


@pytest.fixture(scope="session")
def oracle() -> Any:
    spec = util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_small_night(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame(
        [
            {"phone1": "(202) 555-0123", "customer_key": " A\n", "data": '{"note":"=1"}'},
            {"phone1": "na", "phone2": "", "phone3": "212 555 0100", "customer_key": "B"},
            {"phone1": "", "phone2": "833", "phone3": "na"},
            {"phone1": "+44 20 7946 0018"},
            {},
        ]
    )
    result = clean(write(leads, tmp_path), CleanRules(), tmp_path / "out")
    kept, outcomes = read(result)
    assert (kept.schema, outcomes.schema) == (pl.Schema(KEPT_COLUMNS), pl.Schema(OUTCOME_COLUMNS))
    assert kept.select("row_key", "customer_key", "phone", "national", "phone_field").rows() == [
        ("1", "A", "+12025550123", "2025550123", "phone1"),
        ("2", "B", "+12125550100", "2125550100", "phone3"),
        ("4", None, "+442079460018", None, "phone1"),
    ]
    assert kept["data"][0] == '{"note":"1"}'
    assert kept["phone1"][0] == "(202) 555-0123"  # as it came
    why = "phone1: phone_empty; phone2: {}; phone3: {}"
    assert outcomes.rows() == [
        ("3", "rejected", "phone_too_short", why.format("phone_too_short", "phone_letters"), None),
        ("5", "rejected", "phone_empty", why.format("phone_empty", "phone_empty"), None),
    ]
    assert (result.rows_in, result.kept) == (5, 3)
    assert result.kept_from == {"phone1": 2, "phone2": 0, "phone3": 1}
    assert result.outcomes == {"rejected": {"phone_empty": 1, "phone_too_short": 1}}
    assert result.changes == {"line_break": 1, "control": 0, "blank": 1, "formula": 1}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in result.kept_files + result.outcome_files
    )


def test_leads_are_compared_in_shares_as_well_as_at_once(
    tmp_path: Path, lead_frame: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(4)
    leads = lead_frame(
        {"phone1": f"21255501{dice.randrange(60):02}", "customer_key": f"C{dice.randrange(150)}"}
        for _ in range(200)
    )
    parts = write(leads, tmp_path, 70, 70)
    at_once = decisions(clean(parts, CleanRules(), tmp_path / "out"))
    assert {end[1] for end in at_once.values()} >= {"duplicate_key", "duplicate_phone"}
    for share_rows in (7, 50, 199):
        monkeypatch.setattr(clean_module, "SHARE_ROWS", share_rows)
        assert decisions(clean(parts, CleanRules(), tmp_path / "out")) == at_once


def test_any_number_on_a_list_suppresses_the_lead(tmp_path: Path, lead_frame: Make) -> None:
    (tmp_path / "own.txt").write_text("2025550123\n2125550100\n", encoding="utf-8")
    (tmp_path / "dnc.csv").write_text("phone\n2125550100\nnobody\n", encoding="utf-8")
    rules = CleanRules.model_validate(
        {
            "suppression": [
                {"name": "own", "file": "own.txt", "as_of": "2026-11-01", "max_age_days": 7},
                {"name": "dnc", "file": "dnc.csv", "as_of": "2026-11-20"},
            ]
        }
    )
    leads = lead_frame(
        [
            {"phone1": "2025550123", "phone2": "3105550123"},  # nothing falls back around a list
            {"phone1": "3105550123", "phone3": "2125550100"},  # nor is another number of theirs called
            {"phone1": "3105550123"},
            {"phone1": "203 181 9384", "phone2": "3105550199"},
        ]
    )
    result = clean(write(leads, tmp_path / "in"), rules, tmp_path / "out", base=tmp_path, now=NOW)
    kept, outcomes = read(result)
    assert kept["row_key"].to_list() == ["3", "4"]
    assert outcomes.select("row_key", "state", "detail").rows() == [
        ("1", "suppressed", "own: phone1"),
        ("2", "suppressed", "own: phone3; dnc: phone3"),
    ]
    assert [
        (used["name"], used["hits"], used["too_old"], used["age_days"]) for used in result.suppression
    ] == [
        ("own", 2, True, 20),
        ("dnc", 1, False, 1),
    ]
    assert result.suppression[1]["unreadable"] == {"phone_letters": 1}
    json.dumps(result.suppression)


def test_suppressed_and_rejected_leads_do_not_compete(tmp_path: Path, lead_frame: Make) -> None:
    """The newest of each pair is out for another reason, so the older one stays."""
    (tmp_path / "own.txt").write_text("2025550123\n", encoding="utf-8")
    date(tmp_path / "own.txt")
    rules = CleanRules.model_validate({"suppression": [{"name": "own", "file": "own.txt"}]})
    old, new = NIGHT, NIGHT + timedelta(hours=1)
    leads = lead_frame(
        [
            {"customer_key": "A", "phone1": "3105550100", "uploaded_at": old},
            {"customer_key": "A", "phone1": "2025550123", "uploaded_at": new},
            {"customer_key": "B", "phone1": "3105550101", "uploaded_at": old},
            {"customer_key": "B", "phone1": "na", "uploaded_at": new},
        ]
    )
    kept, _ = read(clean(write(leads, tmp_path / "in"), rules, tmp_path / "out", base=tmp_path))
    assert kept["row_key"].to_list() == ["1", "3"]


@pytest.mark.parametrize(
    ("keep", "kept", "reasons"),
    [
        ("newest", ["2", "5"], {"1": "duplicate_key", "3": "duplicate_phone", "4": "duplicate_phone"}),
        ("first", ["1", "4"], {"2": "duplicate_key", "3": "duplicate_phone", "5": "duplicate_phone"}),
    ],
)
def test_duplicates(
    tmp_path: Path, lead_frame: Make, keep: str, kept: list[str], reasons: dict[str, str]
) -> None:
    leads = lead_frame(
        [
            {"customer_key": "A", "phone1": "2025550123", "uploaded_at": None},
            {"customer_key": "A ", "phone1": "+12025550123", "uploaded_at": NIGHT + timedelta(hours=2)},
            {"customer_key": "B", "phone1": "202-555-0123", "uploaded_at": NIGHT},
            {"customer_key": "", "phone1": "3105550123", "uploaded_at": NIGHT},
            {"customer_key": None, "phone1": "3105550123", "uploaded_at": NIGHT},  # tie: larger row key
        ]
    )
    rules = CleanRules.model_validate({"keep": keep})
    found, outcomes = read(clean(write(leads, tmp_path), rules, tmp_path / "out"))
    assert found["row_key"].to_list() == kept
    assert dict(outcomes.select("row_key", "reason").rows()) == reasons
    assert set(outcomes["detail"]) == {f"kept row {key}" for key in kept}


def test_a_users_rule_and_a_needed_key(
    tmp_path: Path, lead_frame: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "night_rules.py"
    module.write_text(
        "def rule(leads):\n    return leads['phone'].map({'+12025550123': 'call 2025550123 by hand'})\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    leads = lead_frame(
        [
            {"customer_key": "A", "phone1": "2025550123"},
            {"customer_key": None, "phone1": "2025550123"},
            {"customer_key": "C", "phone1": "3105550123"},
        ]
    )
    rules = CleanRules(rule="night_rules:rule", require_key=True)
    result = clean(write(leads, tmp_path / "in"), rules, tmp_path / "out")
    sys.modules.pop("night_rules")
    assert result.outcomes == {"rejected": {"key_missing": 1, "user_rule": 1}}
    assert read(result)[1]["detail"].to_list() == ["call [hidden] by hand", None]


def test_a_lead_may_have_its_own_region(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame(
        [
            {"phone1": "020 7946 0018", "data": '{"home country":" gb "}'},
            {"phone1": "2025550123", "data": '{"home country":""}'},
            {"phone1": "2025550124", "data": None},
            {"phone1": "2025550125", "data": '{"home country":"Mars"}'},
        ]
    )
    result = clean(write(leads, tmp_path), CleanRules(region_field="home country"), tmp_path / "out")
    kept, outcomes = read(result)
    assert kept["phone"].to_list() == ["+442079460018", "+12025550123", "+12025550124"]
    assert outcomes["reason"].to_list() == ["phone_region_unknown"]


def test_nothing_in_is_nothing_out(tmp_path: Path, lead_frame: Make) -> None:
    for parts in ([], write(lead_frame([]), tmp_path)):
        result = clean(parts, CleanRules(), tmp_path / "out")
        kept, outcomes = read(result)
        assert (result.rows_in, result.kept, result.outcomes) == (0, 0, {})
        assert (kept.schema, outcomes.schema) == (pl.Schema(KEPT_COLUMNS), pl.Schema(OUTCOME_COLUMNS))


def test_a_folder_may_be_named_like_a_pattern(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame([{"phone1": phone} for phone in ("2012000001", "2012000002", "none")])
    plain = clean(write(leads, tmp_path / "in"), CleanRules(), tmp_path / "out")
    odd = clean(write(leads, tmp_path / "in [1]?"), CleanRules(), tmp_path / "out [1]?")
    assert (odd.kept, odd.outcomes, odd.areas) == (plain.kept, plain.outcomes, plain.areas) and odd.kept == 2


def test_a_second_try_leaves_nothing_of_the_first(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame([{"phone1": f"202555{n:04}"} for n in range(40)])
    out = tmp_path / "out"
    clean(write(leads, tmp_path), CleanRules(), out, slice_rows=3)
    (out / ".scratch").mkdir()
    (out / ".scratch" / "00000.arrow").touch()
    result = clean(write(leads.head(4), tmp_path), CleanRules(), out, slice_rows=3)
    assert result.kept == 4
    assert set(out.iterdir()) == {*result.kept_files, *result.outcome_files}


def test_input_that_is_no_snapshot_is_refused(tmp_path: Path, lead_frame: Make) -> None:
    leads = lead_frame([{"phone1": "2025550123"}, {"phone1": "2025550124"}])
    for wrong, says in (
        (leads.drop("phone2"), "no lead frame: .*phone2"),
        (leads.with_columns(pl.col("lead_id").cast(pl.String)), "no lead frame: .*lead_id"),
        (leads.with_columns(row_key=pl.lit("7")), "1 rows repeat the row_key"),
        (leads.with_columns(row_key=pl.lit(None, pl.String)), "without a row_key"),
    ):
        with pytest.raises(CleanError, match=says):
            clean(write(wrong, tmp_path), CleanRules(), tmp_path / "out", slice_rows=1)


@pytest.mark.parametrize("how", ["lost", "doubled", "swapped"])
def test_rows_that_do_not_add_up_are_an_error(
    tmp_path: Path, lead_frame: Make, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A writer that loses a row, writes one twice, or both at once, is found out."""
    honest = clean_module._write

    def careless(*args: Any) -> tuple[list[Path], list[Path]]:
        kept_files, outcome_files = honest(*args)
        kept = pl.read_parquet(kept_files[0])
        changed = {
            "lost": kept[1:],
            "doubled": pl.concat([kept, kept[:1]]),
            "swapped": pl.concat([kept[1:], kept[1:2]]),
        }
        changed[how].write_parquet(kept_files[0])
        return kept_files, outcome_files

    monkeypatch.setattr(clean_module, "_write", careless)
    leads = lead_frame([{"phone1": f"202555{n:04}"} for n in range(4)])
    with pytest.raises(CleanError, match=r"4 rows were read, but \d were written, or not the same ones"):
        clean(write(leads, tmp_path), CleanRules(), tmp_path / "out")


PHONES = st.sampled_from(
    [None, "", "na", "833", "2025550123", "(202) 555-0123", "+12025550123", "2125550100", "3105550123",
     "310-555-0123 x9", "2031819384", "+13101234", "+44 20 7946 0018", "２０２５５５０１２３"]
)  # fmt: skip
LEADS = st.lists(
    st.fixed_dictionaries(
        {
            "phone1": PHONES,
            "phone2": PHONES,
            "phone3": PHONES,
            "customer_key": st.sampled_from([None, "", "A", "B", "C"]),
            "uploaded_at": st.sampled_from([None, NIGHT, NIGHT + timedelta(seconds=1)]),
        }
    ),
    max_size=14,
)
RULES = st.builds(
    CleanRules,
    phones=st.sampled_from([("phone1", "phone2", "phone3"), ("phone2",), ("phone3", "phone1")]),
    keep=st.sampled_from(["newest", "first"]),
    unique_by=st.sampled_from([("key", "phone"), ("phone",), ("key",), ()]),
    rule=st.sampled_from([None, "oracle_rule:rule"]),
    require_key=st.booleans(),
)
SAYS = {"3": "three", "11": "eleven"}


@pytest.fixture(scope="module", autouse=True)
def oracle_rule() -> Iterator[None]:
    """A user's rule that turns two rows down."""
    module = type(sys)("oracle_rule")
    module.rule = lambda leads: leads["row_key"].map(SAYS).astype(object).where(pd.notna, None)  # type: ignore[attr-defined]
    sys.modules["oracle_rule"] = module
    yield
    del sys.modules["oracle_rule"]


@given(
    leads=LEADS,
    rules=RULES,
    listed=st.booleans(),
    sizes=st.lists(st.integers(0, 6), max_size=4),
    slice_rows=st.integers(1, 20),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_gives_what_a_plain_loop_gives(
    tmp_path_factory: pytest.TempPathFactory,
    lead_frame: Make,
    oracle: Any,
    leads: list[dict[str, Any]],
    rules: CleanRules,
    listed: bool,
    sizes: list[int],
    slice_rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("night")
    lists = {"own": {"+12125550100"}, "dnc": {"+13105550123", "+442079460018"}} if listed else {}
    for name, numbers in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(numbers), encoding="utf-8")
        date(folder / f"{name}.txt")
    rules = CleanRules.model_validate(
        rules.model_dump() | {"suppression": [{"name": name, "file": f"{name}.txt"} for name in lists]}
    )
    frame = lead_frame(leads)
    result = clean(write(frame, folder, *sizes), rules, folder / "out", base=folder, slice_rows=slice_rows)
    found = decisions(result)
    assert found == oracle.decide(frame.to_dicts(), rules, lists, SAYS)
    counted = Counter(state for state, *_ in found.values())
    assert result.kept == counted.pop("kept", 0)
    assert {state: sum(reasons.values()) for state, reasons in result.outcomes.items()} == counted
    assert {used["name"]: used["hits"] for used in result.suppression} == {
        name: sum(name in str(outcome[2:]) for outcome in found.values()) for name in lists
    }
    for state, reasons in result.outcomes.items():
        assert {REASONS[reason].state for reason in reasons} == {state}


def test_the_real_night(tmp_path: Path, lead_frame: Make, oracle: Any, ftc_complaints: list[str]) -> None:
    """14,034 real numbers, in small and in large slices, against the plain loop."""
    leads = lead_frame(
        {
            "phone1": raw,
            "phone2": ftc_complaints[-place] if place % 3 == 0 else None,
            "customer_key": f"C{place % 13_000}",
            "uploaded_at": NIGHT + timedelta(seconds=place * 7919 % 600),
        }
        for place, raw in enumerate(ftc_complaints)
    )
    small = clean(write(leads, tmp_path / "a", 5_000, 1), CleanRules(), tmp_path / "small", slice_rows=999)
    large = clean(write(leads, tmp_path / "b"), CleanRules(), tmp_path / "large")
    assert small.outcomes == large.outcomes
    for one, other in zip(read(small), read(large), strict=True):
        assert one.equals(other)
    assert decisions(large) == oracle.decide(leads.to_dicts(), CleanRules(), {}, {})
    assert set(KEPT_COLUMNS) > set(LEAD_COLUMNS)
