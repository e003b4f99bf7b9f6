"""What vendors' answers have in common: they are JSON objects, or cannot be read."""

from __future__ import annotations

from typing import Any

import orjson


def json_object(body: bytes) -> dict[str, Any]:
    """The object that a body holds. Raises ValueError, which says what it is instead, without quoting it."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ValueError(f"its text is no JSON ({len(body)} bytes)") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found
