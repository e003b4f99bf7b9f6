"""The vendor's own counts decide how an import ended."""

from __future__ import annotations

from dataclasses import replace

from listkeeper.hooks.isales import IsalesHook
from listkeeper.hooks.sftp import SftpUploadHook

from tests.flows.imports.conftest import (
    ALL,
    PLAIN,
    ROWS,
    import_file,
    settled,
)


def test_repeats_are_counted_apart_and_green_while_enough_is_new(deliver, snapshot, vendor, ledger):
    snapshot(6)
    deliver(import_file())
    snapshot(ROWS, night="2026-11-21")
    run = deliver(import_file(), partition="2026-11-21")
    assert (run.state, run.counts) == ("success", {"delivered": 6, "rejected": 6})
    (batch,) = ledger.batches(run.summary["load"])
    assert dict(batch.vendor_counts) == {"valid": 6, "repeated": 6, "failed": 0}
    assert "repeated" in (run.folder("report").get("report.md") or b"").decode()
    run.assert_accounted()


def test_nothing_but_repeats_is_no_success(deliver, snapshot, vendor):
    snapshot(6)
    deliver(import_file())
    snapshot(6, night="2026-11-21")
    run = deliver(import_file(), partition="2026-11-21")
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "failed", {"rejected": 6})
    assert "6 of them were repeats" in run.problems
    again = deliver(import_file(), partition="2026-11-21")
    assert again.summary["verdict"] == "unchanged", "the campaign holds them"


def test_a_blacklist_counts_as_rejected(deliver, snapshot, vendor, sandbox):
    sandbox.switch("isales", blacklist=["12012000003"])
    snapshot(ROWS)
    run = deliver(import_file())
    assert run.counts == {"delivered": ROWS - 1, "rejected": 1}
    assert run.xcom("load")["blacklisted"] == 1


def test_a_file_that_the_vendor_does_not_find(deliver, snapshot, vendor, ledger):
    """The file lies elsewhere than the vendor looks: nothing was taken, and the next run sends it."""
    snapshot(ROWS)
    run = deliver(import_file(sftp_root="/elsewhere"))
    assert (run.state, run.counts) == ("failed", {"rejected": ROWS})
    assert "not one record was taken" in run.problems and "The vendor says" in run.problems
    assert ledger.target("isales:1:" + PLAIN).applied is None
    run.assert_accounted()
    again = deliver(import_file())
    assert (again.state, again.counts) == ("success", {"delivered": ROWS}) and vendor.sessions == ALL


def test_a_file_with_more_records_than_the_vendor_takes(deliver, snapshot, vendor, sandbox):
    sandbox.switch("isales", max_records=5)
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts) == ("failed", {"rejected": ROWS}) and "more than 5 records" in run.problems
    assert deliver(import_file(max_records=5)).counts == {"delivered": ROWS}


def test_an_import_that_stops_half_way_is_uncertain(deliver, snapshot, vendor, sandbox):
    sandbox.fault("isales", "import_error")
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.summary["verdict"]) == ("failed", "uncertain")
    assert run.counts == {"delivered": 6, "uncertain": 6}
    assert deliver(import_file()).summary["verdict"] == "refused", "a person must look first"


def test_rows_that_the_vendor_never_counted_are_uncertain(deliver, snapshot, vendor, monkeypatch):
    tasks = IsalesHook.tasks

    def one_less(self, **asked):
        return [replace(task, imported=max(0, task.imported - 1)) for task in tasks(self, **asked)]

    monkeypatch.setattr(IsalesHook, "tasks", one_less)
    snapshot(ROWS)
    run = deliver(import_file())
    assert run.summary["verdict"] == "uncertain" and run.counts == {"delivered": ROWS - 1, "uncertain": 1}
    run.assert_accounted()


def test_an_import_that_never_ends(deliver, snapshot, vendor, sandbox):
    sandbox.fault("isales", "import_stuck")
    snapshot(ROWS)
    run = deliver(import_file(outcome_hours=0.2 / 3600))
    assert (run.state, run.counts) == ("failed", {"uncertain": ROWS})
    assert "did not tell in time" in run.problems
    run.assert_accounted()


def test_a_late_end_heals_a_cleared_load(deliver, snapshot, vendor, when_told):
    go_on = when_told("clock")
    snapshot(ROWS)
    run = deliver(import_file(outcome_hours=0.1 / 3600))
    assert run.counts == {"uncertain": ROWS}
    go_on.set()
    settled(vendor)
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}) and vendor.calls == 1
    run.assert_accounted()


def test_one_file_that_failed_is_sent_again_and_the_others_not(
    deliver, snapshot, vendor, sandbox, monkeypatch
):
    upload = SftpUploadHook.upload

    def lose(self, local, remote, **how):
        done = upload(self, local, remote, **how)
        if "-002." in remote:
            self.remove(remote)
        return done

    snapshot(ROWS)
    with monkeypatch.context() as patch:
        patch.setattr(SftpUploadHook, "upload", lose)
        run = deliver(import_file(max_records=5))
    assert (run.state, run.counts) == ("failed", {"delivered": 7, "rejected": 5})
    assert "File 2" in run.problems
    again = deliver(import_file(max_records=5))
    assert (again.state, again.counts) == ("success", {"delivered": 5, "held": 7})
    assert vendor.sessions == ALL
