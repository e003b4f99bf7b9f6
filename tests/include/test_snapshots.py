"""From pages to a snapshot: a checkpoint per page, no lead lost and none twice, whatever breaks and whenever."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from include import snapshots
from include.flow_files import PlatformSource
from include.leads.schema import LEAD_COLUMNS, OUTCOME_COLUMNS
from include.snapshots import FIRST_PAGE, Pulled, Shard, assemble, newest_snapshot, page_facts, snapshot_place
from include.staging import Manifest, RunFolder, StagingError
from include.vendors.errors import UnavailableError
from include.vendors.platform import ChangedFilterError, CursorLoopError, LeadQuery, Page, window_shards

NIGHT = date(2026, 11, 20)
WINDOW = PlatformSource(kind="pull_platform_leads", name="s", zone="America/New_York").window(NIGHT)
START = WINDOW[0].astimezone(UTC)


def lead(lead_id: int, uploaded: datetime, **changes: Any) -> dict[str, Any]:
    """A lead as the vendor shows it; `_held` is the time by which the vendor finds it."""
    return {
        "leadId": lead_id,
        "listId": 100,
        "phones": [{"phoneIndex": 1, "phoneNumber": f"+1201200{lead_id:04d}"}],
        "timestamps": {"uploaded": uploaded.isoformat()},
        "_held": uploaded,
        **changes,
    }


class Vendor:
    """A lead list that stands still: pages in order of ids, both ends of a window included."""

    def __init__(self, leads: list[dict[str, Any]], page_size: int = 3) -> None:
        self.leads, self.page_size = leads, page_size
        self.fetched: Counter[tuple[str, str]] = Counter()

    def fetch(self, query: LeadQuery) -> Callable[[str], Page]:
        since, until = query.uploadedTimestampFrom, query.uploadedTimestampTo
        found = [item for item in self.leads if since is None or since <= item["_held"] <= until]

        def fetch(link: str) -> Page:
            self.fetched[(str(since), link)] += 1
            begin = 0 if link == FIRST_PAGE else int(link.partition("cursor=")[2])
            end = begin + self.page_size
            return Page(found[begin:end], f"/v3.0/leads?cursor={end}" if end < len(found) else None)

        return fetch


def make_shards(
    pages: RunFolder, count: int = 1, window: Any = WINDOW, **filters: Any
) -> list[tuple[Shard, LeadQuery]]:
    """The shards of a pull, as the operator makes them."""
    parts = window_shards(*window, count) if window else [None]
    made = []
    for number, part in enumerate(parts):
        since, until = part or (None, None)
        query = LeadQuery(**filters, uploadedTimestampFrom=since, uploadedTimestampTo=until)
        made.append((Shard(pages, number, query, part), query))
    return made


def put_together(pages: RunFolder, shards: list[tuple[Shard, LeadQuery]], name: str = "one") -> Pulled:
    snapshot = RunFolder(f"{snapshot_place('s', str(NIGHT))}/{name}")
    return assemble(
        pages,
        [shard for shard, _ in shards],
        snapshot,
        source_time=START,
        night=str(NIGHT),
        facts={"source": "s"},
    )


def pull(vendor: Vendor, count: int = 1, name: str = "one", window: Any = WINDOW, **filters: Any) -> Pulled:
    pages = RunFolder(f"pulls/s/{name}")
    shards = make_shards(pages, count, window, **filters)
    for shard, query in shards:
        shard.walk(vendor.fetch(query))
    return put_together(pages, shards, name)


def read(name: str = "one") -> tuple[pl.DataFrame, pl.DataFrame, Manifest]:
    """Leads, outcomes and manifest of a snapshot."""
    folder = RunFolder(f"{snapshot_place('s', str(NIGHT))}/{name}")
    with folder.reading("part-*") as parts:
        leads = pl.concat([pl.read_parquet(part) for part in parts])
    with folder.reading("outcomes-*") as files:
        outcomes = pl.concat([pl.read_parquet(file) for file in files])
    assert dict(leads.schema) == LEAD_COLUMNS
    assert dict(outcomes.schema) == OUTCOME_COLUMNS
    return leads, outcomes, folder.manifest()


def every(minutes: int, window: Any = WINDOW) -> list[dict[str, Any]]:
    """A lead every so many minutes, from an hour before the night to an hour after it, both edges among them."""
    begin, end = (moment.astimezone(UTC) for moment in window)
    count = (end - begin + timedelta(hours=2)) // timedelta(minutes=minutes)
    return [
        lead(n + 1, begin - timedelta(hours=1) + timedelta(minutes=minutes * n)) for n in range(count + 1)
    ]


# --- whole pulls


@pytest.mark.parametrize("page_size", [1, 3, 1000])
@pytest.mark.parametrize("shards", [1, 4, 16])
def test_a_night_holds_its_leads_once(staging_folder, page_size, shards):
    vendor = Vendor(every(15), page_size)
    pulled = pull(vendor, shards)
    leads, outcomes, manifest = read()
    assert sorted(leads["lead_id"]) == list(range(5, 5 + 96))
    assert leads["row_key"].n_unique() == leads.height == manifest.rows == pulled.kept == pulled.seen == 96
    # Both ends of each shard are the vendor's: the lead at an end belongs to the next shard, or the next night.
    assert pulled.outside == shards
    assert outcomes.height == pulled.bad == pulled.repeated == 0
    assert set(vendor.fetched.values()) == {1}
    assert pulled.pages == len(vendor.fetched)
    fields = manifest.facts["fields"]
    assert fields["leadId"] == {"number": pulled.seen}
    assert manifest.facts == {"source": "s", "fields": fields, "contract": [], **pulled.__dict__}
    assert (manifest.kind, manifest.night, manifest.source_time) == ("snapshot", "2026-11-20", START)


@pytest.mark.parametrize("shards", [1, 4, 7])
@pytest.mark.parametrize(
    ("zone", "night", "hours"),
    [
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
        ("Australia/Sydney", date(2026, 10, 4), 23),
        ("Australia/Sydney", date(2026, 4, 5), 25),
    ],
)
def test_the_nights_of_a_clock_change(staging_folder, zone, night, hours, shards):
    source = PlatformSource(kind="pull_platform_leads", name="s", zone=zone)
    window = source.window(night)
    pulled = pull(Vendor(every(10, window), 100), shards, window=window)
    leads, _, _ = read()
    assert pulled.kept == hours * 6
    assert leads["uploaded_at"].min() == window[0]
    assert leads["uploaded_at"].max() == window[1] - timedelta(minutes=10)
    # The neighbours of the night hold the rest, and nothing of it.
    for name, other in (("before", night - timedelta(days=1)), ("after", night + timedelta(days=1))):
        pull(Vendor(every(10, window), 100), shards, name, window=source.window(other))
        assert not set(read(name)[0]["lead_id"]) & set(leads["lead_id"])
        assert read(name)[0].height in (6, 7)


def test_a_full_pull_takes_every_lead(staging_folder):
    leads = [*every(60), lead(900, START, timestamps={})]
    assert pull(Vendor(leads), window=None, listId=100).kept == len(leads)


def test_a_lead_without_an_upload_time_is_kept(staging_folder):
    pulled = pull(Vendor([lead(1, START + timedelta(hours=1), timestamps={})]), 4)
    assert (pulled.kept, read()[0]["uploaded_at"].to_list()) == (1, [None])


def test_an_empty_night_is_a_snapshot_of_no_rows(staging_folder):
    assert pull(Vendor([]), 4) == Pulled(pages=4, seen=0, kept=0, bad=0, repeated=0, outside=0)
    assert read()[0].height == 0


def test_bad_leads_end_as_outcomes(staging_folder):
    at = START + timedelta(hours=1)
    leads = [
        lead(1, at),
        lead(2, at, listId="100"),
        lead(3, at, timestamps={"uploaded": "yesterday, +12012000003"}),
        lead(4, at, leadId="x+12012000004"),
        lead(5, at, leadId=True),
        lead(6, at),
    ]
    pulled = pull(Vendor(leads), 2, listId=100)
    good, outcomes, _ = read()
    assert (pulled.seen, pulled.kept, pulled.bad) == (6, 2, 4)
    assert good["row_key"].to_list() == ["1", "6"]
    assert outcomes.rows() == [
        ("2", "rejected", "source_unreadable", "listId must be a whole number of 64 bits", None),
        ("3", "rejected", "source_unreadable", "timestamps.uploaded must be a time with an offset", None),
        (
            "shard 0 page 1 item 0",
            "rejected",
            "source_unreadable",
            "leadId must be a whole number of 64 bits",
            None,
        ),
        (
            "shard 0 page 1 item 1",
            "rejected",
            "source_unreadable",
            "leadId must be a whole number of 64 bits",
            None,
        ),
    ]


def test_a_lead_that_moved_while_it_was_walked_is_kept_as_last_seen(staging_folder):
    at = START + timedelta(hours=1)
    later = at + timedelta(hours=12)
    leads = [lead(1, at), lead(2, at), lead(3, at), lead(1, at, agentId=7), lead(2, later, agentId=8)]
    pulled = pull(Vendor(leads, 2), 2)
    kept, outcomes, manifest = read()
    assert sorted(zip(kept["lead_id"], kept["agent_id"], strict=True)) == [(1, 7), (2, 8), (3, None)]
    assert sorted(outcomes.select("row_key", "state", "reason").rows()) == [
        ("1", "rejected", "source_repeated"),
        ("2", "rejected", "source_repeated"),
    ]
    assert (pulled.seen, pulled.kept, pulled.repeated, manifest.rows) == (5, 3, 2, 3)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["good", "bad"]), st.integers(0, 23)), max_size=25)
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_lead_seen_ends_once(staging_folder, drawn):
    leads = [
        lead(key, START + timedelta(hours=hour), **({} if kind == "good" else {"listId": "x"}))
        for key, kind, hour in drawn
    ]
    pulled = pull(Vendor(leads), 3, name := f"run-{os.urandom(8).hex()}")
    kept, outcomes, _ = read(name)
    assert pulled.seen == len(leads) == kept.height + outcomes.height
    assert set(kept["lead_id"]) == {key for key, kind, _ in drawn if kind == "good"}
    bad = outcomes.filter(reason="source_unreadable")["row_key"].to_list()
    assert sorted(bad) == sorted({str(key) for key, kind, _ in drawn if kind == "bad"})
    assert (pulled.bad, pulled.repeated) == (len(bad), outcomes.height - len(bad))
    assert kept["row_key"].n_unique() == kept.height


def test_parts_have_a_useful_size(staging_folder, monkeypatch):
    monkeypatch.setattr(snapshots, "PART_ROWS", 10)
    pull(Vendor(every(15), 7))
    folder = RunFolder(f"{snapshot_place('s', str(NIGHT))}/one")
    with folder.reading("part-*") as parts:
        assert [pl.read_parquet(part).height for part in parts] == [10] * 9 + [6]
    assert read()[0]["lead_id"].to_list() == list(range(5, 101))


def test_it_works_on_object_storage(monkeypatch):
    fsspec.filesystem("memory").store.clear()
    monkeypatch.setenv("LISTKEEPER_STAGING", "memory://bucket/staging")
    assert pull(Vendor(every(15)), 4).kept == 96
    assert read()[0].height == 96
    RunFolder("pulls/s/one").remove()
    assert RunFolder("pulls/s/one").names() == []
    fsspec.filesystem("memory").store.clear()


# --- crashes


class CrashError(Exception):
    """The process dies here."""


class Schedule:
    """Dies at chosen points: each point counts, before it happens and after."""

    def __init__(self, points: set[int]) -> None:
        self.points, self.seen, self.crashes = points, 0, 0

    def point(self) -> None:
        self.seen += 1
        if self.seen in self.points:
            self.crashes += 1
            raise CrashError


def crashing(folder: RunFolder, schedule: Schedule) -> RunFolder:
    """A folder whose every write may be the last thing the process does, or the last thing it does not do."""
    for name in ("put", "discard", "commit"):
        real = getattr(folder, name)

        def call(*args: Any, real: Callable[..., Any] = real) -> Any:
            schedule.point()
            result = real(*args)
            schedule.point()
            return result

        setattr(folder, name, call)
    return folder


SITUATIONS = st.tuples(
    st.lists(
        st.tuples(st.sampled_from(["good", "good", "good", "bad"]), st.integers(0, 24 * 4)), max_size=24
    ),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sets(st.integers(1, 60), max_size=8),
)


@given(SITUATIONS)
@settings(max_examples=60, deadline=None)
def test_a_walk_broken_anywhere_ends_as_an_undisturbed_one(situation):
    drawn, shards, page_size, points = situation
    leads = [
        lead(n, START + timedelta(minutes=15 * at), **({} if kind == "good" else {"listId": "x"}))
        for n, (kind, at) in enumerate(drawn, 1)
    ]
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LISTKEEPER_STAGING", root)
        pull(undisturbed := Vendor(leads, page_size), shards, "undisturbed")
        vendor, schedule = Vendor(leads, page_size), Schedule(points)
        while True:
            # Each try is a new process: nothing but the folder is left of the one before.
            try:
                pages = crashing(RunFolder("pulls/s/broken"), schedule)
                made = make_shards(pages, shards)
                for shard, query in made:
                    fetch = vendor.fetch(query)

                    def fetch_or_die(link: str, fetch: Callable[[str], Page] = fetch) -> Page:
                        schedule.point()
                        page = fetch(link)
                        schedule.point()
                        return page

                    shard.walk(fetch_or_die)
                schedule.point()
                put_together(pages, made, "broken")
                break
            except CrashError:
                assert newest_snapshot("s", str(NIGHT)).path.endswith("undisturbed")
        (first, lost, manifest), (again, lost_again, manifest_again) = read("undisturbed"), read("broken")
        assert_frame_equal(again, first)
        assert_frame_equal(lost_again, lost)
        assert (manifest_again.rows, manifest_again.facts) == (manifest.rows, manifest.facts)
        assert set(vendor.fetched) == set(undisturbed.fetched)
        # A crash costs the page that was being written and the one that was being fetched meanwhile.
        assert vendor.fetched.total() <= len(undisturbed.fetched) + 2 * schedule.crashes


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from test_snapshots_child import Vendor, make_shards, every, put_together
from include.staging import RunFolder
writes, real = int(sys.argv[1]), RunFolder.put
def put(self, name, content):
    global writes
    if writes == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    writes -= 1
    real(self, name, content)
RunFolder.put = put
pages, vendor = RunFolder("pulls/s/killed"), Vendor(every(15), 5)
made = make_shards(pages, 4)
for shard, query in made:
    shard.walk(vendor.fetch(query))
print(vendor.fetched.total())
put_together(pages, made, "killed")
"""


