"""The erasure of a customer (contract case 31): everything of that person goes, and may come in again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.waiting import STILL


def erase(platform, **who):
    answer = platform.send("DELETE", "/customer", **who)
    assert answer.status_code == 200, answer.text
    return {part: told["deleted"] for part, told in answer.json().items()}


NOTHING = {"callData": 0, "emailData": 0, "leadData": 0}


def caller(platform):
    """Find a call that was recorded, its lead's only one."""
    calls = platform.get("/activities", activityType="call.outbound").json()["items"]
    return next(call["data"] for call in calls if call["data"]["recordingMetadata"])


def test_case_31_by_phone(platform, sandbox):
    call = caller(platform)
    lead_id, number = call["leadId"], call["phoneNumber"]
    other = platform.create(phone3=f"+1 {number[:3]} {number[3:]}")  # the same number in another spelling
    calls = len(platform.items("/dialler", leadId=lead_id))
    before = sandbox.state("platform")["counts"]
    told = erase(platform, phoneNumber=f"+1{number}")
    assert told["emailData"] == 0
    assert told["leadData"] >= 2
    assert told["callData"] >= calls > 0
    for gone in (lead_id, other):
        assert platform.get(f"/leads/{gone}").status_code == 404
        assert platform.items("/dialler", leadId=gone) == platform.items("/activities", leadId=gone) == []
    assert platform.get(f"/dialler/{call['attemptId']}").status_code == 404
    assert platform.get(f"/activities/{call['activityId']}").status_code == 404
    after = sandbox.state("platform")["counts"]
    assert before["leads"] - after["leads"] == told["leadData"]
    assert before["activities"] - after["activities"] == told["callData"]
    assert erase(platform, phoneNumber=number) == NOTHING


def test_a_recording_tells_that_it_was_erased(platform, sandbox):
    call = caller(platform)
    media_id = call["recordingMetadata"]["mediaId"]
    assert platform.get(f"/media/{media_id}").status_code == 200
    sandbox.clock(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), speed=STILL)
    erase(platform, phoneNumber=call["phoneNumber"])
    told = platform.get(f"/media/{media_id}/recording").json()
    assert (told["deleted"], told["deletedBy"], told["deletionReason"]) == (
        True,
        1059,
        "Customer details deleted",
    )
    assert told["deletedTimestamp"] == "2030-01-01T22:04:05-05:00"
    assert platform.get(f"/media/{media_id}").status_code == 404


def test_case_31_by_mail(tenant):
    theirs = tenant.create(leadData={"Email": "Jane.Doe@example.com"}, phone1="+12025550123")
    mine = tenant.create(leadData={"email": "joe@example.com", "note": "jane.doe@example.com"})
    mails = tenant.items("/activities", activityType="email.inbound")
    assert [mail["data"]["source"] for mail in mails] == ["Jane.Doe@example.com", "joe@example.com"]
    assert tenant.get(f"/activities/{mails[0]['data']['activityId']}").json() == mails[0]
    assert erase(tenant, emailAddress="jane.doe@EXAMPLE.com") == {
        "callData": 0,
        "emailData": 1,
        "leadData": 1,
    }
    assert tenant.get(f"/leads/{theirs}").status_code == 404
    assert tenant.get(f"/leads/{mine}").status_code == 200
    assert tenant.items("/activities", activityType="email.inbound") == mails[1:]
    assert erase(tenant, emailAddress="jane.doe@example.com") == NOTHING


def test_by_both(tenant):
    tenant.create(leadData={"email": "jane@example.com"})
    tenant.create(phone2="+12025550123")
    tenant.create(phone2="+12025550124")
    told = erase(tenant, phoneNumber="2025550123", emailAddress="jane@example.com")
    assert told == {"callData": 0, "emailData": 1, "leadData": 2}


@pytest.mark.parametrize("who", [{}, {"phoneNumber": ""}, {"emailAddress": "null"}])
def test_case_31_by_nothing(tenant, who):
    assert tenant.send("DELETE", "/customer", **who).status_code == 400
    assert len(tenant.items("/leads")) == 10


@pytest.mark.parametrize("number", ["nobody", "+", "-"])
def test_a_number_without_digits_is_nobodys(platform, number):
    assert erase(platform, phoneNumber=number) == NOTHING  # some leads have a blank number


def test_a_caller_of_ours_is_erased_too(tenant):
    assert erase(tenant, phoneNumber="8005550103") == {"callData": 1, "emailData": 0, "leadData": 0}
    assert tenant.get("/activities/113").status_code == 404
    assert 113 not in [item["data"]["activityId"] for item in tenant.items("/activities", campaignId=2)]
    assert tenant.get("/media/7003").status_code == tenant.get("/media/7003/voicemail").status_code == 404
    assert tenant.get("/media/5303/recording").json()["deleted"] is True


def test_erased_leads_come_in_again_when_switched(tenant, small):
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    small.clock(now)
    next_night = now + timedelta(hours=12)
    small.switch("platform", erased_come_back_at=next_night.isoformat())
    first = tenant.create(phone1="+12025550123", customerKey="K", leadData={"a": 1})
    assert erase(tenant, phoneNumber="2025550123")["leadData"] == 1
    assert tenant.items("/leads", customerKey="K") == []
    small.clock(next_night - timedelta(seconds=30))
    assert tenant.items("/leads", customerKey="K") == []
    small.clock(next_night)
    (again,) = tenant.items("/leads", customerKey="K")
    assert again["leadId"] > first
    assert again["phones"][0]["phoneNumber"] == "+12025550123"
    assert datetime.fromisoformat(again["timestamps"]["uploaded"]) == next_night
    window = {"uploadedTimestampFrom": next_night.isoformat(), "listId": 300}
    assert tenant.items("/leads", **window) == [again]


def test_a_lead_comes_in_again_as_if_nobody_had_called_it(platform, sandbox):
    sandbox.switch("platform", erased_come_back_at="2020-01-01T00:00:00Z")
    call = caller(platform)
    key = platform.get(f"/leads/{call['leadId']}").json()["customerKey"]
    erase(platform, phoneNumber=call["phoneNumber"])
    again = platform.items("/leads", customerKey=key)[-1]
    assert (again["lastStatusCode"], again["agentId"], again["completed"]) == (None, None, False)
    assert (again["timestamps"]["lastAttempt"], again["timestamps"]["nextAttempt"]) == (None, None)
    assert [phone["dialAttempts"] for phone in again["phones"]] == [0] * len(again["phones"])


def test_a_time_that_is_past_brings_them_back_at_once(tenant, small):
    small.switch("platform", erased_come_back_at="2020-01-01T00:00:00Z")
    tenant.create(phone1="+12025550123", customerKey="K")
    erase(tenant, phoneNumber="2025550123")
    assert len(tenant.items("/leads", customerKey="K")) == 1
