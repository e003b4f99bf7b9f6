"""One night of each vendor, to be played as often as a module wants."""

from __future__ import annotations

from collections.abc import Iterator

# Before anything imports Airflow, it needs a home.
from tests.plugins.conftest import airflow_home  # noqa: F401

# isort: split
import pytest

from tests.crashes.night import Night
from tests.crashes.points import Crashes
from tests.crashes.vendors import VENDORS
from tests.crashes.world import world


@pytest.fixture(scope="module", params=VENDORS)
def night(request: pytest.FixtureRequest) -> Iterator[Night]:
    vendor = VENDORS[request.param]
    with world(with_vicidial=vendor.vendor == "vicidial") as place, Crashes().armed() as crashes:
        yield vendor(place, crashes)
