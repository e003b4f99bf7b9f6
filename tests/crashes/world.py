"""A whole night in one thread and in no time: client, sandbox and callback receiver on one clock that jumps.

The code under test is what runs in production, but for four things below it: requests reach the sandbox's app without
a socket (`UploadAdapter.send`), vendors reach the receiver's app the same way, time passes only when somebody waits
(`time.sleep`, `asyncio.sleep`, a trigger, an answer that takes long), and threads are played at once. Everything is
therefore the same each time it is played, and hours cost nothing. The flow tests beside this run over real sockets.
"""

# ruff: noqa: E402 - Airflow needs a home before anything imports it

from __future__ import annotations

import asyncio
import io
import json
import os
import selectors
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import unquote, urlsplit

PLUGINS = str(Path(__file__).parents[2] / "plugins")
if PLUGINS not in sys.path:  # pytest does that by itself, `python -m` does not
    sys.path.append(PLUGINS)

# First of all, because it gives Airflow a home before anything imports it.
from tests.plugins.conftest import HOME  # noqa: F401

# isort: split
import httpx
import requests
import time_machine

from include.sandbox.server import SandboxServer
from include.sandbox.switches import Switches

BEGIN = datetime(2026, 11, 21, 18, tzinfo=UTC)
"""Saturday evening: no office is open, and the night of the 20th is pulled."""

RECEIVER = "http://127.0.0.1:1"
"""Where the receiver would listen."""


class StandstillError(Exception):
    """Everybody waits, and nothing is left that could wake anybody."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop that never waits: where it would, `idle` is called with the seconds it would have waited."""

    def __init__(self, now: Callable[[], float], idle: Callable[[float], None]) -> None:
        super().__init__(_NoWaiting(idle))
        self._now = now
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._now()

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """No thread: the function is called here and now."""
        done = self.create_future()
        try:
            done.set_result(function(*args))
        except BaseException as error:
            done.set_exception(error)
        return done

    @contextmanager
    def inside_another(self) -> Iterator[Loop]:
        """Run this loop though another one is waiting for it, below on the same stack."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            yield self
        finally:
            asyncio._set_running_loop(outer)


class _NoWaiting(selectors.DefaultSelector):
    def __init__(self, idle: Callable[[float], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise StandstillError
        if timeout > 0:
            self._idle(timeout)
        return []


class _NoThreads(Executor):
    """Calls each function here and now, one after the other."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


class World:
    """The clock, the vendors' side and the client's side. Use it as a context manager; one at a time."""

    def __init__(self, place: Path, *, with_vicidial: bool = False) -> None:
        self.place = place
        self._with_vicidial = with_vicidial
        self.seconds = 0.0
        self.vendors = Loop(lambda: self.seconds, self._pass)
        self.client = Loop(lambda: self.seconds, self.sleep)
        self.sandbox = _LocalSandbox(
            self,
            synthetic=10,
            switches=Switches(),
            vicidial_db=f"sqlite:///{place / 'vicidial.db'}",
        )

    # Time

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def _pass(self, seconds: float) -> None:
        self.seconds += seconds
        self._clock.move_to(self.now())

    def sleep(self, seconds: float) -> None:
        """Let time pass; the vendors go on meanwhile."""
        end = self.seconds + max(seconds, 0.0)
        with self.vendors.inside_another() as loop:
            timer = loop.call_at(end, loop.stop)
            loop.run_forever()
            timer.cancel()

    def wait_for(self, event: Coroutine[Any, Any, Any]) -> Any:
        """Run what a trigger does."""
        return self.client.run_until_complete(event)

    def begin(self) -> None:
        """Everything as it was: the vendors, their faults, and the time."""
        self.sandbox.reset()
        self.sleep(0.0)  # what was cancelled ends
        self.seconds = 0.0
        self._clock.move_to(self.now())

    # The way to the vendors

    def send(
        self, _adapter: Any, request: requests.PreparedRequest, *_: Any, timeout: Any = None, **__: Any
    ) -> requests.Response:
        """Stand in for an adapter of requests."""
        patience = timeout[1] if isinstance(timeout, tuple) else timeout
        call = Call(str(request.method), str(request.url), request.headers, _body(request.body))
        with self.vendors.inside_another() as loop:
            loop.run_until_complete(call.go(self.sandbox.sandbox, patience))
        if call.status is None:
            kind = requests.exceptions.ReadTimeout if call.late else requests.exceptions.ConnectionError
            raise kind("the sandbox gave no answer", request=request)
        if not call.whole:
            raise requests.exceptions.ChunkedEncodingError("the answer is cut", request=request)
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = call.status, request, str(request.url)
        answer.headers.update({name.decode(): value.decode() for name, value in call.headers})
        answer.raw = io.BytesIO(bytes(call.body))
        return answer

    def __enter__(self) -> World:
        from airflow.sdk.bases.operator import ExecutorSafeguard
        from fastapi import FastAPI
        from listkeeper.hooks import platform_requests, vendor
        from listkeeper.operators import platform
        from listkeeper.web import app, receiver

        import include.sandbox.webhooks as webhooks
        from include import snapshots
        from include.report import rejects
        from include.sandbox.vicidial_db import VicidialDatabase

        outside = FastAPI()
        outside.mount("/listkeeper", app.create_app())
        way_in = _WayIn(httpx.ASGITransport(outside))

        async def here(function: Callable[..., Any], *args: Any) -> Any:
            return function(*args)

        self._travel = time_machine.travel(BEGIN, tick=False)
        self._patches = [
            mock.patch.object(vendor.UploadAdapter, "send", lambda *a, **k: self.send(*a, **k)),
            mock.patch.object(webhooks, "_client", lambda: httpx.AsyncClient(transport=way_in)),
            mock.patch.object(receiver, "run_in_threadpool", here),
            mock.patch.object(platform, "ThreadPoolExecutor", _NoThreads),
            mock.patch.object(snapshots, "ThreadPoolExecutor", _NoThreads),
            mock.patch.object(time, "sleep", self.sleep),
            mock.patch.object(ExecutorSafeguard, "test_mode", True),
            mock.patch.dict(
                platform_requests.PlatformRequests.__init__.__kwdefaults__, {"sleep": self.sleep}
            ),
            mock.patch.dict(os.environ, self._settings()),
            # A workbook for people to open takes longer than all the rest of a run, and holds what the Parquet says.
            mock.patch.object(rejects, "_write_workbook", _no_workbook),
        ]
        if not self._with_vicidial:  # filling its tables takes longer than a night
            self._patches.append(mock.patch.object(VicidialDatabase, "reset", lambda *_: None))
        for patch in self._patches:
            patch.start()
        self._clock = self._travel.start()
        self.sandbox.__enter__()
        return self

    def replace(self, patch: Any) -> None:
        """Put something else in the place of a thing, until the end of this world."""
        patch.start()
        self._patches.append(patch)

    def __exit__(self, *_: object) -> None:
        self.sandbox.__exit__(None, None, None)
        self._travel.stop()
        for patch in reversed(self._patches):
            patch.stop()
        for loop in (self.vendors, self.client):
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.close()

    def _settings(self) -> dict[str, str]:
        (self.place / "flows").mkdir(exist_ok=True)
        ledger = {"conn_type": "sqlite", "host": str(self.place / "ledger.db")}
        return {
            "LISTKEEPER_FLOWS": str(self.place / "flows"),
            "LISTKEEPER_PUBLIC_URL": RECEIVER,
            "LISTKEEPER_STAGING": str(self.place / "staging"),
            "AIRFLOW_CONN_LISTKEEPER_LEDGER": json.dumps(ledger),
        }


