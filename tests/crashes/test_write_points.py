"""Every write point is killed before and after, by some night or some other test; who adds one hears of it here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.crashes.night import Night
from tests.crashes.points import Crashes, Write, points, writes
from tests.crashes.sweep import at_the_desk, elsewhere, missing, sweep, unused

STRUCK: Counter[str] = Counter()


def test_a_crash_at_every_point(night: Night) -> None:
    STRUCK.update(struck.point for struck in sweep(night))


def test_a_crash_at_the_desk(tmp_path: Path) -> None:
    with Crashes().armed() as crashes:
        STRUCK.update(struck.point for struck in at_the_desk(crashes, tmp_path))


def test_no_point_is_left_out() -> None:
    """After the two above: nothing else is written anywhere."""
    assert missing(STRUCK) == []


def test_the_points_are_read_from_the_code() -> None:
    found = {str(write) for write in writes()}
    assert {"Ledger.intend", "Ledger.take_turn", "RunFolder.put", "RunFolder.commit"} <= found
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
    assert all(elsewhere(write) for write in writes() if str(write) == "Ledger.tell_removed")
