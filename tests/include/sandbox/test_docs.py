"""The sandbox's page names every fault, switch, option and control path."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from include.sandbox.faults import POINTS
from include.sandbox.switches import Switches

PAGE = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_faults_and_where_they_strike():
    points = "|".join(set(POINTS.values()))
    told = dict(re.findall(rf"^\| `(\w+)` \| ({points})s \|", PAGE, re.MULTILINE))
    assert told == POINTS


def test_switches():
    for switches in Switches().model_dump().values():
        for name in switches:
            assert f"`{name}`" in PAGE, name


def test_options():
    told = subprocess.run([sys.executable, "-m", "include.sandbox", "--help"], capture_output=True, text=True)
    for option in set(re.findall(r"--[a-z-]+", told.stdout)) - {"--help", "--allow-http-webhook"}:
        assert f"`{option}" in PAGE, option


def test_keys(small):
    info = small.info()
    vendor = info["purecallerid"]
    for text in (
        info["platform"]["token"],
        info["vicidial"]["key"],
        *(info["isales"][name] for name in ("ak", "sk", "server_id")),
        *info["isales"]["campaigns"].values(),
        *(info["isales"]["sftp"][name] for name in ("user", "password", "host_key", "folder")),
        vendor["key"],
        *vendor["campaigns"].values(),
        *vendor["lists"].values(),
    ):
        assert text in PAGE