def _no_workbook(path: Path, chunks: Iterable[Any]) -> None:
    for _ in chunks:
        pass
    path.write_bytes(b"")


def _body(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, bytes) else bytes(body.read())


class Call:
    """One request to an app, as a server would hand it over; `status` stays None when no answer came."""

    def __init__(self, method: str, url: str, headers: Any, body: bytes) -> None:
        parts = urlsplit(url)
        self._scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": parts.scheme,
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(b"host", parts.netloc.encode())]
            + [(k.lower().encode(), v.encode() if isinstance(v, str) else v) for k, v in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": (parts.hostname, parts.port or 80),
            "sandbox.close": self._close,
        }
        self._sent = body
        self._received = False
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.whole = self.late = False

    async def go(self, app: Any, patience: float | None = None) -> None:
        """Wait for the answer, a hang-up, or the end of patience; whatever the app still does, it does alone."""
        self._gone, self._over = asyncio.Event(), asyncio.Event()
        work = asyncio.ensure_future(app(self._scope, self._receive, self._take))
        work.add_done_callback(lambda _: self._over.set())
        try:
            async with asyncio.timeout(patience):
                await self._over.wait()
        except TimeoutError:
            self.late, self.status = True, None
            self._gone.set()
            return
        if work.done() and not work.cancelled() and (error := work.exception()):
            raise error

    async def _receive(self) -> dict[str, Any]:
        if not self._received:
            self._received = True
            return {"type": "http.request", "body": self._sent, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _take(self, message: Any) -> None:
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                self.whole = True
                self._over.set()

    def _close(self) -> None:
        self._gone.set()
        self._over.set()


class _WayIn(httpx.AsyncBaseTransport):
    """The way from the vendors to the receiver; a receiver that dies is a connection that breaks."""

    def __init__(self, app: httpx.ASGITransport) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._app.handle_async_request(request)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            raise httpx.ReadError(type(error).__name__) from None


class _LocalSandbox(SandboxServer):
    """The sandbox without its server: the same app, the same controls."""

    def __init__(self, world: World, **about: Any) -> None:
        super().__init__(**about)
        self._world = world

    def __enter__(self) -> SandboxServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self.sftp._listener.close()
        self.sftp._temporary.cleanup()
        self._database.close()

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        call = Call(method, f"{self.base_url}/_sandbox{path}", {"content-type": "application/json"}, content)
        self._world.vendors.run_until_complete(call.go(self.sandbox))
        told = json.loads(bytes(call.body))
        if call.status != 200:
            raise ValueError(told["error"])
        return told


@contextmanager
def world(**about: Any) -> Iterator[World]:
    """A world in memory, if the machine has a folder that is."""
    fast = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="lk-world-", dir=fast if fast.is_dir() else None) as folder,
        World(Path(folder), **about) as made,
    ):
        yield made