def test_a_killed_process_goes_on_where_it_was(staging_folder, tmp_path):
    (tmp_path / "test_snapshots_child.py").symlink_to(__file__)
    script = KILLED.format(path=[str(Path(snapshots.__file__).parents[1]), str(tmp_path)])
    ends = [
        subprocess.run([sys.executable, "-c", script, writes], capture_output=True, text=True, timeout=600)
        for writes in ("3", "9", "99")
    ]
    assert [end.returncode for end in ends[:2]] == [-9, -9]
    assert ends[2].returncode == 0, ends[2].stderr
    pulled = pull(Vendor(every(15), 5), 4, "undisturbed")
    assert int(ends[2].stdout) == pulled.pages - 3 - 9
    assert_frame_equal(read("killed")[0], read("undisturbed")[0])


@pytest.mark.parametrize("points", [{1}, {2}, {3}, {4}, {6}, {1, 2, 3}])
def test_a_crash_while_forgetting_leaves_no_stale_page(staging_folder, points):
    """The next walk is of another question, and shorter: no page of the old one may join it."""
    pages = RunFolder("pulls/s/r")
    [(shard, query)] = make_shards(pages, 1)
    shard.walk(Vendor(every(60), 4).fetch(query))
    assert shard.progress().pages == 7
    schedule = Schedule(points)
    for _ in range(len(points) + 1):
        [(shard, query)] = make_shards(crashing(RunFolder("pulls/s/r"), schedule), 1)
        try:
            shard.forget()
            break
        except CrashError:
            # What is left is a beginning of the walk.
            assert len(shard.page_files()) == len([n for n in pages.names() if n.startswith("s00-")])
    assert pages.names() == []
    [(shard, query)] = made = make_shards(pages, 1)
    shard.walk(Vendor([lead(777, START)]).fetch(query))
    assert put_together(pages, made).kept == 1


