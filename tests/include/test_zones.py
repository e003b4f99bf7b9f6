"""Time zones by name, and the next time of day in one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from include.zones import known_zone, next_at


@pytest.mark.parametrize("name", ["", "Mars/Phobos", "../etc/passwd", "America"])
def test_a_name_that_is_no_zone_is_refused(name):
    with pytest.raises(ValueError, match="is no IANA time zone; write one such as"):
        known_zone(name)


@pytest.mark.parametrize(
    ("after", "at"),
    [
        (datetime(2026, 11, 21, 1, 59, tzinfo=UTC), datetime(2026, 11, 21, 2, 0, tzinfo=UTC)),
        (datetime(2026, 11, 21, 2, 0, tzinfo=UTC), datetime(2026, 11, 22, 2, 0, tzinfo=UTC)),
        (datetime(2026, 11, 21, 20, 0, tzinfo=UTC), datetime(2026, 11, 22, 2, 0, tzinfo=UTC)),
    ],
)
def test_the_next_time_of_day_is_always_ahead(after, at):
    assert next_at("07:30", "Asia/Kolkata", after) == at
