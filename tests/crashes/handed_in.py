"""Nights on which a person hands something in: a list is put back, rejects are fixed and sent again.

The list holds what earlier nights left on it. Then somebody asks, and from there on everything may crash: the page that
takes a file, the step that hands in, the delivery. Afterwards the same is asked for once more.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NamedTuple
from unittest import mock

from include import handed_in, staging
from include.house.days import KeepDays
from include.house.house import House
from include.ledger import Ledger
from include.safe import SAFE
from include.staging import slug
from tests.crashes.night import TRIES, Books, CrashingRun, Json, Schedule, flow_files, parsed
from tests.crashes.points import SimulatedCrash
from tests.crashes.purecallerid import WAIT, PureCallerId
from tests.flows.conftest import flow_file, lead, make_snapshot, phone
from tests.flows.runs import answered

GOOD, OTHERS, BAD = range(10), range(100, 108), (50, 51)
ALL_VALID = {"guards": {"min_valid_percent": 0}}
BY_HAND = {"run_type": "manual", "partition_key": None, "triggering_user_name": "ana"}


class HandedIn(PureCallerId):
    """The judge is the dialer's list: it holds what was asked for, and no number twice."""

    flows: ClassVar = {
        "restore": flow_file(name="restore", **WAIT),
        "resend_whole": flow_file(name="resend_whole", **ALL_VALID, **WAIT),
        "resend_added": flow_file(
            "ringcx", name="resend_added", dedupe="RING_RETAIN_ALL", **ALL_VALID, **WAIT
        ),
    }
    safe = ("restore", "resend_whole")
    scenarios: ClassVar = {name: PureCallerId.scenarios[name] for name in ("", "429")}

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._earlier: dict[str, _Earlier] = {}

    def connect(self) -> None:
        super().connect()
        key = {"conn_type": "generic", "password": "a key of the crash tests alone"}
        os.environ["AIRFLOW_CONN_LISTKEEPER_ERASURE"] = json.dumps(key)

    def meant(self, kind: str) -> Counter[str]:
        """What the list should hold in the end."""
        return Counter(map(phone, GOOD if kind == "restore" else (*GOOD, *BAD)))

    def play(self, schedule: Schedule) -> CrashingRun:
        kind = schedule.kind
        self._live_through_earlier_nights(kind)
        before = len(self.numbers(kind))
        for fault in schedule.faults:
            self.sandbox.fault(**{"vendor": self.vendor} | fault)
        self.crashes.begin(schedule.crashes)
        asks = self._ask(kind)
        assert asks.tasks["hand_in"] == "success", "what was asked for was not handed in"
        self.of_asking = Counter(self.crashes.passed)
        run = self._delivery(kind, asks, schedule.pause).go()
        self.seen = self.of_first = Counter(self.crashes.passed)
        self.crashes.begin(())
        there = self.judge(run, schedule, before)
        first = self.first = dict(run.summary)

        # The morning after: the vendor is well again, and a person clears what is red.
        self.sandbox._control("DELETE", "/faults")
        if run.red:
            there = self.judge(run.go(run.red[0]), schedule, there if first else before)
        # And the same is asked for once more: in the same run, and in one of its own.
        order = asks.xcom("hand_in")
        assert asks.go().xcom("hand_in") == order, "a step that runs again hands in something else"
        self.last_word(self._ask_anew(run, schedule, there), schedule)
        self._look_round(run.ledger)
        self._count(first, run)
        return run

    def kept(self, kind: str, summary: Json, before: int) -> int:
        emptied = kind in self.safe and (summary["delivered"] or summary["uncertain"])
        return 0 if emptied else before

    def judge(self, run: CrashingRun, schedule: Schedule, before: int) -> int:
        there = super().judge(run, schedule, before)
        if schedule.kind == "resend_added":
            on_list = set(self.numbers(schedule.kind))
            assert set(map(phone, GOOD)) <= on_list, "a lead that stood there is gone"
        return there

    # What happens

    def _live_through_earlier_nights(self, kind: str) -> None:
        """Bring list and books to where somebody asks; played once, and put back for each schedule."""
        earlier = self._earlier.get(kind)
        self._reset(kind)
        flow_files(self.world.place / "flows", self.flows[kind])
        if earlier is None:
            self._empty.put_back(self.world.place)
            bad = [lead(BAD[0], phone1="12"), lead(BAD[1], phone1=None)] if kind != "restore" else []
            yesterday = datetime.now(UTC) - timedelta(hours=5)
            make_snapshot([*map(lead, GOOD), *bad], night="2026-11-19", source_time=yesterday)
            runs = [self._run(kind, "good").go()]
            if kind == "restore":
                make_snapshot([*map(lead, OTHERS)])
                runs.append(self._run(kind, "wrong").go())
            assert all(run.state == "success" for run in runs)
            self.world.sleep(600)
            rows = list(self._list(kind))
            made = _Earlier(Books.of(self.world.place), rows, self.world.seconds, runs[0].summary["load"])
            self._earlier[kind] = made
            return
        self.world.sleep(earlier.seconds)
        self._list(kind)[:] = earlier.rows
        earlier.books.put_back(self.world.place)

    def _list(self, kind: str) -> list[bytes]:
        """The rows of the vendor's list, as the sandbox holds them."""
        flow = self.flows[kind]
        campaign = self.sandbox.sandbox.purecallerid._campaigns[flow["campaign"]]
        return campaign.dialer.lists[flow["list"]]

    def _ask(self, kind: str, run_id: str = "asks") -> CrashingRun:
        """A person asks, again where the page has died; then the step that hands in."""
        conf: Json = {}
        if kind == "restore":
            conf = {"list": f"load_purecallerid__{kind}", "reason": "the night was wrong"}
            conf["load"] = self._earlier[kind].load
        else:
            run_id = self._upload(kind)
        dag = self._asking(kind)
        asks = CrashingRun(dag, self._ledger(), run_id, conf, **BY_HAND)
        asks.world, asks.crashes, asks.steps = self.world, self.crashes, ("hand_in",)  # type: ignore[misc]
        return asks.go()

    def _upload(self, kind: str) -> str:
        """Upload the fixed rows on the page of the first load; returns the run that was started, the only one."""
        from listkeeper.web.resend import _start

        content, started = io.StringIO(), list[str]()
        csv.writer(content).writerows(
            [("row_key", "phone1"), *((f"{1000 + number}", phone(number)) for number in BAD)]
        )
        about = (f"load_purecallerid__{kind}", slug("good"), "fixed.csv", content.getvalue().encode())
        starts = mock.patch(
            "airflow.api.common.trigger_dag.trigger_dag", lambda dag_id, run_id, **_: started.append(run_id)
        )
        for _ in range(TRIES):
            try:
                with starts:
                    _start(*about, "the numbers came back", "ana")
                break
            except SimulatedCrash:
                self.crashes.gone = False
        assert len(started) == 1, "the page has started several runs, or none"
        return started[0]

    def _delivery(self, kind: str, asks: CrashingRun, pause: float) -> CrashingRun:
        """The delivery's run, as the step `deliver` starts it: once, though its worker dies right after."""
        from airflow.sdk.exceptions import DagRunTriggerException, TaskDeferred

        order, started = asks.xcom("hand_in"), list[str]()
        task = self._asking(kind).task_dict["deliver"]
        ti = mock.Mock(get_dr_count=lambda dag_id, run_ids: len(set(run_ids) & set(started)))
        with mock.patch.object(task, "handed_in", order):
            for _ in range(2):
                try:
                    task.execute({"ti": ti})
                except DagRunTriggerException as asked:
                    started.append(asked.dag_run_id)
                except TaskDeferred:
                    pass
        assert started == [order["run_id"]], "not exactly one delivery was started"
        run = CrashingRun(self._dag(kind), self._ledger(), order["run_id"], {}, **BY_HAND)
        run.answer = answered("Approve")
        run.world, run.crashes, run.steps, run.pause = self.world, self.crashes, self.steps, pause  # type: ignore[misc]
        return run

    def _ask_anew(self, run: CrashingRun, schedule: Schedule, before: int) -> CrashingRun:
        """Whoever asks for the same again gets it where it is not there, and nothing twice; returns the last run."""
        from fastapi import HTTPException

        kind, done = schedule.kind, run.state == "success"
        try:
            asks = self._ask(kind, "asks again")
        except HTTPException:  # the page says that the fixed rows stand on the list
            assert done and kind == "resend_whole"
            return run
        if asks.tasks["hand_in"] != "success":
            assert kind == "resend_added", "what is not there cannot be asked for again"
            return run
        assert not done or kind == "restore", "rows that stand on the list go out again"
        again = self._delivery(kind, asks, 0).go()
        self.judge(again, schedule, before)
        return again

    def _look_round(self, ledger: Ledger) -> None:
        """Once handed in is once in the evidence; copies are sealed; what a crash left in clear is house-keeping's."""
        loads = {load.id for load in ledger.loads(50)}
        orders = [order["run_id"] for load in loads for order in ledger.records(handed_in.EVIDENCE, load)]
        assert len(orders) == len(set(orders)), "handed in once, and told twice"
        assert ledger.verify() == []
        files = staging.files()
        for file in files:
            if file.path.startswith(f"{SAFE}/") and not file.path.endswith(".json"):
                assert not (self.world.place / "staging" / file.path).read_bytes().startswith(b"PAR1"), (
                    "a copy in clear"
                )
        later = max(file.changed_at for file in files) + timedelta(days=4)
        house = House(ledger, KeepDays(), now=lambda: later)
        plan = house.plan()
        house.clean_up(plan, {})
        assert plan.unknown == [], "what house-keeping does not know stays for ever"
        left = [file.path for file in staging.files() if "/." in file.path]
        assert left == [], "what a crash left behind stays"

    def _asking(self, kind: str) -> Any:
        """The DAG that hands in."""
        name = f"{kind} asks"
        if name not in self.dags:
            dag_id = "restore_list" if kind == "restore" else "resend_rejects"
            self.dags[name] = parsed(self.world.place / "flows", self.flows[kind], dag_id)
        return self.dags[name]

    @staticmethod
    def _ledger() -> Ledger:
        from listkeeper.hooks.ledger import open_ledger

        return open_ledger()


class _Earlier(NamedTuple):
    """What the earlier nights left: books, the list's rows, how late it is, and the load that was good."""

    books: Books
    rows: list[bytes]
    seconds: float
    load: str
