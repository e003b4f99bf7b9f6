"""Platform API (ipSCAPE): the hook reads pages, `include.vendors.platform` knows what they say."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from airflow.sdk import Connection

from include.snapshots import FIRST_PAGE
from include.vendors import platform
from include.vendors.errors import RateLimitedError, RequestRefusedError, VendorError
from include.vendors.platform import BadCursorError, LeadQuery, Page, PlatformSettings
from listkeeper.hooks.vendor import VendorHook

log = logging.getLogger(__name__)

TRIES = 5
"""Tries of one page before the task fails; the task's next try goes on from the page before."""

LONGEST_WAIT = 60.0
"""Seconds a worker is held for a page. A vendor that asks for more gets a failed try with that delay instead."""


class PlatformHook(VendorHook):
    """
    Read the Platform API.

    :param platform_conn_id: connection of type `platform`: host, password = API token.
    :param sleep: waits between tries; tests pass their own.
    """

    vendor = platform.VENDOR
    conn_name_attr = "platform_conn_id"
    default_conn_name = "platform_default"
    conn_type = "platform"
    hook_name = "Platform API (ipSCAPE)"
    own_extras = ("prefix", "auth_header", "auth_scheme", "paths")

    def __init__(
        self, platform_conn_id: str = default_conn_name, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(platform_conn_id)
        self._sleep = sleep

    def settings(self, connection: Connection) -> PlatformSettings:
        """What the connection says about the tenant."""
        extras = self.extras(connection)
        return PlatformSettings(**{name: extras[name] for name in self.own_extras if name in extras})

    def auth_headers(self, connection: Connection) -> dict[str, str]:
        """The token in the header the tenant wants it in."""
        return self.settings(connection).auth(connection.password or "")

    def get_conn(self, *args: Any, **kwargs: Any) -> Any:
        """Open a session; afterwards `tenant` and `base_url` are known.

        The vendor's own base URL ends in the prefix; a host that was given so means the same.
        """
        self.tenant = self.settings(self.get_connection(self.http_conn_id))
        session = super().get_conn(*args, **kwargs)
        self.base_url = self.base_url.rstrip("/").removesuffix(self.tenant.prefix.rstrip("/"))
        return session

    def lead_page(self, query: LeadQuery, link: str = FIRST_PAGE) -> Page:
        """
        Read one page of the lead list, trying again while that makes sense.

        :param query: the filters; only the first page is asked for with them, later ones by the vendor's link.
        :param link: the link to the page, `FIRST_PAGE` for the first.
        """
        for attempt in range(1, TRIES + 1):
            try:
                return self._lead_page_once(query, link)
            except BadCursorError:
                raise
            except VendorError as error:
                wait = error.retry_after if isinstance(error, RateLimitedError) else 0.5 * 2 ** (attempt - 1)
                if not error.again or attempt == TRIES or wait > LONGEST_WAIT:
                    raise
                log.warning("%s Trying again in %.1f s (%d of %d).", error, wait, attempt, TRIES - 1)
                self._sleep(wait)
        raise AssertionError("the loop above returns or raises")

    def _lead_page_once(self, query: LeadQuery, link: str) -> Page:
        self.session()
        first = link == FIRST_PAGE
        if first:
            url = self.base_url.rstrip("/") + self.tenant.path("leads")
        else:
            url = platform.resolve_uri(self.base_url, self.tenant.prefix, link)
        answer = self.send("GET", url, params=query.params() if first else None, operation="list of leads")
        try:
            page = platform.read_page(answer.status, answer.headers, answer.body)
        except RequestRefusedError as error:
            if not first and answer.status == 400:
                raise BadCursorError(self.vendor, str(error), http_status=400) from None
            raise
        if page.next_uri is not None:
            # A link that we would not follow is refused with its page, before the page becomes a checkpoint.
            platform.resolve_uri(self.base_url, self.tenant.prefix, page.next_uri)
        return page

    def test_connection(self) -> tuple[bool, str]:
        """Ask for one page of lead lists: the cheapest call that needs the token."""
        try:
            self.session()
            url = self.base_url.rstrip("/") + self.tenant.path("lead_lists")
            answer = self.send("GET", url, operation="connection test")
            page = platform.read_page(answer.status, answer.headers, answer.body)
        except (VendorError, ValueError) as error:
            return False, str(error)
        finally:
            self.close()
        return True, f"The Platform API accepts the token and shows {len(page.items)} lead lists."
