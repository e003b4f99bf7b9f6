"""Old leads out of Vicidial's own tables, on SQLite and on a real MariaDB, and out of files of ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import sqlalchemy as sa

from include.archive.selection import (
    LeadDatabase,
    Selected,
    SelectionError,
    picked_query,
    read_id_file,
    select_leads,
)
from include.leads.retention import IdFile, Keep, RetentionRule, Selection
from include.leads.rules import SuppressionList
from include.sandbox.server import SandboxServer

NOW = datetime.now(UTC)
LOCAL = NOW.astimezone(ZoneInfo("Africa/Johannesburg")).replace(tzinfo=None, microsecond=0)
LEADS = 2_000

RULES = (
    RetentionRule(name="reached_nobody", older_than_days=180, statuses=("NA", "B", "AA"), min_attempts=2),
    RetentionRule(name="old_list", older_than_days=90, since="last_call", lists=(1002,), max_attempts=20),
    RetentionRule(name="never_called", older_than_days=300, since="entry", statuses=("NEW",), max_attempts=0),
    RetentionRule(name="anything", older_than_days=700),
)
KEEP = Keep(lists=(1004,), statuses=("CALLBK",))  # type: ignore[call-arg]


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Vicidial's tables with two thousand leads, read as a user who may only select."""
    if request.param == "sqlite":
        owner = reader = f"sqlite:///{tmp_path_factory.mktemp('vicidial')}/vicidial.db"
    else:
        owner = request.getfixturevalue("make_mariadb")()
        address = sa.make_url(owner)
        reader = address.set(username="reader", password="reader").render_as_string(hide_password=False)
    with SandboxServer(synthetic=10, vicidial_db=owner, vicidial_leads=LEADS):
        engine = sa.create_engine(owner)
        with engine.begin() as connection:
            if request.param == "mariadb":
                for name in ("vicidial_list", "vicidial_list_archive"):
                    connection.exec_driver_sql(
                        f"GRANT SELECT ON {address.database}.{name} TO reader@'127.0.0.1' IDENTIFIED BY 'reader'"
                    )
            # As VICIdial's list loader marks a lead that was never called; and holes in the ids.
            connection.exec_driver_sql(
                "UPDATE vicidial_list SET last_local_call_time='2008-01-01 00:00:00' "
                "WHERE status='NEW' AND (lead_id & 1) = 0"
            )
            connection.exec_driver_sql("DELETE FROM vicidial_list WHERE lead_id BETWEEN 100 AND 130")
        engine.dispose()
        yield reader


@contextmanager
def opened(url: str, rules: tuple[RetentionRule, ...] = RULES, keep: Keep = KEEP) -> Iterator[LeadDatabase]:
    database = LeadDatabase(url, rules, keep, LOCAL)
    yield database
    database.close()


def all_rows(url: str) -> list[dict[str, Any]]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT lead_id, entry_date, status, list_id, called_count, last_local_call_time, phone_number "
            "FROM vicidial_list ORDER BY lead_id"
        ).mappings()
        found = [dict(row) for row in rows]
    engine.dispose()
    for row in found:
        for name in ("entry_date", "last_local_call_time"):
            if isinstance(row[name], str):
                row[name] = datetime.fromisoformat(row[name])
    return found


def rule_of(row: dict[str, Any]) -> str | None:
    """The oracle: the first rule that a lead fits, in plain Python."""
    if row["status"] in KEEP.statuses or row["list_id"] in KEEP.lists:
        return None
    called = row["last_local_call_time"]
    if called is not None and called.year <= 2008:
        called = None
    for rule in RULES:
        since = {
            "last_call": called,
            "entry": row["entry_date"],
            "last_call_or_entry": called or row["entry_date"],
        }[rule.since]
        if (
            since is not None
            and since <= LOCAL - timedelta(days=rule.older_than_days)
            and (not rule.statuses or row["status"] in rule.statuses)
            and (not rule.lists or row["list_id"] in rule.lists)
            and (rule.min_attempts is None or row["called_count"] >= rule.min_attempts)
            and (rule.max_attempts is None or row["called_count"] <= rule.max_attempts)
        ):
            return rule.name
    return None


