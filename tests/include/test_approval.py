"""Who is asked, about what, and whose word counts."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

import pytest
from pydantic import ValidationError

from include.approval import WRITES, Approval, decide, person_problem, reason_problem
from include.approval_page import approval_page
from include.flow_files.delivery import ReleasedBackfill
from include.guards import NEVER_PASSED, Refusal

SHRINK = Refusal("shrink", "The list would shrink from 20 to 13 rows.")
OLDER = Refusal("older_source", "The list already holds newer leads.")
ASK = ("never", "refused", "destructive", "always")


def decision(ask: str, *refusals: Refusal, action="apply", changes=True, destructive=False) -> str:
    return decide(
        Approval(ask=ask), action=action, refusals=refusals, changes=changes, destructive=destructive
    )


@pytest.mark.parametrize(
    ("ask", "calm", "destructive", "stopped"),
    [
        ("never", "apply", "apply", "refused"),
        ("refused", "apply", "apply", "ask"),
        ("destructive", "apply", "ask", "ask"),
        ("always", "ask", "ask", "ask"),
    ],
)
def test_when_a_person_is_asked(ask, calm, destructive, stopped):
    assert decision(ask) == calm
    assert decision(ask, destructive=True) == destructive
    assert decision(ask, SHRINK) == decision(ask, SHRINK, destructive=True) == stopped


@pytest.mark.parametrize("guard", sorted(NEVER_PASSED))
def test_nobody_is_asked_to_pass_what_may_not_be_passed(guard):
    for ask, others in itertools.product(ASK, [(), (SHRINK,)]):
        assert decision(ask, *others, Refusal(guard, "no")) == "refused"


def test_the_guards_that_may_not_be_passed():
    overwrite, twice = (
        {"older_source", "paused"},
        {"unresolved_load", "unfinished_load", "keys_lost", "no_list"},
    )
    assert overwrite | twice <= NEVER_PASSED
    assert SHRINK.passable and not OLDER.passable


@pytest.mark.parametrize("ask", ASK)
def test_who_only_plans_asks_nobody(ask):
    for refusals in ([], [SHRINK], [OLDER]):
        assert decision(ask, *refusals, action="plan") == "plan_only"


@pytest.mark.parametrize("ask", ASK)
def test_nobody_is_asked_to_send_nothing(ask):
    assert decision(ask, changes=False, destructive=True) == "apply"
    assert decision(ask, SHRINK, changes=False) == "refused"


def test_by_default_nothing_is_asked_when_nothing_is_stopped():
    default = Approval()
    assert (default.ask, default.by, default.own_runs, default.timeout_hours) == ("refused", (), False, 12)
    assert decide(default, action="apply", refusals=[], changes=True, destructive=True) == "apply"


def test_what_may_be_written_is_what_was_decided_so():
    assert decision("never") in WRITES and decision("always") in WRITES
    assert decision("never", SHRINK) not in WRITES
    assert decision("always", action="plan") not in WRITES
    assert "unchanged" not in WRITES


def test_how_long_an_answer_is_waited_for():
    assert Approval().timeout == timedelta(hours=12)
    assert Approval(timeout_hours=0.5).timeout == timedelta(minutes=30)
    assert Approval(timeout_hours=168).timeout == timedelta(days=7)
    for wrong in (0, 168.5):
        with pytest.raises(ValidationError, match="timeout_hours"):
            Approval(timeout_hours=wrong)


def test_names_of_people():
    assert Approval(by=(" a ", "x" * 250)).by == ("a", "x" * 250)
    for wrong in ("", "  ", "x" * 251):
        with pytest.raises(ValidationError):
            Approval(by=(wrong,))


def test_whose_word_counts():
    default = Approval()
    assert person_problem(default, "ana", "ben") is None
    assert person_problem(default, None, "ben") is None
    assert "ana started this run" in str(person_problem(default, "ana", "ana"))
    assert person_problem(Approval(own_runs=True), "ana", "ana") is None
    for nobody in (None, ""):
        assert "Nobody is named" in str(person_problem(Approval(own_runs=True), "ana", nobody))


def test_who_is_asked():
    few = Approval(by=["ana", "ben"])
    assert few.askable("ana") == ("ben",) and few.askable(None) == few.askable("cora") == ("ana", "ben")
    assert Approval(by=["ana", "ben"], own_runs=True).askable("ana") == ("ana", "ben")
    assert Approval().askable("ana") == ()


@pytest.mark.parametrize(("why", "good"), [("", False), ("ok", False), ("yes", True), ("counted", True)])
def test_a_plan_that_a_guard_stopped_needs_a_reason(why, good):
    assert (reason_problem({"refusals": [SHRINK.__dict__]}, why) is None) == good
    assert reason_problem({"refusals": []}, why) is None


@pytest.mark.parametrize(
    "wrong", [{"ask": "sometimes"}, {"timeout_hours": 0}, {"by": [""]}, {"timeout": 3}, {"own_runs": "perhaps"}]
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        Approval(**wrong)


def test_a_backfill_is_released_by_night_and_until_a_day():
    released = ReleasedBackfill(first_night="2026-11-01", last_night="2026-11-03", until="2026-11-20")
    day = date(2026, 11, 20)
    nights = ["2026-10-31", "2026-11-01", "2026-11-03", "2026-11-04"]
    assert [released.covers(night, day) for night in nights] == [False, True, True, False]
    assert not released.covers("2026-11-01", date(2026, 11, 21))
    with pytest.raises(ValidationError, match="must not be before"):
        ReleasedBackfill(first_night="2026-11-03", last_night="2026-11-01", until="2026-11-20")


# The page


def a_plan(**changes):
    return {
        "flow": "nightly",
        "list": "Nightly callers",
        "mode": "REPLACE",
        "night": "2026-11-20",
        "source_time": "2026-11-21T05:00:00+00:00",
        "hash": "c0ffee" * 10,
        "decision": "ask",
        "to_send": 1300,
        "now": 2000,
        "after": 1300,
        "added": 100,
        "removed": 800,
        "changed": 7,
        "unchanged": 1193,
        "rows_in": 1400,
        "decided": {"rejected": {"not_ten_digits": 100}},
        "held": {},
        "samples": [{"row_key": "1001", "phone": "…07"}],
        "refusals": [SHRINK.__dict__],
        "suppression": [],
        "changes": {},
        **changes,
    }


def test_the_page_shows_all_that_is_needed_to_decide():
    page = approval_page(a_plan(), Approval(by=["ana", "ben", "cora"]), "ana")
    assert page.subject == "Replace the list Nightly callers by 1,300 rows?"
    body = page.body
    assert "A guard stopped this plan" in body and "from 20 to 13 rows" in body
    assert "| 2,000 | 1,300 | 100 | 800 | 7 | 1,193 | 1,300 |" in body
    assert "`not_ten_digits`" in body and "`1001` …07" in body
    assert "`ana` started this run" in body and "May answer: `ben`, `cora`." in body
    assert "no answer within 12 hours" in body and "c0ffee" * 10 in body
    assert "not_approved" not in body, "nothing is held before the answer"


def test_a_page_without_a_refusal_says_why_it_asks():
    page = approval_page(a_plan(refusals=[]), Approval(ask="always", own_runs=True), "ana")
    assert "`approval.ask: always`" in page.body and "started this run" not in page.body


@pytest.mark.parametrize(
    "change", [{"hash": "decaf"}, {"to_send": 1301}, {"now": 2001}, {"refusals": []}, {"list": "Other"}]
)
def test_what_reads_differently_is_another_page(change):
    default = Approval()
    assert approval_page(a_plan(), default, None).digest == approval_page(a_plan(), default, None).digest
    assert (
        approval_page(a_plan(**change), default, None).digest != approval_page(a_plan(), default, None).digest
    )
