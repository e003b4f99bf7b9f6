"""Masks the log of our tasks from their first line on; writes the outcome into the note of our runs when they end.

The summary that the run left in its folder is read, nothing is decided here. It runs inside the scheduler, in
the scheduler's own transaction: a savepoint keeps an error of ours out of it, and slow storage is not waited for.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Final

from airflow.listeners import hookimpl

from include import staging
from listkeeper.links import run_page

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from sqlalchemy import Connection

MARK: Final = "Listkeeper: "
"""Begins our line, so that a later end of the same run replaces it and nobody else's words."""

NOTE_LENGTH: Final = 1000
WHY_LENGTH: Final = 300
READ_SECONDS: Final = 2.0

log = logging.getLogger(__name__)
_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="listkeeper-note")


@hookimpl
def on_task_instance_running(task_instance: Any) -> None:
    """Mask all that the process of this task logs from now on, when the task is ours."""
    from listkeeper import masking  # the SDK, which the scheduler does not need

    if masking.is_ours(getattr(task_instance, "task", None)):
        masking.mask_logs(whole_process=True)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Note how a run that succeeded ended."""
    note_outcome(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Note how a run that failed ended."""
    note_outcome(dag_run)


def note_outcome(dag_run: DagRun) -> None:
    """Put the run's summary into its note. Never raises; a run that left no summary gets no note."""
    try:
        if not is_ours(dag_run.dag_id):
            return
        summary = _reader.submit(_summary, dag_run.dag_id, dag_run.run_id).result(READ_SECONDS)
        if summary is not None:
            _write(dag_run, MARK + outcome(summary, run_page(dag_run.dag_id, dag_run.run_id)))
    except Exception as error:
        # Its type only: a database error would bring the note's text along.
        log.warning(
            "No note was written for run %s of %s (%s).", dag_run.run_id, dag_run.dag_id, type(error).__name__
        )


def is_ours(dag_id: str) -> bool:
    """Whether the DAG was made from one of our flow files."""
    from include.flow_files import KINDS  # pydantic and YAML, which not every Airflow process needs

    kind, _, name = dag_id.partition("__")
    return bool(name) and kind in KINDS


def outcome(summary: dict[str, Any], page: str) -> str:
    """One line of Markdown: verdict, what speaks against the run, rows, and the way to the report."""
    from include.leads.schema import STATES
    from include.report import markdown

    counts = ", ".join(f"{summary[state]:,} {state}" for state in STATES if summary.get(state))
    rows = f"{counts or 'none delivered'}, of {summary.get('rows_in', 0):,} rows"
    why = next(iter(summary.get("problems") or []), "")
    why = f": {markdown.text(shorten(why, WHY_LENGTH, placeholder=' ...'))}" if why else ""
    return f"{summary.get('verdict') or 'ended'}{why} · {rows} · [report]({page})"


def _summary(dag_id: str, run_id: str) -> dict[str, Any] | None:
    raw = staging.RunFolder(staging.run_path(dag_id, run_id, "report")).get("summary.json")
    return None if raw is None else dict(json.loads(raw))


def _write(dag_run: DagRun, line: str) -> None:
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return
    # Past the ORM, in a savepoint: the scheduler forbids commits of its session, and a note that a person
    # writes at this very moment must not make the scheduler's own flush fail.
    connection = session.connection()
    with connection.begin_nested():
        _upsert(connection, dag_run.id, line)
    session.expire(dag_run, ["dag_run_note"])


def _upsert(connection: Connection, run: int, line: str) -> None:
    from airflow.models.dagrun import DagRunNote
    from sqlalchemy import insert, update

    known = _known(connection, run)
    others = "\n".join(text for text in (known or "").splitlines() if not text.startswith(MARK)).strip()
    now = datetime.now(UTC)
    values = {"content": f"{line}\n\n{others}".strip()[:NOTE_LENGTH], "updated_at": now}
    if known is None:
        connection.execute(insert(DagRunNote).values(dag_run_id=run, created_at=now, **values))
    else:
        connection.execute(update(DagRunNote).where(DagRunNote.dag_run_id == run).values(**values))


def _known(connection: Connection, run: int) -> str | None:
    """The note as it is, None when there is none."""
    from airflow.models.dagrun import DagRunNote
    from sqlalchemy import select

    row = connection.execute(select(DagRunNote.content).where(DagRunNote.dag_run_id == run)).one_or_none()
    return None if row is None else row.content or ""
