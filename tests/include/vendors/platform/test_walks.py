"""How a list of the Platform API is walked, cut into shards, and asked for."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.flow_files import PlatformSource
from include.vendors.platform import (
    ChangedFilterError,
    CursorLoopError,
    LeadQuery,
    PlatformSettings,
    UserQuery,
    Walk,
    parse_time,
    query_text,
    window_shards,
)

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


def test_words_of_the_vendor_have_no_case_and_keys_of_the_customer_have():
    agents = UserQuery(userType="agent", accountActive=True)
    assert Walk(agents).step("/v3.0/users?userType=AGENT&accountActive=True&cursor=a") == "a"
    with pytest.raises(ChangedFilterError, match="customerKey"):
        Walk(LeadQuery(customerKey="k-1")).step("/v3.0/leads?customerKey=K-1&cursor=a")


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


# --- times and windows


@pytest.mark.parametrize(
    "text",
    [
        "2021-08-01T13:55:06+10:00",
        "2021-08-01T13:55:06+1000",
        "2021-08-01T03:55:06Z",
        "2021-08-01t03:55:06z",
        "2021-08-01T13:55:06.0000000+10:00",
    ],
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


def test_a_filter_of_time_has_an_offset():
    with pytest.raises(ValueError, match="needs a zone"):
        LeadQuery(uploadedTimestampFrom=datetime(2026, 11, 20)).params()  # noqa: DTZ001


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
        ({"paths": {"delete_lead": "/v4/leads/{listId}"}}, "listId"),
        ({"paths": "leads"}, "object"),
        ({"prefix": "platform-api"}, "slash"),
        ({"auth_header": ""}, "auth_header"),
    ],
)
def test_a_wrong_setting_is_named(settings, word):
    with pytest.raises(ValueError, match=word):
        PlatformSettings(**settings)
