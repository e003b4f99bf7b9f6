"""kill -9 in the middle of a night's work: the next try finishes, nothing is lost, nothing is sent twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]  # seconds: of a stack on a busy machine

SHARDS = 2
SOURCE = """
kind: pull_platform_leads
name: {name}
zone: America/New_York
schedule: "0 {hour} * * *"
filters: {{listId: 100}}
shards: {shards}
"""
FIVE9 = """
kind: load_purecallerid
name: {name}
source: {source}
dialer: five9
campaign: 64be9f5c0c8d4a1f2b3c4d5e
list: {list}
mode: REPLACE
released: true
unique_column: uniqueId
callback_hours: {hours}
columns: [{{to: number1, from: phone}}, {{to: uniqueId, from: row_key}}]
guards: {{max_source_age_hours: 999, max_shrink_percent: 100}}
"""
# RING_RETAIN_ALL: the dialer keeps repeats, so that a load sent twice is seen on the list.
RINGCX = """
kind: load_purecallerid
name: {name}
source: {source}
dialer: ringcx
campaign: 64be9f5c0c8d4a1f2b3c4d5f
list: {list}
mode: APPEND
dedupe: RING_RETAIN_ALL
released: true
callback_hours: {hours}
columns: [{{to: leadPhone, from: phone}}, {{to: externId, from: row_key}}]
guards: {{max_source_age_hours: 999}}
"""
ISALES = """
kind: import_isales
name: {name}
source: base
vdn_id: 1
campaign: "{campaign}"
server: "164690088271159234793429225848"
sftp_root: /home/sftp
released: true
when_live: allow
lookup_seconds: 1
columns: [{{to: called, from: phone}}]
guards: {{max_source_age_hours: 999}}
"""
CAMPAIGNS = {"upload": "1803096731904991234", "request": "1803096731904991235"}
"""iSales' flows by where they are hit."""

SOON, LATER = 0.007, 1  # hours to wait for a webhook: 25 seconds where it never comes

SOURCES = ("callers", "base", "nightly")
PULL, BASE, NIGHTLY = (f"pull_platform_leads__{name}" for name in SOURCES)
LISTS = {
    "five9_nightly": (FIVE9, "Nightly callers", LATER),
    "five9_weekend": (FIVE9, "Weekend callers", SOON),
    "five9_renewals": (FIVE9, "Renewals", LATER),
    "ringcx_nightly": (RINGCX, "RingCX nightly", SOON),
    "ringcx_weekend": (RINGCX, "RingCX weekend", LATER),
}
FOLLOWED = "Callbacks"
"""The list whose delivery follows its source by itself."""


def load_dag(name: str) -> str:
    return f"load_purecallerid__{name}"


@pytest.fixture(scope="module")
def rig(rigged: Callable[..., Any]) -> Iterator[Any]:
    """A stack that has pulled two small nights of `base`, whose deliveries the tests start by hand."""
    hour = (datetime.now(ZoneInfo("America/New_York")).hour + 12) % 24  # not while the tests run
    flows = {f"{name}.yaml": SOURCE.format(name=name, shards=SHARDS, hour=hour) for name in SOURCES}
    flows |= {
        f"{name}.yaml": text.format(name=name, source="base", list=list_name, hours=hours)
        for name, (text, list_name, hours) in LISTS.items()
    }
    flows["of_nightly.yaml"] = FIVE9.format(name="of_nightly", source="nightly", list=FOLLOWED, hours=LATER)
    flows |= {
        f"{name}.yaml": ISALES.format(name=name, campaign=campaign) for name, campaign in CAMPAIGNS.items()
    }
    imports = [f"import_isales__{name}" for name in CAMPAIGNS]
    loads = [*imports, *(load_dag(name) for name in (*LISTS, "of_nightly"))]
    with rigged(flows) as rig:
        pulls = (PULL, BASE, NIGHTLY)
        rig.begin(*pulls, *loads)
        for dag_id in pulls:
            rig.airflow.unpause(dag_id)
        runs = [rig.airflow.trigger(BASE, partition_key=night) for night in sorted(rig.nights)[1:3]]
        for run_id in runs:
            assert rig.ended(BASE, run_id)[0] == "success"
        # Only now, so that no delivery follows these pulls by itself.
        for dag_id in loads:
            rig.airflow.unpause(dag_id)
        yield rig


