"""The single steps of an iSales import against the sandbox: stage, ask, wait, register a file server."""

from __future__ import annotations

import asyncio
import json

import openpyxl
import polars as pl
import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from listkeeper.operators import isales_steps
from listkeeper.operators.isales_steps import FileServerOperator, ImportFileOperator, StageWorkbookOperator
from listkeeper.sensors.isales import ImportTaskSensor
from listkeeper.triggers.isales import ImportTasksTrigger

from tests.connections import connect_isales
from tests.waiting import LIMIT

PLAIN = "1803096731904991234"
CAMPAIGN = {"vdn_id": 1, "campaign": PLAIN}


def called(number: int) -> str:
    return json.dumps([{"calledNo": f"1201200{number:04d}"}])


@pytest.fixture
def tenant(small_sandbox, monkeypatch):
    small_sandbox.reset()
    small_sandbox.switch("isales", step_seconds=0)
    connect_isales(monkeypatch, small_sandbox)
    monkeypatch.setattr(isales_steps, "LOOK_SECONDS", 0.05)
    return small_sandbox


@pytest.fixture
def rows(tmp_path):
    """Five rows in a Parquet file and seven in a CSV, with a priority."""
    for start, count, name in ((0, 5, "a.parquet"), (5, 7, "b.csv")):
        numbers = range(start, start + count)
        frame = pl.DataFrame(
            {"sessionId": [f"S{n}" for n in numbers], "called": [called(n) for n in numbers], "priority": "1"}
        )
        frame.write_parquet(tmp_path / name) if name.endswith("parquet") else frame.write_csv(tmp_path / name)
    return tmp_path


def stage(folder, **changes):
    asked = {"rows": str(folder / "*"), "file_name": "night", "folder": "/home/sftp/own"} | changes
    return StageWorkbookOperator(task_id="stage", **asked).execute({})


def ask(**changes):
    asked = {"file_name": "night-001.xlsx", "server": "164690088271159234793429225848", "folder": "/own"}
    return ImportFileOperator(task_id="ask", **CAMPAIGN | asked | changes).execute({})


def wait(import_task, **changes):
    """The sensor's answer, its trigger run where it defers."""
    sensor = ImportTaskSensor(
        task_id="wait", import_task=import_task, poke_interval=0.05, **CAMPAIGN, **changes
    )
    try:
        return sensor.execute({})
    except TaskDeferred as deferred:
        path, arguments = deferred.trigger.serialize()
        assert path == "listkeeper.triggers.isales.ImportTasksTrigger"
        trigger = ImportTasksTrigger(**json.loads(json.dumps(arguments)))
        return getattr(sensor, deferred.method_name)({}, event=asyncio.run(first(trigger)))


async def first(trigger):
    return (await anext(trigger.run())).payload


def imports(tenant) -> int:
    return len(tenant.state("isales")["tasks"])


def test_rows_are_staged_imported_and_waited_for(tenant, rows):
    staged = stage(rows, max_records=8)
    assert [(file["file_name"], file["rows"], file["checked"]) for file in staged] == [
        ("night-001.xlsx", 8, "read back"),
        ("night-002.xlsx", 4, "read back"),
    ]
    for file in staged:
        counts = wait(ask(file_name=file["file_name"]), rows=file["rows"])
        assert counts == {"valid": file["rows"], "repeated": 0, "failed": 0}
    taken = tenant.state("isales")["campaigns"][PLAIN]["rows"]
    assert [row["sessionId"] for row in taken] == [f"S{n}" for n in range(12)]
    assert [file["size"] for file in tenant.state("isales")["files"]] == [file["bytes"] for file in staged]


