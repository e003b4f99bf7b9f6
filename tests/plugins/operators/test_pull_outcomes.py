"""Pulling what became of the leads: calls of the night and before, whole or not at all, every item accounted for."""

from __future__ import annotations

import json
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from airflow.sdk.exceptions import AirflowFailException
from listkeeper.operators.platform import ReconcilePullOperator
from listkeeper.operators.platform_outcomes import PullOutcomesOperator

from include.call_snapshots import STATISTICS
from include.flow_files import PlatformSource
from include.leads.schema import CALL_COLUMNS
from include.snapshots import newest_snapshot
from include.staging import RunFolder
from include.vendors.errors import UnavailableError, VendorError


def source(**outcomes: Any) -> PlatformSource:
    keys = {"kind": "pull_platform_leads", "name": "callers", "zone": "America/New_York", "shards": 2}
    return PlatformSource(**keys, outcomes=outcomes)


def context(run_id: str = "manual__1") -> dict[str, Any]:
    run = SimpleNamespace(run_id=run_id, partition_key=None, run_type=SimpleNamespace(value="manual"))
    return {"dag_run": run, "ti": SimpleNamespace(xcom_push=lambda **_: None)}


def pull(night: str, run_id: str = "manual__1", **outcomes: Any) -> dict[str, Any]:
    operator = PullOutcomesOperator(task_id="pull_outcomes", source=source(**outcomes), night=night)
    return operator.execute(context(run_id))


def rows(pulled: dict[str, Any]) -> pl.DataFrame:
    with RunFolder(pulled["snapshot"]).reading("part-*") as parts:
        return pl.concat([pl.read_parquet(part) for part in parts])


def facts(pulled: dict[str, Any]) -> dict[str, Any]:
    return RunFolder(pulled["snapshot"]).manifest().facts


def asked(sandbox, op: str) -> list[str]:
    return [r["uri"] for r in sandbox.state("platform")["requests"] if r["op"] == op]


def reconcile(pulled: dict[str, Any], **outcomes: Any) -> dict[str, Any]:
    operator = ReconcilePullOperator(task_id="reconcile_outcomes", source=source(**outcomes), pulled=pulled)
    return operator.execute(context())


def test_both_lists_become_one_row_a_call(sandbox, night):
    today = str(date.fromisoformat(night) + timedelta(days=1))
    pulled = pull(today, days=3)
    found, told = rows(pulled), facts(pulled)
    assert dict(found.schema) == CALL_COLUMNS
    assert pulled["snapshot"].startswith(f"snapshots/callers_calls/{today}/")
    assert newest_snapshot("callers_calls", None).path == pulled["snapshot"]
    outbound = found.filter(~pl.col("inbound"))
    assert outbound.height == sandbox.state("platform")["counts"]["attempts"] > 10
    assert found.filter("inbound").height == told["inbound"] == 100
    assert told["joined"] == outbound.height
    assert told["other"] > 0 or told["seen"] == told["kept"] + told["joined"]
    assert told["seen"] == told["kept"] + told["joined"] + told["other"] + told["bad"] + told["repeated"]
    wrapped = outbound.filter(pl.col("wrap_code").is_not_null())
    assert wrapped.height and set(wrapped["dial_status"]) == {"Answered"}
    assert wrapped["wrap"].null_count() == 0
    assert outbound["called_at"].null_count() == outbound["phone"].null_count() == 0
    assert found["call_key"].is_unique().all()
    assert found.filter("inbound")["call_key"].str.starts_with("activity ").all()
    counts = reconcile(pulled)
    assert counts["verdict"] == "pulled"
    assert counts["rows_in"] == counts["delivered"] + counts["rejected"]


def test_each_list_alone(sandbox, night):
    calls = rows(pull(night, "manual__1", activities=False))
    activities = rows(pull(night, "manual__2", calls=False))
    assert calls["wrap_code"].null_count() == calls.height
    assert asked(sandbox, "list_activities")
    outbound = activities.filter(~pl.col("inbound"))
    assert sorted(outbound["call_key"]) == sorted(calls["call_key"])
    same = calls.join(outbound, on="call_key")
    for name in ("lead_id", "phone", "called_at", "dial_status_id"):
        assert same[name].equals(same[f"{name}_right"], null_equal=True), name


