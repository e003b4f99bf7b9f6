"""The pull's own DAG file, run whole against the sandbox: nights, tries, what Airflow is told at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.snapshots import newest_snapshot
from include.staging import RunFolder
from tests.connections import connect_platform
from tests.flows.conftest import flow_file
from tests.flows.runs import Run

SOURCE: dict[str, Any] = {
    "kind": "pull_platform_leads",
    "name": "callers",
    "zone": "America/New_York",
    "schedule": "0 2 * * *",
    "filters": {"listId": 100},
    "shards": 1,
}


@pytest.fixture
def platform(small_sandbox, monkeypatch):
    """A hundred leads, ten to a page."""
    small_sandbox.reset()
    small_sandbox.switch("platform", page_size=10)
    connect_platform(monkeypatch, small_sandbox)
    monkeypatch.setattr("listkeeper.hooks.platform_requests.TRIES", 1)
    return small_sandbox


@pytest.fixture
def night(platform) -> str:
    return str(platform.info()["data"]["night"])


@pytest.fixture
def pull(airflow_db, platform, installation, ledger, monkeypatch) -> Callable[..., Run]:
    """Write a source file, and run its DAG through `dag.test()`."""
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.models import dagrun
    from airflow.utils.types import DagRunType

    create = dagrun.get_or_create_dagrun
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])

    def run(
        night: str | None = None,
        *,
        run_type: str = "manual",
        partition: str | None = None,
        retries: int = 0,
        **keys: Any,
    ) -> Run:
        def create_as(**values: Any) -> Any:
            # dag.test() makes manual runs only, without a partition.
            made = create(**values)
            made.run_type, made.partition_key = DagRunType(run_type), partition
            values["session"].commit()
            return made

        monkeypatch.setattr(dagrun, "get_or_create_dagrun", create_as)
        (installation / "callers.yaml").write_text(yaml.safe_dump({**SOURCE, **keys}, sort_keys=False))
        bag = BundleDagBag(
            dag_folder=str(folder / "pull_platform_leads.py"), bundle_path=folder, bundle_name="dags-folder"
        )
        assert not bag.import_errors
        dag = bag.dags["pull_platform_leads__callers"]
        for task in dag.tasks:
            task.retries, task.retry_delay, task.retry_exponential_backoff = retries, timedelta(0), 0
        return Run(dag, dag.test(logical_date=None, run_conf={"night": night} if night else None), ledger)

    return run


def events(run: Run) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Asset events of a run: name of the asset, partition, extra."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run.dag_run.run_id))
        return [(event.asset.name, event.partition_key, event.extra) for event in found]


def asked(platform) -> list[str]:
    return [r["uri"] for r in platform.state("platform")["requests"] if r["op"] == "list_leads"]


@pytest.mark.parametrize("shards", [1, 4])
def test_a_night_by_hand(pull, platform, night, shards):
    run = pull(night, shards=shards)
    assert (run.state, run.tasks) == ("success", {"pull": "success", "reconcile": "success"})
    pulled = run.xcom("pull")
    assert pulled == {"snapshot": newest_snapshot("callers", night).path, "night": night, "rows": 100}
    summary = run.xcom("reconcile", "summary")
    assert (summary["rows_in"], summary["delivered"], summary["verdict"]) == (100, 100, "pulled")
    # The deliveries follow the night, not the run.
    [(asset, partition, extra)] = events(run)
    assert (asset, partition) == ("leads_callers", night)
    assert extra == {"snapshot": pulled["snapshot"], "night": night}
    assert RunFolder(pulled["snapshot"]).manifest().facts["run_type"] == "manual"


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_partition_is_its_night(pull, platform, night, run_type):
    run = pull(run_type=run_type, partition=night)
    assert (run.state, run.xcom("pull")["night"]) == ("success", night)
    manifest = newest_snapshot("callers", night).manifest()
    # What a backfill pulled, the deliveries only plan.
    assert (manifest.facts["run_type"], manifest.rows) == (run_type, 100)
    [(_, _, extra)] = events(run)
    assert extra == {"snapshot": run.xcom("pull")["snapshot"], "night": night}


def test_a_full_list(pull, platform, night):
    run = pull(night, mode="full")
    assert (run.state, run.xcom("pull")["rows"]) == ("success", 100)
    assert newest_snapshot("callers", night).manifest().facts["mode"] == "full"


def test_the_next_try_of_a_run_goes_on_behind_the_last_page(pull, platform, night):
    platform.fault("platform", "status", op="list_leads", nth=6, status=503)
    run = pull(night, retries=1)
    assert (run.state, run.xcom("pull")["rows"]) == ("success", 100)
    assert len(asked(platform)) == 10 + 1
    assert len(set(asked(platform))) == 10


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "expired_token", "nth": 6},
        {"fault": "changed_filter", "nth": 3},
        {"fault": "looping_cursor", "nth": 3, "times": None},
        {"fault": "truncated", "nth": 3, "times": None},
        {"fault": "broken_json", "nth": 1, "times": None},
    ],
    ids=str,
)
def test_a_pull_gone_wrong_is_red_and_starts_no_delivery(pull, platform, night, fault):
    platform.fault("platform", op="list_leads", **fault)
    run = pull(night, retries=0 if fault.get("times", 1) is None else 1)
    assert (run.state, run.tasks) == ("failed", {"pull": "failed", "reconcile": "upstream_failed"})
    assert (newest_snapshot("callers", None), events(run)) == (None, [])


@pytest.mark.parametrize("bad", ["2999-01-01", "2026-02-30"])
def test_a_night_that_cannot_be_is_refused(pull, platform, bad):
    from airflow.sdk.exceptions import AirflowException

    try:
        assert pull(bad).tasks == {"pull": "failed", "reconcile": "upstream_failed"}
    except (ValueError, AirflowException) as error:
        assert "night" in str(error)
    assert asked(platform) == []


def test_the_shipped_source_pulls_the_sandboxs_night(pull, platform, night):
    shipped = yaml.safe_load((Path(__file__).parents[2] / "include/flows/ftc_callers.yaml").read_text())
    run = pull(night, **{name: value for name, value in shipped.items() if name not in ("kind", "name")})
    assert (run.state, run.xcom("pull")["rows"]) == ("success", 100)


def test_a_delivery_reads_the_calls_that_its_night_staged(pull, platform, night, deliver):
    run = pull(night, outcomes={"days": 2})
    assert run.state == "success"
    assert run.tasks == dict.fromkeys(("pull", "pull_outcomes", "reconcile_outcomes", "reconcile"), "success")
    calls = run.xcom("reconcile_outcomes", "summary")
    assert calls["rows_in"] == calls["delivered"] + calls["rejected"] > 100
    rules = {
        "source": "callers_calls",
        "do_not_call": {"wrap_code": [5]},
        "dead": {"dial_status": ["Disconnected"]},
        "attempts": {"max": 6, "hours": 72},
        "max_age_hours": 72,
    }
    flow = flow_file(clean={"calls": rules, "suppression": []}, approval={"ask": "never"})
    without = deliver(flow_file(approval={"ask": "never"}, mode="APPEND", list="other"))
    delivered = deliver(flow | {"mode": "APPEND", "guards": {"max_source_age_hours": 96}})
    told = delivered.plan["calls"]
    assert (told["source"], told["nights"]) == ("callers_calls", 1)
    assert told["rows"] == run.xcom("reconcile_outcomes", "summary")["rows_in"] - joined_of("callers_calls")
    # Each rule finds what the sandbox's tenant has: opt-outs by wrap code, numbers out of service, six attempts.
    reasons = delivered.reasons
    assert reasons["asked_not_to_call"] > 0
    assert reasons["attempts_used_up"] > 0
    assert told["hits"]["asked_not_to_call"] == reasons["asked_not_to_call"]
    assert "asked_not_to_call" not in without.reasons
    assert b"## Earlier calls" in (delivered.folder("report").get("report.md") or b"")
    delivered.assert_accounted()


def joined_of(name: str) -> int:
    facts = newest_snapshot(name, None).manifest().facts
    return facts["joined"] + facts["other"] + facts["bad"] + facts["repeated"]


def test_a_delivery_is_not_told_of_a_night_whose_calls_are_missing(pull, platform, night):
    platform.fault("platform", "status", op="list_attempts", times=50, status=500)
    run = pull(night, outcomes={})
    assert run.state == "failed"
    assert run.tasks["pull"] == "success"
    assert run.tasks["reconcile"] == "upstream_failed"
