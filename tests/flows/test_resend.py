"""Fixed rejects: through hygiene and guards again, delivered once, and nothing of the file is lost."""

from __future__ import annotations

import io
import itertools
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
from openpyxl import Workbook, load_workbook

from include import handed_in, resend
from include.explain import story
from include.flow_files import PureCallerIdFlow
from include.ledger import Ledger
from include.staging import RunFolder, run_path, slug
from include.uploads import Upload, write_upload
from tests.flows.conftest import flow_file, lead, numbers
from tests.flows.runs import DirectRun
from tests.flows.test_approvals import evidence
from tests.flows.test_load_flow import ringcx

DAG = "load_purecallerid__nightly"
YESTERDAY, TONIGHT = datetime.now(UTC) - timedelta(hours=5), datetime.now(UTC) - timedelta(hours=2)
RINGCX = ringcx(guards={"min_valid_percent": 0})
count = itertools.count(1)


def night(good: int = 10) -> list[dict[str, Any]]:
    """Good leads, two without a usable number, one that has the number of another."""
    return [
        *(lead(n) for n in range(good)),
        lead(50, phone1="12"),
        lead(51, phone1=None),
        lead(52, phone1="2012000003", uploaded_at=datetime(2026, 11, 20, 9, tzinfo=UTC)),
    ]


def file(rows: dict[str, dict[str, Any]]) -> bytes:
    """A workbook as a person saves it."""
    columns = list(dict.fromkeys(name for values in rows.values() for name in values))
    book = Workbook()
    book.active.append(["row_key", *columns])
    for key, values in rows.items():
        book.active.append([key, *(values.get(name) for name in columns)])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


FIXED = {"1050": {"phone1": "201 200 0050"}, "1051": {"phone1": "2012000051", "data.state": "CA"}}


class Resend:
    """A file, uploaded for a load: the run that hands it in, and the delivery's run behind it."""

    def __init__(self, make_dag: Callable[..., Any], ledger: Ledger) -> None:
        self._make_dag, self._ledger = make_dag, ledger

    def hand_in(
        self, load: str, content: bytes, *, name: str = "fixed.xlsx", by: str = "ana", says: str | None = None
    ) -> DirectRun:
        from airflow.dag_processing.dagbag import BundleDagBag

        folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
        bag = BundleDagBag(
            dag_folder=str(folder / "resend_rejects.py"), bundle_path=folder, bundle_name="dags-folder"
        )
        assert not bag.import_errors
        run_id = f"fixed__{next(count)}"
        write_upload("resend_rejects", run_id, Upload(load, name, "ana", "the numbers came back", content))
        about = {"run_type": "manual", "partition_key": None, "triggering_user_name": by}
        run = DirectRun(bag.dags["resend_rejects"], self._ledger, run_id, {}, **about)
        run.steps = ("hand_in",)
        if says is None:
            return run.go()
        with pytest.raises(AirflowFailException, match=re.escape(says)):
            run.attempt(run.dag.task_dict["hand_in"])
        return run

    def deliver(self, handed: DirectRun, flow: dict[str, Any] | None = None, **about: Any) -> DirectRun:
        order = handed.xcom("hand_in")
        values = {"run_type": "manual", "partition_key": None, "triggering_user_name": "ana"}
        run = DirectRun(self._make_dag(flow or flow_file()), self._ledger, order["run_id"], {}, **values)
        run.answer = about.get("answer", run.answer)
        return run.go()

    def __call__(self, load: str, rows: dict[str, Any], flow: dict[str, Any] | None = None) -> DirectRun:
        return self.deliver(self.hand_in(load, file(rows)), flow)


@pytest.fixture
def send(make_dag, ledger) -> Resend:
    return Resend(make_dag, ledger)


def refused(run: DirectRun) -> dict[str, str]:
    """Of the rows of the file that are not sent: why."""
    frame = pl.read_csv(run.folder("report").get("rejects.csv"), infer_schema=False)
    return dict(frame.select("row_key", "code").iter_rows())


# A list that is added to


