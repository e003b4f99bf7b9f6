"""The Platform API's contract cases that concern reading, by their number in the contract (section 8)."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

import pytest

from include.sandbox.history import DELETED_RECORDING
from include.sandbox.platform_calls import RECORDING

OPERATIONS = [
    ("GET", "/activities"), ("GET", "/activities/110"), ("GET", "/campaign/1/statistics/outbound"),
    ("GET", "/campaign/2/statistics/inbound"), ("GET", "/media/5300"), ("GET", "/media/7003/voicemail"),
    ("GET", "/media/5300/recording"), ("GET", "/leads"), ("POST", "/leads"), ("GET", "/leads/lists"),
    ("POST", "/leads/lists"), ("GET", "/leads/bulk/{uuid}"), ("GET", "/leads/bulk/{uuid}/errors"),
    ("GET", "/leads/lists/100"), ("GET", "/leads/100001"), ("PUT", "/leads/100001"), ("DELETE", "/leads/100001"),
    ("POST", "/leads/bulk"), ("DELETE", "/customer"), ("GET", "/dialler/{attempt}"), ("GET", "/dialler"),
    ("GET", "/users"), ("PUT", "/availability"), ("POST", "/availability"),
]  # fmt: skip
BODIES = {
    ("POST", "/leads"): {"listId": 300},
    ("POST", "/leads/lists"): {"listName": "New", "campaignId": 1},
    ("PUT", "/leads/100001"): {"statusCode": 2},
    ("POST", "/leads/bulk"): {"leads": [{"listId": 300}]},
    ("PUT", "/availability"): {"agentId": 1001, "available": True},
    ("POST", "/availability"): {"agentId": 1001, "available": True},
}


def call(platform, method, path, end=""):
    """Call an operation so that it works."""
    if "{uuid}" in path:
        uuid = platform.send("POST", "/leads/bulk", {"leads": [{"listId": 300}]}).json()["uuid"]
        path = path.replace("{uuid}", uuid)
    elif "{attempt}" in path:
        path = f"/dialler/{platform.get('/dialler').json()['items'][0]['attemptId']}"
    params = {"phoneNumber": "2025550123"} if path == "/customer" else {}
    return platform.send(method, path + end, BODIES.get((method, path)), **params)


def test_there_are_23_operations(sandbox):
    names = {route.name for route in sandbox.sandbox.platform.routes()}
    assert len(names) == 23
    assert len(OPERATIONS) == 23 + 1  # availability takes two methods


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_case_1_token(platform, method, path):
    assert call(platform, method, path).is_success
    path = path.replace("{uuid}", "x").replace("{attempt}", "1")
    platform.http.headers["Authorization"] = "Bearer wrong"
    wrong = platform.send(method, path, BODIES.get((method, path)))
    assert (wrong.status_code, set(wrong.json())) == (401, {"message", "errors"})
    del platform.http.headers["Authorization"]
    assert platform.send(method, path).status_code == 401


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_trailing_slash_is_optional_and_never_redirects(platform, method, path):
    answer = call(platform, method, path, end="/")
    assert answer.is_success
    assert not answer.history


def test_another_method_answers_405(platform, sandbox):
    assert platform.send("PATCH", "/leads/100001").status_code == 405
    assert platform.send("DELETE", "/leads").status_code == 405


def test_case_2_activities_come_in_three_pages(platform):
    pages = platform.pages("/activities", createdTimestampTo=the_250th(platform))
    assert [len(page["items"]) for page in pages] == [100, 100, 50]
    assert [bool(page["metadata"]["nextUri"]) for page in pages] == [True, True, False]
    assert pages[0]["metadata"]["nextUri"].startswith("/platform-api/v3.0/activities?createdTimestampTo=")
    ids = [item["data"]["activityId"] for page in pages for item in page["items"]]
    assert len(set(ids)) == 250 and ids == sorted(ids)


def the_250th(platform):
    """When the 250th activity of the tenant was."""
    times = sorted(
        (item["data"]["timestamps"]["created"] for item in platform.items("/activities")),
        key=datetime.fromisoformat,
    )
    assert times[249] != times[250]
    return times[249]


def test_case_3_filters_hold_and_stay_in_next_uri(platform, sandbox):
    sandbox.switch("platform", page_size=1000)
    times = sorted(
        (item["data"]["timestamps"]["created"] for item in platform.items("/activities")),
        key=datetime.fromisoformat,
    )
    start, end = times[-2_000], times[-100]
    sandbox.switch("platform", page_size=100)
    pages = platform.pages(
        "/activities",
        campaignId=1, activityType="call.outbound", createdTimestampFrom=start, createdTimestampTo=end,
    )  # fmt: skip
    items = [item for page in pages for item in page["items"]]
    assert "campaignId=1&activityType=call.outbound&createdTimestampFrom=" in pages[0]["metadata"]["nextUri"]
    assert {(item["type"], item["data"]["campaignId"]) for item in items} == {("call.outbound", 1)}
    assert all(start <= item["data"]["timestamps"]["created"] <= end for item in items)
    assert len(pages) > 3
    assert len(items) < len(platform.items("/activities", createdTimestampFrom=start, createdTimestampTo=end))


@pytest.mark.parametrize("cursor", ["nonsense", "YWZ0ZXI6eDow", "%ff"])
@pytest.mark.parametrize("path", ["/activities", "/leads", "/leads/lists", "/dialler", "/users"])
def test_case_4_bad_cursor(platform, path, cursor):
    answer = platform.get(path, cursor=cursor)
    assert answer.status_code == 400
    assert "cursor" in answer.json()["errors"]


def test_case_5_activity(platform):
    called = platform.items("/activities", activityType="call.outbound", leadId=answered(platform))[-1]
    outbound = platform.get(f"/activities/{called['data']['activityId']}").json()
    assert outbound == called
    inbound = platform.get("/activities/113").json()
    assert (inbound["type"], outbound["type"]) == ("call.inbound", "call.outbound")
    assert set(inbound["data"]["durations"]) == {"ivr", "queue", "hold", "interaction", "wrap", "talk"}
    assert {"attemptId", "dialStatusId", "dialStatusName", "phoneIndex", "phoneNumber", "leadId"} <= set(
        outbound["data"]
    )
    assert platform.get("/activities/1").status_code == 404


def answered(platform):
    """Find a lead that was reached."""
    calls = platform.get("/dialler").json()["items"]
    return next(call["leadId"] for call in calls if call["dialStatusName"] == "Answered")


def test_case_6_outbound_statistics(platform):
    told = platform.get("/campaign/1/statistics/outbound").json()
    assert list(told) == [
        "campaignId", "campaignName", "agents", "isActive", "createdDate", "lastUpdated", "lists", "timestamp",
        "timezone",
    ]  # fmt: skip
    assert [each["listId"] for each in told["lists"]] == [100, 101]


@pytest.mark.parametrize(("period", "status"), [(None, 200), ("hour", 200), ("day", 200), ("week", 400)])
def test_case_7_inbound_statistics(platform, period, status):
    answer = platform.get("/campaign/2/statistics/inbound", **({"period": period} if period else {}))
    assert answer.status_code == status
    if status == 200:
        assert "period" not in answer.json()
        assert {"callsWaiting", "callsAbandonedInQueue"} <= set(answer.json())


def test_case_8_the_kind_of_campaign_decides(platform):
    assert platform.get("/campaign/2/statistics/outbound").status_code == 404
    assert platform.get("/campaign/1/statistics/inbound").status_code == 404
    assert platform.get("/campaign/9/statistics/outbound").status_code == 404


def test_case_9_media(platform):
    media = platform.get("/media/5300")
    assert (media.headers["content-type"], media.content) == ("audio/mpeg", RECORDING)
    voicemail = {"mediaId": 7003, "mediaUri": "/platform-api/v3.0/media/7003", "duration": 9}
    assert platform.get("/media/7003/voicemail").json() == voicemail
    assert platform.get("/media/5300/recording").json() == {
        "mediaId": 5300, "mediaUri": "/platform-api/v3.0/media/5300", "duration": 9, "deleted": False,
    }  # fmt: skip


def test_media_as_a_json_string(platform, sandbox):
    sandbox.switch("platform", media_as_json=True)
    media = platform.get("/media/5300")
    assert media.headers["content-type"] == "application/json"
    assert base64.b64decode(media.json()) == RECORDING


def test_case_10_deleted_recording(platform):
    told = platform.get(f"/media/{DELETED_RECORDING}/recording").json()
    assert told["deleted"] is True
    assert {"deletedTimestamp", "deletedBy", "deletionReason"} <= set(told)
    assert platform.get(f"/media/{DELETED_RECORDING}").status_code == 404


def test_case_12_lists(platform):
    lists = platform.items("/leads/lists")
    assert [each["id"] for each in lists] == [100, 101, 200, 300]
    assert platform.items("/leads/lists", campaignId=3)[0] == platform.get("/leads/lists/200").json()
    assert set(lists[0]) == {"id", "name", "campaignId", "campaignName", "inDialler", "weight", "timestamps"}
    assert [each["inDialler"] for each in lists] == [True, True, True, False]
    assert platform.get("/leads/lists", campaignId="").status_code == 400  # here it is not nullable
    assert platform.get("/leads/lists/999").status_code == 404


def test_case_17_lead_by_customer_key(platform):
    lead = platform.get("/leads/105000").json()
    assert lead in platform.items("/leads", listId=lead["listId"], customerKey=lead["customerKey"])
    assert platform.items("/leads", customerKey="nobody") == []


def test_case_18_lead_has_the_names_of_reading(platform):
    lead = platform.get("/leads/105000").json()
    assert list(lead) == [
        "leadId", "campaignId", "campaignName", "listId", "listName", "timezone", "completed", "customerKey",
        "agentId", "agentFullName", "dataFields", "lastStatusCode", "lastStatusDescription", "phones",
        "outcomeType", "outcomesInfo", "timestamps",
    ]  # fmt: skip
    assert all(set(phone) == {"phoneIndex", "phoneNumber", "dialAttempts"} for phone in lead["phones"])
    assert set(lead["timestamps"]) == {"uploaded", "lastAttempt", "nextAttempt"}
    assert platform.get("/leads/1").status_code == 404


def test_case_32_dialler(platform):
    lead = answered(platform)
    calls = platform.items("/dialler", leadId=lead)
    call = platform.get(f"/dialler/{calls[-1]['attemptId']}").json()
    assert call == calls[-1]
    assert list(call) == [
        "attemptId", "dialStatusId", "dialStatusName", "phoneIndex", "phoneNumber", "leadId", "timestamps", "type",
        "campaignId", "campaignName", "activityId", "parentActivityId", "rootActivityId",
    ]  # fmt: skip
    assert (call["leadId"], call["dialStatusName"]) == (lead, "Answered")
    assert platform.get("/dialler/999").status_code == 404
    campaign = platform.get("/dialler", campaignId=3).json()["items"]
    assert {each["campaignId"] for each in campaign} == {3}


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({"userType": "agent", "accountActive": "true"}, [1001, 1002, 1003]),
        ({"accountActive": "false"}, [1004]),
        ({"userType": "user"}, [1051, 1059]),
        ({"userType": "null", "accountActive": ""}, [1001, 1002, 1003, 1004, 1051, 1059]),
    ],
)
def test_case_33_users(platform, asked, ids):
    assert [user["userId"] for user in platform.items("/users", **asked)] == ids


def test_case_35_rate_limit(platform, sandbox):
    sandbox.fault("platform", "status", retry_after=1)
    refused = platform.get("/leads")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert platform.get("/leads").status_code == 200


def test_case_36_uri_without_prefix(platform, sandbox):
    sandbox.switch("platform", uri_without_prefix=True)
    pages = platform.pages("/activities")
    assert pages[0]["metadata"]["nextUri"].startswith("/v3.0/activities?cursor=")
    assert len(pages) > 3
    assert platform.get("/media/5300/recording").json()["mediaUri"] == "/v3.0/media/5300"


def test_case_37_offset_without_colon(platform, sandbox):
    sandbox.switch("platform", offset_without_colon=True)
    uploaded = platform.get("/leads/105000").json()["timestamps"]["uploaded"]
    assert uploaded[-5] in "+-" and uploaded[-4:].isdigit()


# --- pages and filters of leads


def test_leads_are_walked_completely_and_once(platform, sandbox):
    sandbox.switch("platform", page_size=1000)
    leads = platform.items("/leads", listId=100)
    assert len(leads) == sandbox.info()["data"]["lists"]["100"]
    ids = [lead["leadId"] for lead in leads]
    assert ids == sorted(set(ids))
    assert {lead["listId"] for lead in leads} == {100}


def test_windows_include_both_ends(platform, sandbox):
    sandbox.switch("platform", page_size=2000)
    start = datetime.fromisoformat(sandbox.info()["data"]["night"] + "T00:00:00-05:00")
    uploaded = [
        datetime.fromisoformat(lead["timestamps"]["uploaded"])
        for lead in platform.items(
            "/leads",
            listId=100,
            uploadedTimestampFrom=start.isoformat(),
            uploadedTimestampTo=(start + timedelta(hours=1)).isoformat(),
        )
    ]
    assert min(uploaded) >= start
    assert max(uploaded) <= start + timedelta(hours=1)
    moment = platform.get("/leads/105000").json()["timestamps"]["uploaded"]
    exact = platform.items("/leads", uploadedTimestampFrom=moment, uploadedTimestampTo=moment)
    assert 105000 in [lead["leadId"] for lead in exact]


@pytest.mark.parametrize("offset", ["-05:00", "-0500", "Z"])
def test_times_are_read_in_all_spellings(platform, offset):
    assert platform.get("/leads", uploadedTimestampFrom="2020-01-01T00:00:00" + offset).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listId", "ten"),
        ("uploadedTimestampFrom", "yesterday"),
        ("uploadedTimestampTo", "2026-01-01T00:00:00"),
    ],
)
def test_bad_filters_answer_400(platform, name, value):
    answer = platform.get("/leads", **{name: value})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [name]


@pytest.mark.parametrize("path", ["/activities", "/leads", "/leads/lists", "/dialler", "/users"])
def test_no_cursor_and_null_are_the_first_page(platform, path):
    first = platform.get(path)
    for cursor in ("", "null"):
        assert platform.get(path, cursor=cursor).json() == first.json()


@pytest.mark.parametrize("value", ["1_0", "１", " 1", "+1", "1.0", "9" * 5000])
def test_an_integer_is_digits(platform, value):
    assert platform.get("/leads", listId=value).status_code == 400


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"])
def test_times_that_have_no_day_elsewhere(platform, value):
    for path, name in (("/leads", "uploadedTimestamp"), ("/dialler", "dialledTimestamp")):
        for end in ("From", "To"):
            assert platform.get(path, **{name + end: value}).status_code == 400
    answer = platform.send("POST", "/leads", {"listId": 300, "nextAttemptTimestamp": value})
    assert answer.status_code == 400
    assert platform.get("/leads", listId=300).json()["items"] == []


def test_filters_of_status_and_campaign(platform, sandbox):
    sandbox.switch("platform", page_size=2000)
    answered = platform.items("/leads", statusCode=1, campaignId=3)
    assert answered
    assert {(lead["lastStatusCode"], lead["listId"]) for lead in answered} == {(1, 200)}
