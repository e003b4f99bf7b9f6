"""Vicidial's lead archive (TForge): the hook sends one batch, `include.vendors.vicidial` knows what the answer says."""

from __future__ import annotations

from collections.abc import Sequence

from airflow.sdk import Connection

from include.vendors import vicidial
from include.vendors.errors import VendorError
from include.vendors.vicidial import Counts, Flags
from listkeeper.hooks.vendor import Answer, VendorHook


class VicidialHook(VendorHook):
    """
    Archive leads of a VICIdial server.

    :param vicidial_conn_id: connection of type `vicidial`: host, password = API key. Its certificate is checked; for
        one of the server's own give the extra `verify` a CA file.
    """

    vendor = vicidial.VENDOR
    conn_name_attr = "vicidial_conn_id"
    default_conn_name = "vicidial_default"
    conn_type = "vicidial"
    hook_name = "Vicidial lead archive (TForge)"
    own_extras = ("path",)

    def __init__(self, vicidial_conn_id: str = default_conn_name) -> None:
        super().__init__(vicidial_conn_id)

    def auth_headers(self, connection: Connection) -> dict[str, str]:
        """`Key=` directly before the key."""
        return {vicidial.KEY_HEADER: f"Key={connection.password}"}

    def archive(self, lead_ids: Sequence[int], flags: Flags) -> Counts:
        """
        Archive up to 500 leads. Sends exactly one request; raises the VendorError that fits its answer.

        :param flags: what the server shall do; `include.vendors.vicidial.LOOK` changes nothing.
        """
        answer = self._post(vicidial.archive_request(lead_ids, flags), "archive of leads")
        return vicidial.read_counts(answer.status, answer.headers, answer.body)

    def test_connection(self) -> tuple[bool, str]:
        """
        Send a request without ids and without flags: nothing can be archived by it, at any time of the day.

        The server checks the key first and the office hours second, so a good key is answered with either of two
        refusals.
        """
        try:
            answer = self._post(vicidial.probe_request(), "connection test")
        except (VendorError, ValueError) as error:
            return False, str(error)
        finally:
            self.close()
        return vicidial.probe_verdict(answer.status, answer.body)

    def _post(self, body: bytes, operation: str) -> Answer:
        self.session()
        connection = self.get_connection(self.http_conn_id)
        path = self.extras(connection).get("path", vicidial.ARCHIVE_PATH)
        return self.send(
            "POST",
            self.base_url.rstrip("/") + "/" + path.lstrip("/"),
            operation=operation,
            data=body,
            headers={"Content-Type": "application/json"},
        )
