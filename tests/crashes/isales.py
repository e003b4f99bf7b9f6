"""iSales' nights: three workbooks a night, brought to a file server and imported by request.

The file server here is its folder, with the sandbox's own fault rules; crashes over real SFTP are in
`tests/flows/test_crashes.py`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from unittest import mock

import paramiko
from hypothesis import strategies as st

from include.sandbox.faults import Rule
from include.sandbox.isales_imports import Imports, WorkbookError
from include.sandbox.sftp import FOLDER, SftpServer
from tests.crashes.night import ROWS, CrashingRun, Json, Night, Schedule, lost_answers, turned_away
from tests.flows.conftest import lead

FILES = 3
CAMPAIGN = "1803096731904991234"
ALL = Counter(str(1000 + number) for number in range(ROWS))

FLOW = {
    "kind": "import_isales",
    "name": "import",
    "source": "callers",
    "vdn_id": 1,
    "campaign": CAMPAIGN,
    "server": "164690088271159234793429225848",
    "folder": "/listkeeper",
    "sftp_root": FOLDER,
    "released": True,
    "max_records": 5,
    "remove_uploaded": True,
    "outcome_hours": 0.1,
    "poll_seconds": 20,
    "lookup_seconds": 5,
    "columns": [
        {"to": "called", "from": "phone"},
        {"to": "callData.state", "from": "data.state"},
        {"to": "customField", "from": "customer_key"},
    ],
}


class Isales(Night):
    """The judge is a campaign that takes repeats, and the vendor's list of import tasks."""

    vendor = "isales"
    flows: ClassVar = {"import": FLOW, "canary": FLOW | {"name": "canary", "canary": {"rows": 2}}}
    most_faults = 4
    faults = st.one_of(
        lost_answers(4, ("import", "query_imports")),
        turned_away(4, ("import", "query_imports")),
        st.builds(
            lambda fault, nth: {"fault": fault, "nth": nth},
            st.sampled_from(["import_error", "import_stuck"]),
            st.integers(1, FILES),
        ),
        st.builds(
            lambda fault, at, nth: {"vendor": "sftp", "fault": fault, "after_bytes": at, "nth": nth},
            st.sampled_from(["upload_cut", "upload_full", "upload_short", "upload_corrupt"]),
            st.integers(0, 5000),
            st.integers(1, 4),
        ),
        st.builds(
            lambda fault, nth: {"vendor": "sftp", "fault": fault, "nth": nth},
            st.sampled_from(["rename_refused", "rename_lost", "login_refused", "login_cut"]),
            st.integers(1, 4),
        ),
    )
    scenarios: ClassVar = {
        "": (),
        "429": ({"fault": "status", "op": "import", "retry_after": 0},),
        "stuck": ({"fault": "import_stuck"},),
    }

    def connect(self) -> None:
        from listkeeper.hooks.sftp import SftpUploadHook

        told = self.sandbox.info()["isales"]
        api = {
            "conn_type": "isales",
            "host": self.sandbox.base_url,
            "login": told["ak"],
            "password": told["sk"],
            "extra": {"locale": "en_US"},
        }
        files = {"conn_type": "sftp", "host": "127.0.0.1", "login": "listkeeper", "password": "none"}
        os.environ["AIRFLOW_CONN_ISALES_DEFAULT"] = json.dumps(api)
        os.environ["AIRFLOW_CONN_ISALES_SFTP"] = json.dumps(files)
        sftp, place = self.sandbox.sftp, self

        @contextmanager
        def folder(_hook: object) -> Iterator[Folder]:
            yield Folder(sftp).log_in()

        async def fetch(self: Imports, task: Any, file: Path) -> None:
            found = place.path(f"{FOLDER}/{task.folder.strip('/')}/{task.name}")
            if not found.is_file():
                raise WorkbookError("missing")
            shutil.copyfile(found, file)

        self.world.replace(mock.patch.object(SftpUploadHook, "get_managed_conn", folder))
        self.world.replace(mock.patch.object(Imports, "_fetch", fetch))

    def path(self, name: str) -> Path:
        return self.sandbox.sftp.root / name.strip("/")

    def set_up(self, kind: str) -> None:
        self.sandbox.switch(self.vendor, take_repeats=True, step_seconds=2)

    def leads(self, kind: str) -> list[Json]:
        return [lead(number) for number in range(ROWS)]

    @staticmethod
    def sessions(state: Json) -> Counter[str]:
        """How often each row stands in the campaign."""
        return Counter(row["sessionId"] for row in state["campaigns"][CAMPAIGN]["rows"])

    def judge(self, run: CrashingRun, schedule: Schedule, before: int) -> int:
        self.world.sleep(600)
        state = self.sandbox.state(self.vendor)
        there = self.sessions(state)
        assert set(there.values()) <= {1}, "a row was imported twice"
        asked = Counter(task["file"] for task in state["tasks"] if task["status"] != "3")
        assert set(asked.values()) <= {1}, "a file was imported twice"
        if not run.summary:
            assert run.state == "failed"
            return len(there)
        run.assert_accounted()
        summary = run.summary
        if summary["verdict"] not in ("refused", "unchanged"):
            new = len(there) - before
            assert summary["delivered"] <= new <= summary["delivered"] + summary["uncertain"]
        if run.state == "success":
            assert there == ALL
        return len(there)

    def last_word(self, run: CrashingRun, schedule: Schedule) -> None:
        if not any(fault["fault"] in ("import_error", "import_stuck") for fault in schedule.faults):
            assert self.sessions(self.sandbox.state(self.vendor)) == ALL, (
                "the campaign does not hold the night"
            )


