"""Ozonetel: the hook sends one batch, or fetches failed rows; `include.vendors.ozonetel` knows what the answers say."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from airflow.sdk import Connection

from include.ledger import Pace
from include.vendors import ozonetel
from include.vendors.errors import AuthenticationError, RequestRefusedError, VendorError
from include.vendors.ozonetel import Accepted, Action, Duplicates, Encoding, FailedRow
from listkeeper.hooks.vendor import VendorHook


@dataclass(frozen=True)
class OzonetelSettings:
    """What the extras of a connection say; the defaults are the contract's (section 6).

    :param account: name under which the ledger keeps the account's pace.
    :param failed_file_hosts: hosts, or endings with a leading dot, that may serve the file of failed rows.
    :param allow_http: whether callbacks and that file may go over plain http on this machine.
    :param duplicate_reason: word in a failed row's reason that means: the number is in the campaign already.
    """

    account: str
    pace: Pace
    path: str
    encoding: Encoding
    failed_file_hosts: tuple[str, ...]
    allow_http: bool
    duplicate_reason: str


class OzonetelHook(VendorHook):
    """
    Load campaigns of an Ozonetel CloudAgent account.

    It keeps no pace by itself: take a turn of the ledger for `settings.account` before each load.

    :param ozonetel_conn_id: connection of type `ozonetel`: host, login = the account's user name, password = API key.
    """

    vendor = ozonetel.VENDOR
    conn_name_attr = "ozonetel_conn_id"
    default_conn_name = "ozonetel_default"
    conn_type = "ozonetel"
    hook_name = "Ozonetel CloudAgent"
    default_host = ozonetel.DEFAULT_HOST
    own_extras = (
        "encoding",
        "path",
        "calls",
        "window_seconds",
        "spacing_seconds",
        "pace_account",
        "failed_file_hosts",
        "allow_http",
        "duplicate_reason",
    )

    def __init__(self, ozonetel_conn_id: str = default_conn_name) -> None:
        super().__init__(ozonetel_conn_id)

    def auth_headers(self, connection: Connection) -> dict[str, str]:
        """None: user name and key are fields of each request."""
        return {"Accept": "application/json"}

    @functools.cached_property
    def settings(self) -> OzonetelSettings:
        """The connection's extras, checked. Raises ValueError, and AuthenticationError without a user or key."""
        connection = self._connection
        extras = self.extras(connection)
        encoding = extras.get("encoding", "form")
        if encoding not in ozonetel.ENCODINGS:
            raise ValueError(
                f"Connection {self.http_conn_id}: the extra encoding must be one of {', '.join(ozonetel.ENCODINGS)}."
            )
        hosts = extras.get("failed_file_hosts", ozonetel.FAILED_FILE_HOST)
        listed = hosts.split(",") if isinstance(hosts, str) else hosts
        # The limit is the key's (OZ-14), whatever connection it stands in. Of the key only a short hash is kept.
        key = hashlib.sha256(f"listkeeper pace {connection.password}".encode()).hexdigest()[:12]
        return OzonetelSettings(
            account=str(extras.get("pace_account") or f"{self.vendor}:{key}"),
            pace=Pace(
                calls=int(self._number(extras, "calls", ozonetel.CALLS, least=1)),
                window=timedelta(
                    seconds=self._number(extras, "window_seconds", ozonetel.WINDOW_SECONDS, least=0)
                ),
                spacing=timedelta(seconds=self._number(extras, "spacing_seconds", 0, least=0)),
            ),
            path="/" + str(extras.get("path", ozonetel.LOAD_PATH)).lstrip("/"),
            encoding=cast("Encoding", encoding),
            failed_file_hosts=tuple(str(host).strip().lower() for host in listed),
            allow_http=str(extras.get("allow_http", False)).lower() == "true",
            duplicate_reason=str(extras.get("duplicate_reason", ozonetel.DUPLICATE)),
        )

    @property
    def _connection(self) -> Connection:
        connection = self.get_connection(self.http_conn_id)
        if not (connection.login and connection.password):
            raise AuthenticationError(
                self.vendor,
                f"Connection {self.http_conn_id} needs both: the user name as login, the API key as password.",
            )
        return connection

    def _number(self, extras: dict[str, Any], name: str, default: float, *, least: float) -> float:
        try:
            number = float(extras.get(name, default))
        except (TypeError, ValueError):
            number = -1.0
        if not least <= number < float("inf"):
            raise ValueError(
                f"Connection {self.http_conn_id}: the extra {name} must be a number, {least} at least."
            )
        return number

    def load(
        self,
        *,
        campaign: str,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        duplicates: Duplicates,
        action: Action | None = None,
        callback_url: str | None = None,
    ) -> Accepted:
        """
        Send one batch of at most 500 rows. Sends exactly one request and never repeats it.

        :return: that it stands in the vendor's queue; what becomes of it only the callback tells.
        """
        ozonetel.check_size(len(rows))
        status, body = self._post(
            "load of a campaign",
            campaign=campaign,
            bulk=ozonetel.bulk_data(header, rows),
            duplicates=duplicates,
            action=action,
            callback_url=callback_url,
        )
        return ozonetel.read_answer(status, body)

    def failed_rows(self, url: str, header: Sequence[str]) -> list[FailedRow]:
        """
        Fetch the rows that the vendor did not add, from the address of its callback; that address is never logged.

        RequestRefusedError when the address is not the vendor's, or the file is gone.
        """
        problem = ozonetel.file_problem(
            url, self.settings.failed_file_hosts, allow_http=self.settings.allow_http
        )
        if problem is not None:
            raise RequestRefusedError(self.vendor, problem)
        answer = self.send(
            "GET", url, operation="file of failed rows", most_bytes=ozonetel.MAX_FAILED_FILE_BYTES
        )
        ozonetel.check_failed_file(answer.status)
        return ozonetel.read_failed_rows(answer.body, header, self.settings.duplicate_reason)

    def test_connection(self) -> tuple[bool, str]:
        """
        Send a load without rows, for a campaign that cannot exist: nothing can be added. It takes one turn of the pace.
        """
        from listkeeper.hooks.ledger import open_ledger

        try:
            settings, ledger = self.settings, open_ledger()
            turn = ledger.take_turn(settings.account, "connection test", settings.pace)
            if isinstance(turn, datetime):
                wait = (turn - datetime.now(UTC)).total_seconds()
                return False, f"All calls of this minute are taken. Test again in {wait:.0f} s."
            try:
                status, body = self._post(
                    "connection test",
                    campaign="listkeeper connection test",
                    bulk="",
                    duplicates="skip_all",
                    action=None,
                    callback_url=None,
                )
            finally:
                ledger.end_turn(settings.account, turn)
        except (VendorError, ValueError) as error:
            return False, str(error)
        finally:
            self.close()
        return ozonetel.probe_verdict(status, body)

    def _post(self, operation: str, **fields: Any) -> tuple[int, bytes]:
        connection = self._connection
        body, content_type = ozonetel.encode(
            ozonetel.request_fields(key=connection.password or "", user=connection.login or "", **fields),
            self.settings.encoding,
        )
        self.session()
        answer = self.send(
            "POST",
            self.base_url.rstrip("/") + self.settings.path,
            operation=operation,
            data=body,
            headers={"Content-Type": content_type},
        )
        return answer.status, answer.body
