"""What a caller sends to PureCallerID: the CSV and `processRequest`, checked by the contract's section 2."""

from __future__ import annotations

import csv
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any, Final
from urllib.parse import urlsplit

import orjson
from starlette.exceptions import HTTPException

from include.sandbox.dialer import DEDUPES, Dialer, RingCx

Json = dict[str, Any]

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def read_rows(file: IO[bytes], *, skip: int) -> Iterator[list[str]]:
    """Yield the CSV's rows from its start, without blank lines and without the first `skip` rows (PC-2)."""
    file.seek(0)
    if file.read(len(BOM_UTF8)) != BOM_UTF8:
        file.seek(0)
    rows = csv.reader((line.decode() for line in file), strict=True)
    return islice((row for row in rows if row), skip, None)


def read_request(text: str, dialer: Dialer, file: IO[bytes], *, allow_http: bool) -> Json:
    """Check `processRequest` against section 2, PC-4 and the file; every complaint answers 400."""
    try:
        asked = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HTTPException(400, "processRequest is not JSON.") from None
    if not isinstance(asked, dict):
        raise HTTPException(400, "processRequest is not a JSON object.")
    ringcx = isinstance(dialer, RingCx)
    if ringcx and asked.get("mode") is None:
        asked["mode"] = "APPEND"
    if asked.get("mode") not in ("APPEND", "REPLACE"):
        raise HTTPException(400, "mode must be APPEND or REPLACE.")
    if not isinstance(asked.get("dialerListId"), str) or not asked["dialerListId"]:
        raise HTTPException(400, "dialerListId is missing.")
    if not isinstance(asked.get("firstRowHasHeaders"), bool | None):
        raise HTTPException(400, "firstRowHasHeaders must be true or false.")
    if ringcx and asked.get("dedupe") not in DEDUPES:
        raise HTTPException(400, f"dedupe must be one of {', '.join(DEDUPES)}.")
    _check_webhook(asked.get("webhookUrl"), allow_http=allow_http)
    try:
        first = next(read_rows(file, skip=0), None)
    except (UnicodeDecodeError, csv.Error):
        raise HTTPException(400, "The file is not UTF-8 CSV.") from None
    if first is None:
        raise HTTPException(400, "The file is empty.")
    asked["mappedCols"] = _mapping(asked.get("mappedCols"), len(first), dialer.phone_column)
    return asked


def _check_webhook(url: Any, *, allow_http: bool) -> None:
    if url is None:
        return
    try:
        parts = urlsplit(url if isinstance(url, str) and not re.search(r"\s", url) else "")
        _ = parts.port  # out of range, or no number
    except ValueError:
        parts = urlsplit("")
    if parts.scheme == "http" and allow_http and parts.hostname in LOOPBACK:
        return
    if parts.scheme != "https" or not parts.hostname:
        raise HTTPException(400, "webhookUrl must be a valid HTTPS URL.")


def _mapping(columns: Any, width: int, phone_column: str) -> list[Json]:
    if not isinstance(columns, list) or not columns:
        raise HTTPException(400, "mappedCols must hold at least one column.")
    mapping = []
    for column in columns:
        index = column.get("columnIndex") if isinstance(column, dict) else None
        name = column.get("columnId") if isinstance(column, dict) else None
        if type(index) is not int or not 0 <= index < width:
            raise HTTPException(400, "columnIndex must be a column of the file, counted from 0.")
        if not isinstance(name, str) or not name:
            raise HTTPException(400, "columnId must be the name of a column of the dialer.")
        mapping.append({"columnIndex": index, "columnId": name})
    for key in ("columnIndex", "columnId"):
        if len({column[key] for column in mapping}) < len(mapping):
            raise HTTPException(400, f"mappedCols repeats a {key}.")
    if phone_column not in {column["columnId"] for column in mapping}:
        raise HTTPException(400, f"mappedCols must map {phone_column}.")
    return mapping
