"""Receives what vendors call back: `POST /listkeeper/callbacks/<vendor>/<token>`.

Open to the world, because no vendor can log in: the token, unguessable and one per attempt, is what proves the
caller. A body is read for what it is, whatever its headers say, because no vendor calls a second time; it is stored
once, whatever its order, and judged later by whoever waits for it. Neither token nor body is ever logged.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from include import callbacks
from include.callbacks import MAX_BODY
from include.ledger import BadCallbackError, Receipt, UnknownTokenError
from listkeeper.hooks.ledger import open_ledger

READ_SECONDS: Final = 10.0
"""How long a caller may take to send its body."""

NO_SUCH_PLACE: Final = "No load waits for this callback."
CALLBACKS: Final = "/callbacks/"

log = logging.getLogger(__name__)
router = APIRouter()


@router.post(CALLBACKS + "{vendor}/{token}")
async def receive(vendor: str, token: str, request: Request) -> dict[str, bool]:
    """Store one callback; `stored` tells whether it said something new."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await _read(request)
    except TimeoutError:
        raise HTTPException(408, "The body took too long.") from None
    except ClientDisconnect:
        raise HTTPException(400, "The body is cut.") from None
    try:
        receipt = await run_in_threadpool(_store, vendor, token, body)
    except UnknownTokenError:
        raise HTTPException(404, NO_SUCH_PLACE) from None
    except BadCallbackError as error:
        raise HTTPException(400, str(error)) from None
    except SQLAlchemyError as error:
        log.error(
            "A callback of %s could not be stored: the ledger failed (%s).", vendor, type(error).__name__
        )
        raise HTTPException(503, "Try again later.", {"Retry-After": "30"}) from None
    log.info("Callback of %s for load %s, batch %s.", vendor, receipt.load_id, receipt.seq)
    return {"stored": receipt.new}


def without_token(path: str) -> str:
    """The path of a request as it may be logged."""
    before, mark, _ = path.partition(CALLBACKS)
    return f"{before}{mark}***" if mark else path


async def _read(request: Request) -> bytes:
    """Read the body, and no more than is allowed."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"The body is larger than {MAX_BODY} bytes.")
    return bytes(body)


def _store(vendor: str, token: str, body: bytes) -> Receipt:
    if not re.fullmatch(r"[a-z_]{1,40}", vendor):
        raise UnknownTokenError
    return callbacks.receive(open_ledger(), vendor, token, body)
