"""Run folders: what one step hands to the next, there whole or not at all.

A run folder holds files (Parquet parts, a CSV payload, a report) and a `manifest.json` that names each file with
its size and SHA-256, the row count and the source time. The manifest is what makes the folder exist: a reader
that finds none sees nothing, and a reader that finds one can tell a cut or foreign file from the real one.

The root is a URL (`LISTKEEPER_STAGING`): a folder by default, object storage when workers share no disk.
Writers work in a local scratch folder; committing moves it (same disk) or uploads it, the manifest last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from upath import UPath

from include import settings
from include.scratch import scratch_folder
from include.storage import is_local, open_place

MANIFEST: Final = "manifest.json"
SCHEMA_VERSION: Final = 1
PART_ROWS: Final = 50_000
"""Rows of one Parquet part: large enough to compress, small enough to hold."""


class StagingError(Exception):
    """A run folder is missing, incomplete, or not what its manifest says."""


@dataclass(frozen=True)
class FileEntry:
    """One file of a run folder, as it was committed."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a run folder holds.

    `rows` counts the rows of its data files, `source_time` is the moment the rows describe (what the fence
    compares), `facts` are the few counts and settings that the next step needs.
    """

    kind: str
    rows: int
    source_time: datetime | None = None
    night: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    schema_version: int = SCHEMA_VERSION
    files: dict[str, FileEntry] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Write the manifest as JSON, times in ISO 8601."""
        return json.dumps(asdict(self), default=lambda v: v.isoformat(), indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Read what `to_json` wrote. Raises StagingError for another schema version, and for what is no manifest."""
        try:
            raw = json.loads(text)
            if raw["schema_version"] != SCHEMA_VERSION:
                raise StagingError(
                    f"This run folder was written in schema version {raw['schema_version']}, this release "
                    f"reads {SCHEMA_VERSION}. Run the step that made it again."
                )
            raw["files"] = {name: FileEntry(**entry) for name, entry in raw["files"].items()}
            raw["created_at"] = datetime.fromisoformat(raw["created_at"])
            raw["source_time"] = datetime.fromisoformat(raw["source_time"]) if raw["source_time"] else None
            return cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StagingError("Its manifest is cut or changed. Run the step that writes it again.") from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a local file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(content: bytes) -> str:
    """SHA-256 of some bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


class RunFolder:
    """One folder of the staging area.

    :param path: its place below the staging root, e.g. `snapshots/callers/2026-11-20/manual-1a2b`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._root = _root() / path
        self._local = Path(self._root.path) if is_local(self._root) else None

    def __repr__(self) -> str:
        return f"RunFolder({self.path!r})"

    def exists(self) -> bool:
        """Whether the folder has been committed."""
        return bool((self._root / MANIFEST).exists())

    def manifest(self) -> Manifest:
        """Read the manifest. Raises StagingError when the folder was never committed."""
        try:
            return Manifest.from_json((self._root / MANIFEST).read_bytes())
        except FileNotFoundError:
            raise StagingError(
                f"There is no complete run folder at {self.path}. The step that writes it has not ended, or "
                f"house-keeping removed it: run that step again."
            ) from None
        except StagingError as error:
            raise StagingError(f"{self.path} cannot be read. {error}") from None

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Yield an empty local folder to write files into; `commit` makes it the run folder.

        Without a commit everything written is removed again.
        """
        if self._local is None:
            with scratch_folder() as scratch:
                yield scratch
            return
        self._local.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._local.parent / f".{self._local.name}.{uuid.uuid4().hex[:8]}"
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def commit(self, scratch: Path, manifest: Manifest) -> Manifest:
        """Make what stands in `scratch` the content of this folder, at once; replaces an earlier content."""
        files = {
            path.name: FileEntry(path.stat().st_size, sha256_of(path))
            for path in sorted(scratch.iterdir())
            if path.name != MANIFEST
        }
        whole = Manifest(**{**manifest.__dict__, "files": files})
        if self._local is not None:
            (scratch / MANIFEST).write_bytes(whole.to_json())
            if self._local.exists():
                old = scratch.with_name(scratch.name + ".old")
                self._local.rename(old)
                scratch.rename(self._local)
                shutil.rmtree(old, ignore_errors=True)
            else:
                scratch.rename(self._local)
        else:
            (self._root / MANIFEST).unlink(missing_ok=True)
            for name in files:
                with (scratch / name).open("rb") as source, (self._root / name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
            (self._root / MANIFEST).write_bytes(whole.to_json())
            for name in {*self.names()} - {*files, MANIFEST}:  # of an earlier content
                self.discard(name)
        return whole

    @contextmanager
    def reading(self, pattern: str = "*") -> Iterator[list[Path]]:
        """Yield local paths of the committed files that match, in name order, each checked against the manifest.

        Raises StagingError when a file is missing or differs from what was committed.
        """
        manifest = self.manifest()
        names = sorted(name for name in manifest.files if Path(name).match(pattern))
        if self._local is not None:
            yield [self._checked(self._local / name, manifest.files[name]) for name in names]
            return
        with scratch_folder() as scratch:
            paths = []
            for name in names:
                target = scratch / name
                with (
                    suppress(FileNotFoundError),
                    (self._root / name).open("rb") as source,
                    target.open("wb") as copy,
                ):
                    shutil.copyfileobj(source, copy, 1 << 20)
                paths.append(self._checked(target, manifest.files[name]))
            yield paths

    def _checked(self, path: Path, entry: FileEntry) -> Path:
        if not path.exists() or path.stat().st_size != entry.bytes or sha256_of(path) != entry.sha256:
            raise StagingError(
                f"{self.path}/{path.name} is not the file that was committed (it is missing, cut or changed). "
                f"Run the step that writes it again."
            )
        return path

    def put(self, name: str, content: bytes) -> None:
        """Write one small file, whole or not at all, without committing the folder (a checkpoint)."""
        if self._local is None:
            (self._root / name).write_bytes(content)
            return
        self._local.mkdir(parents=True, exist_ok=True)
        scratch = self._local / f".{name}.{uuid.uuid4().hex[:8]}"
        scratch.write_bytes(content)
        scratch.rename(self._local / name)

    def get(self, name: str) -> bytes | None:
        """Read one small file, None when it is not there."""
        try:
            return bytes((self._root / name).read_bytes())
        except FileNotFoundError:
            return None

    def discard(self, name: str) -> None:
        """Remove one small file, if it is there."""
        (self._root / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Names of the files present, committed or not, sorted."""
        if not self._root.exists():
            return []
        return sorted(p.name for p in self._root.iterdir() if not p.name.startswith("."))

    def remove(self) -> None:
        """Remove the folder and what is in it; at once for whoever looks for it from now on."""
        remove(self.path)


def _root() -> UPath:
    return open_place(settings.staging_url())


def folders(below: str) -> list[RunFolder]:
    """Committed run folders directly below a place, in name order."""
    root = _root() / below
    if not root.exists():
        return []
    names = sorted(p.name for p in root.iterdir() if not p.name.startswith("."))
    return [f for f in (RunFolder(f"{below}/{name}") for name in names) if f.exists()]


def places(below: str) -> list[str]:
    """Names of what stands directly below a place, committed or not, sorted."""
    root = _root() / below
    return sorted(p.name for p in root.iterdir() if not p.name.startswith(".")) if root.exists() else []


@dataclass(frozen=True)
class StagedFile:
    """A file of the staging area: its place below the root, and when it was last written (UTC)."""

    path: str
    bytes: int
    changed_at: datetime


def files(below: str = "") -> list[StagedFile]:
    """Every file below a place, hidden ones and those of steps under way too, in name order.

    On a local disk a link counts as a file, and is never followed.
    """
    root = _root()
    if not is_local(root):
        base = root.path.rstrip("/")
        found = root.fs.find(f"{base}/{below}" if below else base, detail=True)
        listed = [
            StagedFile(name.removeprefix(base).strip("/"), info["size"] or 0, _changed_at(info))
            for name, info in found.items()
        ]
        return sorted(listed, key=lambda file: file.path)
    top, listed = Path(root.path), []
    start = top / below
    walk: Iterable[tuple[str, list[str], list[str]]] = os.walk(start)
    for folder, inner, names in [(str(start.parent), [], [start.name])] if start.is_file() else walk:
        for name in [*names, *(name for name in inner if Path(folder, name).is_symlink())]:
            path = Path(folder, name)
            try:
                stat = path.lstat()
            except FileNotFoundError:
                continue  # a step that is at work has just moved it
            changed = datetime.fromtimestamp(stat.st_mtime, UTC)
            listed.append(StagedFile(path.relative_to(top).as_posix(), stat.st_size, changed))
    return sorted(listed, key=lambda file: file.path)


def _changed_at(info: Mapping[str, Any]) -> datetime:
    """When an object was written, by whichever name its storage has for it; now, where it does not say."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        moment = info.get(name)
        if isinstance(moment, (int, float)):
            return datetime.fromtimestamp(moment, UTC)
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        if isinstance(moment, datetime):
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return datetime.now(UTC)


GONE: Final = ".gone"
"""Ends the hidden name of what is being removed; whoever finds one may remove it."""


def remove(path: str) -> None:
    """Remove a folder or a file, if it is there.

    A folder is first moved out of sight, or loses its manifest: a crash never leaves half of one that looks whole. A
    link goes, what it leads to stays.
    """
    root = _root() / path
    if not is_local(root):
        (root / MANIFEST).unlink(missing_ok=True)
        if root.exists():
            root.fs.rm(root.path, recursive=True)
        return
    local = Path(root.path)
    if local.is_symlink() or local.is_file():
        local.unlink(missing_ok=True)
    elif local.is_dir():
        gone = local.with_name(f".{local.name}.{uuid.uuid4().hex[:8]}{GONE}")
        local.rename(gone)
        shutil.rmtree(gone)


def prune(path: str) -> None:
    """Remove the empty folders above a place that was removed, as far as the folder of its source or DAG."""
    root = _root()
    if is_local(root):
        for parent in list(Path(path).parents)[:-3]:
            try:
                (Path(root.path) / parent).rmdir()
            except OSError:  # not empty, or gone
                return


def slug(text: str) -> str:
    """A file name for a run id: its readable part, and enough of a hash to be its own."""
    readable = "".join(c if c.isalnum() else "-" for c in text)[:40].strip("-").lower()
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def run_path(dag_id: str, run_id: str, step: str) -> str:
    """Where one step of one DAG run keeps its run folder."""
    return f"runs/{dag_id}/{slug(run_id)}/{step}"
