"""A real backfill: what follows it only plans, but for the list whose flow file releases it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]  # seconds: of a stack on a busy machine

SOURCE = """
kind: pull_platform_leads
name: history
zone: America/New_York
schedule: "0 {hour} * * *"
filters: {{listId: 100}}
"""
LIST = """
kind: load_purecallerid
name: {name}
source: history
dialer: five9
campaign: 64be9f5c0c8d4a1f2b3c4d5e
list: {list}
mode: REPLACE
released: true
columns: [{{to: number1, from: phone}}]
guards: {{max_source_age_hours: 9999, max_shrink_percent: 100}}
"""
RELEASED = "released_backfill: {first_night: 2000-01-01, last_night: 2999-12-31, until: 2999-12-31}\n"
PULL = "pull_platform_leads__history"
LISTS = {"calm": "Nightly callers", "asked": "Weekend callers"}


def test_what_follows_a_backfill_writes_only_where_the_flow_file_says_so(rigged: Callable[..., Any]) -> None:
    hour = (datetime.now(ZoneInfo("America/New_York")).hour + 12) % 24  # not while the test runs
    flows = {"history.yaml": SOURCE.format(hour=hour)}
    flows |= {f"{name}.yaml": LIST.format(name=name, list=list_name) for name, list_name in LISTS.items()}
    flows["asked.yaml"] += RELEASED
    dags = {name: f"load_purecallerid__{name}" for name in LISTS}
    with rigged(flows) as rig:
        rig.begin(PULL, *dags.values())
        for dag_id in (PULL, *dags.values()):
            rig.airflow.unpause(dag_id)
        nights = sorted(night for night in rig.nights if night < rig.last_night)[-2:]
        body = {
            "dag_id": PULL,
            "from_date": f"{nights[0]}T00:00:00+00:00",
            "to_date": f"{date.fromisoformat(nights[1]) + timedelta(days=2)}T00:00:00+00:00",
            "reprocess_behavior": "none",
            "max_active_runs": 1,  # oldest first, or the fence would refuse the older night
            "run_backwards": False,
            "dag_run_conf": {},
        }
        rig.airflow._call("POST", "backfills", json=body)
        rig.wait("the pulls", lambda: ended(rig, PULL) >= set(nights), seconds=400)
        for dag_id in dags.values():
            rig.wait(
                f"{dag_id} to follow", lambda dag_id=dag_id: ended(rig, dag_id) >= set(nights), seconds=400
            )
        backfilled = {run["partition_key"] for run in rig.airflow.runs(PULL) if run["run_type"] == "backfill"}
        assert backfilled >= set(nights)

        for run in of_nights(rig, dags["calm"], nights):
            state, summary = rig.ended(dags["calm"], run["dag_run_id"])
            assert (state, summary["verdict"]) == ("success", "planned"), summary
            assert summary["held"] > 0 and summary["delivered"] == 0
        assert rig.loads_of(LISTS["calm"]) == []

        ends = [rig.ended(dags["asked"], run["dag_run_id"]) for run in of_nights(rig, dags["asked"], nights)]
        assert "delivered" in {summary["verdict"] for _, summary in ends}, ends
        # Two nights may end in either order: the older one is then refused, never written over the newer.
        assert {summary["verdict"] for _, summary in ends} <= {"delivered", "refused", "failed"}
        assert len(rig.rows_on(LISTS["asked"])) > 0


def of_nights(rig: Any, dag_id: str, nights: list[str]) -> list[Any]:
    """The runs of these nights."""
    return [run for run in rig.airflow.runs(dag_id) if run["partition_key"] in nights]


def ended(rig: Any, dag_id: str) -> set[str]:
    """The nights of the runs that have ended."""
    return {run["partition_key"] for run in rig.airflow.runs(dag_id) if run["state"] in ("success", "failed")}