@pytest.fixture(autouse=True)
def calm(rig: Any) -> Iterator[None]:
    """Each test sets its own faults and pace."""
    yield
    rig.no_faults()
    rig.switch("platform", page_delay_ms=0)
    rig.switch("purecallerid", step_seconds=0.2)


class Pull:
    """A pull of last night, slow enough to be hit in the middle."""

    def __init__(self, rig: Any) -> None:
        self.rig = rig
        self.night = rig.last_night
        self.before = len(rig.pages_asked())
        rig.switch("platform", page_delay_ms=400)
        self.run_id = rig.airflow.trigger(PULL, partition_key=self.night)

    def asked(self) -> list[str]:
        return self.rig.pages_asked()[self.before :]

    def until_under_way(self, pages: int = 12) -> None:
        self.rig.wait(f"{pages} pages of the pull", lambda: len(self.asked()) >= pages)
        assert self.rig.task(PULL, self.run_id, "pull")["state"] == "running"

    def check(self) -> int:
        """The snapshot is whole, and no page was walked again but those under way at the blow. Returns the tries."""
        self.rig.switch("platform", page_delay_ms=0)
        state, summary = self.rig.ended(PULL, self.run_id)
        assert state == "success"
        leads, facts = self.rig.snapshot(PULL, self.run_id)
        assert leads.height == leads["lead_id"].n_unique() == self.rig.nights[self.night]
        assert summary["rows_in"] == summary["delivered"] + summary["rejected"]
        asked = Counter(self.asked())
        assert len(asked) == facts["pages"]
        again = {uri: times for uri, times in asked.items() if times > 1}
        assert len(again) <= SHARDS, again
        assert not [uri for uri in again if "cursor=" not in uri], "a shard began again at its first page"
        return int(self.rig.task(PULL, self.run_id, "pull")["try_number"])


def start(rig: Any, name: str, night: int = 1) -> str:
    """Start a delivery of one of the base's nights by hand; returns its run id."""
    return str(rig.airflow.trigger(load_dag(name), conf={"night": sorted(rig.nights)[night]}))


def ended_webhooks(rig: Any, dialer_list: str) -> list[dict[str, Any]]:
    """The webhooks that told the end of a load to one list."""
    return [webhook for webhook in rig.webhooks_of(dialer_list) if webhook["status"] == "FINALIZED"]


def check_accounted(summary: dict[str, Any]) -> None:
    states = ("delivered", "rejected", "suppressed", "held", "uncertain")
    assert summary["rows_in"] == sum(summary[state] for state in states) > 0


def check_delivered(rig: Any, name: str, run_id: str, key: str) -> None:
    """The run is green, and the list holds each delivered row once."""
    state, summary = rig.ended(load_dag(name), run_id)
    assert (state, summary["verdict"]) == ("success", "delivered"), summary
    check_accounted(summary)
    rows = rig.rows_on(LISTS[name][1])
    assert len(rows) == len({row[key] for row in rows}) == summary["delivered"] > 0


def check_uncertain(rig: Any, name: str, run_id: str) -> None:
    """The run is red, says that it does not know, and still accounts for every row."""
    state, summary = rig.ended(load_dag(name), run_id)
    assert (state, summary["verdict"]) == ("failed", "uncertain"), summary
    check_accounted(summary)
    assert summary["uncertain"] > 0 and summary["delivered"] == 0


