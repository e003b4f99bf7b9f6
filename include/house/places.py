"""What stands where in the staging area, and by the days of which class it goes.

A *place* is what goes at once: a snapshot, one step of a run, the pages of a pull. A file that belongs to no place that
is known here is never touched.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from include.erasure.requests import ERASURES
from include.staging import GONE, StagedFile

REPORTS: Final = ("outcomes", "report")
"""Steps of a run whose files are for people: where each row ended, and the report with its reject files."""

FOREVER: Final = ("certificate",)
"""Steps whose files stay: the proof of an erasure, without personal data."""

_DEPTH: Final = {"pulls": 3, "snapshots": 4, "runs": 4, "scrub": 3, ERASURES: 2, "safe": 3}
"""Folder of the staging area -> how many names make a place in it."""


@dataclass(frozen=True)
class Place:
    """Something that goes at once.

    :param path: below the root of the staging area.
    :param kept: its class, a field of `KeepDays`.
    :param scope: what its age is that of: of a step its whole run.
    """

    path: str
    kept: str
    scope: str


def place_of(file: str) -> Place | None:
    """The place that a file belongs to, by its path; None for what house-keeping leaves alone."""
    parts = file.split("/")
    depth = _DEPTH.get(parts[0])
    if depth is None or any(part in ("", ".", "..") for part in parts):
        return None
    hidden = next((number for number, part in enumerate(parts) if part.startswith(".")), None)
    if hidden is not None:  # a scratch of a step that was killed: of something that never came to be
        path = "/".join(parts[: hidden + 1])
        return Place(path, "unfinished", path)
    if len(parts) <= depth:
        return None
    path = "/".join(parts[:depth])
    kept = _class_of(parts)
    return (
        None if kept is None else Place(path, kept, posixpath.dirname(path) if parts[0] == "runs" else path)
    )


def is_place(path: str, kept: str) -> bool:
    """Whether a path names a place of this class."""
    place = place_of(f"{path}/file")
    return place is not None and (place.path, place.kept) == (path, kept)


def _class_of(parts: list[str]) -> str | None:
    top, name, step = parts[0], parts[1], parts[3] if len(parts) > 3 else ""
    if top == "pulls":
        return "unfinished"
    if top == "snapshots":
        return "calls" if name.endswith("_calls") else "leads"
    if top == "scrub":
        return "scrub"
    if top == ERASURES:
        return "erasures"
    if top == "safe":
        return "copies"
    if step in FOREVER:
        return None
    return "rejects" if step in REPORTS else "working"


@dataclass
class Found:
    """A place as it stands: its files, and when it (of a step: its run) was last written."""

    place: Place
    changed_at: datetime
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Survey:
    """Everything that is staged.

    :param found: the places, by path.
    :param remains: what a removal that broke off has left, hidden: it was counted already.
    :param unknown: folders that house-keeping does not know, and links; it leaves them alone.
    """

    found: dict[str, Found]
    remains: list[str]
    unknown: list[str]


def survey(files: list[StagedFile], left_alone: tuple[str, ...]) -> Survey:
    """Sort staged files into places.

    :param left_alone: folders that are known, and not house-keeping's business.
    """
    found: dict[str, Found] = {}
    remains, unknown = set(), set()
    newest: dict[str, datetime] = {}
    for file in files:
        parts = file.path.split("/")
        gone = next((number for number, part in enumerate(parts) if part.endswith(GONE)), None)
        if gone is not None and parts[0] in _DEPTH:
            remains.add("/".join(parts[: gone + 1]))
            continue
        place = place_of(file.path)
        if parts[0] == "runs" and len(parts) > 3 and not parts[2].startswith("."):
            # Also by files that stay: what is written into a run shows that it goes on.
            run = "/".join(parts[:3])
            newest[run] = max(newest.get(run, file.changed_at), file.changed_at)
        if place is None:
            if parts[0] not in left_alone and not (
                parts[0] == "runs" and len(parts) > 3 and parts[3] in FOREVER
            ):
                unknown.add(file.path if parts[0] in _DEPTH else parts[0])
            continue
        here = found.setdefault(place.path, Found(place, file.changed_at))
        here.files += 1
        here.bytes += file.bytes
        newest[place.scope] = max(newest.get(place.scope, file.changed_at), file.changed_at)
    for here in found.values():
        here.changed_at = newest[here.place.scope]
    return Survey(found, sorted(remains), sorted(unknown))
