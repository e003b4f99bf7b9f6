"""Which night a run is for."""

from datetime import date

import pytest

from include.nights import chosen_night


@pytest.mark.parametrize(
    ("form", "partition", "night"),
    [
        (None, None, None),
        ("2026-11-20", None, date(2026, 11, 20)),
        (None, "2026-11-20", date(2026, 11, 20)),
        ("2026-11-20", "2026-11-20", date(2026, 11, 20)),
    ],
)
def test_the_night_is_the_one_that_form_or_partition_name(form, partition, night):
    assert chosen_night(form, partition) == night


@pytest.mark.parametrize("text", ["../../etc", "20 November", "2026-02-30"])
def test_what_is_no_date_is_no_night(text):
    with pytest.raises(ValueError, match="is no night"):
        chosen_night(None, text)


def test_two_different_nights_are_refused():
    with pytest.raises(ValueError, match="give only one"):
        chosen_night("2026-11-19", "2026-11-20")
