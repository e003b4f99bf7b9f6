"""Workbooks in a run folder: written once, anew for another payload, a batch for each."""

from __future__ import annotations

import polars as pl
import pytest

from include.callfiles import stage
from include.callfiles.loop import nothing_taken
from include.callfiles.stage import batch_plans, stage_payload
from include.ledger import Batch
from include.staging import RunFolder


@pytest.fixture
def payload(tmp_path):
    path = tmp_path / "payload.csv"
    pl.DataFrame({"sessionId": [str(n) for n in range(12)], "called": "[]"}).write_csv(path)
    return path


def test_workbooks_are_written_once(payload, staging_folder, monkeypatch):
    out = RunFolder("runs/x/workbooks")
    files = stage_payload(payload, "abc", out, "night", 5)
    assert [(file.seq, file.name, file.rows) for file in files] == [
        (1, "night-001.xlsx", 5),
        (2, "night-002.xlsx", 5),
        (3, "night-003.xlsx", 2),
    ]
    with out.reading("*.xlsx") as paths:
        assert [path.name for path in paths] == [file.name for file in files]
    with monkeypatch.context() as patch:
        patch.setattr(stage, "write_workbooks", lambda *_: pytest.fail("written again"))
        assert stage_payload(payload, "abc", out, "night", 5) == files
    for changed in (("abd", "night", 5), ("abc", "other", 5), ("abc", "night", 7)):
        assert stage_payload(payload, changed[0], out, *changed[1:]) != files or changed[0] == "abd"
        assert out.manifest().facts["payload_sha256"] == changed[0]


def test_batches_are_those_of_the_rows_not_of_the_files(payload, staging_folder):
    """A workbook that is written again differs by its date; its batch must not."""
    files = [stage_payload(payload, "abc", RunFolder(f"runs/{n}"), "night", 5) for n in range(2)]
    first, second = (batch_plans(found, "abc") for found in files)
    assert first == second and [plan.rows for plan in first] == [5, 5, 2]
    assert len({plan.fingerprint for plan in first}) == 3
    assert batch_plans(files[0], "abd")[0].fingerprint != first[0].fingerprint


def test_of_which_files_the_campaign_holds_nothing():
    def batch(seq: int, state: str, **counts: int) -> Batch:
        return Batch("load", seq, 5, "x", state=state, vendor_counts=counts)  # type: ignore[arg-type]

    batches = [
        batch(1, "confirmed", valid=5),
        batch(2, "rejected", valid=0, repeated=0, failed=0),
        batch(3, "rejected", valid=0, repeated=5),
        batch(4, "planned"),
        batch(5, "rejected", valid=0, failed=5),
    ]
    assert nothing_taken(batches) == [2, 4, 5]
