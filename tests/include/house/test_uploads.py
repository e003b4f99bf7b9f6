"""Our workbooks on iSales' file server: which go, and when."""

from __future__ import annotations

from typing import Any

from tests.include.house.conftest import (
    ISALES,
    Estate,
    uploaded,
)


def test_our_uploads_go_when_their_import_is_settled(estate: Estate, flows: Any) -> None:
    flows(ISALES)
    _, name = uploaded(estate)
    estate.forward(days=7)
    estate.keep()
    assert name in estate.uploads
    estate.forward(seconds=1)
    _, done = estate.keep()
    assert done.removed["uploads"] == {"items": 1, "pieces": 1, "bytes": 0, "days": 7}
    assert estate.uploads == {"somebody-elses.xlsx"} and estate.removed_uploads == [name]
    estate.keep()
    assert estate.removed_uploads == [name]  # once


def test_uploads_of_a_load_that_is_not_settled_stay(estate: Estate, flows: Any) -> None:
    flows(ISALES)
    uploaded(estate, settled=False)
    estate.forward(days=400)
    estate.keep()
    assert estate.removed_uploads == []


def test_the_names_of_uploads_stay_until_these_are_gone(estate: Estate, flows: Any) -> None:
    flows(ISALES)
    run, _ = uploaded(estate)
    estate.forward(days=31)
    estate.keep(uploads=60)
    assert {f"{run}/workbooks", f"{run}/plan"} <= estate.places()
    estate.keep()
    estate.keep()
    assert estate.places() == set()


def test_an_upload_that_was_taken_away_already_is_not_counted(estate: Estate, flows: Any) -> None:
    flows(ISALES)
    uploaded(estate)
    estate.uploads.clear()
    estate.forward(days=8)
    assert estate.keep()[1].removed == {}


def test_an_upload_that_went_to_another_folder_is_not_looked_for_in_the_new_one(
    estate: Estate, flows: Any
) -> None:
    flows(ISALES)
    uploaded(estate, folder="another")
    estate.forward(days=8)
    plan, _ = estate.keep()
    assert estate.removed_uploads == [] and "another folder" in plan.stays[0].why