def test_forgetting_one_shard_leaves_the_others(staging_folder):
    pages = RunFolder("pulls/s/r")
    made = make_shards(pages, 12)
    for shard, query in made:
        shard.walk(Vendor(every(15), 4).fetch(query))
    made[1][0].forget()
    assert [shard.progress().done for shard, _ in made] == [True] + [False] + [True] * 10


# --- walks that must not look whole


def resumable(
    vendor_pages: dict[str, Page | Exception], **filters: Any
) -> tuple[Shard, Callable[[str], Page]]:
    [(shard, _)] = make_shards(RunFolder("pulls/s/r"), 1, None, **filters)

    def fetch(link: str) -> Page:
        page = vendor_pages[link.partition("cursor=")[2]]
        if isinstance(page, Exception):
            raise page
        return page

    return shard, fetch


def item(lead_id: int, **changes: Any) -> dict[str, Any]:
    return lead(lead_id, START, **changes)


LOOP = {
    "": Page([item(1)], "?cursor=a"),
    "a": Page([item(2)], "?cursor=b"),
    "b": Page([item(3)], "?cursor=a"),
}


@pytest.mark.parametrize(
    ("broken", "error", "good_pages"),
    [
        (LOOP, CursorLoopError, 2),
        ({**LOOP, "a": Page([item(2)], "?cursor=a")}, CursorLoopError, 1),
        ({**LOOP, "b": UnavailableError("platform", "away")}, UnavailableError, 2),
        ({**LOOP, "b": Page([item(3)], "?cursor=c&listId=101")}, ChangedFilterError, 2),
        ({**LOOP, "b": Page([item(3)], "?cursor=c&campaignId=1")}, ChangedFilterError, 2),
        ({**LOOP, "b": Page([item(3, listId=101)], None)}, ChangedFilterError, 2),
        ({**LOOP, "b": Page([item(3), item(4, listId=None)], None)}, ChangedFilterError, 2),
    ],
)
def test_a_walk_gone_wrong_keeps_its_good_pages_and_is_no_snapshot(staging_folder, broken, error, good_pages):
    shard, fetch = resumable(broken, listId=100)
    for _ in range(2):  # the second try meets the same page again
        with pytest.raises(error):
            shard.walk(fetch)
        assert shard.progress().pages == good_pages
        assert not shard.progress().done
        with pytest.raises(StagingError, match="not come to its end"):
            put_together(RunFolder("pulls/s/r"), [(shard, LeadQuery())])
        assert newest_snapshot("s", None) is None
    # The vendor mends itself: the walk goes on behind its last good page.
    shard, fetch = resumable({**LOOP, "b": Page([item(3)], "?cursor=c"), "c": Page([], None)}, listId=100)
    assert shard.walk(fetch) == 4 - good_pages
    assert put_together(RunFolder("pulls/s/r"), [(shard, LeadQuery())]).kept == 3


