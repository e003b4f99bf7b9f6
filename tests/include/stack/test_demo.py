"""The demo's judgement: what counts as a good night, what it prints, and when it stops waiting."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from include.flow_files import FlowFileError
from include.stack import demo
from include.stack.console import arguments
from include.stack.demo import Flow, judge, tonight, watch
from include.stack.demo_result import FlowResult, read_counts, table, write_json
from include.stack.processes import StackError
from tests.waiting import LIMIT

NIGHT = "2026-11-20"
GOOD = {"rows_in": 12000, "delivered": 11000, "rejected": 900, "suppressed": 60, "held": 0, "uncertain": 40}


def result(**changes: Any) -> FlowResult:
    values: dict[str, Any] = {
        "flow": "five9_nightly",
        "dag_id": "load_purecallerid__five9_nightly",
        "run_id": "r1",
        "counts": GOOD,
        "seconds": 12.34,
        "verdict": "delivered",
        "well": True,
        "report": None,
    }
    return FlowResult(**(values | changes))


class ScriptedAirflow:
    """Answers `runs` with one list after the other, the last one for ever."""

    def __init__(self, *looks: list[dict[str, Any]], xcom: Any = None) -> None:
        self.looks = list(looks)
        self.summary = xcom

    def runs(self) -> list[dict[str, Any]]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return []

    def xcom(self, *_: str) -> Any:
        return self.summary


class AliveStack:
    def require_running(self) -> None:
        pass


class Quiet:
    def say(self, line: str) -> None:
        pass


def a_run(dag_id: str, state: str, night: str = NIGHT) -> dict[str, Any]:
    return {"dag_id": dag_id, "dag_run_id": "r1", "state": state, "partition_key": night, "duration": 1.0}


def a_night() -> list[Flow]:
    return [Flow("ftc", "pull", NIGHT, None), Flow("five9", "load", NIGHT, "pull")]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(demo, "FOLLOW_SECONDS", LIMIT)


def test_the_table_lines_up() -> None:
    lines = table(
        [result(), result(flow="x", counts=None, seconds=None, verdict="never started")]
    ).splitlines()
    assert lines[0].split("  ")[0].strip() == "flow"
    assert lines[2] == (
        "five9_nightly   12,000     11,000       900          60     0         40     12.3  delivered"
    )
    assert lines[3].split() == ["x", *"??????", "never", "started"]
    assert lines[0].index("verdict") == lines[2].index("delivered") == lines[3].index("never")


def test_rows_that_do_not_add_up_are_told_and_fail(tmp_path: Path) -> None:
    short = result(counts=GOOD | {"delivered": 10999})
    assert "rows do not add up" in table([short])
    assert not write_json(tmp_path / "demo.json", [result(), short], night=NIGHT, seconds=1)
    written = json.loads((tmp_path / "demo.json").read_text())
    assert [flow["accounted"] for flow in written["flows"]] == [True, False]
    assert written["accounted"] is False


@pytest.mark.parametrize(
    ("results", "well"),
    [
        ([result()], True),
        ([result(), result(well=False)], False),
        ([result(), result(counts=None)], False),
        ([], False),
    ],
)
def test_a_good_night_is_every_run_well_and_every_row_accounted(
    tmp_path: Path, results: list[FlowResult], well: bool
) -> None:
    assert write_json(tmp_path / "demo.json", results, night=NIGHT, seconds=1) is well


def test_the_json_holds_what_the_table_shows(tmp_path: Path) -> None:
    write_json(tmp_path / "demo.json", [result(report="/r.md")], night=NIGHT, seconds=45.67)
    written = json.loads((tmp_path / "demo.json").read_text())
    assert written == {
        "flows": [
            {
                "flow": "five9_nightly",
                "dag_id": "load_purecallerid__five9_nightly",
                "run_id": "r1",
                **GOOD,
                "seconds": 12.34,
                "verdict": "delivered",
                "accounted": True,
                "report": "/r.md",
            }
        ],
        "accounted": True,
        "ok": True,
        "night": NIGHT,
        "seconds": 45.7,
    }


@pytest.mark.parametrize(
    "summary",
    [None, "12", {}, GOOD | {"held": None}, GOOD | {"held": "0"}, GOOD | {"held": -1}, GOOD | {"held": True}],
)
def test_half_a_summary_is_none(summary: object) -> None:
    assert read_counts(summary) is None


def test_watch_ends_when_all_runs_have_ended() -> None:
    flows = a_night()
    looks = [[], [a_run("pull", "running")], [a_run("pull", "success")]]
    looks.append([a_run("pull", "success"), a_run("load", "success"), a_run("load", "failed", "2026-11-19")])
    watch(AliveStack(), ScriptedAirflow(*looks), flows, Quiet(), timeout=LIMIT)  # type: ignore[arg-type]
    assert [flow.state for flow in flows] == ["success", "success"]


def test_nobody_sits_beside_a_demo_so_what_asks_is_told_no() -> None:
    class Asking(ScriptedAirflow):
        answers: list[tuple[Any, ...]] = []  # noqa: RUF012

        def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
            return [{"task_id": "approve", "state": "awaiting_input"}] if dag_id == "load" else []

        def answer(self, *told: Any) -> None:
            self.answers.append(told)

    asking = Asking(
        [a_run("pull", "success"), a_run("load", "running")],
        [a_run("pull", "success"), a_run("load", "running")],
        [a_run("pull", "success"), a_run("load", "failed")],
    )
    watch(AliveStack(), asking, a_night(), Quiet(), timeout=LIMIT)  # type: ignore[arg-type]
    ((dag_id, run_id, task, option, fields),) = asking.answers
    assert (dag_id, run_id, task, option) == ("load", "r1", "approve", "Reject") and fields["why"]


def test_watch_gives_up_on_a_delivery_that_never_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FOLLOW_SECONDS", 0.05)
    flows = a_night()
    airflow = ScriptedAirflow([a_run("pull", "success")])
    watch(AliveStack(), airflow, flows, Quiet(), timeout=LIMIT)  # type: ignore[arg-type]
    missing = judge(airflow, flows[1])  # type: ignore[arg-type]
    assert (missing.verdict, missing.well, missing.accounted) == ("never started", False, False)


def test_watch_does_not_wait_for_what_follows_a_failed_pull() -> None:
    began = time.monotonic()
    flows = a_night()
    watch(AliveStack(), ScriptedAirflow([a_run("pull", "failed")]), flows, Quiet(), timeout=LIMIT)  # type: ignore[arg-type]
    assert flows[1].run is None
    assert time.monotonic() - began < LIMIT


def test_a_run_that_is_not_finished_in_time_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    flows = a_night()
    airflow = ScriptedAirflow([a_run("pull", "success"), a_run("load", "running")], xcom=GOOD)
    ticks = itertools.count()  # every look at the clock is a second later
    monkeypatch.setattr(demo.time, "monotonic", lambda: float(next(ticks)))
    watch(AliveStack(), airflow, flows, Quiet(), timeout=3)  # type: ignore[arg-type]
    late = judge(airflow, flows[1])  # type: ignore[arg-type]
    assert (late.verdict, late.well) == ("not finished (running)", False)


def test_a_success_without_a_summary_is_not_accounted() -> None:
    flow = Flow("ftc", "pull", NIGHT, None, a_run("pull", "success"))
    judged = judge(ScriptedAirflow([]), flow)  # type: ignore[arg-type]
    assert not judged.accounted
    assert "no summary" in judged.verdict


def test_a_failed_run_says_so_even_with_a_summary() -> None:
    flow = Flow("ftc", "pull", NIGHT, None, a_run("pull", "failed"))
    judged = judge(ScriptedAirflow([], xcom={**GOOD, "verdict": "3 rows missing"}), flow)  # type: ignore[arg-type]
    assert (judged.verdict, judged.well, judged.accounted) == ("failed: 3 rows missing", False, True)


def flow_files(folder: Path, *, source: str = "ftc") -> None:
    (folder / "ftc.yaml").write_text("{kind: pull_platform_leads, name: ftc, zone: America/New_York}")
    (folder / "five9.yaml").write_text(
        f"{{kind: load_purecallerid, name: five9, source: {source}, dialer: five9, campaign: c, list: l, "
        "mode: REPLACE, columns: [{to: number1, from: phone}]}"
    )


def test_tonight_is_every_source_and_its_deliveries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTKEEPER_FLOWS", str(tmp_path))
    flow_files(tmp_path)
    at_four_in_utc = demo.datetime(2026, 11, 21, 4, 0, tzinfo=demo.UTC)  # still the 20th in New York
    assert tonight(at_four_in_utc) == [
        Flow("ftc", "pull_platform_leads__ftc", "2026-11-19", None),
        Flow("five9", "load_purecallerid__five9", "2026-11-19", "pull_platform_leads__ftc"),
    ]


def test_tonight_names_what_is_wrong_with_the_flow_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTKEEPER_FLOWS", str(tmp_path))
    now = demo.datetime.now(demo.UTC)
    with pytest.raises(StackError, match="no flow file of a source"):
        tonight(now)
    flow_files(tmp_path, source="nowhere")
    with pytest.raises(StackError, match="nowhere"):
        tonight(now)
    (tmp_path / "five9.yaml").write_text("{kind: load_purecallerid, name: five9}")
    with pytest.raises(FlowFileError, match=r"five9\.yaml"):
        tonight(now)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("nowhere.csv", None, "there is no file"),
        ("leads.txt", "phone\n1\n", "must be a CSV or JSON"),
        ("leads.csv", "", "is empty"),
    ],
)
def test_a_bad_leads_file_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, told: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as end:
        arguments("make demo", "").parse_args(["--leads", str(tmp_path / name)])
    assert end.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "80", "70000", "abc", ""])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(SystemExit):
        arguments("make demo", "").parse_args(["--airflow-port", port])


ARCHIVE = """
{kind: archive_vicidial_leads, name: old, select: {database: db, rules: [{name: a, older_than_days: 90}]}}
"""


def test_tonight_archives_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTKEEPER_FLOWS", str(tmp_path))
    flow_files(tmp_path)
    (tmp_path / "old.yaml").write_text(ARCHIVE)
    found = tonight(demo.datetime(2026, 11, 21, 4, 0, tzinfo=demo.UTC))[-1]
    assert found == Flow("old", "archive_vicidial_leads__old", "2026-11-19", None) and found.archives
    (tmp_path / "old.yaml").write_text("{kind: archive_vicidial_leads, name: old}")
    with pytest.raises(FlowFileError, match=r"old\.yaml"):
        tonight(demo.datetime(2026, 11, 21, 4, 0, tzinfo=demo.UTC))


def test_the_office_closes_once_an_archive_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[demo.datetime] = []

    class Taken:
        def raise_for_status(self) -> None:
            pass

    def post(url: str, json: dict[str, Any], trust_env: bool) -> Taken:
        assert not trust_env
        if url.endswith("/_sandbox/switches"):
            assert json == {"isales": {"clock_tolerance_minutes": None}}
            return Taken()
        assert url.endswith("/_sandbox/clock")
        told.append(demo.datetime.fromisoformat(json["now"]))
        return Taken()

    monkeypatch.setattr(demo.httpx, "post", post)
    stack = type("Stack", (), {"sandbox_url": "http://127.0.0.1:1"})()
    office = demo.Office(stack, Quiet())  # type: ignore[arg-type]
    archive = Flow("old", "archive_vicidial_leads__old", NIGHT, None)
    office.closes(archive)
    assert told == [], "it has not opened yet"
    office.opens()
    office.closes(Flow("five9", "load_purecallerid__five9", NIGHT, "pull"))
    assert [moment.hour for moment in told] == [10]
    office.closes(archive)
    office.closes(archive)
    assert [moment.hour for moment in told] == [10, 20]
    assert all(moment.weekday() < 5 for moment in told)


def test_an_archive_that_airflow_started_by_itself_is_followed_while_ours_waits_behind_it() -> None:
    dag_id = "archive_vicidial_leads__old"
    ours, theirs = a_run(dag_id, "queued"), a_run(dag_id, "running") | {"dag_run_id": "scheduled"}
    flows = [Flow("old", dag_id, NIGHT, None)]
    ends = [ours | {"state": "running"}, theirs | {"state": "success"}]
    looks = [[ours], [ours, theirs], ends]
    watch(AliveStack(), ScriptedAirflow(*looks), flows, Quiet(), timeout=5)  # type: ignore[arg-type]
    assert flows[0].run is not None and flows[0].run["dag_run_id"] == "scheduled"
    assert flows[0].state == "success"
