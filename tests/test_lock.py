"""The lock can be shared: it names no machine, and holds every direct requirement."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements.lock").read_text()
FLEET = (ROOT / "requirements-distributed.lock").read_text()


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


def test_a_fleet_gets_the_versions_of_everybody_and_its_own_on_top() -> None:
    def pinned(lock: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", lock, re.MULTILINE))

    ours, fleets = pinned(LOCK), pinned(FLEET)
    assert {name: version for name, version in fleets.items() if name in ours} == {
        name: version for name, version in ours.items() if name in fleets
    }
    direct = re.findall(
        r"^([A-Za-z0-9-]+)", (ROOT / "requirements-distributed.txt").read_text(), re.MULTILINE
    )
    assert {name.lower() for name in direct if not name.startswith("-")} <= set(fleets)
    assert FLEET.count("--hash=sha256:") > len(fleets)
    assert not re.search(r"://|file:|^-", FLEET, re.MULTILINE)
    assert fleets["celery"].startswith("5.6.")  # Airflow 3.3.2 does not start with 5.7


def test_uv_has_one_version() -> None:
    pin = re.search(r"^uv==\S+$", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    assert pin is not None
    assert re.search(rf"^{re.escape(pin[0])} \\$", LOCK, re.MULTILINE)