def test_the_rules_pick_what_they_say(url: str) -> None:
    rows = all_rows(url)
    wanted = {row["lead_id"]: rule for row in rows if (rule := rule_of(row))}
    assert {rule.name for rule in RULES} == set(wanted.values()), "every rule must pick something here"
    for window in (7, 64, 5_000):
        with opened(url) as database:
            windows = list(database.picked(window))
        got = pl.concat([frame for _, frame in windows])
        assert dict(got.iter_rows()) == wanted
        assert got["lead_id"].is_sorted()
        assert sum(looked_at for looked_at, _ in windows) == len(rows)
        assert max(looked_at for looked_at, _ in windows) <= window


def test_only_ids_and_rules_leave_the_database() -> None:
    query = picked_query(RULES, KEEP, LOCAL)
    assert [column.name for column in query.selected_columns] == ["lead_id", "rule"]


def test_looking_leads_up_again(url: str) -> None:
    rows = all_rows(url)
    fitting = {row["lead_id"] for row in rows if rule_of(row)}
    asked = [*range(1, LEADS + 1), 10**6]
    with opened(url) as database:
        assert database.fitting(asked) == fitting
        assert database.listed(asked) == {row["lead_id"] for row in rows}
        assert database.archived(asked) == set()
        assert database.fitting([]) == database.listed([]) == set()


def test_numbers_are_found_however_the_dialer_holds_them(url: str) -> None:
    rows = [row for row in all_rows(url) if len(row["phone_number"]) == 10]
    some = rows[:40]
    numbers = pl.Series([int("1" + row["phone_number"]) for row in some], dtype=pl.Int64)
    same = {row["lead_id"] for row in rows if row["phone_number"] in {r["phone_number"] for r in some}}
    with opened(url) as database:
        assert database.with_numbers(numbers) == same


def selected(
    url: str | None, out: Path, keep: Keep = KEEP, selection: Selection | None = None
) -> tuple[Selected, pl.DataFrame, pl.DataFrame]:
    out.mkdir()
    selection = selection or Selection(database="vicidial_db", rules=RULES)  # type: ignore[call-arg]
    if url is None:
        found = select_leads(selection, keep, out, now=NOW, database=None)
    else:
        with opened(url, selection.rules, keep) as database:
            found = select_leads(selection, keep, out, now=NOW, database=database)
    kept = pl.concat([pl.read_parquet(file) for file in sorted(out.glob("kept-*.parquet"))])
    outcomes = [pl.read_parquet(file) for file in sorted(out.glob("outcomes-*.parquet"))]
    return found, kept, pl.concat(outcomes) if outcomes else pl.DataFrame(schema={"row_key": pl.String})


def test_a_selection_is_written_down_whole(url: str, tmp_path: Path) -> None:
    wanted = {row["lead_id"]: rule for row in all_rows(url) if (rule := rule_of(row))}
    found, kept, outcomes = selected(url, tmp_path / "out")
    assert dict(kept.select("lead_id", "rule").iter_rows()) == wanted
    assert kept["row_key"].to_list() == [str(lead_id) for lead_id in kept["lead_id"]]
    assert outcomes.is_empty()
    assert (found.rows_in, found.kept, found.table_rows) == (len(wanted), len(wanted), LEADS - 31)
    assert sum(found.rules.values()) == len(wanted) and list(found.rules) == [rule.name for rule in RULES]


def test_keep_lists_hold_leads_back_by_id_and_by_number(url: str, tmp_path: Path) -> None:
    picked = [row for row in all_rows(url) if rule_of(row)]
    by_id = {row["lead_id"] for row in picked[:5]}
    by_number = {row["phone_number"] for row in picked[10:15] if len(row["phone_number"]) == 10}
    (tmp_path / "keep.csv").write_text("lead_id\n" + "\n".join(map(str, by_id)) + "\n")
    (tmp_path / "numbers.csv").write_text("phone\n" + "\n".join(f"+1{n}" for n in by_number) + "\n")
    keep = Keep(
        lists=KEEP.lists,
        statuses=KEEP.statuses,
        leads=IdFile(file=str(tmp_path / "keep.csv"), max_age_days=3),  # type: ignore[call-arg]
        phones=SuppressionList(name="vips", file=str(tmp_path / "numbers.csv")),  # type: ignore[call-arg]
    )
    found, kept, outcomes = selected(url, tmp_path / "out", keep)
    held = by_id | {row["lead_id"] for row in picked if row["phone_number"] in by_number}
    assert len(held) > len(by_id) and by_number
    assert set(outcomes["row_key"]) == {str(lead_id) for lead_id in held}
    assert set(outcomes["reason"]) == {"on_keep_list"} and set(outcomes["state"]) == {"held"}
    assert not held & set(kept["lead_id"]) and kept.height + len(held) == found.rows_in == len(picked)
    assert found.decided == {"held": {"on_keep_list": len(held)}}
    assert [entry["name"] for entry in found.keep_lists] == ["lead ids", "vips"]
    assert all(entry["age_days"] < 1 for entry in found.keep_lists)


