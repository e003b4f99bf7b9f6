"""Run folders: there whole or not at all, on a disk and on object storage; what is not as committed is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from include import settings, staging
from include.staging import MANIFEST, Manifest, RunFolder, StagingError, run_path, slug

KINDS = ("path", "file URL", "memory URL", "S3")


@pytest.fixture(params=KINDS)
def root(request, tmp_path, monkeypatch):
    """The staging area as a path, as a file URL and on (pretended) object storage."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    url = {
        "path": str(tmp_path / "staging area"),
        "file URL": f"file://{tmp_path}/staging area",
        "memory URL": "memory://bucket/staging",
    }.get(request.param) or f"{request.getfixturevalue('bucket')}/staging"
    monkeypatch.setenv("LISTKEEPER_STAGING", url)
    monkeypatch.chdir(tmp_path)
    yield request.param
    memory.store.clear()
    # Nothing may lie anywhere but in the staging area.
    assert {p.name for p in tmp_path.iterdir()} <= {"staging area"}


def commit(folder: RunFolder, rows: int = 3, **files: bytes) -> Manifest:
    with folder.writing() as scratch:
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        return folder.commit(
            scratch, Manifest(kind="test", rows=rows, source_time=datetime(2026, 11, 20, tzinfo=UTC))
        )


def content(folder: RunFolder, pattern: str = "*") -> dict[str, bytes]:
    with folder.reading(pattern) as files:
        return {file.name: file.read_bytes() for file in files}


def test_what_was_committed_is_read_back(root):
    folder = RunFolder("runs/a/b")
    assert not folder.exists()
    written = commit(folder, 5, b=b"two", a=b"one")
    assert RunFolder("runs/a/b").exists()
    assert folder.manifest() == written
    assert (written.rows, written.source_time) == (5, datetime(2026, 11, 20, tzinfo=UTC))
    assert list(content(folder)) == ["a", "b"]
    assert content(folder, "b*") == {"b": b"two"}
    assert content(folder, "c*") == {}
    assert folder.names() == ["a", "b", MANIFEST]


def test_without_a_commit_there_is_nothing(root):
    folder = RunFolder("runs/a/b")
    with pytest.raises(KeyError), folder.writing() as scratch:
        (scratch / "a").write_bytes(b"one")
        raise KeyError
    assert not folder.exists()
    assert staging.folders("runs/a") == []
    assert staging.places("runs/a") == []
    assert not scratch.exists()
    with pytest.raises(StagingError, match="runs/a/b"):
        folder.manifest()
    with pytest.raises(StagingError, match="run that step again"), folder.reading():
        pass


def test_a_second_commit_replaces_the_first_whole(root):
    folder = RunFolder("runs/a/b")
    commit(folder, a=b"one", b=b"two")
    commit(folder, b=b"three")
    assert content(folder) == {"b": b"three"}
    assert folder.names() == ["b", MANIFEST]


def test_a_failed_second_try_leaves_the_first(root):
    folder = RunFolder("runs/a/b")
    commit(folder, a=b"one")
    with pytest.raises(KeyError), folder.writing() as scratch:
        (scratch / "a").write_bytes(b"two")
        raise KeyError
    assert content(folder) == {"a": b"one"}


def test_folders_are_the_committed_ones(root):
    for name in ("b", "a"):
        commit(RunFolder(f"snapshots/s/n/{name}"), x=b"x")
    RunFolder("snapshots/s/n/c").put("started.txt", b"now")
    assert [folder.path for folder in staging.folders("snapshots/s/n")] == [
        "snapshots/s/n/a",
        "snapshots/s/n/b",
    ]
    assert staging.places("snapshots/s/n") == ["a", "b", "c"]
    assert staging.folders("snapshots/nothing") == staging.places("snapshots/nothing") == []


def test_small_files_come_and_go(root):
    folder = RunFolder("pulls/s/r")
    assert folder.get("p") is None
    assert folder.names() == []
    folder.put("p", b"1")
    folder.put("p", b"2")
    assert (folder.get("p"), folder.names(), folder.exists()) == (b"2", ["p"], False)
    folder.discard("p")
    folder.discard("p")
    assert folder.get("p") is None


