"""Finds one customer in everything that is staged, and takes them out: snapshots, run folders, payloads, rejects.

Rows of Parquet parts and of lists are removed, a row of a payload is emptied (its place tells which row it was), any
other file that names the customer is removed whole: a workbook, a report with a sample. The manifest of a folder says
afterwards what its files are now. What will be changed in a folder is noted before it is changed, so that a try after
a crash loses no count and leaves no folder that contradicts its manifest.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import polars as pl

from include import safe, settings
from include.erasure.erased import SUPPRESSED
from include.erasure.keys import ErasureKey
from include.erasure.person import Person
from include.erasure.requests import ERASURES
from include.plan import PAYLOAD
from include.staging import MANIFEST, FileEntry, Manifest, RunFolder, StagingError, sha256_of_bytes
from include.storage import open_place

NOTES: Final = "swept.json"
SKIPPED: Final = (ERASURES, SUPPRESSED)
LARGEST_TEXT: Final = 64 * 1024 * 1024
"""Bytes up to which a file that is no table is searched as text."""

DATA: Final = ("part-", "kept-")
"""Names of the files whose rows a manifest counts."""


@dataclass(frozen=True)
class FileHit:
    """A file that names the customer: rows found, and what stays of it (None: the file goes)."""

    name: str
    rows: int
    left: bytes | None


class Sweep:
    """The staging area, searched for one customer.

    :param person: whom to look for.
    :param notes: folder of this erasure; None to look only.
    :param key: opens the copies in the safe; a copy that it does not open counts as naming the customer, and goes.
    """

    def __init__(self, person: Person, notes: RunFolder | None = None, key: ErasureKey | None = None) -> None:
        self._person, self._notes, self._key = person, notes, key
        self.lead_ids: set[int] = set()
        """Ids of the customer's leads, as far as rows say them."""
        self.found: dict[str, dict[str, int]] = {}
        """Folder -> files and rows that name the customer."""

    def look(self) -> dict[str, dict[str, int]]:
        """Find the customer; changes nothing."""
        for folder, names in self._folders():
            hits = self._search(folder, names)
            if hits:
                self.found[folder] = _counts(hits)
        return self.found

    def remove(self) -> dict[str, dict[str, int]]:
        """Take the customer out. Returns what was taken out, over all tries of this erasure."""
        assert self._notes is not None
        noted: dict[str, dict[str, Any]] = json.loads(self._notes.get(NOTES) or b"{}")
        for folder, names in self._folders():
            hits = self._search(folder, names)
            before = noted.get(folder, {})
            if not hits and before.get("done", True):
                continue
            own = RunFolder(folder)
            manifest = _manifest(own)
            if hits:
                counts = _counts(hits)
                # A try that broke off has noted all that it was about to take out; this one finds the rest of it.
                left = {name: max(counts[name], before.get(name, 0)) for name in counts} if before else counts
                if before.get("done"):
                    left = {name: counts[name] + before[name] for name in counts}
                rows = before.get("manifest_rows") if before and not before["done"] else None
                if rows is None and manifest is not None:
                    rows = manifest.rows - sum(h.rows for h in hits if h.name.startswith(DATA))
                noted[folder] = {**left, "manifest_rows": rows, "done": False}
                self._note(noted)
                for hit in hits:
                    if hit.left is None:
                        own.discard(hit.name)
                    else:
                        own.put(hit.name, hit.left)
            if manifest is not None:
                _write_manifest(own, manifest, noted[folder]["manifest_rows"])
            noted[folder]["done"] = True
            self._note(noted)
        self.found = {
            folder: {"files": found["files"], "rows": found["rows"]} for folder, found in noted.items()
        }
        return self.found

    def _note(self, noted: dict[str, dict[str, Any]]) -> None:
        assert self._notes is not None
        self._notes.put(NOTES, json.dumps(noted).encode())

    def _folders(self) -> Iterator[tuple[str, list[str]]]:
        """Every folder with the names of its files, hidden ones (of a try that was killed) included."""
        root = open_place(settings.staging_url())
        waiting = [""] if root.exists() else []
        while waiting:
            place = waiting.pop()
            names: list[str] = []
            for path in sorted((root / place if place else root).iterdir(), key=lambda found: found.name):
                below = str(PurePosixPath(place, path.name))
                if path.is_dir():
                    if below not in SKIPPED:
                        waiting.append(below)
                else:
                    names.append(path.name)
            if names:
                yield place, names

    def _search(self, folder: str, names: list[str]) -> list[FileHit]:
        hits = (self._file(RunFolder(folder), name) for name in names if name != MANIFEST)
        return [hit for hit in hits if hit is not None]

    def _file(self, folder: RunFolder, name: str) -> FileHit | None:
        content = folder.get(name)
        if content is None:
            return None
        suffix = PurePosixPath(name).suffix
        if suffix == safe.SEALED:
            return self._piece(folder, name, content)
        if suffix in (".parquet", ".arrow"):
            return self._table(name, content, arrow=suffix == ".arrow")
        if suffix == ".csv":
            return self._csv(name, content)
        if suffix == ".xlsx":
            return FileHit(name, 1, None) if self._in_workbook(content) else None
        found = len(content) <= LARGEST_TEXT and self._person.in_text(content.decode("utf-8", "replace"))
        return FileHit(name, 1, None) if found else None

    def _piece(self, folder: RunFolder, name: str, content: bytes) -> FileHit | None:
        """A piece of a copy in the safe: sealed again without the customer, or gone when nobody can read it."""
        manifest = _manifest(folder)
        try:
            if self._key is None or manifest is None:
                return FileHit(name, 0, None)
            pieces = manifest.facts["pieces"]
            frame = safe.unseal(self._key, folder, name, pieces, content)
        except (safe.SafeError, KeyError):
            return FileHit(name, 0, None)
        hit = self._named(frame)
        if not hit.any():
            return None
        self.lead_ids.update(frame.filter(hit)["lead_id"].drop_nulls().to_list())
        left = safe.seal(self._key, folder, name, pieces, frame.filter(~hit))
        return FileHit(name, int(hit.sum()), left)

    def _table(self, name: str, content: bytes, *, arrow: bool) -> FileHit | None:
        try:
            frame = pl.read_ipc(io.BytesIO(content)) if arrow else pl.read_parquet(io.BytesIO(content))
        except pl.exceptions.PolarsError:
            return None  # cut: nobody can read it, and the folder it belongs to was never committed
        hit = self._named(frame)
        if not hit.any():
            return None
        gone = frame.filter(hit)
        if "lead_id" in frame.columns and not name.startswith("archive"):
            self.lead_ids.update(gone["lead_id"].drop_nulls().to_list())
        if arrow:
            return FileHit(name, gone.height, None)
        buffer = io.BytesIO()
        metadata = pl.read_parquet_metadata(io.BytesIO(content))
        kept = {key: value for key, value in metadata.items() if key != "ARROW:schema"}
        frame.filter(~hit).write_parquet(buffer, compression="zstd", metadata=kept or None)
        return FileHit(name, gone.height, buffer.getvalue())

    def _named(self, frame: pl.DataFrame) -> pl.Series:
        """Which rows name the customer."""
        named = pl.any_horizontal(pl.lit(value=False), *self._cells(frame)).fill_null(value=False)
        return frame.select(named=named)["named"]

    def _cells(self, frame: pl.DataFrame) -> list[pl.Expr]:
        """Per column: whether its cell names the customer."""
        numbers = self._person.numbers()
        found = []
        for name, kind in frame.schema.items():
            if kind == pl.String:
                found.append(pl.col(name).str.contains(self._person.pattern))
            elif kind.is_integer() and name != "row_hash":
                found.append(pl.col(name).cast(pl.Int64, strict=False).is_in(numbers))
        return found

    def _csv(self, name: str, content: bytes) -> FileHit | None:
        text = content.decode("utf-8", "replace")
        if not self._person.in_text(text):
            return None
        end = "\r\n" if "\r\n" in text[:4096] else "\n"
        out = io.StringIO()
        writer = csv.writer(out, lineterminator=end)
        gone = 0
        for row in csv.reader(io.StringIO(text, newline="")):
            if any(self._person.in_text(cell) for cell in row):
                gone += 1
                if name != PAYLOAD:
                    continue
                row = [""] * len(row)
            writer.writerow(row)
        # Named across two cells only: nothing was found by cells, and nothing is lost by leaving it.
        return FileHit(name, gone, out.getvalue().encode()) if gone else None

    def _in_workbook(self, content: bytes) -> bool:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as book:
                return any(
                    self._person.in_text(book.read(part).decode("utf-8", "replace"))
                    for part in book.namelist()
                    if part.endswith(".xml")
                )
        except zipfile.BadZipFile:
            return False


def _counts(hits: list[FileHit]) -> dict[str, int]:
    return {"files": len(hits), "rows": sum(hit.rows for hit in hits)}


def _manifest(folder: RunFolder) -> Manifest | None:
    try:
        return folder.manifest() if folder.exists() else None
    except StagingError:
        return None


def _write_manifest(folder: RunFolder, manifest: Manifest, rows: int) -> None:
    """Say what the folder's files are now. Only files of the manifest: what came beside it was never part of it."""
    files = {}
    for name in manifest.files:
        content = folder.get(name)
        if content is not None:
            files[name] = FileEntry(len(content), sha256_of_bytes(content))
    facts = manifest.facts | {"erased": manifest.facts.get("erased", 0) + manifest.rows - rows}
    changed = Manifest(**{**manifest.__dict__, "rows": rows, "files": files, "facts": facts})
    folder.put(MANIFEST, changed.to_json())