def test_workers_die(rig: Any) -> None:
    rig.switch("purecallerid", step_seconds=15)
    # The first load's bytes arrive nowhere; the two after it are taken, but nobody lives to read the answer.
    rig.fault("purecallerid", "delay", seconds=600)
    rig.fault("purecallerid", "late_answer", nth=2, times=2, seconds=600)
    never_taken = start(rig, "ringcx_nightly")
    rig.until_sending(load_dag("ringcx_nightly"), never_taken)
    replaced, appended = start(rig, "five9_nightly"), start(rig, "ringcx_weekend")
    rig.wait(
        "both loads to be taken",
        lambda: rig.loads_of("Nightly callers") and rig.loads_of("RingCX weekend"),
    )
    pull = Pull(rig)
    pull.until_under_way()
    rig.no_faults()
    rig.stack.kill("worker")

    # A REPLACE converges, so it is sent again at once; an append may stand on the list already, so it is not.
    rig.wait("the second try of the REPLACE", lambda: len(rig.loads_of("Nightly callers")) == 2)
    rig.switch("purecallerid", step_seconds=0.5)
    assert pull.check() >= 2
    check_delivered(rig, "five9_nightly", replaced, "uniqueId")
    check_delivered(rig, "ringcx_weekend", appended, "externId")
    check_uncertain(rig, "ringcx_nightly", never_taken)
    assert len(rig.loads_of("Nightly callers")) == 2
    assert len(rig.loads_of("RingCX weekend")) == 1
    assert rig.loads_of("RingCX nightly") == rig.rows_on("RingCX nightly") == []


def test_workers_die_in_an_upload_and_in_an_import(rig: Any) -> None:
    def begin(name: str) -> tuple[str, str]:
        dag_id = f"import_isales__{name}"
        return dag_id, rig.airflow.trigger(dag_id, conf={"night": sorted(rig.nights)[1]})

    rig.switch("isales", take_repeats=True)  # so that a file imported twice is seen in the campaign
    rig.fault("sftp", "upload_slow", seconds=600)
    uploading = begin("upload")
    rig.wait("the upload", lambda: [e for e in rig.vendor("isales")["sftp"] if e["op"] == "upload"])
    rig.fault("isales", "late_answer", op="import", seconds=600)
    asking = begin("request")
    rig.wait(
        "the import",
        lambda: [t for t in rig.vendor("isales")["tasks"] if t["campaign"] == CAMPAIGNS["request"]],
    )
    rig.no_faults()
    rig.stack.kill("worker")

    for (dag_id, run_id), campaign in zip((uploading, asking), CAMPAIGNS.values(), strict=True):
        state, summary = rig.ended(dag_id, run_id)
        assert (state, summary["verdict"]) == ("success", "delivered"), summary
        check_accounted(summary)
        held = rig.vendor("isales")
        assert held["campaigns"][campaign]["count"] == summary["delivered"] > 0
        assert len([task for task in held["tasks"] if task["campaign"] == campaign]) == 1
        assert rig.task(dag_id, run_id, "load")["try_number"] >= 2
    names = [file["path"] for file in rig.vendor("isales")["files"]]
    assert len(names) == 2 and not [name for name in names if name.endswith(".part")]


def test_api_server_dies(rig: Any) -> None:
    rig.fault("purecallerid", "delay", seconds=30)
    sending = start(rig, "five9_renewals")
    rig.until_sending(load_dag("five9_renewals"), sending)
    rig.switch("purecallerid", step_seconds=6)
    waiting, pull = start(rig, "five9_weekend"), Pull(rig)
    rig.until_task(load_dag("five9_weekend"), waiting, "load", "deferred")
    pull.until_under_way()
    rig.stack.kill("api-server")

    # The webhook that tells the end finds nobody, and PureCallerID does not call again.
    lost = rig.wait("the last webhook", lambda: ended_webhooks(rig, "Weekend callers"))
    assert [webhook["answer"] for webhook in lost] == ["ConnectError"]
    rig.switch("purecallerid", step_seconds=15)  # the other load's last webhook comes after the outage
    rig.stack.restart("api-server")
    rig.stack.wait_healthy()
    rig.switch("purecallerid", step_seconds=0.5)
    assert rig.stack.airflow.health()["metadatabase"]["status"] == "healthy"
    assert httpx.get(rig.stack.url, follow_redirects=True, trust_env=False).is_success

    pull.check()
    check_delivered(rig, "five9_renewals", sending, "uniqueId")
    check_uncertain(rig, "five9_weekend", waiting)