def test_the_window_is_half_open_and_goes_back_as_far_as_is_said(sandbox, night):
    earlier = str(date.fromisoformat(night) - timedelta(days=1))
    both = set(rows(pull(night, "manual__1", days=2))["call_key"])
    alone = [set(rows(pull(n, f"manual__{n}", days=1))["call_key"]) for n in (earlier, night)]
    assert both == alone[0] | alone[1]
    assert not alone[0] & alone[1]


def test_the_next_try_goes_on_behind_the_last_good_page(sandbox, night):
    sandbox.fault("platform", "status", op="list_activities", nth=4, status=500)
    with pytest.raises(UnavailableError):
        pull(night)
    assert newest_snapshot("callers_calls", None) is None
    done = len(asked(sandbox, "list_attempts"))
    assert done
    pulled = pull(night)
    assert len(asked(sandbox, "list_attempts")) == done  # every page of them was written down
    uris = asked(sandbox, "list_activities")
    assert len(uris) == len(set(uris)) + 1
    assert facts(pulled)["repeated"] == 0


def test_bad_items_are_rejects_and_repeats_are_kept_once(sandbox, night, monkeypatch):
    from listkeeper.hooks.platform import PlatformHook

    whole = rows(pull(night, "manual__1"))
    real = PlatformHook.list_calls

    def worse(self, query, link=""):
        page = real(self, query, link)
        if page.items and not link:
            page.items[0]["attemptId"] = None
            page.items[1]["timestamps"] = {"dialled": "yesterday"}
            page.items.append(dict(page.items[2]))
        return page

    monkeypatch.setattr(PlatformHook, "list_calls", worse)
    pulled = pull(night, "manual__2", activities=False)
    told = facts(pulled)
    assert told["bad"] >= 2 and told["repeated"] >= 1
    assert told["kept"] == whole.filter(~pl.col("inbound")).height - told["bad"]
    with RunFolder(pulled["snapshot"]).reading("outcomes-*") as files:
        lost = pl.concat([pl.read_parquet(file) for file in files])
    assert set(lost["reason"]) == {"source_unreadable", "source_repeated"}
    assert lost["row_key"].str.starts_with("call ").all()
    assert {"attemptId is missing", "timestamps must be times with an offset"} <= set(lost["detail"])
    assert reconcile(pulled)["rejected"] == lost.height


def test_a_snapshot_that_does_not_add_up_is_refused(sandbox, night):
    pulled = pull(night)
    folder = RunFolder(pulled["snapshot"])
    manifest = folder.manifest()
    with folder.reading("*") as files, folder.writing() as scratch:
        for file in files:
            (scratch / file.name).write_bytes(file.read_bytes())
        folder.commit(
            scratch, type(manifest)(**{**manifest.__dict__, "facts": manifest.facts | {"joined": 0}})
        )
    with pytest.raises(AirflowFailException, match="calls and activities were seen on pages"):
        reconcile(pulled)


def test_statistics_are_kept_and_asked_once(sandbox, night):
    inbound = 2  # the sandbox's inbound campaign
    pulled = pull(night, outbound_statistics=(1,), inbound_statistics=(inbound,))
    told = json.loads(RunFolder(pulled["snapshot"]).get(STATISTICS))
    assert told["outbound 1"]["campaignId"] == 1
    assert told[f"inbound {inbound}"]["campaignId"] == inbound
    with pytest.raises(VendorError, match="statistics"):
        pull(night, "manual__2", outbound_statistics=(inbound,))
    assert newest_snapshot("callers_calls", night).path == pulled["snapshot"]


def test_only_the_calls_of_a_campaign(sandbox, night):
    assert rows(pull(night, campaign=999)).height == 0
    assert all("campaignId=999" in uri for uri in asked(sandbox, "list_attempts"))


def test_nothing_to_pull_is_a_mistake():
    with pytest.raises(ValueError, match="at least one must be true"):
        source(calls=False, activities=False)
    with pytest.raises(ValueError, match="no section `outcomes`"):
        PullOutcomesOperator(
            task_id="x", source=PlatformSource(kind="pull_platform_leads", name="callers"), night=None
        )
