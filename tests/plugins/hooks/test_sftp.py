"""Uploads against two real servers, the sandbox's and OpenSSH's: there whole and checked, or not there."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
from pathlib import Path

import paramiko
import pytest
from listkeeper.hooks import sftp as module
from listkeeper.hooks.sftp import SftpUploadHook

from include.vendors.errors import (
    AuthenticationError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)

CONTENT = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(20_000))  # 640,000 bytes
NAME = "night-001.xlsx"


@pytest.fixture
def local(tmp_path) -> Path:
    file = tmp_path / NAME
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def reach(connect):
    """Define the connection to a place."""

    def define(place, **changes) -> None:
        extra = {
            "host_key": place.host_key,
            "key_file": place.key_file and str(place.key_file),
            "look_for_keys": False,
        }
        given = {"password": place.password, "login": place.user, "port": place.port} | changes
        extra |= given.pop("extra", {})
        extra = {name: value for name, value in extra.items() if value is not None}
        connect("isales_sftp", place.host, given.pop("password"), conn_type="sftp", extra=extra, **given)

    return define


@pytest.fixture
def place(sftp_place, reach):
    reach(sftp_place)
    return sftp_place


@pytest.fixture
def own(small_sandbox, reach):
    """The sandbox's server, whose faults can be set."""
    from tests.conftest import SftpPlace

    small_sandbox.reset()
    told = small_sandbox.info()["isales"]["sftp"]
    names = ("host", "port", "user", "password", "host_key", "folder")
    found = SftpPlace(key_file=None, **{name: told[name] for name in names})
    reach(found)
    return found


def listed(place) -> list[str]:
    with SftpUploadHook().get_managed_conn() as sftp:
        return sorted(sftp.listdir(place.folder))


def content(path: str) -> bytes:
    with SftpUploadHook().get_managed_conn() as sftp, sftp.open(path) as file:
        return bytes(file.read())


# --- on both servers


def test_a_file_is_there_whole_and_nothing_else(place, local):
    path = f"{place.folder}/2026/11/{NAME}"
    upload = SftpUploadHook().upload(local, path)
    assert (upload.path, upload.bytes, upload.resumed_at) == (path, len(CONTENT), 0)
    assert upload.checked == "read back" and upload.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert content(path) == CONTENT and listed(place) == ["2026"]


def test_doing_it_again_sends_nothing(place, local, monkeypatch):
    path = f"{place.folder}/{NAME}"
    SftpUploadHook().upload(local, path)
    monkeypatch.setattr(SftpUploadHook, "_put", lambda *_: pytest.fail("it was sent again"))
    again = SftpUploadHook().upload(local, path)
    assert (again.resumed_at, again.checked) == (len(CONTENT), "read back")


def test_by_size_alone_it_is_always_sent(place, local):
    path, other = f"{place.folder}/{NAME}", local.with_name("other.xlsx")
    other.write_bytes(CONTENT[::-1])
    for file in (other, local):
        assert SftpUploadHook().upload(file, path, check="size").checked == "size"
    assert content(path) == CONTENT and listed(place) == [NAME]


def test_an_older_file_of_the_name_is_replaced(place, local):
    path = f"{place.folder}/{NAME}"
    other = local.with_name("other.xlsx")
    for old in (b"shorter", b"x" * len(CONTENT), CONTENT + b"longer"):
        other.write_bytes(old)
        SftpUploadHook().upload(other, path)
        SftpUploadHook().upload(local, path)
        assert content(path) == CONTENT and listed(place) == [NAME]


@pytest.mark.parametrize("there", [1, 100_000, len(CONTENT)])
def test_a_part_is_taken_up(place, local, there):
    part = f"{place.folder}/.{NAME}.part"
    with SftpUploadHook().get_managed_conn() as sftp, sftp.open(part, "wb") as file:
        file.write(CONTENT[:there])
    upload = SftpUploadHook().upload(local, f"{place.folder}/{NAME}")
    assert upload.resumed_at == there and content(upload.path) == CONTENT and listed(place) == [NAME]