def test_fixed_rows_are_delivered_and_only_they(deliver, snapshot, send, vendor, ledger):
    snapshot(night())
    first = deliver(RINGCX)
    assert first.counts == {"delivered": 10, "rejected": 3}
    handed = send.hand_in(first.summary["load"], file(FIXED))
    run = send.deliver(handed, RINGCX)
    assert (run.state, run.counts) == ("success", {"delivered": 2})
    assert vendor.numbers("ringcx") == numbers(range(10), 50, 51)
    rows = {row["leadPhone"]: row for row in vendor.rows("ringcx")}
    assert rows["2012000051"]["state"] == "CA", "a free field"
    assert rows["2012000050"]["state"] == "", "as it was in the lead: the other columns come from there"
    assert rows["2012000050"]["externId"] == "C-00050"
    told = evidence(ledger, first.summary["load"])["handed_in"]
    assert (told["kind"], told["requested_by"], told["reason"]) == ("resend", "ana", "the numbers came back")
    assert (told["rows"], told["fixed"], told["refused"]) == (2, 2, 0)
    load = ledger.load(run.summary["load"])
    assert (load.requested_by, load.reason) == ("ana", "the numbers came back")
    told = [(one.state, one.load.id) for one in story(ledger, "1050", "US", 9) if one.load]
    assert told == [("rejected", first.summary["load"]), ("delivered", run.summary["load"])]
    assert "2 rows of the file go out again, 0 do not" in handed.folder("report").get("report.md").decode()
    run.assert_accounted()


def test_the_same_file_twice_is_delivered_once(deliver, snapshot, send, vendor):
    snapshot(night())
    first = deliver(RINGCX)
    load = first.summary["load"]
    send(load, FIXED, RINGCX)
    again = send.hand_in(load, file(FIXED), says="No row of the file can be sent again")
    assert set(refused(again).values()) == {"fix_delivered"} and vendor.calls == 2
    # Also when a newer night went to the list in between, whose plan knows other keys.
    snapshot([lead(n) for n in range(100, 105)], night="2026-11-21", source_time=datetime.now(UTC))
    deliver(RINGCX)
    send.hand_in(load, file(FIXED), says="No row of the file can be sent again")
    assert vendor.numbers("ringcx") == numbers(range(10), 50, 51, range(100, 105))


def test_where_an_earlier_resend_is_forgotten_nothing_is_sent_again(deliver, snapshot, send, vendor):
    """House-keeping may have let its outcomes go, while those of the load are still held."""
    snapshot(night())
    load = deliver(RINGCX).summary["load"]
    first = send(load, FIXED, RINGCX)
    first.folder("outcomes").remove()
    send.hand_in(load, file(FIXED), says="nobody can tell which of them stand on the list")
    assert vendor.calls == 2


def test_a_crash_between_handing_in_and_delivering_sends_nothing_twice(deliver, snapshot, send, vendor):
    """Two files with the same rows were handed in before either was delivered."""
    snapshot(night())
    load = deliver(RINGCX).summary["load"]
    one, two = (send.hand_in(load, file(FIXED)) for _ in range(2))
    assert send.deliver(one, RINGCX).counts == {"delivered": 2}
    late = send.deliver(two, RINGCX)
    assert (late.summary["verdict"], late.counts) == ("unchanged", {"held": 2})
    assert vendor.calls == 2


def test_rows_that_were_not_fixed_are_rejected_again(deliver, snapshot, send, vendor):
    snapshot(night())
    first = deliver(RINGCX)
    rows = FIXED | {"1051": {"phone1": "12"}, "1052": {}}
    run = send(first.summary["load"], rows, RINGCX)
    assert run.counts == {"delivered": 1, "rejected": 2}
    reasons = dict(run.outcomes.filter(state="rejected").select("row_key", "reason").iter_rows())
    assert reasons == {"1051": "phone_too_short", "1052": "duplicate_phone"}
    run.assert_accounted()
    # What it rejected can be fixed on its own page.
    last = send(run.summary["load"], {"1052": {"phone1": "2012000052"}}, RINGCX)
    assert last.counts == {"delivered": 1} and vendor.numbers("ringcx") == numbers(range(10), 50, 52)


