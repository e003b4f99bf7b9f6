"""A night's leads (or calls) on the way from pages to one snapshot, with a checkpoint per page.

Each page becomes one small Parquet file that holds its rows and, in the file's metadata, the link to the next
page: rows and checkpoint are written in one move, so a crash can never leave one without the other. A walk that is
tried again goes on behind the last page it wrote. When every shard has reached its end the pages are put together
into parts of a useful size, repeats between shards are taken out, and the snapshot is committed whole.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from include import contract, staging
from include.leads.schema import LEAD_COLUMNS, OUTCOME_COLUMNS
from include.staging import PART_ROWS, Manifest, RunFolder, StagingError
from include.vendors import platform
from include.vendors.platform import BadLeadError, Page, Query

FIRST_PAGE: Final = ""
"""Stands for the link to the first page, which the query itself is."""


@dataclass(frozen=True)
class Items:
    """What the items of a list are, and how one becomes a row.

    :param columns: the row's columns.
    :param key: the column by which an item that came twice is known.
    :param read: item to row; None for one that is not wanted. Raises BadLeadError for one that cannot be kept.
    :param moment: when the item happened, None when it does not say so.
    :param name: an item's id, for its row among the outcomes; None when it has no usable one.
    :param label: stands before that id, where a folder holds items of several lists.
    :param count: counts the fields that items carry.
    """

    columns: Mapping[str, pl.DataType]
    key: str
    read: Callable[[Mapping[str, Any]], dict[str, Any] | None]
    moment: Callable[[Mapping[str, Any]], datetime | None]
    name: Callable[[Mapping[str, Any]], str | None]
    label: str = ""
    count: Callable[[Sequence[dict[str, Any]]], contract.Fields] = lambda _: {}


def id_of(item: Mapping[str, Any], field: str) -> str | None:
    """An item's id as text, None when it is no whole number."""
    key = item.get(field)
    return str(key) if isinstance(key, int) and not isinstance(key, bool) else None


LEADS: Final = Items(
    LEAD_COLUMNS,
    "lead_id",
    platform.read_lead,
    platform.uploaded_at,
    lambda item: id_of(item, "leadId"),
    count=contract.count,
)


