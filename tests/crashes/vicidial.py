"""Vicidial's nights: old leads moved to the archive, three batches, by a server that may die between its steps."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import ClassVar

from hypothesis import strategies as st

from tests.crashes.night import CrashingRun, Json, Night, Schedule, lost_answers, turned_away

STEPS = ("select", "plan", "approve", "archive", "reconcile", "report")
FLOW = {
    "kind": "archive_vicidial_leads",
    "name": "archive",
    "zone": "Africa/Johannesburg",
    "released": True,
    "batch_size": 40,
    "select": {
        "database": "vicidial_db",
        "rules": [
            {"name": "nobody", "older_than_days": 180, "statuses": ["NA", "A", "AA", "B"]},
            {"name": "new", "older_than_days": 365, "since": "entry", "statuses": ["NEW"]},
        ],
    },
}


class Vicidial(Night):
    """The judge is the dialer's own tables: every lead in exactly one of them, and in the archive once."""

    vendor = "vicidial"
    steps = STEPS
    load = "archive"
    flows: ClassVar = {"archive": FLOW, "canary": FLOW | {"name": "canary", "canary": {"rows": 30}}}
    faults = st.one_of(
        lost_answers(6),
        turned_away(6, statuses=(429, 500, 503)),
        st.builds(
            lambda fault, nth: {"fault": fault, "nth": nth},
            st.sampled_from(
                [
                    "crash_in_insert",
                    "crash_after_insert",
                    "crash_in_update",
                    "crash_after_update",
                    "crash_in_delete",
                ]
            ),
            st.integers(1, 6),
        ),
    )
    scenarios: ClassVar = {
        "": (),
        "429": ({"fault": "status", "retry_after": 0},),
        "died": ({"fault": "crash_in_delete", "nth": 2},),
    }

    def connect(self) -> None:
        key = self.sandbox.info()["vicidial"]["key"]
        api = {"conn_type": "vicidial", "host": self.sandbox.base_url, "password": key}
        os.environ["AIRFLOW_CONN_VICIDIAL_DEFAULT"] = json.dumps(api)
        database = {"conn_type": "sqlite", "host": str(self.world.place / "vicidial.db")}
        os.environ["AIRFLOW_CONN_VICIDIAL_DB"] = json.dumps(database)

    def leads(self, kind: str) -> list[Json]:
        return []

    def tables(self) -> tuple[set[int], Sequence[int]]:
        """Ids of the list, and of the archive."""
        ids = self.sandbox.state(self.vendor)["ids"]
        return set(ids["list"]), list(ids["archive"])

    def judge(self, run: CrashingRun, schedule: Schedule, before: int) -> int:
        listed, archived = self.tables()
        assert len(set(archived)) == len(archived), "a lead stands in the archive twice"
        everybody = set(range(1, 601))
        assert listed | set(archived) == everybody, "a lead is gone"
        summary = run.summary
        if not summary:
            assert run.state == "failed"
            return len(archived)
        outcomes = run.outcomes
        assert outcomes.height == outcomes["row_key"].n_unique() == summary["rows_in"]
        for state, rows in outcomes["state"].value_counts().iter_rows():
            assert summary[state] == rows
        delivered = set(outcomes.filter(outcomes["state"] == "delivered")["row_key"].cast(int))
        assert delivered <= set(archived), "a lead counts as archived and is not"
        if run.state == "success":
            assert not listed & set(archived), "a lead stands in both tables"
        return len(archived)

    def last_word(self, run: CrashingRun, schedule: Schedule) -> None:
        listed, archived = self.tables()
        assert not listed & set(archived), "a lead stands in both tables"
        assert len(archived) > 50, "the archive does not hold the night"