def test_a_fix_does_not_call_somebody_twice(deliver, snapshot, send, vendor):
    """The number, or the key, of a lead that stands on the list: of the night itself, or of an earlier resend."""
    snapshot(night())
    load = deliver(RINGCX).summary["load"]
    send(load, {"1050": {"phone1": "2012000050"}}, RINGCX)
    run = send(load, {"1051": {"phone1": "2012000050"}, "1052": {"phone1": "(201) 200-0004"}}, RINGCX)
    assert run.reasons == {"duplicate_phone": 2}
    run = send(load, {"1051": {"phone1": "2012000051", "customer_key": "C-00002"}}, RINGCX)
    assert run.reasons == {"duplicate_key": 1} and vendor.numbers("ringcx") == numbers(range(10), 50)


def test_yesterdays_rejects_do_not_stop_nor_repeat_tonight(deliver, snapshot, send, vendor, ledger):
    snapshot(night(), night="2026-11-19", source_time=YESTERDAY)
    load = deliver(RINGCX, partition="2026-11-19").summary["load"]
    snapshot([lead(n) for n in range(100, 105)], source_time=TONIGHT)
    tonight = deliver(RINGCX)
    run = send(load, FIXED, RINGCX)
    assert run.counts == {"delivered": 2}
    target = ledger.target(tonight.plan["target"])
    assert target.fence_source_time == TONIGHT, "nobody's newer night is locked out"
    again = deliver(RINGCX)
    assert (again.summary["verdict"], again.counts) == ("unchanged", {"held": 5})
    assert vendor.numbers("ringcx") == numbers(range(10), 50, 51, range(100, 105))


# A list that is replaced


def test_a_replaced_list_gets_the_whole_night_with_the_fixes(deliver, snapshot, send, vendor, ledger):
    snapshot(night())
    first = deliver()
    assert first.counts == {"delivered": 10, "rejected": 3}
    run = send(first.summary["load"], FIXED)
    assert (run.state, run.counts) == ("success", {"delivered": 12, "rejected": 1})
    assert (run.plan["added"], run.plan["unchanged"], run.plan["removed"]) == (2, 10, 0)
    assert vendor.numbers() == numbers(range(10), 50, 51)
    assert ledger.load(run.summary["load"]).source_time == ledger.load(first.summary["load"]).source_time
    run.assert_accounted()
    # Further fixes belong to what is on the list now: of the first load they would take the others off it.
    send.hand_in(
        first.summary["load"], file({"1052": {"phone1": "2012000052"}}), says="has replaced the list since"
    )
    last = send(run.summary["load"], {"1052": {"phone1": "2012000052"}})
    assert last.counts == {"delivered": 13} and vendor.numbers() == numbers(range(10), 50, 51, 52)


def test_a_newer_night_is_not_overwritten(deliver, snapshot, send, vendor):
    snapshot(night(), night="2026-11-19", source_time=YESTERDAY)
    first = deliver()
    handed = send.hand_in(first.summary["load"], file(FIXED))
    snapshot(12, source_time=TONIGHT)
    deliver()
    run = send.deliver(handed)
    assert run.summary["verdict"] == "refused" and "Old leads never overwrite" in run.problems
    assert vendor.numbers() == numbers(range(12))


def test_the_guards_stay(deliver, snapshot, send, vendor):
    snapshot(night())
    first = deliver(ringcx())
    run = send(first.summary["load"], {"1050": {"phone1": "1"}, "1051": {}, "1052": {}}, ringcx())
    assert run.state == "failed" and run.summary["verdict"] == "refused" and vendor.calls == 1


# The file and the load


def test_rows_of_the_file_that_are_not_sent_say_why(deliver, snapshot, send):
    snapshot(night())
    first = deliver(RINGCX)
    content = io.StringIO()
    content.write("row_key;phone1\n1050;2012000050\n1001;2012000060\n9999;2012000061\n;2012000062\n")
    content.write("1051;2012000051\n1051;2012000063\n")
    handed = send.hand_in(first.summary["load"], content.getvalue().encode(), name="a.csv")
    assert handed.xcom("hand_in")["rows"] == 1
    assert refused(handed) == {
        "1001": "fix_not_rejected",
        "9999": "fix_unknown_key",
        "row 5": "fix_no_key",
        "1051": "fix_repeated",
    }
    text = handed.folder("report").get("report.md").decode()
    assert "1 rows of the file go out again, 5 do not" in text and "`fix_not_rejected`" in text
    assert "2012000" not in text
    assert f"(../{DAG}/{slug(handed.xcom('hand_in')['run_id'])})" in text, "the way to the delivery's page"


