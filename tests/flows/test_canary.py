"""Canaries through every vendor that takes one: the rest of a load goes out only behind good counts of its first part.

Each load is watched at the ledger: at the moment a second batch is intended, the first must stand there as confirmed,
with the vendor's own counts. The sandbox's books say what really arrived.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from listkeeper.hooks.platform import PlatformHook

from include import cli
from include.ledger import Ledger
from tests.connections import connect_isales
from tests.flows import test_push_flow as platform
from tests.flows.campaign import conftest as ozonetel
from tests.flows.conftest import Vendor, lead, phone
from tests.flows.imports.conftest import Campaign, import_file
from tests.flows.loads import append, ringcx

ROWS, FIRST = 12, 4
CANARY = {"rows": FIRST, "max_rejected_percent": 25}
SOON = 0.4 / 3600
"""Hours after which a test gives up on an outcome."""


@dataclass
class Kind:
    """One vendor: its flow file, a lead that it refuses without our knowing, how to keep an outcome from us."""

    flow: Callable[..., dict[str, Any]]
    standing: Callable[[Any], Counter[str]]
    good: Callable[[int], dict[str, Any]]
    bad: Callable[[int], dict[str, Any]]
    silence: Callable[[Any], object]
    patience: dict[str, float]


def _calls(number: int) -> dict[str, Any]:
    return ozonetel.person(number, agent="a7")


def _no_agent(number: int) -> dict[str, Any]:
    return ozonetel.person(number, agent=None)


def _campaign(**changes: Any) -> dict[str, Any]:
    by_agent = [{"to": "PhoneNumber", "from": "phone"}, {"to": "AgentId", "from": "data.agent"}]
    flow = ozonetel.campaign_file(campaign="Own customers", columns=by_agent, min_valid_share=0.5)
    return flow | changes


LIST = {
    "good": lead,
    "bad": lead,  # the sandbox is told which numbers are out of service
    "silence": lambda sandbox: sandbox.fault("purecallerid", "webhook_lost", times=None),
    "patience": {"callback_hours": SOON},
}
KINDS = {
    "five9": Kind(append, lambda sandbox: Vendor(sandbox).numbers(), **LIST),
    "five9_unique": Kind(
        lambda **changes: append(True, **changes), lambda sandbox: Vendor(sandbox).numbers(), **LIST
    ),
    "ringcx": Kind(ringcx, lambda sandbox: Vendor(sandbox).numbers("ringcx"), **LIST),
    "ozonetel": Kind(
        _campaign,
        lambda sandbox: ozonetel.Account(sandbox).numbers("Own customers"),
        _calls,
        _no_agent,
        lambda sandbox: sandbox.fault("ozonetel", "webhook_lost", times=None),
        {"callback_hours": SOON},
    ),
    "platform": Kind(
        lambda **changes: platform.push_file(min_valid_share=0.5, **changes),
        lambda sandbox: platform.Tenant(sandbox).keys(),
        lead,
        lambda number: lead(number, **platform.ODD_ZONE),
        lambda sandbox: sandbox.switch("platform", bulk_step_seconds=30),
        {"import_hours": SOON},
    ),
    "isales": Kind(
        lambda **changes: import_file(max_records=5, **changes),
        lambda sandbox: Campaign(sandbox).sessions,
        lead,
        lead,  # the sandbox is told which numbers are blacklisted
        lambda sandbox: sandbox.switch("isales", step_seconds=30),
        {"outcome_hours": SOON},
    ),
}
SOME = ["five9", "ozonetel", "platform", "isales"]


@pytest.fixture(autouse=True)
def vendors(installation, sandbox, monkeypatch):
    """All vendors at once, which work in no time; nothing waits longer than it must."""
    from listkeeper.hooks import platform_requests
    from listkeeper.triggers.imports import PlatformImportTrigger

    ozonetel.connect(monkeypatch, sandbox)
    connect_isales(monkeypatch, sandbox)
    platform.connect(monkeypatch, sandbox)
    monkeypatch.setitem(PlatformImportTrigger.__init__.__kwdefaults__, "poll_seconds", 0.02)
    monkeypatch.setattr(platform_requests, "TRIES", 2)
    monkeypatch.setitem(PlatformHook.__init__.__kwdefaults__, "sleep", lambda _: None)
    sandbox.switch("ozonetel", work_seconds=0.01, requests_per_minute=1000)
    sandbox.switch("isales", step_seconds=0.01)
    sandbox.switch("platform", bulk_step_seconds=0.02)
    return sandbox


@pytest.fixture(autouse=True)
def watched(monkeypatch):
    """Look, whenever a batch is about to go out, whether the canary before it is confirmed with counts."""
    intend = Ledger.intend
    seen: list[int] = []

    def watch(self: Ledger, load_id: str, seq: int, **about: Any) -> str:
        if seq > 1:
            first = self.batches(load_id)[0]
            assert (first.state, bool(first.vendor_counts)) == ("confirmed", True), "the rest did not wait"
        seen.append(seq)
        return intend(self, load_id, seq, **about)

    monkeypatch.setattr(Ledger, "intend", watch)
    return seen


@pytest.fixture
def night(snapshot, sandbox):
    """Commit a night of so many leads, some of which the vendor refuses."""

    def made(kind: Kind, *, bad: range = range(0), rows: int = ROWS, **about: Any) -> None:
        numbers = [phone(n) for n in bad]
        sandbox.switch("purecallerid", inactive=numbers)
        sandbox.switch("isales", blacklist=[f"1{number}" for number in numbers])
        leads = [(kind.bad if n in bad else kind.good)(n) for n in range(rows)]
        snapshot(leads, **{"source_time": datetime.now(UTC)} | about)

    return made


@pytest.mark.parametrize("name", SOME)
def test_a_good_canary_lets_the_rest_go(deliver, night, sandbox, ledger, name):
    kind = KINDS[name]
    night(kind, bad=range(1))  # one of four: just within the limit
    run = deliver(kind.flow(canary=CANARY))
    assert (run.state, run.counts) == ("success", {"delivered": ROWS - 1, "rejected": 1}), run.problems
    run.assert_accounted()
    batches = ledger.batches(run.summary["load"])
    assert batches[0].rows == FIRST and sum(batch.rows for batch in batches) == ROWS
    assert len(batches) > 1 and {batch.attempts for batch in batches} == {1}
    standing = kind.standing(sandbox)
    assert sum(standing.values()) == ROWS - 1 and set(standing.values()) == {1}
    report = (run.folder("report").get("report.md") or b"").decode()
    assert f"A canary goes first: {FIRST} of {ROWS} rows." in report


@pytest.mark.parametrize("name", KINDS)
def test_a_bad_canary_holds_the_rest_until_it_is_mended(deliver, night, sandbox, ledger, watched, name):
    kind = KINDS[name]
    night(kind, bad=range(2), facts={"mode": "full"})
    run = deliver(kind.flow(canary=CANARY))
    assert (run.state, run.summary["verdict"]) == ("failed", "failed")
    assert run.counts == {"delivered": 2, "rejected": 2, "held": ROWS - FIRST}
    assert run.reasons["canary_stopped"] == ROWS - FIRST
    run.assert_accounted()
    assert "refused 2 of 4 rows (50.0 %), the limit is 25 %" in run.problems
    assert "The other 8 rows are held" in run.problems
    assert sum(kind.standing(sandbox).values()) == 2 and watched == [1]
    # Cleared, the task finds the same word in the ledger.
    run.clear("load")
    assert run.counts == {"delivered": 2, "rejected": 2, "held": ROWS - FIRST} and watched == [1]
    # Mended, the next run has a canary of its own, and sends nothing twice.
    night(kind, facts={"mode": "full"})
    again = deliver(kind.flow(canary=CANARY))
    assert again.state == "success", again.problems
    again.assert_accounted()
    standing = kind.standing(sandbox)
    assert set(standing.values()) == {1}
    # PureCallerID and iSales name no rows: what of the canary they refused counts as sent.
    assert sum(standing.values()) == (ROWS if name in ("five9_unique", "ozonetel", "platform") else ROWS - 2)


@pytest.mark.parametrize("name", SOME)
def test_behind_a_canary_that_nobody_tells_of_nothing_goes(
    deliver, night, sandbox, watched, installation, name
):
    kind = KINDS[name]
    night(kind, facts={"mode": "full"})
    kind.silence(sandbox)
    run = deliver(kind.flow(canary=CANARY, **kind.patience))
    assert (run.state, run.summary["verdict"]) == ("failed", "uncertain")
    assert run.counts == {"uncertain": FIRST, "held": ROWS - FIRST}
    assert run.reasons == {"no_outcome": FIRST, "canary_stopped": ROWS - FIRST}
    assert "nobody knows how it ended" in run.problems and set(watched) == {1}
    run.assert_accounted()
    # A person's word is no count of the vendor's: it frees the list, and the next run has a canary again.
    said = ["--delivered", "--who", "Ana", "--why", "looked at the console"]
    assert cli.main(["resolve", run.summary["load"], *said]) == 0
    watched.clear()
    run.clear("load")
    assert watched == [] and "a person has settled it" in run.problems


@pytest.mark.parametrize("name", SOME)
def test_a_crash_between_the_canary_and_the_rest_costs_nothing(
    deliver, night, sandbox, ledger, monkeypatch, name
):
    kind = KINDS[name]
    night(kind)
    settle, crashes = Ledger.settle, []

    def then_gone(self: Ledger, *args: Any, **about: Any) -> None:
        settle(self, *args, **about)
        if not crashes:
            crashes.append("now")
            raise RuntimeError("the worker is gone")

    monkeypatch.setattr(Ledger, "settle", then_gone)
    run = deliver(kind.flow(canary=CANARY))
    assert crashes and (run.state, run.counts) == ("success", {"delivered": ROWS}), run.problems
    run.assert_accounted()
    assert {batch.attempts for batch in ledger.batches(run.summary["load"])} == {1}
    assert sum(kind.standing(sandbox).values()) == ROWS


def test_in_airflow_the_task_waits_twice_and_ends(deliver_in_airflow, night, vendor, ledger):
    night(KINDS["ringcx"])
    run = deliver_in_airflow(ringcx(canary=CANARY))
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert [batch.rows for batch in ledger.batches(run.summary["load"])] == [FIRST, ROWS - FIRST]
    assert sum(vendor.numbers("ringcx").values()) == ROWS


def test_the_plan_shows_the_canary_before_anything_is_sent(deliver, night, installation, capfd):
    night(KINDS["five9"])
    run = deliver(append(canary={"rows": FIRST}, released=False))
    assert run.summary["verdict"] == "planned"
    assert run.plan["options"]["canary"] == {"rows": FIRST, "max_rejected_percent": 5.0}
    assert cli.main(["plan", "nightly"]) == 0
    assert f"A canary goes first: {FIRST} of {ROWS} rows." in capfd.readouterr().out


def test_a_load_no_larger_than_its_canary_is_one_batch(deliver, night, vendor):
    night(KINDS["five9"], rows=FIRST)
    run = deliver(append(canary=CANARY))
    assert (run.state, run.counts, len(vendor.loads)) == ("success", {"delivered": FIRST}, 1)


def test_without_a_canary_plan_and_batches_are_what_they_were(deliver, night, ledger):
    night(KINDS["five9"])
    run = deliver(append())
    assert "canary" not in json.dumps(run.plan)
    batch = ledger.batches(run.summary["load"])[0]
    assert (batch.rows, batch.fingerprint) == (ROWS, run.plan["payload_sha256"])
