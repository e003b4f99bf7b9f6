"""Files for a vendor's file server, by the sftp provider's hook: there whole and checked, or not there.

A file is uploaded under a temporary name, compared with the local one, and renamed; so a vendor that imports by a
clock never reads half a file. After a cut the next try goes on where the last one stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import paramiko
from airflow.providers.sftp.hooks.sftp import SFTPHook
from airflow.sdk.exceptions import AirflowException
from airflow.sdk.log import mask_secret

from include.staging import sha256_of
from include.vendors.errors import (
    AuthenticationError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
)

if TYPE_CHECKING:
    from paramiko import SFTPClient, SFTPFile

log = logging.getLogger(__name__)

VENDOR: Final = "sftp"
Check = Literal["hash", "size"]
How = Literal["server hash", "read back", "size"]

BLOCK: Final = 256 * 1024
PREFETCH_REQUESTS: Final = 64
"""Requests under way while a file is read back, so that memory stays small."""

CONNECT_SECONDS: Final = 10
STALL_SECONDS: Final = 120.0
"""Seconds that a server may say nothing in the middle of a transfer."""


@dataclass(frozen=True)
class Upload:
    """A file that lies on the server under its final name.

    :param resumed_at: bytes that an earlier try had brought there already.
    :param checked: how it was compared with the local file: `server hash` (the server told it), `read back` (it was
        read again and hashed here), or `size`.
    """

    path: str
    bytes: int
    sha256: str
    resumed_at: int
    checked: How


class SftpUploadHook(SFTPHook):
    """
    Upload files to an SFTP server.

    Unlike the provider's default it does not compress (what is uploaded is deflated already; the extra
    `"compress": true` asks for it), and it makes one attempt to connect: trying again is the task's business. Host
    keys are checked, against the extra `host_key` or the system's known hosts; the extra `no_host_key_check` is
    honoured with a warning at each connection.

    :param ssh_conn_id: connection of Airflow's type `sftp`.
    """

    def __init__(self, ssh_conn_id: str = "isales_sftp") -> None:
        super().__init__(ssh_conn_id=ssh_conn_id, conn_retry_attempts=1)
        connection = self.get_connection(ssh_conn_id)
        mask_secret(connection.password)
        self.compress = str(connection.extra_dejson.get("compress", False)).lower() == "true"
        self.conn_timeout = self.conn_timeout or CONNECT_SECONDS
        if self.no_host_key_check or self.allow_host_key_change:
            log.warning(
                "The host key of %s is not checked: whoever stands in between reads every number. Put the server's key "
                "into the extra host_key instead.",
                ssh_conn_id,
            )

    def get_conn(self) -> SFTPClient:
        """Not offered: a connection that nobody closes. Use `get_managed_conn()`."""
        raise NotImplementedError("use get_managed_conn()")

    def upload(self, local: Path, remote: str, *, check: Check = "hash") -> Upload:
        """
        Bring a file to the server, replacing one of that name.

        :param remote: path as the server shows it; missing folders are made.
        :param check: `hash` compares the content, by the server's own hash where it has one, else by reading it back:
            so a file that is there already is not sent again, and a part that a cut left behind is taken up. `size`
            looks at the size alone, and always sends the whole file; the encrypted connection guards it on its way.

        Raises UnavailableError (no connection, cut), AuthenticationError (login or host key), RequestRefusedError (the
        server says no), UnexpectedAnswerError (what arrived is not what was sent, twice).
        """
        size, digest = local.stat().st_size, sha256_of(local)
        folder, name = posixpath.split(remote)
        part = posixpath.join(folder, f".{name}.part")
        with self._session("upload") as sftp:
            # Each question costs a round trip, so only what is needed is asked.
            if check == "hash" and (there := self._compared(sftp, remote, size, digest, check)):
                return Upload(remote, size, digest, size, there)
            resumed, how = self._bring(sftp, local, part, size, digest, check)
            # Looked at once more: what has the part's name now may be another worker's, just begun.
            if not how or _size(sftp, part) != size or not self._rename(sftp, part, remote):
                # A worker that was thought dead goes on with the same file, and took the part from under our hands.
                resumed, how = size, self._compared(sftp, remote, size, digest, check)
                if not how:
                    raise UnavailableError(VENDOR, "Another upload of this file is under way.")
        log.info("Uploaded %s bytes, checked by %s; %s were there before.", f"{size:,}", how, f"{resumed:,}")
        return Upload(remote, size, digest, resumed, how)

    def remove(self, remote: str) -> bool:
        """Remove a file; whether it was there."""
        with self._session("clean-up") as sftp:
            try:
                sftp.remove(remote)
            except FileNotFoundError:
                return False
        return True

    def test_connection(self) -> tuple[bool, str]:
        """Log in and look at the current folder."""
        try:
            with self._session("connection test") as sftp:
                sftp.listdir_attr(".")
        except (AuthenticationError, UnavailableError, RequestRefusedError, ValueError) as error:
            return False, str(error)
        return True, "The SFTP server accepts the login, and its host key is the known one."

    def _bring(
        self, sftp: SFTPClient, local: Path, part: str, size: int, digest: str, check: Check
    ) -> tuple[int, How | None]:
        """Write the part until it is the local file, twice at most; how much was there, and how it was compared.

        It was not (None) when another worker took the part away.
        """
        for resume in (check == "hash", False):
            try:
                resumed = self._put(sftp, local, part, size, resume=resume)
            except FileNotFoundError:
                self._make_folder(sftp, posixpath.dirname(part))
                resumed = self._put(sftp, local, part, size, resume=False)
            if how := self._compared(sftp, part, size, digest, check):
                return resumed, how
            try:
                sftp.remove(part)
            except FileNotFoundError:
                return resumed, None
        raise UnexpectedAnswerError(
            VENDOR,
            "The uploaded file is not the one that was sent, twice over: the server's disk may be full, or it changes "
            "what it stores.",
        )

    def _put(self, sftp: SFTPClient, local: Path, part: str, size: int, *, resume: bool) -> int:
        """Write a file, or what is missing of it; returns how much was there."""
        done = (_size(sftp, part) or 0) if resume else 0
        if done > size:
            sftp.remove(part)
            done = 0
        with local.open("rb") as source, self._open_part(sftp, part) as target:
            target.set_pipelined(True)
            source.seek(done)
            target.seek(done)
            while block := source.read(BLOCK):
                target.write(block)
        return done

    @staticmethod
    def _open_part(sftp: SFTPClient, part: str) -> SFTPFile:
        """Open a part for writing, and never empty one that is there: another worker may be about to rename it."""
        try:
            return sftp.open(part, "wxb")
        except FileNotFoundError:
            raise
        except OSError:  # it is there
            return sftp.open(part, "r+b")

    def _compared(self, sftp: SFTPClient, path: str, size: int, digest: str, check: Check) -> How | None:
        """How a remote file was found to be the local one, None when it is not."""
        if _size(sftp, path) != size:
            return None
        if check == "size":
            return "size"
        try:
            there = sftp.open(path, "rb")
        except FileNotFoundError:
            return None
        with there as file:
            try:
                told = file.check("sha256")
            except OSError:  # OpenSSH's server, like most, cannot tell one
                found = hashlib.sha256()
                file.prefetch(size, max_concurrent_requests=PREFETCH_REQUESTS)
                while block := file.read(BLOCK):
                    found.update(block)
                return "read back" if found.hexdigest() == digest else None
            return "server hash" if told == bytes.fromhex(digest) else None

    @staticmethod
    def _rename(sftp: SFTPClient, part: str, remote: str) -> bool:
        """Replace atomically where the server can, else remove first: the plain rename takes no existing name.

        Returns whether the part was still there.
        """
        try:
            try:
                sftp.posix_rename(part, remote)
            except (FileNotFoundError, PermissionError):
                raise
            except OSError:
                with contextlib.suppress(FileNotFoundError):
                    sftp.remove(remote)
                sftp.rename(part, remote)
        except FileNotFoundError:
            return False
        return True

    @staticmethod
    def _make_folder(sftp: SFTPClient, folder: str) -> None:
        missing = []
        while folder not in ("", "/") and _size(sftp, folder) is None:
            missing.append(folder)
            folder = posixpath.dirname(folder)
        for name in reversed(missing):
            try:
                sftp.mkdir(name, 0o750)
            except OSError:  # somebody else made it in the meantime
                if _size(sftp, name) is None:
                    raise

    @contextlib.contextmanager
    def _session(self, operation: str) -> Iterator[SFTPClient]:
        """A connection whose failures are told as a vendor's, without names of hosts, users or files."""
        try:
            with self.get_managed_conn() as sftp:
                channel = sftp.get_channel()
                if channel is not None:
                    channel.settimeout(STALL_SECONDS)
                yield sftp
        except paramiko.BadHostKeyException:
            raise AuthenticationError(
                VENDOR,
                f"The SFTP server of {self.ssh_conn_id} shows another host key than the known one, so nothing was "
                "sent. If the server was set up anew, put its new key into the connection's extra host_key; else "
                "somebody may be in between.",
            ) from None
        except paramiko.AuthenticationException:
            raise AuthenticationError(
                VENDOR, f"The SFTP server does not accept the login of the connection {self.ssh_conn_id}."
            ) from None
        except paramiko.SSHException as error:
            if "known_hosts" in str(error):
                raise AuthenticationError(
                    VENDOR,
                    f"The host key of the SFTP server of {self.ssh_conn_id} is not known. Put it into the connection's "
                    'extra host_key with its type in front, such as "ssh-ed25519 AAAA..." (ssh-keyscan shows it).',
                ) from None
            raise self._cut(operation) from None
        except PermissionError:
            raise RequestRefusedError(
                VENDOR, f"The SFTP server does not let us write there ({operation}): check folder and login."
            ) from None
        except FileNotFoundError:
            raise RequestRefusedError(
                VENDOR,
                f"The SFTP server has no such folder or file ({operation}): check the folder of the flow.",
            ) from None
        except (EOFError, ConnectionError, TimeoutError, AirflowException):
            raise self._cut(operation) from None
        except paramiko.ssh_exception.NoValidConnectionsError:
            raise UnavailableError(
                VENDOR, f"Nothing listens at the SFTP server's address ({operation})."
            ) from None
        except OSError as error:
            if error.errno is not None or str(error) == "Socket is closed":  # paramiko's own words for a cut
                raise self._cut(operation) from None
            raise UnavailableError(
                VENDOR, f"The SFTP server failed in the middle of the {operation}: is its disk full?"
            ) from None
        finally:
            self._forget_connection()

    def _forget_connection(self) -> None:
        """Let go of a connection that nobody uses: the provider's hook keeps one that broke, and would use it again."""
        if self._conn_count == 0 and self._ssh_conn is not None:
            self._ssh_conn.close()
            self._sftp_conn = self._ssh_conn = None

    @staticmethod
    def _cut(operation: str) -> UnavailableError:
        return UnavailableError(
            VENDOR, f"The connection to the SFTP server broke ({operation}); the next try goes on."
        )


def _size(sftp: SFTPClient, path: str) -> int | None:
    """Size of a remote file (of a folder, whatever the server says), None when there is none."""
    try:
        return sftp.stat(path).st_size or 0
    except FileNotFoundError:
        return None
