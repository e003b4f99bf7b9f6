"""The Platform API's nights: leads pushed to a list that may have to be created, two of which the vendor refuses."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import ClassVar

from hypothesis import strategies as st

from tests.crashes.night import CrashingRun, Json, Night, Schedule, lost_answers, turned_away
from tests.flows.conftest import lead

ROWS, BAD = 7, (2, 6)
GOOD = Counter(f"C-{number:05d}" for number in range(ROWS) if number not in BAD)
LIST, CAMPAIGN = "Autumn", 3
ODD_ZONE = {"timezone": "Mars/Phobos"}
"""What the vendor refuses and our rules do not know."""

FLOW = {
    "kind": "push_platform_leads",
    "name": "push",
    "source": "callers",
    "campaign": CAMPAIGN,
    "list": LIST,
    "create_list": True,
    "released": True,
    "chunk_rows": 5,
    "import_hours": 0.5,
    "lookup_minutes": 5,
    "min_valid_share": 0.5,
    "columns": [
        {"to": "customerKey", "from": "customer_key"},
        {"to": "phone1", "from": "phone"},
        {"to": "timezone", "from": "timezone"},
        {"to": "leadData.state", "from": "data.state"},
    ],
}


class Platform(Night):
    """The judge is the list: no key twice, one list of the name, and every lead that counts as delivered."""

    vendor = "platform"
    flows: ClassVar = {
        "push": FLOW,
        "canary": FLOW | {"name": "canary", "canary": {"rows": 2, "max_rejected_percent": 50}},
    }
    faults = st.one_of(
        lost_answers(
            3, ("create_bulk", "create_list", "get_bulk", "list_bulk_errors", "list_leads", "list_lists")
        ),
        turned_away(3, ("create_bulk", "create_list", "get_bulk", "list_leads")),
        st.builds(
            lambda fault, nth: {"fault": fault, "op": "create_bulk", "nth": nth},
            st.sampled_from(["import_error", "import_loses_row"]),
            st.integers(1, 4),
        ),
    )
    scenarios: ClassVar = {
        "": (),
        "429": ({"fault": "status", "op": "create_bulk", "retry_after": 0},),
        "broken import": ({"fault": "import_error", "op": "create_bulk"},),
    }

    def connect(self) -> None:
        token = self.sandbox.info()["platform"]["token"]
        about = {"conn_type": "platform", "host": self.sandbox.base_url, "password": token}
        os.environ["AIRFLOW_CONN_PLATFORM_DEFAULT"] = json.dumps(about)

    def set_up(self, kind: str) -> None:
        self.sandbox.switch(self.vendor, bulk_step_seconds=2)

    def leads(self, kind: str) -> list[Json]:
        return [lead(number, **(ODD_ZONE if number in BAD else {})) for number in range(ROWS)]

    @property
    def keys(self) -> Counter[str]:
        """How often each customer key stands on the list, past the client and past all faults."""
        leads = self.sandbox.state(self.vendor)["written"]
        assert len({one["listId"] for one in leads}) <= 1, "the list was created twice"
        return Counter(one["customerKey"] for one in leads)

    def judge(self, run: CrashingRun, schedule: Schedule, before: int) -> int:
        self.world.sleep(600)
        there = self.keys
        assert set(there.values()) <= {1}, "a lead was put on the list twice"
        if not run.summary:
            assert run.state == "failed"
            return len(there)
        run.assert_accounted()
        summary = run.summary
        if summary["verdict"] not in ("refused", "unchanged"):
            new = len(there) - before
            assert summary["delivered"] <= new <= summary["delivered"] + summary["uncertain"]
            delivered = run.outcomes.filter(run.outcomes["state"] == "delivered")["row_key"]
            assert {f"C-{int(key) - 1000:05d}" for key in delivered} <= set(there)
        if run.state == "success":
            assert there == GOOD
        return len(there)

    def last_word(self, run: CrashingRun, schedule: Schedule) -> None:
        assert self.keys == GOOD, "the list does not hold the night"
