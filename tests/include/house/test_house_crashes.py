"""A crash in the middle of a clean-up, and what the evidence counts."""

from __future__ import annotations

from typing import Any

import pytest

from include import staging
from include.staging import RunFolder
from tests.include.house.conftest import (
    Estate,
    both_storages,
    evidence,
    gone,
)


class KilledError(BaseException):
    """The process was killed here."""


def size(places: set[str]) -> dict[str, int]:
    found = [file for file in staging.files() if file.path.rpartition("/")[0] in places]
    return {"items": len(places), "pieces": len(found), "bytes": sum(file.bytes for file in found)}


@both_storages
@pytest.mark.parametrize("where", ["intend_removal", "remove", "half", "end_removal", "tell_removed"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_loses_no_count_and_the_next_run_ends_it(
    estate: Estate, monkeypatch: pytest.MonkeyPatch, where: str, when: str
) -> None:
    doomed = {estate.snapshot("a", f"2026-10-{day}") for day in (10, 11, 12)}
    estate.snapshot()
    estate.forward(days=31)
    before, seen, nth = size(doomed), 0, 1 if where == "tell_removed" else 2
    plan = estate.house().plan()
    owner = staging if where in ("remove", "half") else estate.ledger
    name = "remove" if where == "half" else where
    real = getattr(owner, name)

    def killed(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen < nth:
            return real(*args, **kwargs)
        if where == "half":
            if estate.local:  # moved out of sight, and not emptied
                path = estate.folder / args[0]
                path.rename(path.with_name(f".{path.name}.ab12{staging.GONE}"))
            else:
                RunFolder(args[0]).discard("manifest.json")
        elif when == "after":
            real(*args, **kwargs)
        raise KilledError

    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(KilledError):
        estate.house().clean_up(plan, {})
    monkeypatch.setattr(owner, name, real)
    for _ in range(2):  # the next day's own plan; and once more, which changes nothing
        estate.house().clean_up(estate.house().plan(), {})
    assert not doomed & estate.places() and not any(".gone" in place for place in estate.places())
    assert evidence(estate) == {"leads": before}
    assert estate.ledger.interrupted_removals() == [] and estate.ledger.verify() == []


def test_what_was_begun_and_is_needed_by_now_stays(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = estate.snapshot("a", "2026-10-10")
    estate.snapshot()
    estate.forward(days=31)
    plan = estate.house().plan()
    with monkeypatch.context() as patched:
        patched.setattr(staging, "remove", lambda _: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            estate.house().clean_up(plan, {})
    estate.load("late", snapshot)
    done = estate.house().clean_up(plan, {})
    assert snapshot in estate.places() and done.removed == {}
    assert estate.ledger.interrupted_removals() == []


def test_what_cannot_be_removed_is_named_and_the_rest_goes(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = estate.snapshot("a", "2026-10-10"), estate.snapshot("a", "2026-10-11")
    estate.snapshot()
    estate.forward(days=31)
    real = staging.remove

    def refuse(path: str) -> None:
        if path == bad:
            raise PermissionError("+12012000001")
        real(path)

    monkeypatch.setattr(staging, "remove", refuse)
    _, done = estate.keep()
    assert done.failed == {bad: "PermissionError"} and gone(done) == {"leads": 1}
    assert good not in estate.places()
    monkeypatch.setattr(staging, "remove", real)
    assert gone(estate.keep()[1]) == {"leads": 1}


@both_storages
def test_the_evidence_counts_what_is_gone(estate: Estate) -> None:
    doomed = {estate.snapshot("a", "2026-10-10")}
    estate.snapshot()
    steps = {f"{estate.run()}/{step}" for step in ("clean", "plan")}
    estate.forward(days=31)
    told = {"leads": size(doomed), "working": size(steps)}
    _, done = estate.keep()
    assert evidence(estate) == told
    assert {
        kept: {k: v for k, v in count.items() if k != "days"} for kept, count in done.removed.items()
    } == told
