"""The Platform API's contract cases that concern writing one thing at a time (11 to 22, 34)."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

NULLS = dict.fromkeys(
    ("customerKey", "timezone", "phone1", "phone2", "phone3", "nextAttemptTimestamp", "leadData", "statusCode",
     "agentId")
)  # fmt: skip
FULL = {
    "customerKey": "K-1",
    "timezone": "Australia/Sydney",
    "phone1": "+61499999999",
    "phone3": "(02) 9999-9999",
    "nextAttemptTimestamp": "2026-12-01T09:30:00+11:00",
    "leadData": {"name": "Lead", "nested": {"a": [1, None]}},
    "statusCode": 4,
    "agentId": 1002,
}


def lead(tenant, lead_id):
    answer = tenant.get(f"/leads/{lead_id}")
    assert answer.status_code == 200
    return answer.json()


def refused(answer, field, status=400):
    assert answer.status_code == status, answer.text
    assert list(answer.json()["errors"]) == [field]


# --- lists


def test_case_11_and_12_a_list_is_made_and_found(tenant, small):
    made = tenant.send("POST", "/leads/lists", {"listName": "Spring", "campaignId": 3})
    assert (made.status_code, made.json()) == (201, {"listName": "Spring", "campaignId": 3, "listId": 301})
    told = tenant.get("/leads/lists/301").json()
    assert (told["id"], told["name"], told["campaignId"], told["inDialler"]) == (301, "Spring", 3, False)
    assert tenant.items("/leads/lists", campaignId=3)[-1] == told
    again = tenant.send("POST", "/leads/lists", {"listName": "Spring", "campaignId": 3})
    assert again.json()["listId"] == 302  # not idempotent: names may repeat
    small.reset()
    assert tenant.get("/leads/lists/301").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"campaignId": 3}, "listName"), ({"listName": "", "campaignId": 3}, "listName"),
        ({"listName": 7, "campaignId": 3}, "listName"), ({"listName": "A"}, "campaignId"),
        ({"listName": "A", "campaignId": "3"}, "campaignId"), ({"listName": "A", "campaignId": True}, "campaignId"),
    ],
)  # fmt: skip
def test_case_11_what_makes_no_list(tenant, body, field):
    refused(tenant.send("POST", "/leads/lists", body), field)


def test_a_list_of_no_campaign(tenant):
    assert tenant.send("POST", "/leads/lists", {"listName": "A", "campaignId": 9}).status_code == 404


# --- creating leads


def test_case_13_only_a_list_is_needed(tenant):
    made = tenant.send("POST", "/leads", {"listId": 300})
    assert (made.status_code, made.json()) == (201, {"leadId": 100_011, "inDialler": False})
    assert tenant.send("POST", "/leads", {"listId": 100}).json() == {"leadId": 100_012, "inDialler": True}


@pytest.mark.parametrize(
    ("body", "status"), [({}, 400), ({"listId": None}, 400), ({"listId": "300"}, 400), ({"listId": 999}, 404)]
)
def test_case_14_the_list_must_exist(tenant, small, body, status):
    refused(tenant.send("POST", "/leads", body), "listId", status)
    assert small.state("platform")["written"] == []


def test_case_15_nulls_are_legal(tenant):
    made = lead(tenant, tenant.create(**NULLS))
    assert (made["phones"], made["customerKey"], made["timezone"], made["dataFields"]) == ([], None, None, {})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nextAttemptTimestamp", "tomorrow"), ("nextAttemptTimestamp", "2026-12-01"), ("nextAttemptTimestamp", 7),
        ("nextAttemptTimestamp", "2026-12-01T09:30:00"), ("nextAttemptTimestamp", "2026-12-01T09:30:00+1100"),
        ("nextAttemptTimestamp", "2026-13-01T09:30:00Z"), ("customerKey", 7), ("timezone", "Mars/Olympus"),
        ("timezone", 10),
        ("phone1", 2025550123), ("phone2", "n/a"), ("phone3", "12345"), ("phone1", ""), ("phone1", "+1234567890123456"),
        ("phone1", "2025550123 x1"), ("leadData", []), ("leadData", "{}"), ("statusCode", "4"),
        ("statusCode", True),
        ("agentId", 1051), ("agentId", 9),
    ],
)  # fmt: skip
def test_case_16_values_that_will_not_do(tenant, small, field, value):
    refused(tenant.send("POST", "/leads", {"listId": 300, field: value}), field)
    existing = tenant.create()
    if (field, value) != ("nextAttemptTimestamp", "2026-12-01T09:30:00+1100"):  # a plain text in updates
        refused(tenant.send("PUT", f"/leads/{existing}", {field: value}), field)
    assert small.state("platform")["counts"]["lists"]["300"] == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7"])
def test_bodies_that_are_no_objects(tenant, content):
    headers = {"Content-Type": "application/json"}
    assert tenant.http.post("/platform-api/v3.0/leads", content=content, headers=headers).status_code == 400


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=UTF-8"])
def test_a_media_type_has_no_case(tenant, kind):
    headers = {"Content-Type": kind}
    answer = tenant.http.post("/platform-api/v3.0/leads", content=b'{"listId": 300}', headers=headers)
    assert answer.status_code == 201


def test_a_body_must_say_that_it_is_json(tenant):
    assert tenant.http.post("/platform-api/v3.0/leads", content=b'{"listId": 300}').status_code == 400


def test_case_17_and_18_a_lead_is_read_under_other_names(tenant, small):
    small.clock(datetime(2026, 11, 21, 12, tzinfo=UTC))
    lead_id = tenant.create(**FULL)
    told = lead(tenant, lead_id)
    assert tenant.items("/leads", listId=300, customerKey="K-1") == [told]
    uploaded = told["timestamps"].pop("uploaded")
    assert datetime.fromisoformat(uploaded).hour == 7
    assert told == {
        "leadId": lead_id, "campaignId": 3, "campaignName": "Renewals Outbound", "listId": 300, "listName": "Win-back",
        "timezone": "Australia/Sydney", "completed": False, "customerKey": "K-1", "agentId": 1002,
        "agentFullName": "Agent 1002", "dataFields": FULL["leadData"], "lastStatusCode": 4,
        "lastStatusDescription": "Busy", "outcomeType": "preview", "outcomesInfo": {},
        "phones": [
            {"phoneIndex": 1, "phoneNumber": "+61499999999", "dialAttempts": 0},
            {"phoneIndex": 3, "phoneNumber": "(02) 9999-9999", "dialAttempts": 0},
        ],
        "timestamps": {"lastAttempt": None, "nextAttempt": "2026-11-30T17:30:00-05:00"},
    }  # fmt: skip


def test_names_of_reading_mean_nothing_in_writing(tenant):
    made = lead(
        tenant, tenant.create(dataFields={"a": 1}, phones=["+12025550123"], completed=True, isCompleted=True)
    )
    assert (made["dataFields"], made["phones"], made["completed"]) == ({}, [], False)


def test_new_leads_are_walked_after_the_old_ones(tenant, small):
    made = [tenant.create(), tenant.create(listId=100), tenant.create()]
    assert [each["leadId"] for each in tenant.items("/leads")] == [*range(100_001, 100_011), *made]
    tenant.send("DELETE", f"/leads/{made[1]}")
    tenant.send("DELETE", "/leads/100004")
    left = [*range(100_001, 100_004), *range(100_005, 100_011), made[0], made[2]]
    assert [each["leadId"] for each in tenant.items("/leads")] == left
    counts = small.state("platform")["counts"]
    assert (counts["leads"], counts["lists"]) == (11, {"100": 9, "101": 0, "200": 0, "300": 2})
    small.reset()
    assert len(tenant.items("/leads")) == 10


def test_repeated_keys(tenant, small):
    tenant.create(customerKey="K")
    tenant.create(customerKey="K")  # accepted (PL-19)
    small.switch("platform", reject_duplicate_customer_key=True)
    refused(tenant.send("POST", "/leads", {"listId": 300, "customerKey": "K"}), "customerKey")
    tenant.create(customerKey="K", listId=100)  # a key may stand in several lists
    tenant.create()
    tenant.create()
    assert len(tenant.items("/leads", customerKey="K")) == 3


def test_leads_of_one_key_come_in_pages(tenant):
    made = [tenant.create(customerKey="K") for _ in range(7)]
    pages = tenant.pages("/leads", customerKey="K")
    assert [[lead["leadId"] for lead in page["items"]] for page in pages] == [made[:3], made[3:6], made[6:]]


def test_keys_that_changed(tenant):
    made = tenant.create(customerKey="old")
    tenant.send("PUT", f"/leads/{made}", {"customerKey": "new"})
    tenant.send("PUT", "/leads/100002", {"customerKey": "new"})
    assert [each["leadId"] for each in tenant.items("/leads", customerKey="new")] == [100_002, made]
    assert (
        tenant.items("/leads", customerKey="old") == tenant.items("/leads", customerKey="SYN-00000001") == []
    )
    assert [each["leadId"] for each in tenant.items("/leads", customerKey="SYN-00000002")] == [100_003]


# --- updating and deleting


@pytest.mark.parametrize("first", [True, False])
def test_case_19_and_20_completing_is_one_way(tenant, first):
    lead_id = 100_001 if first else tenant.create(**FULL)
    path, before = f"/leads/{lead_id}", lead(tenant, lead_id)
    assert tenant.send("PUT", path, {"isCompleted": False}).status_code == 204  # an open one: no effect
    assert lead(tenant, lead_id) == before
    answer = tenant.send("PUT", path, {"isCompleted": True})
    assert (answer.status_code, answer.content) == (204, b"")
    assert lead(tenant, lead_id) == before | {"completed": True}
    refused(tenant.send("PUT", path, {"isCompleted": False, "statusCode": 1}), "isCompleted")
    assert lead(tenant, lead_id) == before | {"completed": True}
    assert tenant.send("PUT", path, {"isCompleted": True}).status_code == 204


def test_case_21_a_lead_moves(tenant, small):
    assert tenant.send("PUT", "/leads/100003", {"listId": 300}).status_code == 204
    moved = lead(tenant, 100_003)
    assert (moved["listId"], moved["listName"], moved["campaignId"]) == (300, "Win-back", 3)
    assert tenant.items("/leads", listId=300) == [moved]
    assert small.state("platform")["counts"]["lists"] == {"100": 9, "101": 0, "200": 0, "300": 1}
    refused(tenant.send("PUT", "/leads/100003", {"listId": 999}), "listId", 404)
    refused(tenant.send("PUT", "/leads/100003", {"listId": "300"}), "listId")


def test_only_what_is_named_changes(tenant):
    lead_id = tenant.create(**FULL)
    before = lead(tenant, lead_id)
    tenant.send("PUT", f"/leads/{lead_id}", {"phone2": "+12025550123"})
    after = lead(tenant, lead_id)
    assert [phone["phoneIndex"] for phone in after["phones"]] == [1, 2, 3]
    assert after | {"phones": 0} == before | {"phones": 0}
    tenant.send("PUT", f"/leads/{lead_id}", {"nextAttemptTimestamp": "2026-12-02T09:30:00+1100"})
    assert lead(tenant, lead_id)["timestamps"]["nextAttempt"] == "2026-12-01T17:30:00-05:00"


def test_free_fields_are_written_whole(tenant):
    lead_id = tenant.create(**FULL)
    tenant.send("PUT", f"/leads/{lead_id}", {"leadData": {"name": "Other"}})
    assert lead(tenant, lead_id)["dataFields"] == {"name": "Other"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("timezone", "Mars/Phobos"), ("phone2", "call me"), ("agentId", 7), ("statusCode", "4")],
)
def test_case_16_a_change_that_will_not_do_changes_nothing(tenant, field, value):
    lead_id = tenant.create(**FULL)
    before = lead(tenant, lead_id)
    refused(tenant.send("PUT", f"/leads/{lead_id}", {"phone1": "+12025550123", field: value}), field)
    assert lead(tenant, lead_id) == before


def test_a_null_changes_nothing_unless_switched(tenant, small):
    lead_id = tenant.create(**FULL)
    before = lead(tenant, lead_id)
    nulls = {**NULLS, "listId": None, "isCompleted": None}
    assert tenant.send("PUT", f"/leads/{lead_id}", nulls).status_code == 204
    assert lead(tenant, lead_id) == before
    small.switch("platform", null_clears=True)
    assert tenant.send("PUT", f"/leads/{lead_id}", nulls).status_code == 204
    after = lead(tenant, lead_id)
    assert (after["phones"], after["customerKey"], after["dataFields"], after["listId"]) == (
        [],
        None,
        {},
        300,
    )


def test_case_22_a_lead_is_deleted_once(tenant):
    for lead_id in (100_001, tenant.create()):
        answer = tenant.send("DELETE", f"/leads/{lead_id}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert tenant.send("DELETE", f"/leads/{lead_id}").status_code == 404
        assert tenant.get(f"/leads/{lead_id}").status_code == 404
        assert tenant.send("PUT", f"/leads/{lead_id}", {}).status_code == 404


def test_other_success_codes(tenant, small):
    small.switch("platform", created_status=200, update_answers_lead=True)
    made = tenant.send("POST", "/leads", {"listId": 300})
    assert made.status_code == 200
    updated = tenant.send("PUT", f"/leads/{made.json()['leadId']}", {"statusCode": 4})
    assert (updated.status_code, updated.json()) == (200, lead(tenant, made.json()["leadId"]))
    assert tenant.send("POST", "/leads/lists", {"listName": "A", "campaignId": 1}).status_code == 200
    assert tenant.send("POST", "/leads/bulk", {"leads": [{"listId": 300}]}).status_code == 200


def test_a_lost_answer_may_have_done_the_work(tenant, small):
    for fault, leads in (("drop_before", 0), ("drop_after", 1)):
        small.fault("platform", fault, op="create_lead")
        with pytest.raises(httpx.RemoteProtocolError):
            tenant.send("POST", "/leads", {"listId": 300, "customerKey": fault})
        assert len(tenant.items("/leads", customerKey=fault)) == leads


# --- agents


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_case_34_availability(tenant, small, method):
    answer = tenant.send(method, "/availability", {"agentId": 1002, "available": False})
    assert (answer.status_code, answer.json()) == (200, {"agentId": 1002, "available": False})
    assert small.state("platform")["available"] == [1001]
    assert tenant.send(method, "/availability", {"agentId": 7, "available": True}).status_code == 404
    assert tenant.send(method, "/availability", {"agentId": 1051, "available": True}).status_code == 404
    refused(tenant.send(method, "/availability", {"agentId": 1002}), "available")
    refused(tenant.send(method, "/availability", {"agentId": 1002, "available": "true"}), "available")
    refused(tenant.send(method, "/availability", {"available": True}), "agentId")


def test_calls_of_one_path_are_told_apart(tenant, small):
    lead_id = tenant.create()
    for method, body in (("GET", None), ("PUT", {}), ("DELETE", None)):
        tenant.send(method, f"/leads/{lead_id}", body)
    assert small.state("platform")["calls"] == {
        "create_lead": 1,
        "get_lead": 1,
        "update_lead": 1,
        "delete_lead": 1,
    }
    small.fault("platform", "status", op="create_lead", retry_after=1)
    assert tenant.get("/leads").status_code == 200
    assert tenant.send("POST", "/leads", {"listId": 300}).status_code == 429
