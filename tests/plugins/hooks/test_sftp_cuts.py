"""Uploads cut anywhere, on both SFTP servers: the final name never shows half a file, and the next tries end it.

A proxy on loopback forwards the encrypted bytes and closes the connection after so many: in the middle of the
handshake, of a write, of the reading back, of the rename, or of their answers. The sandbox's own faults (a full
disk, bytes lost or changed, refusals) come on top.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from listkeeper.hooks.sftp import SftpUploadHook

from include.sandbox.server import SandboxServer
from include.vendors.errors import UnavailableError, VendorError
from tests.conftest import SftpPlace
from tests.plugins.hooks.conftest import Connect

OLD, NEW = (Random(seed).randbytes(60_000 + seed) for seed in (1, 2))
HASTY = settings(
    max_examples=int(os.environ.get("CUT_EXAMPLES", 8)),
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class CuttingProxy:
    """Forwards to a place; each connection may pass so many bytes, both ways together, and is then reset."""

    def __init__(self, place: SftpPlace) -> None:
        self._target = (place.host, place.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.budgets: list[int] = []
        self.place = replace(place, port=self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                budget = self.budgets.pop(0) if self.budgets else None
                threading.Thread(target=self._forward, args=(near, budget), daemon=True).start()

    def _forward(self, near: socket.socket, budget: int | None) -> None:
        with near, socket.create_connection(self._target) as far, selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            with contextlib.suppress(OSError):
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(16_384)
                        if not data:
                            return
                        key.data.sendall(data[:budget])
                        if budget is not None and (budget := budget - len(data)) <= 0:
                            for end in (near, far):  # a reset, not an orderly end
                                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                            return


@pytest.fixture
def proxy(sftp_place: SftpPlace) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(sftp_place)
    yield proxy
    proxy.close()


@pytest.fixture
def root(sftp_place: SftpPlace, request: pytest.FixtureRequest) -> Path:
    """What the server calls `/`, as this machine sees it."""
    return Path("/") if sftp_place.key_file else request.getfixturevalue("small_sandbox").sftp.root


def hook_to(place: SftpPlace, connect: Connect) -> SftpUploadHook:
    extra = {"host_key": place.host_key, "look_for_keys": False}
    extra |= {"key_file": str(place.key_file)} if place.key_file else {}
    connect(
        "sftp_test",
        place.host,
        place.password,
        conn_type="sftp",
        login=place.user,
        port=place.port,
        extra=extra,
    )
    return SftpUploadHook("sftp_test")


@pytest.fixture
def hook(proxy: CuttingProxy, connect: Connect) -> SftpUploadHook:
    return hook_to(proxy.place, connect)


@pytest.fixture
def own_hook(small_sandbox: SandboxServer, connect: Connect) -> SftpUploadHook:
    """A hook for the sandbox's server, without the proxy."""
    told = small_sandbox.info()["isales"]["sftp"]
    names = ("host", "port", "user", "password", "host_key", "folder")
    return hook_to(SftpPlace(key_file=None, **{name: told[name] for name in names}), connect)


class Place:
    """A folder of its own on the server, for one file."""

    _numbers = itertools.count()

    def __init__(self, folder: str, root: Path, local: Path) -> None:
        self.remote = f"{folder}/night-{next(self._numbers)}/leads.xlsx"
        self.final = root / self.remote.lstrip("/")
        self.local = local / "leads.xlsx"
        self.local.write_bytes(NEW)

    def content(self) -> bytes | None:
        return self.final.read_bytes() if self.final.exists() else None

    def upload(self, hook: SftpUploadHook, tries: int) -> list[VendorError]:
        """Upload until it is done; returns what came in between. The name never shows anything but a whole file."""
        errors: list[VendorError] = []
        before = self.content()
        for _ in range(tries):
            try:
                done = hook.upload(self.local, self.remote)
            except VendorError as error:
                errors.append(error)
                assert self.content() in (before, NEW)
            else:
                assert (done.bytes, self.content()) == (len(NEW), NEW)
                assert [path.name for path in self.final.parent.iterdir()] == ["leads.xlsx"]
                return errors
        raise AssertionError(f"not uploaded after {tries} tries: {errors}")


@HASTY
@example(cuts=[0, 1, 100], there=False)
@given(cuts=st.lists(st.integers(0, 2 * len(NEW) + 20_000), min_size=1, max_size=4), there=st.booleans())
def test_cut_anywhere(proxy, hook, root, tmp_path, cuts, there):
    place = Place(proxy.place.folder, root, tmp_path)
    if there:
        place.final.parent.mkdir()
        place.final.write_bytes(OLD)
    proxy.budgets[:] = cuts
    errors = place.upload(hook, len(cuts) + 1)
    assert all(isinstance(error, UnavailableError) for error in errors)
    proxy.budgets.clear()
    assert hook.upload(place.local, place.remote).resumed_at == len(NEW)


FAULTS = st.one_of(
    st.builds(
        lambda fault, at, nth: {"fault": fault, "after_bytes": at, "nth": nth},
        st.sampled_from(["upload_cut", "upload_full", "upload_short", "upload_corrupt"]),
        st.integers(0, len(NEW) - 1),
        st.integers(1, 2),
    ),
    st.builds(
        lambda fault, nth: {"fault": fault, "nth": nth},
        st.sampled_from(["rename_refused", "rename_lost", "login_refused", "login_cut"]),
        st.integers(1, 2),
    ),
)


@HASTY
@given(faults=st.lists(FAULTS, min_size=1, max_size=4), there=st.booleans())
def test_whatever_the_server_does(small_sandbox, own_hook, tmp_path, faults, there):
    small_sandbox.reset()
    place = Place("/home/sftp", small_sandbox.sftp.root, tmp_path)
    if there:
        place.final.parent.mkdir()
        place.final.write_bytes(OLD)
    for fault in faults:
        small_sandbox.fault("sftp", **fault)
    place.upload(own_hook, 2 * len(faults) + 3)


def test_a_worker_thought_dead_may_go_on(proxy, hook, root, tmp_path):
    """Three uploads of one file at once: its name never shows half of it, and each ends well or may be tried again."""
    place = Place(proxy.place.folder, root, tmp_path)
    ends: list[Exception | bool] = []

    def upload() -> None:
        try:
            SftpUploadHook("sftp_test").upload(place.local, place.remote)
            ends.append(place.content() == NEW)
        except Exception as error:
            ends.append(error)

    workers = [threading.Thread(target=upload) for _ in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        assert place.content() in (None, NEW)
        time.sleep(0.005)
    assert all(end is True or (isinstance(end, VendorError) and end.again) for end in ends), ends
    hook.upload(place.local, place.remote)
    assert place.content() == NEW
    assert [path.name for path in place.final.parent.iterdir()] == ["leads.xlsx"]
