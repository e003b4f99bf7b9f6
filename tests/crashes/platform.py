"""The Platform API's nights: leads pushed to a list that may have to be created, two of which the vendor refuses; and a
second push to a list, whose leads have changed since the first.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import closing
from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st

from tests.crashes.night import CrashingRun, Json, Night, Schedule, lost_answers, turned_away
from tests.flows.conftest import lead, make_snapshot

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


WIN_BACK = 300
UPDATES = FLOW | {
    "name": "update",
    "list": "Win-back",
    "create_list": False,
    "changed": "update",
    "chunk_rows": 2,
}
OLD = {number: (f"+1201200{number:04d}", "NJ") for number in (0, 1, 2, 3, 5, 8)}
"""What stands on the list before the second push, by number: phone and state. A lead 4 was pushed too, and deleted."""

NEW = OLD | {3: ("+12012009003", "NJ"), 5: (OLD[5][0], "TX"), 8: (OLD[8][0], "NY"), 6: ("+12012000006", "NJ")}
"""What must stand there after it. The vendor refuses the change of lead 2, and a new lead 7."""

NOTE = "an agent's"
"""A free field that no flow sends, and that no change may take off."""


def changed(number: int, **changes: object) -> Json:
    """A lead of the second push."""
    phone, state = NEW.get(number, (f"+1201200{number:04d}", "gone"))
    return lead(number, phone1=phone, data=json.dumps({"state": state}), **changes)


class Platform(Night):
    """The judge is the list: no key twice, one list of the name, each that counts as delivered, as it was sent."""

    vendor = "platform"
    flows: ClassVar = {
        "push": FLOW,
        "canary": FLOW | {"name": "canary", "canary": {"rows": 2, "max_rejected_percent": 50}},
        "update": UPDATES,
    }
    faults = st.one_of(
        lost_answers(
            3,
            ("create_bulk", "create_list", "get_bulk", "list_bulk_errors", "list_leads", "list_lists"),
        ),
        lost_answers(6, ("update_lead", "list_leads")),
        turned_away(3, ("create_bulk", "create_list", "get_bulk", "list_leads")),
        turned_away(6, ("update_lead", "list_leads"), (400, 401, 404, 405, 429, 500, 503)),
        st.builds(
            lambda fault, nth: {"fault": fault, "op": "update_lead", "nth": nth, "times": 5},
            st.sampled_from(["drop_before", "drop_after", "broken_json"]),
            st.integers(1, 6),
        ),
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
        if kind == "update":
            self.crashes.begin(())
            from listkeeper.hooks.platform import PlatformHook

            with closing(PlatformHook()) as hook:
                for number, (phone, state) in OLD.items():
                    data = {"state": state, "note": NOTE}
                    about = {"listId": WIN_BACK, "customerKey": f"C-{number:05d}", "phone1": phone}
                    hook.create_lead(about | {"leadData": data})

    def _play_beginning(self, kind: str) -> Any:
        """What a second push finds in our books was written by the first."""
        if kind != "update":
            return super()._play_beginning(kind)
        new = self._empty
        self._reset(kind)
        new.put_back(self.world.place)
        before = [lead(number, data='{"state": "NJ"}') for number in (*OLD, 4)]
        make_snapshot(before, source_time=self.world.now() - timedelta(hours=5))
        run = self._run(kind, "before").go()
        assert run.counts == {"delivered": len(OLD) + 1}, run.summary
        self._empty = type(new).of(self.world.place)
        try:
            return super()._play_beginning(kind)
        finally:
            self._empty = new

    def there(self, kind: str) -> int:
        return len(OLD) if kind == "update" else 0

    def leads(self, kind: str) -> list[Json]:
        if kind == "update":
            return [changed(number, **(ODD_ZONE if number in (2, 7) else {})) for number in range(9)]
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
        if schedule.kind == "update":
            self.judge_values(run)
        if not run.summary:
            assert run.state == "failed"
            return len(there)
        run.assert_accounted()
        summary = run.summary
        if schedule.kind == "update":
            return len(there)
        if summary["verdict"] not in ("refused", "unchanged"):
            new = len(there) - before
            assert summary["delivered"] <= new <= summary["delivered"] + summary["uncertain"]
            delivered = run.outcomes.filter(run.outcomes["state"] == "delivered")["row_key"]
            assert {f"C-{int(key) - 1000:05d}" for key in delivered} <= set(there)
        if run.state == "success":
            given_up = run.outcomes.filter(run.outcomes["reason"] == "vendor_import_failed")["row_key"]
            assert there == GOOD - Counter(f"C-{int(key) - 1000:05d}" for key in given_up)
        return len(there)

    @property
    def values(self) -> dict[int, tuple[str, str]]:
        """Phone and state of each lead, by its number; what an agent has noted stands there still."""
        leads = self.sandbox.state(self.vendor)["written"]
        found = {int(one["customerKey"].removeprefix("C-")): one for one in leads}
        assert all(found[number]["data"].get("note") == NOTE for number in OLD), "a note was lost"
        return {number: (one["phones"][0], one["data"]["state"]) for number, one in found.items()}

    def judge_values(self, run: CrashingRun) -> None:
        """Each lead has its old values or its new ones, and the new ones where the run says so."""
        there = self.values
        assert set(OLD) <= set(there) <= set(NEW), (
            "a lead was lost, or one came back that somebody had deleted"
        )
        assert all(value in (OLD.get(number), NEW[number]) for number, value in there.items())
        if not run.summary:
            return
        for key, state, reason in run.outcomes.select("row_key", "state", "reason").iter_rows():
            number = int(key) - 1000
            if state == "delivered":
                assert there.get(number) == NEW.get(number, "gone"), f"{number} counts as delivered"
            elif reason == "vendor_lead_gone":
                assert number == 4
            elif state == "held" and reason == "already_delivered":
                assert there.get(number) == NEW.get(number, "gone"), f"{number} counts as unchanged"

    def last_word(self, run: CrashingRun, schedule: Schedule) -> None:
        if schedule.kind == "update":
            assert self.values == NEW, "the last values do not stand"
            assert set(run.reasons) <= {
                "delivered",
                "already_delivered",
                "vendor_lead_gone",
                "vendor_row_error",
            }
        else:
            assert self.keys == GOOD, "the list does not hold the night"
