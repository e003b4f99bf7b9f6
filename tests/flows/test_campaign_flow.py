"""Campaigns of the sandbox's Ozonetel: whatever goes wrong, the campaign and the run's report tell the same story."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from listkeeper.hooks.ozonetel import OzonetelHook

from tests.flows.conftest import NIGHT, OZONETEL_KEY, lead, numbers

CAMPAIGN = "Collections nightly"
ROWS = 12


def campaign_file(**changes: Any) -> dict[str, Any]:
    """The keys of a flow file that delivers; name what should differ."""
    flow: dict[str, Any] = {
        "kind": "load_ozonetel",
        "name": "collections",
        "source": "callers",
        "campaign": CAMPAIGN,
        "released": True,
        "batch_size": 5,
        "callback_hours": 10 / 3600,
        "columns": [
            {"to": "PhoneNumber", "from": "phone"},
            {"to": "CustomerKey", "from": "customer_key"},
            {"to": "Name", "from": "data.name"},
            {"to": "Priority", "from": "data.priority"},
        ],
    }
    return flow | changes


HASTY = {"callback_hours": 0.3 / 3600}
BY_AGENT = {
    "campaign": "Own customers",
    "columns": [{"to": "PhoneNumber", "from": "phone"}, {"to": "AgentId", "from": "data.agent"}],
}
"""A flow that forgets `agent_wise`: rows without an agent go out, and the vendor refuses them."""


def person(number: int, **data: Any) -> dict[str, Any]:
    return lead(number, data=json.dumps({"name": f"Lead {number}", "priority": "6", "state": "NJ"} | data))


def agents(*without: int, rows: int = ROWS) -> list[dict[str, Any]]:
    return [person(n, agent=None if n in without else "a7") for n in range(rows)]


def connect(monkeypatch: pytest.MonkeyPatch, sandbox: Any, **extra: Any) -> None:
    told = sandbox.info()["ozonetel"]
    assert told["api_key"] == OZONETEL_KEY
    extra = {"allow_http": True, "calls": 1000, "window_seconds": 1} | extra
    value = {
        "conn_type": "ozonetel",
        "host": sandbox.base_url,
        "login": told["user_name"],
        "password": told["api_key"],
        "extra": extra,
    }
    monkeypatch.setenv("AIRFLOW_CONN_OZONETEL_DEFAULT", json.dumps(value))


@pytest.fixture(autouse=True)
def account(installation, sandbox, monkeypatch):
    """The sandbox's account, which works in no time and lets us call as often as we like."""
    connect(monkeypatch, sandbox)
    sandbox.switch("ozonetel", work_seconds=0.01, requests_per_minute=1000)
    monkeypatch.setattr("time.sleep", lambda seconds, pause=time.sleep: pause(min(seconds, 0.3)))
    return sandbox


class Account:
    """What the vendor holds, by the sandbox's own books."""

    def __init__(self, sandbox: Any) -> None:
        self.sandbox = sandbox

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.sandbox.state("ozonetel"))

    def leads(self, campaign: str = CAMPAIGN) -> list[dict[str, str]]:
        return list(self.state["campaigns"][campaign]["leads"])

    def numbers(self, campaign: str = CAMPAIGN) -> Counter[str]:
        return Counter(row["PhoneNumber"] for row in self.leads(campaign))

    @property
    def sizes(self) -> list[int]:
        """Rows of each batch that was accepted."""
        return [transaction["rows"] for transaction in self.state["transactions"]]

    @property
    def calls(self) -> int:
        return int(self.state["calls"].get("add_bulk_data", 0))

    def settle(self) -> None:
        """Wait until the vendor has done what it took in."""
        seen, since = None, time.monotonic()
        while time.monotonic() - since < 0.1:
            now = json.dumps(self.state["transactions"])
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.01)


@pytest.fixture
def books(sandbox) -> Account:
    return Account(sandbox)


@pytest.fixture
def people(snapshot):
    """Commit a snapshot of so many good leads."""
    return lambda rows=ROWS, **about: snapshot([person(n) for n in range(rows)], **about)


# A good night


def test_a_campaign_is_loaded_in_batches_after_one_row_for_trial(deliver, people, books, ledger):
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS))
    assert books.sizes == [1, 5, 5, 1]
    assert books.leads()[3] == books.leads()[3] | {
        "Name": "Lead 3",
        "Priority": "6",
        "CustomerKey": "C-00003",
    }
    assert ledger.target(f"ozonetel:ozonetel_default:{CAMPAIGN}").proven
    run.assert_accounted()


