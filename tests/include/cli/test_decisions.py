"""`resolve`, `pause`, `resume` and `verify`: what they change in the ledger, and what they refuse."""

from __future__ import annotations

import sqlite3

import pytest

from include.ledger import Counts
from include.staging import RunFolder, run_path
from tests.include.cli.conftest import TARGET, WHO


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
