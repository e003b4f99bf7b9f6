"""Imports into an iSales campaign: the flow file, and what the vendor holds by the sandbox's own books."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.connections import connect_isales
from tests.waiting import until

PLAIN, IVR, DONE = "1803096731904991234", "1803096731904991235", "1803096731904991236"
ROWS = 12
FOLDER = "/home/sftp"


def import_file(**changes: Any) -> dict[str, Any]:
    flow: dict[str, Any] = {
        "kind": "import_isales",
        "name": "renewals",
        "source": "callers",
        "vdn_id": 1,
        "campaign": PLAIN,
        "server": "164690088271159234793429225848",
        "folder": "/listkeeper",
        "sftp_root": FOLDER,
        "released": True,
        "outcome_hours": 60 / 3600,
        "poll_seconds": 0.02,
        "lookup_seconds": 0,
        "columns": [
            {"to": "called", "from": "phone"},
            {"to": "callData.state", "from": "data.state"},
            {"to": "customField", "from": "customer_key"},
        ],
    }
    return flow | changes


@pytest.fixture(autouse=True)
def tenant(installation, sandbox, monkeypatch):
    """The sandbox's iSales, which imports in no time."""
    connect_isales(monkeypatch, sandbox)
    sandbox.switch("isales", step_seconds=0.01)
    return sandbox


class Campaign:
    """What the vendor holds, by the sandbox's own books."""

    def __init__(self, sandbox: Any, campaign: str = PLAIN) -> None:
        self.sandbox, self.id = sandbox, campaign

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.sandbox.state("isales"))

    @property
    def sessions(self) -> Counter[str]:
        """How often each row stands in the campaign."""
        return Counter(row["sessionId"] for row in self.state["campaigns"][self.id]["rows"])

    @property
    def tasks(self) -> list[dict[str, Any]]:
        return list(self.state["tasks"])

    @property
    def calls(self) -> int:
        return int(self.sandbox.state("isales", rows=False)["calls"].get("import", 0))

    @property
    def files(self) -> list[str]:
        return [file["path"] for file in self.state["files"]]


@pytest.fixture
def vendor(sandbox) -> Campaign:
    return Campaign(sandbox)


def sessions(*which: int) -> Counter[str]:
    return Counter(str(1000 + number) for number in which)


ALL = sessions(*range(ROWS))


def settled(vendor: Campaign) -> None:
    """Wait until the vendor has done what it took in."""
    until(lambda: all(task["status"] not in "01" for task in vendor.tasks))
