"""A client of Ozonetel written from the vendor's page, and what its callbacks tell."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from include.sandbox.server import SandboxServer
from tests.waiting import until

PATH = "/cloudAgentRestAPI/index.php/AddCampaignBulkDataV4/addBulkData/format/json"
C, INBOUND = "Renewals", "Support hotline"
HEADER = ["PhoneNumber", "Name", "Priority"]
A, B, D = ["9876543210", "Asha", 6], ["9876543211", "Ravi K.", "1"], ["+919876543212", "", "99"]
NO_KEY = {"status": "error", "message": "apiKey should not be empty"}
NO_DATA = {"status": "failure", "message": "Please provide valid data"}


class OzonetelClient:
    """Adds data as a client would, and looks what became of it."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.base_url, trust_env=False, verify=False)

    def fields(self, rows: Any, header: Any = HEADER, **changes: Any) -> dict[str, Any]:
        """The fields of a call; a change to `...` leaves one out."""
        info = self.server.info()["ozonetel"]
        asked = {
            "apiKey": info["api_key"],
            "userName": info["user_name"],
            "campaignName": C,
            "bulkData": json.dumps({"map": header, "data": rows}),
            **changes,
        }
        return {name: value for name, value in asked.items() if value is not ...}

    def post(self, rows: Any, header: Any = HEADER, **changes: Any) -> httpx.Response:
        """Post a form."""
        return self.http.post(PATH, data=self.fields(rows, header, **changes))

    def add(self, rows: Any, header: Any = HEADER, **changes: Any) -> dict[str, Any]:
        """Post a form that is accepted, and return the transaction when it is worked off."""
        answer = self.post(rows, header, **changes)
        assert (answer.status_code, answer.json()["status"]) == (200, "success"), answer.text
        return self.finished(answer.json()["transactionId"])

    def finished(self, transaction: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            told = self.server.state("ozonetel", rows=False)["transactions"]
            (found,) = [one for one in told if one["transactionId"] == transaction]
            return found if found["status"] != "queued" else None

        return until(look, f"transaction {transaction} to be worked off")

    def leads(self, campaign: str = C) -> list[dict[str, str]]:
        return self.server.state("ozonetel")["campaigns"][campaign]["leads"]

    def phones(self, campaign: str = C) -> list[str]:
        return [lead["PhoneNumber"] for lead in self.leads(campaign)]

    def state(self) -> dict[str, Any]:
        return self.server.state("ozonetel", rows=False)

    def callbacks(self, number: int = 1) -> list[dict[str, Any]]:
        """Wait for the journal of so many callbacks."""

        def look() -> list[dict[str, Any]] | None:
            told = self.state()["callbacks"]
            return told if len(told) >= number else None

        return until(look, f"{number} callbacks")

    def forward(self, seconds: float) -> None:
        """Move the sandbox's clock forward."""
        self.server.clock(self.server.now() + timedelta(seconds=seconds))


@pytest.fixture
def ozonetel(small: SandboxServer) -> Iterator[OzonetelClient]:
    """The account, worked off at once and without its limit: the cases of the limit set it."""
    small.switch("ozonetel", work_seconds=0, requests_per_minute=1000)
    client = OzonetelClient(small)
    yield client
    client.http.close()


def counts(told: dict[str, Any]) -> tuple[int, int, int]:
    return tuple(int(told[f]) for f in ("totalNoUploaded", "numbersProcessed", "numbersNotProcessed"))


def record(receiver, at=-1):
    """What a callback tells, out of its default shape."""
    _, headers, body = receiver.calls[at]
    assert headers["content-type"] == "application/json"
    assert list(body) == ["data"]
    return json.loads(body["data"])


def received(receiver, number=1):
    until(lambda: len(receiver.bodies) >= number, f"{number} callbacks")
    return receiver.bodies


def failed_rows(client, url):
    answer = client.http.get(url.strip())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    return list(csv.reader(io.StringIO(answer.text, newline="")))


def failed_url(ozonetel, receiver, rows=(("x", "", ""),), **changes):
    """Load rows of which some fail, and return the URL of the failed file."""
    ozonetel.add(list(rows), callBackUrl=receiver.url, **changes)
    received(receiver)
    return record(receiver)["failedFilePath"]


LONG = 2000 - len("PhoneNumberName") - 10
