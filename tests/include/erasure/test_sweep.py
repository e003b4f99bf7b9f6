"""Taking one customer out of whatever is staged: every kind of file, counted, and folders that still add up."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import zipfile

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.erasure.keys import ErasureKey, ErasureKeyError
from include.erasure.person import Person
from include.erasure.sweep import Sweep
from include.snapshots import page_facts
from include.staging import Manifest, RunFolder
from include.workbooks import write_workbook

WHO = Person.of("+12125550101", "bob@example.com")
ROWS = [
    {"lead_id": 1, "phone1": "(212) 555-0101", "data": "{}"},
    {"lead_id": 2, "phone1": "2125550102", "data": '{"mail": "BOB@example.com"}'},
    {"lead_id": 3, "phone1": "2125550103", "data": "{}"},
]


def committed(path: str, kind: str, rows: int, **files: bytes) -> RunFolder:
    folder = RunFolder(path)
    with folder.writing() as scratch:
        for name, content in files.items():
            (scratch / name.replace("__", ".").replace("_", "-")).write_bytes(content)
        folder.commit(scratch, Manifest(kind=kind, rows=rows))
    return folder


def parquet(rows, **metadata: str) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(rows).write_parquet(buffer, metadata=metadata or None)
    return buffer.getvalue()


def read(folder: RunFolder, name: str) -> pl.DataFrame:
    with folder.reading(name) as (file,):
        return pl.read_parquet(file)


def test_every_kind_of_file(staging_folder, tmp_path):
    snapshot = committed("snapshots/s/2026-11-20/a", "snapshot", 3, part_0__parquet=parquet(ROWS))
    payload = 'number1,key\n2125550101,a\n2125550102,b\n2125550103,"x\n""y"""\n'
    plan = committed("runs/load__x/r/plan", "plan", 3, payload__csv=payload.encode(), plan__json=b'{"n": 1}')
    rejects = 'row,phone\r\n1,"\'+1 212 555 0101"\r\n2,\r\n'
    write_workbook(tmp_path / "b.xlsx", {"phone": "phone"}, [pl.DataFrame({"phone": ["2125550101"]})])
    report = committed(
        "runs/load__x/r/report",
        "report",
        0,
        rejects__csv=rejects.encode(),
        report__md=b"a sample: 212 555 0101",
        other__md=b"nothing",
        rejects__xlsx=(tmp_path / "b.xlsx").read_bytes(),
    )
    owned = committed(
        "owners/g/n", "claims", 2, numbers__parquet=parquet({"number": [12125550101, 12125550102]})
    )
    pages = RunFolder("pulls/s/r")
    pages.put("s00-0000000.parquet", parquet(ROWS, listkeeper=json.dumps({"next": None})))
    killed = staging_folder / "runs/load__x/r/.clean.1234"
    killed.mkdir(parents=True)
    (killed / "kept-0.parquet").write_bytes(parquet(ROWS))

    looking = Sweep(WHO)
    looked = looking.look()
    assert looking.lead_ids == {1, 2}
    notes = RunFolder("erasures/" + "0" * 32)
    found = Sweep(WHO, notes).remove()
    assert found == looked == {
        "snapshots/s/2026-11-20/a": {"files": 1, "rows": 2},
        "runs/load__x/r/plan": {"files": 1, "rows": 1},
        "runs/load__x/r/report": {"files": 3, "rows": 3},
        "owners/g/n": {"files": 1, "rows": 1},
        "pulls/s/r": {"files": 1, "rows": 2},
        "runs/load__x/r/.clean.1234": {"files": 1, "rows": 2},
    }  # fmt: skip
    assert Sweep(WHO).look() == {}
    assert read(snapshot, "part-0.parquet")["lead_id"].to_list() == [3]
    assert (snapshot.manifest().rows, snapshot.manifest().facts["erased"]) == (1, 2)
    with plan.reading("payload.csv") as (file,):
        assert list(csv.reader(file.open(newline=""))) == [
            ["number1", "key"],
            ["", ""],  # its place stays: the row keys beside it are in the same order
            ["2125550102", "b"],
            ["2125550103", 'x\n"y"'],
        ]
    assert plan.manifest().rows == 3
    assert sorted(report.manifest().files) == ["other.md", "rejects.csv"]
    assert read(owned, "numbers.parquet")["number"].to_list() == [12125550102]
    assert page_facts(pages.get("s00-0000000.parquet")) == {"next": None}


@given(stops=st.lists(st.integers(0, 12), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_however_often_it_is_killed(staging_folder, stops):
    """Each number kills a try before so many writes; the last try goes through."""
    import shutil
    from unittest import mock

    shutil.rmtree(staging_folder, ignore_errors=True)
    folders = [
        committed(
            f"snapshots/s/n/{n}", "snapshot", 6, part_0__parquet=parquet(ROWS), part_1__parquet=parquet(ROWS)
        )
        for n in range(2)
    ]
    notes = RunFolder("erasures/" + "0" * 32)
    put = RunFolder.put

    class Killed(BaseException):
        pass

    for stop in stops:
        left = [stop]

        def dying(self, name, content, left=left):
            if not left[0]:
                raise Killed
            left[0] -= 1
            put(self, name, content)

        with mock.patch.object(RunFolder, "put", dying), contextlib.suppress(Killed):
            Sweep(WHO, notes).remove()
    found = Sweep(WHO, notes).remove()
    assert found == {f"snapshots/s/n/{n}": {"files": 2, "rows": 4} for n in range(2)}
    for folder in folders:
        assert folder.manifest().rows == 2
        with folder.reading("*"):
            pass
    assert Sweep(WHO).look() == {}


def test_what_nobody_can_read_is_left(staging_folder):
    RunFolder("runs/x").put("cut.parquet", b"PAR1 cut")
    RunFolder("runs/x").put("cut.xlsx", b"no workbook")
    assert Sweep(WHO).look() == {}
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"no workbook"))


def test_keys():
    key = ErasureKey("a key of at least sixteen")
    assert key.open(key.seal({"a": 1})) == {"a": 1}
    assert key.hash("phone", "+12125550101") != key.hash("email", "+12125550101")
    assert "sixteen" not in repr(key)
    with pytest.raises(ErasureKeyError, match="another erasure key"):
        ErasureKey("another key, long enough").open(key.seal({}))
    with pytest.raises(ErasureKeyError, match="too short"):
        ErasureKey("short")