def test_a_seventh_column_only_on_request(tenant, rows, tmp_path, monkeypatch):
    kept = {}

    def keep(self, local, remote, check):
        kept[remote] = [cell.value for cell in next(openpyxl.load_workbook(local).active.iter_rows())]
        raise AirflowFailException("seen")

    monkeypatch.setattr("listkeeper.hooks.sftp.SftpUploadHook.upload", keep)
    pl.DataFrame({"called": [called(1)]}).write_csv(tmp_path / "plain.csv")
    for file, last in (("b.csv", "priority (Optional)"), ("plain.csv", "recycleTime (Optional)")):
        with pytest.raises(AirflowFailException, match="seen"):
            stage(rows, rows=str(tmp_path / file))
        assert kept.popitem()[1][-1] == last


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("", "no JSON"),
        ("[]", "no list of objects"),
        ("[{'calledNo': '1'}]", "no JSON"),
        ('[{"calledNo": 12012000001}]', "not a text"),
        ('[{"calledNo": "+12012000001"}]', "not a text"),
        ('[{"calledNo": "1", "delayTime": 7201}]', "delayTime is not 0 to 7200"),
        ('[{"calledNo": "1", "delayTime": true}]', "delayTime is not 0 to 7200"),
    ],
)
def test_rows_that_the_vendor_would_not_take_stop_everything(tenant, tmp_path, cell, words):
    pl.DataFrame({"called": [called(1), cell], "sessionId": ["1", "2"]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(AirflowFailException, match=rf"x.parquet .* row 2: .*{words}") as error:
        stage(tmp_path, rows=str(tmp_path / "x.parquet"))
    assert "12012000001" not in str(error.value) and tenant.state("isales")["files"] == []


@pytest.mark.parametrize(
    "time", ["2026-02-29 10:00:00", "2026-02-28T10:00:00", "2026-2-28 10:00:00", "2026-02-28"]
)
def test_times_that_the_vendor_would_not_read_stop_everything(tenant, tmp_path, time):
    good = {"called": [called(1), called(2)], "recycleTime": ["2026-02-28 23:59:59", ""]}
    pl.DataFrame(good).write_parquet(tmp_path / "x.parquet")
    assert stage(tmp_path, rows=str(tmp_path / "x.parquet"))[0]["rows"] == 2
    pl.DataFrame(good | {"recycleTime": [None, time]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(AirflowFailException, match="row 2: recycleTime is no time written yyyy-mm-dd"):
        stage(tmp_path, rows=str(tmp_path / "x.parquet"))


@pytest.mark.parametrize("records", [0, 500_001])
def test_a_file_holds_no_more_records_than_the_vendor_takes(tmp_path, records):
    with pytest.raises(ValueError, match="1 to 500,000 records"):
        stage(tmp_path, max_records=records)


def test_texts_that_are_too_long_stop_everything(tenant, tmp_path):
    pl.DataFrame({"called": [called(1)], "customField": ["x" * 201]}).write_csv(tmp_path / "x.csv")
    with pytest.raises(AirflowFailException, match="longer than the vendor takes"):
        stage(tmp_path, rows=str(tmp_path / "x.csv"))


@pytest.mark.parametrize(
    ("columns", "words"),
    [({"number": ["1"]}, "number is no column"), ({"sessionId": ["1"]}, "called, the column of numbers")],
)
def test_columns_that_the_template_does_not_know(tenant, tmp_path, columns, words):
    pl.DataFrame(columns).write_csv(tmp_path / "x.csv")
    with pytest.raises(AirflowFailException, match=words):
        stage(tmp_path, rows=str(tmp_path / "x.csv"))


def test_no_file_and_files_that_differ(tenant, rows):
    with pytest.raises(AirflowFailException, match="There is no file"):
        stage(rows, rows=str(rows / "nothing*"))
    pl.DataFrame({"called": [called(1)]}).write_csv(rows / "c.csv")
    with pytest.raises(AirflowFailException, match="different columns"):
        stage(rows)


def test_a_lost_answer_is_settled_by_the_newest_tasks(tenant, rows):
    stage(rows)
    tenant.fault("isales", "drop_after", op="import")
    assert wait(ask(), rows=12)["valid"] == 12 and imports(tenant) == 1


def test_a_request_that_never_arrived_is_not_asked_again(tenant):
    tenant.fault("isales", "drop_before", op="import")
    with pytest.raises(AirflowFailException, match="no new tasks show since"):
        ask()
    assert imports(tenant) == 0


def test_an_import_of_nothing_is_no_success(tenant, rows):
    with pytest.raises(AirflowFailException, match="not one record was taken"):
        wait(ask(file_name="nothing.xlsx"))
    stage(rows)
    wait(ask())
    with pytest.raises(AirflowFailException, match="not one record was new"):
        wait(ask())


def test_rows_that_were_not_counted(tenant, rows):
    stage(rows)
    with pytest.raises(AirflowFailException, match="counted only 12 of 13"):
        wait(ask(), rows="13")


def test_an_import_that_does_not_end_in_time(tenant, rows):
    tenant.fault("isales", "import_stuck")
    stage(rows)
    with pytest.raises(AirflowFailException, match="still under way"):
        wait(ask(), timeout=0.2)
    with pytest.raises(AirflowFailException, match="no task by this id"):
        wait("7" * 30, timeout=0.1)


def test_ids_that_were_rendered_as_numbers(tenant, rows):
    stage(rows)
    task = ask(server=164690088271159234793429225848, campaign=int(PLAIN))
    sensor = ImportTaskSensor(
        task_id="wait",
        import_task=int(task),
        deferrable=False,
        poke_interval=0.05,
        vdn_id=1,
        campaign=int(PLAIN),
    )
    assert sensor.execute({})["valid"] == 12


def test_a_wrong_campaign_ends_the_waiting(tenant):
    sensor = ImportTaskSensor(task_id="wait", import_task="7" * 30, vdn_id=1, campaign="7")
    with pytest.raises(AirflowFailException, match="0200007"):
        sensor.execute({})


def test_waiting_in_a_worker(tenant, rows):
    stage(rows)
    sensor = ImportTaskSensor(
        task_id="wait", import_task=ask(), deferrable=False, poke_interval=0.05, timeout=LIMIT, **CAMPAIGN
    )
    assert sensor.execute({})["valid"] == 12


def test_the_trigger_outlives_a_vendor_that_is_away(tenant, rows):
    stage(rows)
    task = ask()
    tenant.fault("isales", "status", status=503, op="query_imports", times=2)
    trigger = ImportTasksTrigger(
        connection="isales_default",
        task_ids=[task],
        deadline="2099-01-01T00:00:00+00:00",
        poll_seconds=0.05,
        **CAMPAIGN,
    )
    assert asyncio.run(first(trigger)) == {"status": "ended"}


def test_a_file_server_is_found_or_registered_once(tenant):
    def server(**changes):
        return FileServerOperator(task_id="server", path="/home/sftp", vdn_id=1, **changes).execute({})

    made = server()
    assert server() == made and len(tenant.state("isales")["servers"]) == 2
    assert server(host="10.0.0.9") != made
    tenant.fault("isales", "drop_after", op="add_server")
    other = server(host="10.0.0.10")
    assert server(host="10.0.0.10") == other and len(tenant.state("isales")["servers"]) == 4


def test_a_password_that_the_vendor_does_not_take(tenant, monkeypatch):
    value = {"conn_type": "sftp", "host": "h", "login": "lk", "password": "short"}
    monkeypatch.setenv("AIRFLOW_CONN_ISALES_SFTP", json.dumps(value))
    with pytest.raises(AirflowFailException, match="isales_sftp: the password of the file server") as error:
        FileServerOperator(task_id="server", path="/", vdn_id=1).execute({})
    assert "short" not in str(error.value)
