"""Vicidial beyond the contract's cases: its tables and leads, office hours, faults, crowds, controls."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta

import httpx
import pytest

from include.sandbox.server import SandboxServer
from include.sandbox.vicidial_db import ARCHIVE, LIST, VicidialDatabaseError
from include.sandbox.vicidial_leads import ZONE, vicidial_leads
from tests.waiting import LIMIT, STILL, until

TODAY = date(2026, 11, 21)
OFFICE_HOURS = "api cannot be executed during office hours time condition"

CONTRACT = """
lead_id int unsigned; entry_date datetime; modify_date timestamp; status varchar(6); user varchar(20);
vendor_lead_code varchar(20); source_id varchar(50); list_id bigint unsigned; gmt_offset_now decimal(4,2);
called_since_last_reset enum(Y,N,Y1,Y2,Y3,Y4,Y5,Y6,Y7,Y8,Y9,Y10,D); phone_code varchar(10);
phone_number varchar(18) not null; title varchar(4); first_name varchar(30); middle_initial varchar(1);
last_name varchar(30); address1 varchar(100); address2 varchar(100); address3 varchar(100); city varchar(50);
state varchar(2); province varchar(50); postal_code varchar(10); country_code varchar(3); gender enum(M,F,U);
date_of_birth date; alt_phone varchar(12); email varchar(70); security_phrase varchar(100);
comments varchar(255); called_count smallint unsigned; last_local_call_time datetime; rank smallint;
owner varchar(20); entry_list_id bigint unsigned
"""
COLUMNS = [column.strip().replace("\n", " ").split(" ", 1) for column in CONTRACT.split(";")]


@pytest.mark.parametrize("table", ["vicidial_list", "vicidial_list_archive"])
def test_the_columns_on_a_real_server(mariadb_url, table):
    from sqlalchemy import create_engine, text

    with SandboxServer(synthetic=10, vicidial_db=mariadb_url):
        pass
    engine = create_engine(mariadb_url)
    with engine.connect() as db:
        found = db.execute(
            text(
                "SELECT column_name, column_type, is_nullable, extra FROM information_schema.columns "
                f"WHERE table_schema = database() AND table_name = '{table}' ORDER BY ordinal_position"
            )
        ).all()
        status = db.execute(text(f"SHOW TABLE STATUS LIKE '{table}'")).mappings().one()
    engine.dispose()
    kinds = [
        [name, re.sub(r"(int)\(\d+\)", r"\1", kind).replace("'", "") + " not null" * (name == "phone_number")]
        for name, kind, _, _ in found
    ]
    assert kinds == COLUMNS
    extra = {name: extra for name, _, _, extra in found if extra}
    number = {"lead_id": "auto_increment"} if table == "vicidial_list" else {}
    assert extra == number | {"modify_date": "on update current_timestamp()"}
    assert {name for name, _, nullable, _ in found if nullable == "NO"} == {
        "lead_id", "modify_date", "list_id", "phone_number", "rank", "entry_list_id",
    }  # fmt: skip
    assert status["Engine"] == "MyISAM"


# --- the leads


def test_old_leads_to_archive():
    leads = list(vicidial_leads(6_000, TODAY))
    midnight = datetime.combine(TODAY, time())
    for lead in leads:
        last = lead["last_local_call_time"]
        assert lead["entry_date"] < (last or midnight) <= midnight
        assert lead["modify_date"] == (last or lead["entry_date"])
        assert (last is None) == (lead["called_count"] == 0) == (lead["status"] == "NEW")
        assert re.fullmatch(r"[0-9]{10}", lead["phone_number"])
    old = [
        lead
        for lead in leads
        if (lead["last_local_call_time"] or lead["entry_date"]) < midnight - timedelta(180)
    ]
    finished = [lead for lead in old if lead["status"] in ("NA", "A", "AA", "B", "N", "NI", "DC", "DNC")]
    assert 2_000 < len(finished) < len(old) < 4_000
    assert {lead["list_id"] for lead in finished} == {1001, 1002, 1003, 1004}


def test_more_leads_begin_with_the_same_ones():
    assert list(vicidial_leads(700, TODAY))[:600] == list(vicidial_leads(600, TODAY))


def test_they_age_with_the_day_of_the_reset(vicidial):
    (newest,) = vicidial.rows("SELECT max(coalesce(last_local_call_time, entry_date)) FROM vicidial_list")
    today = datetime.now(ZONE).date()
    assert today - timedelta(days=2) <= datetime.fromisoformat(str(newest[0])).date() <= today


# --- the copy


def row(vicidial, table, lead_id):
    return vicidial.rows(f"SELECT * FROM {table} WHERE lead_id = {lead_id}")


def test_the_copy_is_equal_in_every_column_and_stays_so(vicidial):
    before = row(vicidial, "vicidial_list", 2)
    vicidial.archive("TTF", [2])
    assert row(vicidial, "vicidial_list_archive", 2) == row(vicidial, "vicidial_list", 2) == before
    vicidial.server.edit(2, status="SALE")
    edited = row(vicidial, "vicidial_list", 2)
    assert str(edited[0].modify_date) == "2026-11-21 20:00:00"
    vicidial.archive("TTF", [2])
    assert row(vicidial, "vicidial_list_archive", 2) == row(vicidial, "vicidial_list", 2) == edited
    vicidial.archive("TTT", [2])
    assert row(vicidial, "vicidial_list_archive", 2) == edited
    vicidial.post(vicidial.body("TTT", [2]), "dearchive")
    assert row(vicidial, "vicidial_list", 2) == edited


@pytest.mark.parametrize("column", [column.name for column in LIST.c if column.name != "lead_id"])
def test_a_difference_in_any_column_keeps_the_lead(vicidial, column):
    """NULL against a value too: most columns of these leads are NULL."""
    values = {
        "entry_date": "2020-01-01T00:00:00", "modify_date": "2020-01-01T00:00:00", "date_of_birth": "1990-01-01",
        "last_local_call_time": "2020-01-01T00:00:00", "called_since_last_reset": "Y7", "gender": "M",
        "gmt_offset_now": 2.5,
    }  # fmt: skip
    numbers = ("list_id", "called_count", "rank", "entry_list_id")
    value = values.get(column, 7 if column in numbers else "x")
    vicidial.archive("TTF", [3])
    kept = row(vicidial, "vicidial_list", 3)[0].modify_date
    same = {} if column == "modify_date" else {"modify_date": str(kept).replace(" ", "T")}
    vicidial.server.edit(3, **{column: value}, **same)
    assert vicidial.archive("FFT", [3]) == (1, 0, 0, 0)
    assert vicidial.archive("FTT", [3]) == (1, 0, 1, 1)
    assert vicidial.where(3) == ["archive"]


def test_a_narrower_archive_never_matches(vicidial):
    vicidial.server.switch("vicidial", archive_widths={"phone_number": 8})
    for counts in [(2, 2, 0, 0), (2, 0, 0, 0), (2, 0, 0, 0)]:
        assert vicidial.archive("TTT", [1, 2]) == counts
    assert vicidial.where(1, 2) == ["both", "both"]
    (numbers,) = vicidial.rows(
        "SELECT l.phone_number, a.phone_number FROM vicidial_list l "
        "JOIN vicidial_list_archive a ON a.lead_id = l.lead_id WHERE l.lead_id = 1"
    )
    assert numbers[1] == numbers[0][:8]
    vicidial.server.switch("vicidial", archive_widths={})
    assert vicidial.archive("TTT", [1, 2]) == (2, 0, 2, 2)


@pytest.mark.parametrize(
    "widths", [{"lead_id": 1}, {"nothing": 1}, {"status": 0}, {"status": 7}, {"gender": 1}]
)
def test_impossible_widths_are_refused(vicidial, widths):
    with pytest.raises(ValueError, match="no text column"):
        vicidial.server.switch("vicidial", archive_widths=widths)


# --- office hours


@pytest.mark.parametrize(
    ("switches", "moment", "status"),
    [
        ({}, "2026-11-23T06:00:00+00:00", 403),  # 08:00 in Johannesburg
        ({}, "2026-11-23T15:00:00+00:00", 200),
        ({}, "2026-11-20T14:59:59+00:00", 403),  # Friday
        ({}, "2026-11-22T10:00:00+00:00", 200),  # Sunday
        ({"office_hours": False}, "2026-11-23T08:00:00+00:00", 200),
        ({"office_weekdays": [6, 7]}, "2026-11-23T08:00:00+00:00", 200),
        ({"office_weekdays": [6, 7]}, "2026-11-22T08:00:00+00:00", 403),
        ({"office_opens": "09:30"}, "2026-11-23T07:29:59+00:00", 200),
        ({"office_opens": "09:30"}, "2026-11-23T07:30:00+00:00", 403),
        ({"office_closes": "12:00"}, "2026-11-23T10:00:00+00:00", 200),
        # New York: 08:00 is 13:00 UTC in winter, and 12:00 UTC from 8 March 2026 on
        ({"office_zone": "America/New_York"}, "2026-03-06T12:30:00+00:00", 200),
        ({"office_zone": "America/New_York"}, "2026-03-09T12:30:00+00:00", 403),
    ],
)
def test_office_hours_are_switches(vicidial, switches, moment, status):
    vicidial.server.switch("vicidial", **switches)
    vicidial.server.clock(datetime.fromisoformat(moment), speed=STILL)
    assert vicidial.post(vicidial.body("FFF", [1])).status_code == status


@pytest.mark.parametrize(
    "switches",
    [
        {"office_zone": "Nowhere/Town"},
        {"office_zone": "../x"},
        {"office_weekdays": [0]},
        {"office_opens": "25:00"},
    ],
)
def test_impossible_hours_are_refused(vicidial, switches):
    with pytest.raises(ValueError, match="vicidial"):
        vicidial.server.switch("vicidial", **switches)


def test_state_counts_calls_inside_office_hours(vicidial):
    def inside():
        return vicidial.server.state("vicidial", rows=False)["inside_office_hours"]

    vicidial.archive("FFF", [1])
    vicidial.at("2026-11-23T10:00:00")
    vicidial.post(vicidial.body("TTT", [1]))
    vicidial.post(vicidial.body("TTT", [1]), "dearchive")
    assert inside() == {"accepted": 0, "refused": 1}
    vicidial.server.switch("vicidial", office_hours=False)
    vicidial.archive("FFF", [1])
    assert inside() == {"accepted": 1, "refused": 1}


# --- faults


def cut(vicidial, ids, path="archive"):
    with pytest.raises(httpx.RemoteProtocolError):
        vicidial.post(vicidial.body("TTT", ids), path)


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        ("drop_before", ["both", "list", "list", "list"]),
        ("crash_in_insert", ["both", "both", "list", "list"]),
        ("crash_after_insert", ["both"] * 4),
        ("crash_in_update", ["both"] * 4),
        ("crash_after_update", ["both"] * 4),
        ("crash_in_delete", ["archive", "archive", "both", "both"]),
        ("drop_after", ["archive"] * 4),
    ],
)
def test_a_crash_leaves_what_was_done_before_it(vicidial, fault, where):
    vicidial.archive("TTF", [1])
    vicidial.server.edit(1, status="SALE")
    vicidial.server.fault("vicidial", fault)
    cut(vicidial, [1, 2, 3, 4])
    assert vicidial.where(1, 2, 3, 4) == where
    updated = (
        [("SALE",)]
        if fault in ("crash_in_update", "crash_after_update", "crash_in_delete", "drop_after")
        else []
    )
    archived = "SELECT status FROM vicidial_list_archive WHERE lead_id = 1 AND status = 'SALE'"
    assert vicidial.rows(archived) == updated
    left = [lead for lead, place in zip((1, 2, 3, 4), where, strict=True) if place != "archive"]
    answer = vicidial.post(vicidial.body("TTT", [1, 2, 3, 4]))
    if len(left) < 4:
        assert answer.json()["lead_ids"] == [lead for lead in (1, 2, 3, 4) if lead not in left]
        answer = vicidial.post(vicidial.body("TTT", left)) if left else answer
    assert not left or answer.json()["delete_count"] == len(left)
    assert vicidial.where(1, 2, 3, 4) == ["archive"] * 4


def test_half_an_update(vicidial):
    vicidial.archive("TTF", [1, 2])
    for lead in (1, 2):
        vicidial.server.edit(lead, status="SALE")
    vicidial.server.fault("vicidial", "crash_in_update")
    cut(vicidial, [1, 2])
    assert vicidial.rows("SELECT lead_id FROM vicidial_list_archive WHERE status = 'SALE'") == [(1,)]


def test_crashes_of_dearchive(vicidial):
    vicidial.archive("TTT", [1, 2])
    vicidial.server.fault("vicidial", "crash_in_delete", op="dearchive")
    assert vicidial.archive("TTT", [3]) == (1, 1, 0, 1)
    cut(vicidial, [1, 2], "dearchive")
    assert vicidial.where(1, 2) == ["list", "both"]


def test_only_calls_that_passed_all_checks_count_as_archives(vicidial):
    vicidial.server.fault("vicidial", "crash_after_insert", nth=2)
    vicidial.post(b"")
    vicidial.post(vicidial.body("TTT", [9999]))
    vicidial.archive("TTT", [1])
    cut(vicidial, [2])


def test_an_agent_edits_some_leads_of_a_batch(vicidial):
    vicidial.server.fault("vicidial", "agent_edits", leads=3)
    before = vicidial.rows("SELECT called_count FROM vicidial_list WHERE lead_id = 10")[0][0]
    assert vicidial.archive("TTT", range(10, 20)) == (10, 10, 0, 7)
    assert vicidial.where(10, 12, 13) == ["both", "both", "archive"]
    (lead,) = row(vicidial, "vicidial_list", 10)
    assert (lead.status, lead.called_count) == ("CALLBK", before + 1)
    assert str(lead.modify_date) == str(lead.last_local_call_time) == "2026-11-21 20:00:00"


@pytest.mark.parametrize(
    ("rule", "status", "body"),
    [
        ({"fault": "expired_token"}, 401, {"message": "unable to validate api user"}),
        ({"fault": "status", "status": 403}, 403, {"message": OFFICE_HOURS}),
        ({"fault": "status", "retry_after": 3}, 429, {"message": "Not now.", "lead_errors": 0, "lead_ids": []}),
        ({"fault": "status", "status": 503}, 503, {"message": "Not now.", "lead_errors": 0, "lead_ids": []}),
    ],
)  # fmt: skip
def test_refusals_have_the_vendors_shape(vicidial, rule, status, body):
    vicidial.server.fault("vicidial", **rule)
    answer = vicidial.post(vicidial.body("TTT", [1]))
    assert (answer.status_code, answer.json()) == (status, body)
    assert answer.headers.get("retry-after") == ("3" if "retry_after" in rule else None)
    assert vicidial.where(1) == ["list"]


@pytest.mark.parametrize(
    ("fault", "error"), [("broken_json", ValueError), ("truncated", httpx.RemoteProtocolError)]
)
def test_spoiled_answers_come_after_the_work(vicidial, fault, error):
    vicidial.server.fault("vicidial", fault)
    with pytest.raises(error):
        vicidial.post(vicidial.body("TTT", [1])).json()
    assert vicidial.where(1) == ["archive"]


def test_a_caller_that_gives_up_waiting_finds_the_work_done(vicidial):
    vicidial.server.fault("vicidial", "late_answer", seconds=1.5)
    impatient = httpx.Timeout(60, read=0.1)
    with pytest.raises(httpx.ReadTimeout):
        vicidial.http.post("/vicidial/leads/archive", json=vicidial.body("TTT", [1]), timeout=impatient)
    until(lambda: vicidial.server.state("vicidial")["calls"], "the answer that nobody takes")
    assert vicidial.where(1) == ["archive"]


@pytest.mark.parametrize("rule", [{"fault": "webhook_lost"}, {"fault": "crash_in_insert", "leads": 0}])
def test_impossible_rules_are_refused(vicidial, rule):
    with pytest.raises(ValueError, match=r"vicidial has no|leads"):
        vicidial.server.fault("vicidial", **rule)


# --- crowds


def test_va_12_the_same_ids_at_the_same_time(vicidial):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: vicidial.post(vicidial.body("TTT", list(range(1, 401)))), range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [400] * 7
    assert all(len(answer.json()["lead_ids"]) == 400 for answer in answers if answer.status_code == 400)


def test_readers_see_the_tables_while_the_sandbox_writes(vicidial):
    with vicidial.database.connect().execution_options(stream_results=True, max_row_buffer=1) as connection:
        rows = connection.exec_driver_sql("SELECT lead_id FROM vicidial_list WHERE lead_id <= 5")
        rows.fetchone()
        assert vicidial.archive("TTT", [1]) == (1, 1, 0, 1)
        rows.fetchall()


def test_many_leads_in_memory():
    with SandboxServer(synthetic=10, vicidial_leads=10_000) as server:
        server.clock(datetime(2026, 11, 21, 18, tzinfo=UTC))
        asked = {"insert_leads": True, "update_leads": True, "delete_leads": True}
        with httpx.Client(
            base_url=server.base_url, headers={"Authorization": "Key=sandbox-vicidial-key"}
        ) as http:
            for first in range(1, 10_001, 500):
                ids = list(range(first, first + 500))
                answer = http.post("/vicidial/leads/archive", json={**asked, "lead_ids": ids})
                assert answer.json()["delete_count"] == 500
        assert server.state("vicidial", rows=False)["counts"] == {"list": 0, "archive": 10_000}
        server.reset()
        assert server.state("vicidial", rows=False)["counts"] == {"list": 10_000, "archive": 0}


# --- controls


def test_state_tells_every_call(vicidial):
    vicidial.archive("TTT", [5, 9, 7])
    vicidial.post(vicidial.body("TTT", [601]))
    vicidial.server.fault("vicidial", "crash_after_insert")
    cut(vicidial, [1])
    vicidial.post(b"")
    state = vicidial.server.state("vicidial")
    first, unknown, crashed, broken = state["batches"]
    assert first.pop("time").startswith("2026-11-21T18:00:00")
    assert first == {
        "op": "archive", "inside_office_hours": False, "status": 200, "ids": 3, "highest_id": 9,
        "select_count": 3, "insert_count": 3, "update_count": 0, "delete_count": 3,
    }  # fmt: skip
    assert (unknown["status"], unknown["highest_id"]) == (400, 601)
    assert (crashed["status"], crashed["ids"]) == (None, 1)
    assert (broken["status"], broken["ids"], broken["highest_id"]) == (500, 0, None)
    assert [call["status"] for call in state["requests"]] == [200, 400, None, 500]
    assert state["calls"] == {"archive": 4}
    assert state["ids"]["archive"] == [1, 5, 7, 9]
    assert len(state["ids"]["list"]) == state["counts"]["list"] == 597
    assert vicidial.server.state("vicidial", rows=False)["ids"] == {"list": [], "archive": []}


def test_a_reset_brings_all_leads_back(vicidial):
    before = vicidial.rows("SELECT * FROM vicidial_list ORDER BY lead_id")
    vicidial.server.edit(3, status="SALE")
    vicidial.archive("TTT", [1, 2])
    vicidial.server.switch("vicidial", office_hours=False)
    vicidial.server.reset()
    assert vicidial.rows("SELECT * FROM vicidial_list ORDER BY lead_id") == before
    state = vicidial.server.state("vicidial", rows=False)
    assert (state["batches"], state["counts"]) == ([], {"list": 600, "archive": 0})
    vicidial.at("2026-11-23T10:00:00")
    assert vicidial.post(b"").status_code == 403


@pytest.mark.parametrize(
    "edit",
    [
        {},
        {"status": "SALE"},
        {"lead_id": 1, "colour": "blue"},
        {"lead_id": 1, "status": "TOOLONG"},
        {"lead_id": 1, "phone_number": None},
        {"lead_id": 1, "gender": "X"},
        {"lead_id": 1, "entry_date": "soon"},
        [],
    ],
)
def test_impossible_edits_are_refused(vicidial, edit):
    answer = httpx.post(f"{vicidial.server.base_url}/_sandbox/vicidial/edit", json=edit)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_an_edit_of_a_lead_that_is_not_there(vicidial):
    vicidial.archive("TTT", [1])
    with pytest.raises(ValueError, match="no lead 1 in vicidial_list"):
        vicidial.server.edit(1, status="SALE")


def test_a_database_of_somebody_else_is_left_alone(tmp_path):
    file = tmp_path / "real.db"
    with sqlite3.connect(file) as theirs:
        theirs.execute("CREATE TABLE vicidial_list (lead_id INTEGER)")
        theirs.execute("INSERT INTO vicidial_list VALUES (7)")
    with pytest.raises(VicidialDatabaseError, match="Name an empty database"):
        SandboxServer(vicidial_db=f"sqlite:///{file}")
    assert theirs.execute("SELECT * FROM vicidial_list").fetchall() == [(7,)]
    theirs.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("no url", "cannot be used"),
        ("sqlite:////no/such/folder/x.db", "cannot be used: unable to open"),
        ("mysql+pymysql://me:secret@127.0.0.1:1/x", "cannot be used"),
        ("mysql+nodriver://127.0.0.1/x", "cannot be used"),
        ("postgresql+psycopg2://me:secret@127.0.0.1:1/x", "cannot be used"),
        ("oracle://127.0.0.1/x", "takes SQLite, MariaDB, MySQL or PostgreSQL, not oracle"),
    ],
)
def test_a_database_that_cannot_serve(url, problem):
    with pytest.raises(VicidialDatabaseError, match=problem) as raised:
        SandboxServer(synthetic=10, vicidial_db=url)
    assert "secret" not in str(raised.value)


def test_a_second_start_begins_anew(tmp_path):
    url = f"sqlite:///{tmp_path}/vicidial.db"
    for leads in (600, 700):
        with SandboxServer(synthetic=10, vicidial_db=url, vicidial_leads=leads) as server:
            assert server.state("vicidial", rows=False)["counts"] == {"list": leads, "archive": 0}


def test_the_command_line(tmp_path):
    file = tmp_path / "vicidial.db"
    run = subprocess.Popen(
        [sys.executable, "-m", "include.sandbox", "--port", "0", "--vicidial-leads", "650",
         "--vicidial-db", f"sqlite:///{file}"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = run.stdout.readline().split()[-1]
        assert httpx.get(url).json()["vicidial"]["leads"] == 650
        with sqlite3.connect(file) as reader:
            assert reader.execute("SELECT max(lead_id) FROM vicidial_list").fetchone() == (650,)
        reader.close()
    finally:
        run.terminate()
        run.wait(LIMIT)
        run.stdout.close()


def test_both_tables_have_the_same_columns():
    assert [(c.name, str(c.type)) for c in LIST.c] == [(c.name, str(c.type)) for c in ARCHIVE.c]
