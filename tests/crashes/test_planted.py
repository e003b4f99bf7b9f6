"""The judges are not blind: a mistake that is planted into the code of a vendor's flow shows in the vendor's books."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from include.callfiles.loop import Importer
from include.flow_files import OzonetelFlow, PureCallerIdFlow
from include.push.loop import Pusher
from include.vendors.errors import LostAnswerError
from include.vendors.vicidial import Counts
from tests.crashes.night import Night, Schedule

SILENT = ({"fault": "webhook_lost", "times": None},)


def believes_lost_answers(send: Any) -> Any:
    def archive(hook: Any, lead_ids: Any, flags: Any) -> Counts:
        try:
            return send(hook, lead_ids, flags)
        except LostAnswerError:
            return Counts(len(lead_ids), len(lead_ids), 0, len(lead_ids))

    return archive


def planted(vendor: str) -> tuple[Any, Schedule]:
    """A mistake, and a night in which it shows."""
    from listkeeper.hooks.vicidial import VicidialHook

    return {
        "purecallerid": lambda: (  # sent again though nobody knows how it ended
            mock.patch.object(PureCallerIdFlow, "safe_to_resend", True),
            Schedule("ringcx", ("after PureCallerIdHook.load_list",), SILENT),
        ),
        "ozonetel": lambda: (
            mock.patch.object(OzonetelFlow, "safe_to_resend", True),
            Schedule("add_all", ("after OzonetelHook.load",), SILENT),
        ),
        "isales": lambda: (  # asked for again without a look at the tasks
            mock.patch.object(Importer, "_found", lambda *_: False),
            Schedule("import", ("after IsalesHook.import_file",)),
        ),
        "platform": lambda: (  # handed in again without a look at the list
            mock.patch.object(Pusher, "_look_up", lambda *_: set()),
            Schedule("push", ("after PlatformHook.bulk_create",)),
        ),
        "vicidial": lambda: (
            mock.patch.object(VicidialHook, "archive", believes_lost_answers(VicidialHook.archive)),
            Schedule("archive", (), ({"fault": "crash_in_insert"},)),
        ),
    }[vendor]()


def test_a_planted_mistake_shows(night: Night) -> None:
    mistake, schedule = planted(night.vendor)
    night.play(schedule)
    with mistake, pytest.raises(AssertionError):
        night.play(schedule)