@pytest.mark.parametrize("wrong", [b"\x00" * 100_000, CONTENT + b"x", b"\x00" * len(CONTENT)])
def test_a_part_that_is_wrong_is_sent_anew(place, local, wrong):
    part = f"{place.folder}/.{NAME}.part"
    with SftpUploadHook().get_managed_conn() as sftp, sftp.open(part, "wb") as file:
        file.write(wrong)
    upload = SftpUploadHook().upload(local, f"{place.folder}/{NAME}")
    assert upload.resumed_at == 0 and content(upload.path) == CONTENT and listed(place) == [NAME]


def test_an_empty_file(place, local):
    local.write_bytes(b"")
    assert SftpUploadHook().upload(local, f"{place.folder}/{NAME}").bytes == 0
    assert content(f"{place.folder}/{NAME}") == b""


def test_a_server_without_an_atomic_rename(place, local, monkeypatch):
    def unsupported(*_):
        raise OSError("Operation unsupported")

    monkeypatch.setattr(paramiko.SFTPClient, "posix_rename", unsupported)
    path, other = f"{place.folder}/{NAME}", local.with_name("other.xlsx")
    other.write_bytes(b"before")
    for file in (other, local):
        SftpUploadHook().upload(file, path)
    assert content(path) == CONTENT and listed(place) == [NAME]


def test_a_server_that_tells_a_hash(place, local, monkeypatch):
    monkeypatch.setattr(paramiko.SFTPFile, "check", lambda self, _: hashlib.sha256(self.read()).digest())
    assert SftpUploadHook().upload(local, f"{place.folder}/{NAME}").checked == "server hash"
    monkeypatch.setattr(paramiko.SFTPFile, "check", lambda *_: b"another")
    with pytest.raises(UnexpectedAnswerError, match="not the one that was sent"):
        SftpUploadHook().upload(local, f"{place.folder}/other.xlsx")
    assert listed(place) == [NAME], "no part stays"


def test_a_folder_that_cannot_be_made(place, local):
    path = f"{place.folder}/{NAME}"
    SftpUploadHook().upload(local, path)
    with pytest.raises(VendorError, match="SFTP server"):
        SftpUploadHook().upload(local, f"{path}/below/a/file.xlsx")


def test_clean_up(place, local):
    path = f"{place.folder}/{NAME}"
    SftpUploadHook().upload(local, path)
    assert SftpUploadHook().remove(path) is True and listed(place) == []
    assert SftpUploadHook().remove(path) is False


def test_nothing_of_the_connection_is_told(place, local, nothing_leaks):
    SftpUploadHook().upload(local, f"{place.folder}/{NAME}")
    nothing_leaks(None, *filter(None, [place.password]))


def test_the_test_button(place, reach):
    assert SftpUploadHook().test_connection()[0] is True


# --- host keys


def test_a_host_key_that_changed_stops_everything(place, reach, local, openssh_server, small_sandbox):
    others = {openssh_server.host_key, small_sandbox.info()["isales"]["sftp"]["host_key"]} - {place.host_key}
    reach(place, extra={"host_key": others.pop()})
    with pytest.raises(AuthenticationError, match="another host key"):
        SftpUploadHook().upload(local, f"{place.folder}/{NAME}")
    reach(place)
    assert listed(place) == []


