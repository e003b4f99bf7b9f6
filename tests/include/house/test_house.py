"""What goes when its days are over, and what never does."""

from __future__ import annotations

from tests.include.house.conftest import Estate


def test_what_is_old_and_needed_by_nobody_goes(estate: Estate) -> None:
    old, run = estate.snapshot(), estate.run()
    estate.finish(estate.load(), "planned")
    estate.forward(days=31)
    new = estate.snapshot("t", "2026-12-01")
    _, done = estate.keep()
    assert not done.failed
    assert {kept: count["items"] for kept, count in done.removed.items()} == {"leads": 1, "working": 2}
    assert estate.places() == {new, f"{run}/outcomes", f"{run}/report"}
    assert old not in estate.places()
