from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
from upath import UPath

from include.leads.rules import SuppressionList
from include.leads.suppression import Suppression, SuppressionError, read_suppression

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ROWS = ["(202) 555-0123", "2125550100", "", "call me", "2025550123"]
NUMBERS = [12025550123, 12125550100]


def read(base: Path, **settings: Any) -> Suppression:
    for path in base.iterdir():
        if path.stat().st_mtime > NOW.timestamp():  # written by this test, whose clock stands still
            os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    return read_suppression(SuppressionList(name="own", **settings), base=base, now=NOW)


def csv_file(path: Path, separator: str = ",", header: str = "id,Phone Number,note") -> None:
    lines = [header.replace(",", separator)]
    lines += [separator.join((str(number), f'"{phone}"', "x")) for number, phone in enumerate(ROWS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def xlsx_file(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["id", "Phone"])
    for number, phone in enumerate(ROWS):
        book.active.append([number, int(phone) if phone.isdigit() else phone])
    book.save(path)


@pytest.mark.parametrize("kind", ["csv", "csv;", "csv\t", "xlsx", "parquet", "txt"])
def test_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"list.{kind[:3] if kind.startswith('csv') else kind}"
    if kind.startswith("csv"):
        csv_file(path, kind[3:] or ",")
    elif kind == "xlsx":
        xlsx_file(path)
    elif kind == "parquet":
        pl.DataFrame({"id": range(5), "phone": ROWS}).write_parquet(path)
    else:
        path.write_text("\r\n".join(ROWS) + "\r\n", encoding="utf-8-sig")
    found = read(tmp_path, file=path.name)
    assert found.numbers.to_list() == NUMBERS
    assert (found.rows, found.unreadable) == (5, {"phone_empty": 1, "phone_letters": 1})
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "202555" not in repr(found)


def test_the_real_list(tmp_path: Path, ftc_reported: list[str]) -> None:
    (tmp_path / "ftc.csv").write_text("\n".join(["number", *ftc_reported]), encoding="utf-8")
    found = read(tmp_path, file="ftc.csv")
    assert (len(found.numbers), found.rows) == (9_756, 12_506)
    assert found.rows - sum(found.unreadable.values()) == sum(found.hits(hits_of(ftc_reported)))


def hits_of(raw: list[str]) -> pl.Series:
    from include.leads.phones import to_e164

    return to_e164(pl.Series(raw), "US")[0]


def test_numbers_of_parquet_and_a_column_of_any_name(tmp_path: Path) -> None:
    pl.DataFrame({"a": [2025550123, None], "b": [1, 2]}).write_parquet(tmp_path / "l.parquet")
    assert read(tmp_path, file="l.parquet", column="a").numbers.to_list() == [12025550123]


@pytest.mark.parametrize("first", ["2125550100", '"(212) 555-0100"'])
def test_one_column_without_a_header(tmp_path: Path, first: str) -> None:
    (tmp_path / "l.csv").write_text(f"{first}\n2025550123\n", encoding="utf-8")
    assert read(tmp_path, file="l.csv").numbers.to_list() == NUMBERS


def test_ragged_and_foreign_letters(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(b"name,phone\nJos\xe9,2025550123,extra,cells\nAnn\nBo,2125550100\n")
    found = read(tmp_path, file="l.csv")
    assert (found.numbers.to_list(), found.rows, found.unreadable) == (NUMBERS, 3, {"phone_empty": 1})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "there is no file"),
        ("l.csv", "", "l.csv is empty"),
        ("l.csv", "phone\n", "no readable number in 0 rows"),
        ("l.csv", "phone\nna\n", "no readable number in 1 rows"),
        ("l.txt", "", "l.txt is empty"),
        ("l.csv", "a,b\n1,2\n", "not clear which one"),
        ("l.csv", "phone,mobile\n1,2\n", "not clear which one"),
        ("l.pdf", "x", "not .csv"),
        ("l.parquet", "not parquet", "cannot be read"),
        ("l.xlsx", "not a workbook", "cannot be read"),
    ],
)
def test_it_fails_closed(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(SuppressionError, match=f"suppression list own: .*{says}"):
        read(tmp_path, file=name)


@pytest.fixture
def bucket() -> Iterator[UPath]:
    place = UPath("memory://lists")
    place.mkdir(exist_ok=True)
    yield place
    place.fs.store.clear()


def test_a_list_in_object_storage(bucket: UPath, tmp_path: Path) -> None:
    csv_file(tmp_path / "l.csv")
    (bucket / "dnc.csv").write_bytes((tmp_path / "l.csv").read_bytes())
    stored = bucket.fs.store["/lists/dnc.csv"]
    stored.modified = NOW - timedelta(days=31, hours=1)
    found = read(tmp_path, file="memory://lists/dnc.csv", max_age_days=30)
    assert found.numbers.to_list() == NUMBERS
    assert (found.rows, found.age_days, found.too_old) == (5, 31, True)
    assert found.sha256 == hashlib.sha256((tmp_path / "l.csv").read_bytes()).hexdigest()
    stored.modified = NOW - timedelta(days=30)
    assert not read(tmp_path, file="memory://lists/dnc.csv", max_age_days=30).too_old


def test_a_list_in_a_storage_that_tells_no_times_is_of_unknown_age(
    bucket: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tells_none(*_: object) -> datetime:
        raise NotImplementedError

    (bucket / "dnc.txt").write_text("2025550123\n")
    monkeypatch.setattr(type(bucket.fs), "modified", tells_none)
    found = read(tmp_path, file="memory://lists/dnc.txt", max_age_days=30)
    assert (found.as_of, found.too_old) == (None, True)


def test_a_list_in_object_storage_fails_closed(
    bucket: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SuppressionError, match=r"there is no dnc\.txt"):
        read(tmp_path, file="memory://lists/dnc.txt")
    with pytest.raises(SuppressionError, match="cannot be fetched"):
        read(tmp_path, file="nosuch://user:secret@lists/dnc.txt")
    (bucket / "dnc.txt").write_text("")
    with pytest.raises(SuppressionError, match="is empty"):
        read(tmp_path, file="memory://lists/dnc.txt")
    (bucket / "dnc.txt").write_text("2025550123\n")
    copy = shutil.copyfileobj

    def and_grow(source: Any, target: Any, length: int) -> None:
        copy(source, target, length)
        (bucket / "dnc.txt").write_text("2025550123\n2125550100\n")

    monkeypatch.setattr(shutil, "copyfileobj", and_grow)
    with pytest.raises(SuppressionError, match="changed while it was read"):
        read(tmp_path, file="memory://lists/dnc.txt")


def test_a_named_column_must_exist_once(tmp_path: Path) -> None:
    csv_file(tmp_path / "l.csv")
    with pytest.raises(
        SuppressionError, match="no column is named phone number, as `column:` says"
    ) as caught:
        read(tmp_path, file="l.csv", column="phone number")
    assert not caught.value.again, "no later try mends it"


@pytest.mark.parametrize(
    ("days", "limit", "too_old"), [(0, 0, False), (30, 30, False), (31, 30, True), (400, None, False)]
)
def test_a_files_age_is_its_last_change(tmp_path: Path, days: int, limit: int | None, too_old: bool) -> None:
    csv_file(tmp_path / "l.csv")
    changed = (NOW - timedelta(days=days, hours=1)).timestamp()
    os.utime(tmp_path / "l.csv", (changed, changed))
    found = read(tmp_path, file="l.csv", max_age_days=limit)
    assert (found.age_days, found.too_old) == (days, too_old)


def test_a_stated_date_wins(tmp_path: Path) -> None:
    csv_file(tmp_path / "l.csv")
    found = read(tmp_path, file="l.csv", as_of=date(2026, 11, 1))
    assert (found.as_of, found.age_days) == (datetime(2026, 11, 1, tzinfo=UTC), 19)
    tomorrow = read(tmp_path, file="l.csv", as_of=date(2026, 11, 21))  # in zones where it is that day already
    assert tomorrow.as_of == datetime(2026, 11, 21, tzinfo=UTC)
    with pytest.raises(SuppressionError, match="lies in the future"):
        read(tmp_path, file="l.csv", as_of=date(2026, 11, 22))


def test_what_a_report_says_of_a_list(tmp_path: Path, database: Path) -> None:
    csv_file(tmp_path / "l.csv")
    stated = read(tmp_path, file="l.csv", as_of=date(2026, 11, 1), max_age_days=18).about()
    sha256 = hashlib.sha256((tmp_path / "l.csv").read_bytes()).hexdigest()
    assert stated == {
        "name": "own",
        "rows": 5,
        "numbers": 2,
        "unreadable": stated["unreadable"],
        "as_of": "2026-11-01T00:00:00+00:00",
        "age_days": 19,
        "max_age_days": 18,
        "too_old": True,
        "sha256": sha256,
    }
    undated = read(tmp_path, table="dnc", url_env="DNC_URL", column="the phone").about()
    assert (undated["as_of"], undated["age_days"], undated["too_old"]) == (None, None, False)


def test_rows_of_a_workbook_that_end_before_the_column(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["id", "Phone"], [1, "2025550123"], [2], []):
        book.active.append(row)
    book.save(tmp_path / "l.xlsx")
    found = read(tmp_path, file="l.xlsx")
    assert found.numbers.to_list() == NUMBERS[:1]


def test_hits_are_exact(tmp_path: Path) -> None:
    csv_file(tmp_path / "l.csv")
    asked = pl.Series(
        [None, 1, 12025550122, 12025550123, 12025550124, 12125550100, 9 * 10**18], dtype=pl.Int64
    )
    assert read(tmp_path, file="l.csv").hits(asked).to_list() == [
        False,
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    assert read(tmp_path, file="l.csv").hits(asked[:1]).to_list() == [False]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "dnc.db"
    with sqlite3.connect(path) as connection:
        connection.execute('create table dnc ("the phone" text, kind text, added text)')
        rows = [
            (phone, "all" if phone else "none", f"2026-11-{1 + n:02} 08:00:00")
            for n, phone in enumerate(ROWS)
        ]
        connection.executemany("insert into dnc values (?, ?, ?)", rows)
    connection.close()
    monkeypatch.setenv("DNC_URL", f"sqlite:///{path}")
    return path


def test_a_table_and_a_query(tmp_path: Path, database: Path) -> None:
    table = read(
        tmp_path, table="dnc", url_env="DNC_URL", column="the phone", as_of_column="added", max_age_days=20
    )
    assert table.numbers.to_list() == NUMBERS
    assert (table.rows, table.age_days, table.too_old) == (5, 15, False)
    query = read(
        tmp_path,
        query="select \"the phone\" as phone from dnc where kind = 'all'",
        url_env="DNC_URL",
        column="phone",
        max_age_days=20,
    )
    assert query.numbers.to_list() == NUMBERS
    assert (query.rows, query.as_of, query.too_old) == (4, None, True)  # unknown age, but there is a limit
    assert query.sha256 == table.sha256  # of the numbers


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"table": "dnc", "url_env": "NO_SUCH_URL"}, "NO_SUCH_URL is not set"),
        ({"table": "nothing_here", "url_env": "DNC_URL"}, r"cannot be read \(OperationalError\)"),
        ({"table": "dnc", "url_env": "DNC_URL", "as_of_column": "kind"}, "kind does not hold ISO dates"),
        ({"query": "select secret", "url_env": "DNC_URL"}, "cannot be read"),
        ({"table": "dnc", "url_env": "WRONG_URL"}, r"cannot be read \(ArgumentError\)"),
    ],
)
def test_a_table_fails_closed(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], says: str
) -> None:
    monkeypatch.setenv("WRONG_URL", "s3cret")
    with pytest.raises(SuppressionError, match=says) as caught:
        read(tmp_path, column="phone", **settings)
    assert "secret" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
