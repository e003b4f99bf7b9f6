"""PureCallerID: the hook uploads a CSV as a stream, `include.vendors.purecallerid` knows what the answer says."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import Connection
from requests_toolbelt import MultipartEncoder

from include.vendors import purecallerid
from include.vendors.errors import VendorError
from include.vendors.purecallerid import ListLoad
from listkeeper.hooks.vendor import VendorHook


class PureCallerIdHook(VendorHook):
    """
    Load lists through PureCallerID.

    :param purecallerid_conn_id: connection of type `purecallerid`: host, password = the workspace's API key.
    """

    vendor = purecallerid.VENDOR
    conn_name_attr = "purecallerid_conn_id"
    default_conn_name = "purecallerid_default"
    conn_type = "purecallerid"
    hook_name = "PureCallerID"
    default_host = purecallerid.DEFAULT_HOST
    own_extras = ("allow_http_webhook",)

    def __init__(self, purecallerid_conn_id: str = default_conn_name) -> None:
        super().__init__(purecallerid_conn_id)

    def auth_headers(self, connection: Connection) -> dict[str, str]:
        """The key as it is: never trimmed or encoded."""
        return {purecallerid.KEY_HEADER: connection.password or ""}

    def allows_http_webhook(self) -> bool:
        """Whether the connection lets a webhook go to plain http on this machine (a sandbox)."""
        allowed = self.extras(self.get_connection(self.http_conn_id)).get("allow_http_webhook", False)
        return str(allowed).lower() == "true"

    def load_list(self, *, campaign: str, csv: Path, file_name: str, process_request: str) -> ListLoad:
        """
        Upload one CSV. Sends exactly one request and never repeats it: a repeat may load the leads twice.

        The body is streamed from disk with a Content-Length, so that memory stays flat whatever the file.

        :param file_name: the name under which the vendor knows the file; it comes back in every webhook.
        :param process_request: the JSON text of `include.vendors.purecallerid.process_request`.
        """
        self.session()
        with csv.open("rb") as file:
            body = MultipartEncoder(
                {
                    "campaignId": campaign,
                    "processRequest": process_request,
                    "file": (file_name, file, "text/csv"),
                }
            )
            answer = self.send(
                "POST",
                self.base_url.rstrip("/") + purecallerid.LOAD_PATH,
                operation="list load",
                data=body,
                headers={"Content-Type": body.content_type},
            )
        return purecallerid.read_answer(answer.status, answer.headers, answer.body)

    def test_connection(self) -> tuple[bool, str]:
        """
        Send a load without its parts: the vendor checks the key first, then refuses the body. Nothing is loaded.

        There is no call that only reads (section 5), so this is the only question that a key alone can answer.
        """
        try:
            self.session()
            body = MultipartEncoder({"processRequest": "{}"})
            answer = self.send(
                "POST",
                self.base_url.rstrip("/") + purecallerid.LOAD_PATH,
                operation="connection test",
                data=body,
                headers={"Content-Type": body.content_type},
            )
            if answer.status == 400:
                return (
                    True,
                    "PureCallerID answers and accepts the key. (An empty load was refused, as it should be.)",
                )
            purecallerid.read_answer(answer.status, answer.headers, answer.body)
        except (VendorError, ValueError) as error:
            return False, str(error)
        finally:
            self.close()
        return (
            False,
            "PureCallerID took an empty load, which it should refuse. Check the host of the connection.",
        )
