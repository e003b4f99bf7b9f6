"""Recordings and voicemails of the Platform API (operation 5): the bytes of a file, whichever way they come (PL-6)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from include.vendors.bodies import read_json
from include.vendors.platform.answers import is_web_page, media_type, require_success, unexpected


@dataclass(frozen=True)
class Media:
    """A file of the vendor's.

    :param content_type: media type without parameters; empty where the vendor sends the bytes inside JSON.
    """

    content: bytes = field(repr=False)
    content_type: str

    @property
    def suffix(self) -> str:
        """What the file's name ends in."""
        return {"audio/mpeg": ".mp3", "audio/wav": ".wav", "audio/x-wav": ".wav", "audio/ogg": ".ogg"}.get(
            self.content_type, ".bin"
        )


def read_media(status: int, headers: Mapping[str, str], body: bytes, title: str) -> Media:
    """Read the answer to a download: the bytes themselves, or a JSON text that holds them in base64."""
    require_success(status, headers, title)
    content_type = media_type(headers)
    if is_web_page(headers, body):
        raise unexpected("a web page in place of a media file", status)
    if content_type not in ("application/json", "text/json") and not content_type.endswith("+json"):
        if not body:
            raise unexpected("a media file without content", status)
        return Media(body, content_type)
    try:
        text = read_json(body)
        content = base64.b64decode("".join(text.split()), validate=True) if isinstance(text, str) else b""
    except ValueError:  # no JSON, or no base64
        content = b""
    if not content:
        raise unexpected("a media file as JSON that is no text in base64", status)
    return Media(content, "")
