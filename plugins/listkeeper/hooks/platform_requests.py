"""Platform API (ipSCAPE): how the hook asks, and when it asks again; its methods are in `listkeeper.hooks.platform`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from airflow.sdk import Connection

from include.snapshots import FIRST_PAGE
from include.vendors import platform
from include.vendors.errors import LostAnswerError, RateLimitedError, RequestRefusedError, VendorError
from include.vendors.platform import (
    ENDPOINTS,
    BadCursorError,
    BulkWords,
    Import,
    Page,
    PlatformSettings,
    Query,
)
from listkeeper.hooks.vendor import Answer, VendorHook

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIES = 5
"""Tries of one request before the task fails; the task's next try goes on from what it has."""

LONGEST_WAIT = 60.0
"""Seconds a worker is held for an answer. A vendor that asks for more gets a failed try with that delay instead."""


class PlatformRequests(VendorHook):
    """
    Send requests to the Platform API and read their answers.

    A read is tried again while that makes sense. A write is tried again when it provably left nothing (no connection,
    429); when its answer is lost, only where a repeat changes nothing: else LostAnswerError tells the caller that
    nobody knows.

    :param platform_conn_id: connection of type `platform`: host, password = API token.
    :param sleep: waits between tries; tests pass their own.
    """

    vendor = platform.VENDOR
    conn_name_attr = "platform_conn_id"
    default_conn_name = "platform_default"
    conn_type = "platform"
    hook_name = "Platform API (ipSCAPE)"
    own_extras = (
        "prefix",
        "auth_header",
        "auth_scheme",
        "paths",
        "null_clears",
        "bulk_done",
        "bulk_failed",
        "bulk_first_index",
    )

    def __init__(
        self, platform_conn_id: str = default_conn_name, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(platform_conn_id)
        self._sleep = sleep

    def settings(self, connection: Connection) -> PlatformSettings:
        """What the connection says about the tenant."""
        extras = self.extras(connection)
        found = {
            name: extras[name] for name in ("prefix", "auth_header", "auth_scheme", "paths") if name in extras
        }
        words = {
            name: _words(extras[f"bulk_{name}"]) for name in ("done", "failed") if f"bulk_{name}" in extras
        }
        bulk = BulkWords(**words, first_index=extras.get("bulk_first_index", 0))
        return PlatformSettings(
            **found, null_clears=str(extras.get("null_clears", False)).lower() == "true", bulk=bulk
        )

    def auth_headers(self, connection: Connection) -> dict[str, str]:
        """The token in the header the tenant wants it in."""
        return self.settings(connection).auth(connection.password or "")

    def get_conn(self, *args: Any, **kwargs: Any) -> Any:
        """Open a session; afterwards `tenant` and `base_url` are known.

        The vendor's own base URL ends in the prefix; a host that was given so means the same.
        """
        self.tenant = self.settings(self.get_connection(self.http_conn_id))
        session = super().get_conn(*args, **kwargs)
        if session.headers["Accept"] == "*/*":
            session.headers["Accept"] = "application/json"
        self.base_url = self.base_url.rstrip("/").removesuffix(self.tenant.prefix.rstrip("/"))
        return session

    def every(self, read_page: Callable[[Any, str], Page], query: Query) -> Iterator[dict[str, Any]]:
        """
        Every item of a cursor-paged list, page after page; an item that was not asked for is an error.

        :param read_page: one of this hook's methods for pages.
        """
        walk, link = platform.Walk(query), FIRST_PAGE
        while True:
            page = read_page(query, link)
            for item in page.items:
                platform.check_item(item, query)
                yield item
            if walk.step(page.next_uri) is None or page.next_uri is None:
                return
            link = page.next_uri

    def _page(self, name: str, query: Query, link: str) -> Page:
        first, title = link == FIRST_PAGE, ENDPOINTS[name].title

        def read(answer: Answer) -> Page:
            try:
                page = platform.read_page(answer.status, answer.headers, answer.body, title)
            except RequestRefusedError as error:
                if not first and answer.status == 400:
                    raise BadCursorError(self.vendor, str(error), http_status=400) from None
                raise
            if page.next_uri is not None:
                # A link that we would not follow is refused with its page, before the page becomes a checkpoint.
                platform.resolve_uri(self.base_url, self.tenant.prefix, page.next_uri)
            return page

        return self._request(name, read, link=link, params=query.params() if first else None)

    def _ask(self, name: str, *, params: Any = None, json: Any = None, **ids: int | str) -> dict[str, Any]:
        endpoint = ENDPOINTS[name]

        def read(answer: Answer) -> dict[str, Any]:
            return platform.read_answer(
                answer.status, answer.headers, answer.body, endpoint.title, writes=endpoint.writes
            )

        return self._request(name, read, ids, params=params, json=json)

    def _nothing(self, name: str, *, json: Any = None, **ids: int | str) -> None:
        """A write whose answer says nothing but that it was done."""
        endpoint = ENDPOINTS[name]

        def read(answer: Answer) -> None:
            platform.require_done(answer.status, answer.headers, answer.body, endpoint.title)

        self._request(name, read, ids, json=json)

    def _read_import(self, name: str) -> Callable[[Answer], Import]:
        endpoint = ENDPOINTS[name]

        def read(answer: Answer) -> Import:
            return platform.read_import(
                answer.status,
                answer.headers,
                answer.body,
                self.tenant.bulk,
                title=endpoint.title,
                writes=endpoint.writes,
            )

        return read

    def _request(
        self,
        name: str,
        read: Callable[[Answer], T],
        ids: Mapping[str, int | str] | None = None,
        *,
        link: str = FIRST_PAGE,
        **kwargs: Any,
    ) -> T:
        """Send a request and read its answer, again while that is safe and makes sense."""
        self.session()
        may_have_arrived = False
        for attempt in range(1, TRIES + 1):
            try:
                return read(self._send(name, ids or {}, link, **kwargs))
            except BadCursorError:
                raise
            except VendorError as error:
                error.after_loss = may_have_arrived
                wait = error.retry_after if isinstance(error, RateLimitedError) else 0.5 * 2 ** (attempt - 1)
                lost = isinstance(error, LostAnswerError)
                may_have_arrived |= lost
                again = error.again and (ENDPOINTS[name].repeats or not lost)
                if not again or attempt == TRIES or wait > LONGEST_WAIT:
                    raise
                log.warning("%s Trying again in %.1f s (%d of %d).", error, wait, attempt, TRIES - 1)
                self._sleep(wait)
        raise AssertionError("the loop above returns or raises")

    def _send(
        self, name: str, ids: Mapping[str, int | str], link: str, *, title: str | None = None, **kwargs: Any
    ) -> Answer:
        """Send one request to an endpoint, or along a link that it gave us."""
        if link == FIRST_PAGE:
            url = self.base_url.rstrip("/") + self.tenant.path(name, **ids)
        else:
            url = platform.resolve_uri(self.base_url, self.tenant.prefix, link)
        return self.send(self.tenant.method(name), url, operation=title or ENDPOINTS[name].title, **kwargs)


def _words(value: Any) -> tuple[str, ...]:
    """Words of an extra: a list, or a text with commas between them."""
    return tuple(word.strip() for word in value.split(",")) if isinstance(value, str) else tuple(value)
