"""Files behind pre-signed URLs, as Amazon's S3 serves them: for a time, and 403 after it."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from include.sandbox.clock import Clock

VALID: Final = timedelta(hours=24)
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_KEY: Final = b"the sandbox signs with this, and nobody else"
_FAKE: Final = "IQoJb3JpZ2luX2VjEPsandbox//////////wEaCmFwLXNvdXRoLTEiRjBEAiBub3QgYSB0b2tlbg=="


class SignedFiles:
    """The files, by path; every URL ends after 24 hours on the sandbox's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, bytes] = {}

    def add(self, base_url: str, path: str, content: bytes) -> str:
        """Keep a file, and return its URL."""
        self._files[path] = content
        now = self._clock.now()
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"ASIASANDBOXSANDBOX00/{now:%Y%m%d}/ap-south-1/s3/aws4_request",
            "X-Amz-Date": now.strftime(_STAMP),
            "X-Amz-Expires": str(int(VALID.total_seconds())),
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Security-Token": _FAKE,
        }
        query["X-Amz-Signature"] = _signature(path, query)
        return f"{base_url.rstrip('/')}{path}?{urlencode(query)}"

    async def serve(self, request: Request) -> Response:
        """Serve a file to who has its whole URL, in time."""
        path = request.url.path
        query = dict(request.query_params)
        if not hmac.compare_digest(
            query.pop("X-Amz-Signature", "").encode(), _signature(path, query).encode()
        ):
            return _error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
        signed = datetime.strptime(query["X-Amz-Date"], _STAMP).replace(tzinfo=UTC)
        if self._clock.now() > signed + VALID:
            return _error(403, "AccessDenied", "Request has expired")
        if path not in self._files:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        return Response(self._files[path], media_type="text/csv")


def _signature(path: str, query: dict[str, str]) -> str:
    """Sign what a URL means, not how it is written: clients may quote it anew."""
    return hmac.new(_KEY, f"GET\n{path}\n{sorted(query.items())}".encode(), hashlib.sha256).hexdigest()


def _error(status: int, code: str, message: str) -> Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    )
    return Response(body, status, media_type="application/xml")