def test_the_next_load_of_these_columns_needs_no_trial(deliver, people, books):
    people()
    deliver(campaign_file())
    people(17, night="2026-11-21")
    run = deliver(campaign_file())
    # Another night's leads are new to us; the vendor knows the numbers.
    assert (run.state, run.counts) == ("success", {"delivered": 5, "rejected": 12})
    assert books.sizes[4:] == [5, 5, 5, 2]
    assert run.reasons == {"delivered": 5, "vendor_duplicate": 12}
    assert books.numbers() == numbers(range(17))
    run.assert_accounted()


def test_other_columns_are_tried_anew(deliver, people, books):
    people()
    deliver(campaign_file())
    people(3, night="2026-11-21")
    deliver(campaign_file(columns=campaign_file()["columns"][:2]))
    assert books.sizes[4:] == [1, 2]


def test_the_same_night_twice_is_delivered_once(deliver, people, books):
    people()
    deliver(campaign_file())
    run = deliver(campaign_file())
    assert (run.state, run.summary["verdict"], run.reasons) == (
        "success",
        "unchanged",
        {"already_delivered": ROWS},
    )
    assert books.calls == 4


def test_in_airflow_itself(deliver_in_airflow, people, books, monkeypatch):
    """With every wait deferred, however short."""
    monkeypatch.setattr("listkeeper.operators.ozonetel.NAP", timedelta(0))
    people()
    run = deliver_in_airflow(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS))
    run.assert_accounted()


def test_without_a_trial_when_the_flow_says_so(deliver, people, books):
    people()
    assert deliver(campaign_file(preflight=False)).state == "success"
    assert books.sizes == [5, 5, 2]


def test_rows_are_shaped_and_rejected_before_they_are_sent(deliver, snapshot, books):
    bad = [
        person(0, name="José O'Neil"),
        person(1, priority="100"),
        person(2, expiry="2026-02-30"),
        person(3, name="x" * 2000),
        lead(4, phone1="+44 20 7946 0958"),
        person(5, priority=None, name=None),
    ]
    snapshot(bad)
    columns = [*campaign_file()["columns"], {"to": "ExpiryDate", "from": "data.expiry"}]
    run = deliver(campaign_file(columns=columns, guards={"min_valid_percent": 0}))
    assert run.reasons == {
        "delivered": 2, "priority_not_allowed": 1, "expiry_not_a_date": 1, "row_too_long": 1, "other_country": 1,
    }  # fmt: skip
    assert [row["Name"] for row in books.leads()] == ["Jose ONeil", ""]
    assert run.plan["changes"]["names_cleaned"] == 1
    assert "names cleaned 1" in (run.folder("report").get("report.md") or b"").decode()
    run.assert_accounted()


@pytest.mark.parametrize(
    ("encoding", "shape"),
    [("form", "string"), ("multipart", "object"), ("json", "form"), ("form", "raw_unescaped")],
)
def test_every_encoding_and_shape(deliver, people, books, sandbox, monkeypatch, encoding, shape):
    connect(monkeypatch, sandbox, encoding=encoding)
    sandbox.switch(
        "ozonetel", callback_shape=shape, bare_success=shape == "form",
        double_encoded=shape == "object", csv_quoted=shape == "raw_unescaped", spaces_around_path=True,
    )  # fmt: skip
    people(4)
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": 4})


def test_the_campaign_is_started_but_not_by_the_trial(deliver, people, books, sandbox):
    people(1)
    deliver(campaign_file(action="start"))
    assert books.state["campaigns"][CAMPAIGN]["state"] == "stopped"
    people(4, night="2026-11-21")
    deliver(campaign_file(action="start"))
    assert books.state["campaigns"][CAMPAIGN]["state"] == "running"


# What the vendor refuses


def test_columns_that_do_not_fit_the_campaign_cost_one_row(deliver, people, books, ledger):
    people()
    columns = [*campaign_file()["columns"], {"to": "Nickname", "from": "data.name"}]
    run = deliver(campaign_file(columns=columns))
    assert (run.state, run.counts) == ("failed", {"rejected": 1, "held": 11})
    assert run.reasons == {"vendor_unread": 1, "not_sent": 11}
    assert "mapping file" in run.problems and books.calls == 1 and not books.leads()
    assert ledger.target(f"ozonetel:ozonetel_default:{CAMPAIGN}").proven is None
    run.assert_accounted()
    people(source_time=datetime.now(UTC))
    again = deliver(campaign_file())  # mended
    assert (again.state, again.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS))