def test_a_loop_back_into_an_earlier_try_is_noticed(staging_folder):
    shard, fetch = resumable({**LOOP, "b": UnavailableError("platform", "away")})
    with pytest.raises(UnavailableError):
        shard.walk(fetch)
    shard, fetch = resumable(LOOP)
    with pytest.raises(CursorLoopError):
        shard.walk(fetch)


def test_a_shard_that_was_never_walked_is_no_snapshot(staging_folder):
    pages = RunFolder("pulls/s/r")
    made = make_shards(pages, 2)
    made[0][0].walk(Vendor([]).fetch(made[0][1]))
    with pytest.raises(StagingError):
        put_together(pages, made)
    assert newest_snapshot("s", None) is None


def test_an_empty_page_in_the_middle_loses_nothing(staging_folder):
    shard, fetch = resumable({**LOOP, "a": Page([], "?cursor=b"), "b": Page([item(3)], None)})
    assert shard.walk(fetch) == 3
    assert put_together(RunFolder("pulls/s/r"), [(shard, LeadQuery())]).kept == 2


def test_a_walk_that_has_ended_asks_nothing(staging_folder):
    vendor = Vendor(every(60))
    [(shard, query)] = make_shards(RunFolder("pulls/s/r"), 1)
    first = shard.walk(vendor.fetch(query))
    assert first == vendor.fetched.total()
    assert shard.walk(vendor.fetch(query)) == 0
    assert vendor.fetched.total() == first


