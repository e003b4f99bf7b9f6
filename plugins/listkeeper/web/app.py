"""The web app that the plugin mounts at /listkeeper: the callback receiver and the pages."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from include.masking import Quietly
from listkeeper.links import PREFIX
from listkeeper.masking import mask_logs
from listkeeper.web import erasure, pages, receiver, resend

HEADERS: Final = {
    # The pages bring their style with them and need nothing else. Airflow shows them in a frame of its own.
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would send our own forms with the origin "null", as if another site had sent them.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Envelope:
    """Puts our headers on every answer; keeps tokens out of the server's access log, and rows out of its errors.

    Airflow's access log (and uvicorn's) writes the path that stands in the request's scope once the answer has
    gone out. The app works on a copy of the scope; the one that gets logged has no token in it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        ours = dict(scope)
        if scope["type"] == "http":
            scope["path"] = receiver.without_token(scope["path"])
            scope["raw_path"] = quote(scope["path"]).encode()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        mask_logs()
        # What leaves here is logged by Airflow's server with its whole chain.
        with Quietly():
            await self.app(ours, receive, send_with_headers)


def create_app() -> FastAPI:
    """Build the app. Every page is guarded by Airflow's own login; only the receiver is open."""
    made = FastAPI(
        title="Listkeeper", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    made.include_router(receiver.router)
    made.include_router(pages.router)
    made.include_router(erasure.router)
    made.include_router(resend.router)
    made.add_exception_handler(AnyHTTPException, _refused)
    made.add_exception_handler(RequestValidationError, _not_found)
    made.add_middleware(Envelope)
    return made


async def _refused(request: Request, error: Exception) -> Response:
    """Answer browsers with a page (or the way to Airflow's login), everyone else with JSON."""
    if not isinstance(error, AnyHTTPException):
        raise error
    if "text/html" not in request.headers.get("accept", ""):
        return await http_exception_handler(request, error)
    if error.status_code == 401:
        root = str(request.scope.get("root_path", "")).removesuffix(PREFIX)
        return RedirectResponse(f"{root}/api/v2/auth/login?next={quote(request.url.path)}", 303)
    return pages.message(request, error.status_code, str(error.detail))


async def _not_found(request: Request, _error: Exception) -> Response:
    """A path whose parts cannot be ours leads nowhere, as any other unknown path."""
    return await _refused(request, HTTPException(404, pages.NOTHING_HERE))


app = create_app()
