"""What vendors' answers have in common: they are JSON objects, or cannot be read; counts are whole numbers."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import Any, Final

import orjson

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)",
    re.DOTALL,
)
"""An escape in JSON: a pair of surrogates (12 bytes), one without its other half (6), any other's beginning (2)."""


def read_json(body: bytes) -> Any:
    """The value that a body holds, with or without a byte order mark. Raises ValueError where there is none.

    Half an emoji, as a server writes it that cuts names by their UTF-16 units, becomes U+FFFD: there is no other
    reading of it, and all else in the answer must not be lost for it.
    """
    text = body.removeprefix(BOM_UTF8)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return orjson.loads(_ESCAPE.sub(lambda found: rb"\ufffd" if len(found[0]) == 6 else found[0], text))


def json_object(body: bytes) -> dict[str, Any]:
    """The object that a body holds. Raises ValueError, which says what it is instead, without quoting it."""
    try:
        found = read_json(body)
    except ValueError:
        raise ValueError(f"its text is no JSON ({len(body)} bytes)") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def whole_number(value: Any) -> int | None:
    """A count as vendors write it: a whole number, or its digits as text. None for anything else."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
        return int(value)
    return value if type(value) is int and value >= 0 else None
