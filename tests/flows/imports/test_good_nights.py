"""Nights that iSales imports: once each, as its template says, in files of its size."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO

import openpyxl
from listkeeper.hooks.sftp import SftpUploadHook

from include.vendors.isales_rows import COLUMNS
from tests.flows.conftest import lead
from tests.flows.imports.conftest import (
    ALL,
    IVR,
    PLAIN,
    ROWS,
    Campaign,
    import_file,
)


def test_every_row_is_imported_once(deliver, snapshot, vendor, ledger):
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.summary["verdict"], run.counts) == ("success", "delivered", {"delivered": ROWS})
    assert run.xcom("load") == {"files": 1, "valid": ROWS, "repeated": 0, "failed": 0}
    assert vendor.sessions == ALL and vendor.calls == 1
    run.assert_accounted()
    (batch,) = ledger.batches(run.summary["load"])
    assert batch.state == "confirmed" and len(batch.vendor_ref) == 30
    assert ledger.target("isales:1:" + PLAIN).lock_load_id is None


def test_the_workbook_is_the_template_s(deliver, snapshot, vendor):
    snapshot(2)
    deliver(import_file(caller="4001"))
    (path,) = vendor.files
    assert path.startswith("/home/sftp/listkeeper/renewals-2026-11-20-") and path.endswith("-001.xlsx")
    with SftpUploadHook("isales_sftp").get_managed_conn() as sftp, sftp.open(path) as file:
        sheet = openpyxl.load_workbook(BytesIO(file.read())).worksheets[0]
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        list(COLUMNS.values()),
        ["1000", '[{"calledNo":"12012000000"}]', "4001", '{"state":"NJ"}', "C-00000", None],
        ["1001", '[{"calledNo":"12012000001"}]', "4001", '{"state":"NY"}', "C-00001", None],
    ]


def test_a_long_list_goes_out_in_files(deliver, snapshot, vendor, ledger):
    snapshot(ROWS)
    run = deliver(import_file(max_records=5))
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert [(batch.rows, batch.delivered) for batch in ledger.batches(run.summary["load"])] == [
        (5, 5),
        (5, 5),
        (2, 2),
    ]
    assert [path[-9:] for path in vendor.files] == ["-001.xlsx", "-002.xlsx", "-003.xlsx"]
    assert vendor.sessions == ALL and vendor.calls == 3
    run.assert_accounted()


def test_twice_and_then_an_older_night(deliver, snapshot, vendor):
    snapshot(ROWS)
    deliver(import_file())
    again = deliver(import_file())
    assert (again.state, again.summary["verdict"]) == ("success", "unchanged")
    snapshot(20, night="2026-11-18", source_time=datetime.now(UTC) - timedelta(hours=50))
    older = deliver(import_file(), partition="2026-11-18")
    assert (older.state, older.summary["verdict"]) == ("failed", "refused")
    assert vendor.calls == 1 and vendor.sessions == ALL


def test_rows_that_cannot_be_sent_are_rejected_with_their_reason(deliver, snapshot, vendor):
    rows = [lead(n) for n in range(4)]
    rows[1]["customer_key"] = "x" * 201
    rows[2]["phone1"] = "nobody"
    snapshot(rows)
    run = deliver(import_file(clean={"unique_by": ["phone"]}))
    assert (run.state, run.counts) == ("success", {"delivered": 2, "rejected": 2})
    assert {"text_too_long", "phone_letters"} < set(run.outcomes["reason"])
    run.assert_accounted()


def test_an_intelligent_ivr_gets_json(deliver, snapshot, sandbox):
    snapshot(ROWS)
    run = deliver(import_file(campaign=IVR, intelligent_ivr=True, when_live="allow"))
    assert run.state == "success" and Campaign(sandbox, IVR).sessions == ALL


def test_several_numbers_of_one_customer(deliver, snapshot, vendor):
    snapshot([lead(1) | {"phone2": "(201) 200-0077", "phone3": "+12012000001"}])
    run = deliver(import_file(every_number=True, delay_seconds=60, number_prefix="00"))
    (row,) = vendor.state["campaigns"][PLAIN]["rows"]
    assert run.state == "success"
    assert json.loads(row["called"]) == [
        {"calledNo": "0012012000001"},
        {"calledNo": "0012012000077", "delayTime": 60},
    ]


def test_files_are_removed_once_they_are_in(deliver, snapshot, vendor):
    snapshot(ROWS)
    assert deliver(import_file(remove_uploaded=True, max_records=7)).state == "success"
    assert vendor.files == [] and vendor.sessions == ALL


def test_a_scheduled_import_is_waited_for(deliver, snapshot, vendor, sandbox):
    sandbox.switch("isales", clock_tolerance_minutes=None, zone="America/New_York")
    sandbox.clock(datetime(2026, 11, 21, 5, tzinfo=UTC))  # midnight in New York

    def later() -> None:
        while not vendor.tasks:
            time.sleep(0.01)
        sandbox.clock(datetime(2026, 11, 21, 7, 31, tzinfo=UTC))

    thread = threading.Thread(target=later)
    thread.start()
    snapshot(ROWS)
    run = deliver(import_file(import_at="02:30", zone="America/New_York"))
    thread.join()
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert vendor.tasks[0]["due"].startswith("2026-11-21T")
