"""Huawei CEC / AICC CC-iSales, import of call data files: what may be asked, what an answer says. No I/O.

Source: the vendor's page "Importing an Outbound Call Data File from the Server" (2023) and its neighbours. The call
carries no file: a workbook lies on an SFTP server that the vendor reaches, and the call names it. Success means
queued; the outcome is told by polling (`include.vendors.isales_tasks`). The signature is in
`include.vendors.isales_signature`, the workbook's rows are in `include.vendors.isales_rows`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from include.vendors.bodies import json_object
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    retry_after_seconds,
    safe_words,
)

VENDOR: Final = "isales"
CONTENT_TYPE: Final = "application/json; charset=UTF-8"
BASE: Final = "/rest/isales/v1/openapi/campaigns"

MAX_RECORDS: Final = 500_000
"""Records of one file."""

PAGE_SIZE: Final = 100
"""Most tasks or servers of one answer."""

MAX_FILE_NAME: Final = 100
MAX_FILE_PATH: Final = 200
"""Characters (IS-6)."""

_NOT_IN_PATH: Final = re.compile(r"[\\\x00-\x1f\x7f]|\.\.")

STARTED: Final = "2"
PAUSED: Final = "3"
FINISHED: Final = "4"
"""Statuses of a campaign; a finished one takes no numbers any more."""

SUCCESS: Final = "0200000"
NO_CAMPAIGN: Final = "0200007"

CODES: Final[Mapping[str, tuple[str, str]]] = {
    "0200001": (
        "a parameter is wrong",
        "The vendor's words say which; often `server` is not the id of a file server.",
    ),
    "02000001": ("a parameter is empty", "Fill in `server` in the flow file."),
    "02000002": (
        "a parameter holds invalid characters",
        "Check `folder` in the flow file: no .., no control characters.",
    ),
    "02000003": ("a parameter is too long", "Shorten `folder` or the name of the flow."),
    "02000004": ("a parameter is too short", "Check `server` and `folder` in the flow file."),
    "02000005": ("a parameter's length is out of range", "Check `server` and `folder` in the flow file."),
    "02000006": (
        "a parameter has the wrong type",
        "Write `server` and `campaign` in quotes, and hour and minute as digits.",
    ),
    "02000007": (
        "a parameter has a value that is not allowed",
        "Check `vdn_id` (1 to 9999), hour and minute.",
    ),
    "02000008": ("the request could not be read", "Something changed it on its way: look for a proxy."),
    "02000009": ("parameters do not go together", "Check `import_at` and `folder` in the flow file."),
    "02000010": ("hour and minute must be set together", "Write `import_at` as HH:MM, or leave it out."),
    "02000011": (
        "there are too many parameters",
        "The server knows fewer than this release sends: report it.",
    ),
    "0200006": (
        "the vendor's database failed",
        "Try again later; the newest import tasks show whether it went through.",
    ),
    "0200007": ("the campaign does not exist", "Check `vdn_id` and `campaign` in the flow file."),
    "0200008": ("a time range is wrong", "Check `import_at` and the campaign's times."),
    "0200009": ("a time range is wrong", "Check `import_at` and the campaign's times."),
    "0200010": ("a time range is wrong", "Check `import_at` and the campaign's times."),
    "0200011": ("a time range is wrong", "Check `import_at` and the campaign's times."),
    "0200018": ("numbers are repeated", "The campaign holds these numbers already."),
    "0200019": ("the campaign's state takes no numbers", "It is finished: name one that runs in `campaign`."),
    "0200020": (
        "there are more open numbers than the campaign takes",
        "Let the campaign call, or raise its limit.",
    ),
    "0200022": ("the call came too fast", "Wait; the next try comes by itself."),
    "0200024": ("a number is blacklisted", "Take it off the list."),
    "0200029": ("there are too many numbers in one call", "Report this as a mistake of Listkeeper."),
    "0200030": ("a time has the wrong format", "Check the column recycleTime and `zone`."),
    "0200033": ("the data does not exist", "Check the ids in the flow file."),
    "0200034": ("the sub-status does not match", "Check the state of the campaign."),
    "0200999": ("writing back failed", "Try again later."),
}
"""Code of an answer -> what it means, and what to do. Whole texts: the success code is a prefix of eight others."""

TOO_FAST: Final = "0200022"
DATABASE_FAILED: Final = ("0200006", "0200999")
TOO_FAST_SECONDS: Final = 60.0


class ImportRefusedError(RequestRefusedError):
    """The vendor answered with a code that says no: nothing was queued.

    :param code: the code, as text with its leading zeros.
    """

    def __init__(self, code: str, words: str) -> None:
        means, advice = CODES.get(
            code, ("a code that this release does not know", "See the vendor's list of codes.")
        )
        said = f' The vendor says: "{words}".' if words else ""
        super().__init__(
            VENDOR, f"iSales refused the request with {code}: {means}.{said} {advice}", http_status=200
        )
        self.code = code


class ImportTakenError(LostAnswerError):
    """An import request was answered with HTTP 200, but not readably: it was taken, and only its task is unknown."""


# Requests


def import_path(vdn_id: int, campaign: str) -> str:
    """Path of the import call. Raises ValueError for ids that cannot stand in it."""
    return f"{_campaigns(vdn_id)}/calldatafile/uploadFileServer/{_id_in_path(campaign)}"


def tasks_path(vdn_id: int, campaign: str) -> str:
    """Path of the query of import tasks."""
    return f"{_campaigns(vdn_id)}/calldatafile/queryDataImportTask/{_id_in_path(campaign)}"


def campaign_path(vdn_id: int, campaign: str) -> str:
    """Path of the call that shows a campaign."""
    return f"{_campaigns(vdn_id)}/{_id_in_path(campaign)}"


def servers_path(vdn_id: int) -> str:
    """Path of the query of file servers."""
    return f"{_campaigns(vdn_id)}/file/queryServer"


def add_server_path(vdn_id: int) -> str:
    """Path of the call that registers a file server."""
    return f"{_campaigns(vdn_id)}/file/addServer"


def import_request(*, server: str, file_name: str, folder: str = "", import_at: str | None = None) -> str:
    """The body of an import call. All values are strings, also the numbers.

    :param folder: below the file server's default path; empty for that path itself.
    :param import_at: `HH:MM` in the tenant's zone, for a single import at the next such time; None imports at once.

    Raises ValueError for what the vendor would refuse.
    """
    if problem := file_name_problem(file_name) or folder_problem(folder):
        raise ValueError(problem)
    if not server:
        raise ValueError("the id of the file server is empty")
    body = {"serverId": server, "filePath": folder, "fileName": file_name}
    if not folder:
        del body["filePath"]
    if import_at is not None:
        hour, minute = read_time(import_at)
        body |= {"hour": str(hour), "minute": f"{minute:02d}"}
    return _json(body)


def tasks_request(page: int, task_ids: Sequence[str] = ()) -> str:
    """The body of a query of import tasks. :param page: from 1."""
    body: dict[str, Any] = {"offset": PAGE_SIZE * (page - 1), "limit": PAGE_SIZE}
    if task_ids:
        body["importTaskIds"] = list(task_ids)
    return _json(body)


def servers_request(page: int) -> str:
    """The body of a query of file servers. :param page: from 1."""
    return _json({"offset": PAGE_SIZE * (page - 1), "limit": PAGE_SIZE})


def add_server_request(*, host: str, port: int, user: str, password: str, path: str) -> str:
    """The body that registers an SFTP server; the password travels in it, so never log it. Raises ValueError."""
    if not re.fullmatch(r"[\w.-]{1,30}", user, re.ASCII):
        raise ValueError("the user of the file server must have 1 to 30 letters, digits, . _ or -")
    if not 8 <= len(password) <= 80:
        raise ValueError("the password of the file server must have 8 to 80 characters")
    server = {"ip": host, "port": str(port), "filePath": path}
    return _json({"userName": user, "serverPwd": password, "serverInfo": server})


def read_time(text: str) -> tuple[int, int]:
    """Hour and minute of `HH:MM`. Raises ValueError."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if match is None:
        raise ValueError(f"{text!r} is no time of the day; write HH:MM, such as 02:30")
    return int(match[1]), int(match[2])