def test_a_page_file_says_where_to_go_on(staging_folder):
    pages = RunFolder("pulls/s/r")
    [(shard, query)] = make_shards(pages, 1, None)
    shard.walk(Vendor([lead(1, START), lead(2, START, listId="x"), lead(3, START)], 2).fetch(query))
    assert pages.names() == ["s00-0000000.parquet", "s00-0000001.parquet"]
    assert page_facts(pages.get("s00-0000000.parquet")) == {
        "next": "/v3.0/leads?cursor=2",
        "inside": 1,
        "outside": 0,
        "other": 0,
        "bad": [{"row_key": "2", "detail": "listId must be a whole number of 64 bits"}],
        "fields": {
            "*": {"object": 2},
            "leadId": {"number": 2},
            "listId": {"number": 1, "text": 1},
            "phones": {"list": 2},
            "timestamps": {"object": 2},
            "_held": {"object": 2},
        },
    }


# --- the newest snapshot


def snapshot(night: str, name: str, source_time: datetime | None) -> str:
    folder = RunFolder(f"{snapshot_place('s', night)}/{name}")
    with folder.writing() as scratch:
        folder.commit(scratch, Manifest(kind="snapshot", rows=0, source_time=source_time, night=night))
    return folder.path


def test_the_newest_snapshot_is_the_one_whose_source_is(staging_folder):
    assert newest_snapshot("s", None) is newest_snapshot("s", "2026-11-20") is None
    newer = snapshot("2026-11-20", "b", START + timedelta(hours=2))
    snapshot("2026-11-20", "c", START + timedelta(hours=1))  # began earlier, ended later
    assert newest_snapshot("s", "2026-11-20").path == newer
    again = snapshot("2026-11-20", "a", START + timedelta(hours=2))  # the same night again
    assert newest_snapshot("s", "2026-11-20").path == again
    old = snapshot("2026-11-19", "z", START + timedelta(days=9))
    assert newest_snapshot("s", "2026-11-19").path == old
    assert newest_snapshot("s", None).path == again
    RunFolder(f"{snapshot_place('s', '2026-11-21')}/unfinished").put("x", b"")
    assert newest_snapshot("s", None).path == again
    assert newest_snapshot("s", "2026-11-21") is None