class Folder:
    """What the upload asks of an SFTP client, done on the server's folder, with the server's faults."""

    def __init__(self, server: SftpServer) -> None:
        self._server = server
        self.cut = False

    def log_in(self) -> Folder:
        rules = self._strikes("login", "listkeeper")
        if "login_cut" in rules:
            raise EOFError
        if "login_refused" in rules:
            raise paramiko.AuthenticationException
        return self

    def get_channel(self) -> None:
        return None

    def stat(self, path: str) -> paramiko.SFTPAttributes:
        return paramiko.SFTPAttributes.from_stat(self._path(path).stat())

    def open(self, path: str, mode: str) -> _File:
        local = self._path(path)
        rules = {} if mode == "rb" else self._strikes("upload", path)
        return _File(self, local.open({"wxb": "xb"}.get(mode, mode)), rules)

    def mkdir(self, path: str, _mode: int) -> None:
        self._path(path).mkdir()

    def remove(self, path: str) -> None:
        self._path(path).unlink()

    def posix_rename(self, old: str, new: str) -> None:
        rules = self._strikes("rename", new)
        if "rename_refused" in rules:
            raise PermissionError(errno.EACCES, "Renaming is not allowed")
        self._path(old).rename(self._path(new))
        if "rename_lost" in rules:
            self.break_off()

    def break_off(self) -> None:
        """The connection is gone."""
        self.cut = True
        raise EOFError

    def _path(self, path: str) -> Path:
        if self.cut:
            raise EOFError
        return self._server.root / path.strip("/")

    def _strikes(self, point: Any, path: str) -> dict[str, Rule]:
        return {rule.fault: rule for rule in self._server.faults.fire("sftp", point, point, path)}


class _File:
    """An open file; what is written may be spoilt."""

    def __init__(self, folder: Folder, file: BinaryIO, rules: dict[str, Rule]) -> None:
        self._folder, self._file, self._rules = folder, file, rules

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._folder.cut:
            raise EOFError

    def set_pipelined(self, _on: bool) -> None:
        pass

    def prefetch(self, *_: object, **__: object) -> None:
        pass

    def check(self, _algorithm: str) -> bytes:
        raise OSError("Operation unsupported")

    def seek(self, at: int) -> None:
        self._file.seek(at)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def write(self, data: bytes) -> None:
        offset, rules = self._file.tell(), self._rules
        rule = rules.get("upload_corrupt")
        if rule is not None and 0 <= (at := rule.after_bytes - offset) < len(data):
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        limits = (rules.get(name) for name in ("upload_cut", "upload_full", "upload_short"))
        rule = next(filter(None, limits), None)
        if rule is None or offset + len(data) <= rule.after_bytes:
            self._file.write(data)
            return
        self._file.write(data[: max(0, rule.after_bytes - offset)])
        if rule.fault == "upload_cut":
            self._folder.break_off()
        if rule.fault == "upload_full":
            raise OSError("No space left on device")
