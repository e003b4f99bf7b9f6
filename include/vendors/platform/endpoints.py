"""The 23 endpoints of the Platform API in one table, and what a connection may say about a tenant.

The vendor's page shows neither paths nor methods, so nearly all of them are deduced or assumed (`mark`). A connection
replaces any of them (PL-3) without a line of code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote

from include.vendors.platform.bulk import BulkWords

DEFAULT_PREFIX: Final = "/platform-api"

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Endpoint:
    """One operation of the vendor's page.

    :param number: its place on that page, which our notes count by.
    :param name: our name for it; the hook's method has the same, and the connection's extra `paths` too.
    :param title: what it is, in the words of an error message ("the list of leads").
    :param path: template below the prefix.
    :param mark: how we know the path: DOC, PUB (another public page), READ (deduced) or ASSUMPTION.
    :param repeats: whether the same request may be sent again when its answer was lost.
    """

    number: int
    name: str
    title: str
    method: str
    path: str
    mark: Literal["DOC", "PUB", "READ", "ASSUMPTION"]
    repeats: bool = True

    @property
    def writes(self) -> bool:
        """Whether it changes something at the vendor."""
        return self.method != "GET"


_ALL: Final = (
    Endpoint(1, "get_activity", "activity", "GET", "/v3.0/activities/{activityId}", "READ"),
    Endpoint(2, "list_activities", "list of activities", "GET", "/v3.0/activities", "PUB"),
    Endpoint(
        3,
        "outbound_statistics",
        "statistics of an outbound campaign",
        "GET",
        "/v3.0/campaign/{campaignId}/statistics/outbound",
        "ASSUMPTION",
    ),
    Endpoint(
        4,
        "inbound_statistics",
        "statistics of an inbound campaign",
        "GET",
        "/v3.0/campaign/{campaignId}/statistics/inbound",
        "ASSUMPTION",
    ),
    Endpoint(5, "download_media", "media file", "GET", "/v3.0/media/{mediaId}", "DOC"),
    Endpoint(6, "get_voicemail", "voicemail", "GET", "/v3.0/media/{mediaId}/voicemail", "ASSUMPTION"),
    Endpoint(7, "get_recording", "recording", "GET", "/v3.0/media/{mediaId}/recording", "ASSUMPTION"),
    Endpoint(8, "list_leads", "list of leads", "GET", "/v3.0/leads", "READ"),
    Endpoint(9, "create_lead", "creation of a lead", "POST", "/v3.0/leads", "READ", repeats=False),
    Endpoint(10, "list_lists", "list of lead lists", "GET", "/v3.0/leads/lists", "ASSUMPTION"),
    Endpoint(
        11, "create_list", "creation of a list", "POST", "/v3.0/leads/lists", "ASSUMPTION", repeats=False
    ),
    Endpoint(12, "bulk_status", "state of an import", "GET", "/v3.0/leads/bulk/{uuid}", "ASSUMPTION"),
    Endpoint(13, "bulk_errors", "errors of an import", "GET", "/v3.0/leads/bulk/{uuid}/errors", "ASSUMPTION"),
    Endpoint(14, "get_list", "lead list", "GET", "/v3.0/leads/lists/{listId}", "ASSUMPTION"),
    Endpoint(15, "get_lead", "lead", "GET", "/v3.0/leads/{leadId}", "READ"),
    Endpoint(16, "update_lead", "update of a lead", "PUT", "/v3.0/leads/{leadId}", "READ"),
    Endpoint(17, "delete_lead", "deletion of a lead", "DELETE", "/v3.0/leads/{leadId}", "READ"),
    Endpoint(18, "bulk_create", "import of leads", "POST", "/v3.0/leads/bulk/", "DOC", repeats=False),
    # It may be repeated, but the second answer counts nothing any more, and the counts are the proof.
    Endpoint(
        19,
        "delete_customer",
        "erasure of a customer",
        "DELETE",
        "/v3.0/customer",
        "ASSUMPTION",
        repeats=False,
    ),
    Endpoint(20, "get_call", "dialler call", "GET", "/v3.0/dialler/{attemptId}", "ASSUMPTION"),
    Endpoint(21, "list_calls", "list of dialler calls", "GET", "/v3.0/dialler", "ASSUMPTION"),
    Endpoint(22, "list_users", "list of users", "GET", "/v3.0/users", "READ"),
    Endpoint(23, "set_presence", "presence of an agent", "PUT", "/v3.0/availability", "ASSUMPTION"),
)

ENDPOINTS: Final[Mapping[str, Endpoint]] = {endpoint.name: endpoint for endpoint in _ALL}
"""Every endpoint by our name for it, in the order of the vendor's page."""

_OVERRIDE: Final = re.compile(rf"(?:({'|'.join(METHODS)}) )?(/\S*)")


@dataclass(frozen=True)
class PlatformSettings:
    """What a connection may say about a tenant.

    :param prefix: path before `/v3.0`, `/` for nothing (PL-1).
    :param auth_header: header that carries the token (PL-2).
    :param auth_scheme: word before the token; `none` for the token alone (PL-2).
    :param paths: replacements of single endpoints by name: a path, or method and path ("PATCH /v3.0/x") (PL-3).
    :param null_clears: whether an explicit null empties a field of a lead; else it changes nothing (PL-9).
    :param bulk: what the vendor says when an import has ended (PL-11).
    """

    prefix: str = DEFAULT_PREFIX
    auth_header: str = "Authorization"
    auth_scheme: str = "Bearer"
    paths: Mapping[str, str] = field(default_factory=dict)
    null_clears: bool = False
    bulk: BulkWords = field(default_factory=BulkWords)

    def __post_init__(self) -> None:
        if not isinstance(self.paths, Mapping) or set(self.paths) - set(ENDPOINTS):
            raise ValueError(
                f"paths must be an object of paths by endpoint; known are {', '.join(ENDPOINTS)}"
            )
        for name, path in self.paths.items():
            if not isinstance(path, str) or not _OVERRIDE.fullmatch(path):
                raise ValueError(f'paths.{name} must be a path that begins with a slash, or "METHOD /path"')
            if foreign := _places(path) - _places(ENDPOINTS[name].path):
                raise ValueError(f"paths.{name} has no {', '.join(sorted(foreign))} to fill in")
        if self.prefix and not self.prefix.startswith("/"):
            raise ValueError(f"prefix must begin with a slash, not {self.prefix!r}")
        if not self.auth_header:
            raise ValueError("auth_header must not be empty")
        if not isinstance(self.null_clears, bool):
            raise ValueError("null_clears must be true or false")

    def method(self, name: str) -> str:
        """The HTTP method of an endpoint on this tenant."""
        return self._override(name)[0] or ENDPOINTS[name].method

    def path(self, name: str, **values: int | str) -> str:
        """The path of an endpoint on this tenant, prefix included."""
        path = self._override(name)[1] or ENDPOINTS[name].path
        # A uuid is the vendor's text: it must not lead to another path.
        ids = {place: quote(str(value), safe="") for place, value in values.items()}
        return self.prefix.rstrip("/") + path.format(**ids)

    def auth(self, token: str) -> dict[str, str]:
        """The header that authenticates a request."""
        return {
            self.auth_header: token if self.auth_scheme in ("", "none") else f"{self.auth_scheme} {token}"
        }

    def _override(self, name: str) -> tuple[str | None, str | None]:
        found = _OVERRIDE.fullmatch(self.paths.get(name, ""))
        return (found[1], found[2]) if found else (None, None)


def _places(path: str) -> set[str]:
    return set(re.findall(r"\{([^}]*)\}", path))
