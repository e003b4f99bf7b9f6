"""A load that waits for its callback, in the ledger that the web app opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.ledger import BatchPlan, Ledger, Load

VENDOR = "purecallerid"
DAG = "load_purecallerid__five9_daily"
RUN = "partition__2026-11-20+02:00"


@pytest.fixture
def ledger(state) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{state}/ledger.db") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def open_load(ledger) -> Callable[..., Load]:
    """Open a load with one batch that may be sent; name what should differ."""

    def opened(**changes: Any) -> Load:
        values: dict[str, Any] = {
            "flow": "five9_daily",
            "vendor": VENDOR,
            "dag_id": DAG,
            "run_id": RUN,
            "target": "purecallerid:64be:ATTEMPT",
            "night": "2026-11-20",
            "source_time": datetime(2026, 11, 21, tzinfo=UTC),
            "snapshot": "snapshots/callers/2026-11-20",
            "plan_hash": "c0ffee",
            "mode": "apply",
            "requested_by": "ana",
            "reason": "Campaign <b>start</b>",
            "rows_in": 10,
        }
        load = ledger.open_load(**values | changes)
        ledger.plan_batches(load.id, [BatchPlan(1, 10, "aa")])
        ledger.claim_target(load.id, timedelta(hours=1))
        return load

    return opened


@pytest.fixture
def load(open_load) -> Load:
    return open_load()


@pytest.fixture
def token(ledger, load) -> str:
    return ledger.intend(load.id, 1)