def test_a_host_key_that_nobody_knows_stops_everything(place, reach, local, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    reach(place, extra={"host_key": None})
    with pytest.raises(AuthenticationError, match="host key of the SFTP server of isales_sftp is not known"):
        SftpUploadHook().upload(local, f"{place.folder}/{NAME}")


def test_the_check_can_only_be_switched_off_by_name_and_loudly(place, reach, local, caplog):
    reach(place, extra={"host_key": None, "no_host_key_check": True})
    assert SftpUploadHook().upload(local, f"{place.folder}/{NAME}").bytes
    assert "host key of isales_sftp is not checked" in caplog.text


# --- compression


def compressed(hook) -> str:
    """What the two sides agreed on."""
    with hook.get_managed_conn() as sftp:
        return str(sftp.get_channel().get_transport().local_compression)


def test_nothing_is_compressed_unless_asked_for(place, reach):
    assert compressed(SftpUploadHook()) == "none"
    reach(place, extra={"compress": True})
    assert compressed(SftpUploadHook()).startswith("zlib")


# --- faults, on the sandbox's server


def test_after_a_cut_the_next_try_goes_on_there(own, local, small_sandbox):
    small_sandbox.fault("sftp", "upload_cut", after_bytes=300_000)
    with pytest.raises(UnavailableError, match="next try goes on"):
        SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
    (part,) = listed(own)
    assert part.endswith(".part"), "nothing stands under the final name"
    upload = SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
    assert 0 < upload.resumed_at <= 300_000 and content(upload.path) == CONTENT and listed(own) == [NAME]


def test_a_rename_whose_answer_is_lost(own, local, small_sandbox):
    small_sandbox.fault("sftp", "rename_lost")
    with pytest.raises(UnavailableError):
        SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
    upload = SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
    assert upload.resumed_at == len(CONTENT) and listed(own) == [NAME]


def test_a_server_that_may_not_rename(own, local, small_sandbox):
    small_sandbox.fault("sftp", "rename_refused", times=None)
    with pytest.raises(RequestRefusedError, match="does not let us write"):
        SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
    assert NAME not in listed(own)


@pytest.mark.parametrize("fault", ["upload_short", "upload_corrupt"])
def test_what_arrives_wrong_once_is_sent_again(own, local, small_sandbox, fault):
    small_sandbox.fault("sftp", fault, after_bytes=200_000)
    upload = SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
    assert content(upload.path) == CONTENT and listed(own) == [NAME]


@pytest.mark.parametrize("fault", ["upload_short", "upload_corrupt"])
def test_and_twice_is_an_error(own, local, small_sandbox, fault):
    small_sandbox.fault("sftp", fault, after_bytes=200_000, times=None)
    with pytest.raises(UnexpectedAnswerError, match="twice over"):
        SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
    assert listed(own) == []


def test_a_size_alone_cannot_see_a_changed_byte(own, local, small_sandbox):
    small_sandbox.fault("sftp", "upload_corrupt", after_bytes=200_000)
    assert SftpUploadHook().upload(local, f"{own.folder}/{NAME}", check="size").checked == "size"
    assert content(f"{own.folder}/{NAME}") != CONTENT


def test_a_full_disk(own, local, small_sandbox):
    small_sandbox.fault("sftp", "upload_full", after_bytes=200_000, times=None)
    with pytest.raises(UnexpectedAnswerError, match="disk may be full"):
        SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
    assert NAME not in listed(own)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("login_refused", AuthenticationError), ("login_cut", (UnavailableError, AuthenticationError))],
)
def test_logins(own, local, small_sandbox, fault, error, nothing_leaks):
    small_sandbox.fault("sftp", fault)
    with pytest.raises(error) as raised:
        SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
    nothing_leaks(raised.value, own.password)


def test_a_wrong_password(own, reach, local):
    reach(own, password="another")
    with pytest.raises(AuthenticationError, match="does not accept the login"):
        SftpUploadHook().upload(local, f"{own.folder}/{NAME}")


def test_nobody_listens(own, reach, local):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reach(own, port=port)
    with pytest.raises(UnavailableError, match="Nothing listens"):
        SftpUploadHook().upload(local, f"{own.folder}/{NAME}")


def test_something_else_listens(own, reach, local):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            client, _ = server.accept()
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()

        threading.Thread(target=hang_up, daemon=True).start()
        reach(own, port=server.getsockname()[1])
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        with pytest.raises(UnavailableError):
            SftpUploadHook().upload(local, f"{own.folder}/{NAME}")


def test_a_server_that_says_nothing_is_given_up(own, local, small_sandbox, monkeypatch):
    monkeypatch.setattr(module, "STALL_SECONDS", 0.3)
    small_sandbox.fault("sftp", "upload_slow", seconds=2)
    with pytest.raises(UnavailableError):
        SftpUploadHook().upload(local, f"{own.folder}/{NAME}")
