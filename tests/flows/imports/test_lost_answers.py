"""Imports whose answer is lost are found among the tasks, or asked for again."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import polars as pl
import pytest
from listkeeper.hooks.isales import IsalesHook
from listkeeper.hooks.sftp import SftpUploadHook

from include.vendors.errors import LostAnswerError
from include.vendors.isales_rows import COLUMNS
from include.workbooks import write_workbook
from tests.flows.conftest import lead
from tests.flows.imports.conftest import (
    ALL,
    FOLDER,
    ROWS,
    import_file,
    sessions,
)


@pytest.mark.parametrize("fault", ["drop_after", "truncated", "broken_json"])
def test_an_import_whose_answer_is_lost_is_found_among_the_tasks(deliver, snapshot, vendor, sandbox, fault):
    sandbox.fault("isales", fault, op="import")
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert vendor.calls == 1 and vendor.sessions == ALL


def test_the_vendor_s_broken_sample(deliver, snapshot, vendor, sandbox):
    sandbox.switch("isales", broken_sample=True)
    snapshot(ROWS)
    run = deliver(import_file(max_records=5), retries=4)
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}) and vendor.calls == 3


def test_imports_of_earlier_nights_are_not_taken_for_the_new_one(deliver, snapshot, vendor, sandbox):
    snapshot(ROWS)
    deliver(import_file())
    sandbox.fault("isales", "drop_after", op="import", nth=2)
    snapshot([lead(n) for n in range(50, 56)], night="2026-11-21")
    run = deliver(import_file(max_records=3), partition="2026-11-21")
    assert (run.state, run.counts) == ("success", {"delivered": 6})
    assert vendor.sessions == ALL + sessions(*range(50, 56)) and vendor.calls == 3


@pytest.mark.parametrize("fault", [{"fault": "drop_before"}, {"fault": "status", "status": 500}])
def test_an_import_that_never_arrived_is_asked_for_again(deliver, snapshot, vendor, sandbox, fault):
    sandbox.fault("isales", op="import", **fault)
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert vendor.calls == 2 and len(vendor.tasks) == 1 and vendor.sessions == ALL


def test_a_task_that_shows_late_is_waited_for(deliver, snapshot, vendor, sandbox):
    sandbox.switch("isales", visible_after_seconds=600, clock_tolerance_minutes=None)
    sandbox.fault("isales", "drop_after", op="import")
    snapshot(ROWS)
    run = deliver(import_file(lookup_seconds=600))
    assert (run.state, run.counts) == (
        "failed",
        {"uncertain": ROWS},
    ) and "next try looks again" in run.problems
    sandbox.clock(sandbox.now() + timedelta(seconds=601))
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}) and vendor.calls == 1


def test_a_task_that_never_shows_after_an_unreadable_answer(deliver, snapshot, vendor, sandbox):
    sandbox.switch("isales", visible_after_seconds=3600, broken_sample=True)
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts) == ("failed", {"uncertain": ROWS})
    assert "shows no task" in run.problems and vendor.calls == 1


def test_several_new_tasks_cannot_be_told_apart(deliver, snapshot, vendor, sandbox, monkeypatch):
    ask = IsalesHook.import_file

    def with_others(self, **asked):
        ask(self, **asked | {"file_name": "somebody-else-s.xlsx"})
        return ask(self, **asked)

    sandbox.fault("isales", "drop_after", op="import", nth=2)
    monkeypatch.setattr(IsalesHook, "import_file", with_others)
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts) == ("failed", {"uncertain": ROWS})
    assert "2 imports began" in run.problems
    assert deliver(import_file()).summary["verdict"] == "refused"


def test_somebody_else_s_import_is_not_taken_for_ours(deliver, snapshot, vendor, monkeypatch, tmp_path):
    """Ours never arrives; meanwhile a person imports another file: the only new task is that one."""
    path, other = tmp_path / "other.xlsx", '[{"calledNo":"12019990001"}]'
    write_workbook(path, COLUMNS, [pl.DataFrame({"called": [other], "sessionId": ["other"]})])
    SftpUploadHook("isales_sftp").upload(path, f"{FOLDER}/listkeeper/other.xlsx")
    ask = IsalesHook.import_file

    def lose(self, **asked):
        ask(self, **asked | {"file_name": path.name})
        raise LostAnswerError("isales", "nobody knows")

    monkeypatch.setattr(IsalesHook, "import_file", lose)
    snapshot(ROWS)
    run = deliver(import_file())
    assert vendor.sessions == Counter(["other"])
    assert (run.state, run.counts) == ("failed", {"uncertain": ROWS})
    assert "somebody else's" in run.problems
