"""Loads of an Ozonetel campaign of which the vendor refuses rows, a batch, or all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.flows.campaign.conftest import CAMPAIGN, ROWS, campaign_file, connect, person
from tests.flows.conftest import numbers

BY_AGENT = {
    "campaign": "Own customers",
    "columns": [{"to": "PhoneNumber", "from": "phone"}, {"to": "AgentId", "from": "data.agent"}],
}
"""A flow that forgets `agent_wise`: rows without an agent go out, and the vendor refuses them."""


def agents(*without: int, rows: int = ROWS) -> list[dict[str, Any]]:
    return [person(n, agent=None if n in without else "a7") for n in range(rows)]


def test_columns_that_do_not_fit_the_campaign_cost_one_row(deliver, people, books, ledger):
    people()
    columns = [*campaign_file()["columns"], {"to": "Nickname", "from": "data.name"}]
    run = deliver(campaign_file(columns=columns))
    assert (run.state, run.counts) == ("failed", {"rejected": 1, "held": 11})
    assert run.reasons == {"vendor_unread": 1, "not_sent": 11}
    assert "mapping file" in run.problems and books.calls == 1 and not books.leads()
    assert ledger.target(f"ozonetel:ozonetel_default:{CAMPAIGN}").proven is None
    run.assert_accounted()
    people(source_time=datetime.now(UTC))
    again = deliver(campaign_file())  # mended
    assert (again.state, again.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS))


def test_rows_that_fail_are_named_with_the_vendors_reason(deliver, snapshot, books):
    snapshot(agents(2, 3, 7, 11))
    run = deliver(campaign_file(**BY_AGENT, min_valid_share=0.5))
    assert (run.state, run.counts) == ("success", {"delivered": 8, "rejected": 4})
    refused = run.outcomes.filter(run.outcomes["state"] == "rejected")
    assert sorted(refused["row_key"]) == ["1002", "1003", "1007", "1011"]
    assert set(refused["reason"]) == {"vendor_rejected"} and all(refused["detail"])
    assert books.numbers("Own customers") == numbers(0, 1, range(4, 7), range(8, 11))
    assert (run.folder("report").get("rejects.csv") or b"").decode().count("vendor_rejected") == 4
    run.assert_accounted()


def test_success_with_failed_rows_is_not_green(deliver, snapshot):
    snapshot(agents(2))
    run = deliver(campaign_file(**BY_AGENT))
    assert (run.state, run.counts) == ("failed", {"delivered": 11, "rejected": 1})
    assert "less than the 100.0%" in run.problems


def test_a_mended_row_is_sent_again(deliver, snapshot, books):
    snapshot(agents(2))
    deliver(campaign_file(**BY_AGENT))
    snapshot(agents(), source_time=datetime.now(UTC))
    run = deliver(campaign_file(**BY_AGENT))
    assert (run.state, run.reasons) == ("success", {"delivered": 1, "already_delivered": 11})
    assert books.numbers("Own customers") == numbers(range(ROWS))


def test_a_batch_of_which_nothing_was_added_stops_the_load(deliver, snapshot, books, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, calls=1, window_seconds=0.2)  # its callback is there before the next turn
    snapshot(agents(*range(1, 6)))
    run = deliver(campaign_file(**BY_AGENT))
    assert (run.state, run.counts) == ("failed", {"delivered": 1, "rejected": 5, "held": 6})
    assert "not one row" in run.problems and books.sizes == [1, 5]
    run.assert_accounted()


def test_a_batch_that_fails_half_way_is_counted_as_told(deliver, people, sandbox, books):
    sandbox.fault("ozonetel", "load_error", nth=2)
    people()
    run = deliver(campaign_file(min_valid_share=0.1))
    books.settle()
    assert run.counts["delivered"] == sum(books.numbers().values())
    run.assert_accounted()


def test_a_failed_file_that_is_gone_leaves_the_counts(deliver, snapshot, sandbox):
    sandbox.fault("ozonetel", "status", op="failed_file", status=403, times=None)
    snapshot(agents(2, 3))
    run = deliver(campaign_file(**BY_AGENT, min_valid_share=0.5))
    assert (run.state, run.counts) == ("success", {"delivered": 10, "rejected": 2})
    assert run.reasons == {"delivered": 7, "vendor_counts_only": 5}
    assert "24 hours" in (run.folder("report").get("report.md") or b"").decode()
    run.assert_accounted()


def test_a_failed_file_that_cannot_be_had_now_is_fetched_later(deliver, snapshot, sandbox):
    sandbox.fault("ozonetel", "status", op="failed_file", status=503, times=4)
    snapshot(agents(2))
    run = deliver(campaign_file(**BY_AGENT, min_valid_share=0.5))
    assert run.reasons == {"delivered": 11, "vendor_rejected": 1}


def test_the_address_of_the_failed_file_shows_nowhere(deliver, snapshot, ledger, caplog, capfd):
    snapshot(agents(2))
    run = deliver(campaign_file(**BY_AGENT))
    load = run.summary["load"]
    urls = [
        e.body["failedFilePath"]
        for seq in (1, 2)
        for e in ledger.events(load, seq)
        if e.body["failedFilePath"]
    ]
    # Fetched, so not even the ledger needs more of it than where it was.
    assert urls and all(url.endswith("?...") for url in urls)
    ours = [record for record in caplog.records if not record.name.startswith(("uvicorn", "include.sandbox"))]
    logged = " ".join(f"{record.getMessage()} {record.args}" for record in ours)
    places = [logged, "".join(capfd.readouterr()), json.dumps(run.pushed)]
    places += [(run.folder("report").get(name) or b"").decode() for name in ("report.md", "summary.json")]
    assert not [place for place in places if "ignature=" in place]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"campaign": "Nobody"}, "exact name of an outbound campaign"),
        ({"campaign": "Support hotline"}, "outbound"),
    ],
)
def test_a_campaign_that_takes_no_data(deliver, people, changes, why):
    people()
    run = deliver(campaign_file(**changes))
    assert (run.state, run.counts) == ("failed", {"held": ROWS})
    assert why in run.problems
    run.assert_accounted()


def test_a_wrong_key(deliver, people, sandbox, monkeypatch, books):
    monkeypatch.setenv(
        "AIRFLOW_CONN_OZONETEL_DEFAULT",
        json.dumps({"conn_type": "ozonetel", "host": sandbox.base_url, "login": "x", "password": "KKwrong-key",
                    "extra": {"allow_http": True}}),
    )  # fmt: skip
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("failed", {"held": ROWS})
    assert "Invalid userName or apiKey" in run.problems and books.calls == 1
