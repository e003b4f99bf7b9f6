"""Archiving as a whole: the real DAG against the sandbox, whose tables are the judge."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from include.ledger import Ledger
from include.sandbox.server import SandboxServer
from tests.flows.runs import NO_ANSWER, DirectRun, Run, answered

KEY = "sandbox-vicidial-key"
NIGHT = datetime(2026, 11, 21, 18, tzinfo=UTC)  # Saturday evening
MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)  # ten in Johannesburg
STEPS = ("select", "plan", "approve", "archive", "reconcile", "report")
LEADS = 3_000
PHONE = re.compile(r"\b\d{10}\b")


@pytest.fixture(scope="session")
def _dialer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SandboxServer, Path]]:
    file = tmp_path_factory.mktemp("dialer") / "vicidial.db"
    with SandboxServer(synthetic=10, vicidial_db=f"sqlite:///{file}", vicidial_leads=LEADS) as server:
        yield server, file


@pytest.fixture
def dialer(_dialer: tuple[SandboxServer, Path], monkeypatch: pytest.MonkeyPatch) -> SandboxServer:
    """A dialer with three thousand leads on a Saturday evening, and the connections to it."""
    server, file = _dialer
    server.reset()
    server.clock(NIGHT)
    api = {"conn_type": "vicidial", "host": server.base_url, "password": KEY}
    monkeypatch.setenv("AIRFLOW_CONN_VICIDIAL_DEFAULT", json.dumps(api))
    database = {"conn_type": "sqlite", "host": str(file)}
    monkeypatch.setenv("AIRFLOW_CONN_VICIDIAL_DB", json.dumps(database))
    return server


def flow_file(**changes: Any) -> dict[str, Any]:
    flow: dict[str, Any] = {
        "kind": "archive_vicidial_leads",
        "name": "old_leads",
        "zone": "Africa/Johannesburg",
        "released": True,
        "recheck_minutes": 0.0005,
        "batch_size": 100,
        "select": {
            "database": "vicidial_db",
            "rules": [
                {"name": "nobody", "older_than_days": 180, "statuses": ["NA", "A", "AA", "B"]},
                {"name": "new", "older_than_days": 365, "since": "entry", "statuses": ["NEW"]},
            ],
        },
    }
    return {key: value for key, value in (flow | changes).items() if value is not None}


class ArchiveRun(DirectRun):
    """The tasks of an archive, one after the other."""

    steps = STEPS

    def assert_accounted(self, row_keys: set[str]) -> None:
        summary, outcomes = self.summary, self.outcomes
        assert summary["rows_in"] == len(row_keys) == sum(self.counts.values())
        assert set(outcomes["row_key"]) == row_keys and outcomes.height == len(row_keys)
        for state, rows in outcomes["state"].value_counts().iter_rows():
            assert summary[state] == rows
        assert self.ledger.verify() == []


@pytest.fixture
def make_dag(installation: Path) -> Callable[..., Any]:
    """Write a flow file and parse the DAG file: its DAG, with retries that do not wait."""
    from airflow.dag_processing.dagbag import BundleDagBag

    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])

    def made(flow: dict[str, Any], retries: int = 2) -> Any:
        (installation / f"{flow['name']}.yaml").write_text(yaml.safe_dump(flow, sort_keys=False))
        file = folder / "archive_vicidial_leads.py"
        bag = BundleDagBag(dag_folder=str(file), bundle_path=folder, bundle_name="dags-folder")
        assert not bag.import_errors
        dag = bag.dags[f"archive_vicidial_leads__{flow['name']}"]
        for task in dag.tasks:
            task.retries, task.retry_delay, task.retry_exponential_backoff = retries, timedelta(0), 0
        return dag

    return made


@pytest.fixture
def archive(make_dag: Callable[..., Any], ledger: Ledger, dialer: SandboxServer) -> Callable[..., ArchiveRun]:
    """Write a flow file and run the tasks of its DAG to the end."""
    count = itertools.count(1)

    def run(
        flow: dict[str, Any] | None = None,
        *,
        conf: dict[str, Any] | None = None,
        run_type: str = "scheduled",
        retries: int = 2,
        when_waiting: Callable[[], None] = lambda: None,
        answer: dict[str, Any] = NO_ANSWER,
    ) -> ArchiveRun:
        dag = make_dag(flow or flow_file(), retries)
        about = {"run_type": run_type, "partition_key": None, "triggering_user_name": "ana"}
        made = ArchiveRun(dag, ledger, f"{run_type}__{next(count)}", conf or {}, **about)
        made.when_waiting = when_waiting  # type: ignore[method-assign]
        made.answer = answer
        return made.go()

    return run


def ids(dialer: SandboxServer) -> tuple[set[int], list[int]]:
    found = dialer.state("vicidial")["ids"]
    return set(found["list"]), list(found["archive"])


def test_old_leads_are_archived_and_every_lead_is_accounted_for(archive, dialer, ledger) -> None:
    run = archive()
    listed, archived = ids(dialer)
    assert run.state == "success" and run.counts == {"delivered": len(archived)}
    run.assert_accounted({str(lead_id) for lead_id in archived})
    assert len(archived) > 500 and len(listed) == LEADS - len(archived) and not listed & set(archived)
    plan = run.plan
    assert plan["removed"] == plan["to_send"] == len(archived) and plan["now"] == LEADS
    assert sum(plan["archive"]["rules"].values()) == len(archived)
    assert plan["archive"]["batches"] == -(-len(archived) // 100)
    assert run.xcom("archive") == {
        "archived": len(archived),
        "not_archived": 0,
        "batches": plan["archive"]["batches"],
    }
    target = ledger.target("vicidial:vicidial_default:old_leads")
    assert target.applied_rows == len(archived) and target.lock_load_id is None
    report = run.folder("report").get("report.md").decode()
    assert "`nobody`" in report and "What is archived, and when" in report
    assert not PHONE.search(report)


def test_a_second_run_finds_nothing_and_says_so(archive, dialer) -> None:
    archive()
    _, before = ids(dialer)
    second = archive()
    assert second.state == "failed" and "no rule picks any lead" in second.problems
    assert ids(dialer)[1] == before
    allowed = archive(flow_file(guards={"allow_empty": True}))
    assert allowed.state == "success" and allowed.counts == {}


def test_a_plan_sends_nothing_and_never_asks_to_delete(archive, dialer) -> None:
    for changes in ({"released": False}, {"conf": {"action": "plan"}}, {"run_type": "backfill"}):
        conf, run_type = changes.get("conf"), changes.get("run_type", "scheduled")
        run = archive(flow_file(released=changes.get("released", True)), conf=conf, run_type=run_type)
        assert run.state == "success" and run.tasks["archive"] == "skipped"
        assert set(run.reasons) == {"plan_only"} and run.plan["options"]["delete"] is False
    assert dialer.state("vicidial")["calls"] == {}


def test_applying_by_hand_needs_a_reason(archive, dialer) -> None:
    run = archive(conf={"action": "apply"}, run_type="manual")
    assert run.state == "failed" and "give the reason" in run.problems
    assert archive(conf={"action": "apply", "reason": "clean-up"}, run_type="manual").state == "success"


def test_an_unknown_parameter_is_refused(archive) -> None:
    assert "Unknown parameter limmit" in archive(conf={"limmit": 5}).problems


def test_the_limit_holds_the_rest_back(archive, dialer) -> None:
    run = archive(conf={"limit": 250})
    assert run.state == "success" and run.counts["delivered"] == 250 == len(ids(dialer)[1])
    assert run.reasons["over_limit"] == run.counts["held"]
    assert run.plan["held"] == {"over_limit": run.counts["held"]}


def test_guards_refuse_in_words(archive, dialer) -> None:
    run = archive(flow_file(guards={"max_rows": 10, "max_share_percent": 1}, approval={"ask": "never"}))
    assert run.state == "failed" and run.summary["verdict"] == "refused"
    assert "the limit is 10" in run.problems and "the limit is 1 %" in run.problems
    assert set(run.reasons) == {"guard_stopped"} and dialer.state("vicidial")["calls"] == {}


def test_a_person_can_approve_past_a_guard(archive, dialer, ledger) -> None:
    flow = flow_file(guards={"max_rows": 10})
    no_one = archive(flow)
    assert no_one.summary["verdict"] == "not approved" and set(no_one.reasons) == {"not_approved"}
    assert no_one.state == "failed" and dialer.state("vicidial")["calls"] == {}
    run = archive(flow, answer=answered(why="the list was never cleaned before"))
    assert run.state == "success" and run.counts == {"delivered": len(ids(dialer)[1])}
    assert (
        run.page["subject"] == f"Archive {run.counts['delivered']:,} leads, and take them off vicidial_list?"
    )
    assert "the limit is 10" in run.page["body"] and "`nobody`" in run.page["body"]
    assert ledger.load(run.summary["load"]).approved_by == "ben"


def test_an_archive_can_ask_before_leads_leave_the_list(archive, dialer) -> None:
    flow = flow_file(approval={"ask": "destructive"})
    assert archive(flow).summary["verdict"] == "not approved" and ids(dialer)[1] == []
    assert archive(flow | {"delete": False}).state == "success", "a copy takes nothing off the list"
    assert archive(flow, answer=answered(why=None)).state == "success"


# Waiting


def test_a_run_that_meets_the_office_waits_and_goes_on(archive, dialer) -> None:
    dialer.clock(MONDAY)
    seen: list[int] = []

    def office_closes() -> None:
        seen.append(len(ids(dialer)[1]))
        if len(seen) == 3:
            dialer.clock(NIGHT)

    run = archive(when_waiting=office_closes)
    assert run.state == "success" and seen == [0, 0, 0] and run.waits == 3
    assert len(ids(dialer)[1]) == run.counts["delivered"]
    told = dialer.state("vicidial", rows=False)["inside_office_hours"]
    assert told["accepted"] == 0 and told["refused"] == 3
    assert {batch.attempts for batch in run.ledger.batches(run.summary["load"])} <= {1, 4}


def test_several_nights_go_on_at_the_next_batch(archive, dialer) -> None:
    """The office opens in the middle of the run, twice."""
    nights: list[int] = []
    dialer.fault("vicidial", "delay", seconds=0)

    def evening() -> None:
        nights.append(len(ids(dialer)[1]))
        dialer.clock(NIGHT)

    import include.archive.loop as loop

    sent = itertools.count(1)
    original = loop.Archiver._ask

    def ask(self: Any, work: Any, flags: Any) -> Any:
        if next(sent) in (3, 6):
            dialer.clock(MONDAY)
        return original(self, work, flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Archiver, "_ask", ask)
        run = archive(when_waiting=evening)
    assert run.state == "success" and nights == [200, 400]
    run.assert_accounted({str(lead_id) for lead_id in ids(dialer)[1]})


# Things that go wrong


@pytest.mark.parametrize("fault", ["drop_after", "crash_after_insert", "crash_in_delete"])
def test_a_lost_answer_changes_nothing_in_the_end(archive, dialer, fault) -> None:
    dialer.fault("vicidial", fault, nth=2)
    run = archive()
    assert run.state == "success" and run.counts == {"delivered": len(ids(dialer)[1])}


def test_a_server_that_is_gone_leaves_rows_uncertain_and_clearing_goes_on(archive, dialer) -> None:
    dialer.fault("vicidial", "drop_after", nth=3, times=None)
    run = archive(retries=0)
    assert run.state == "failed" and run.summary["verdict"] == "uncertain"
    assert run.counts["delivered"] == 200 and run.counts["uncertain"] == 100
    assert run.reasons == {"delivered": 200, "no_outcome": 100, "not_sent": run.counts["held"]}
    dialer.sandbox.faults.rules.clear()
    run.clear("archive")
    assert run.state == "success" and run.counts == {"delivered": len(ids(dialer)[1])}
    run.assert_accounted({str(lead_id) for lead_id in ids(dialer)[1]})


def test_a_wrong_key_stops_at_once(archive, dialer, monkeypatch) -> None:
    api = {"conn_type": "vicidial", "host": dialer.base_url, "password": "not-the-key"}
    monkeypatch.setenv("AIRFLOW_CONN_VICIDIAL_DEFAULT", json.dumps(api))
    run = archive()
    assert run.state == "failed" and "does not accept the API key" in run.problems
    assert set(run.reasons) == {"not_sent"} and "not-the-key" not in run.problems
    assert dialer.state("vicidial")["calls"] == {"archive": 1}


def test_leads_that_stay_behind_are_named_and_the_run_is_red(archive, dialer) -> None:
    dialer.switch("vicidial", archive_widths={"phone_number": 4})
    run = archive(conf={"limit": 150})
    assert run.state == "failed" and "150 leads stayed on the list" in run.problems
    assert run.reasons["stayed_behind"] == 150
    report = run.folder("report").get("report.md").decode()
    assert "`stayed_behind`" in report


def test_behind_a_canary_that_stayed_on_the_list_nothing_is_archived(archive, dialer) -> None:
    dialer.switch("vicidial", archive_widths={"phone_number": 4})
    run = archive(flow_file(canary={"rows": 10, "max_rejected_percent": 5}))
    assert (run.state, run.plan["options"]["canary"]["rows"]) == ("failed", 10)
    held = run.plan["to_send"] - 10
    assert run.counts["held"] == run.reasons["canary_stopped"] == held
    assert f"The other {held:,} rows are held" in run.problems
    assert {batch["ids"] for batch in dialer.state("vicidial")["batches"]} == {10}


def test_a_lead_called_after_it_was_selected_stays(archive, dialer, monkeypatch) -> None:
    import include.archive.loop as loop

    picked: list[int] = []
    begin = loop.Archiver._begin

    def called_now(self: Any, batch: Any, lead_ids: list[int]) -> Any:
        if not picked:
            picked.append(lead_ids[0])
            dialer.edit(
                picked[0], last_local_call_time=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}", status="SALE"
            )
        return begin(self, batch, lead_ids)

    monkeypatch.setattr(loop.Archiver, "_begin", called_now)
    run = archive()
    assert run.state == "success" and run.counts["rejected"] == 1
    assert run.outcomes.filter(reason="no_longer_old")["row_key"].to_list() == [str(picked[0])]
    assert picked[0] in ids(dialer)[0]


def test_a_paused_archive_is_refused(archive, dialer, ledger) -> None:
    archive(conf={"limit": 100})
    ledger.pause_target("vicidial:vicidial_default:old_leads", True, "ana", "maintenance")
    run = archive()
    assert run.summary["verdict"] == "refused" and "paused" in run.problems


def test_a_database_that_is_gone_is_told_without_its_address(archive, monkeypatch) -> None:
    database = {
        "conn_type": "mysql",
        "host": "127.0.0.1",
        "port": 9,
        "login": "scott",
        "password": "tiger-tiger",
    }
    monkeypatch.setenv("AIRFLOW_CONN_VICIDIAL_DB", json.dumps(database))
    run = archive(retries=0)
    assert run.state == "failed" and "database cannot be read" in run.problems
    assert "tiger" not in json.dumps(run.summary)


# A file of ids


def test_ids_from_a_file_need_no_database(archive, dialer, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_VICIDIAL_DB")
    pl.DataFrame({"lead_id": [*map(str, range(1, 251)), "x", "7", "999999"]}).write_csv(tmp_path / "ids.csv")
    (tmp_path / "keep.csv").write_text("id\n10\n11\n")
    flow = flow_file(
        select={"ids": {"file": str(tmp_path / "ids.csv")}},
        keep={"leads": {"file": str(tmp_path / "keep.csv"), "column": "id", "max_age_days": 1}},
    )
    run = archive(flow)
    assert run.state == "success"
    assert run.reasons == {
        "delivered": 248,
        "on_keep_list": 2,
        "source_unreadable": 1,
        "source_repeated": 1,
        "unknown_lead": 1,
    }
    assert set(ids(dialer)[1]) == set(range(1, 251)) - {10, 11}
    assert run.plan["now"] is None and "keep-list" in run.folder("report").get("report.md").decode()
    again = archive(flow)
    assert "none was delivered" in again.problems, "all of them are archived by now"


def test_a_keep_list_that_is_too_old_stops_the_run(archive, dialer, tmp_path) -> None:
    (tmp_path / "keep.csv").write_text("lead_id\n10\n")
    old = (datetime.now(UTC) - timedelta(days=9)).timestamp()
    os.utime(tmp_path / "keep.csv", (old, old))
    run = archive(flow_file(keep={"leads": {"file": str(tmp_path / "keep.csv"), "max_age_days": 7}}))
    assert run.summary["verdict"] == "not approved" and "9 days old" in run.problems


def test_what_leaves_the_database_is_not_personal(archive, dialer) -> None:
    run = archive(conf={"action": "plan"})
    with run.folder("select").reading("*.parquet") as files:
        columns = {name for file in files for name in pl.read_parquet(file).columns}
    assert columns == {"row_key", "lead_id", "rule"}


# The real task runner


@pytest.mark.parametrize("window", ["by the office hours", "ask the server"])
def test_in_airflow_a_run_waits_in_the_trigger_and_ends(
    airflow_db, make_dag, ledger, dialer, window, monkeypatch
) -> None:
    dialer.clock(MONDAY)
    flow = flow_file(recheck_minutes=0.002)
    waited: list[str] = []
    from listkeeper.operators.vicidial import ArchiveLeadsOperator

    wait = ArchiveLeadsOperator._wait

    def waits(self: Any, pause: Any) -> None:
        waited.append(pause.kind)
        if len(waited) == 2:
            dialer.clock(NIGHT)
        wait(self, pause)

    monkeypatch.setattr(ArchiveLeadsOperator, "_wait", waits)
    dag = make_dag(flow)
    conf = {"window": window, "action": "apply", "reason": "test", "limit": 300}
    run = Run(dag, dag.test(logical_date=None, run_conf=conf), ledger)
    assert run.state == "success", run.tasks
    assert run.counts["delivered"] == 300 == len(ids(dialer)[1]) and waited == ["recheck", "recheck"]


def test_broken_flow_files_become_a_dag_that_says_why(installation) -> None:
    from airflow.dag_processing.dagbag import BundleDagBag

    flow = flow_file(delete=True, update=False)
    (installation / "old.yaml").write_text(yaml.safe_dump(flow))
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    bag = BundleDagBag(
        dag_folder=str(folder / "archive_vicidial_leads.py"), bundle_path=folder, bundle_name="dags-folder"
    )
    dag = bag.dags["archive_vicidial_leads__old_leads"]
    assert "delete: needs update" in dag.doc_md
