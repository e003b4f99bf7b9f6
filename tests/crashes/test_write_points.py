"""Every write point is killed before and after, in some night or at the desk; who adds one hears of it here."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest import mock

import pytest

from include.ledger import Ledger
from include.vendors.isales import ImportRefusedError
from tests.crashes.desk import Create, FileServer, HouseKeeping, at_the_desk
from tests.crashes.night import Night
from tests.crashes.points import Crashes, Write, points, writes
from tests.crashes.sweep import missing, sweep, unused
from tests.crashes.world import world

STRUCK: Counter[str] = Counter()


def test_a_crash_at_every_point(night: Night) -> None:
    STRUCK.update(struck.point for struck in sweep(night))


def test_a_crash_at_the_desk() -> None:
    with world() as place, Crashes().armed() as crashes:
        STRUCK.update(struck.point for struck in at_the_desk(crashes, place))


def looked_for_in_vain() -> list[tuple[Any, Any]]:
    """Chores, and a mistake in each: not to look for what an earlier try has done, not to note what is about to go."""
    from listkeeper.hooks.platform import PlatformHook
    from listkeeper.operators.isales_steps import FileServerOperator

    return [
        (Create, mock.patch.object(PlatformHook, "find_leads", lambda *_: [])),
        (FileServer, mock.patch.object(FileServerOperator, "_registered", lambda *_: None)),
        (HouseKeeping, mock.patch.object(Ledger, "intend_removal", lambda *_: None)),
    ]


def test_a_planted_mistake_shows_at_the_desk() -> None:
    with world() as place, Crashes().armed() as crashes:
        for chore, mistake in looked_for_in_vain():
            with mistake, pytest.raises((AssertionError, ImportRefusedError)):
                list(at_the_desk(crashes, place, only=chore))


def test_no_point_is_left_out() -> None:
    """After the two above: nothing else is written anywhere."""
    assert missing(STRUCK) == []


def test_the_points_are_read_from_the_code() -> None:
    found = {str(write) for write in writes()}
    assert {
        "Ledger.intend",
        "Ledger.take_turn",
        "RunFolder.put",
        "RunFolder.commit",
        "staging.remove",
    } <= found
    assert {"PureCallerIdHook.load_list", "OzonetelHook.load", "VicidialHook.archive"} <= found
    assert {"IsalesHook.import_file", "PlatformHook.bulk_create", "SftpUploadHook._rename"} <= found
    assert not {"Ledger.batches", "IsalesHook.tasks", "PlatformHook.find_leads"} & found
    assert len(points()) == 2 * len(found)


def test_a_new_write_that_nobody_kills_is_missed() -> None:
    everything = Counter(points())
    assert missing(everything) == []
    for when in ("before", "after"):
        assert missing(everything - Counter([f"{when} Ledger.intend"])) == [f"{when} Ledger.intend"]
    from listkeeper.hooks.platform import PlatformHook

    assert unused(Write(PlatformHook, "nobody_calls_this")) and not unused(Write(PlatformHook, "bulk_create"))
