"""Connections by environment, a server that behaves as badly as a test wants, and a check that nothing leaks."""

from __future__ import annotations

import logging
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from include.sandbox.server import SandboxServer
from tests.connections import set_connection


@pytest.fixture
def sandbox(small_sandbox: SandboxServer) -> SandboxServer:
    """The sandbox with a hundred leads, ten to a page, as at the start."""
    small_sandbox.reset()
    small_sandbox.switch("platform", page_size=10)
    small_sandbox.switch("purecallerid", step_seconds=0, inactive=[], dnc=[])
    return small_sandbox


Connect = Callable[..., None]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Define a connection the way a deployment does."""

    def define(conn_id: str, host: str | None, password: str | None, **rest: Any) -> None:
        conn_type, _, _ = conn_id.partition("_")
        value = {"conn_type": conn_type, "host": host, "password": password, **rest}
        set_connection(monkeypatch, conn_id, **value)

    return define


@dataclass
class Request:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class RawServer:
    """Answers every request with `answer(request, handler)`, which writes what it likes to `handler.wfile`."""

    def __init__(self, context: ssl.SSLContext | None = None, *, keep_bodies: bool = True) -> None:
        self.requests: list[Request] = []
        self.read_body = True
        self.answer: Callable[[Request, BaseHTTPRequestHandler], None] = lambda _, handler: reply(handler)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                left, body = int(self.headers.get("Content-Length") or 0) if server.read_body else 0, b""
                while left > 0 and (block := self.rfile.read(min(left, 1 << 20))):
                    left -= len(block)
                    body += block if keep_bodies else b""
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                server.requests.append(request)
                server.answer(request, self)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.address = f"127.0.0.1:{self.http.server_port}"
        self.url = f"http{'s' if context else ''}://{self.address}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int = 200, body: bytes = b"{}", **headers: str) -> None:
    """Send a whole answer."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def raw() -> Iterator[RawServer]:
    server = RawServer()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[RawServer]:
    """A second server: the one that nothing should be sent to."""
    server = RawServer()
    yield server
    server.close()


@pytest.fixture
def sink() -> Iterator[RawServer]:
    """A server that forgets what it is sent."""
    server = RawServer(keep_bodies=False)
    yield server
    server.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of loopback's own, with its key: a CA file that trusts itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "loopback.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def encrypted(certificate: Path) -> Iterator[RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = RawServer(context)
    yield server
    server.close()


OURS = ("urllib3", "listkeeper", "include", "airflow", "requests", "task")


@pytest.fixture
def nothing_leaks(caplog: pytest.LogCaptureFixture) -> Callable[..., None]:
    """Check that no secret stands in an error, its traceback, or in any record logged so far (down to DEBUG)."""
    caplog.set_level(logging.DEBUG)

    def check(error: BaseException | None, *secrets: str) -> None:
        texts = [f"{r.getMessage()} {r.args} {r.exc_text}" for r in caplog.records if r.name.startswith(OURS)]
        if error is not None:
            texts += [str(error), repr(error), "".join(traceback.format_exception(error))]
        found = [(secret, text) for secret in secrets for text in texts if secret in text]
        assert not found

    return check
