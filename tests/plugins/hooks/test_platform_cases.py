"""The Platform hook's 23 methods against the sandbox: the contract's cases from the client's side, by their number."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from listkeeper.hooks.platform import PlatformHook

from include.sandbox.platform_calls import RECORDING
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    VendorError,
)
from include.vendors.platform import (
    ENDPOINTS,
    ActivityQuery,
    BadCursorError,
    CallQuery,
    FieldsRefusedError,
    LeadQuery,
    ListQuery,
    NotFoundError,
    UserQuery,
    as_written,
    change_of_cells,
    lead_body,
    parse_time,
    read_lead,
    update_body,
)

WIN_BACK = 300
NUMBER = "+12025550123"


@pytest.fixture
def tenant(sandbox, connect):
    """The sandbox with a hundred leads, and a hook on it whose waits are only written down."""
    told = sandbox.info()["platform"]
    waits: list[float] = []

    def hook(token: str = told["token"], **extra: Any) -> PlatformHook:
        extra = {"prefix": told["prefix"], "timeout": 120, **extra}
        connect("platform_default", sandbox.base_url, token, extra=extra)
        made = PlatformHook(sleep=waits.append)
        opened.append(made)
        return made

    opened: list[PlatformHook] = []
    yield SimpleNamespace(sandbox=sandbox, hook=hook(), make=hook, waits=waits, token=told["token"])
    for made in opened:
        made.close()


def fields(**changes: Any) -> dict[str, Any]:
    return lead_body({"listId": WIN_BACK, **changes})


CALLS: dict[str, Callable[[PlatformHook], Any]] = {
    "get_activity": lambda hook: hook.get_activity(110),
    "list_activities": lambda hook: hook.list_activities(ActivityQuery()),
    "outbound_statistics": lambda hook: hook.outbound_statistics(1),
    "inbound_statistics": lambda hook: hook.inbound_statistics(2),
    "download_media": lambda hook: hook.download_media(5300),
    "get_voicemail": lambda hook: hook.get_voicemail(7003),
    "get_recording": lambda hook: hook.get_recording(5300),
    "list_leads": lambda hook: hook.list_leads(LeadQuery()),
    "create_lead": lambda hook: hook.create_lead(fields()),
    "list_lists": lambda hook: hook.list_lists(ListQuery()),
    "create_list": lambda hook: hook.create_list("Spring", 3),
    "bulk_status": lambda hook: hook.bulk_status(known_import(hook)),
    "bulk_errors": lambda hook: hook.bulk_errors(known_import(hook)),
    "get_list": lambda hook: hook.get_list(100),
    "get_lead": lambda hook: hook.get_lead(100_001),
    "update_lead": lambda hook: hook.update_lead(100_001, {"statusCode": 2}),
    "delete_lead": lambda hook: hook.delete_lead(100_001),
    "bulk_create": lambda hook: hook.bulk_create([fields()]),
    "delete_customer": lambda hook: hook.delete_customer(phone=NUMBER),
    "get_call": lambda hook: hook.get_call(known_call(hook)),
    "list_calls": lambda hook: hook.list_calls(CallQuery()),
    "list_users": lambda hook: hook.list_users(UserQuery()),
    "set_presence": lambda hook: hook.set_presence(1001, available=True),
}
"""A call of each method that works."""

OPERATIONS = {
    "get_call": "get_attempt", "list_calls": "list_attempts", "download_media": "get_media",
    "bulk_create": "create_bulk", "bulk_status": "get_bulk", "bulk_errors": "list_bulk_errors",
    "set_presence": "update_availability",
}  # fmt: skip
"""Method -> what the sandbox calls it, where that differs."""


def operation(name: str) -> str:
    return OPERATIONS.get(name, name)


def known_import(hook: PlatformHook) -> str:
    return hook.__dict__.setdefault("import_of_test", hook.bulk_create([fields()]).uuid)


def known_call(hook: PlatformHook) -> int:
    return hook.list_calls(CallQuery()).items[0]["attemptId"]


def counted(tenant, name: str) -> int:
    return tenant.sandbox.state("platform", rows=False)["calls"].get(operation(name), 0)


def test_every_endpoint_has_a_method_and_a_test(tenant):
    assert list(CALLS) == list(ENDPOINTS)
    for name, call in CALLS.items():
        call(tenant.hook)
        assert counted(tenant, name) > 0, name
    assert tenant.waits == []
    assert len({ENDPOINTS[name].number for name in CALLS}) == 23


# --- what can happen to any call


@pytest.mark.parametrize("name", CALLS)
def test_case_1_a_wrong_token(tenant, nothing_leaks, name):
    hook = tenant.make("wrong-token")
    with pytest.raises(AuthenticationError) as raised:
        CALLS[name](hook)
    assert tenant.waits == []
    nothing_leaks(raised.value, "wrong-token")


@pytest.mark.parametrize("name", CALLS)
def test_case_35_a_rate_limit_is_waited_for(tenant, name):
    prepare(tenant, name)
    tenant.sandbox.fault("platform", "status", op=operation(name), retry_after=1, times=2)
    CALLS[name](tenant.hook)
    assert tenant.waits == [1, 1]


def prepare(tenant, name):
    """Do what a call needs before it, so that a fault strikes the call itself."""
    if name in ("bulk_status", "bulk_errors"):
        known_import(tenant.hook)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("fault", ["drop_after", "broken_json", "status"])
def test_after_a_lost_answer_only_what_may_be_repeated_is_repeated(tenant, nothing_leaks, name, fault):
    prepare(tenant, name)
    if name in ("update_lead", "delete_lead") and fault == "broken_json":
        fault = "drop_after"  # their answers have no body
    if name == "download_media" and fault == "broken_json":
        fault = "truncated"
    before = counted(tenant, name)
    tenant.sandbox.fault("platform", fault, op=operation(name), status=503)
    if ENDPOINTS[name].repeats:
        CALLS[name](tenant.hook)
        assert counted(tenant, name) - before == 2
        assert tenant.waits == [0.5]
        return
    with pytest.raises(LostAnswerError) as raised:
        CALLS[name](tenant.hook)
    assert counted(tenant, name) - before == 1
    assert tenant.waits == []
    nothing_leaks(raised.value, tenant.token, NUMBER, NUMBER[1:])


def test_only_what_makes_something_twice_is_never_repeated():
    once = {name for name, endpoint in ENDPOINTS.items() if not endpoint.repeats}
    assert once == {"create_lead", "create_list", "bulk_create", "delete_customer"}


@pytest.mark.parametrize("name", [name for name, endpoint in ENDPOINTS.items() if endpoint.repeats])
def test_a_vendor_that_stays_down(tenant, name):
    prepare(tenant, name)
    tenant.sandbox.fault("platform", "status", op=operation(name), status=503, times=None)
    error = LostAnswerError if ENDPOINTS[name].writes else UnavailableError
    with pytest.raises(error):
        CALLS[name](tenant.hook)
    assert tenant.waits == [0.5, 1, 2, 4]


def test_a_long_rate_limit_is_handed_to_the_task(tenant):
    tenant.sandbox.fault("platform", "status", op="create_bulk", retry_after=600)
    with pytest.raises(RateLimitedError) as raised:
        CALLS["bulk_create"](tenant.hook)
    assert (raised.value.retry_after, tenant.waits) == (600, [])
    assert tenant.sandbox.state("platform")["imports"] == []


# --- pages


def test_case_2_and_3_pages_are_walked_with_their_filters(tenant):
    every = list(tenant.hook.every(tenant.hook.list_activities, ActivityQuery()))
    assert len(every) > 130
    assert len({item["data"]["activityId"] for item in every}) == len(every)
    times = sorted(parse_time(item["data"]["timestamps"]["created"]) for item in every)
    start, end = times[20], times[-20]
    query = ActivityQuery(
        campaignId=1, activityType="call.outbound", createdTimestampFrom=start, createdTimestampTo=end
    )
    some = list(tenant.hook.every(tenant.hook.list_activities, query))
    assert some == [
        item
        for item in every
        if item["type"] == "call.outbound"
        and start <= parse_time(item["data"]["timestamps"]["created"]) <= end
    ]
    assert len(some) > 10


@pytest.mark.parametrize(
    "switch", [{"uri_without_prefix": True}, {"offset_without_colon": True}, {"times_in_utc": True}]
)
def test_case_36_and_37_other_uris_and_times(tenant, switch):
    def times(read):
        return [parse_time(item["timestamps"]["dialled"]) for item in tenant.hook.every(read, CallQuery())]

    before = times(tenant.hook.list_calls)
    tenant.sandbox.switch("platform", **switch)
    assert times(tenant.hook.list_calls) == before
    assert len(before) > 10


@pytest.mark.parametrize(
    ("read", "query"),
    [
        ("list_activities", ActivityQuery()), ("list_leads", LeadQuery()), ("list_lists", ListQuery()),
        ("list_calls", CallQuery()), ("list_users", UserQuery()),
    ],
)  # fmt: skip
def test_case_4_a_bad_cursor(tenant, read, query):
    tenant.sandbox.switch("platform", page_size=2)
    page = getattr(tenant.hook, read)(query)
    link = page.next_uri.replace("cursor=", "cursor=x")
    with pytest.raises(BadCursorError):
        getattr(tenant.hook, read)(query, link)


@pytest.mark.parametrize("fault", ["repeated_cursor", "looping_cursor", "changed_filter", "no_metadata"])
def test_a_walk_that_goes_wrong_is_no_short_list(tenant, fault):
    tenant.sandbox.fault("platform", fault, nth=3, times=None)
    with pytest.raises(VendorError):
        list(tenant.hook.every(tenant.hook.list_calls, CallQuery(campaignId=1)))


# --- activities, calls, statistics, media


def test_case_5_and_32_one_activity_and_its_call(tenant):
    call = tenant.hook.get_call(known_call(tenant.hook))
    activity = tenant.hook.get_activity(call["activityId"])
    assert activity["type"] == "call.outbound"
    assert {name: activity["data"][name] for name in ("attemptId", "leadId", "phoneNumber")} == {
        name: call[name] for name in ("attemptId", "leadId", "phoneNumber")
    }
    of_lead = list(tenant.hook.every(tenant.hook.list_calls, CallQuery(leadId=call["leadId"])))
    assert call in of_lead
    for ask in (lambda: tenant.hook.get_activity(1), lambda: tenant.hook.get_call(1)):
        with pytest.raises(NotFoundError):
            ask()


def test_types_that_nobody_knows_come_through(tenant):
    tenant.hook.create_lead(fields(leadData={"email": "jane@example.com"}))
    (mail,) = tenant.hook.every(tenant.hook.list_activities, ActivityQuery(activityType="email.inbound"))
    assert mail["data"]["source"] == "jane@example.com"


@pytest.mark.parametrize("period", [None, "hour", "day"])
def test_case_6_to_8_statistics(tenant, period):
    assert [each["listId"] for each in tenant.hook.outbound_statistics(3)["lists"]] == [200, 300]
    assert tenant.hook.inbound_statistics(2, period)["callsReceived"] == (16 if period == "day" else 2)
    with pytest.raises(NotFoundError):
        tenant.hook.outbound_statistics(2)
    with pytest.raises(NotFoundError):
        tenant.hook.inbound_statistics(1, period)


def test_case_7_a_period_that_the_vendor_does_not_know(tenant):
    with pytest.raises(RequestRefusedError):
        tenant.hook.inbound_statistics(2, "week")


@pytest.mark.parametrize("as_json", [False, True])
def test_case_9_and_10_media(tenant, as_json):
    tenant.sandbox.switch("platform", media_as_json=as_json)
    media = tenant.hook.download_media(5300)
    assert media.content == RECORDING
    assert media.suffix == (".bin" if as_json else ".mp3")
    assert base64.b64encode(RECORDING).decode() not in repr(media)
    assert tenant.hook.get_voicemail(7003)["mediaId"] == 7003
    recording = tenant.hook.get_recording(5364)
    assert recording["deleted"] is True
    assert {"deletedTimestamp", "deletedBy", "deletionReason"} <= set(recording)
    assert tenant.hook.get_recording(5300)["deleted"] is False
    with pytest.raises(NotFoundError):
        tenant.hook.download_media(5364)


# --- lists and leads


def test_case_11_and_12_a_list_is_made_once(tenant):
    assert tenant.hook.find_list("Spring", 3) is None
    made = tenant.hook.create_list("Spring", 3)
    assert tenant.hook.find_list("Spring", 3) == made
    assert tenant.hook.find_list("Spring", 1) is None
    told = tenant.hook.get_list(made)
    assert (told["id"], told["name"], told["inDialler"]) == (made, "Spring", False)
    tenant.hook.create_list("Spring", 3)
    with pytest.raises(RequestRefusedError, match="2 lists of this name"):
        tenant.hook.find_list("Spring", 3)
    with pytest.raises(RequestRefusedError):
        tenant.hook.create_list("", 3)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_case_13_and_15_any_success_is_one(tenant, status):
    tenant.sandbox.switch("platform", created_status=status)
    lead_id, loaded = tenant.hook.create_lead(
        {"listId": WIN_BACK, **dict.fromkeys(("phone1", "leadData", "agentId"))}
    )
    assert (lead_id, loaded) == (100_101, False)
    assert tenant.hook.create_lead(fields(listId=100)) == (100_102, True)
    assert tenant.hook.create_list("Spring", 3) == 301
    assert tenant.hook.bulk_create([fields()]).state == "open"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, RequestRefusedError), ({"listId": "300"}, RequestRefusedError), ({"listId": 999}, NotFoundError),
        ({"listId": 300, "nextAttemptTimestamp": "soon"}, RequestRefusedError),
    ],
)  # fmt: skip
def test_case_14_and_16_what_the_vendor_refuses(tenant, nothing_leaks, body, error):
    with pytest.raises(error) as raised:
        tenant.hook.create_lead({**body, "phone1": NUMBER})
    assert counted(tenant, "create_lead") == 1
    nothing_leaks(raised.value, NUMBER, NUMBER[1:])


ROUND = {
    "listId": WIN_BACK, "customerKey": "ROUND 1/ä&+?", "timezone": "Australia/Sydney",
    "phone1": NUMBER, "phone3": "+61499999999",
    "nextAttemptTimestamp": "2026-12-01T09:30:00+11:00", "leadData": {"city": "Zürich", "nested": {"a": [1, 2.5]}},
    "statusCode": 4, "agentId": 1002,
}  # fmt: skip


@pytest.mark.parametrize("form", [{}, {"offset_without_colon": True}, {"times_in_utc": True}])
def test_case_17_and_18_what_is_read_can_be_written_again(tenant, form):
    tenant.sandbox.switch("platform", **form)
    first, _ = tenant.hook.create_lead(lead_body(ROUND))
    (shown,) = tenant.hook.find_leads(LeadQuery(listId=WIN_BACK, customerKey=ROUND["customerKey"]))
    assert shown["leadId"] == first
    again = as_written(read_lead(shown))
    assert {
        name: value for name, value in again.items() if value is not None and name != "nextAttemptTimestamp"
    } == {name: value for name, value in ROUND.items() if name != "nextAttemptTimestamp"}
    assert parse_time(again["nextAttemptTimestamp"]) == parse_time(ROUND["nextAttemptTimestamp"])
    second, _ = tenant.hook.create_lead(lead_body(again))
    copy = tenant.hook.get_lead(second)
    assert {**copy, "leadId": 0, "timestamps": 0} == {**shown, "leadId": 0, "timestamps": 0}
    assert copy["timestamps"]["nextAttempt"] == shown["timestamps"]["nextAttempt"]
    assert update_body(copy, lead_body(again)) == {}  # nothing would change


def test_case_19_and_20_completing_is_one_way(tenant):
    lead = tenant.hook.get_lead(100_001)
    tenant.hook.update_lead(100_001, update_body(lead, {}, complete=True))
    done = tenant.hook.get_lead(100_001)
    assert done == {**lead, "completed": True}
    assert update_body(done, {}, complete=True) == {}
    with pytest.raises(RequestRefusedError):
        tenant.hook.update_lead(100_001, {"isCompleted": False})


@pytest.mark.parametrize("with_lead", [False, True])
def test_case_21_only_what_changes_is_sent(tenant, with_lead):
    tenant.sandbox.switch("platform", update_answers_lead=with_lead)
    lead = tenant.hook.get_lead(100_002)
    body = update_body(
        lead, {"listId": WIN_BACK, "phone2": NUMBER, "timezone": lead["timezone"], "leadData": {"a": 1}}
    )
    assert body == {"listId": WIN_BACK, "phone2": NUMBER, "leadData": {**lead["dataFields"], "a": 1}}
    tenant.hook.update_lead(100_002, body)
    moved = tenant.hook.get_lead(100_002)
    assert (moved["listId"], [phone["phoneIndex"] for phone in moved["phones"]]) == (WIN_BACK, [1, 2])
    assert moved["dataFields"] == {**lead["dataFields"], "a": 1}
    assert tenant.hook.find_leads(LeadQuery(listId=WIN_BACK)) == [moved]
    with pytest.raises(NotFoundError):
        tenant.hook.update_lead(1, {"statusCode": 2})


def test_case_16_and_21_a_change_that_the_vendor_refuses(tenant, nothing_leaks):
    before, odd = tenant.hook.get_lead(100_002), {"phone2": f"call {NUMBER}", "statusCode": 4}
    with pytest.raises(FieldsRefusedError) as refused:
        tenant.hook.update_lead(100_002, odd)
    assert refused.value.words == "phone2: Must be a phone number or null."
    assert (refused.value.http_status, refused.value.after_loss) == (400, False)
    nothing_leaks(refused.value, NUMBER)
    assert tenant.hook.get_lead(100_002) == before
    tenant.sandbox.fault("platform", "drop_after", op="update_lead")
    tenant.sandbox.fault("platform", "status", status=422, op="update_lead", nth=2)
    with pytest.raises(FieldsRefusedError) as refused:
        tenant.hook.update_lead(100_002, {"statusCode": 4})
    assert refused.value.after_loss, "the try before it may have done it"
    assert tenant.hook.get_lead(100_002)["lastStatusCode"] == 4


def test_case_17_and_21_a_changed_row_is_found_by_its_key_and_changed_in_what_differs(tenant):
    lead_id, _ = tenant.hook.create_lead(lead_body(ROUND))
    cells = {
        "customerKey": ROUND["customerKey"],
        "phone1": NUMBER,
        "phone2": "",
        "timezone": "",
        "leadData.city": "Bern",
    }
    (shown,) = tenant.hook.find_leads(LeadQuery(listId=WIN_BACK, customerKey=ROUND["customerKey"]))
    body = change_of_cells(shown, {**cells, "phone2": "+12025550199"}, null_clears=False)
    tenant.hook.update_lead(shown["leadId"], body)
    changed = tenant.hook.get_lead(lead_id)
    assert changed["dataFields"] == {**ROUND["leadData"], "city": "Bern"}
    assert [phone["phoneNumber"] for phone in changed["phones"]][:2] == [NUMBER, "+12025550199"]
    assert changed["timezone"] == ROUND["timezone"], "an empty cell leaves it alone"
    with pytest.raises(ValueError, match="phone2 cannot be cleared"):
        change_of_cells(changed, cells, null_clears=False)
    tenant.sandbox.switch("platform", null_clears=True)
    tenant.hook.update_lead(lead_id, change_of_cells(changed, cells, null_clears=True))
    assert change_of_cells(tenant.hook.get_lead(lead_id), cells, null_clears=True) == {}
    tenant.hook.delete_lead(lead_id)
    with pytest.raises(NotFoundError):
        tenant.hook.update_lead(lead_id, {"statusCode": 2})


def test_nulls_empty_a_field_only_where_the_tenant_says_so(tenant):
    lead_id, _ = tenant.hook.create_lead(lead_body(ROUND))
    lead = tenant.hook.get_lead(lead_id)
    with pytest.raises(ValueError, match="null_clears"):
        update_body(lead, {}, clear=["timezone"])
    tenant.sandbox.switch("platform", null_clears=True)
    hook = tenant.make(null_clears=True)
    hook.session()
    body = update_body(lead, {}, clear=["timezone", "leadData.city"], null_clears=hook.tenant.null_clears)
    hook.update_lead(lead_id, body)
    cleared = hook.get_lead(lead_id)
    assert (cleared["timezone"], cleared["dataFields"]) == (None, {"nested": {"a": [1, 2.5]}})
    assert cleared["phones"] == lead["phones"]


def test_case_22_a_lead_is_deleted_once(tenant):
    tenant.hook.delete_lead(100_001)
    with pytest.raises(NotFoundError):
        tenant.hook.delete_lead(100_001)
    tenant.sandbox.fault("platform", "drop_after", op="delete_lead")
    tenant.hook.delete_lead(100_002)  # the lost request did it, so the 404 of the second is no error
    with pytest.raises(NotFoundError):
        tenant.hook.get_lead(100_002)


# --- imports


def rows(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [
        {"listId": WIN_BACK, "customerKey": f"C-{n:05d}", "phone1": NUMBER, **changes} for n in range(count)
    ]


def ended(tenant, uuid: str):
    tenant.sandbox.clock(datetime.now(UTC) + timedelta(hours=1))
    return tenant.hook.bulk_status(uuid)


def test_case_23_and_24_an_import(tenant):
    tenant.sandbox.switch("platform", bulk_step_seconds=60)
    begun = tenant.hook.bulk_create(rows(3))
    assert (begun.word, begun.state, begun.total) == ("queued", "open", None)
    tenant.sandbox.clock(datetime.now(UTC) + timedelta(seconds=90))
    running = tenant.hook.bulk_status(begun.uuid)
    assert (running.word, running.state) == ("processing", "open")
    done = ended(tenant, begun.uuid)
    assert (done.state, done.total, done.created, done.failed, done.error_uri) == ("done", 3, 3, 0, None)
    assert len(tenant.hook.find_leads(LeadQuery(listId=WIN_BACK))) == 3


@pytest.mark.parametrize("switch", [{}, {"uri_without_prefix": True}, {"error_list_as_object": True}])
def test_case_25_all_pages_of_errors(tenant, switch):
    tenant.sandbox.switch("platform", **switch)
    leads = rows(300)
    for lead in leads[:250]:
        lead["timezone"] = "Mars/Olympus"
    done = ended(tenant, tenant.hook.bulk_create(leads).uuid)
    assert (done.state, done.total, done.created, done.failed) == ("done", 300, 50, 250)
    errors = tenant.hook.every_bulk_error(done)
    assert [(error.index, error.customer_key) for error in errors] == [(n, f"C-{n:05d}") for n in range(250)]
    assert all(error.message.startswith("timezone") for error in errors)
    assert counted(tenant, "bulk_errors") == 3
    assert "C-00000" not in repr(errors[0])


def test_case_26_and_27_sizes_are_checked_before_anything_is_sent(tenant):
    for count in (0, 1_001):
        with pytest.raises(ValueError, match="1 to 1000 leads"):
            tenant.hook.bulk_create(rows(count))
    assert counted(tenant, "bulk_create") == 0
    tenant.sandbox.switch("platform", bulk_most_leads=2)
    with pytest.raises(RequestRefusedError):
        tenant.hook.bulk_create(rows(3))


def test_case_28_and_29_an_import_that_failed_or_is_unknown(tenant):
    tenant.sandbox.fault("platform", "import_error")
    done = ended(tenant, tenant.hook.bulk_create(rows(4)).uuid)
    assert (done.state, done.total) == ("failed", None)
    for ask in (tenant.hook.bulk_status, tenant.hook.bulk_errors):
        with pytest.raises(NotFoundError):
            ask("nothing")


def test_case_30_a_repeat_would_make_every_lead_twice(tenant):
    first, second = tenant.hook.bulk_create(rows(2)), tenant.hook.bulk_create(rows(2))
    assert first.uuid != second.uuid
    ended(tenant, second.uuid)
    keys = Counter(lead["customerKey"] for lead in tenant.hook.find_leads(LeadQuery(listId=WIN_BACK)))
    assert set(keys.values()) == {2}  # why the hook never repeats it


def test_other_words_for_the_states(tenant):
    tenant.sandbox.switch("platform", bulk_words=["ACCEPTED", "RUNNING", "Done", "BROKEN"])
    tenant.sandbox.fault("platform", "import_error", nth=2)
    hook = tenant.make(bulk_done=["done"], bulk_failed="broken, dead")
    fine, broken = hook.bulk_create(rows(1)), hook.bulk_create(rows(1))
    ended(tenant, fine.uuid)
    assert [hook.bulk_status(one.uuid).state for one in (fine, broken)] == ["done", "failed"]
    assert tenant.make().bulk_status(fine.uuid).state == "open"  # a word that nobody knows is "not finished"


# --- customers, users, presence


def test_case_31_erasure(tenant, nothing_leaks):
    tenant.hook.create_lead(fields(phone2=NUMBER))
    tenant.hook.create_lead(fields(leadData={"email": "jane@example.com"}))
    by_phone = tenant.hook.delete_customer(phone=NUMBER)
    assert (by_phone.calls, by_phone.emails, by_phone.leads) == (0, 0, 1)
    by_mail = tenant.hook.delete_customer(email="jane@example.com")
    assert (by_mail.calls, by_mail.emails, by_mail.leads) == (0, 1, 1)
    assert tenant.hook.find_leads(LeadQuery(listId=WIN_BACK)) == []
    with pytest.raises(ValueError, match="needs a phone number or an e-mail address"):
        tenant.hook.delete_customer(phone="", email=None)
    assert counted(tenant, "delete_customer") == 2
    nothing_leaks(None, NUMBER, NUMBER[1:], "jane@example.com")


def test_erasing_takes_calls_along(tenant):
    call = tenant.hook.get_call(known_call(tenant.hook))
    calls = len(list(tenant.hook.every(tenant.hook.list_calls, CallQuery(leadId=call["leadId"]))))
    erased = tenant.hook.delete_customer(phone=call["phoneNumber"])
    assert (erased.calls, erased.leads) == (calls, 1)
    assert list(tenant.hook.every(tenant.hook.list_calls, CallQuery(leadId=call["leadId"]))) == []


def test_case_33_users(tenant):
    assert tenant.hook.active_agents() == {1001, 1002, 1003}
    inactive = tenant.hook.every(tenant.hook.list_users, UserQuery(accountActive=False))
    assert [user["userId"] for user in inactive] == [1004]


def test_case_34_presence(tenant):
    assert tenant.hook.set_presence(1003, available=True) is True
    assert tenant.hook.set_presence(1001, available=False) is False
    assert tenant.sandbox.state("platform")["available"] == [1002, 1003]
    with pytest.raises(NotFoundError):
        tenant.hook.set_presence(7, available=True)
    tenant.make(paths={"set_presence": "POST /v3.0/availability"}).set_presence(1001, available=True)
    assert tenant.sandbox.state("platform")["available"] == [1001, 1002, 1003]
