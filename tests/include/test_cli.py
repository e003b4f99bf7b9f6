"""The commands, on a real ledger and real run folders: what they say, what they change, how they end."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from include import cli
from include.flow_files import PureCallerIdFlow, read_flow_file
from include.guards import GuardLimits
from include.leads.clean import clean
from include.leads.schema import LEAD_COLUMNS
from include.ledger import BatchPlan, Counts, Ledger, Removal
from include.outcomes import write_outcomes
from include.plan import HELD_REASON, Before, make_plan
from include.staging import Manifest, RunFolder, run_path

ROOT = Path(__file__).parents[2]
NIGHT = "2026-11-20"
SOURCE_TIME = datetime(2026, 11, 21, 5, tzinfo=UTC)
WHO = ["--who", "Ana", "--why", "counted them in the dialer"]
SOURCE = "kind: pull_platform_leads\nname: callers\n"
FLOW = """
kind: load_purecallerid
name: ringcx
source: callers
dialer: ringcx
campaign: 64be
list: RingCX nightly
mode: APPEND
dedupe: RING_REMOVE_FROM_LIST
released: true
columns:
  - {to: leadPhone, from: phone}
"""
TARGET = "purecallerid:64be:RingCX nightly"
PHONES = {"1": "2012000001", "2": "2012000002", "3": "", "4": "2012000001", "5": "2012000005"}
"""Row key -> number: row 3 has none, rows 1 and 4 share one."""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Flow files, staging and ledger of this test alone."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "callers.yaml").write_text(SOURCE)
    (tmp_path / "flows" / "ringcx.yaml").write_text(FLOW)
    monkeypatch.setenv("LISTKEEPER_FLOWS", str(tmp_path / "flows"))
    monkeypatch.setenv("LISTKEEPER_STAGING", str(tmp_path / "staging"))
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    return tmp_path


@pytest.fixture
def ledger(place):
    with Ledger(f"sqlite:///{place / 'ledger.db'}") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def run(ledger):
    """Make a run as the DAG does, by hand: snapshot, clean, plan, load, outcomes. The vendor never answers."""

    def make(run_id="r1", *, refused=False, answers=False, breaks_off=None):
        """Make one run. `breaks_off` is the moment at which it is gone for ever: before, while or after sending."""
        flow = read_flow_file(Path(os.environ["LISTKEEPER_FLOWS"]) / "ringcx.yaml")
        assert isinstance(flow, PureCallerIdFlow)
        snapshot = RunFolder(f"snapshots/callers/{NIGHT}/{run_id}")
        leads = pl.DataFrame(
            {"row_key": list(PHONES), "phone1": list(PHONES.values()), "data": ["{}"] * len(PHONES)}
        )
        with snapshot.writing() as scratch:
            pl.concat([pl.DataFrame(schema=LEAD_COLUMNS), leads], how="diagonal").write_parquet(
                scratch / "part-00000.parquet"
            )
            pl.DataFrame(
                [("9", "rejected", "source_unreadable", "leadId: is missing", None)],
                schema=["row_key", "state", "reason", "detail", "batch"],
                orient="row",
            ).write_parquet(scratch / "outcomes-00000.parquet")
            snapshot.commit(scratch, Manifest("snapshot", len(PHONES), SOURCE_TIME, NIGHT))

        def step(name):
            return RunFolder(run_path(flow.dag_id, run_id, name))

        cleaned, planned, ended, reported = map(step, ("clean", "plan", "outcomes", "report"))
        with snapshot.reading("part-*") as parts, cleaned.writing() as scratch:
            result = clean(parts, flow.clean, scratch, base=ROOT)
            cleaned.commit(scratch, Manifest("clean", result.kept))
        with cleaned.reading("kept-*") as kept, planned.writing() as scratch:
            plan = make_plan(
                kept,
                flow.recipe,
                Before(),
                scratch,
                subject={
                    "flow": flow.name,
                    "vendor": flow.vendor,
                    "target": flow.target,
                    "list": flow.list,
                    "mode": flow.mode,
                    "night": NIGHT,
                },
                cleaned={
                    "rows_in": result.rows_in,
                    "decided": result.outcomes,
                    "changes": result.changes,
                    "suppression": [],
                },
                source_time=SOURCE_TIME,
                action="apply",
                limits=GuardLimits(),
                now=SOURCE_TIME + timedelta(hours=48 if refused else 1),
            )
            planned.commit(scratch, Manifest("plan", plan["to_send"]))
        load = ledger.open_load(
            flow=flow.name,
            vendor=flow.vendor,
            dag_id=flow.dag_id,
            run_id=run_id,
            target=flow.target,
            night=NIGHT,
            source_time=SOURCE_TIME,
            snapshot=snapshot.path,
            plan_hash=plan["hash"],
            mode="plan" if refused else "apply",
            requested_by=None,
            reason=None,
            rows_in=result.rows_in,
        )
        sent = plan["to_send"]
        if breaks_off == "before":
            return load
        if not refused:
            ledger.claim_target(load.id, timedelta(hours=1))
            ledger.plan_batches(load.id, [BatchPlan(1, sent, plan["payload_sha256"])])
            ledger.intend(load.id, 1)
            if breaks_off == "while":
                return load
            if answers:
                counts = {"total": sent, "valid": sent}
                ledger.settle(
                    load.id, 1, "confirmed", delivered=sent, rejected=0, uncertain=0, vendor_counts=counts
                )
            else:
                ledger.settle(
                    load.id, 1, "uncertain", delivered=0, rejected=0, uncertain=sent, vendor_counts={}
                )
            ledger.release_target(load.id)
        if breaks_off == "after":
            return load
        with ended.writing() as scratch:
            written = write_outcomes(
                scratch,
                snapshot=snapshot,
                clean=cleaned,
                plan=planned,
                batches=ledger.batches(load.id),
                held_reason=HELD_REASON[plan["decision"]],
            )
            ended.commit(scratch, Manifest("outcomes", sum(written.by_state.values())))
        state = "refused" if refused else "done" if answers else "uncertain"
        counts = Counts(rows_in=result.rows_in, **written.by_state)
        ledger.finish_load(load.id, state=state, counts=counts, verdict=state)
        with reported.writing() as scratch:
            (scratch / "summary.json").write_text(json.dumps({"verdict": state, **counts.to_dict()}))
            reported.commit(scratch, Manifest("report", 0))
        return load

    return make


@pytest.fixture
def call(capsys):
    """Run a command; returns its exit code and what it printed, read when it is JSON."""

    def called(*words):
        code = cli.main([str(word) for word in words])
        text = capsys.readouterr().out
        return code, json.loads(text) if "--json" in words else text

    return called


def test_flows(call):
    code, answer = call("flows", "--json")
    assert code == 0
    assert answer["flows"] == [
        {
            "kind": "pull_platform_leads",
            "name": "callers",
            "dag_id": "pull_platform_leads__callers",
            "target": None,
            "released": None,
        },
        {
            "kind": "load_purecallerid",
            "name": "ringcx",
            "dag_id": "load_purecallerid__ringcx",
            "target": TARGET,
            "released": True,
        },
    ]
    assert TARGET in call("flows")[1]


def test_a_broken_flow_is_listed(call, place):
    (place / "flows" / "more.yaml").write_text(FLOW.replace("ringcx\nsource", "more\nsauce"))
    code, answer = call("flows", "--json")
    assert code == 1
    assert len(answer["flows"]) == 2
    assert answer["broken"][0]["dag_id"] == "load_purecallerid__more"
    assert "more.yaml cannot be used" in call("flows")[1]


def test_good_files(call, place):
    assert call("validate") == (0, "2 flow files are good.\n")
    assert call("validate", place / "flows" / "ringcx.yaml")[0] == 0


def test_every_problem_has_a_file_a_key_and_a_rule(call, place):
    flows = place / "flows"
    (flows / "a.yaml").write_text(FLOW.replace("APPEND", "REPLACE").replace("name: ringcx", "name: a"))
    (flows / "b.yaml").write_text("kind: load_purecallerid\n- so")
    (flows / "c.yaml").write_text(
        FLOW.replace("callers", "nobody")
        .replace("ringcx\nsource", "c\nsource")
        .replace("list: RingCX nightly", "list: RingCX weekend")
    )
    (flows / "d.yaml").write_text("- a list")
    (flows / "z.yaml").write_text(FLOW)
    code, answer = call("validate", "--json")
    assert code == 1
    assert answer["files"] == 7
    found = {(p["file"], p["key"]): p["rule"] for p in answer["problems"]}
    assert set(found) == {
        ("a.yaml", "mode"),
        ("b.yaml", "line 2"),
        ("c.yaml", "source"),
        ("d.yaml", "the file"),
        ("z.yaml", "name"),
    }
    assert "RingCX lists can only be appended to" in found["a.yaml", "mode"]
    assert "already defines load_purecallerid__ringcx" in found["z.yaml", "name"]
    assert "c.yaml: source: no file defines the source nobody" in call("validate")[1]


def test_files_may_be_named_by_their_folder(call, place):
    assert call("validate", str(place / "flows"))[1] == call("validate")[1]
    assert call("validate", str(place / "flows" / "ringcx.yaml"))[1].strip() == "The flow file is good."


def test_a_file_that_is_not_there(call):
    code, text = call("validate", "missing.yaml")
    assert code == 1
    assert "missing.yaml" in text
    assert "cannot be read" in text


def test_the_newest_plan_of_a_flow(call, run):
    run("r1")
    load = run("r2")
    code, answer = call("plan", "ringcx", "--json")
    assert (code, answer["load"], answer["plan"]["to_send"]) == (0, load.id, 3)
    assert call("plan", "load_purecallerid__ringcx", "--json")[1]["load"] == load.id
    assert call("plan", "load_purecallerid__ringcx", "r1", "--json")[1]["run_id"] == "r1"
    assert "What changes on the list" in call("plan", "ringcx")[1]


def test_a_refused_plan_is_not_good(call, run):
    run(refused=True)
    code, text = call("plan", "ringcx")
    assert code == 1
    assert "48.0 hours old" in text


def test_a_plan_that_is_not_there(call, run):
    assert call("plan", "ringcx")[0] == 1  # not even a ledger
    run()
    assert call("plan", "load_purecallerid__ringcx", "r9")[0] == 1
    assert call("plan", "load_other__ringcx")[0] == 1


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


def test_resolve_lets_the_list_be_loaded_again(call, run, ledger):
    load = run()
    assert [open_load.id for open_load in ledger.unresolved(TARGET)] == [load.id]
    code, answer = call("resolve", load.id, "--delivered", *WHO, "--json")
    assert (code, answer["state"], answer["counts"]["delivered"]) == (0, "done", 3)
    assert ledger.unresolved(TARGET) == []
    applied = RunFolder(ledger.target(TARGET).applied)
    assert "keys.parquet" in applied.manifest().files, "the next plan must know what is on the list"
    assert call("explain", "ringcx", "4", "--json")[1][0]["since"] == "resolved as delivered"
    assert "Since then the load was resolved as delivered." in call("explain", "ringcx", "4")[1]


def test_resolve_takes_the_first_eight_characters(call, run, ledger):
    load = run()
    code, text = call("resolve", load.id[:7], "--delivered", *WHO)
    assert code == 1 and "knows no load" in text, "seven are too few"
    code, answer = call("resolve", load.id[:8], "--delivered", *WHO, "--json")
    assert (code, answer["id"], answer["state"]) == (0, load.id, "done")


def test_resolve_as_not_delivered(call, run, ledger):
    load = run()
    code, text = call("resolve", load.id, "--not-delivered", *WHO)
    assert code == 0
    assert "resolved as not delivered" in text
    assert ledger.load(load.id).counts == Counts(5, rejected=5)
    assert ledger.target(TARGET).applied is None


def test_resolve_refuses_what_is_not_uncertain(call, run):
    load = run(answers=True)
    code, text = call("resolve", load.id, "--delivered", *WHO)
    assert code == 1
    assert "is done, not uncertain" in text
    assert call("resolve", "nobody", "--delivered", *WHO, "--json")[0] == 1


@pytest.mark.parametrize(
    ("word", "counts"),
    [("--delivered", Counts(5, delivered=3, rejected=2)), ("--not-delivered", Counts(5, rejected=5))],
)
def test_a_load_whose_run_is_gone_can_be_resolved(call, run, ledger, word, counts):
    load = run(breaks_off="after")
    assert ledger.load(load.id).state == "open"
    code, answer = call("resolve", load.id, word, *WHO, "--json")
    assert (code, Counts(**answer["counts"])) == (0, counts)
    assert ledger.unresolved(TARGET) == [] and ledger.holding().unfinished == ()
    assert RunFolder(run_path(load.dag_id, load.run_id, "outcomes")).manifest().rows == 5
    assert (ledger.target(TARGET).applied is None) == (word == "--not-delivered")
    assert ledger.verify() == []


def test_a_load_that_is_sure_of_its_rows_only_needs_its_end(call, run, ledger):
    load = run(answers=True, breaks_off="after")
    assert call("resolve", load.id, "--delivered", *WHO)[0] == 0
    assert ledger.load(load.id).counts == Counts(5, delivered=3, rejected=2)
    assert ledger.target(TARGET).applied_rows == 3, "the next plan must know what is on the list"


def test_a_load_at_work_is_not_resolved(call, run, ledger):
    load = run(breaks_off="while")
    code, text = call("resolve", load.id, "--delivered", *WHO)
    assert code == 1 and "is at work and holds its list until" in text
    assert ledger.load(load.id).counts is None


def test_of_a_load_that_sent_nothing_nothing_was_delivered(call, run, ledger):
    load = run(breaks_off="before")
    code, text = call("resolve", load.id, "--delivered", *WHO)
    assert code == 1 and "only --not-delivered can be true" in text
    assert ledger.load(load.id).state == "open"
    assert call("resolve", load.id, "--not-delivered", *WHO)[0] == 0
    assert ledger.load(load.id).counts == Counts(5, rejected=2, held=3)
    assert ledger.holding().unfinished == ()


def test_pause_and_resume_by_flow_and_by_key(call, run, ledger):
    run()
    assert call("pause", "ringcx", *WHO)[0] == 0
    assert ledger.target(TARGET).paused_why == "counted them in the dialer"
    code, answer = call("resume", TARGET, *WHO, "--json")
    assert (code, answer["paused"]) == (0, False)
    assert ledger.head().count == 2
    code, text = call("pause", "nobody", *WHO)
    assert code == 1
    assert "No flow, list or vendor is called nobody" in text and "purecallerid" in text
    assert [target.key for target in ledger.targets()] == [TARGET], "a slip of the pen pauses nothing"


def test_a_flow_can_be_paused_before_its_first_load(call, ledger):
    assert call("pause", "ringcx", *WHO)[0] == 0
    assert ledger.target(TARGET).paused


def test_pause_and_resume_a_whole_vendor(call, run, ledger):
    run()
    code, text = call("pause", "purecallerid", *WHO)
    assert (code, text.strip()) == (
        0,
        "Everything that goes to purecallerid is paused: nothing is sent to it.",
    )
    assert [pause.vendor for pause in ledger.paused_vendors()] == ["purecallerid"]
    code, answer = call("resume", "purecallerid", *WHO, "--json")
    assert (code, answer["vendor"], answer["paused"]) == (0, "purecallerid", False)
    assert ledger.paused_vendors() == [] and ledger.head().count == 2


def test_verify(call, run, ledger, place):
    run()
    call("pause", "ringcx", *WHO)
    code, answer = call("verify", "--json")
    assert (code, answer["problems"]) == (0, [])
    assert call("verify", "--head", answer["head"])[0] == 0
    assert call("verify", "--head", "9" + answer["head"])[0] == 1
    with sqlite3.connect(place / "ledger.db") as database:
        database.execute("UPDATE evidence SET body = replace(body, 'Ana', 'Eve')")
    code, text = call("verify")
    assert code == 1
    assert "record 1: changed" in text


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["plan"],
        ["plan", "a", "b", "c"],
        ["resolve", "x", *WHO],
        ["resolve", "x", "--delivered", "--not-delivered", *WHO],
        ["resolve", "x", "--delivered", "--who", " ", "--why", "y"],
        ["pause", "x", "--who", "Ana"],
        ["verify", "--head", "12"],
        ["loads", "--limit", "0"],
    ],
)
def test_a_wrong_command_line_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert "usage: listkeeper" in capsys.readouterr().err


def test_no_ledger_is_said_and_none_is_made(call, place):
    code, answer = call("loads", "--json")
    assert code == 1
    assert "There is no ledger at" in answer["error"]
    assert not (place / "ledger.db").exists()


def test_a_database_that_does_not_answer_tells_no_address(call, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_LEDGER", "postgres://lk:secret@127.0.0.1:9/ledger")
    code, text = call("loads")
    assert code == 1
    assert "cannot be used" in text
    assert "secret" not in text
    assert "127.0.0.1" not in text


def test_the_script_works_from_any_folder(run, tmp_path):
    load = run()
    done = subprocess.run(
        [ROOT / ".venv" / "bin" / "listkeeper", "loads", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["id"] == load.id