def test_triggerer_dies(rig: Any) -> None:
    sent_before = len(rig.loads_of("Weekend callers"))
    known = len(ended_webhooks(rig, "Weekend callers"))
    rig.switch("purecallerid", step_seconds=3)
    # The list whose last load ended uncertain: a REPLACE may simply be sent again.
    run_id, pull = start(rig, "five9_weekend"), Pull(rig)
    rig.until_task(load_dag("five9_weekend"), run_id, "load", "deferred")
    pull.until_under_way()
    rig.stack.kill("triggerer")

    told = rig.wait("the last webhook", lambda: ended_webhooks(rig, "Weekend callers")[known:])
    assert [webhook["answer"] for webhook in told] == [200]  # stored, while nobody waits for it
    rig.stack.restart("triggerer")
    rig.stack.wait_healthy()

    assert pull.check() == 1
    check_delivered(rig, "five9_weekend", run_id, "uniqueId")
    assert len(rig.loads_of("Weekend callers")) == sent_before + 1


def test_scheduler_dies(rig: Any) -> None:
    sent_before = len(rig.loads_of("Nightly callers"))
    known = len(ended_webhooks(rig, "Nightly callers"))
    rig.switch("purecallerid", step_seconds=3)
    run_id, pull = start(rig, "five9_nightly", night=2), Pull(rig)
    rig.until_task(load_dag("five9_nightly"), run_id, "load", "deferred")
    pull.until_under_way()
    rig.stack.kill("scheduler")  # and with it, as on one machine, the tasks that it started

    rig.wait("the last webhook", lambda: ended_webhooks(rig, "Nightly callers")[known:])
    rig.stack.restart("scheduler")
    rig.stack.wait_healthy()

    assert pull.check() >= 2
    check_delivered(rig, "five9_nightly", run_id, "uniqueId")
    assert len(rig.loads_of("Nightly callers")) == sent_before + 1


def test_a_night_again_and_an_older_one(rig: Any) -> None:
    older, night = sorted(rig.nights)[3:5]
    sent_before = len(rig.loads_of(FOLLOWED))

    def pull_and_follow(which: str, number: int) -> tuple[str, dict[str, Any]]:
        """Pull a night; wait for its `number`th delivery, which follows by itself; return its state and summary."""
        run_id, dag_id = rig.airflow.trigger(NIGHTLY, partition_key=which), load_dag("of_nightly")
        assert rig.ended(NIGHTLY, run_id)[0] == "success"
        run = rig.wait(
            f"delivery {number} of {which}",
            lambda: rig.airflow.runs(dag_id, partition_key=which)[number - 1 : number],
        )[0]
        state, summary = rig.ended(dag_id, run["dag_run_id"])
        check_accounted(summary)
        return state, summary

    state, first = pull_and_follow(night, 1)
    assert (state, first["verdict"]) == ("success", "delivered")
    rows = rig.rows_on(FOLLOWED)
    assert len(rows) == first["delivered"] > 0

    state, second = pull_and_follow(night, 2)
    assert (state, second["verdict"]) == ("success", "unchanged")
    assert second["delivered"] == 0 < second["held"]

    state, third = pull_and_follow(older, 1)
    assert (state, third["verdict"]) == ("failed", "refused")
    assert third["delivered"] == 0 < third["held"]
    assert "Old leads never overwrite newer ones" in " ".join(third["problems"])

    assert len(rig.loads_of(FOLLOWED)) == sent_before + 1
    assert rig.rows_on(FOLLOWED) == rows