def test_rows_that_fail_are_named_with_the_vendors_reason(deliver, snapshot, books):
    snapshot(agents(2, 3, 7, 11))
    run = deliver(campaign_file(**BY_AGENT, min_valid_share=0.5))
    assert (run.state, run.counts) == ("success", {"delivered": 8, "rejected": 4})
    refused = run.outcomes.filter(run.outcomes["state"] == "rejected")
    assert sorted(refused["row_key"]) == ["1002", "1003", "1007", "1011"]
    assert set(refused["reason"]) == {"vendor_rejected"} and all(refused["detail"])
    assert books.numbers("Own customers") == numbers(0, 1, range(4, 7), range(8, 11))
    assert (run.folder("report").get("rejects.csv") or b"").decode().count("vendor_rejected") == 4
    run.assert_accounted()


def test_success_with_failed_rows_is_not_green(deliver, snapshot):
    snapshot(agents(2))
    run = deliver(campaign_file(**BY_AGENT))
    assert (run.state, run.counts) == ("failed", {"delivered": 11, "rejected": 1})
    assert "less than the 100.0%" in run.problems


def test_a_mended_row_is_sent_again(deliver, snapshot, books):
    snapshot(agents(2))
    deliver(campaign_file(**BY_AGENT))
    snapshot(agents(), source_time=datetime.now(UTC))
    run = deliver(campaign_file(**BY_AGENT))
    assert (run.state, run.reasons) == ("success", {"delivered": 1, "already_delivered": 11})
    assert books.numbers("Own customers") == numbers(range(ROWS))


def test_a_batch_of_which_nothing_was_added_stops_the_load(deliver, snapshot, books, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, calls=1, window_seconds=0.2)  # its callback is there before the next turn
    snapshot(agents(*range(1, 6)))
    run = deliver(campaign_file(**BY_AGENT))
    assert (run.state, run.counts) == ("failed", {"delivered": 1, "rejected": 5, "held": 6})
    assert "not one row" in run.problems and books.sizes == [1, 5]
    run.assert_accounted()


def test_a_batch_that_fails_half_way_is_counted_as_told(deliver, people, sandbox, books):
    sandbox.fault("ozonetel", "load_error", nth=2)
    people()
    run = deliver(campaign_file(min_valid_share=0.1))
    books.settle()
    assert run.state == "failed" or run.counts["delivered"] == sum(books.numbers().values())
    assert run.counts["delivered"] == sum(books.numbers().values())
    run.assert_accounted()


def test_a_failed_file_that_is_gone_leaves_the_counts(deliver, snapshot, sandbox):
    sandbox.fault("ozonetel", "status", op="failed_file", status=403, times=None)
    snapshot(agents(2, 3))
    run = deliver(campaign_file(**BY_AGENT, min_valid_share=0.5))
    assert (run.state, run.counts) == ("success", {"delivered": 10, "rejected": 2})
    assert run.reasons == {"delivered": 7, "vendor_counts_only": 5}
    assert "24 hours" in (run.folder("report").get("report.md") or b"").decode()
    run.assert_accounted()


def test_a_failed_file_that_cannot_be_had_now_is_fetched_later(deliver, snapshot, sandbox):
    sandbox.fault("ozonetel", "status", op="failed_file", status=503, times=4)
    snapshot(agents(2))
    run = deliver(campaign_file(**BY_AGENT, min_valid_share=0.5))
    assert run.reasons == {"delivered": 11, "vendor_rejected": 1}


def test_the_address_of_the_failed_file_shows_nowhere(deliver, snapshot, ledger, caplog, capfd):
    snapshot(agents(2))
    run = deliver(campaign_file(**BY_AGENT))
    load = run.summary["load"]
    urls = [
        e.body["failedFilePath"]
        for seq in (1, 2)
        for e in ledger.events(load, seq)
        if e.body["failedFilePath"]
    ]
    assert urls
    signature = urls[0].partition("ignature=")[2]
    assert signature
    ours = [record for record in caplog.records if not record.name.startswith(("uvicorn", "include.sandbox"))]
    logged = " ".join(f"{record.getMessage()} {record.args}" for record in ours)
    places = [logged, "".join(capfd.readouterr()), json.dumps(run.pushed)]
    places += [(run.folder("report").get(name) or b"").decode() for name in ("report.md", "summary.json")]
    assert not [place for place in places if signature in place]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"campaign": "Nobody"}, "exact name of an outbound campaign"),
        ({"campaign": "Support hotline"}, "outbound"),
    ],
)
def test_a_campaign_that_takes_no_data(deliver, people, changes, why):
    people()
    run = deliver(campaign_file(**changes))
    assert (run.state, run.counts) == ("failed", {"held": ROWS})
    assert why in run.problems
    run.assert_accounted()


