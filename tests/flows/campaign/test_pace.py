"""Loads of an Ozonetel campaign at the vendor's limit, and at the end of a night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from listkeeper.hooks.ozonetel import OzonetelHook

from include.vendors.errors import RateLimitedError
from tests.flows.campaign.conftest import CAMPAIGN, ROWS, campaign_file, connect, person
from tests.flows.conftest import numbers
from tests.flows.runs import DirectRun

# The pace


def test_the_pace_is_kept_and_waited_for_without_a_worker(deliver, people, books, sandbox, monkeypatch):
    """A minute of the vendor takes two seconds: its clock, and the window of our connection, run 30 times as fast."""
    monkeypatch.setattr("listkeeper.operators.ozonetel.NAP", timedelta(0))
    monkeypatch.setattr("listkeeper.triggers.turn.WAKE_EARLY", 0.0)
    waits = []
    from listkeeper.triggers.turn import TurnTrigger

    made = TurnTrigger.__init__
    monkeypatch.setattr(
        TurnTrigger, "__init__", lambda self, **about: (waits.append(about), made(self, **about))[1]
    )
    connect(monkeypatch, sandbox, calls=5, window_seconds=2)
    sandbox.switch("ozonetel", requests_per_minute=5)
    sandbox.clock(None, speed=30)
    people(40)
    run = deliver(campaign_file(batch_size=3, preflight=False))
    assert (run.state, run.counts) == ("success", {"delivered": 40})
    assert books.sizes == [3] * 13 + [1]
    assert books.state["highest_in_60_seconds"] <= 5
    assert {hit["answer"] for hit in books.state["hits"]} == {"accepted"}
    times = [datetime.fromisoformat(hit["time"]) for hit in books.state["hits"]]
    in_a_row = [last - first < timedelta(seconds=30) for first, last in zip(times, times[4:], strict=False)]
    assert len(waits) >= sum(in_a_row), "after five calls within half a minute, the sixth had to wait"
    assert run.plan["timing"]["batches"] == 14 and run.plan["timing"]["calls"] == 5


def test_too_many_requests_are_waited_out(deliver, people, books, sandbox, monkeypatch):
    """Somebody else uses the key: the vendor says "too many" though we keep the pace; nothing was queued."""
    sandbox.switch("ozonetel", requests_per_minute=5)
    hook, load = OzonetelHook(), OzonetelHook.load
    for _ in range(5):
        hook.load(campaign="Renewals", header=["PhoneNumber"], rows=[["2012009999"]], duplicates="add_all")

    def call(self, **asked):
        try:
            return load(self, **asked)
        except RateLimitedError:
            sandbox.clock(
                None, speed=100
            )  # from now on, so that a busy machine still calls within the minute
            raise

    monkeypatch.setattr(OzonetelHook, "load", call)
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert any(hit["answer"].startswith("too many") for hit in books.state["hits"])
    assert books.numbers() == numbers(range(ROWS))


# The end of a night

ZONE = ZoneInfo("Asia/Kolkata")


def ends_in(**time_left: float) -> dict[str, str]:
    return {"end_by": f"{datetime.now(ZONE) + timedelta(**time_left):%H:%M}", "zone": "Asia/Kolkata"}


def test_the_plan_says_how_long_it_takes_and_when_it_ends(deliver, people, sandbox, monkeypatch):
    from include.flow_files import OzonetelFlow

    ends = timedelta(minutes=2.5)
    monkeypatch.setattr(OzonetelFlow, "latest_end", lambda _, begun: (begun + ends).astimezone(ZONE))
    connect(monkeypatch, sandbox, calls=5, window_seconds=60)
    people(40)
    run = deliver(
        campaign_file(batch_size=2, preflight=False, **ends_in(hours=1)),
        conf={"action": "plan"},
        run_type="manual",
    )
    timing = run.plan["timing"]
    assert (timing["batches"], timing["minutes"]) == (20, 3.0)
    assert (timing["fits"], timing["rows_that_fit"]) == (15, 30)
    report = (run.folder("report").get("report.md") or b"").decode()
    assert "20 requests" in report and "about 3 minutes" in report and "IST" in report


def test_at_its_end_time_a_load_stops_and_the_rest_is_held(deliver, people, books, monkeypatch, when_told):
    from include.flow_files import OzonetelFlow

    monkeypatch.setattr("listkeeper.operators.ozonetel.NAP", timedelta(0))
    work = when_told("clock")  # the trial's callback comes once the task waits for it, never before
    monkeypatch.setattr(DirectRun, "when_waiting", lambda _: work.set())
    ends = iter([datetime.now(UTC) + timedelta(hours=1)] * 2)
    monkeypatch.setattr(
        OzonetelFlow, "latest_end", lambda *_: next(ends, datetime.now(UTC) - timedelta(seconds=1))
    )  # the plan's, the first call's; when the trial's callback is there, the end has come
    people()
    run = deliver(campaign_file(**ends_in(hours=1)))
    assert (run.state, run.counts) == ("success", {"delivered": 1, "held": 11})
    assert run.reasons == {"delivered": 1, "end_time": 11}
    assert run.summary["verdict"] == "delivered"
    run.assert_accounted()


def test_what_is_left_goes_on_the_next_night_and_is_cleaned_again(
    deliver, snapshot, people, books, state, monkeypatch
):
    from include.flow_files import OzonetelFlow

    past = datetime.now(UTC) - timedelta(seconds=1)
    with monkeypatch.context() as night:
        night.setattr(OzonetelFlow, "latest_end", lambda *_: past)
        people()
        held = deliver(campaign_file())
    assert (held.state, held.reasons) == ("success", {"end_time": ROWS})
    asked = state / "asked.csv"  # meanwhile one of them asked not to be called
    asked.write_text("phone\n2012000005\n")
    clean = {"suppression": [{"name": "asked", "file": str(asked)}]}
    tonight = [person(n, name="Newer") for n in range(10, 20)]
    snapshot(tonight, night="2026-11-21", source_time=datetime.now(UTC))
    run = deliver(campaign_file(clean=clean))
    assert (run.state, run.counts) == ("success", {"delivered": 19, "suppressed": 1})
    assert books.numbers() == numbers(range(5), range(6, 20))
    assert {row["Name"] for row in books.leads()[-9:]} == {f"Lead {n}" for n in range(10)} - {"Lead 5"}
    assert [row["Name"] for row in books.leads()].count("Newer") == 10
    run.assert_accounted()
    again = deliver(campaign_file(clean=clean))  # nothing is left over any more
    assert again.summary["rows_in"] == 10 and again.summary["verdict"] == "unchanged"


def test_a_paused_campaign_stops_a_load_on_the_way(deliver, people, books, ledger, monkeypatch):
    from include.ledger import Ledger

    target, accept = f"ozonetel:ozonetel_default:{CAMPAIGN}", Ledger.accept

    def accept_and_pause(self, load, seq, *rest):
        accept(self, load, seq, *rest)
        if seq == 2:
            self.pause_target(target, True, "ana", "wrong leads")

    monkeypatch.setattr(Ledger, "accept", accept_and_pause)
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("failed", {"delivered": 6, "held": 6})
    assert "paused" in run.problems
    run.assert_accounted()
    monkeypatch.setattr(Ledger, "accept", accept)
    ledger.pause_target(target, False, "ana", "looked")
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS))
