"""The two sides of a run are compared where it ends: what came in, and what the outcome files hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from listkeeper.operators.reconcile import ReconcileOperator

from include import outcomes
from include.leads.schema import LEAD_COLUMNS
from include.staging import Manifest, RunFolder, run_path

STEPS = ("find_snapshot", "clean", "plan", "load")


def summary(tmp_path: Path) -> dict[str, Any]:
    """How a run of three leads ends that stopped before it had cleaned them."""
    snapshot = RunFolder(run_path("pull", "r", "snapshot"))
    with snapshot.writing() as scratch:
        rows = {name: [None] * 3 for name in LEAD_COLUMNS} | {"row_key": ["1", "2", "3"]}
        pl.DataFrame(rows, schema=LEAD_COLUMNS).write_parquet(scratch / "part-0.parquet")
        snapshot.commit(scratch, Manifest(kind="snapshot", rows=3))
    told = {"find_snapshot": {"snapshot": snapshot.path, "rows_in": 3}}
    ti = SimpleNamespace(
        task_id="reconcile",
        xcom_pull=lambda task_ids, key="return_value": told.get(task_ids) if key == "return_value" else None,
        xcom_push=lambda key, value: None,
    )
    operator = ReconcileOperator(task_id="reconcile", flow=SimpleNamespace(name="nightly"), steps=STEPS)  # type: ignore[arg-type]
    return operator.execute({"ti": ti, "dag_run": SimpleNamespace(dag_id="d", run_id="r")})  # type: ignore[typeddict-item]


def test_rows_of_a_run_that_stopped_are_held(tmp_path):
    ended = summary(tmp_path)
    assert (ended["rows_in"], ended["held"], ended["verdict"]) == (3, 3, "failed")
    assert ended["problems"] == ["The run stopped before it had a plan; see the log of the first red task."]


@pytest.mark.parametrize("wrong", [-1, 1])
def test_outcome_files_that_hold_more_or_fewer_rows_are_told(tmp_path, monkeypatch, wrong):
    """A row that was lost on the way into the files, or written twice, shows nowhere else."""
    write = outcomes.write_outcomes

    def and_lose(*args: Any, **about: Any) -> outcomes.Written:
        written = write(*args, **about)
        written.by_state["delivered"] += wrong
        return written

    monkeypatch.setattr(outcomes, "write_outcomes", and_lose)
    assert f"3 rows came in, but the outcome files hold {3 + wrong}." in summary(tmp_path)["problems"]