@dataclass
class Progress:
    """How far the walk of one shard has come, read back from its page files."""

    pages: int = 0
    next_uri: str | None = FIRST_PAGE
    links: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the last page has been written."""
        return self.next_uri is None


class Shard:
    """The pages of one shard of a pull: one query, walked from its first page to its last.

    :param folder: where page files are kept until the snapshot is committed.
    :param number: the shard's number within the pull.
    :param query: what is asked for; its time window is inclusive at the vendor.
    :param window: the half-open window whose items belong to this shard; None takes every one.
    :param items: what is listed.
    :param letter: begins the names of its page files; lists that share a folder differ in it.
    """

    def __init__(
        self,
        folder: RunFolder,
        number: int,
        query: Query,
        window: tuple[datetime, datetime] | None,
        items: Items = LEADS,
        letter: str = "s",
    ) -> None:
        self._folder, self._number, self._query, self._window = folder, number, query, window
        self.items, self._letter = items, letter

    @property
    def _page_prefix(self) -> str:
        return f"{self._letter}{self._number:02d}-"

    def _page_name(self, page: int) -> str:
        return f"{self._page_prefix}{page:07d}.parquet"

    def page_files(self) -> list[str]:
        """Names of the page files written so far, in order, up to the first gap."""
        present = set(self._folder.names())
        found: list[str] = []
        while self._page_name(len(found)) in present:
            found.append(self._page_name(len(found)))
        return found

    def progress(self) -> Progress:
        """Read how far an earlier try came."""
        progress = Progress()
        for name in self.page_files():
            facts = page_facts(self._folder.get(name) or b"")
            progress.pages += 1
            progress.next_uri = facts["next"]
            if facts["next"] is not None:
                progress.links.append(facts["next"])
        return progress

    def forget(self) -> None:
        """Throw away what was walked so far, to start over.

        The last page goes first: after a crash in here, what is left is still the beginning of the walk, and no
        later page can pass for one of the next walk.
        """
        for name in reversed(self._folder.names()):
            if name.startswith(self._page_prefix):
                self._folder.discard(name)

    def walk(self, fetch: Callable[[str], Page]) -> int:
        """Read page after page and write each down, from where an earlier try stopped. Returns the pages read.

        :param fetch: gets the link to a page (`FIRST_PAGE` for the first) and reads it; raises VendorError.
        """
        progress = self.progress()
        way = platform.Walk(self._query)
        for known in progress.links:
            way.step(known)
        read = 0
        link: str | None = progress.next_uri
        written: Future[None] | None = None
        # A page is written down while the vendor makes the next one, and always before that one is.
        with ThreadPoolExecutor(1, thread_name_prefix="page") as writer:
            while link is not None:
                page = fetch(link)
                following = page.next_uri if way.step(page.next_uri) is not None else None
                if written is not None:
                    written.result()
                written = writer.submit(self._write, progress.pages + read, page.items, following)
                read += 1
                link = following
        if written is not None:
            written.result()
        return read

    def _write(self, number: int, items: Sequence[dict[str, Any]], following: str | None) -> None:
        rows: list[dict[str, Any]] = []
        bad: list[dict[str, str]] = []
        inside: list[dict[str, Any]] = []
        other = 0
        for position, item in enumerate(items):
            platform.check_item(item, self._query)
            if not self._belongs(self.items.moment(item)):
                continue
            inside.append(item)
            try:
                row = self.items.read(item)
            except BadLeadError as error:
                name = self.items.name(item) or f"shard {self._number} page {number} item {position}"
                bad.append({"row_key": self.items.label + name, "detail": str(error)})
                continue
            if row is None:
                other += 1
            else:
                rows.append(row)
        facts = {
            "next": following,
            "inside": len(rows),
            "outside": len(items) - len(inside),
            "other": other,
            "bad": bad,
            "fields": self.items.count(inside),
        }
        buffer = io.BytesIO()
        pl.DataFrame(rows, schema=dict(self.items.columns)).write_parquet(
            buffer, compression="zstd", metadata={"listkeeper": json.dumps(facts)}
        )
        self._folder.put(self._page_name(number), buffer.getvalue())

    def _belongs(self, moment: datetime | None) -> bool:
        """Whether an item is of this window. The vendor counts both ends in (PL-15), we count the end out.

        A lead without an upload time was found by the vendor inside the window and is kept.
        """
        if self._window is None or moment is None:
            return True
        return self._window[0] <= moment < self._window[1]


def page_facts(content: bytes) -> dict[str, Any]:
    """What a page file says about itself: `next` link, rows `inside` and `outside` the window, `bad` leads, `other`
    items that are not wanted, `fields` (`include.contract`).
    """
    facts: dict[str, Any] = json.loads(pl.read_parquet_metadata(io.BytesIO(content))["listkeeper"])
    return facts


@dataclass(frozen=True)
class Pulled:
    """Counts of a pull: pages read, leads seen in the window, and where they ended."""

    pages: int
    seen: int
    kept: int
    bad: int
    repeated: int
    outside: int


def assemble(
    pages: RunFolder,
    shards: Sequence[Shard],
    snapshot: RunFolder,
    *,
    source_time: datetime,
    night: str,
    facts: dict[str, Any],
    judge: Callable[[contract.Fields], list[str]] = lambda _: [],
) -> Pulled:
    """Put the pages of all shards together into a snapshot and commit it.

    A lead that came twice (the list moved while it was walked, or it sat on the edge of two shards) is kept once,
    as it was seen last. Leads that could not be kept are written as outcomes. One part is held in memory at a time,
    besides the lead ids. Counts are taken from what was written and put into the manifest's facts.
    :param judge: says what is wrong with the fields that were seen; put into the facts as `contract`. It may raise to
        stop the pull.

    Raises StagingError for a shard whose last page has not been read.
    """
    found = read_walk(pages, shards)
    facts = {**facts, "fields": found.fields, "contract": judge(found.fields)}
    with snapshot.writing() as scratch:
        writer = PartWriter(scratch, LEAD_COLUMNS)
        repeats: list[pl.DataFrame] = []
        for frame, repeated_rows in found.frames(pages):
            writer.add(frame)
            repeats.append(repeated_rows.select("row_key"))
        kept = writer.close()
        lost = lost_rows(found.bad, repeats)
        lost.write_parquet(scratch / "outcomes-00000.parquet")
        repeated = lost.filter(reason="source_repeated").height
        pulled = Pulled(len(found.names), found.seen, kept, lost.height - repeated, repeated, found.outside)
        snapshot.commit(
            scratch,
            Manifest(
                kind="snapshot",
                rows=kept,
                source_time=source_time,
                night=night,
                facts={**facts, **pulled.__dict__},
            ),
        )
    return pulled


@dataclass(frozen=True)
class Walked:
    """The pages of a pull that has come to its end.

    :param names: the page files, in the order of their shards.
    :param seen: items of the window, `other` those among them that are not wanted; `outside`: of no window.
    """

    names: list[str]
    seen: int
    other: int
    outside: int
    bad: list[dict[str, str]]
    fields: contract.Fields
    keys: pl.Series

    def frames(self, pages: RunFolder) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Each page's rows, and those of them that came again later."""
        last_seen = self.keys.is_last_distinct() if self.keys.n_unique() != len(self.keys) else None
        position = 0
        for name in self.names:
            frame = pl.read_parquet(io.BytesIO(pages.get(name) or b""))
            if last_seen is None:
                yield frame, frame.clear()
                continue
            mask = last_seen.slice(position, len(frame))
            position += len(frame)
            yield frame.filter(mask), frame.filter(~mask)


