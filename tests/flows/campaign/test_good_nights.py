"""Loads of an Ozonetel campaign, whole: nights on which all goes well."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.flows.campaign.conftest import CAMPAIGN, ROWS, campaign_file, connect, person
from tests.flows.conftest import NIGHT, lead, numbers


def test_a_campaign_is_loaded_in_batches_after_one_row_for_trial(deliver, people, books, ledger):
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS))
    assert books.sizes == [1, 5, 5, 1]
    assert books.leads()[3] == books.leads()[3] | {
        "Name": "Lead 3",
        "Priority": "6",
        "CustomerKey": "C-00003",
    }
    assert ledger.target(f"ozonetel:ozonetel_default:{CAMPAIGN}").proven
    run.assert_accounted()


def test_the_next_load_of_these_columns_needs_no_trial(deliver, people, books):
    people()
    deliver(campaign_file())
    people(17, night="2026-11-21")
    run = deliver(campaign_file())
    # Another night's leads are new to us; the vendor knows the numbers.
    assert (run.state, run.counts) == ("success", {"delivered": 5, "rejected": 12})
    assert books.sizes[4:] == [5, 5, 5, 2]
    assert run.reasons == {"delivered": 5, "vendor_duplicate": 12}
    assert books.numbers() == numbers(range(17))
    run.assert_accounted()


def test_other_columns_are_tried_anew(deliver, people, books):
    people()
    deliver(campaign_file())
    people(3, night="2026-11-21")
    deliver(campaign_file(columns=campaign_file()["columns"][:2]))
    assert books.sizes[4:] == [1, 2]


def test_the_same_night_twice_is_delivered_once(deliver, people, books):
    people()
    deliver(campaign_file())
    run = deliver(campaign_file())
    assert (run.state, run.summary["verdict"], run.reasons) == (
        "success",
        "unchanged",
        {"already_delivered": ROWS},
    )
    assert books.calls == 4


def test_in_airflow_itself(deliver_in_airflow, people, books, monkeypatch):
    """With every wait deferred, however short."""
    monkeypatch.setattr("listkeeper.operators.ozonetel.NAP", timedelta(0))
    people()
    run = deliver_in_airflow(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS))
    run.assert_accounted()


def test_without_a_trial_when_the_flow_says_so(deliver, people, books):
    people()
    assert deliver(campaign_file(preflight=False)).state == "success"
    assert books.sizes == [5, 5, 2]


def test_rows_are_shaped_and_rejected_before_they_are_sent(deliver, snapshot, books):
    bad = [
        person(0, name="José O'Neil"),
        person(1, priority="100"),
        person(2, expiry="2026-02-30"),
        person(3, name="x" * 2000),
        lead(4, phone1="+44 20 7946 0958"),
        person(5, priority=None, name=None),
    ]
    snapshot(bad)
    columns = [*campaign_file()["columns"], {"to": "ExpiryDate", "from": "data.expiry"}]
    run = deliver(campaign_file(columns=columns, guards={"min_valid_percent": 0}))
    assert run.reasons == {
        "delivered": 2, "priority_not_allowed": 1, "expiry_not_a_date": 1, "row_too_long": 1, "other_country": 1,
    }  # fmt: skip
    assert [row["Name"] for row in books.leads()] == ["Jose ONeil", ""]
    assert run.plan["changes"]["names_cleaned"] == 1
    assert "names cleaned 1" in (run.folder("report").get("report.md") or b"").decode()
    run.assert_accounted()


@pytest.mark.parametrize(
    ("encoding", "shape"),
    [("form", "string"), ("multipart", "object"), ("json", "form"), ("form", "raw_unescaped")],
)
def test_every_encoding_and_shape(deliver, people, books, sandbox, monkeypatch, encoding, shape):
    connect(monkeypatch, sandbox, encoding=encoding)
    sandbox.switch(
        "ozonetel", callback_shape=shape, bare_success=shape == "form",
        double_encoded=shape == "object", csv_quoted=shape == "raw_unescaped", spaces_around_path=True,
    )  # fmt: skip
    people(4)
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": 4})


def test_the_campaign_is_started_but_not_by_the_trial(deliver, people, books, sandbox):
    people(1)
    deliver(campaign_file(action="start"))
    assert books.state["campaigns"][CAMPAIGN]["state"] == "stopped"
    people(4, night="2026-11-21")
    deliver(campaign_file(action="start"))
    assert books.state["campaigns"][CAMPAIGN]["state"] == "running"


def test_the_night_is_that_of_the_snapshot(deliver, people):
    people()
    assert deliver(campaign_file()).plan["night"] == NIGHT
