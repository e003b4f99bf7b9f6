"""Fixtures of general use: the sandbox for a whole module, and a staging area of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from include.sandbox.server import SandboxServer


@pytest.fixture(scope="module")
def small_sandbox() -> Iterator[SandboxServer]:
    """The sandbox with a hundred leads; reset it where a test needs its start."""
    from include.sandbox.server import SandboxServer

    with SandboxServer(synthetic=100) as server:
        yield server


@pytest.fixture
def staging_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A staging area of this test alone, on the local disk."""
    folder = tmp_path / "staging"
    monkeypatch.setenv("LISTKEEPER_STAGING", str(folder))
    return folder
