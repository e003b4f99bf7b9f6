"""Whether a list is live: only a plain `false` of the vendor says that it is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from listkeeper.operators.platform_push import is_live


@pytest.mark.parametrize(
    ("of_list", "of_campaign", "live"),
    [
        ({"inDialler": False}, {"isActive": True}, False),
        ({"inDialler": True}, {"isActive": False}, False),
        ({"inDialler": True}, {"isActive": True}, True),
        ({}, {"isActive": True}, True),
        ({"inDialler": None}, {}, True),
        ({"inDialler": "false"}, {"isActive": "no"}, True),
    ],
)
def test_what_the_vendor_leaves_open_counts_as_live(of_list, of_campaign, live):
    hook = SimpleNamespace(get_list=lambda _: of_list, outbound_statistics=lambda _: of_campaign)
    assert is_live(hook, 7, 3) is live
