"""CC-iSales: the hook signs and sends requests, `include.vendors.isales` knows what they hold and what is answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Connection
from airflow.sdk.log import mask_secret

from include.vendors import isales, isales_tasks
from include.vendors.errors import (
    AuthenticationError,
    UnexpectedAnswerError,
    VendorError,
)
from include.vendors.isales import FileServer
from include.vendors.isales_signature import SIGNED_HEADERS, Signer, clock_advice, host_header
from include.vendors.isales_tasks import ImportTask
from listkeeper.hooks.vendor import Answer, VendorHook

log = logging.getLogger(__name__)

MOST_PAGES = 200
"""Pages of tasks or servers that are read; a vendor that ignores the offset would otherwise go on for ever."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class IsalesHook(VendorHook):
    """
    Ask CC-iSales to import call data files, and what became of them.

    How the signature is written is a setting of the connection, since the vendor's page leaves a point open: with
    `empty_query_line` left out, the first 401 is asked once more in the other form, and the form that passes is kept.

    :param isales_conn_id: connection of type `isales`: host, login = access key (AK), password = secret key (SK). A
        server with a certificate of its own: give the extra `verify` a CA file.
    :param now: tells the time that is signed.
    """

    vendor = isales.VENDOR
    conn_name_attr = "isales_conn_id"
    default_conn_name = "isales_default"
    conn_type = "isales"
    hook_name = "iSales (Huawei CEC)"
    own_extras = ("vdn_id", "locale", "signed_headers", "milliseconds", "empty_query_line")

    def __init__(
        self, isales_conn_id: str = default_conn_name, *, now: Callable[[], datetime] = _utc_now
    ) -> None:
        super().__init__(isales_conn_id)
        self._now = now
        self._signer: Signer | None = None
        self._line: bool | None = (
            None  # whether an empty query is signed as an empty line; None: not known yet
        )
        self._locale = ""

    def auth_headers(self, connection: Connection) -> dict[str, str]:
        """Nothing: each request is signed by itself. What the signature needs is read here."""
        extras = self.extras(connection)
        line = str(extras.get("empty_query_line", "auto")).lower()
        if line not in ("auto", "true", "false"):
            raise ValueError(
                f"Connection {self.http_conn_id}: the extra empty_query_line must be true, false or left out."
            )
        self._line = None if line == "auto" else line == "true"
        self._locale = str(extras.get("locale", ""))
        names = {
            name.strip()
            for name in str(extras.get("signed_headers", ";".join(SIGNED_HEADERS))).lower().split(";")
        }
        if not names <= set(SIGNED_HEADERS):
            raise ValueError(
                f"Connection {self.http_conn_id}: the extra signed_headers may hold {', '.join(SIGNED_HEADERS)}, "
                "parted by semicolons."
            )
        try:
            self._signer = Signer(
                connection.login or "",
                connection.password or "",
                tuple(sorted(names)),
                str(extras.get("milliseconds", True)).lower() == "true",
            )
        except ValueError as error:
            raise AuthenticationError(self.vendor, f"Connection {self.http_conn_id}: {error}.") from None
        return {}

    def import_file(
        self,
        *,
        vdn_id: int,
        campaign: str,
        server: str,
        file_name: str,
        folder: str = "",
        import_at: str | None = None,
    ) -> str:
        """
        Ask for the import of a file that lies on a file server; returns the task's id. Asks exactly once.

        The parameters are those of `include.vendors.isales.import_request`. Raises ValueError for what would be
        refused; LostAnswerError when it may have been queued (ImportTakenError: it was): then read the newest tasks
        before asking again.
        """
        path = isales.import_path(vdn_id, campaign)
        body = isales.import_request(server=server, file_name=file_name, folder=folder, import_at=import_at)
        try:
            return isales.read_import(self._post(path, body, "import of a file"))
        except UnexpectedAnswerError as error:
            raise isales.taken_import(error) from None

    def tasks(self, *, vdn_id: int, campaign: str, task_ids: Iterable[str] = ()) -> list[ImportTask]:
        """
        Import tasks of a campaign: those of `task_ids`, or all. One that is not there yet is left out.

        The vendor's filter may be ignored by a server, so the answer is filtered and paged here as well.
        """
        path, wanted = isales.tasks_path(vdn_id, campaign), list(task_ids)
        found: dict[str, ImportTask] = {}
        for page in range(1, MOST_PAGES + 1):
            told = isales_tasks.read_tasks(
                self._post(path, isales.tasks_request(page, wanted), "query of imports")
            )
            new = {task.id: task for task in told if task.id not in found}
            found |= new
            if len(told) < isales.PAGE_SIZE or not new or (wanted and set(wanted) <= set(found)):
                break
        return [task for task in found.values() if not wanted or task.id in wanted]

    def campaign_status(self, *, vdn_id: int, campaign: str) -> str | None:
        """
        The status of a campaign: `isales.STARTED`, `isales.FINISHED` or another one; None when the vendor shows none.

        Raises ImportRefusedError for a campaign that it does not know (`isales.NO_CAMPAIGN`).
        """
        path = isales.campaign_path(vdn_id, campaign)
        return isales.read_status(self._call("GET", path, "", "look at the campaign"))

    def file_servers(self, *, vdn_id: int) -> list[FileServer]:
        """File servers that are registered at the vendor."""
        path = isales.servers_path(vdn_id)
        found: dict[str, FileServer] = {}
        for page in range(1, MOST_PAGES + 1):
            told = isales.read_servers(
                self._post(path, isales.servers_request(page), "query of file servers")
            )
            new = {server.id: server for server in told if server.id not in found}
            found |= new
            if len(told) < isales.PAGE_SIZE or not new:
                break
        return list(found.values())

    def add_file_server(
        self, *, vdn_id: int, host: str, port: int, user: str, password: str, path: str
    ) -> str:
        """
        Register an SFTP server; returns its id. Its password travels to the vendor in clear inside the encrypted call.

        :param path: the default path, below which `filePath` of an import lies.
        """
        mask_secret(password)
        body = isales.add_server_request(host=host, port=port, user=user, password=password, path=path)
        return isales.read_added_server(
            self._post(isales.add_server_path(vdn_id), body, "registration of a file server")
        )

    def test_connection(self) -> tuple[bool, str]:
        """Ask for the file servers of the extra `vdn_id` (1 when left out): needs the signature, changes nothing."""
        try:
            self.session()
            vdn = int(self.extras(self.get_connection(self.http_conn_id)).get("vdn_id", 1))
            servers = self.file_servers(vdn_id=vdn)
        except (VendorError, ValueError) as error:
            return False, str(error)
        finally:
            self.close()
        return True, f"iSales accepts the signature; VDN {vdn} has {len(servers)} file servers."

    def _post(self, path: str, body: str, operation: str) -> dict[str, Any]:
        return self._call("POST", path, body, operation)

    def _call(self, method: str, path: str, body: str, operation: str) -> dict[str, Any]:
        """Sign, send, read; on the first 401 once more with the other form of an empty query."""
        self.session()
        answer = self._send(method, path, body, operation, empty_line=bool(self._line))
        if (
            answer.status == 401 and self._line is None
        ):  # refused before anything was done, so it may be sent again
            again = self._send(method, path, body, operation, empty_line=True)
            if again.status != 401:
                log.warning(
                    "iSales wants an empty line for an empty query in the signature; write the extra "
                    '"empty_query_line": true into connection %s to save a refused call.',
                    self.http_conn_id,
                )
                self._line, answer = True, again
        elif answer.status != 401 and self._line is None:
            self._line = False
        date = answer.headers.get("Date")
        return isales.read_answer(answer.status, answer.headers, answer.body, clock_advice(date, self._now()))

    def _send(self, method: str, path: str, body: str, operation: str, *, empty_line: bool) -> Answer:
        if self._signer is None:
            raise RuntimeError("the session was opened without a signer")
        base, data = self.base_url.rstrip("/"), body.encode()
        headers = {
            "content-length": str(len(data)),
            "content-type": isales.CONTENT_TYPE,
            "host": host_header(base),
        }
        signature = self._signer.authorization(
            method, path, headers, body=body, at=self._now(), empty_query_line=empty_line
        )
        sent = {"Content-Type": headers["content-type"], "Host": headers["host"], "Authorization": signature}
        if not data:  # said by the library only for methods that have a body, but signed
            sent["Content-Length"] = headers["content-length"]
        if self._locale:
            sent["locale"] = self._locale
        return self.send(method, base + path, operation=operation, data=data, headers=sent)
