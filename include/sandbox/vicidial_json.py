"""Reads a body the way the vendor's parser (Newtonsoft) does, down to the text of its complaints.

A complaint names path, line and position. Lines count from 1, positions within the line from 0, and the very
first character of a body is "line 0, position 0".
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(:)?|".*|[{}\[\],]', re.DOTALL)
_COMPLAINTS: Final = {
    "Expecting value": "Unexpected character encountered while parsing value: {}.",
    "Expecting ',' delimiter": "After parsing a value an unexpected character was encountered: {}.",
    "Expecting property name": "Invalid property identifier character: {}.",
    "Expecting ':' delimiter": "Invalid character after parsing property name. Expected ':' but got: {}.",
    "Unterminated string": 'Unterminated string. Expected delimiter: ".',
    "Invalid \\": "Bad JSON escape sequence: {}.",
    "Extra data": "Additional text encountered after finished reading JSON content: {}.",
}
"""Python's complaint (its beginning) -> the vendor's."""


class BodyError(Exception):
    """The body is no JSON object; the message is the vendor's."""


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body holds, or raise BodyError."""
    text = body.decode("utf-8-sig", errors="replace")
    try:
        value = json.loads(text, parse_float=_float, parse_constant=_float)
    except json.JSONDecodeError as error:
        raise BodyError(_complaint(text, error)) from None
    except (
        ValueError,
        RecursionError,
    ):  # a number beyond a double or of thousands of digits; nested too deep
        raise BodyError("The JSON value is too large. Path '', line 1, position 1.") from None
    if not isinstance(value, dict):
        raise BodyError(
            "Error reading JObject from JsonReader. Current JsonReader item is not an object. "
            "Path '', line 1, position 1."
        )
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _complaint(text: str, error: json.JSONDecodeError) -> str:
    """Word an error as the vendor's parser does."""
    position = error.pos
    if position >= len(text.rstrip()):
        problem = "Unexpected end of content while loading JObject."
    elif error.msg.startswith("Expecting ','") and text[position - 1].isdigit():
        problem = f"Unexpected character encountered while parsing number: {text[position]}."
    else:
        known = (ours for theirs, ours in _COMPLAINTS.items() if error.msg.startswith(theirs))
        problem = next(known, _COMPLAINTS["Expecting value"]).format(text[position])
    line = text.count("\n", 0, position) + 1 if position else 0
    column = position - (text.rfind("\n", 0, position) + 1)
    return f"{problem} Path '{_path(text[:position])}', line {line}, position {column}."


def _path(text: str) -> str:
    """Tell where the end of a valid beginning of JSON is, such as `lead_ids[97]`."""
    places: list[str | int] = []
    for token in _TOKEN.finditer(text):
        mark, key, colon = token[0], token[1], token[2]
        if mark in "{[":
            places.append("" if mark == "{" else 0)
        elif mark in "}]":
            places.pop()
        elif colon:
            places[-1] = key
        elif mark == "," and isinstance(place := places[-1], int):
            places[-1] = place + 1
    steps = (f"[{place}]" if isinstance(place, int) else f".{place}" for place in places if place != "")
    return "".join(steps).removeprefix(".")
