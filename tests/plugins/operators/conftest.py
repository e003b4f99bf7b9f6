"""The sandbox's Platform API for operators that pull from it."""

from __future__ import annotations

from typing import Any

import pytest
from listkeeper.hooks import platform_requests

from tests.connections import connect_platform


@pytest.fixture
def sandbox(small_sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A hundred leads, ten to a page; a hook that does not wait."""
    small_sandbox.reset()
    small_sandbox.switch("platform", page_size=10)
    connect_platform(monkeypatch, small_sandbox)
    monkeypatch.setattr(platform_requests, "TRIES", 1)
    return small_sandbox


@pytest.fixture
def night(sandbox: Any) -> str:
    return str(sandbox.info()["data"]["night"])
