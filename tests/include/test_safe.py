"""Encrypted copies of what was put on a list: whole or an error, and only with the key."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from include import safe
from include.erasure.keys import ErasureKey
from include.erasure.person import Person
from include.erasure.sweep import Sweep
from include.leads.clean import KEPT_COLUMNS
from include.leads.schema import LEAD_COLUMNS
from include.plan import SENT
from include.safe import SafeError
from include.staging import Manifest, RunFolder, run_path

KEY = ErasureKey("a secret of the tests, long enough")
NOW = datetime.now(UTC)
count = itertools.count(1)


def load(parts: list[list[int]], sent: list[int], target: str = "purecallerid:c:l") -> Any:
    """A load whose clean step kept these leads, part by part, and that sent those."""
    number = next(count)
    made = SimpleNamespace(
        id=f"{number:032x}",
        dag_id="load__x",
        run_id=f"r{number}",
        target=target,
        night="2026-11-20",
        source_time=NOW,
    )
    clean, plan = (RunFolder(run_path(made.dag_id, made.run_id, step)) for step in ("clean", "plan"))
    with clean.writing() as scratch:
        for index, keys in enumerate(parts):
            rows = [
                dict.fromkeys(KEPT_COLUMNS) | {"row_key": str(key), "phone1": f"212555{key:04d}"}
                for key in keys
            ]
            pl.DataFrame(rows, schema=KEPT_COLUMNS).write_parquet(scratch / f"kept-{index:05d}.parquet")
        clean.commit(scratch, Manifest(kind="clean", rows=sum(map(len, parts))))
    with plan.writing() as scratch:
        pl.DataFrame({"row_key": [str(key) for key in sent]}).write_parquet(scratch / SENT)
        plan.commit(scratch, Manifest(kind="plan", rows=len(sent)))
    return made


def whole(copy: safe.Copy, key: ErasureKey = KEY) -> pl.DataFrame:
    return pl.concat(list(safe.leads(key, copy)))


def in_safe(found: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The copies among what a sweep found: it finds the run's own folders too."""
    return {folder: counts for folder, counts in found.items() if folder.startswith(safe.SAFE)}


def test_a_copy_holds_exactly_the_leads_that_were_sent(staging_folder):
    copy = safe.keep(KEY, load([[1, 2, 3], [4, 5]], [1, 3, 5]))
    found = whole(copy)
    assert dict(found.schema) == LEAD_COLUMNS
    assert found["row_key"].to_list() == ["1", "3", "5"] and copy.rows == 3
    assert found["phone1"].to_list() == ["2125550001", "2125550003", "2125550005"]
    assert (copy.night, copy.target) == ("2026-11-20", "purecallerid:c:l")


def test_nothing_of_a_lead_can_be_read_in_it(staging_folder):
    copy = safe.keep(KEY, load([[1, 2]], [1, 2]))
    for name in copy.folder.names():
        content = copy.folder.get(name) or b""
        assert b"212555" not in content and b"PAR1" not in content and b"phone1" not in content


def test_a_copy_that_would_not_be_whole_is_not_kept(staging_folder):
    with pytest.raises(SafeError, match="2 rows were sent, but 1 of them"):
        safe.keep(KEY, load([[1, 2]], [1, 9]))
    assert safe.copies("purecallerid:c:l") == []


def test_another_key_does_not_open_it(staging_folder):
    copy = safe.keep(KEY, load([[1]], [1]))
    with pytest.raises(SafeError, match="sealed with another key"):
        whole(copy, ErasureKey("another secret of the tests"))


@pytest.mark.parametrize("harm", ["changed", "cut", "swapped", "gone", "foreign"])
def test_a_copy_that_was_harmed_is_not_opened(staging_folder, harm):
    copy = safe.keep(KEY, load([[1], [2]], [1, 2]))
    first, second = "part-00000.sealed", "part-00001.sealed"
    content = copy.folder.get(first) or b""
    if harm == "changed":
        copy.folder.put(first, content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "cut":
        copy.folder.put(first, content[:5])
    elif harm == "swapped":
        copy.folder.put(first, copy.folder.get(second) or b"")
    elif harm == "gone":
        copy.folder.discard(first)
    else:  # a piece of another load's copy, under the same key
        other = safe.keep(KEY, load([[1], [2]], [1, 2]))
        copy.folder.put(first, other.folder.get(first) or b"")
    with pytest.raises(SafeError, match=r"cannot be opened|is not whole"):
        whole(copy)


def test_a_piece_may_not_be_left_out(staging_folder):
    """Also not by whoever rewrites the manifest: a piece knows how many there are."""
    copy = safe.keep(KEY, load([[1], [2]], [1, 2]))
    manifest = copy.folder.manifest()
    changed = Manifest(**{**manifest.__dict__, "rows": 1, "facts": manifest.facts | {"pieces": 1}})
    copy.folder.put("manifest.json", changed.to_json())
    with pytest.raises(SafeError, match="cannot be opened"):
        whole(copy)


def test_the_last_three_of_a_list_are_kept(staging_folder):
    kept = [safe.keep(KEY, load([[n]], [n])).load for n in range(5)]
    other = safe.keep(KEY, load([[9]], [9], target="another"))
    assert [copy.load for copy in safe.copies("purecallerid:c:l")] == kept[:1:-1]
    assert [copy.load for copy in safe.copies("another")] == [other.load]


def test_keeping_again_replaces_the_copy(staging_folder):
    one = load([[1, 2]], [1, 2])
    assert safe.keep(KEY, one).load == safe.keep(KEY, one).load
    assert len(safe.copies(one.target)) == 1


def test_an_erased_customer_leaves_the_copies(staging_folder):
    who = Person.of("+12125550002", None)
    one, two = (safe.keep(KEY, load([[1, 2], [3]], [1, 2, 3])) for _ in range(2))
    other = safe.keep(KEY, load([[4]], [4], target="another"))
    found = in_safe(Sweep(who, key=KEY).look())
    assert set(found) == {one.folder.path, two.folder.path}
    assert in_safe(Sweep(who, RunFolder("erasures/" + "0" * 32), KEY).remove()) == found
    assert found == {copy.folder.path: {"files": 1, "rows": 1} for copy in (one, two)}
    for copy in (one, two):
        assert whole(copy)["row_key"].to_list() == ["1", "3"] and copy.folder.manifest().rows == 2
    assert whole(other).height == 1 and Sweep(who, key=KEY).look() == {}


def test_a_copy_that_nobody_can_search_goes_with_an_erasure(staging_folder):
    copy = safe.keep(ErasureKey("the key of last year, long enough"), load([[1]], [1]))
    mine = safe.keep(KEY, load([[3]], [3]))
    Sweep(Person.of("+12125550002", None), RunFolder("erasures/" + "0" * 32), KEY).remove()
    with pytest.raises(SafeError, match="is not whole"):
        whole(copy)
    assert [one.load for one in safe.copies(copy.target)] == [mine.load], (
        "nobody is offered what is not whole"
    )
    assert whole(mine).height == 1