def test_removing_takes_everything(root):
    folder = RunFolder("pulls/s/r")
    folder.remove()
    folder.put("p", b"1")
    commit(RunFolder("pulls/s/other"), a=b"1")
    folder.remove()
    assert folder.names() == []
    assert content(RunFolder("pulls/s/other")) == {"a": b"1"}


# --- what is not as it was committed


def place(folder: RunFolder, name: str):
    return folder._root / name


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1] + b"X"),
        lambda file: file.write_bytes(file.read_bytes() + b"X"),
    ],
    ids=["missing", "cut", "emptied", "changed", "longer"],
)
def test_a_harmed_file_is_refused_by_name(root, harm):
    folder = RunFolder("runs/a/b")
    commit(folder, good=b"good", part=b"leads of a night")
    harm(place(folder, "part"))
    with pytest.raises(StagingError, match="runs/a/b/part") as caught, folder.reading():
        pass
    assert "Run the step that writes it again" in str(caught.value)
    assert content(folder, "good") == {"good": b"good"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "files": {"a": {}}, "created_at": "x", "source_time": null}',
        b'{"schema_version": 1, "files": {}, "created_at": "x", "source_time": null}',
    ],
)
def test_a_harmed_manifest_is_refused(root, text):
    folder = RunFolder("runs/a/b")
    commit(folder, a=b"one")
    place(folder, MANIFEST).write_bytes(text)
    with pytest.raises(StagingError, match=r"runs/a/b cannot be read\. Its manifest is cut or changed"):
        folder.manifest()
    with pytest.raises(StagingError), folder.reading():
        pass


def test_no_cut_of_a_manifest_is_read(root):
    folder = RunFolder("runs/a/b")
    commit(folder, a=b"one")
    whole = place(folder, MANIFEST).read_bytes()
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(StagingError):
            Manifest.from_json(whole[:length])


def test_a_manifest_of_another_release_says_so(root):
    folder = RunFolder("runs/a/b")
    commit(folder, a=b"one")
    raw = json.loads(place(folder, MANIFEST).read_bytes())
    place(folder, MANIFEST).write_bytes(json.dumps({**raw, "schema_version": 99}).encode())
    with pytest.raises(StagingError, match="schema version 99"):
        folder.manifest()


def test_a_foreign_file_is_not_read(root):
    folder = RunFolder("runs/a/b")
    commit(folder, a=b"one")
    place(folder, "b").write_bytes(b"foreign")
    assert content(folder) == {"a": b"one"}


# --- the moment of a commit


def test_a_commit_broken_anywhere_shows_the_old_the_new_or_nothing(root, monkeypatch):
    """Break the n-th write of a commit: a reader never sees a mixture."""
    broken = 0

    class BrokenError(Exception):
        pass

    def after(calls: int, real):
        left = [calls]

        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise BrokenError
            return real(*args, **kwargs)

        return call

    for calls in range(8):
        folder = RunFolder(f"runs/a/{calls}")
        commit(folder, a=b"old", b=b"old")
        with monkeypatch.context() as patch:
            if root in ("memory URL", "S3"):
                patch.setattr(type(folder._root), "open", after(calls, type(folder._root).open))
                patch.setattr(shutil, "copyfileobj", after(calls, shutil.copyfileobj))
            else:
                patch.setattr(Path, "rename", after(calls, Path.rename))
            try:
                commit(folder, a=b"new", b=b"new")
            except BrokenError:
                broken += 1
        if folder.exists():
            assert set(content(folder).values()) in ({b"old"}, {b"new"})
    assert broken >= 2


def test_a_checkpoint_is_written_in_one_move(staging_folder, monkeypatch):
    folder = RunFolder("pulls/s/r")
    folder.put("p", b"old")

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            folder.put("p", b"new")
    assert folder.get("p") == b"old"
    assert folder.names() == ["p"]  # what the crash left does not count


def test_a_local_reader_gets_the_files_themselves(staging_folder):
    folder = RunFolder("runs/a/b")
    commit(folder, a=b"one")
    with folder.reading() as files:
        assert files == [staging_folder / "runs/a/b/a"]


