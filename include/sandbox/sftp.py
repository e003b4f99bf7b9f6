"""The file server of iSales' customer: real SFTP over SSH, on a port of its own, over a temporary folder.

It runs in a thread with an event loop of its own, so that large uploads do not hold up the vendors. Rules of the
vendor `sftp` spoil logins, uploads and renames; the account with which iSales itself comes for files is spared.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import tempfile
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import asyncssh
from asyncssh.constants import FXF_WRITE
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from include.sandbox.clock import pause
from include.sandbox.faults import Faults, Rule

USER: Final = "listkeeper"
PASSWORD: Final = "sandbox-sftp-password"  # noqa: S105 - fake
VENDOR_USER: Final = "isales"
VENDOR_PASSWORD: Final = "sandbox-isales-password"  # noqa: S105 - fake
"""The account that is registered with iSales."""

FOLDER: Final = "/home/sftp"
"""The registered default path; it exists."""

START_SECONDS: Final = 60.0


@dataclass
class _Upload:
    """A file open for writing, and the rules that strike it."""

    path: str
    rules: dict[str, Rule]


class SftpServer:
    """The server; as a context manager it serves in a thread."""

    def __init__(self, listener: socket.socket) -> None:
        self.host, self.port = listener.getsockname()[:2]
        self.faults = Faults()
        self.events: deque[dict[str, str]] = deque(maxlen=10_000)
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._listener = listener
        self._temporary = tempfile.TemporaryDirectory(prefix="sandbox-sftp-")
        self.root = Path(self._temporary.name)
        self._key = _host_key()
        self._thread: threading.Thread | None = None

    @property
    def host_key(self) -> str:
        """The public host key, as `known_hosts` and connections write it."""
        return self._key.export_public_key().decode().strip()

    @property
    def reachable_host(self) -> str:
        """Where this process reaches it."""
        return "127.0.0.1" if self.host == "0.0.0.0" else str(self.host)  # noqa: S104 - a comparison

    def about(self, host: str) -> dict[str, Any]:
        """Tell what a client needs; `host` is where the caller reached the sandbox."""
        return {
            "host": host,
            "port": self.port,
            "user": USER,
            "password": PASSWORD,
            "host_key": self.host_key,
            "folder": FOLDER,
        }

    def begin(self, faults: Faults) -> None:
        """Put everything back to its start: no files, no sessions, new rules."""
        self.faults = faults
        self.events.clear()
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._hang_up)
        for entry in self.root.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        (self.root / FOLDER.strip("/")).mkdir(parents=True)

    def files(self) -> list[dict[str, Any]]:
        """List the files with their sizes."""
        return [
            {"path": f"/{path.relative_to(self.root)}", "size": path.stat().st_size}
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        ]

    def note(self, op: str, path: str) -> None:
        """Write down what a client did."""
        self.events.append({"op": op, "path": path})

    def __enter__(self) -> SftpServer:
        listening = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)), name="sandbox-sftp", daemon=True
        )
        self._thread.start()
        if not listening.wait(START_SECONDS):
            raise TimeoutError("The sandbox's SFTP server did not start.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._thread = None
        self._temporary.cleanup()

    async def _serve(self, listening: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        acceptor = await asyncssh.listen(
            sock=self._listener,
            server_host_keys=[self._key],
            server_factory=lambda: _Doorkeeper(self),
            sftp_factory=lambda channel: _Files(channel, self),
        )
        listening.set()
        await self._end.wait()
        acceptor.close()
        self._hang_up()
        await acceptor.wait_closed()

    def _hang_up(self) -> None:
        for connection in list(self.connections):
            connection.abort()


class _Doorkeeper(asyncssh.SSHServer):
    """One connection: who may come in."""

    def __init__(self, server: SftpServer) -> None:
        self._server = server

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self._connection)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        if (username, password) == (VENDOR_USER, VENDOR_PASSWORD):
            return True
        rules = {rule.fault for rule in self._server.faults.fire("sftp", "login", "login", username)}
        if "login_cut" in rules:
            self._connection.abort()
            return False
        welcome = (username, password) == (USER, PASSWORD) and "login_refused" not in rules
        self._server.note("login" if welcome else "login refused", username)
        return welcome


class _Files(asyncssh.SFTPServer):
    """One session over the server's folder."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], server: SftpServer) -> None:
        super().__init__(channel, chroot=bytes(server.root))
        self._server = server
        self._is_vendor = channel.get_extra_info("username") == VENDOR_USER
        self._uploads: dict[int, _Upload] = {}

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        file = super().open(path, pflags, attrs)
        if pflags & FXF_WRITE:
            name = _absolute(path)
            self._server.note("upload", name)
            self._uploads[id(file)] = _Upload(name, self._strikes("upload", name))
        return file

    def close(self, file_obj: object) -> Any:
        self._uploads.pop(id(file_obj), None)
        return super().close(file_obj)

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Write; after `after_bytes` of a file a rule may strike."""
        rules = self._uploads[id(file_obj)].rules
        if (rule := rules.get("upload_slow")) is not None:
            await pause(rule.seconds)
        if (rule := rules.get("upload_corrupt")) is not None and 0 <= (at := rule.after_bytes - offset) < len(
            data
        ):
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        limits = (rules.get(name) for name in ("upload_cut", "upload_full", "upload_short"))
        rule = next(filter(None, limits), None)
        if rule is None or offset + len(data) <= rule.after_bytes:
            super().write(file_obj, offset, data)
            return len(data)
        super().write(file_obj, offset, data[: max(0, rule.after_bytes - offset)])
        if rule.fault == "upload_cut":
            self.connection.abort()
        if rule.fault == "upload_full":
            raise asyncssh.SFTPFailure("No space left on device")
        return len(data)  # upload_short: it says that it wrote everything

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        self._rename(super().rename, oldpath, newpath)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        self._rename(super().posix_rename, oldpath, newpath)

    def remove(self, path: bytes) -> Any:
        self._server.note("remove", _absolute(path))
        return super().remove(path)

    def _rename(self, rename: Any, oldpath: bytes, newpath: bytes) -> None:
        name = _absolute(newpath)
        rules = self._strikes("rename", name)
        if "rename_refused" in rules:
            raise asyncssh.SFTPPermissionDenied("Renaming is not allowed")
        rename(oldpath, newpath)
        self._server.note("rename", name)
        if "rename_lost" in rules:
            self.connection.abort()

    def _strikes(self, point: Any, path: str) -> dict[str, Rule]:
        if self._is_vendor:
            return {}
        return {rule.fault: rule for rule in self._server.faults.fire("sftp", point, point, path)}


def _absolute(path: bytes) -> str:
    return "/" + path.decode(errors="replace").lstrip("/")


def _host_key() -> asyncssh.SSHKey:
    """Make the host key: always the same, so that a connection can name it, and worth nothing elsewhere."""
    seed = hashlib.sha256(b"the sandbox's host key, known to everybody").digest()
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return asyncssh.import_private_key(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