def test_a_database_that_cannot_be_read_tells_no_secret(tmp_path: Path) -> None:
    for url in (
        f"sqlite:///{tmp_path}/empty.db",
        "mysql+pymysql://scott:tiger@127.0.0.1:1/asterisk",
        "nosuch://scott:tiger@127.0.0.1/x",
    ):
        with pytest.raises(SelectionError) as caught, opened(url) as database:
            list(database.picked())
        assert "tiger" not in str(caught.value) and "127.0.0.1" not in str(caught.value)


# Files of ids


def ids_from(path: Path, column: str = "lead_id") -> Selection:
    return Selection(ids=IdFile(file=str(path), column=column))  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_of_ids(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"ids.{kind}"
    frame = pl.DataFrame({"name": ["x"] * 6, "Lead": ["7", " 8 ", "x", "7", None, "4294967296"]})
    if kind == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    found, kept, outcomes = selected(None, tmp_path / "out", selection=ids_from(path, "Lead"))
    assert kept.rows() == [("7", 7, "ids"), ("8", 8, "ids")]
    reasons = sorted(zip(outcomes["row_key"], outcomes["reason"], strict=True))
    assert reasons == [
        ("7", "source_repeated"),
        ("row 3", "source_unreadable"),
        ("row 5", "source_unreadable"),
        ("row 6", "source_unreadable"),
    ]
    assert (found.rows_in, found.rules, found.table_rows) == (6, {"ids": 2}, None)
    assert found.decided == {"rejected": {"source_unreadable": 3, "source_repeated": 1}}


def test_the_age_of_a_file_is_the_age_of_its_leads(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("lead_id\n1\n")
    changed = datetime(2026, 11, 1, 12, tzinfo=UTC)
    os.utime(path, (changed.timestamp(), changed.timestamp()))
    assert selected(None, tmp_path / "out", selection=ids_from(path))[0].source_time == changed


def test_an_empty_file_is_an_empty_selection(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("lead_id\n")
    found, kept, _ = selected(None, tmp_path / "out", selection=ids_from(path))
    assert (found.rows_in, kept.height) == (0, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no file"),
        (lambda path: path.write_text("id\n1\n"), "no column lead_id"),
        (lambda path: path.write_text(""), "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, make: Callable[[Path], Any], words: str) -> None:
    make(tmp_path / "ids.csv")
    with pytest.raises(SelectionError, match=words):
        read_id_file(IdFile(file=str(tmp_path / "ids.csv")))  # type: ignore[call-arg]


def test_ids_from_object_storage(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://bucket/ids.csv", "w") as file:
        file.write("lead_id\n5\n6\n")
    frame, _ = read_id_file(IdFile(file="memory://bucket/ids.csv"))  # type: ignore[call-arg]
    assert frame["lead_id"].to_list() == [5, 6]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "either database and rules, or ids"),
        ({"database": "x"}, "at least one rule"),
        ({"database": "x", "ids": {"file": "a.csv"}}, "either database"),
        (
            {"ids": {"file": "a.csv"}, "rules": [{"name": "a", "older_than_days": 3}]},
            "rules need the database",
        ),
        ({"database": "x", "rules": [{"name": "a", "older_than_days": 3}] * 2}, "the same name"),
        ({"database": "x", "rules": [{"name": "a"}]}, "older_than_days"),
        ({"ids": {"file": "a.xlsx"}}, "pattern"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Selection.model_validate(values)
