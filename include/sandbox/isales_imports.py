"""Import tasks of iSales: fetched over SFTP, read, counted; one after the other in a campaign (IS-14)."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncssh

from include.sandbox.clock import Clock
from include.sandbox.faults import Faults
from include.sandbox.isales_answers import CODES, Json, Text, in_language
from include.sandbox.isales_workbook import Record, WorkbookError, read_records
from include.sandbox.switches import IsalesSwitches

PREPARING, RUNNING, FINISHED, FAILED = "0", "1", "2", "3"

FAILURES: Final[dict[str, Text]] = {
    "unreachable": ("The file server cannot be reached.", "无法连接文件服务器。"),
    "login": ("The login at the file server failed.", "文件服务器登录失败。"),
    "missing": ("The file does not exist.", "文件不存在。"),
    "too_large": ("The file is too large.", "文件过大。"),
    "unreadable": ("The file cannot be parsed.", "文件解析失败。"),
    "no_called": ("The column called is missing.", "缺少called列。"),
    "too_many": ("The file has more than {most} records.", "文件记录数超过{most}。"),
    "gone": ("The file server does not exist.", "文件服务器不存在。"),
    "database": CODES["0200006"],
}
"""Why an import failed: what `errMsg` says."""


@dataclass
class Campaign:
    """An outbound campaign: what it is, the numbers that it knows, and the rows that came in."""

    id: str
    name: str
    status: int
    device_type: int
    intelligent_ivr: bool = False
    numbers: set[str] = field(default_factory=set)
    rows: list[dict[str, str]] = field(default_factory=list)


@dataclass
class FileServer:
    """A registered file server; `path` is its default path."""

    id: str
    user: str
    password: str
    ip: str
    port: str
    path: str


@dataclass
class Task:
    """One import; `due` is when it may start, `visible_from` when a query first shows it."""

    id: str
    campaign: Campaign
    server_id: str
    folder: str
    name: str
    due: datetime
    visible_from: datetime
    status: str = PREPARING
    begun: datetime | None = None
    ended: datetime | None = None
    succeeded: int = 0
    repeated: int = 0
    failed: int = 0
    blacklisted: int = 0
    failure: str = ""

    def told(self, locale: str | None, switches: IsalesSwitches) -> Json:
        """Describe it as a query does."""
        reason = in_language(FAILURES[self.failure], locale) if self.failure else ""
        black = {} if switches.blacklist is None else {"blackNum": self.blacklisted}
        return {
            "id": self.id,
            "beginTime": _written(self.begun),
            "endTime": _written(self.ended),
            "status": self.status,
            "succNum": self.succeeded,
            "repeatNum": self.repeated,
            "failNum": self.failed,
            **black,
            "errMsg": reason.format(most=f"{switches.max_records:,}"),
        }


class Imports:
    """All import tasks of the tenant."""

    def __init__(
        self, servers: dict[str, FileServer], switches: IsalesSwitches, clock: Clock, faults: Faults
    ) -> None:
        self.tasks: list[Task] = []
        self._servers = servers
        self._switches = switches
        self._clock = clock
        self._faults = faults
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running: set[asyncio.Task[None]] = set()
        self._numbers = count(16_498_777_086_706_754)

    def queue(
        self, campaign: Campaign, server_id: str, folder: str, name: str, at: tuple[int, int] | None
    ) -> Task:
        """Take an import: it starts at once, or at the next `at` (hour, minute) in the tenant's zone."""
        now = self._clock.now()
        task = Task(
            id=f"{int(now.timestamp() * 1000):013d}{next(self._numbers):017d}",
            campaign=campaign,
            server_id=server_id,
            folder=folder,
            name=name,
            due=now if at is None else _next(at, now, ZoneInfo(self._switches.zone)),
            visible_from=now + timedelta(seconds=self._switches.visible_after_seconds),
        )
        self.tasks.append(task)
        running = asyncio.create_task(self._run(task))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return task

    def shown(self, campaign: Campaign) -> list[Task]:
        """List a campaign's tasks in the order of a query."""
        now = self._clock.now()
        tasks = [task for task in self.tasks if task.campaign is campaign and task.visible_from <= now]
        return tasks if self._switches.oldest_first else tasks[::-1]

    def cancel(self) -> None:
        """Forget what is under way."""
        for running in self._running:
            running.cancel()

    async def _run(self, task: Task) -> None:
        while self._clock.now() < task.due:
            await asyncio.sleep(0.02)  # the clock can be set at any time
        async with self._turns[task.campaign.id]:
            await self._clock.sleep(self._switches.step_seconds)
            task.status, task.begun = RUNNING, self._clock.now()
            await self._clock.sleep(self._switches.step_seconds)
            rules = {rule.fault for rule in self._faults.fire("isales", "import", "import", task.name)}
            if "import_stuck" in rules:
                return
            try:
                await self._import(task, half="import_error" in rules)
                task.status = FINISHED
            except WorkbookError as error:
                task.status, task.failure = FAILED, error.reason
            task.ended = self._clock.now()

    async def _import(self, task: Task, *, half: bool) -> None:
        """Fetch the file and take its rows; with `half` the database fails after half of them."""
        with tempfile.TemporaryDirectory(prefix="sandbox-import-") as folder:
            file = Path(folder, "data.xlsx")
            await self._fetch(task, file)
            await asyncio.to_thread(self._read, task, file, half=half)

    async def _fetch(self, task: Task, file: Path) -> None:
        server = self._servers.get(task.server_id)
        if server is None:
            raise WorkbookError("gone")
        path = "/".join((server.path.rstrip("/"), *filter(None, task.folder.split("/")), task.name))
        try:
            async with (
                asyncssh.connect(
                    server.ip,
                    int(server.port),
                    username=server.user,
                    password=server.password,
                    known_hosts=None,  # nothing in the vendor's calls could tell it a host key
                    client_keys=None,
                    agent_path=None,
                    config=None,
                    connect_timeout=60,
                ) as connection,
                connection.start_sftp_client() as sftp,
            ):
                if ((await sftp.stat(path)).size or 0) > self._switches.max_file_bytes:
                    raise WorkbookError("too_large")
                await sftp.get(path, file)
        except asyncssh.SFTPNoSuchFile:
            raise WorkbookError("missing") from None
        except asyncssh.PermissionDenied:
            raise WorkbookError("login") from None
        except (OSError, asyncssh.Error):
            raise WorkbookError("unreachable") from None

    def _read(self, task: Task, file: Path, *, half: bool) -> None:
        records = read_records(
            file, self._switches.max_records, call_data_is_json=task.campaign.intelligent_ivr
        )
        if half:
            taken = list(records)
            self._take(task, islice(taken, len(taken) // 2))
            raise WorkbookError("database")
        self._take(task, records)

    def _take(self, task: Task, records: Iterable[Record | None]) -> None:
        """Count rows, and take those that are good and new: all numbers known already = a repeat (IS-7)."""
        known, black = task.campaign.numbers, frozenset(self._switches.blacklist or ())
        for record in records:
            if record is None:
                task.failed += 1
            elif black.issuperset(record.numbers):
                task.blacklisted += 1
            elif known.issuperset(record.numbers) and not self._switches.take_repeats:
                task.repeated += 1
            else:
                known.update(record.numbers)
                task.campaign.rows.append(record.cells)
                task.succeeded += 1


def _next(at: tuple[int, int], now: datetime, zone: ZoneInfo) -> datetime:
    """Return the next such time of day in a zone (IS-5)."""
    local = now.astimezone(zone)
    due = local.replace(hour=at[0], minute=at[1], second=0, microsecond=0)
    return (due if due >= local else due + timedelta(days=1)).astimezone(UTC)


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+00:00"


def state(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """Tell a tester about tasks, with what no query shows: which file, and when it is due."""
    return [
        {
            "id": task.id,
            "campaign": task.campaign.id,
            "server": task.server_id,
            "file": "/".join((*filter(None, task.folder.split("/")), task.name)),
            "due": task.due,
            "status": task.status,
            "succeeded": task.succeeded,
            "repeated": task.repeated,
            "failed": task.failed,
            "blacklisted": task.blacklisted,
            "failure": task.failure,
        }
        for task in tasks
    ]
