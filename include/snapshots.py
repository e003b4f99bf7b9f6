"""A night's leads on the way from pages to one snapshot, with a checkpoint per page.

Each page becomes one small Parquet file that holds its rows and, in the file's metadata, the link to the next
page: rows and checkpoint are written in one move, so a crash can never leave one without the other. A walk that is
tried again goes on behind the last page it wrote. When every shard has reached its end the pages are put together
into parts of a useful size, repeats between shards are taken out, and the snapshot is committed whole.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
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
from include.vendors.platform import BadLeadError, LeadQuery, Page

FIRST_PAGE: Final = ""
"""Stands for the link to the first page, which the query itself is."""


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
    :param window: the half-open window whose leads belong to this shard; None takes every lead.
    """

    def __init__(
        self, folder: RunFolder, number: int, query: LeadQuery, window: tuple[datetime, datetime] | None
    ) -> None:
        self._folder, self._number, self._query, self._window = folder, number, query, window

    @property
    def _page_prefix(self) -> str:
        return f"s{self._number:02d}-"

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
        for position, item in enumerate(items):
            platform.check_item(item, self._query)
            try:
                row = platform.read_lead(item)
            except BadLeadError as error:
                if not self._belongs(platform.uploaded_at(item)):
                    continue
                inside.append(item)
                key = item.get("leadId")
                named = isinstance(key, int) and not isinstance(key, bool)
                name = str(key) if named else f"shard {self._number} page {number} item {position}"
                bad.append({"row_key": name, "detail": str(error)})
                continue
            if self._belongs(row["uploaded_at"]):
                inside.append(item)
                rows.append(row)
        facts = {
            "next": following,
            "inside": len(rows),
            "outside": len(items) - len(inside),
            "bad": bad,
            "fields": contract.count(inside),
        }
        buffer = io.BytesIO()
        pl.DataFrame(rows, schema=LEAD_COLUMNS).write_parquet(
            buffer, compression="zstd", metadata={"listkeeper": json.dumps(facts)}
        )
        self._folder.put(self._page_name(number), buffer.getvalue())

    def _belongs(self, uploaded_at: datetime | None) -> bool:
        """Whether a lead is of this window. The vendor counts both ends in (PL-15), we count the end out.

        A lead without an upload time was found by the vendor inside the window and is kept.
        """
        if self._window is None or uploaded_at is None:
            return True
        return self._window[0] <= uploaded_at < self._window[1]


def page_facts(content: bytes) -> dict[str, Any]:
    """What a page file says about itself: `next` link, rows `inside` and `outside` the window, `bad` leads,
    `fields` (`include.contract`).
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
    names: list[str] = []
    fields: list[contract.Fields] = []
    ids: list[pl.Series] = []
    seen = outside = 0
    bad: list[dict[str, str]] = []
    for shard in shards:
        following: str | None = FIRST_PAGE
        for name in shard.page_files():
            content = pages.get(name) or b""
            page = page_facts(content)
            following = page["next"]
            seen += page["inside"] + len(page["bad"])
            outside += page["outside"]
            bad += page["bad"]
            fields.append(page.get("fields", {}))
            ids.append(pl.read_parquet(io.BytesIO(content), columns=["lead_id"])["lead_id"])
            names.append(name)
        if following is not None:
            raise StagingError(
                "A shard of the pull has not come to its end, so no snapshot was made. Pull again."
            )
    seen_fields = contract.total(fields)
    facts = {**facts, "fields": seen_fields, "contract": judge(seen_fields)}
    all_ids = pl.concat(ids) if ids else pl.Series("lead_id", [], pl.Int64)
    last_seen = all_ids.is_last_distinct() if all_ids.n_unique() != len(all_ids) else None
    with snapshot.writing() as scratch:
        writer = _PartWriter(scratch)
        position = 0
        repeats: list[pl.DataFrame] = []
        for name in names:
            frame = pl.read_parquet(io.BytesIO(pages.get(name) or b""))
            if last_seen is not None:
                mask = last_seen.slice(position, len(frame))
                position += len(frame)
                repeats.append(frame.filter(~mask).select("row_key"))
                frame = frame.filter(mask)
            writer.add(frame)
        kept = writer.close()
        outcomes = [
            pl.DataFrame(bad, schema={"row_key": pl.String, "detail": pl.String}).select(
                "row_key",
                pl.lit("rejected").alias("state"),
                pl.when(pl.col("row_key").is_first_distinct())
                .then(pl.lit("source_unreadable"))
                .otherwise(pl.lit("source_repeated"))
                .alias("reason"),
                "detail",
                pl.lit(None, pl.Int64).alias("batch"),
            ),
            *(
                frame.select(
                    "row_key",
                    pl.lit("rejected").alias("state"),
                    pl.lit("source_repeated").alias("reason"),
                    pl.lit(None, pl.String).alias("detail"),
                    pl.lit(None, pl.Int64).alias("batch"),
                )
                for frame in repeats
            ),
        ]
        lost = pl.concat(outcomes).cast(OUTCOME_COLUMNS)  # type: ignore[arg-type]
        lost.write_parquet(scratch / "outcomes-00000.parquet")
        repeated = lost.filter(reason="source_repeated").height
        pulled = Pulled(len(names), seen, kept, lost.height - repeated, repeated, outside)
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


class _PartWriter:
    """Writes frames into Parquet parts of `PART_ROWS` rows and counts what it wrote."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = self._parts = self._rows = 0

    def add(self, frame: pl.DataFrame) -> None:
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
            self._write(pl.concat([pl.DataFrame(schema=LEAD_COLUMNS), *self._waiting]))
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
