"""Imports into the sandbox's iSales: whatever goes wrong, the campaign and the run's report tell the same story."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import openpyxl
import polars as pl
import pytest
from listkeeper.hooks.isales import IsalesHook
from listkeeper.hooks.sftp import SftpUploadHook

from include.vendors import isales
from include.vendors.errors import LostAnswerError
from include.vendors.isales_rows import COLUMNS
from include.workbooks import write_workbook
from tests.flows.conftest import NIGHT, lead
from tests.flows.runs import answered

PLAIN, IVR, DONE = "1803096731904991234", "1803096731904991235", "1803096731904991236"
ROWS = 12
FOLDER = "/home/sftp"


def import_file(**changes: Any) -> dict[str, Any]:
    flow: dict[str, Any] = {
        "kind": "import_isales",
        "name": "renewals",
        "source": "callers",
        "vdn_id": 1,
        "campaign": PLAIN,
        "server": "164690088271159234793429225848",
        "folder": "/listkeeper",
        "sftp_root": FOLDER,
        "released": True,
        "outcome_hours": 10 / 3600,
        "poll_seconds": 0.02,
        "lookup_seconds": 0,
        "columns": [
            {"to": "called", "from": "phone"},
            {"to": "callData.state", "from": "data.state"},
            {"to": "customField", "from": "customer_key"},
        ],
    }
    return flow | changes


def connect(monkeypatch, sandbox, *, sk: str | None = None, host_key: str | None = None) -> None:
    told = sandbox.info()["isales"]
    value = {
        "conn_type": "isales",
        "host": sandbox.base_url,
        "login": told["ak"],
        "password": sk or told["sk"],
        "extra": {"locale": "en_US"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_ISALES_DEFAULT", json.dumps(value))
    sftp = told["sftp"]
    value = {
        "conn_type": "sftp",
        "host": sftp["host"],
        "port": sftp["port"],
        "login": sftp["user"],
        "password": sftp["password"],
        "extra": {"host_key": host_key or sftp["host_key"]},
    }
    monkeypatch.setenv("AIRFLOW_CONN_ISALES_SFTP", json.dumps(value))


@pytest.fixture(autouse=True)
def tenant(installation, sandbox, monkeypatch):
    """The sandbox's iSales, which imports in no time."""
    connect(monkeypatch, sandbox)
    sandbox.switch("isales", step_seconds=0.01)
    return sandbox


class Campaign:
    """What the vendor holds, by the sandbox's own books."""

    def __init__(self, sandbox: Any, campaign: str = PLAIN) -> None:
        self.sandbox, self.id = sandbox, campaign

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.sandbox.state("isales"))

    @property
    def sessions(self) -> Counter[str]:
        """How often each row stands in the campaign."""
        return Counter(row["sessionId"] for row in self.state["campaigns"][self.id]["rows"])

    @property
    def tasks(self) -> list[dict[str, Any]]:
        return list(self.state["tasks"])

    @property
    def calls(self) -> int:
        return int(self.sandbox.state("isales", rows=False)["calls"].get("import", 0))

    @property
    def files(self) -> list[str]:
        return [file["path"] for file in self.state["files"]]


@pytest.fixture
def vendor(sandbox) -> Campaign:
    return Campaign(sandbox)


def sessions(*which: int) -> Counter[str]:
    return Counter(str(1000 + number) for number in which)


ALL = sessions(*range(ROWS))


def settled(vendor: Campaign) -> None:
    """Wait until the vendor has done what it took in."""
    deadline = time.monotonic() + 5
    while any(task["status"] in "01" for task in vendor.tasks) and time.monotonic() < deadline:
        time.sleep(0.01)


# --- a good night


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


# --- the vendor's counts decide


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


def test_a_late_end_heals_a_cleared_load(deliver, snapshot, vendor, sandbox):
    sandbox.switch("isales", step_seconds=0.4)
    snapshot(ROWS)
    run = deliver(import_file(outcome_hours=0.1 / 3600))
    assert run.counts == {"uncertain": ROWS}
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


# --- lost answers


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
    sandbox.switch("isales", visible_after_seconds=0.5)
    sandbox.fault("isales", "drop_after", op="import")
    snapshot(ROWS)
    run = deliver(import_file(lookup_seconds=600))
    assert (run.state, run.counts) == (
        "failed",
        {"uncertain": ROWS},
    ) and "next try looks again" in run.problems
    time.sleep(0.6)
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


# --- what stops it


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"server": "7"}, "0200001")],
)
def test_refused_requests_leave_every_row_held(deliver, snapshot, vendor, changes, words):
    snapshot(ROWS)
    run = deliver(import_file(**changes))
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "failed", {"held": ROWS})
    assert words in run.problems and vendor.calls <= 1
    run.assert_accounted()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"campaign": "7"}, "0200007"),
        ({"vdn_id": 9}, "0200007"),
        ({"campaign": DONE}, "The campaign is finished"),
    ],
)
def test_a_campaign_that_takes_nothing_is_no_persons_business(deliver, snapshot, vendor, changes, words):
    snapshot(ROWS)
    run = deliver(import_file(**changes), answer=answered())
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "refused", {"held": ROWS})
    assert [refusal["guard"] for refusal in run.plan["refusals"]] == ["no_list"]
    assert words in run.problems and vendor.calls == 0
    run.assert_accounted()


