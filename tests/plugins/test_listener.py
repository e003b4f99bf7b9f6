"""A run's note: one line of ours, a person's words kept, and never a scheduler that stumbles over it."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from include.staging import RunFolder, run_path
from tests.waiting import LIMIT

SUMMARY = {
    "rows_in": 10_000,
    "delivered": 9312,
    "rejected": 598,
    "suppressed": 90,
    "held": 0,
    "uncertain": 0,
    "verdict": "all rows accounted for",
}
LINE = "Listkeeper: all rows accounted for · 9,312 delivered, 598 rejected, 90 suppressed, of 10,000 rows · [report]("


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """On a busy machine, a file of a few bytes may take longer than a scheduler would wait for it."""
    from listkeeper import listener

    monkeypatch.setattr(listener, "READ_SECONDS", LIMIT)


@pytest.fixture
def session(airflow_db):
    """A session as the scheduler has it: an unexpected commit is an error."""
    from airflow.utils.session import create_session
    from airflow.utils.sqlalchemy import prohibit_commit

    with create_session() as opened, prohibit_commit(opened) as guard:
        opened.guard = guard
        yield opened
        opened.rollback()


@pytest.fixture
def make_run(session):
    from airflow.models.dagrun import DagRun

    def make(dag_id="load_purecallerid__a", note=None):
        run = DagRun(
            dag_id=dag_id,
            run_id=f"manual__{uuid.uuid4().hex}",
            run_type="manual",
            run_after=datetime.now(UTC),
            state="success",
        )
        if note:
            run.note = note
        session.add(run)
        session.guard.commit()
        return run

    return make


def ended(run, content=SUMMARY):
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    RunFolder(run_path(run.dag_id, run.run_id, "report")).put("summary.json", raw)


def notify(run):
    """Tell the listeners as the scheduler does."""
    run.notify_dagrun_state_changed(msg="test")


def test_a_run_that_ended_gets_its_line(session, make_run):
    run = make_run()
    ended(run)
    notify(run)
    session.guard.commit()
    session.expire_all()
    assert run.note.startswith(LINE)
    assert f"/listkeeper/runs/{run.dag_id}/" in run.note


def test_the_line_says_what_speaks_against_the_run():
    from listkeeper.listener import outcome

    summary = {
        "verdict": "failed",
        "rows_in": 0,
        "problems": ["Source ftc_callers has no *complete* night.", "b"],
    }
    assert outcome(summary, "/page") == (
        "failed: Source ftc_callers has no \\*complete\\* night. · none delivered, of 0 rows · [report](/page)"
    )
    summary["problems"] = ["long words " * 100]
    assert len(outcome(summary, "/page")) < 400


def test_a_failed_run_too(session, make_run):
    run = make_run()
    run.state = "failed"
    ended(run, SUMMARY | {"verdict": "red", "delivered": 0, "uncertain": 9312})
    notify(run)
    assert run.note.startswith(
        "Listkeeper: red · 598 rejected, 90 suppressed, 9,312 uncertain, of 10,000 rows · "
    )


def test_a_persons_words_stay_and_our_line_is_replaced(session, make_run):
    run = make_run(note="Asked for by sales.\nSee the mail.")
    assert run.note  # loaded before, as the UI's own change of a note does
    for verdict in ("first", "second"):
        ended(run, SUMMARY | {"verdict": verdict})
        notify(run)
    lines = run.note.splitlines()
    assert lines[0].startswith("Listkeeper: second · ")
    assert lines[1:] == ["", "Asked for by sales.", "See the mail."]


def test_a_note_never_outgrows_its_column(session, make_run):
    run = make_run(note="x" * 1000)
    ended(run)
    notify(run)
    assert len(run.note) == 1000 and run.note.startswith(LINE)


@pytest.mark.parametrize("dag_id", ["foreign", "foreign__a", "load_purecallerid"])
def test_other_peoples_dags_get_none(make_run, dag_id):
    run = make_run(dag_id)
    ended(run)
    notify(run)
    assert run.note is None


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b'{"rows_in": "x"}', b"\xff"])
def test_a_summary_that_is_not_there_or_broken_makes_no_note(make_run, content, caplog):
    run = make_run()
    if content is not None:
        ended(run, content)
    notify(run)
    assert run.note is None
    assert "Error while calling listener" not in caplog.text


def test_a_database_error_leaves_the_schedulers_transaction_whole(session, make_run, monkeypatch):
    from listkeeper import listener

    run, other = make_run(), make_run(note="before")
    ended(run)
    other.state = "failed"
    session.flush()
    upsert = listener._upsert

    def half_way(connection, *rest):
        upsert(connection, *rest)
        connection.execute(text("SELECT nonsense FROM nowhere"))

    monkeypatch.setattr(listener, "_upsert", half_way)
    notify(run)
    assert run.note is None
    session.guard.commit()
    session.expire_all()
    assert (other.state, other.note) == ("failed", "before")


def test_a_person_who_writes_at_the_same_moment_wins(session, make_run, monkeypatch):
    """Two inserts of the same note: ours gives way, the scheduler's transaction goes on."""
    from listkeeper import listener

    run = make_run(note="typed by ana")
    ended(run)
    monkeypatch.setattr(listener, "_known", lambda *_: None)
    notify(run)
    session.guard.commit()
    session.expire_all()
    assert run.note == "typed by ana"


def test_slow_storage_is_not_waited_for(make_run, monkeypatch):
    from listkeeper import listener

    stuck = threading.Event()
    monkeypatch.setattr(listener, "READ_SECONDS", 0.05)
    monkeypatch.setattr(listener, "_summary", lambda *_: stuck.wait())
    run = make_run()
    try:
        notify(run)
        assert run.note is None
    finally:
        stuck.set()
