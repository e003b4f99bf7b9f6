"""Requests of erasure: sealed while they wait, gone when they have ended.

An analyst gives number and address on a page of ours, never in a DAG's form: Airflow keeps and shows the conf of a run.
The run knows the request by its id.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

from include.erasure.keys import ErasureKey
from include.erasure.person import Person
from include.staging import RunFolder

ID: Final = r"[0-9a-f]{32}"
ERASURES: Final = "erasures"
SEALED: Final = "request.sealed"


class UnknownRequestError(ValueError):
    """There is no such request, or it has ended."""


@dataclass(frozen=True)
class Request:
    """Who is to be erased, and who asked."""

    id: str
    person: Person
    requested_by: str | None


def folder_of(request: str) -> RunFolder:
    """Where a request waits, and the erasure notes how far it came. Raises UnknownRequestError for what is no id."""
    if not re.fullmatch(ID, request):
        raise UnknownRequestError("That is no id of a request. Ask for an erasure on Listkeeper's page.")
    return RunFolder(f"{ERASURES}/{request}")


def store(key: ErasureKey, person: Person, requested_by: str | None) -> Request:
    """Seal a new request."""
    request = Request(secrets.token_hex(16), person, requested_by)
    content = {"phone": person.phone, "email": person.email, "requested_by": requested_by}
    folder_of(request.id).put(SEALED, key.seal(content))
    return request


def read(key: ErasureKey, request: str) -> Request:
    """Open a request. Raises UnknownRequestError when it was never made or has ended, ErasureKeyError."""
    sealed = folder_of(request).get(SEALED)
    if sealed is None:
        raise UnknownRequestError(
            "This request has ended, or was never made. Ask for an erasure on the page again."
        )
    content = key.open(sealed)
    return Request(request, Person(content["phone"], content["email"]), content["requested_by"])


def forget(request: str) -> None:
    """Remove number and address: the request has ended."""
    folder_of(request).discard(SEALED)