def file_name_problem(name: str) -> str | None:
    """Why the vendor would not take a file by this name (IS-6, IS-9), None when it would."""
    if not name.endswith(".xlsx") or len(name) > MAX_FILE_NAME or "/" in name or _NOT_IN_PATH.search(name):
        return f"a file's name must end in .xlsx, have at most {MAX_FILE_NAME} characters, and hold no /, \\ or .."
    return None


def folder_problem(folder: str) -> str | None:
    """Why the vendor would not take this folder (IS-6), None when it would."""
    if len(folder) > MAX_FILE_PATH or _NOT_IN_PATH.search(folder):
        return f"folder: must have at most {MAX_FILE_PATH} characters and hold no .., \\ or control character"
    return None


def _campaigns(vdn_id: int) -> str:
    if not 1 <= vdn_id <= 9999:
        raise ValueError(f"vdn_id: must be 1 to 9999, not {vdn_id}")
    return f"{BASE}/{vdn_id}"


def _id_in_path(campaign: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,64}", campaign, re.ASCII):
        raise ValueError("campaign: must be the campaign's id, letters and digits only")
    return campaign


def _json(body: Mapping[str, Any]) -> str:
    """Serialised once: the very text that is signed is sent, letters of any language as they are."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


# Answers


def read_answer(status: int, headers: Mapping[str, str], body: bytes, clock: str = "") -> dict[str, Any]:
    """Read any answer: the JSON object of a success, or the VendorError that fits.

    :param clock: what `clock_advice` says of this answer.

    Codes are compared as whole text. A 2xx that cannot be read raises UnexpectedAnswerError: whether it was
    done is unknown then, and also after a 5xx other than 503 (LostAnswerError).
    """
    if status in (401, 403):
        raise AuthenticationError(
            VENDOR,
            f"iSales does not accept the signature (HTTP {status}). Put the access key (AK) into the "
            "connection's login and its secret (SK) into the password, as they are; a proxy that changes the header "
            f"Host breaks every signature.{clock}",
            http_status=status,
        )
    if status == 429:
        wait = retry_after_seconds(headers.get("Retry-After"), TOO_FAST_SECONDS)
        raise RateLimitedError(VENDOR, f"iSales asks us to wait {wait:g} s (HTTP 429).", retry_after=wait)
    if status == 503:
        raise UnavailableError(VENDOR, "iSales is not available (HTTP 503).", http_status=status)
    if status >= 500:
        raise LostAnswerError(
            VENDOR,
            f"iSales failed (HTTP {status}); whether it did what it was asked is unknown.",
            http_status=status,
        )
    if not 200 <= status < 300:
        advice = (
            "its gateway wants another Content-Type" if status == 415 else "check the host of the connection"
        )
        raise RequestRefusedError(
            VENDOR, f"iSales refused the request (HTTP {status}): {advice}.", http_status=status
        )
    try:
        found = json_object(body)
    except ValueError as error:
        raise unexpected(str(error)) from None
    code = _code(found)
    if code == SUCCESS:
        return found
    if code == TOO_FAST:
        raise RateLimitedError(
            VENDOR, f"iSales was called too fast ({code}).", retry_after=TOO_FAST_SECONDS, http_status=200
        )
    if code in DATABASE_FAILED:
        raise LostAnswerError(
            VENDOR,
            f"iSales answered {code}: {CODES[code][0]}; whether it was done is unknown.",
            http_status=200,
        )
    raise ImportRefusedError(code, _words(found))


def read_import(answer: Mapping[str, Any]) -> str:
    """The id of the task that an accepted import became. Raises UnexpectedAnswerError when there is none."""
    task_id = answer.get("importTaskId")
    if not isinstance(task_id, str) or not task_id:
        raise unexpected("it carries no importTaskId")
    return task_id


def read_status(answer: Mapping[str, Any]) -> str | None:
    """The status of a campaign that was shown, as text; None when the answer does not tell it.

    Where it stands is told nowhere: `result` is looked at, or the first of a list there.
    """
    found = answer.get("result")
    found = found[0] if isinstance(found, list) and found else found
    status = found.get("status") if isinstance(found, Mapping) else None
    return str(status) if isinstance(status, str | int) and not isinstance(status, bool) else None


def taken_import(error: UnexpectedAnswerError) -> ImportTakenError:
    """What an unreadable answer to an import request means."""
    return ImportTakenError(
        VENDOR,
        f"iSales answered HTTP 200 to the import, but its answer cannot be read: {error}",
        http_status=200,
    )


def _code(found: Mapping[str, Any]) -> str:
    """The code of an answer, which stands in it once or twice."""
    codes = [found[name] for name in ("resultCode", "returnCode") if found.get(name) is not None]
    if not codes:
        raise unexpected("it carries no code")
    if not isinstance(code := codes[0], str) or codes[-1] != code:
        raise unexpected("its two codes differ, or are no text")
    return code


def _words(found: Mapping[str, Any]) -> str:
    """What the vendor says in words, without anything that could be a phone number, an id or a person."""
    texts = (found.get(name) for name in ("resultDesc", "returnDesc", "description"))
    return safe_words(next((text for text in texts if isinstance(text, str) and text), ""))


def unexpected(what: str) -> UnexpectedAnswerError:
    """The error for an answer that cannot be read."""
    return UnexpectedAnswerError(VENDOR, f"This is no answer of iSales: {what}.")


# File servers


@dataclass(frozen=True)
class FileServer:
    """A file server that is registered at the vendor."""

    id: str
    host: str
    port: str
    user: str
    path: str


def read_servers(answer: Mapping[str, Any]) -> list[FileServer]:
    """The file servers of one page; their fields may be null."""
    found = answer.get("server")
    if not isinstance(found, list):
        raise unexpected("it carries no list of file servers")
    servers = [item for item in found if isinstance(item, Mapping) and isinstance(item.get("serverId"), str)]
    return [
        FileServer(
            item["serverId"],
            *(
                str(item[name]) if item.get(name) is not None else ""
                for name in ("ip", "port", "userName", "filePath")
            ),
        )
        for item in servers
    ]


def read_added_server(answer: Mapping[str, Any]) -> str:
    """The id of a server that was registered."""
    server_id = answer.get("serverId")
    if not isinstance(server_id, str) or not server_id:
        raise unexpected("it carries no serverId")
    return server_id
