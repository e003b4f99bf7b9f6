"""An account of Ozonetel's in the sandbox, and the flow file of its campaign."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest

from tests.flows.conftest import OZONETEL_KEY, lead
from tests.waiting import until

CAMPAIGN = "Collections nightly"
ROWS = 12


def campaign_file(**changes: Any) -> dict[str, Any]:
    """The keys of a flow file that delivers; name what should differ."""
    flow: dict[str, Any] = {
        "kind": "load_ozonetel",
        "name": "collections",
        "source": "callers",
        "campaign": CAMPAIGN,
        "released": True,
        "batch_size": 5,
        "callback_hours": 60 / 3600,
        "columns": [
            {"to": "PhoneNumber", "from": "phone"},
            {"to": "CustomerKey", "from": "customer_key"},
            {"to": "Name", "from": "data.name"},
            {"to": "Priority", "from": "data.priority"},
        ],
    }
    return flow | changes


def person(number: int, **data: Any) -> dict[str, Any]:
    return lead(number, data=json.dumps({"name": f"Lead {number}", "priority": "6", "state": "NJ"} | data))


def connect(monkeypatch: pytest.MonkeyPatch, sandbox: Any, **extra: Any) -> None:
    told = sandbox.info()["ozonetel"]
    assert told["api_key"] == OZONETEL_KEY
    extra = {"allow_http": True, "calls": 1000, "window_seconds": 1} | extra
    value = {
        "conn_type": "ozonetel",
        "host": sandbox.base_url,
        "login": told["user_name"],
        "password": told["api_key"],
        "extra": extra,
    }
    monkeypatch.setenv("AIRFLOW_CONN_OZONETEL_DEFAULT", json.dumps(value))


@pytest.fixture(autouse=True)
def account(installation, sandbox, monkeypatch):
    """The sandbox's account, which works in no time and lets us call as often as we like."""
    connect(monkeypatch, sandbox)
    sandbox.switch("ozonetel", work_seconds=0.01, requests_per_minute=1000)
    monkeypatch.setattr("time.sleep", lambda seconds, pause=time.sleep: pause(min(seconds, 0.3)))
    return sandbox


class Account:
    """What the vendor holds, by the sandbox's own books."""

    def __init__(self, sandbox: Any) -> None:
        self.sandbox = sandbox

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.sandbox.state("ozonetel"))

    def leads(self, campaign: str = CAMPAIGN) -> list[dict[str, str]]:
        return list(self.state["campaigns"][campaign]["leads"])

    def numbers(self, campaign: str = CAMPAIGN) -> Counter[str]:
        return Counter(row["PhoneNumber"] for row in self.leads(campaign))

    @property
    def sizes(self) -> list[int]:
        """Rows of each batch that was accepted."""
        return [transaction["rows"] for transaction in self.state["transactions"]]

    @property
    def calls(self) -> int:
        return int(self.state["calls"].get("add_bulk_data", 0))

    def settle(self) -> None:
        """Wait until the vendor has done what it took in."""
        until(lambda: all(told["status"] != "queued" for told in self.state["transactions"]))


@pytest.fixture
def books(sandbox) -> Account:
    return Account(sandbox)


@pytest.fixture
def people(snapshot):
    """Commit a snapshot of so many good leads."""
    return lambda rows=ROWS, **about: snapshot([person(n) for n in range(rows)], **about)