# --- names


def test_a_run_has_a_place_of_its_own():
    first, second = (
        run_path("d", run_id, "clean") for run_id in ("manual__2026-11-20T00:00:00+00:00", "manual--2026")
    )
    assert first != second
    assert first.startswith("runs/d/manual--2026-11-20t00-00-00")
    assert os.sep not in slug("../../etc/passwd")
    assert slug("é" * 300) != slug("é" * 301)
    assert len(slug("x" * 300)) < 60


# --- object storage, where others write too


class OtherWorker:
    """Another worker's hands on the same storage, past every cache of this process."""

    def __init__(self, bucket: str) -> None:
        import boto3

        self._s3, self._bucket = boto3.client("s3"), bucket.removeprefix("s3://")

    def put(self, path: str, content: bytes) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=f"staging/{path}", Body=content)

    def remove(self, path: str) -> None:
        self._s3.delete_object(Bucket=self._bucket, Key=f"staging/{path}")

    def objects(self) -> int:
        return self._s3.list_objects_v2(Bucket=self._bucket)["KeyCount"]

    def uploads(self) -> int:
        return len(self._s3.list_multipart_uploads(Bucket=self._bucket).get("Uploads", ()))


@pytest.fixture
def other_worker(bucket, monkeypatch):
    monkeypatch.setenv("LISTKEEPER_STAGING", f"{bucket}/staging")
    return OtherWorker(bucket)


def test_what_another_worker_writes_and_removes_is_seen_at_once(other_worker):
    commit(RunFolder("snapshots/s/n/a"), x=b"one")
    assert [folder.path for folder in staging.folders("snapshots/s/n")] == ["snapshots/s/n/a"]
    assert staging.places("snapshots/s/n") == ["a"]
    assert len(staging.files("snapshots")) == 2

    for name in ("x", MANIFEST):
        other_worker.put(f"snapshots/s/n/b/{name}", RunFolder("snapshots/s/n/a").get(name))
    assert staging.places("snapshots/s/n") == ["a", "b"]
    assert [folder.path for folder in staging.folders("snapshots/s/n")][1:] == ["snapshots/s/n/b"]
    assert content(RunFolder("snapshots/s/n/b")) == {"x": b"one"}
    assert len(staging.files("snapshots")) == 4

    for name in ("x", MANIFEST):
        other_worker.remove(f"snapshots/s/n/a/{name}")
    assert staging.places("snapshots/s/n") == ["b"]
    assert not RunFolder("snapshots/s/n/a").exists()
    assert len(staging.files()) == 2


WORKER = """
import sys
from include.staging import Manifest, RunFolder

files, size = map(int, sys.argv[1:])
with RunFolder("runs/a/b").writing() as scratch:
    for number in range(files):
        with (scratch / f"part-{number:03d}").open("wb") as file:
            file.truncate(size)
    print("begins", flush=True)
    RunFolder("runs/a/b").commit(scratch, Manifest(kind="test", rows=files))
"""


@pytest.mark.parametrize(
    ("files", "size", "under_way"),
    [
        (200, 200_000, OtherWorker.objects),
        (
            1,
            250_000_000,
            OtherWorker.uploads,
        ),  # S3 takes a large file in pieces, which become a file when all are there
    ],
    ids=["many files", "a file of pieces"],
)
def test_a_worker_killed_in_a_commit_leaves_no_half_run_folder(
    other_worker, tmp_path, files, size, under_way
):
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(files), str(size)],
        cwd=settings.PROJECT_ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    with worker.stdout:
        assert worker.stdout.readline() == "begins\n"
    while not under_way(other_worker):
        assert worker.poll() is None
    worker.kill()
    worker.wait()
    folder = RunFolder("runs/a/b")
    assert len(folder.names()) < files
    assert not folder.exists()
    assert staging.folders("runs/a") == []
    with pytest.raises(StagingError, match="no complete run folder"), folder.reading():
        pass
    commit(folder, a=b"one")
    assert content(folder) == {"a": b"one"}
    assert folder.names() == ["a", MANIFEST]
