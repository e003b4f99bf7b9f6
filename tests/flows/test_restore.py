"""Putting a list back: by the delivery's own guarded path, with a second person's word, and by nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from airflow.sdk.exceptions import AirflowFailException

from include import handed_in, safe
from include.erasure.keys import ErasureKey
from tests.flows.conftest import flow_file, lead, numbers
from tests.flows.loads import ringcx
from tests.flows.runs import NO_ANSWER, DirectRun, answered
from tests.flows.test_approvals import evidence

SECRET = "a secret of these tests, long enough"
DAG = "load_purecallerid__nightly"
MONDAY, TUESDAY = datetime.now(UTC) - timedelta(hours=5), datetime.now(UTC) - timedelta(hours=2)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_LISTKEEPER_ERASURE", json.dumps({"conn_type": "generic", "password": SECRET})
    )


@pytest.fixture
def ask(make_dag: Callable[..., Any], ledger: Any) -> Callable[..., DirectRun]:
    """Run the first step of restore_list, as a person starts it from its form; it ends well or fails for good."""
    from airflow.dag_processing.dagbag import BundleDagBag

    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])

    def run(
        by: str | None = "ana", run_id: str = "manual__1", *, says: str | None = None, **form: Any
    ) -> DirectRun:
        bag = BundleDagBag(
            dag_folder=str(folder / "restore_list.py"), bundle_path=folder, bundle_name="dags-folder"
        )
        assert not bag.import_errors
        conf = {"list": DAG, "reason": "last night was wrong"} | form
        about = {"run_type": "manual", "partition_key": None, "triggering_user_name": by}
        made = DirectRun(bag.dags["restore_list"], ledger, run_id, conf, **about)
        made.steps = ("hand_in",)
        if says is None:
            return made.go()
        with pytest.raises(AirflowFailException, match=re.escape(says)):
            made.attempt(made.dag.task_dict["hand_in"])
        assert not handed_in.folder_of(DAG, handed_in.run_id_of("restore", run_id)).exists()
        return made

    return run


@pytest.fixture
def take_up(make_dag: Callable[..., Any], ledger: Any) -> Callable[..., DirectRun]:
    """Run the delivery that a step before has handed something in for."""

    def run(
        run_id: str,
        flow: dict[str, Any] | None = None,
        *,
        answer: dict[str, Any] = NO_ANSWER,
        by: str | None = "ana",
        conf: dict[str, Any] | None = None,
        go: bool = True,
    ) -> DirectRun:
        about = {"run_type": "manual", "partition_key": None, "triggering_user_name": by}
        made = DirectRun(make_dag(flow or flow_file()), ledger, run_id, conf or {}, **about)
        made.answer = answer
        return made.go() if go else made

    return run


@pytest.fixture
def two_nights(deliver, snapshot):
    """A good night of 20 leads, and the night after it, of 16 others."""
    snapshot(20, night="2026-11-19", source_time=MONDAY)
    good = deliver()
    snapshot([lead(n) for n in range(100, 116)], night="2026-11-20", source_time=TUESDAY)
    return good, deliver()


def stopped(run: DirectRun, step: str = "find_snapshot") -> str:
    return str(run.xcom(step, "stopped"))


# What it does


def test_a_list_is_put_back_with_a_second_persons_word(ask, take_up, two_nights, vendor, ledger):
    good, wrong = two_nights
    assert good.summary["copy"] == {"rows": 20} and "restore_list" in report(good)
    asked = ask()
    order = asked.xcom("hand_in")
    assert (order["dag_id"], order["rows"]) == (DAG, 20) and order["run_id"].startswith("restore__")
    run = take_up(order["run_id"], answer=answered(why="counted them"))
    assert (run.state, run.counts, run.summary["verdict"]) == ("success", {"delivered": 20}, "delivered")
    assert vendor.numbers() == numbers(range(20))
    load = ledger.load(run.summary["load"])
    assert (load.requested_by, load.reason, load.approved_by) == ("ana", "last night was wrong", "ben")
    assert load.night == wrong.plan["night"], "it stands for the night that it replaces"
    told = evidence(ledger, good.summary["load"])["handed_in"]
    assert (told["kind"], told["requested_by"], told["rows"]) == ("restore", "ana", 20)
    assert told["reason"] == "last night was wrong" and told["run_id"] == run.run_id
    assert [refusal["guard"] for refusal in run.plan["refusals"]] == ["restore"]
    text = run.plan["refusals"][0]["text"]
    assert good.summary["load"][:8] in text and wrong.summary["load"][:8] in text and "20 rows" in text
    assert "night 2026-11-19" in text and text in run.page["body"].replace("\\", "")
    run.assert_accounted()


def report(run: DirectRun) -> str:
    return (run.folder("report").get("report.md") or b"").decode()


def test_what_is_handed_in_is_exactly_what_was_sent(ask, deliver, snapshot):
    """Not what the plan could not send, and every column, so that it can be cleaned again."""
    rows = [lead(n) for n in range(10)] + [lead(50, phone1="12"), lead(51, phone1="+442079460000")]
    snapshot(rows, night="2026-11-19", source_time=MONDAY)
    good = deliver()
    assert good.counts == {"delivered": 10, "rejected": 2}
    snapshot(12, source_time=TUESDAY)
    deliver()
    order = ask().xcom("hand_in")
    with (
        handed_in.folder_of(DAG, order["run_id"]).reading("part-*.parquet") as parts,
        good.folder("clean").reading("kept-*.parquet") as kept,
    ):
        back, sent = pl.read_parquet(parts), pl.read_parquet(kept)
    assert back.equals(sent.filter(pl.col("national").is_not_null()).select(back.columns))


def test_whoever_is_suppressed_since_is_not_put_back(ask, take_up, two_nights, vendor, tmp_path):
    listed = tmp_path / "dnc.csv"
    listed.write_text("phone\n" + "\n".join(row["phone1"] for row in (lead(3), lead(4))) + "\n")
    stop = {"suppression": [{"name": "dnc", "file": str(listed), "column": "phone"}]}
    run = take_up(
        ask().xcom("hand_in")["run_id"],
        flow_file(clean={"region": "US", **stop}),
        answer=answered(why="counted them"),
    )
    assert run.counts == {"delivered": 18, "suppressed": 2}
    assert vendor.numbers() == numbers(range(3), range(5, 20))


def test_whoever_is_erased_since_is_not_put_back(ask, take_up, two_nights, vendor):
    from include.erasure.erased import remember
    from include.erasure.person import Person

    remember(ErasureKey(SECRET), "0" * 32, Person.of("+12012000003", None))
    run = take_up(ask().xcom("hand_in")["run_id"], answer=answered(why="counted them"))
    assert run.counts == {"delivered": 19, "suppressed": 1} and run.reasons["erased"] == 1


# The fence


def test_nothing_older_than_the_decision_follows_it(ask, take_up, deliver, two_nights, vendor, snapshot):
    take_up(ask().xcom("hand_in")["run_id"], answer=answered(why="counted them"))
    again = deliver()  # the night that was undone
    assert (again.state, again.summary["verdict"]) == ("failed", "refused")
    assert [refusal["guard"] for refusal in again.plan["refusals"]] == ["older_source"]
    assert vendor.numbers() == numbers(range(20))
    snapshot(15, night="2026-11-21", source_time=datetime.now(UTC) + timedelta(seconds=1))
    night = deliver()
    assert (night.state, night.counts) == ("success", {"delivered": 15})


def test_a_restore_that_waited_too_long_does_not_overwrite_a_newer_night(
    ask, take_up, deliver, two_nights, vendor, snapshot
):
    order = ask().xcom("hand_in")
    snapshot(15, night="2026-11-21", source_time=datetime.now(UTC) + timedelta(seconds=1))
    deliver()
    run = take_up(order["run_id"], answer=answered(why="counted them"))
    assert run.summary["verdict"] == "refused" and "Old leads never overwrite" in run.problems
    assert vendor.numbers() == numbers(range(15))


# Whose word it needs


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (NO_ANSWER, "Nobody answered"),
        (answered(who="ana"), "ana started this run and may not approve it"),
    ],
)
def test_nothing_is_put_back_without_a_second_persons_word(ask, take_up, two_nights, vendor, answer, says):
    run = take_up(ask().xcom("hand_in")["run_id"], answer=answer)
    assert (run.state, run.summary["verdict"]) == ("failed", "not approved") and says in run.problems
    assert vendor.numbers() == numbers(range(100, 116)) and vendor.calls == 2


def test_marking_the_approval_as_a_success_puts_nothing_back(ask, take_up, two_nights, vendor):
    run = take_up(ask().xcom("hand_in")["run_id"], go=False)
    run.steps = ("find_snapshot", "clean", "plan")
    run.go()
    run._tasks["approve"] = "success"
    run.steps = ("load", "reconcile", "report")
    run.go()
    assert run.tasks["load"] == "failed" and vendor.calls == 2


# What may start it, and what it may not be used for


def test_what_a_run_of_this_kind_does_is_what_was_handed_in(ask, take_up, two_nights, vendor):
    order = ask().xcom("hand_in")
    yes = answered(why="counted them")
    for conf in ({"action": "apply", "reason": "because"}, {"night": "2026-11-19"}, {"x": 1}):
        run = take_up(order["run_id"], conf=conf, answer=yes)
        assert run.tasks["find_snapshot"] == "failed" and "takes no parameters" in stopped(run)
    for run_id in ("restore__by-hand", "resend__by-hand"):
        run = take_up(run_id, answer=yes)
        assert f"Start {handed_in.DAGS[run_id.partition('__')[0]]}" in stopped(run) and run.state == "failed"
    # Else who asked could approve what another person's name stands on.
    run = take_up(order["run_id"], by="eve", answer=answered(who="ana"))
    assert "eve started the run by its id" in stopped(run)
    # Airflow hands the name on; where it does not, the evidence still knows.
    run = take_up(order["run_id"], by=None, answer=answered(who="ana"))
    assert run.summary["verdict"] == "not approved"
    mine, other = (handed_in.folder_of(DAG, run) for run in (order["run_id"], "restore__other"))
    for name in mine.names():
        other.put(name, mine.get(name))
    assert "not what was handed in" in stopped(take_up("restore__other", answer=yes))
    manifest = json.loads(mine.get("manifest.json"))
    manifest["facts"]["handed_in"]["requested_by"] = "eve"
    mine.put("manifest.json", json.dumps(manifest).encode())
    run = take_up(order["run_id"], by=None, answer=answered(who="ana"))
    assert "not what was handed in for it, by the evidence" in stopped(run)
    assert vendor.calls == 2


def test_forged_words_of_the_first_step_are_not_believed(ask, take_up, two_nights, vendor, snapshot):
    other = snapshot(5, night="2026-11-18")
    run = take_up(ask().xcom("hand_in")["run_id"], go=False)
    run.steps = ("find_snapshot",)
    run.go()
    run.push("find_snapshot", "return_value", run.xcom("find_snapshot") | {"snapshot": other.path})
    run.steps = ("clean", "plan")
    run.go()
    assert run.tasks["plan"] == "failed" and "hands on something else" in stopped(run, "plan")


def test_a_number_in_the_reason_is_masked_and_stops_nothing(ask, take_up, two_nights):
    order = ask(reason="he called from +1 201 200 0003").xcom("hand_in")
    ask(reason="he called from +1 201 200 0003")
    run = take_up(order["run_id"], answer=answered(why="counted them"))
    assert run.counts == {"delivered": 20} and "called from <phone>" in run.plan["refusals"][0]["text"]


def test_a_cleared_run_goes_on(ask, take_up, two_nights, vendor):
    run = take_up(ask().xcom("hand_in")["run_id"], answer=NO_ANSWER)
    assert run.summary["verdict"] == "not approved"
    run.answer = answered(why="counted them")
    run.clear("approve")
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    run.clear("find_snapshot")
    assert run.summary["verdict"] == "unchanged" and vendor.calls == 3


def test_asking_again_in_the_same_run_changes_nothing(ask, two_nights, ledger):
    first, again = ask(), ask()
    assert first.xcom("hand_in") == again.xcom("hand_in")
    assert len(ledger.records("handed_in", two_nights[0].summary["load"])) == 1


# Which load, and which list


def test_the_load_can_be_chosen(ask, deliver, two_nights, snapshot):
    snapshot(18, night="2026-11-21", source_time=datetime.now(UTC))
    deliver()
    good, wrong = two_nights
    assert ask(run_id="a").xcom("hand_in")["rows"] == 16, "the newest that is not on the list"
    assert ask(run_id="b", load=good.summary["load"][:8]).xcom("hand_in")["rows"] == 20
    assert ask(run_id="c", load=wrong.summary["load"]).xcom("hand_in")["rows"] == 16


@pytest.mark.parametrize(
    ("flow", "form", "says"),
    [
        (ringcx(), {}, "is only added to"),
        (flow_file(released=False), {}, "only plans until its file says"),
        (flow_file(approval={"ask": "never"}), {}, "asks nobody"),
        (flow_file(), {"reason": ""}, "Give the reason"),
        (flow_file(), {"list": "load_purecallerid__gone"}, "There is no delivery"),
    ],
)
def test_what_cannot_be_put_back_says_why(ask, make_dag, flow, form, says):
    make_dag(flow)
    ask(**form, says=says)


def test_what_is_on_the_list_is_not_put_back(ask, two_nights):
    ask(load=two_nights[1].summary["load"], says="what stands on the list now")
    ask(load="0" * 32, says="There is no copy of load")


def test_a_list_without_any_load(ask, make_dag):
    make_dag(flow_file())
    ask(says="Nothing was ever put on the list")


# The copies


def test_a_copy_of_another_key_is_not_put_back(ask, two_nights, monkeypatch):
    other = {"conn_type": "generic", "password": "another secret, long enough as well"}
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_ERASURE", json.dumps(other))
    ask(says="sealed with another key")


def test_a_corrupted_copy_is_not_put_back(ask, two_nights):
    copy = safe.copies(flow_target())[1]
    copy.folder.put("part-00000.sealed", (copy.folder.get("part-00000.sealed") or b"")[:-1])
    ask(says="cannot be opened")


def flow_target() -> str:
    from include.flow_files import PureCallerIdFlow

    return PureCallerIdFlow.model_validate(flow_file()).target


def test_without_a_key_no_copy_is_kept_and_the_report_says_so(deliver, snapshot, monkeypatch, vendor):
    monkeypatch.delenv("AIRFLOW_CONN_LISTKEEPER_ERASURE")
    snapshot(20)
    run = deliver()
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert "cannot be put back" in report(run) and "listkeeper" in report(run)
    assert safe.copies(flow_target()) == []


def test_only_what_is_on_the_list_is_kept(deliver, snapshot):
    snapshot(20)
    assert deliver().summary["copy"] == {"rows": 20}
    assert deliver().summary["copy"] is None, "unchanged"
    snapshot(10)
    assert deliver().summary["copy"] is None, "not approved"
    assert deliver(ringcx()).summary["copy"] is None, "only added to"
    assert [copy.rows for copy in safe.copies(flow_target())] == [20]
