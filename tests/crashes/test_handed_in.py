"""Lists put back and rejects sent again, under crashes; `tests.proof.schedules --vendor handed_in` plays more."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator
from typing import Any
from unittest import mock

import polars as pl
import pytest

from include import handed_in, resend, safe
from tests.crashes.handed_in import HandedIn
from tests.crashes.night import Schedule
from tests.crashes.points import Crashes
from tests.crashes.world import world


@pytest.fixture(scope="module")
def night() -> Iterator[HandedIn]:
    with world() as place, Crashes().armed() as crashes:
        yield HandedIn(place, crashes)


@pytest.mark.parametrize("kind", ["restore", "resend_added"])
def test_killed_at_each_write_until_it_is_handed_in(night: HandedIn, kind: str) -> None:
    night.play(Schedule(kind))
    for point, times in sorted(night.of_asking.items()):
        for nth in range(1, times + 1):
            struck = night.crashes.struck[point]
            night.play(Schedule(kind, (f"{point} #{nth}",)))
            assert night.crashes.struck[point] == struck + 1
            assert night.first["verdict"] == "delivered", point


def test_any_crashes_and_faults_from_the_question_to_the_delivery(night: HandedIn) -> None:
    night.play_some(6)


def in_clear(_key: Any, _folder: Any, _name: str, _pieces: int, frame: pl.DataFrame) -> bytes:
    frame.write_parquet(out := io.BytesIO())
    return out.getvalue()


MISTAKES: dict[str, tuple[Any, str, str]] = {
    "another run at each try": (
        lambda: mock.patch.object(handed_in, "run_id_of", lambda kind, _: f"{kind}__{secrets.token_hex(4)}"),
        "restore",
        "something else",
    ),
    "rows that an earlier resend has sent": (
        lambda: mock.patch.object(resend, "_resends", lambda *_: iter(())),
        "resend_added",
        "go out again",
    ),
    "a copy that is not sealed": (
        lambda: mock.patch.object(safe, "seal", in_clear),
        "resend_whole",
        "a copy in clear",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_shows(night: HandedIn, mistake: str) -> None:
    patched, kind, says = MISTAKES[mistake]
    with patched(), mock.patch.object(night, "_earlier", {}), pytest.raises(AssertionError, match=says):
        night.play(Schedule(kind))
