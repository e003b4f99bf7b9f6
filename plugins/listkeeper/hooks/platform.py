"""Platform API (ipSCAPE): a method for each of the 23 endpoints; `include.vendors.platform` knows what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from include.snapshots import FIRST_PAGE
from include.vendors import platform
from include.vendors.errors import RequestRefusedError, UnexpectedAnswerError, VendorError
from include.vendors.platform import (
    ENDPOINTS,
    ActivityQuery,
    CallQuery,
    Erased,
    ErrorPage,
    Import,
    LeadQuery,
    ListQuery,
    Media,
    NotFoundError,
    Page,
    RowError,
    UserQuery,
)
from listkeeper.hooks.platform_requests import PlatformRequests
from listkeeper.hooks.vendor import Answer


class PlatformHook(PlatformRequests):
    """
    Everything that the Platform API can be asked for; each method is named as its endpoint.

    Which request is sent again, and when, is told in `PlatformRequests`; so is how to name a connection.
    """

    # Leads

    def list_leads(self, query: LeadQuery, link: str = FIRST_PAGE) -> Page:
        """
        Read one page of leads (8).

        :param query: the filters; only the first page is asked for with them, later ones by the vendor's link.
        :param link: the link to the page, `FIRST_PAGE` for the first.
        """
        return self._page("list_leads", query, link)

    def get_lead(self, lead_id: int) -> dict[str, Any]:
        """Read one lead (15). NotFoundError for an unknown id, UnexpectedAnswerError for an answer of another lead."""
        return self._the_one(self._ask("get_lead", leadId=lead_id), lead_id, "leadId")

    def create_lead(self, body: Mapping[str, Any]) -> tuple[int, bool | None]:
        """
        Create one lead (9). Returns its id, and whether its list is loaded in the dialler (None: not said).

        Never repeated: after a LostAnswerError look for `listId` and `customerKey` with `find_leads` first.

        :param body: as `include.vendors.platform.lead_body` makes it.
        """
        answer = self._ask("create_lead", json=dict(body))
        lead_id, loaded = platform.id_in(answer, "leadId"), answer.get("inDialler")
        if lead_id is None:
            raise platform.lost("answered the creation of a lead without its id", 200)
        return lead_id, loaded if isinstance(loaded, bool) else None

    def update_lead(self, lead_id: int, body: Mapping[str, Any]) -> None:
        """
        Change a lead (16). NotFoundError for an unknown id, FieldsRefusedError for what the vendor does not take.

        :param body: as `include.vendors.platform.update_body` makes it: only what changes.
        """
        self._nothing("update_lead", json=dict(body), leadId=lead_id)

    def delete_lead(self, lead_id: int) -> None:
        """
        Delete a lead (17), for good. NotFoundError for an unknown id.

        A 404 after an answer was lost means that the lost request did it.
        """
        try:
            self._nothing("delete_lead", leadId=lead_id)
        except NotFoundError as error:
            if not error.after_loss:
                raise

    def find_leads(self, query: LeadQuery) -> list[dict[str, Any]]:
        """Every lead that a query finds, over all its pages; for a few leads, such as those of one key."""
        return list(self.every(self.list_leads, query))

    # Lists

    def list_lists(self, query: ListQuery, link: str = FIRST_PAGE) -> Page:
        """Read one page of lead lists (10)."""
        return self._page("list_lists", query, link)

    def get_list(self, list_id: int) -> dict[str, Any]:
        """Read one list (14): `id`, `name`, `campaignId`, `inDialler`, ... Errors as for `get_lead`."""
        return self._the_one(self._ask("get_list", listId=list_id), list_id, "id", "listId")

    def _the_one(self, answer: dict[str, Any], asked: int, *names: str) -> dict[str, Any]:
        """An answer that shows the id it was asked for: what we do next goes by what it says."""
        if platform.id_in(answer, *names) != asked:
            raise UnexpectedAnswerError(
                self.vendor, f"The Platform API answered without {names[0]} {asked}, which it was asked for."
            )
        return answer

    def create_list(self, name: str, campaign_id: int) -> int:
        """
        Create a list (11) and return its id. Never repeated: after a LostAnswerError look for it with `find_list`.
        """
        body = {"listName": name, "campaignId": campaign_id}
        list_id = platform.id_in(self._ask("create_list", json=body), "listId", "id")
        if list_id is None:
            raise platform.lost("answered the creation of a list without its id", 200)
        return list_id

    def find_list(self, name: str, campaign_id: int) -> int | None:
        """
        The id of the campaign's list of this name, None when there is none.

        Raises RequestRefusedError when several have it: only a person can say which is meant. UnexpectedAnswerError
        when names or ids are missing: a list that is not seen would be made twice.
        """
        found: list[int] = []
        for item in self.every(self.list_lists, ListQuery(campaignId=campaign_id)):
            list_id = platform.id_in(item, "id", "listId")
            if list_id is None or not {"name", "listName"} & set(item):
                raise UnexpectedAnswerError(
                    self.vendor, "The Platform API shows a lead list without its id or name."
                )
            if item.get("name", item.get("listName")) == name:
                found.append(list_id)
        if len(found) > 1:
            raise RequestRefusedError(
                self.vendor,
                f"Campaign {campaign_id} has {len(found)} lists of this name ({', '.join(map(str, found))}); rename "
                "all but one at the vendor.",
            )
        return found[0] if found else None

    # Import of many leads

    def bulk_create(self, leads: Sequence[Mapping[str, Any]]) -> Import:
        """
        Hand in up to 1,000 leads (18); the import runs on by itself, `bulk_status` tells how far it is.

        Never repeated: after a LostAnswerError the import may be running, and a second one makes every lead twice.
        """
        body = platform.bulk_body(leads)
        headers = {"Content-Type": "application/json"}
        return self._request("bulk_create", self._read_import("bulk_create"), data=body, headers=headers)

    def bulk_status(self, uuid: str) -> Import:
        """How far an import is (12). NotFoundError for an unknown uuid."""
        return self._request("bulk_status", self._read_import("bulk_status"), {"uuid": uuid})

    def bulk_errors(self, uuid: str, link: str = FIRST_PAGE) -> ErrorPage:
        """Read one page of an import's errors (13); pages are numbered. `link`: the vendor's link to the page."""
        title = ENDPOINTS["bulk_errors"].title
        first = {"pageNo": 1, "limit": platform.ERROR_PAGE} if link == FIRST_PAGE else None

        def read(answer: Answer) -> ErrorPage:
            words = self.tenant.bulk
            page = platform.read_error_page(answer.status, answer.headers, answer.body, words, title=title)
            if page.next_uri is not None:
                platform.resolve_uri(self.base_url, self.tenant.prefix, page.next_uri)
            return page

        return self._request("bulk_errors", read, {"uuid": uuid}, link=link, params=first)

    def every_bulk_error(self, done: Import) -> list[RowError]:
        """All errors of an ended import, over all pages. Raises UnexpectedAnswerError when pages are missing."""
        found: list[RowError] = []
        link, seen = done.error_uri or FIRST_PAGE, set[str]()
        while True:
            page = self.bulk_errors(done.uuid, link)
            found += page.errors
            if page.next_uri is None:
                break
            if page.next_uri in seen:
                raise UnexpectedAnswerError(
                    self.vendor, "The Platform API's pages of import errors lead in a circle."
                )
            seen.add(page.next_uri)
            link = page.next_uri
        if page.page is not None and page.pages is not None and page.page < page.pages:
            raise UnexpectedAnswerError(
                self.vendor,
                f"The Platform API ended the errors of an import on page {page.page} of {page.pages}.",
            )
        return found

    # Activities, calls, statistics

    def list_activities(self, query: ActivityQuery, link: str = FIRST_PAGE) -> Page:
        """Read one page of activities (2): objects `{"type", "data"}`; types that nobody knows come through."""
        return self._page("list_activities", query, link)

    def get_activity(self, activity_id: int) -> dict[str, Any]:
        """Read one activity (1). NotFoundError for an unknown id."""
        return self._ask("get_activity", activityId=activity_id)

    def list_calls(self, query: CallQuery, link: str = FIRST_PAGE) -> Page:
        """Read one page of dialler calls (21)."""
        return self._page("list_calls", query, link)

    def get_call(self, attempt_id: int) -> dict[str, Any]:
        """Read one dialler call (20). NotFoundError for an unknown id."""
        return self._ask("get_call", attemptId=attempt_id)

    def outbound_statistics(self, campaign_id: int) -> dict[str, Any]:
        """Statistics of an outbound campaign (3). NotFoundError for an inbound one (PL-5)."""
        return self._ask("outbound_statistics", campaignId=campaign_id)

    def inbound_statistics(
        self, campaign_id: int, period: Literal["hour", "day"] | None = None
    ) -> dict[str, Any]:
        """Statistics of an inbound campaign (4) over the last hour or day. NotFoundError for an outbound one (PL-5)."""
        params = None if period is None else {"period": period}
        return self._ask("inbound_statistics", params=params, campaignId=campaign_id)

    # Media

    def download_media(self, media_id: int) -> Media:
        """Download a recording or voicemail (5). NotFoundError for one that is unknown or deleted."""
        title = ENDPOINTS["download_media"].title
        return self._request(
            "download_media",
            lambda answer: platform.read_media(answer.status, answer.headers, answer.body, title),
            {"mediaId": media_id},
            headers={"Accept": "*/*"},
        )

    def get_voicemail(self, media_id: int) -> dict[str, Any]:
        """What is known of a voicemail (6)."""
        return self._ask("get_voicemail", mediaId=media_id)

    def get_recording(self, media_id: int) -> dict[str, Any]:
        """What is known of a recording (7), also of one that was deleted."""
        return self._ask("get_recording", mediaId=media_id)

    # Customers, users, presence

    def delete_customer(self, *, phone: str | None = None, email: str | None = None) -> Erased:
        """
        Erase a customer (19), for good. Raises ValueError with neither phone nor e-mail.

        Never repeated: the counts are the proof, and a second answer would count nothing.
        """
        params = platform.customer_params(phone, email)
        return platform.read_erased(self._ask("delete_customer", params=params))

    def list_users(self, query: UserQuery, link: str = FIRST_PAGE) -> Page:
        """Read one page of users (22)."""
        return self._page("list_users", query, link)

    def active_agents(self) -> frozenset[int]:
        """Ids of all agents whose account is active."""
        query = UserQuery(userType="agent", accountActive=True)
        found = {platform.id_in(user, "userId") for user in self.every(self.list_users, query)}
        if None in found:
            raise UnexpectedAnswerError(self.vendor, "The Platform API shows an agent without an id.")
        return frozenset(user_id for user_id in found if user_id is not None)

    def set_presence(self, agent_id: int, *, available: bool) -> bool:
        """Make an agent available or not (23); returns what the vendor says it is now."""
        body = {"agentId": agent_id, "available": available}
        answer = self._ask("set_presence", json=body)
        now = answer.get("available")
        if platform.id_in(answer, "agentId") not in (None, agent_id) or not isinstance(now, bool):
            raise platform.lost("answered the presence of an agent without saying what it is now", 200)
        return now

    def test_connection(self) -> tuple[bool, str]:
        """Ask for one page of lead lists: the cheapest call that needs the token."""
        try:
            self.session()
            answer = self._send("list_lists", {}, FIRST_PAGE, title="connection test")
            page = platform.read_page(answer.status, answer.headers, answer.body, "connection test")
        except (VendorError, ValueError) as error:
            return False, str(error)
        finally:
            self.close()
        return True, f"The Platform API accepts the token and shows {len(page.items)} lead lists."
