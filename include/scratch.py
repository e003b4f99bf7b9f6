"""Temporary folders on this machine's own disk, for rows that a step holds while it works on them.

A step that is killed cannot remove its folder, and what lies there are people's numbers. So each folder is locked as
long as its process lives, and whoever makes the next one removes those that nobody holds any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder that only we can read; it goes with its content."""
    top = _top()
    with _locked(top):
        _remove_abandoned(top)
        folder = Path(tempfile.mkdtemp(dir=top))
        held = os.open(folder, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _top() -> Path:
    """The folder of all of them, below the system's place for temporary files (`TMPDIR`)."""
    top = Path(tempfile.gettempdir()) / f"listkeeper-{os.getuid()}"
    top.mkdir(mode=0o700, exist_ok=True)
    if top.is_symlink() or top.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{top} belongs to somebody else. Remove it, or set TMPDIR to a folder of your own."
        )
    return top


def _remove_abandoned(top: Path) -> None:
    for folder in top.iterdir():
        try:
            with _locked(folder, fcntl.LOCK_NB):
                shutil.rmtree(folder, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):  # its process lives, or has just removed it
            continue


@contextmanager
def _locked(folder: Path, wait: int = 0) -> Iterator[None]:
    """Hold a folder's lock, which the system drops when its process ends, however it ends."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | wait)
        yield
    finally:
        os.close(held)
