"""A few random nights of each vendor, always the same; `python -m tests.proof.schedules` plays thousands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest

from include.ledger import Ledger
from tests.crashes.night import Night, Schedule
from tests.flows.conftest import leaks

EXAMPLES = {"purecallerid": 20, "ozonetel": 12, "isales": 10, "platform": 10, "vicidial": 12}


def test_nothing_is_lost_and_nothing_sent_twice(night: Night, caplog: pytest.LogCaptureFixture) -> None:
    night.play_some(EXAMPLES[night.vendor])
    assert not leaks("\n".join(record.getMessage() for record in caplog.records), set())


ONCE_RED = {
    "ozonetel": [
        # Sent again, and nobody can tell which rows the vendor refused.
        Schedule(
            "skip_all_known",
            (),
            (
                {"fault": "drop_after", "op": "add_bulk_data", "nth": 2, "times": 1},
                {"fault": "status", "op": "failed_file", "times": None, "status": 403},
            ),
        ),
        # Sent again, and the second try fails as a whole: the first one's rows stand in the campaign.
        Schedule(
            "skip_all_known",
            (),
            (
                {"fault": "drop_after", "op": "add_bulk_data", "times": 1},
                {"fault": "load_error", "nth": 2},
            ),
        ),
        # The answers are lost, and what is called back is forged, by somebody who knows the token.
        *(
            Schedule(
                kind,
                (),
                (
                    {"fault": "webhook_forged", "times": None},
                    {"fault": "drop_after", "op": "add_bulk_data", "nth": 2, "times": 2},
                ),
            )
            for kind in ("add_all", "canary")
        ),
    ],
    "purecallerid": [
        # The rest behind a canary is in doubt; clearing the task called it delivered.
        Schedule("canary", (), ({"fault": "load_error", "nth": 2},)),
    ],
}
"""Schedules that found something."""


def test_a_turn_that_comes_free_while_it_is_asked_for(night: Night) -> None:
    if night.vendor != "ozonetel":
        return
    take_turn, answers = Ledger.take_turn, iter([lambda: night.world.now() - timedelta(seconds=1)])

    def asked(*about: Any) -> Any:
        return next(answers, lambda: take_turn(*about))()

    with mock.patch.object(Ledger, "take_turn", asked):
        night.play(Schedule("add_all"))
    assert not night.first["problems"]


def test_what_once_went_wrong(night: Night) -> None:
    for schedule in ONCE_RED.get(night.vendor, []):
        night.play(schedule)
