"""Who was erased, as keyed hashes: what keeps a number or an address from coming back with the next pull."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import polars as pl

from include.erasure.keys import ErasureKey, ErasureKeyError
from include.erasure.person import Person
from include.staging import RunFolder

SUPPRESSED: Final = "erased"
"""Folder of the hashes, one file an erasure. House-keeping leaves it alone."""

_EMAIL: Final = r"[^\s\"'<>,;:=(){}\[\]\\]+@[^\s\"'<>,;:=(){}\[\]\\]+"


def remember(key: ErasureKey, request: str, person: Person) -> dict[str, str]:
    """Write down whom to know again. Returns the hashes by kind."""
    hashes = {
        kind: key.hash(kind, value)
        for kind, value in (("phone", person.phone), ("email", person.email))
        if value
    }
    content = {"check": key.check, "at": datetime.now(UTC).isoformat(), **hashes}
    RunFolder(SUPPRESSED).put(f"{request}.json", json.dumps(content).encode())
    return hashes


@dataclass(frozen=True)
class Erased:
    """Everybody who was erased. :param hashes: keyed hashes by kind, `phone` and `email`."""

    key: ErasureKey
    hashes: Mapping[str, frozenset[str]] = field(repr=False)

    def hits(self, leads: pl.DataFrame, numbers: Mapping[str, pl.Series]) -> pl.Series:
        """Which leads are of somebody who was erased: by any readable number, or by an address among their data.

        :param numbers: the leads' readable numbers (Int64) by phone field.
        """
        found = pl.repeat(value=False, n=leads.height, eager=True)
        if self.hashes["phone"]:
            every = pl.concat([number.drop_nulls() for number in numbers.values()]).unique()
            known = [
                one for one in every.to_list() if self.key.hash("phone", f"+{one}") in self.hashes["phone"]
            ]
            if known:
                wanted = pl.Series(known, dtype=pl.Int64)
                for number in numbers.values():
                    found = found | number.is_in(wanted.implode()).fill_null(value=False)
        if self.hashes["email"]:
            addresses = leads["data"].str.to_lowercase().str.extract_all(_EMAIL)
            every_address = addresses.explode().drop_nulls().unique().to_list()
            of_erased = [
                one for one in every_address if self.key.hash("email", one.strip(".")) in self.hashes["email"]
            ]
            if of_erased:
                hit = addresses.list.set_intersection(of_erased).list.len() > 0
                found = found | hit.fill_null(value=False)
        return found


def hold_erased(
    decided: pl.DataFrame, numbers: Mapping[str, pl.Series], erased: Erased | None
) -> pl.DataFrame:
    """Give the leads of erased customers that reason, whatever else was found: nothing else may be said of them."""
    if erased is None:
        return decided
    hit = pl.lit(erased.hits(decided, numbers))
    return decided.with_columns(
        reason=pl.when(hit).then(pl.lit("erased")).otherwise("reason"),
        detail=pl.when(hit).then(None).otherwise("detail"),
    )


def names_of_erased() -> list[str]:
    """The files of hashes; without any there is nobody to know again, and no key is needed."""
    return [name for name in RunFolder(SUPPRESSED).names() if name.endswith(".json")]


def read_erased(key: ErasureKey) -> Erased:
    """Read everybody who was erased. Raises ErasureKeyError when another key was used."""
    folder = RunFolder(SUPPRESSED)
    hashes: dict[str, set[str]] = {"phone": set(), "email": set()}
    for name in names_of_erased():
        content = json.loads(folder.get(name) or b"{}")
        if content.get("check") != key.check:
            raise ErasureKeyError(
                "Some customers were erased under another erasure key, so they would not be known again. Put the old "
                "key back into the connection listkeeper_erasure."
            )
        for kind, found in hashes.items():
            if kind in content:
                found.add(content[kind])
    return Erased(key, {kind: frozenset(found) for kind, found in hashes.items()})