def test_a_wrong_key(deliver, people, sandbox, monkeypatch, books):
    monkeypatch.setenv(
        "AIRFLOW_CONN_OZONETEL_DEFAULT",
        json.dumps({"conn_type": "ozonetel", "host": sandbox.base_url, "login": "x", "password": "KKwrong-key",
                    "extra": {"allow_http": True}}),
    )  # fmt: skip
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("failed", {"held": ROWS})
    assert "Invalid userName or apiKey" in run.problems and books.calls == 1


# Answers and callbacks that get lost

LOST = ["drop_after", "truncated", "broken_json"]


@pytest.mark.parametrize("fault", [*LOST, "drop_before"])
def test_a_lost_answer_is_sent_again_where_the_vendor_checks(deliver, people, books, sandbox, fault):
    sandbox.fault("ozonetel", fault, op="add_bulk_data", nth=3)
    if fault != "drop_before":
        sandbox.fault("ozonetel", "webhook_lost", nth=3)  # that of the first try
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert run.reasons == {"delivered": ROWS}
    assert books.numbers() == numbers(range(ROWS)) and books.calls == 5
    run.assert_accounted()


def test_a_lost_answer_that_its_callback_makes_good_is_not_sent_again(deliver, people, books, sandbox):
    sandbox.fault("ozonetel", "drop_after", op="add_bulk_data", nth=3)
    sandbox.switch("ozonetel", work_seconds=0)
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts, books.calls) == ("success", {"delivered": ROWS}, 4)


@pytest.mark.parametrize("duplicates", ["skip_existing", "add_all"])
@pytest.mark.parametrize("fault", LOST)
def test_elsewhere_it_is_not_and_the_callback_tells(deliver, people, books, sandbox, fault, duplicates):
    sandbox.fault("ozonetel", fault, op="add_bulk_data", nth=3)
    people()
    run = deliver(campaign_file(duplicates=duplicates))
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS)) and books.calls == 4
    run.assert_accounted()


def test_a_call_that_never_arrived_is_uncertain_where_it_cannot_be_sent_again(
    deliver, people, books, sandbox
):
    sandbox.fault("ozonetel", "drop_before", op="add_bulk_data", nth=3)
    people()
    run = deliver(campaign_file(duplicates="add_all", **HASTY))
    assert (run.state, run.summary["verdict"]) == ("failed", "uncertain")
    assert run.counts == {"delivered": 7, "uncertain": 5}
    run.assert_accounted()
    people(13, source_time=datetime.now(UTC))
    blocked = deliver(campaign_file(duplicates="add_all"))
    assert blocked.summary["verdict"] == "refused"
    assert books.numbers() == numbers(range(6), 11)


def test_a_callback_that_never_comes_leaves_its_rows_uncertain_and_a_second_try_is_safe(
    deliver, people, books, sandbox
):
    sandbox.fault("ozonetel", "webhook_lost", nth=3)
    people()
    run = deliver(campaign_file(**HASTY))
    assert (run.state, run.summary["verdict"]) == ("failed", "uncertain")
    assert run.counts == {"delivered": 7, "uncertain": 5}
    assert "no callback came" in run.problems
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert books.numbers() == numbers(range(ROWS))
    run.assert_accounted()


def test_a_trial_without_a_callback_sends_nothing_more(deliver, people, books, sandbox):
    sandbox.fault("ozonetel", "webhook_lost")
    people()
    run = deliver(campaign_file(**HASTY))
    assert run.counts == {"uncertain": 1, "held": 11} and books.sizes == [1]
    run.assert_accounted()


def test_after_a_person_has_spoken_the_rest_is_sent(deliver, people, books, sandbox, installation):
    """What never went out is not on the list, whatever a person says of the rows that did."""
    from include import cli

    sandbox.fault("ozonetel", "webhook_lost")
    people(facts={"mode": "full"})
    run = deliver(campaign_file(**HASTY))
    said = ["--delivered", "--who", "Ana", "--why", "looked at the console"]
    assert cli.main(["resolve", run.summary["load"], *said]) == 0
    people(facts={"mode": "full"}, source_time=datetime.now(UTC))
    again = deliver(campaign_file())
    assert (again.state, again.reasons) == ("success", {"delivered": 11, "already_delivered": 1})
    assert books.numbers() == numbers(range(ROWS))


