"""The safe: what was put on a list last, encrypted, so that a person can put it back; house-keeping ends it (`copies`).

After a load that ended well the leads that went out (not the rendered payload: they must go through hygiene again)
are kept as a run folder `safe/<list>/<load>`, one sealed piece per part of the clean step, so that memory stays flat.
A piece is AES-256-GCM under a key that is derived from the installation's secret (`include.erasure.keys`) for this
purpose alone; it is bound to its folder, its name and the number of pieces, so that none can be swapped or left out.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import polars as pl

from include import staging
from include.erasure.keys import ErasureKey
from include.leads.schema import LEAD_COLUMNS
from include.plan import SENT
from include.staging import Manifest, RunFolder, run_path

if TYPE_CHECKING:
    from include.ledger import Load

SAFE: Final = "safe"
KEEP_COPIES: Final = 3
"""Copies of one list: what is on it now, and two before."""

SEALED: Final = ".sealed"
_NONCE: Final = 12


class SafeError(ValueError):
    """A copy cannot be opened or is not there; the message says what to do."""


@dataclass(frozen=True)
class Copy:
    """A copy in the safe: of which load, of which night, how many leads, when it was put there."""

    load: str
    target: str
    night: str | None
    rows: int
    kept_at: datetime
    folder: RunFolder


def keep(key: ErasureKey, load: Load) -> Copy:
    """Put the leads that a load sent into the safe, and throw the list's oldest copies out.

    One part of the leads is in memory at a time.
    """
    place = _place(load.target)
    folder = RunFolder(f"{place}/{load.id}")
    clean, plan = (RunFolder(run_path(load.dag_id, load.run_id, step)) for step in ("clean", "plan"))
    rows = 0
    with clean.reading("kept-*.parquet") as parts, plan.reading(SENT) as (sent,), folder.writing() as scratch:
        went = pl.scan_parquet(sent, glob=False).select("row_key")
        for number, part in enumerate(parts):
            leads = pl.read_parquet(part, columns=list(LEAD_COLUMNS), glob=False)
            # The plan sends in the order of the clean step, so a part's keys are among the next ones.
            mine = went.slice(rows, leads.height).collect()
            leads = leads.join(mine, on="row_key", how="semi", maintain_order="left")
            rows += leads.height
            name = f"part-{number:05d}{SEALED}"
            (scratch / name).write_bytes(seal(key, folder, name, len(parts), leads))
        in_all: int = went.select(pl.len()).collect().item()
        if rows != in_all:
            raise SafeError(
                f"{in_all:,} rows were sent, but {rows:,} of them are in the run's folder: no copy was kept."
            )
        facts = {"load": load.id, "target": load.target, "pieces": len(parts)}
        folder.commit(
            scratch,
            Manifest(kind=SAFE, rows=rows, source_time=load.source_time, night=load.night, facts=facts),
        )
    for old in copies(load.target)[KEEP_COPIES:]:
        old.folder.remove()
    return next(copy for copy in copies(load.target) if copy.load == load.id)


def copies(target: str) -> list[Copy]:
    """The copies of a list that are whole, the newest first."""
    found = [
        _copy(folder, folder.manifest()) for folder in staging.folders(_place(target)) if _is_whole(folder)
    ]
    return sorted(found, key=lambda copy: copy.kept_at, reverse=True)


def leads(key: ErasureKey, copy: Copy) -> Iterator[pl.DataFrame]:
    """The leads of a copy, piece by piece, with LEAD_COLUMNS.

    Raises SafeError for another key's copy, and for one that is cut, changed or not whole; use nothing of it then.
    """
    manifest = copy.folder.manifest()
    rows, pieces = 0, manifest.facts["pieces"]
    for number in range(pieces):
        name = f"part-{number:05d}{SEALED}"
        sealed = copy.folder.get(name)
        if sealed is None:
            raise SafeError(
                f"The copy of load {copy.load} is not whole: piece {number + 1} of {pieces} is gone."
            )
        frame = unseal(key, copy.folder, name, pieces, sealed)
        rows += frame.height
        yield frame
    if rows != manifest.rows:
        raise SafeError(f"The copy of load {copy.load} holds {rows:,} leads instead of {manifest.rows:,}.")


def seal(key: ErasureKey, folder: RunFolder, name: str, pieces: int, frame: pl.DataFrame) -> bytes:
    """Encrypt one piece of a copy."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    plain = io.BytesIO()
    frame.write_parquet(plain, compression="zstd")
    nonce = os.urandom(_NONCE)
    sealed: bytes = AESGCM(key.derived(SAFE)).encrypt(nonce, plain.getvalue(), _bound(folder, name, pieces))
    return nonce + sealed


def unseal(key: ErasureKey, folder: RunFolder, name: str, pieces: int, sealed: bytes) -> pl.DataFrame:
    """Decrypt one piece of a copy. Raises SafeError for another key's, and for what was cut or changed."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        plain = AESGCM(key.derived(SAFE)).decrypt(
            sealed[:_NONCE], sealed[_NONCE:], _bound(folder, name, pieces)
        )
    except (InvalidTag, ValueError):
        raise SafeError(
            f"The copy {folder.path} cannot be opened: it was sealed with another key than the one in the connection "
            "listkeeper_erasure, or it was changed. Choose another load, or put the old key back."
        ) from None
    return pl.read_parquet(io.BytesIO(plain))


def _place(target: str) -> str:
    return f"{SAFE}/{staging.slug(target)}"


def _is_whole(folder: RunFolder) -> bool:
    """Whether it is a copy with all its pieces: an erasure takes those out that it cannot search."""
    manifest = folder.manifest()
    return manifest.kind == SAFE and len(manifest.files) == manifest.facts["pieces"]


def _copy(folder: RunFolder, manifest: Manifest) -> Copy:
    facts = manifest.facts
    return Copy(
        facts["load"],
        facts["target"],
        manifest.night,
        manifest.rows,
        manifest.created_at.astimezone(UTC),
        folder,
    )


def _bound(folder: RunFolder, name: str, pieces: int) -> bytes:
    """What a piece is bound to besides the key."""
    return f"{folder.path}/{name} of {pieces}".encode()
