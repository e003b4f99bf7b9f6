"""The table of endpoints: whole, without doubles, and each entry of it a connection's to replace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.vendors.platform import ENDPOINTS, BulkWords, PlatformSettings


def test_all_23_in_the_order_of_the_vendors_page():
    assert [endpoint.number for endpoint in ENDPOINTS.values()] == list(range(1, 24))
    assert len({(endpoint.method, endpoint.path) for endpoint in ENDPOINTS.values()}) == 23
    assert len({endpoint.title for endpoint in ENDPOINTS.values()}) == 23


def test_what_may_not_be_sent_twice():
    """A repeat would make a lead, a list or an import twice, or lose the counts that prove an erasure."""
    once = {name for name, endpoint in ENDPOINTS.items() if not endpoint.repeats}
    assert once == {"create_lead", "create_list", "bulk_create", "delete_customer"}
    assert all(ENDPOINTS[name].writes for name in once)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_path_and_method_can_be_replaced(name):
    usual = PlatformSettings()
    assert usual.method(name) == ENDPOINTS[name].method
    other = PlatformSettings(paths={name: "PATCH /v4/other"})
    assert (other.method(name), other.path(name, **dict.fromkeys(places(name), 7))) == (
        "PATCH",
        "/platform-api/v4/other",
    )
    moved = PlatformSettings(paths={name: ENDPOINTS[name].path.replace("v3.0", "v9")})
    assert moved.method(name) == ENDPOINTS[name].method
    assert "/v9/" in moved.path(name, **dict.fromkeys(places(name), 7))
    assert not any(mark in usual.path(name, **dict.fromkeys(places(name), 7)) for mark in "{}")


def places(name: str) -> list[str]:
    return [part[1:-1] for part in ENDPOINTS[name].path.split("/") if part.startswith("{")]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"paths": {"get_lead": "/v3.0/leads/{id}"}}, "get_lead has no id"),
        ({"paths": {"get_lead": "FETCH /v3.0/leads"}}, "METHOD"),
        ({"paths": {"get_lead": "GET v3.0/leads"}}, "slash"),
        ({"paths": {"get_lead": "/a b"}}, "slash"),
        ({"null_clears": "yes"}, "null_clears"),
    ],
)
def test_a_wrong_setting_is_named(settings, word):
    with pytest.raises(ValueError, match=word):
        PlatformSettings(**settings)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"done": ()}, "bulk_done"),
        ({"done": ("ok", " ")}, "bulk_done"),
        ({"failed": (5,)}, "bulk_failed"),
        ({"failed": ("COMPLETED",)}, "both"),
        ({"first_index": 2}, "bulk_first_index"),
        ({"first_index": True}, "bulk_first_index"),
    ],
)
def test_wrong_words_are_named(words, complaint):
    with pytest.raises(ValueError, match=complaint):
        BulkWords(**words)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("completed", "done"),
        ("Completed", "done"),
        (" COMPLETED ", "done"),
        ("failed", "failed"),
        ("queued", "open"),
        ("processing", "open"),
        ("completed with errors", "open"),
        ("", "open"),
    ],
)
def test_a_status_word_in_any_letter_case(word, state):
    assert BulkWords().state(word) == state


@given(st.text(max_size=20))
def test_an_unknown_word_is_never_an_end(word):
    known = {"finished", "broken"}
    if word.strip().casefold() not in known:
        assert BulkWords(done=("Finished",), failed=("broken",)).state(word) == "open"