def test_without_an_address_every_row_is_uncertain(deliver, people, books, monkeypatch):
    monkeypatch.delenv("LISTKEEPER_PUBLIC_URL")
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("failed", {"uncertain": ROWS})
    assert "no callback address is set" in run.problems
    books.settle()
    assert books.sizes == [5, 5, 2] and books.numbers() == numbers(range(ROWS))
    run.assert_accounted()


@pytest.fixture
def relay(state, monkeypatch):
    """A relay as a user would run it: it drops each body into a folder, and knows nothing else."""
    folder = state / "relay"

    class Relay(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            place = folder.joinpath(*self.path.split("/")[-2:])
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{time.time_ns()}.json").write_bytes(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("LISTKEEPER_PUBLIC_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("LISTKEEPER_RELAY", str(folder))
    yield folder
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("shape", ["string", "form", "raw_unescaped"])
def test_callbacks_through_a_relay(relay, deliver, people, sandbox, shape):
    sandbox.switch("ozonetel", callback_shape=shape)
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    assert not list(relay.glob("ozonetel/*/*.json")) and not (relay / "refused").exists()


@pytest.mark.parametrize("fault", ["webhook_doubled", "webhook_reordered", "webhook_forged"])
def test_odd_callbacks_change_nothing(deliver, people, sandbox, fault):
    sandbox.fault("ozonetel", fault, times=None)
    people()
    run = deliver(campaign_file())
    assert (run.state, run.counts) == ("success", {"delivered": ROWS})
    run.assert_accounted()


# The pace


def test_the_pace_is_kept_and_waited_for_without_a_worker(deliver, people, books, sandbox, monkeypatch):
    """A minute of the vendor takes a second: its clock, and the window of our connection, run 60 times as fast."""
    monkeypatch.setattr("listkeeper.operators.ozonetel.NAP", timedelta(0))
    monkeypatch.setattr("listkeeper.triggers.turn.WAKE_EARLY", 0.0)
    waits = []
    from listkeeper.triggers.turn import TurnTrigger

    made = TurnTrigger.__init__
    monkeypatch.setattr(
        TurnTrigger, "__init__", lambda self, **about: (waits.append(about), made(self, **about))[1]
    )
    connect(monkeypatch, sandbox, calls=5, window_seconds=1)
    sandbox.switch("ozonetel", requests_per_minute=5)
    sandbox.clock(None, speed=60)
    people(40)
    run = deliver(campaign_file(batch_size=3, preflight=False))
    assert (run.state, run.counts) == ("success", {"delivered": 40})
    assert books.sizes == [3] * 13 + [1]
    assert books.state["highest_in_60_seconds"] == 5
    assert {hit["answer"] for hit in books.state["hits"]} == {"accepted"}
    assert len(waits) >= 2
    assert run.plan["timing"]["batches"] == 14 and run.plan["timing"]["calls"] == 5


def test_too_many_requests_are_waited_out(deliver, people, books, sandbox, monkeypatch):
    """Somebody else uses the key: the vendor says "too many" though we keep the pace; nothing was queued."""
    sandbox.switch("ozonetel", requests_per_minute=5)
    sandbox.clock(None, speed=100)
    hook = OzonetelHook()
    for _ in range(5):
        hook.load(campaign="Renewals", header=["PhoneNumber"], rows=[["2012009999"]], duplicates="add_all")
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
    connect(monkeypatch, sandbox, calls=5, window_seconds=60)
    people(40)
    run = deliver(
        campaign_file(batch_size=2, preflight=False, **ends_in(minutes=2.5)),
        conf={"action": "plan"},
        run_type="manual",
    )
    timing = run.plan["timing"]
    assert (timing["batches"], timing["minutes"]) == (20, 3.0)
    assert timing["fits"] in (10, 15) and timing["rows_that_fit"] == 2 * timing["fits"]
    report = (run.folder("report").get("report.md") or b"").decode()
    assert "20 requests" in report and "about 3 minutes" in report and "IST" in report


def test_at_its_end_time_a_load_stops_and_the_rest_is_held(deliver, people, books, monkeypatch):
    from include.flow_files import OzonetelFlow

    monkeypatch.setattr("listkeeper.operators.ozonetel.NAP", timedelta(0))
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


def test_the_night_is_that_of_the_snapshot(deliver, people):
    people()
    assert deliver(campaign_file()).plan["night"] == NIGHT
