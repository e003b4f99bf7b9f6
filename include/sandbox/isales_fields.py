"""The fields of iSales calls, each checked as IS-9 says: which mistake answers which code."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from include.sandbox.isales_answers import (
    BAD_LENGTH,
    EMPTY,
    INVALID_CHARACTERS,
    NOT_READABLE,
    NOT_TOGETHER,
    TOO_LONG,
    WRONG_TYPE,
    WRONG_VALUE,
    Json,
    RefusalError,
)

MOST_ROWS: Final = 100
"""Rows of a page of any query."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,9}")
_USER_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


def read_object(body: bytes) -> Json:
    """Read a body that must be a JSON object."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusalError(NOT_READABLE) from None
    if not isinstance(asked, dict):
        raise RefusalError(NOT_READABLE)
    return asked


def vdn(text: str) -> int:
    """Read `vdnId` of the path, 1 to 9999."""
    if not text.isdecimal() or not 1 <= int(text) <= 9999:
        raise RefusalError(WRONG_VALUE, "vdnId")
    return int(text)


def text(asked: Json, name: str, longest: int, *, needed: bool = True) -> str:
    """Read a text; empty where it is not needed and absent."""
    value = asked.get(name)
    if value is None or value == "":
        if needed:
            raise RefusalError(EMPTY, name)
        return ""
    if not isinstance(value, str):
        raise RefusalError(WRONG_TYPE, name)
    if len(value) > longest:
        raise RefusalError(TOO_LONG, name)
    if _CONTROL.search(value):
        raise RefusalError(INVALID_CHARACTERS, name)
    return value


def file_name(asked: Json) -> str:
    """Read `fileName` (IS-6): a workbook's, without a path."""
    name = text(asked, "fileName", 100)
    if ".." in name or "/" in name or "\\" in name:
        raise RefusalError(INVALID_CHARACTERS, "fileName")
    if not name.endswith(".xlsx"):
        raise RefusalError(WRONG_VALUE, "fileName")
    return name


def file_path(asked: Json, *, needed: bool = False) -> str:
    """Read `filePath` (IS-6)."""
    path = text(asked, "filePath", 200, needed=needed)
    if ".." in path:
        raise RefusalError(INVALID_CHARACTERS, "filePath")
    return path


def schedule(asked: Json, *, half_hours: bool) -> tuple[int, int] | None:
    """Read `hour` and `minute`, texts of digits, both or neither (IS-5)."""
    hour, minute = asked.get("hour"), asked.get("minute")
    if hour is None and minute is None:
        return None
    if hour is None or minute is None:
        raise RefusalError(NOT_TOGETHER)
    at = _digits(hour, "hour", 23), _digits(minute, "minute", 59)
    if half_hours and at[1] not in (0, 30):
        raise RefusalError(WRONG_VALUE, "minute")
    return at


def _digits(value: Any, name: str, most: int) -> int:
    if not isinstance(value, str) or not _WHOLE_NUMBER.fullmatch(value):
        raise RefusalError(WRONG_TYPE, name)
    if not 0 <= int(value) <= most:
        raise RefusalError(WRONG_VALUE, name)
    return int(value)


def page(asked: Json) -> slice:
    """Read `offset` and `limit` of a query."""
    offset = _integer(asked, "offset", 0, 2**31 - 1)
    return slice(offset, offset + _integer(asked, "limit", 1, MOST_ROWS))


def _integer(asked: Json, name: str, least: int, most: int) -> int:
    value = asked.get(name)
    if value is None:
        raise RefusalError(EMPTY, name)
    if type(value) is not int:
        raise RefusalError(WRONG_TYPE, name)
    if not least <= value <= most:
        raise RefusalError(WRONG_VALUE, name)
    return value


def ids(asked: Json, name: str) -> list[str] | None:
    """Read an optional list of ids; None: all."""
    value = asked.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise RefusalError(WRONG_TYPE, name)
    return value


def user_name(asked: Json) -> str:
    """Read `userName`: at most 30 characters, none of them special."""
    name = text(asked, "userName", 30)
    if not _USER_NAME.fullmatch(name):
        raise RefusalError(INVALID_CHARACTERS, "userName")
    return name


def password(asked: Json) -> str:
    """Read `serverPwd`, 8 to 80 characters; empty where it is absent."""
    value = asked.get("serverPwd")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RefusalError(WRONG_TYPE, "serverPwd")
    if not 8 <= len(value) <= 80:
        raise RefusalError(BAD_LENGTH, "serverPwd")
    return value


def address(asked: Json) -> tuple[str, str, str]:
    """Read `serverInfo`: ip, port (a text) and default path."""
    info = asked.get("serverInfo")
    if info is None:
        raise RefusalError(EMPTY, "serverInfo")
    if not isinstance(info, dict):
        raise RefusalError(WRONG_TYPE, "serverInfo")
    port = text(info, "port", 5)
    if not (port.isascii() and port.isdecimal()) or not 1 <= int(port) <= 65_535:
        raise RefusalError(WRONG_VALUE, "port")
    return text(info, "ip", 64), port, file_path(info, needed=True)
