"""Calls and activities follow from the leads, and outcome rules find something in them."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date, datetime, timedelta

import pytest

from include.sandbox.book import LeadBook
from include.sandbox.data import ftc_leads, midnight
from include.sandbox.history import DISCONNECTED, OPT_OUT, History
from include.sandbox.synthetic import SyntheticLeads

TODAY = date(2026, 11, 21)
FTC = History(LeadBook(ftc_leads(TODAY, 1)), TODAY)
CALLS = list(FTC.attempts(0, None, None, None))


def test_every_attempted_lead_with_a_number_has_calls(platform, sandbox):
    sandbox.switch("platform", page_size=2_000)
    leads = {lead["leadId"]: lead for lead in platform.items("/leads")}
    calls = platform.items("/dialler")
    dialled = Counter(call["leadId"] for call in calls)
    told = {
        lead_id: sum(phone["dialAttempts"] for phone in lead["phones"]) for lead_id, lead in leads.items()
    }
    assert {lead_id: number for lead_id, number in told.items() if number} == dialled
    last = {call["leadId"]: call for call in calls}  # in the order of their times
    for lead_id, call in last.items():
        lead = leads[lead_id]
        assert call["timestamps"]["dialled"] == lead["timestamps"]["lastAttempt"]
        phones = {phone["phoneIndex"]: phone["phoneNumber"] for phone in lead["phones"]}
        assert call["phoneNumber"] == phones[call["phoneIndex"]]
        assert call["dialStatusId"] in (lead["lastStatusCode"], DISCONNECTED)
    attempted = [lead for lead in leads.values() if lead["timestamps"]["lastAttempt"]]
    assert 0.9 < len(last) / len(attempted) < 1  # a blank number cannot be called


def test_outcome_rules_find_something():
    dead = {call.number for call in CALLS if call.dial_status == DISCONNECTED}
    often = [lead for lead, calls in Counter(call.lead_id for call in CALLS).items() if calls >= 6]
    refused = {call.number for call in CALLS if call.wrap_code == OPT_OUT}
    recent = [call for call in CALLS if call.created >= midnight(TODAY - timedelta(days=1))]
    assert 50 < len(dead) < 400
    assert 50 < len(often) < 400
    assert 50 < len(refused) < 200
    assert 0.6 < len(recent) / len(CALLS) < 0.95
    assert len(CALLS) < 9_000


def test_only_answered_calls_have_agent_wrap_code_and_recording():
    for call in CALLS:
        parts = {call.agent_id is None, call.wrap_code is None, call.recording is None}
        assert parts == {call.dial_status != 1}
    assert Counter(call.wrap_code for call in CALLS if call.wrap_code).keys() == {1, 2, 3, 4, 5}


def test_ids_lead_back_to_their_calls():
    for call in CALLS[::97]:
        assert FTC.attempt(call.attempt_id) == FTC.activity(call.activity_id) == call
        assert call.recording is None or FTC.recorded(call.recording) == call
    assert FTC.attempt(CALLS[0].attempt_id + 8) is None
    unanswered = next(call for call in CALLS if call.recording is None)
    assert FTC.recorded(unanswered.activity_id) is None
    assert [FTC.activity(10_000), FTC.activity(109), FTC.attempt(0), FTC.attempt(-1), FTC.recorded(9)] == [
        None
    ] * 5


@pytest.mark.parametrize("after", [0, 1, 40, 120, 2_000])
def test_a_walk_goes_on_after_any_call(after):
    assert list(FTC.attempts(CALLS[after].attempt_id, None, None, None)) == CALLS[after + 1 :]
    every = list(FTC.activities(0, None, None, None))
    assert list(FTC.activities(every[after].activity_id, None, None, None)) == every[after + 1 :]


@pytest.mark.parametrize("size", [10, 5_000])
def test_a_window_of_a_synthetic_tenant_is_exact_and_cheap(size):
    history = History(LeadBook(SyntheticLeads(size, TODAY)), TODAY)
    start = midnight(TODAY) - timedelta(hours=4)
    end = start + timedelta(minutes=30)
    every = [call for call in history.attempts(0, None, None, None) if start <= call.created <= end]
    asked = [call for call in history.attempts(0, None, start, end) if start <= call.created <= end]
    assert asked == every
    assert asked


def test_synthetic_leads_are_called_too():
    leads = SyntheticLeads(10_000, TODAY)
    history = History(LeadBook(leads), TODAY)
    calls = list(history.attempts(0, None, None, None))
    assert 0.25 < len({call.lead_id for call in calls}) / 10_000 < 0.35
    assert all(leads.get(call.lead_id).uploaded < call.created <= midnight(TODAY) for call in calls)


def test_statistics_follow_the_agents_and_the_leads(platform):
    told = platform.get("/campaign/3/statistics/outbound").json()
    assert told["agents"] == {"loggedIn": 3, "available": 2, "onCall": 0, "wrapUp": 0, "paused": 1}
    renewals = [lead["completed"] for lead in platform.items("/leads", listId=200)]
    assert [each["listId"] for each in told["lists"]] == [200, 300]
    assert told["lists"][0] | {"listName": ""} == {
        "listId": 200, "listName": "", "inDialler": True, "total": len(renewals), "completed": sum(renewals),
        "remaining": len(renewals) - sum(renewals),
    }  # fmt: skip
    assert sum(renewals) > 0
    platform.create(listId=200)
    platform.send("PUT", "/availability", {"agentId": 1003, "available": True})
    told = platform.get("/campaign/3/statistics/outbound").json()
    assert (told["lists"][0]["total"], told["agents"]["available"]) == (len(renewals) + 1, 3)


def test_what_is_written_does_not_change_what_happened(platform):
    lead = platform.get("/dialler").json()["items"][0]["leadId"]
    before = platform.items("/activities", leadId=lead)
    platform.send("PUT", f"/leads/{lead}", {"phone1": "+12025550123", "statusCode": 2, "listId": 300})
    platform.send("DELETE", f"/leads/{lead}")
    assert platform.items("/activities", leadId=lead) == before != []


@pytest.mark.parametrize(
    ("changes", "form"),
    [
        ({}, r"\+|-\d\d:\d\d$"),
        ({"offset_without_colon": True}, r"[+-]\d{4}$"),
        ({"times_in_utc": True}, r"Z$"),
    ],
)
def test_times_have_three_forms(platform, sandbox, changes, form):
    sandbox.switch("platform", **changes)
    told = platform.get("/activities/110").json()["data"]["timestamps"]["created"]
    assert re.search(form, told)
    assert datetime.fromisoformat(told) == midnight(
        date.fromisoformat(sandbox.info()["data"]["night"])
    ) + timedelta(hours=9)
