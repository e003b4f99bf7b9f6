"""Single steps of an iSales import, for DAGs of your own: stage workbooks, ask for an import, find the file server.

They keep no ledger. Where that matters each says what it does after a lost answer.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include.scratch import scratch_folder
from include.vendors import isales
from include.vendors.errors import LostAnswerError
from include.vendors.isales import FileServer
from listkeeper.masking import Masked

if TYPE_CHECKING:
    import polars as pl
    from airflow.sdk import Context

    from listkeeper.hooks.isales import IsalesHook

LOOKS = 5
LOOK_SECONDS = 3.0
"""After a lost answer: how often, and how long apart, the newest tasks are looked at."""


class StageWorkbookOperator(Masked, BaseOperator):
    """
    Write rows as call data workbooks and bring them to an SFTP server.

    Returns one entry per file: `{"file_name", "rows", "bytes", "sha256", "checked"}`. Doing it again replaces the
    files.

    :param rows: CSV or Parquet file (or several in one folder, as `night-*.parquet`) with the template's columns by
        their short names: called, and what there is of sessionId, caller, callData, customField, recycleTime, priority.
        (templated)
    :param file_name: what the files' names begin with; `-001.xlsx` and so on is added. (templated)
    :param folder: where they go, as the SFTP login sees it. (templated)
    :param sftp_conn_id: connection of type `sftp`.
    :param max_records: records of one file.
    :param check: `hash` compares the uploaded content, `size` its size.
    """

    template_fields: Sequence[str] = ("rows", "file_name", "folder")

    def __init__(
        self,
        *,
        rows: str,
        file_name: str,
        folder: str = "",
        sftp_conn_id: str = "isales_sftp",
        max_records: int = isales.MAX_RECORDS,
        check: Any = "hash",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 1 <= max_records <= isales.MAX_RECORDS:
            raise ValueError(
                f"max_records: a file holds 1 to {isales.MAX_RECORDS:,} records, not {max_records:,}"
            )
        self.rows, self.file_name, self.folder = rows, file_name, folder
        self.sftp_conn_id, self.max_records, self.check = sftp_conn_id, max_records, check

    def execute(self, context: Context) -> list[dict[str, Any]]:
        from include.callfiles.stage import headers
        from include.workbooks import write_workbooks
        from listkeeper.hooks.sftp import SftpUploadHook

        hook = SftpUploadHook(self.sftp_conn_id)
        with scratch_folder() as scratch:
            path = Path(self.rows)
            files = sorted(path.parent.glob(path.name))
            if not files:
                raise AirflowFailException(f"There is no file {self.rows}.")
            columns = self._columns(files)
            books = write_workbooks(
                self._frames(files), headers(columns), Path(scratch), self.file_name, self.max_records
            )
            staged = []
            for book in books:
                done = hook.upload(book.path, posixpath.join(self.folder, book.path.name), check=self.check)
                about = {"file_name": book.path.name, "rows": book.rows, "bytes": book.bytes}
                staged.append(about | {"sha256": book.sha256, "checked": done.checked})
        return staged

    def _columns(self, files: Sequence[Path]) -> list[str]:
        import polars as pl

        from include.vendors.isales_rows import column_problems

        scans = [pl.scan_parquet if path.suffix == ".parquet" else pl.scan_csv for path in files]
        names = [
            scan(path, glob=False).collect_schema().names() for scan, path in zip(scans, files, strict=True)
        ]
        if any(found != names[0] for found in names):
            raise AirflowFailException("The files have different columns.")
        if problems := column_problems(names[0]):
            raise AirflowFailException("; ".join(problems))
        return names[0]

    def _frames(self, files: Sequence[Path]) -> Iterator[pl.DataFrame]:
        """The rows, each checked; a row that the vendor would not take stops it all."""
        import polars as pl

        from include.vendors.isales_rows import row_problems
        from include.workbooks import csv_frames

        for path in files:
            row = 0
            batches = (
                pl.scan_parquet(path, glob=False).cast(pl.String).collect_batches(chunk_size=20_000)
                if path.suffix == ".parquet"
                else csv_frames(path)
            )
            for frame in batches:
                wrong = row_problems(frame)
                if wrong.null_count() < len(wrong):
                    first = wrong.is_not_null().arg_true()[0]
                    raise AirflowFailException(
                        f"{path.name} holds rows that iSales would not take; the first is row {row + first + 1}: "
                        f"{wrong[first]}. Nothing was uploaded."
                    )
                row += frame.height
                yield frame


class ImportFileOperator(Masked, BaseOperator):
    """
    Ask iSales to import a file that lies on a file server, once. Returns the id of the import task.

    Success means queued: wait for the outcome with `ImportTaskSensor`. After a lost answer the newest tasks are looked
    at; when they do not settle it the task fails for good. Give it `retries=0`: nothing here survives a killed worker.

    :param file_name: name of the workbook. (templated)
    :param server: id of the file server at iSales. (templated)
    :param vdn_id: number of the virtual call centre.
    :param campaign: id of the campaign. (templated)
    :param folder: below the file server's registered path. (templated)
    :param import_at: `HH:MM` in the tenant's zone; None imports at once.
    :param isales_conn_id: connection of type `isales`.
    """

    template_fields: Sequence[str] = ("file_name", "server", "campaign", "folder")

    def __init__(
        self,
        *,
        file_name: str,
        server: str,
        vdn_id: int,
        campaign: str,
        folder: str = "",
        import_at: str | None = None,
        isales_conn_id: str = "isales_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.file_name, self.server, self.folder = file_name, server, folder
        self.vdn_id, self.campaign, self.import_at = vdn_id, campaign, import_at
        self.isales_conn_id = isales_conn_id

    def execute(self, context: Context) -> str:
        from listkeeper.hooks.isales import IsalesHook

        with closing(IsalesHook(self.isales_conn_id)) as hook:
            known = self._tasks(hook)
            try:
                return hook.import_file(
                    vdn_id=self.vdn_id,
                    campaign=str(self.campaign),
                    server=str(self.server),  # a DAG that renders native objects makes numbers of ids
                    file_name=self.file_name,
                    folder=self.folder,
                    import_at=self.import_at,
                )
            except LostAnswerError as error:
                self.log.warning("%s Looking at the newest tasks.", error)
            return self._found(hook, known)

    def _tasks(self, hook: IsalesHook) -> set[str]:
        return {task.id for task in hook.tasks(vdn_id=self.vdn_id, campaign=str(self.campaign))}

    def _found(self, hook: IsalesHook, known: set[str]) -> str:
        new: set[str] = set()
        for _ in range(LOOKS):
            time.sleep(LOOK_SECONDS)
            new = self._tasks(hook) - known
            if new:
                break
        if len(new) == 1:
            return new.pop()
        raise AirflowFailException(
            f"The answer to the import request is lost, and {len(new) or 'no'} new tasks show since. Look at the "
            "campaign's import results before you clear this task: asking twice imports twice."
        )


class FileServerOperator(Masked, BaseOperator):
    """
    Find the id under which an SFTP server is registered at iSales, or register it. Returns the id.

    :param path: the server's default path, such as /home/sftp: what `folder` of an import is below.
    :param vdn_id: number of the virtual call centre.
    :param sftp_conn_id: connection of type `sftp`: its login and password are handed to iSales, inside the encrypted
        call. Better make one for iSales alone.
    :param host: address under which iSales reaches the server; None takes the connection's. (templated)
    :param isales_conn_id: connection of type `isales`.
    """

    template_fields: Sequence[str] = ("path", "host")

    def __init__(
        self,
        *,
        path: str,
        vdn_id: int,
        sftp_conn_id: str = "isales_sftp",
        host: str | None = None,
        isales_conn_id: str = "isales_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path, self.vdn_id, self.host = path, vdn_id, host
        self.sftp_conn_id, self.isales_conn_id = sftp_conn_id, isales_conn_id

    def execute(self, context: Context) -> str:
        from listkeeper.hooks.isales import IsalesHook

        sftp = BaseHook.get_connection(self.sftp_conn_id)
        host, port, user = self.host or sftp.host or "", sftp.port or 22, sftp.login or ""
        with closing(IsalesHook(self.isales_conn_id)) as hook:
            if found := self._registered(hook, host, port, user):
                return found.id
            try:
                server_id = hook.add_file_server(
                    vdn_id=self.vdn_id,
                    host=host,
                    port=port,
                    user=user,
                    password=sftp.password or "",
                    path=self.path,
                )
            except LostAnswerError:
                if found := self._registered(hook, host, port, user):
                    return found.id
                raise
            except ValueError as error:
                raise AirflowFailException(f"Connection {self.sftp_conn_id}: {error}.") from None
            self.log.info("Registered the file server; put its id into the flow file.")
            return server_id

    def _registered(self, hook: IsalesHook, host: str, port: int, user: str) -> FileServer | None:
        wanted = (host, str(port), user, self.path)
        servers = hook.file_servers(vdn_id=self.vdn_id)
        return next((s for s in servers if (s.host, s.port, s.user, s.path) == wanted), None)
