"""Loads of an Ozonetel campaign whose answers or callbacks get lost."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.flows.campaign.conftest import ROWS, campaign_file
from tests.flows.conftest import numbers

HASTY = {"callback_hours": 4 / 3600}
LOST = ["drop_after", "truncated", "broken_json"]


@pytest.mark.parametrize("fault", [*LOST, "drop_before"])
def test_a_lost_answer_is_sent_again_where_the_vendor_checks(deliver, people, books, sandbox, fault):
    sandbox.fault("ozonetel", fault, op="add_bulk_data", nth=3)
    if fault != "drop_before":
        sandbox.fault("ozonetel", "webhook_lost", nth=3)  # that of the first try
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert run.reasons == {"delivered": ROWS}
    assert books.numbers() == numbers(range(ROWS)) and books.calls == 5
    run.assert_accounted()


def test_a_lost_answer_that_its_callback_makes_good_is_not_sent_again(deliver, people, books, sandbox):
    sandbox.fault("ozonetel", "drop_after", op="add_bulk_data", nth=3)
    sandbox.switch("ozonetel", work_seconds=0)
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts, books.calls) == ("success", {"delivered": ROWS}, 4)


@pytest.mark.parametrize("duplicates", ["skip_existing", "add_all"])
@pytest.mark.parametrize("fault", LOST)
def test_elsewhere_it_is_not_and_the_callback_tells(deliver, people, books, sandbox, fault, duplicates):
    sandbox.fault("ozonetel", fault, op="add_bulk_data", nth=3)
    people()
    run = deliver(campaign_file(duplicates=duplicates))
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS)) and books.calls == 4
    run.assert_accounted()


def test_a_call_that_never_arrived_is_uncertain_where_it_cannot_be_sent_again(
    deliver, people, books, sandbox
):
    sandbox.fault("ozonetel", "drop_before", op="add_bulk_data", nth=3)
    people()
    run = deliver(campaign_file(duplicates="add_all", **HASTY))
    assert (run.state, run.summary["verdict"]) == ("failed", "uncertain")
    assert run.counts == {"delivered": 7, "uncertain": 5}
    run.assert_accounted()
    people(13, source_time=datetime.now(UTC))
    blocked = deliver(campaign_file(duplicates="add_all"))
    assert blocked.summary["verdict"] == "refused"
    assert books.numbers() == numbers(range(6), 11)


def test_a_callback_that_never_comes_leaves_its_rows_uncertain_and_a_second_try_is_safe(
    deliver, people, books, sandbox
):
    sandbox.fault("ozonetel", "webhook_lost", nth=3)
    people()
    run = deliver(campaign_file(**HASTY))
    assert (run.state, run.summary["verdict"]) == ("failed", "uncertain")
    assert run.counts == {"delivered": 7, "uncertain": 5}
    assert "no callback came" in run.problems
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS))
    run.assert_accounted()


def test_a_trial_without_a_callback_sends_nothing_more(deliver, people, books, sandbox):
    sandbox.fault("ozonetel", "webhook_lost")
    people()
    run = deliver(campaign_file(**HASTY))
    assert run.counts == {"uncertain": 1, "held": 11} and books.sizes == [1]
    run.assert_accounted()


def test_after_a_person_has_spoken_the_rest_is_sent(deliver, people, books, sandbox, installation):
    """What never went out is not on the list, whatever a person says of the rows that did."""
    from include import cli

    sandbox.fault("ozonetel", "webhook_lost")
    people(facts={"mode": "full"})
    run = deliver(campaign_file(**HASTY))
    said = ["--delivered", "--who", "Ana", "--why", "looked at the console"]
    assert cli.main(["resolve", run.summary["load"], *said]) == 0
    people(facts={"mode": "full"}, source_time=datetime.now(UTC))
    again = deliver(campaign_file())
    assert (again.state, again.reasons) == ("success", {"delivered": 11, "already_delivered": 1})
    assert books.numbers() == numbers(range(ROWS))


def test_without_an_address_every_row_is_uncertain(deliver, people, books, monkeypatch):
    monkeypatch.delenv("LISTKEEPER_PUBLIC_URL")
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("failed", {"uncertain": ROWS})
    assert "no callback address is set" in run.problems
    books.settle()
    assert books.sizes == [5, 5, 2] and books.numbers() == numbers(range(ROWS))
    run.assert_accounted()


@pytest.mark.parametrize("shape", ["string", "form", "raw_unescaped"])
def test_callbacks_through_a_relay(relay, deliver, people, sandbox, shape):
    sandbox.switch("ozonetel", callback_shape=shape)
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert not list(relay.glob("ozonetel/*/*.json")) and not (relay / "refused").exists()


@pytest.mark.parametrize("fault", ["webhook_doubled", "webhook_reordered", "webhook_forged"])
def test_odd_callbacks_change_nothing(deliver, people, sandbox, fault):
    sandbox.fault("ozonetel", fault, times=None)
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    run.assert_accounted()
