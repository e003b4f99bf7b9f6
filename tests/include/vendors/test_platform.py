"""The Platform API's answers, one table per thing that a client must read."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.flow_files import PlatformSource
from include.leads.schema import LEAD_COLUMNS
from include.vendors.errors import (
    AuthenticationError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)
from include.vendors.platform import (
    BadLeadError,
    ChangedFilterError,
    CursorLoopError,
    LeadQuery,
    NotFoundError,
    Page,
    PlatformSettings,
    Walk,
    check_item,
    parse_time,
    query_text,
    read_answer,
    read_lead,
    read_page,
    resolve_uri,
    window_shards,
)

SAMPLES = Path(__file__).parents[2] / "samples" / "platform"
LEAD = json.loads((SAMPLES / "lead.json").read_text())
FULL_LEAD = json.loads((SAMPLES / "lead_unfolded.json").read_text())
BASE = "https://tenant.ipscape.com.au"
SECRETS = ("+61499999999", "0499", "secret-cursor", "10000001")


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


# --- answers


@pytest.mark.parametrize(
    ("status", "headers", "error", "word"),
    [
        (400, {}, RequestRefusedError, "filters"),
        (401, {}, AuthenticationError, "token"),
        (403, {}, AuthenticationError, "token"),
        (404, {}, NotFoundError, "paths"),
        (405, {}, RequestRefusedError, "405"),
        (409, {}, RequestRefusedError, "409"),
        (413, {}, RequestRefusedError, "413"),
        (422, {}, RequestRefusedError, "422"),
        (301, {"Location": "https://elsewhere"}, RequestRefusedError, "301"),
        (304, {}, RequestRefusedError, "304"),
        (429, {"Retry-After": "3"}, RateLimitedError, "3 s"),
        (429, {}, RateLimitedError, "5 s"),
        (500, {}, UnavailableError, "500"),
        (502, {}, UnavailableError, "502"),
        (503, {"Retry-After": "3"}, UnavailableError, "503"),
        (504, {}, UnavailableError, "504"),
    ],
)
@pytest.mark.parametrize("body", [sample("error.json"), b"<html>", b""])
def test_an_error_is_read_by_its_status_alone(status, headers, error, word, body):
    with pytest.raises(VendorError) as caught:
        read_page(status, headers, body)
    assert type(caught.value) is error
    assert caught.value.http_status == status
    assert word in str(caught.value)
    if error is RateLimitedError:
        assert caught.value.retry_after == (3 if headers else 5)


@pytest.mark.parametrize("status", [200, 201, 203, 206])
def test_any_2xx_with_a_page_is_a_page(status):
    page = read_page(status, {}, sample("page.json"))
    assert [item["leadId"] for item in page.items] == [999, 1000]
    assert page.next_uri == "/platform-api/v3.0/leads?listId=100&cursor=eyJpZCI6MTAwfQ%3D%3D"


@pytest.mark.parametrize("end", [{}, {"nextUri": None}, {"nextUri": ""}])
def test_the_last_page_has_no_next(end):
    assert read_page(200, {}, json.dumps({"metadata": end, "items": []}).encode()).next_uri is None


def test_an_empty_page_with_a_next_is_legal():
    page = read_page(200, {}, sample("page_without_prefix.json"))
    assert (page.items, page.next_uri is None) == ([], False)


WHOLE = sample("page.json")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"<html>maintenance</html>",
        b"\xff\xfe",
        WHOLE[: len(WHOLE) // 2],
        WHOLE.rstrip()[:-1],
        WHOLE + b"}",
        b'{"items": []}',
        b'{"items": [], "metadata": null}',
        b'{"items": [], "metadata": []}',
        b'{"metadata": {}}',
        b'{"items": null, "metadata": {}}',
        b'{"items": {"0": {}}, "metadata": {}}',
        b'{"items": [1], "metadata": {}}',
        b'{"items": [null], "metadata": {}}',
        b'{"items": [], "metadata": {"nextUri": 5}}',
        b'{"items": [], "metadata": {"nextUri": {}}}',
        b'{"items": [], "metadata": {"nextUri": true}}',
        b'{"items": [NaN], "metadata": {}}',
        b"[" * 5000,
    ],
)
def test_what_cannot_be_told_from_a_cut_page_is_refused(body):
    with pytest.raises(UnexpectedAnswerError) as caught:
        read_page(200, {}, body)
    assert caught.value.http_status == 200


@given(st.integers(0, len(WHOLE.rstrip()) - 1))
def test_no_cut_of_a_page_reads_as_a_page(length):
    with pytest.raises(UnexpectedAnswerError):
        read_page(200, {}, WHOLE[:length])


def test_an_answer_without_a_body_is_not_an_answer():
    with pytest.raises(UnexpectedAnswerError, match="no JSON"):
        read_answer(204, {}, b"", "list of leads")


def test_a_page_keeps_leads_out_of_its_repr():
    page = Page([FULL_LEAD], "/v3.0/leads?cursor=secret-cursor")
    assert not any(secret in repr(page) for secret in SECRETS)


# --- links


@pytest.mark.parametrize(
    ("prefix", "uri", "url"),
    [
        ("/platform-api", "/platform-api/v3.0/leads?cursor=a", f"{BASE}/platform-api/v3.0/leads?cursor=a"),
        ("/platform-api", "/v3.0/leads?cursor=a", f"{BASE}/platform-api/v3.0/leads?cursor=a"),
        ("/platform-api/", "/v3.0/leads?cursor=a", f"{BASE}/platform-api/v3.0/leads?cursor=a"),
        ("/platform-api", "v3.0/leads?cursor=a", f"{BASE}/platform-api/v3.0/leads?cursor=a"),
        ("/platform-api", "/platform-apis/v3.0", f"{BASE}/platform-api/platform-apis/v3.0"),
        ("/platform-api", f"{BASE}/platform-api/v3.0/leads", f"{BASE}/platform-api/v3.0/leads"),
        ("/platform-api", "https://TENANT.ipscape.com.au/x", "https://TENANT.ipscape.com.au/x"),
        ("/", "/v3.0/leads?cursor=a", f"{BASE}/v3.0/leads?cursor=a"),
        ("", "/v3.0/leads?cursor=a", f"{BASE}/v3.0/leads?cursor=a"),
    ],
)
def test_a_link_is_followed_in_both_styles(prefix, uri, url):
    assert resolve_uri(f"{BASE}/", prefix, uri) == url


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/platform-api/v3.0/leads?cursor=secret-cursor",
        "//evil.example/platform-api/v3.0/leads",
        "http://tenant.ipscape.com.au/v3.0/leads",
        "https://tenant.ipscape.com.au:8443/v3.0/leads",
        "https://tenant.ipscape.com.au@evil.example/",
        "https://user:pw@tenant.ipscape.com.au/",
        "https://tenant.ipscape.com.au.evil.example/",
        "ftp://tenant.ipscape.com.au/",
        "javascript:alert(1)",
        "https://[bad",
    ],
)
def test_the_token_goes_to_no_other_host(uri):
    with pytest.raises(UnexpectedAnswerError) as caught:
        resolve_uri(BASE, "/platform-api", uri)
    assert "evil" not in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=60))
def test_whatever_the_link_it_stays_on_the_host(uri):
    try:
        url = resolve_uri(BASE, "/platform-api", uri)
    except UnexpectedAnswerError:
        return
    assert url.startswith((f"{BASE}/", "https://tenant.ipscape.com.au"))


# --- walks

NIGHT = LeadQuery(
    listId=100,
    uploadedTimestampFrom=datetime(2026, 11, 20, tzinfo=ZoneInfo("Australia/Sydney")),
    uploadedTimestampTo=datetime(2026, 11, 21, tzinfo=ZoneInfo("Australia/Sydney")),
)


@pytest.mark.parametrize(
    "uri",
    [
        "/v3.0/leads?listId=100&cursor=a",
        "/v3.0/leads?cursor=a",
        "/v3.0/leads?cursor=a&listId=100&campaignId=&statusCode=null",
        "/v3.0/leads?cursor=a&pageSize=100",
        "/v3.0/leads?uploadedTimestampFrom=2026-11-20T00%3A00%3A00%2B11%3A00&cursor=a",
        "/v3.0/leads?uploadedTimestampFrom=2026-11-20T00:00:00+11:00&cursor=a",
        "/v3.0/leads?uploadedTimestampFrom=2026-11-20T00:00:00%2B1100&cursor=a",
        "/v3.0/leads?uploadedTimestampFrom=2026-11-19T13:00:00Z&cursor=a",
    ],
)
def test_a_link_with_our_filters_is_followed(uri):
    assert Walk(NIGHT).step(uri) == "a"


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/v3.0/leads?listId=101&cursor=a", "listId"),
        ("/v3.0/leads?listId=100&listId=101&cursor=a", "listId"),
        ("/v3.0/leads?listId=101&listId=100&cursor=a", "listId"),
        ("/v3.0/leads?listId=&cursor=a", "listId"),
        ("/v3.0/leads?listId=null&cursor=a", "listId"),
        ("/v3.0/leads?uploadedTimestampFrom=2026-11-20T00:00:00Z&cursor=a", "uploadedTimestampFrom"),
        ("/v3.0/leads?uploadedTimestampTo=garbage&cursor=a", "uploadedTimestampTo"),
        ("/v3.0/leads?uploadedTimestampTo=0001-01-01T00:00:00%2B10:00&cursor=a", "uploadedTimestampTo"),
        ("/v3.0/leads?cursor=a&campaignId=3", "campaignId"),
        ("/v3.0/leads?cursor=a&statusCode=1", "statusCode"),
        ("/v3.0/leads?cursor=a&customerKey=10000001", "customerKey"),
    ],
)
def test_a_link_with_other_filters_is_refused(uri, name):
    with pytest.raises(ChangedFilterError, match=name) as caught:
        Walk(NIGHT).step(uri)
    assert "10000001" not in str(caught.value)


@pytest.mark.parametrize(
    ("links", "loops"),
    [
        (["?cursor=a", "?cursor=b", None], False),
        (["?cursor=a", "?cursor=a"], True),
        (["?cursor=a", "?cursor=b", "?cursor=a"], True),
        (["?cursor=a", "?cursor=a&listId=100"], True),
        (["/v3.0/leads?cursor=a", "/platform-api/v3.0/leads?cursor=a"], True),
        (["/v3.0/leads"], True),
        (["/v3.0/leads?listId=100"], True),
        (["?cursor=a", "?cursor=&listId=100"], True),
        (["?page=2", "?page=3", None], False),
        (["?page=2", "?page=3", "?page=2"], True),
    ],
)
def test_a_walk_never_comes_back(links, loops):
    walk = Walk(NIGHT)
    for link in links[:-1]:
        walk.step(link)
    if loops:
        with pytest.raises(CursorLoopError):
            walk.step(links[-1])
    else:
        assert walk.step(links[-1]) is None


def test_a_walk_remembers_the_cursors_of_an_earlier_try():
    with pytest.raises(CursorLoopError, match="not complete"):
        Walk(NIGHT, seen=["a"]).step("?cursor=a")


@given(st.lists(st.integers(0, 30), max_size=60))
def test_a_walk_ends_whatever_the_vendor_sends(cursors):
    walk, seen = Walk(NIGHT), []
    try:
        for number in cursors:
            seen.append(walk.step(f"?cursor={number}"))
    except CursorLoopError:
        assert str(cursors[len(seen)]) in seen
    assert len(seen) == len(set(seen)) <= 31


# --- leads of a page


@pytest.mark.parametrize(
    ("query", "change"),
    [
        ({"listId": 100}, {"listId": 101}),
        ({"listId": 100}, {"listId": None}),
        ({"campaignId": 2}, {"campaignId": 3}),
        ({"statusCode": 3}, {"lastStatusCode": 4}),
        ({"statusCode": 3}, {"lastStatusCode": None}),
        ({"customerKey": "10000001"}, {"customerKey": "10000009"}),
        ({"customerKey": "10000001"}, {"customerKey": None}),
    ],
)
def test_a_lead_that_was_not_asked_for_is_noticed(query, change):
    check_item(LEAD, LeadQuery(**query))
    check_item({"leadId": 1}, LeadQuery(**query))  # a field that is absent says nothing
    check_item({**LEAD, **change}, LeadQuery())
    with pytest.raises(ChangedFilterError) as caught:
        check_item({**LEAD, **change}, LeadQuery(**query))
    assert "1000000" not in str(caught.value)


def test_a_number_as_customer_key_is_the_same_key():
    check_item({"customerKey": 10000001}, LeadQuery(customerKey="10000001"))


def test_the_printed_lead_is_read_field_by_field():
    assert read_lead(LEAD) == {
        "row_key": "999",
        "lead_id": 999,
        "customer_key": "10000001",
        "list_id": 100,
        "campaign_id": 2,
        "timezone": "Australia/Sydney",
        "phone1": None,
        "phone2": None,
        "phone3": None,
        "status_code": 3,
        "agent_id": 1002,
        "completed": False,
        "uploaded": None,
        "uploaded_at": None,
        "last_attempt": None,
        "next_attempt": None,
        "data": "{}",
    }
    assert list(read_lead(LEAD)) == list(LEAD_COLUMNS)


def test_the_unfolded_lead_too():
    row = read_lead(FULL_LEAD)
    assert (row["phone1"], row["phone2"], row["phone3"]) == ("+61499999999", None, "+61255501234")
    assert row["uploaded_at"] == datetime(2021, 8, 1, 3, 55, 6, tzinfo=UTC)
    assert row["uploaded"] == "2021-08-01T13:55:06+10:00"
    assert (row["last_attempt"], row["next_attempt"]) == ("2021-08-02T13:55:06+1000", "2019-08-24T14:15:22Z")
    assert json.loads(row["data"]) == FULL_LEAD["dataFields"]
    assert row["completed"] is True
    assert row["status_code"] is None


@pytest.mark.parametrize(
    ("phones", "found"),
    [
        (..., (None, None, None)),
        (None, (None, None, None)),
        ([], (None, None, None)),
        ([{"phoneIndex": 2, "phoneNumber": "b"}], (None, "b", None)),
        ([{"phoneIndex": 3, "phoneNumber": "c"}, {"phoneIndex": 1, "phoneNumber": "a"}], ("a", None, "c")),
        ([{"phoneIndex": "2", "phoneNumber": "b"}], (None, "b", None)),
        ([{"phoneNumber": "a"}, {"phoneNumber": "b"}], ("a", "b", None)),
        ([{"phoneIndex": None, "phoneNumber": "a"}], ("a", None, None)),
        ([{"phoneIndex": 0, "phoneNumber": "a"}, {"phoneIndex": 1, "phoneNumber": "b"}], ("a", "b", None)),
        ([{"phoneIndex": 1, "phoneNumber": "a"}, {"phoneIndex": 1, "phoneNumber": "b"}], ("a", "b", None)),
        ([{"phoneIndex": 1, "phoneNumber": None}, {"phoneIndex": 1, "phoneNumber": "b"}], ("b", None, None)),
        ([{"phoneIndex": 4, "phoneNumber": "d"}], ("d", None, None)),
        (["a", "b", "c", "d"], ("a", "b", "c")),
        ([None, "b"], (None, "b", None)),
        ([61499999999], ("61499999999", None, None)),
        ([""], ("", None, None)),
    ],
)
def test_no_shape_of_phones_loses_a_number(phones, found):
    row = read_lead({"leadId": 1} if phones is ... else {"leadId": 1, "phones": phones})
    assert (row["phone1"], row["phone2"], row["phone3"]) == found


@pytest.mark.parametrize(
    ("lead", "field"),
    [
        ({}, "leadId"),
        ({"leadId": None}, "leadId"),
        ({"leadId": "999"}, "leadId"),
        ({"leadId": 9.5}, "leadId"),
        ({"leadId": True}, "leadId"),
        ({"leadId": 1 << 63}, "leadId"),
        ({"leadId": 1, "listId": "100"}, "listId"),
        ({"leadId": 1, "listId": 1 << 63}, "listId"),
        ({"leadId": 1, "campaignId": 1.0}, "campaignId"),
        ({"leadId": 1, "lastStatusCode": True}, "lastStatusCode"),
        ({"leadId": 1, "agentId": {}}, "agentId"),
        ({"leadId": 1, "timestamps": {"uploaded": "yesterday"}}, "timestamps.uploaded"),
        ({"leadId": 1, "timestamps": {"uploaded": "2026-11-20T00:00:00"}}, "timestamps.uploaded"),
        ({"leadId": 1, "timestamps": {"uploaded": 1700000000}}, "timestamps.uploaded"),
        ({"leadId": 1, "timestamps": {"uploaded": "0001-01-01T00:00:00+10:00"}}, "timestamps.uploaded"),
        ({"leadId": 1, "phones": "0499999999"}, "phones"),
        ({"leadId": 1, "phones": {"phone1": "0499999999"}}, "phones"),
        ({"leadId": 1, "phones": [{"phoneIndex": 1, "number": "0499999999"}]}, "phones"),
    ],
)
def test_a_bad_lead_names_the_field_and_no_value(lead, field):
    with pytest.raises(BadLeadError, match=field) as caught:
        read_lead(lead)
    assert not any(secret in str(caught.value) for secret in SECRETS)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*LEAD, "leadId"]), JSON))
def test_whatever_a_lead_holds_it_is_read_or_refused(changes):
    try:
        row = read_lead({**FULL_LEAD, **changes})
    except BadLeadError:
        return
    assert pl.DataFrame([row], schema=LEAD_COLUMNS).height == 1


# --- times and windows


@pytest.mark.parametrize(
    "text", ["2021-08-01T13:55:06+10:00", "2021-08-01T13:55:06+1000", "2021-08-01T03:55:06Z"]
)
def test_the_three_forms_of_time(text):
    assert parse_time(text) == datetime(2021, 8, 1, 3, 55, 6, tzinfo=UTC)
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "2021-08-01", "2021-08-01T13:55:06", "now", "01/08/2021", "24:00Z"])
def test_other_times_are_refused(text):
    with pytest.raises(ValueError):
        parse_time(text)


ZONES = ("America/New_York", "Australia/Sydney", "Australia/Lord_Howe", "America/Santiago", "America/Havana",
         "Africa/Cairo", "Asia/Kathmandu", "Pacific/Apia", "Europe/London", "UTC")  # fmt: skip
CHANGES = [
    ("America/New_York", date(2026, 3, 8), 23),
    ("America/New_York", date(2026, 11, 1), 25),
    ("Australia/Sydney", date(2026, 10, 4), 23),
    ("Australia/Sydney", date(2026, 4, 5), 25),
    ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ("America/Santiago", date(2026, 9, 6), 23),  # there is no midnight that night
    ("America/Havana", date(2026, 11, 1), 25),  # midnight comes twice
    ("Pacific/Apia", date(2011, 12, 30), 0),  # there was no such day
]


def source(zone: str) -> PlatformSource:
    return PlatformSource(kind="pull_platform_leads", name="s", zone=zone)


def moment(time: datetime) -> datetime:
    return time.astimezone(UTC)


@pytest.mark.parametrize(("zone", "night", "hours"), CHANGES)
@pytest.mark.parametrize("count", [1, 4, 7, 16])
def test_a_night_with_a_clock_change_is_cut_evenly(zone, night, hours, count):
    start, end = source(zone).window(night)
    assert moment(end) - moment(start) == timedelta(hours=hours)
    lengths = [moment(until) - moment(since) for since, until in window_shards(start, end, count)]
    assert sum(lengths, timedelta()) == timedelta(hours=hours)
    assert max(lengths) - min(lengths) <= timedelta(seconds=1)


@given(
    st.sampled_from(ZONES),
    st.dates(date(2007, 1, 1), date(2037, 1, 1)) | st.sampled_from([night for _, night, _ in CHANGES]),
    st.integers(1, 16),
)
def test_shards_cover_a_night_without_gap_or_overlap(zone, night, count):
    start, end = source(zone).window(night)
    shards = window_shards(start, end, count)
    assert len(shards) == count
    assert (moment(shards[0][0]), moment(shards[-1][1])) == (moment(start), moment(end))
    for (since, until), (following, _) in itertools.pairwise(shards):
        assert moment(since) <= moment(until) == moment(following)
    assert all(time.microsecond == 0 for shard in shards for time in shard)
    # The next night begins where this one ends.
    assert moment(source(zone).window(night + timedelta(days=1))[0]) == moment(end)


@given(
    st.sampled_from(CHANGES[:5]),
    st.integers(1, 16),
    st.integers(0, 25 * 3600 * 10 - 1),
)
def test_a_lead_is_found_by_the_one_shard_it_belongs_to(change, count, tenths):
    """The vendor compares the time it holds, both ends included, and shows it without its fraction."""
    zone, night, _ = change
    start, end = source(zone).window(night)
    held = moment(start) + timedelta(seconds=tenths / 10)
    shown = held.replace(microsecond=0)
    kept = [
        (since, until)
        for since, until in window_shards(start, end, count)
        if moment(since) <= held <= moment(until) and since <= shown < until
    ]
    assert len(kept) == (1 if held < moment(end) else 0)


# --- queries and settings


def test_the_query_is_text_with_offsets():
    assert NIGHT.params() == {
        "listId": "100",
        "uploadedTimestampFrom": "2026-11-20T00:00:00+11:00",
        "uploadedTimestampTo": "2026-11-21T00:00:00+11:00",
    }
    assert query_text(NIGHT) == (
        "listId=100&uploadedTimestampFrom=2026-11-20T00%3A00%3A00%2B11%3A00"
        "&uploadedTimestampTo=2026-11-21T00%3A00%3A00%2B11%3A00"
    )
    assert query_text(LeadQuery(listId=0)) == "listId=0"
    assert LeadQuery().params() == {}


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({}, {"Authorization": "Bearer tok"}),
        ({"auth_header": "X-Token", "auth_scheme": "none"}, {"X-Token": "tok"}),
        ({"auth_scheme": ""}, {"Authorization": "tok"}),
        ({"auth_scheme": "Token"}, {"Authorization": "Token tok"}),
    ],
)
def test_the_token_goes_where_the_tenant_wants_it(settings, header):
    assert PlatformSettings(**settings).auth("tok") == header


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, "/platform-api/v3.0/leads"),
        ({"prefix": "/"}, "/v3.0/leads"),
        ({"prefix": ""}, "/v3.0/leads"),
        ({"prefix": "/a/"}, "/a/v3.0/leads"),
        ({"paths": {"list_leads": "/v4/leads"}}, "/platform-api/v4/leads"),
    ],
)
def test_paths_come_from_one_table(settings, path):
    assert PlatformSettings(**settings).path("list_leads") == path
    assert PlatformSettings().path("get_lead", leadId=5) == "/platform-api/v3.0/leads/5"


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"paths": {"nothing": "/x"}}, "list_lists"),
        ({"paths": {"list_leads": "v3.0/leads"}}, "slash"),
        ({"paths": {"list_leads": 5}}, "slash"),
        ({"paths": "leads"}, "object"),
        ({"prefix": "platform-api"}, "slash"),
        ({"auth_header": ""}, "auth_header"),
    ],
)
def test_a_wrong_setting_is_named(settings, word):
    with pytest.raises(ValueError, match=word):
        PlatformSettings(**settings)
