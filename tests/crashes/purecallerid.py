"""PureCallerID's nights: Five9 lists that are replaced or appended to, and RingCX lists."""

from __future__ import annotations

import os
from collections import Counter
from typing import ClassVar

from hypothesis import strategies as st

from tests.crashes.night import ROWS, CrashingRun, Json, Night, Schedule, turned_away
from tests.flows.conftest import connection, flow_file, lead, phone

WAIT = {"callback_hours": 0.05}
"""Three minutes: a webhook may well come later."""


class PureCallerId(Night):
    """The judge is the dialer's list: no number twice, and as many as the run says."""

    vendor = "purecallerid"
    flows: ClassVar = {
        "replace": flow_file(name="replace", **WAIT),
        "append": flow_file(name="append", mode="APPEND", **WAIT),
        "append_unique": flow_file(name="append_unique", mode="APPEND", unique_column="uniqueId", **WAIT),
        "asked": flow_file(
            name="asked", approval={"ask": "always", "own_runs": True}, owner_group="g", **WAIT
        ),
        "canary": flow_file(
            name="canary", mode="APPEND", unique_column="uniqueId", canary={"rows": 3}, **WAIT
        ),
        "ringcx": flow_file("ringcx", name="ringcx", dedupe="RING_RETAIN_ALL", **WAIT),
    }
    safe = ("replace", "append_unique", "asked", "canary")
    most_faults = 2
    faults = st.one_of(
        st.builds(
            lambda fault, nth: {"fault": fault, "nth": nth},
            st.sampled_from(["drop_before", "drop_after", "truncated", "broken_json"]),
            st.integers(1, 3),
        ),
        st.builds(
            lambda seconds, nth: {"fault": "late_answer", "seconds": seconds, "nth": nth},
            st.sampled_from([5, 300]),
            st.integers(1, 3),
        ),
        turned_away(3),
        st.builds(
            lambda fault, nth: {"fault": fault, "nth": nth, "seconds": 400},
            st.sampled_from(["webhook_lost", "webhook_late", "webhook_garbage"]),
            st.integers(1, 6),
        ),
        st.builds(
            lambda fault: {"fault": fault, "times": None},
            st.sampled_from(["webhook_forged", "webhook_doubled", "webhook_reordered"]),
        ),
        st.builds(
            lambda fault, nth: {"fault": fault, "nth": nth},
            st.sampled_from(["load_error", "load_crash"]),
            st.integers(1, 2),
        ),
    )
    scenarios: ClassVar = {
        "": (),
        "429": ({"fault": "status", "status": 429, "retry_after": 0},),
        "lost webhooks": ({"fault": "webhook_lost", "times": None},),
    }

    def connect(self) -> None:
        os.environ["AIRFLOW_CONN_PURECALLERID_DEFAULT"] = connection(self.sandbox)

    def in_doubt(self, kind: str, point: str) -> bool:
        return kind not in self.safe and point in ("after Ledger.intend", "before PureCallerIdHook.load_list")

    def set_up(self, kind: str) -> None:
        self.sandbox.switch(self.vendor, step_seconds=2, inactive=[], dnc=[])

    def leads(self, kind: str) -> list[Json]:
        return [lead(number) for number in range(ROWS)]

    def numbers(self, kind: str) -> Counter[str]:
        """How often each number stands on the list."""
        flow = self.flows[kind]
        rows = self.sandbox.state(self.vendor)["lists"][flow["list"]]
        return Counter(row[flow["columns"][0]["to"]] for row in rows)

    def meant(self, kind: str) -> Counter[str]:
        """What the list should hold in the end."""
        return Counter(map(phone, range(ROWS)))

    def kept(self, kind: str, summary: Json, before: int) -> int:
        """How many of the rows that stood on the list before a run stand there beside what it delivered."""
        return before if summary["held"] else 0  # what a run before has delivered is held

    def judge(self, run: CrashingRun, schedule: Schedule, before: int) -> int:
        self.world.sleep(600)  # the vendor does what it took in
        on_list = self.numbers(schedule.kind)
        assert set(on_list.values()) <= {1}, "a lead was put on the list twice"
        if not run.summary:
            assert run.state == "failed"
            return len(on_list)
        run.assert_accounted()
        summary = run.summary
        if summary["verdict"] in ("refused", "unchanged"):
            assert len(on_list) == before, "something was sent, and the run says it was not"
        else:
            kept = self.kept(schedule.kind, summary, before)
            assert summary["delivered"] <= len(on_list) <= summary["delivered"] + summary["uncertain"] + kept
        if run.state == "success":
            assert on_list == self.meant(schedule.kind)
        return len(on_list)

    def last_word(self, run: CrashingRun, schedule: Schedule) -> None:
        if schedule.kind in self.safe:
            assert all(state in ("success", "skipped") for state in run.tasks.values()), run.problems
            assert self.numbers(schedule.kind) == self.meant(schedule.kind), (
                "the list does not hold what it should"
            )
