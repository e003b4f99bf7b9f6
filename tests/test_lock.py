"""The lock can be shared: it names no machine, and holds every direct requirement."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements.lock").read_text()


def test_the_lock_names_no_host_and_no_path() -> None:
    comments = set(re.findall(r"# +(?:via )?(-r .*)", LOCK))
    assert comments <= {"-r requirements.txt", "-r requirements-dev.txt"}
    assert not re.search(r"://|file:|^-", LOCK, re.MULTILINE)


def test_the_lock_holds_every_direct_requirement_with_hashes() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))
    for file in ("requirements.txt", "requirements-dev.txt"):
        direct = re.findall(r"^([A-Za-z0-9-]+)", (ROOT / file).read_text(), re.MULTILINE)
        assert {name.lower() for name in direct if not name.startswith("-")} <= locked
    assert LOCK.count("--hash=sha256:") > len(locked)


def test_uv_has_one_version() -> None:
    pin = re.search(r"^uv==\S+$", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    assert pin is not None
    assert re.search(rf"^{re.escape(pin[0])} \\$", LOCK, re.MULTILINE)
