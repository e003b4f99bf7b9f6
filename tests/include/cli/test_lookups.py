"""`explain`, `house` and `loads`: what became of leads, of loads and of what they left."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import polars as pl
import pytest

from include.leads.schema import LEAD_COLUMNS
from include.ledger import Ledger, Removal
from include.staging import Manifest, RunFolder, run_path
from tests.include.cli.conftest import NIGHT, PHONES, SOURCE_TIME, TARGET


@pytest.mark.parametrize(
    ("row", "state", "code", "batch"),
    [
        ("1", "rejected", "duplicate_phone", None),
        ("3", "rejected", "phone_empty", None),
        ("4", "uncertain", "no_outcome", 1),
        ("9", "rejected", "source_unreadable", None),
    ],
)
def test_explain(call, run, row, state, code, batch):
    load = run()
    ended, (finding,) = call("explain", "ringcx", row, "--json")
    assert ended == 0
    assert (finding["state"], finding["code"], finding["batch"]) == (state, code, batch)
    assert (finding["run"], finding["night"], finding["load"]) == ("r1", NIGHT, load.id)
    text = call("explain", "load_purecallerid__ringcx", row)[1]
    assert f"  {state}: " in text
    assert "  Fix: " in text
    assert not set(PHONES.values()) - {""} & set(text.split())


def test_explain_tells_the_newest_first_and_what_the_vendor_counted(call, run):
    run("r1")
    run("r2", answers=True)
    _, findings = call("explain", "ringcx", "4", "--json")
    assert [(f["run"], f["state"]) for f in findings] == [("r2", "delivered"), ("r1", "uncertain")]
    assert findings[0]["vendor_counts"] == {"total": 3, "valid": 3}
    assert len(call("explain", "ringcx", "4", "--runs", "1", "--json")[1]) == 1


def test_explain_a_row_that_nobody_knows(call, run):
    run()
    code, text = call("explain", "ringcx", "77")
    assert code == 1
    assert "know no row 77" in text


@pytest.mark.parametrize("who", ["2012000001", "+1 (201) 200-0001", "201.200.0001 x5"])
def test_the_story_of_a_phone_over_nights(call, run, who):
    run("r1")
    run("r2", answers=True)
    code, answer = call("explain", who, "--json")
    assert (code, answer["who"]) == (0, "…01")
    told = [(f["run"], f["row_key"], f["state"], f["code"]) for f in answer["story"]]
    assert sorted(told[:2]) == [
        ("r1", "1", "rejected", "duplicate_phone"),
        ("r1", "4", "uncertain", "no_outcome"),
    ]
    assert sorted(told[2:]) == [
        ("r2", "1", "rejected", "duplicate_phone"),
        ("r2", "4", "delivered", "delivered"),
    ]
    (delivered,) = (f for f in answer["story"] if f["state"] == "delivered")
    assert (delivered["vendor"], delivered["list"]) == ("purecallerid", TARGET)
    assert (delivered["night"], delivered["batch"]) == (NIGHT, 1)
    text = call("explain", who)[1]
    assert text.startswith("…01: outcomes 4, flows 1; oldest first.")
    assert f"List {TARGET}" in text
    assert "2000001" not in text.replace("-", "") + json.dumps(answer)


def test_the_story_of_a_key_and_of_a_row_the_pull_lost(call, run):
    run()
    assert [f["row_key"] for f in call("explain", "4", "--json")[1]["story"]] == ["4"]
    assert [f["code"] for f in call("explain", "9", "--json")[1]["story"]] == ["source_unreadable"]


def test_the_story_knows_keys_of_the_source_of_each_flow_only(call, run, monkeypatch):
    load = run()
    foreign = RunFolder("snapshots/others/2026-11-20/1")
    leads = pl.DataFrame({"row_key": ["5"], "customer_key": ["K-5"], "phone1": ["2012000077"]})
    with foreign.writing() as scratch:
        pl.concat([pl.DataFrame(schema=LEAD_COLUMNS), leads], how="diagonal").write_parquet(
            scratch / "part-0.parquet"
        )
        foreign.commit(scratch, Manifest("snapshot", 1, SOURCE_TIME, NIGHT))
    assert load.snapshot.startswith("snapshots/callers/")
    for who in ("2012000077", "K-5"):
        code, text = call("explain", who)
        assert code == 1, "row 5 of another source is another lead"
        assert "2012000077" not in text


def test_the_story_follows_leads_that_the_night_before_left_over(call, run, ledger, monkeypatch):
    load = run()
    with_leftovers = RunFolder(run_path(load.dag_id, "r1", "find_snapshot"))
    with with_leftovers.writing() as scratch:
        with_leftovers.commit(scratch, Manifest("snapshot", 0, facts={"source": "callers"}))
    listed = Ledger.loads
    monkeypatch.setattr(
        Ledger,
        "loads",
        lambda *asked, **named: [
            replace(one, snapshot=with_leftovers.path) for one in listed(*asked, **named)
        ],
    )
    assert [f["row_key"] for f in call("explain", "2012000005", "--json")[1]["story"]] == ["5"]


def test_the_story_may_be_asked_for_on_standard_input(call, run, monkeypatch):
    run()
    monkeypatch.setattr("sys.stdin", io.StringIO("2012000005\n"))
    assert [f["row_key"] for f in call("explain", "-", "--json")[1]["story"]] == ["5"]


def test_what_house_keeping_would_remove(call, run, ledger):
    run()
    code, text = call("house")
    assert code == 0 and "this would go" in text
    _, answer = call("house", "--json")
    assert answer["items"] == [] and answer["young"] == {"leads": 1, "working": 2, "rejects": 2}
    assert ledger.head().count == 0


def test_a_plan_whose_report_is_gone_is_told_with_what_the_ledger_knows(call, run, ledger):
    load = run()
    place = run_path(load.dag_id, load.run_id, "report")
    RunFolder(place).remove()
    ledger.intend_removal(Removal(place, "rejects", 90, 2, 9, SOURCE_TIME, None, None))
    ledger.end_removal(place, gone=True)
    code, text = call("plan", "ringcx")
    assert code == 0 and "# ringcx: uncertain" in text and "were removed on" in text
    assert "What changes on the list" in text and "not ended" not in text


def test_what_house_keeping_has_removed_is_told(call, run, ledger, place):
    load = run()
    run_place = run_path(load.dag_id, load.run_id, "")
    for step, kept in (("plan", "working"), ("outcomes", "rejects")):
        RunFolder(run_place + step).remove()
        ledger.intend_removal(Removal(run_place + step, kept, 30, 2, 9, SOURCE_TIME, None, None))
        ledger.end_removal(run_place + step, gone=True)
    code, text = call("plan", "ringcx")
    assert (
        code == 1 and "The working files of this run were removed on" in text and "`working` 30 days" in text
    )
    code, text = call("explain", "ringcx", "404")
    assert code == 1 and "Outcomes of older runs were removed on" in text
    code, text = call("explain", "+442079460000")
    assert code == 1 and "Outcomes of older runs were removed on" in text


def test_loads(call, run):
    run("r1", answers=True)
    newest = run("r2")
    code, answer = call("loads", "--json")
    assert code == 0
    assert [load["run_id"] for load in answer] == ["r2", "r1"]
    assert answer[0]["counts"] == {
        "rows_in": 5,
        "delivered": 0,
        "rejected": 2,
        "suppressed": 0,
        "held": 0,
        "uncertain": 3,
    }
    assert answer[0]["source_time"] == SOURCE_TIME.isoformat()
    assert len(call("loads", "ringcx", "--limit", "1", "--json")[1]) == 1
    code, text = call("loads", "load_other__ringcx")
    assert code == 1 and "No flow that writes to a list is called load_other__ringcx" in text
    assert newest.id in call("loads")[1]
