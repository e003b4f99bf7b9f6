"""Writes every page that is made from the code into `docs/`: `make docs`. A test fails when one of them differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from include import settings
from include.docs import endpoints, flows, hygiene
from include.leads import reasons

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "flows.md": flows.page,
    "hygiene.md": hygiene.page,
    "platform.md": endpoints.page,
    "reasons.md": reasons.page,
}
"""Name of a page -> what returns its text as the code is now."""

if __name__ == "__main__":
    for name, page in PAGES.items():
        (settings.PROJECT_ROOT / "docs" / name).write_text(page(), encoding="utf-8")
