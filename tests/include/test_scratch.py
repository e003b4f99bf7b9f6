"""Temporary folders: readable by us only, gone afterwards, also those of a process that was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from include.scratch import scratch_folder
from include.settings import PROJECT_ROOT

HOLDER = """
import time
from include.scratch import scratch_folder

with scratch_folder() as folder:
    (folder / "rows.csv").write_text("+12025550123")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_goes_with_its_content(top: Path) -> None:
    with pytest.raises(KeyError), scratch_folder() as folder:
        (folder / "rows.csv").write_text("+12025550123")
        assert folder.is_relative_to(top)
        assert folder.parent.stat().st_mode & 0o077 == folder.stat().st_mode & 0o077 == 0
        raise KeyError
    assert [path for path in top.rglob("*") if path.is_file() or path == folder] == []


def test_what_a_killed_step_left_goes_with_the_next_one_and_no_sooner() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder.stdout:
        theirs = Path(holder.stdout.readline().strip())
    with scratch_folder() as ours:
        assert (theirs / "rows.csv").exists()
        holder.kill()
        holder.wait()
        with scratch_folder():
            assert not theirs.exists()
            assert ours.exists()


def test_somebody_elses_folder_is_not_used(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = top / "elsewhere"
    elsewhere.mkdir()
    with scratch_folder() as folder:
        name = folder.parent.name
    (top / name).rmdir()
    (top / name).symlink_to(elsewhere)
    with pytest.raises(PermissionError, match="set TMPDIR"), scratch_folder():
        pass


def test_a_folder_that_another_step_removes_at_this_moment_is_no_trouble(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several steps of one machine end and begin at once: what was listed may be gone when it is looked at."""
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([*listed(folder), folder / "gone"]))
    with scratch_folder() as folder:
        assert folder.is_dir()