def test_a_campaign_that_calls_already_is_a_persons_business(deliver, snapshot, sandbox):
    snapshot(ROWS)
    live = import_file(campaign=IVR, intelligent_ivr=True)
    run = deliver(live)
    assert (run.summary["verdict"], run.counts) == ("not approved", {"held": ROWS})
    assert [refusal["guard"] for refusal in run.plan["refusals"]] == ["live_list"]
    assert Campaign(sandbox, IVR).calls == 0
    run.assert_accounted()
    assert deliver(live, answer=answered()).counts == {"delivered": ROWS}


@pytest.mark.parametrize("answer", [{"result": {}}, {"result": [{"status": True}]}, {}])
def test_a_campaign_of_which_nothing_is_told_counts_as_live(deliver, snapshot, vendor, monkeypatch, answer):
    monkeypatch.setattr(IsalesHook, "campaign_status", lambda self, **_: isales.read_status(answer))
    snapshot(ROWS)
    run = deliver(import_file())
    assert run.summary["verdict"] == "not approved" and "does not tell" in run.problems
    assert deliver(import_file(when_live="allow")).counts == {"delivered": ROWS}


def test_a_campaign_that_is_started_after_the_plan_is_left_alone(
    deliver, snapshot, vendor, ledger, monkeypatch
):
    status, ask = iter([isales.PAUSED, isales.STARTED]), IsalesHook.campaign_status
    monkeypatch.setattr(IsalesHook, "campaign_status", lambda *_, **__: next(status))
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts, vendor.calls) == ("failed", {"held": ROWS}, 0)
    assert "Nothing was sent. The campaign is started" in run.problems
    monkeypatch.setattr(IsalesHook, "campaign_status", ask)
    run.clear("load")  # paused again
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})


def test_a_wrong_key(deliver, snapshot, vendor, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, sk="another-secret")
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts) == ("failed", {"held": ROWS}) and "access key" in run.problems


def test_another_host_key(deliver, snapshot, vendor, sandbox, monkeypatch, openssh_server):
    connect(monkeypatch, sandbox, host_key=openssh_server.host_key)
    snapshot(ROWS)
    run = deliver(import_file())
    assert (run.state, run.counts) == ("failed", {"held": ROWS}) and "another host key" in run.problems
    assert vendor.files == [] and vendor.calls == 0


def test_what_was_accepted_before_a_refusal_is_followed(deliver, snapshot, vendor, sandbox):
    sandbox.fault("isales", "status", status=400, op="import", nth=2)
    snapshot(ROWS)
    run = deliver(import_file(max_records=5))
    assert (run.state, run.counts) == ("failed", {"delivered": 5, "held": 7})
    assert "2 of 3 files were not sent" in run.problems
    run.assert_accounted()
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}) and vendor.sessions == ALL


def test_a_vendor_that_is_away_is_tried_again(deliver, snapshot, vendor, sandbox):
    sandbox.fault("isales", "status", status=503, op="import")
    sandbox.fault("isales", "status", status=429, retry_after=0, op="query_imports")
    snapshot(ROWS)
    run = deliver(import_file(), retries=4)
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}) and len(vendor.tasks) == 1


def test_an_upload_that_is_cut_goes_on(deliver, snapshot, vendor, sandbox):
    sandbox.fault("sftp", "upload_cut", after_bytes=2000)
    sandbox.fault("sftp", "rename_lost")
    snapshot(ROWS)
    run = deliver(import_file(), retries=4)
    assert (run.state, run.counts) == ("success", {"delivered": ROWS}) and vendor.calls == 1


def test_a_paused_campaign(deliver, snapshot, vendor, ledger, sandbox):
    sandbox.fault("isales", "status", status=503, op="import", times=None)
    snapshot(ROWS)
    run = deliver(import_file())
    assert run.state == "failed" and vendor.tasks == []
    sandbox._control("DELETE", "/faults")
    ledger.pause_target("isales:1:" + PLAIN, True, "ana", "the list is wrong")
    run.clear("load")
    assert run.state == "failed" and "paused" in run.problems and vendor.tasks == []
    ledger.pause_target("isales:1:" + PLAIN, False, "ana", "it is right now")
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})


def test_the_same_in_airflow_itself(deliver_in_airflow, snapshot, vendor):
    snapshot(ROWS)
    run = deliver_in_airflow(import_file(max_records=7), partition=NIGHT)
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert vendor.sessions == ALL
    run.assert_accounted()
