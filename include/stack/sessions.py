"""Sessions of processes: finds all members of one, ends them, and ends them when their owner is gone.

Every program the stack starts leads a session of its own. Airflow's tasks leave their parent's process
group but never its session, so a session is what catches them all. Run as a program (`python -m
include.stack.sessions`) this module is the stack's watchdog: it reads session ids, one per line, and when the
pipe closes (its owner ended, even by kill -9) it ends whatever is left of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection

import psutil

POLL_SECONDS = 0.05


def members(sessions: Collection[int]) -> list[int]:
    """List the living processes (no zombies) of these sessions, by process id."""
    return [pid for pid in psutil.pids() if _session_of(pid) in sessions and not _is_zombie(pid)]


def end(sessions: Collection[int], patience: float) -> None:
    """Ask the leaders to stop, and kill what is still there after `patience` seconds.

    Only the leader is asked: it knows how to stop its own children. Killing repeats until nobody is left,
    because a process may have been forked between the look and the blow.
    """
    for leader in sessions:
        send(leader, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while members(sessions) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    kill(sessions)


def kill(sessions: Collection[int]) -> None:
    """Kill every process of these sessions with SIGKILL, and return when none is left."""
    while living := members(sessions):
        for pid in living:
            send(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, which may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _watch() -> None:
    """Collect session ids until the owner is gone, then end those sessions."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    end({int(line) for line in sys.stdin}, patience=3)


if __name__ == "__main__":
    _watch()