def test_what_cannot_be_sent_again_says_why(deliver, snapshot, send, ledger):
    snapshot(night())
    planned = deliver(conf={"action": "plan"}, run_type="manual")
    send.hand_in(planned.summary["load"], file(FIXED), says="it only planned")
    run = deliver()
    load = run.summary["load"]
    send.hand_in(load, b"no workbook", says="no workbook that can be opened")
    send.hand_in(load, file(FIXED), by="eve", says="eve started the run")
    RunFolder(run_path(run.dag.dag_id, run.run_id, "outcomes")).remove()
    send.hand_in(load, file(FIXED), says="House-keeping has removed")


def test_without_an_upload_nothing_is_handed_in(send, make_dag, ledger):
    make_dag(flow_file())
    run = send.hand_in("0" * 32, b"", says="knows no load")
    run._about["dag_run"].run_id = "manual__1"
    with pytest.raises(AirflowFailException, match="Open the load's page"):
        run.attempt(run.dag.task_dict["hand_in"])


def test_the_workbook_to_fix_goes_round(deliver, snapshot, send, vendor):
    """What a person downloads, corrects in openpyxl (as in Excel) and uploads."""
    rows = [*night(), lead(53, phone1="=1+1", data=json.dumps({"state": "=cmd|'x'", "zip": "00501"}))]
    snapshot(rows)
    first = deliver(RINGCX)
    flow = PureCallerIdFlow.model_validate(RINGCX)
    load = send._ledger.load(first.summary["load"])
    book = load_workbook(io.BytesIO(resend.workbook(flow, load)))
    sheet = book.active
    head = [cell.value for cell in sheet[1]]
    lead_columns = ["phone1", "phone2", "phone3", "customer_key", "data.state"]
    assert head == ["row_key", *lead_columns, "code", "how_to_fix", "detail"]
    found = {row[0].value: row for row in sheet.iter_rows(min_row=2)}
    assert set(found) == {"1050", "1051", "1052", "1053"}
    assert found["1053"][1].value == "=1+1" and found["1053"][1].data_type == "s", "text, no formula"
    assert found["1050"][head.index("code")].value == "phone_too_short"
    for key, row in found.items():
        row[1].value = f"201200{int(key) - 1000:04d}"
    sheet.delete_rows(found["1052"][0].row)
    content = io.BytesIO()
    book.save(content)
    handed = send.hand_in(load.id, content.getvalue())
    assert refused(handed) == {}
    run = send.deliver(handed, RINGCX)
    assert run.counts == {"delivered": 3} and vendor.numbers("ringcx") == numbers(range(10), 50, 51, 53)


def test_the_leftovers_of_a_night_outlive_a_resend(ledger):
    """A night whose end came too early is taken along by the next one, whatever was handed in in between."""
    from include.leftovers import _last_written

    flow = PureCallerIdFlow.model_validate(RINGCX)
    made = []
    for run_id in ("night-1", "night-2", "resend__a", "restore__b"):
        load = ledger.open_load(
            flow=flow.name,
            vendor=flow.vendor,
            dag_id=flow.dag_id,
            run_id=run_id,
            target=flow.target,
            night="2026-11-20",
            source_time=TONIGHT,
            snapshot="x",
            plan_hash=run_id,
            mode="apply",
            requested_by=None,
            reason=None,
            rows_in=0,
        )
        from include.ledger import Counts

        ledger.finish_load(load.id, state="done", counts=Counts(rows_in=0), verdict="delivered")
        made.append(load.id)
    assert [load.id for load in _last_written(ledger, flow, "tonight")] == made[:0:-1]
    assert handed_in.kind_of("night-2") is None