def read_walk(pages: RunFolder, shards: Sequence[Shard]) -> Walked:
    """Read what the pages of all shards say of themselves.

    Raises StagingError for a shard whose last page has not been read.
    """
    names: list[str] = []
    fields: list[contract.Fields] = []
    keys: list[pl.Series] = []
    seen = other = outside = 0
    bad: list[dict[str, str]] = []
    for shard in shards:
        following: str | None = FIRST_PAGE
        for name in shard.page_files():
            content = pages.get(name) or b""
            page = page_facts(content)
            following = page["next"]
            seen += page["inside"] + len(page["bad"]) + page.get("other", 0)
            other += page.get("other", 0)
            outside += page["outside"]
            bad += page["bad"]
            fields.append(page.get("fields", {}))
            key = shard.items.key
            keys.append(pl.read_parquet(io.BytesIO(content), columns=[key])[key])
            names.append(name)
        if following is not None:
            raise StagingError(
                "A shard of the pull has not come to its end, so no snapshot was made. Pull again."
            )
    all_keys = pl.concat(keys) if keys else pl.Series(dtype=pl.Int64)
    return Walked(names, seen, other, outside, bad, contract.total(fields), all_keys)


def lost_rows(bad: Sequence[Mapping[str, str]], repeats: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Outcomes of the items that are not kept.

    :param bad: `row_key` and `detail` of the unreadable ones.
    :param repeats: frames with the `row_key` of those that came again.
    """
    unreadable = pl.DataFrame(list(bad), schema={"row_key": pl.String, "detail": pl.String}).select(
        "row_key",
        pl.lit("rejected").alias("state"),
        pl.when(pl.col("row_key").is_first_distinct())
        .then(pl.lit("source_unreadable"))
        .otherwise(pl.lit("source_repeated"))
        .alias("reason"),
        "detail",
        pl.lit(None, pl.Int64).alias("batch"),
    )
    again = [
        frame.select(
            "row_key",
            pl.lit("rejected").alias("state"),
            pl.lit("source_repeated").alias("reason"),
            pl.lit(None, pl.String).alias("detail"),
            pl.lit(None, pl.Int64).alias("batch"),
        )
        for frame in repeats
    ]
    return pl.concat([unreadable, *again]).cast(OUTCOME_COLUMNS)  # type: ignore[arg-type]


class PartWriter:
    """Writes frames into Parquet parts of `PART_ROWS` rows and counts what it wrote."""

    def __init__(self, folder: Path, columns: Mapping[str, pl.DataType]) -> None:
        self._folder, self._columns = folder, dict(columns)
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = self._parts = self._rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Take rows; whole parts of them are written at once."""
        self._waiting.append(frame)
        self._waiting_rows += frame.height
        while self._waiting_rows >= PART_ROWS:
            whole = pl.concat(self._waiting)
            self._write(whole.head(PART_ROWS))
            self._waiting = [whole.tail(whole.height - PART_ROWS)]
            self._waiting_rows = whole.height - PART_ROWS

    def _write(self, frame: pl.DataFrame) -> None:
        frame.write_parquet(self._folder / f"part-{self._parts:05d}.parquet", compression="zstd")
        self._parts += 1
        self._rows += frame.height

    def close(self) -> int:
        """Write what waits; return the rows written."""
        if self._waiting_rows or not self._parts:
            self._write(pl.concat([pl.DataFrame(schema=self._columns), *self._waiting]))
        return self._rows


def snapshot_place(source: str, night: str) -> str:
    """Where the snapshots of one source and night lie. A full pull lies under the night it was made for."""
    return f"snapshots/{source}/{night}"


def newest_snapshot(source: str, night: str | None) -> RunFolder | None:
    """The newest complete snapshot of a night, or of the newest night that has one; None when there is none.

    The newest is the one whose source time is: a pull that began earlier may well have ended later.
    """
    nights = [night] if night else sorted(staging.places(f"snapshots/{source}"), reverse=True)
    for name in nights:
        found = staging.folders(snapshot_place(source, name))
        if found:
            return max(found, key=_age)
    return None


def newest_of_every_night(source: str) -> list[RunFolder]:
    """The newest complete snapshot of each night of a source, the newest night first."""
    nights = sorted(staging.places(f"snapshots/{source}"), reverse=True)
    found = [newest_snapshot(source, night) for night in nights]
    return [folder for folder in found if folder is not None]


def _age(folder: RunFolder) -> tuple[datetime, datetime]:
    manifest = folder.manifest()
    return manifest.source_time or manifest.created_at, manifest.created_at
