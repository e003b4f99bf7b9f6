"""Knowing an erased customer again, by a number in any field or an address anywhere in the lead's data."""

from __future__ import annotations

import json

import polars as pl
import pytest

from include.erasure.erased import hold_erased, names_of_erased, read_erased, remember
from include.erasure.keys import ErasureKey, ErasureKeyError
from include.erasure.person import Person

KEY = ErasureKey("a key of at least sixteen")
DATA = [
    {},
    {"mail": "BOB@example.com"},
    {"notes": "write to <bob@example.com>."},
    {"deep": {"list": ["x", "bob@example.com"]}},
    {"mail": "bob@example.com.au"},
    {"mail": "notbob@example.com"},
]


def leads() -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    frame = pl.DataFrame(
        {
            "data": [json.dumps(data) for data in DATA],
            "reason": [None, None, "phone_empty", None, None, None],
            "detail": [None, None, "phone1: phone_empty", None, None, None],
        },
        schema_overrides={"reason": pl.String, "detail": pl.String},
    )
    numbers = {
        "phone1": pl.Series([12125550101, None, None, 12125550103, None, None], dtype=pl.Int64),
        "phone2": pl.Series([None, None, None, None, 12125550101, 2125550101], dtype=pl.Int64),
    }
    return frame, numbers


@pytest.mark.parametrize(
    ("person", "held"),
    [
        (Person.of("+12125550101", None), [0, 4]),
        (Person.of(None, "bob@example.com"), [1, 2, 3]),
        (Person.of("+12125550101", "bob@example.com"), [0, 1, 2, 3, 4]),
        (Person.of("+12125550199", "other@example.com"), []),
    ],
)
def test_who_comes_back_is_held(staging_folder, person, held):
    hashes = remember(KEY, "0" * 32, person)
    assert set(hashes) == {name for name in ("phone", "email") if getattr(person, name)}
    kept = [path.read_text() for path in staging_folder.rglob("*.json")]
    assert kept and not any(person.in_text(text) for text in kept)
    frame, numbers = leads()
    decided = hold_erased(frame, numbers, read_erased(KEY))
    assert decided.with_row_index().filter(reason="erased")["index"].to_list() == held
    assert decided.filter(reason="erased")["detail"].null_count() == len(held)
    if 2 not in held:  # what was decided of the others stands
        assert decided["detail"][2] == "phone1: phone_empty"


def test_nobody_was_erased(staging_folder):
    assert names_of_erased() == []
    frame, numbers = leads()
    assert hold_erased(frame, numbers, None) is frame
    assert not read_erased(KEY).hits(frame, numbers).any()


def test_another_key_stops_everything(staging_folder):
    remember(KEY, "0" * 32, Person.of("+12125550101", None))
    with pytest.raises(ErasureKeyError, match="another erasure key"):
        read_erased(ErasureKey("another key, long enough"))
