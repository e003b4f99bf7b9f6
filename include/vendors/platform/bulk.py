"""The Platform API's import of many leads at once (operations 12, 13 and 18): asynchronous, row by row.

The vendor's page names no status word and no field inside `result` and `errorList`; what stands here is PL-11 of our
notes, and the words are settings of the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from include.vendors.bodies import whole_number
from include.vendors.platform.answers import lost, read_answer, unexpected

MAX_LEADS: Final = 1000
"""Leads of one import (PL-18)."""

ERROR_PAGE: Final = 100
"""Errors of one page (PL-11)."""

ImportState = Literal["open", "done", "failed"]


@dataclass(frozen=True)
class BulkWords:
    """What the vendor says when an import has ended (PL-11); letter case is ignored.

    :param done: words for an import that went through all its rows, good and bad ones.
    :param failed: words for one that broke off.
    :param first_index: what `index` of an error counts from, 0 or 1.

    Any other word means that the import is not finished.
    """

    done: tuple[str, ...] = ("completed",)
    failed: tuple[str, ...] = ("failed",)
    first_index: int = 0

    def __post_init__(self) -> None:
        for name in ("done", "failed"):
            words = getattr(self, name)
            if not words or not all(isinstance(word, str) and word.strip() for word in words):
                raise ValueError(f"bulk_{name} must be a list of words")
        if self.first_index not in (0, 1) or isinstance(self.first_index, bool):
            raise ValueError("bulk_first_index must be 0 or 1")
        if {word.casefold() for word in self.done} & {word.casefold() for word in self.failed}:
            raise ValueError("a word stands in both bulk_done and bulk_failed")

    def state(self, word: str) -> ImportState:
        """What a status word says; one that nobody knows: not finished."""
        said = word.strip().casefold()
        if said in {known.casefold() for known in self.done}:
            return "done"
        return "failed" if said in {known.casefold() for known in self.failed} else "open"


@dataclass(frozen=True)
class Import:
    """An import that the vendor has taken in, and how far it is.

    :param word: the status as the vendor wrote it.
    :param total: rows it saw, `created` and `failed` its parts; None while it has not counted.
    :param error_uri: where its errors are; None when there are none.
    """

    uuid: str
    word: str
    state: ImportState = "open"
    total: int | None = None
    created: int | None = None
    failed: int | None = None
    error_uri: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RowError:
    """Why the vendor did not take one lead: its place among those that were sent (from 0), its key, its words."""

    index: int | None
    customer_key: str | None = field(repr=False)
    message: str = field(repr=False)


@dataclass(frozen=True)
class ErrorPage:
    """One numbered page of an import's errors; `next_uri` is None on the last."""

    errors: list[RowError]
    page: int | None
    pages: int | None
    next_uri: str | None = field(repr=False)


def bulk_body(leads: Sequence[Mapping[str, Any]]) -> bytes:
    """The JSON body of an import (operation 18). Raises ValueError unless it holds 1 to 1,000 leads."""
    if not 1 <= len(leads) <= MAX_LEADS:
        raise ValueError(f"an import takes 1 to {MAX_LEADS} leads, not {len(leads)}")
    return orjson.dumps({"leads": list(leads)})


def read_import(
    status: int, headers: Mapping[str, str], body: bytes, words: BulkWords, *, title: str, writes: bool
) -> Import:
    """Read the answer to an import (18) or to a question for its state (12).

    Raises the VendorError that fits; an accepted import without a `uuid` is one whose answer is lost. One without a
    status is accepted all the same: by its `uuid` we can ask.
    """
    answer = read_answer(status, headers, body, title, writes=writes)
    uuid, word = answer.get("uuid"), answer.get("status")
    if writes:
        if not isinstance(uuid, str) or not uuid:
            raise lost(f"answered the {title} without its uuid", status)
        word = word if isinstance(word, str) else ""
    elif not isinstance(uuid, str) or not isinstance(word, str) or not uuid:
        raise unexpected("an import without uuid and status", status)
    result = answer.get("result")
    counts = result if isinstance(result, dict) else {}
    link = answer.get("error_link")
    return Import(
        uuid,
        word,
        words.state(word),
        total=whole_number(counts.get("total")),
        created=whole_number(counts.get("created")),
        failed=whole_number(counts.get("failed")),
        error_uri=link if isinstance(link, str) and link else None,
    )


def read_error_page(
    status: int, headers: Mapping[str, str], body: bytes, words: BulkWords, *, title: str
) -> ErrorPage:
    """Read one page of errors (13): `errorList` as a list of objects, or as an object of them by index."""
    answer = read_answer(status, headers, body, title)
    raw = answer.get("errorList")
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(raw, list):
        pairs = ((None, entry) for entry in raw)
    elif isinstance(raw, dict):
        pairs = raw.items()
    else:
        raise unexpected("a page of errors without an errorList", status)
    link = answer.get("nextPageLink")
    return ErrorPage(
        [_row_error(place, entry, words.first_index) for place, entry in pairs],
        whole_number(answer.get("pageNo")),
        whole_number(answer.get("totalPages")),
        link if isinstance(link, str) and link else None,
    )


def _row_error(place: Any, entry: Any, first: int) -> RowError:
    found = entry if isinstance(entry, dict) else {"message": entry}
    index = _whole(found.get("index", place))
    key = found.get("customerKey")
    message = found.get("message", found.get("error"))
    return RowError(
        None if index is None else index - first,
        None if key in (None, "") else str(key),
        " ".join(str(message).split()) if message else "",
    )


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
