"""Loads through PureCallerID, whole: from a snapshot to the report, whatever happens on the way."""

from __future__ import annotations

import csv
import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.flows.conftest import KEY, NIGHT, connection, flow_file, lead, numbers, phone

OLDER = "2026-11-19"


def append(unique: bool = False, **changes):
    return flow_file(mode="APPEND", **({"unique_column": "uniqueId"} if unique else {}), **changes)


def ringcx(dedupe: str = "RING_REMOVE_FROM_LIST", **changes):
    return flow_file("ringcx", dedupe=dedupe, **changes)


UNSAFE = {"append": append, "ringcx": ringcx}
SAFE = {"replace": flow_file, "append_unique": lambda **changes: append(True, **changes)}


def dialer(flow):
    return flow["dialer"]


# What goes well


def test_replace_empties_the_list_and_loads_it_again(deliver, snapshot, vendor):
    snapshot(30)
    deliver().assert_accounted()
    snapshot([lead(n) for n in range(5, 45)])
    run = deliver()
    assert run.state == "success"
    assert run.counts == {"delivered": 40}
    assert vendor.numbers() == numbers(range(5, 45))
    assert (run.plan["now"], run.plan["after"], run.plan["added"], run.plan["removed"]) == (30, 40, 15, 5)
    assert len(vendor.loads) == 2
    run.assert_accounted()


@pytest.mark.parametrize("unique", [False, True])
def test_append_adds_what_the_night_brings(deliver, snapshot, vendor, unique):
    snapshot(20, night=OLDER, source_time=datetime.now(UTC) - timedelta(hours=26))
    deliver(append(unique)).assert_accounted()
    snapshot([lead(n) for n in range(20, 50)])
    run = deliver(append(unique))
    assert (run.state, run.counts) == ("success", {"delivered": 30})
    assert vendor.numbers() == numbers(range(50))


def test_append_sends_only_what_a_newer_pull_of_the_same_night_adds(deliver, snapshot, vendor):
    snapshot(20)
    deliver(append())
    snapshot([lead(n) for n in range(25)])
    run = deliver(append())
    assert run.counts == {"delivered": 5, "held": 20}
    assert run.reasons == {"delivered": 5, "already_delivered": 20}
    assert vendor.numbers() == numbers(range(25))
    run.assert_accounted()


def test_append_with_unique_id_updates_what_changed(deliver, snapshot, vendor):
    snapshot(10)
    deliver(append(unique=True))
    changed = lead(3, data=json.dumps({"state": "CA"}))
    snapshot([changed if n == 3 else lead(n) for n in range(10)])
    run = deliver(append(unique=True))
    assert run.counts == {"delivered": 1, "held": 9}
    assert vendor.numbers() == numbers(range(10))
    assert [row["state"] for row in vendor.rows() if row["number1"] == phone(3)] == ["CA"]


def test_append_with_unique_id_takes_no_lead_that_could_not_be_updated(deliver, snapshot, vendor):
    """A lead without its unique id would stand there twice when the load is sent again."""
    snapshot([lead(0), lead(1, customer_key=None), lead(2, customer_key="")])
    run = deliver(append(unique=True, guards={"min_valid_percent": 0}))
    assert run.counts == {"delivered": 1, "rejected": 2}
    assert run.reasons == {"delivered": 1, "key_missing": 2}
    run.assert_accounted()
    assert vendor.numbers() == numbers(0)


@pytest.mark.parametrize(
    ("dedupe", "expected"),
    [
        ("RING_RETAIN_ALL", 60),
        ("RING_REMOVE_FROM_LIST", 60),
        ("RING_REMOVE_ALL_EXISTING", 40),
    ],
)
def test_ringcx_appends_by_each_dedupe(deliver, snapshot, vendor, dedupe, expected):
    snapshot(20, night=OLDER, source_time=datetime.now(UTC) - timedelta(hours=26))
    deliver(ringcx(dedupe)).assert_accounted()
    snapshot(40)
    run = deliver(ringcx(dedupe))
    assert (run.state, run.counts) == ("success", {"delivered": 40})
    assert sum(vendor.numbers("ringcx").values()) == expected
    assert set(vendor.numbers("ringcx")) == set(numbers(range(40)))


def test_every_reason_a_row_can_end_for(deliver, snapshot, vendor, sandbox, state):
    (state / "stop.csv").write_text(f"phone\n{phone(1)}\n(201) 200-0002\n")
    leads = [
        lead(0),
        lead(1),
        lead(2),
        lead(3, phone1=None),
        lead(4, phone1="+44 20 7946 0018"),
        lead(5, customer_key="C-00000"),
        *(lead(n) for n in range(10, 20)),
    ]
    sandbox.switch("purecallerid", inactive=[phone(12)], dnc=[phone(13)])
    snapshot(leads)
    run = deliver(
        flow_file(
            clean={"suppression": [{"name": "stop", "file": str(state / "stop.csv"), "max_age_days": 1}]}
        )
    )
    assert run.state == "success"
    assert run.counts == {"delivered": 9, "rejected": 5, "suppressed": 2}
    assert run.xcom("load") == {"valid": 9, "invalid": 0, "inactive": 1, "dnc": 1, "total": 11}
    assert run.reasons == {
        "vendor_counts_only": 11,  # the vendor names none of the rows it refused
        "on_suppression_list": 2,
        "phone_empty": 1,
        "not_ten_digits": 1,
        "duplicate_key": 1,
    }
    assert not {phone(1), phone(2), phone(12), phone(13)} & set(vendor.numbers())
    run.assert_accounted()


def test_cells_arrive_as_they_are(deliver, snapshot, vendor):
    odd = ['comma, and "quotes"', "semi;colon", "né\u00e9 ☎", " spaces ", "'", '"', "a\tb"]
    snapshot([lead(n, data=json.dumps({"state": text})) for n, text in enumerate(odd)])
    run = deliver()
    assert run.counts == {"delivered": len(odd)}
    with run.folder("plan").reading("payload.csv") as (file,):
        payload = list(csv.DictReader(file.open(newline="", encoding="utf-8")))
    assert vendor.rows() == payload
    cleaned = [row["state"] for row in payload]
    assert [c.split() for c in cleaned] == [c.split() for c in odd]


# The same night again, an older night


@pytest.mark.parametrize("flow", [flow_file(), append(), append(True), ringcx()], ids=lambda f: f["mode"])
def test_the_same_night_twice_is_delivered_once_and_an_older_night_is_refused(
    deliver, snapshot, vendor, flow
):
    snapshot(20)
    assert deliver(flow).counts == {"delivered": 20}
    again = deliver(flow)
    assert (again.state, again.summary["verdict"]) == ("success", "unchanged")
    assert again.counts == {"held": 20} and again.reasons == {"already_delivered": 20}
    again.assert_accounted()
    snapshot(
        [lead(n) for n in range(50, 80)], night=OLDER, source_time=datetime.now(UTC) - timedelta(hours=26)
    )
    older = deliver(flow, conf={"night": OLDER, "reason": "test"}, run_type="manual")
    assert (older.state, older.summary["verdict"], older.counts) == ("failed", "refused", {"held": 30})
    assert "Old leads never overwrite newer ones" in older.problems
    older.assert_accounted()
    assert vendor.calls == 1 and vendor.numbers(dialer(flow)) == numbers(range(20))


def test_the_fence_stands_at_the_write_too(deliver, snapshot, vendor, ledger, monkeypatch):
    """A newer load reaches the list between this run's plan and its write."""
    from listkeeper.operators.purecallerid import LoadListOperator

    snapshot(20)
    deliver()
    plan_and_write = LoadListOperator._send_if_needed

    def newer_first(self, ledger, load):
        fields = ("flow", "vendor", "dag_id", "target", "night", "snapshot", "mode", "requested_by", "reason")
        newer = ledger.open_load(
            **{name: getattr(load, name) for name in fields},
            run_id="another",
            plan_hash="another",
            rows_in=1,
            source_time=load.source_time + timedelta(hours=1),
        )
        ledger.claim_target(newer.id, timedelta(hours=1))
        ledger.release_target(newer.id)
        plan_and_write(self, ledger, load)

    monkeypatch.setattr(LoadListOperator, "_send_if_needed", newer_first)
    snapshot([lead(n) for n in range(30)], source_time=datetime.now(UTC) - timedelta(hours=1))
    run = deliver()
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 30}, {"not_sent": 30})
    assert "Old data never overwrites a live list" in run.problems
    run.assert_accounted()
    assert vendor.calls == 1 and vendor.numbers() == numbers(range(20))


def test_a_list_that_another_load_spoiled_is_loaded_again(deliver, snapshot, vendor, sandbox):
    """The same plan is no news, unless something was sent to the list since."""
    moment = datetime.now(UTC) - timedelta(hours=2)
    snapshot(20, source_time=moment)
    deliver()
    sandbox.fault("purecallerid", "load_error")
    snapshot(30, source_time=moment)
    assert deliver(retries=0).summary["verdict"] == "uncertain"
    snapshot(20, source_time=moment)
    run = deliver()
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.numbers() == numbers(range(20))


def test_a_corrected_mapping_is_loaded_again_in_the_same_night(deliver, snapshot, vendor):
    snapshot(10)
    deliver()
    columns = [*flow_file()["columns"][:2], {"to": "region", "from": "data.state"}]
    run = deliver(flow_file(columns=columns))
    assert run.counts == {"delivered": 10}
    assert run.plan["changed"] == 10
    assert set(vendor.rows()[0]) == {"number1", "uniqueId", "region"}


# What the vendor makes of it


def test_finalized_without_a_valid_row_is_a_failed_load(deliver, snapshot, vendor, sandbox):
    sandbox.switch("purecallerid", dnc=[phone(n) for n in range(20)])
    snapshot(20)
    run = deliver()
    assert vendor.loads[0]["status"] == "FINALIZED"
    assert (run.state, run.summary["verdict"]) == ("failed", "failed")
    assert run.counts == {"rejected": 20} and run.reasons == {"vendor_rejected": 20}
    assert "not one row was valid" in run.problems
    run.assert_accounted()
    sandbox.switch("purecallerid", dnc=[])
    again = deliver()  # mended at the vendor: the same plan goes out again
    assert again.counts == {"delivered": 20}


def test_too_few_valid_rows_are_a_failed_load(deliver, snapshot, vendor, sandbox):
    sandbox.switch("purecallerid", inactive=[phone(n) for n in range(11)])
    snapshot(20)
    run = deliver(flow_file(min_valid_share=0.5))
    assert (run.state, run.counts) == ("failed", {"delivered": 9, "rejected": 11})
    assert "Only 9 of 20 rows were valid" in run.problems
    run.assert_accounted()
    assert deliver(flow_file(min_valid_share=0.45)).state == "success"


@pytest.mark.parametrize("flow", [flow_file(), ringcx()], ids=dialer)
def test_error_midway_is_red_with_what_is_known(deliver, snapshot, vendor, sandbox, flow):
    sandbox.fault("purecallerid", "load_error")
    snapshot(20)
    run = deliver(flow)
    assert (run.state, run.summary["verdict"]) == ("failed", "uncertain")
    known = len(vendor.rows(dialer(flow)))
    assert 0 < known < 20
    assert run.counts == {"delivered": known, "uncertain": 20 - known}
    assert run.reasons == {"no_outcome": 20}  # which rows those are, the vendor does not say
    assert f"ERROR after {known} of 20 rows" in run.problems
    run.assert_accounted()
    assert vendor.calls == 1


def test_a_list_unknown_to_the_dialer(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(flow_file(list="No such list"))
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    assert "ERROR after 0 of 20 rows" in run.problems
    run.assert_accounted()


def test_a_load_that_is_never_heard_of_again(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "load_crash")
    snapshot(20)
    run = deliver(flow_file(callback_hours=1 / 3600))
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    run.assert_accounted()


# Webhooks


@pytest.mark.parametrize(
    "flow", [flow_file(callback_hours=0.5 / 3600), ringcx(callback_hours=0.5 / 3600)], ids=dialer
)
def test_a_lost_webhook_leaves_the_rows_uncertain_at_the_deadline(deliver, snapshot, vendor, sandbox, flow):
    sandbox.fault("purecallerid", "webhook_lost", nth=3)
    snapshot(20)
    run = deliver(flow)
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "uncertain", {"uncertain": 20})
    assert "No webhook told the outcome" in run.problems and "resolve" in run.problems
    run.assert_accounted()
    assert vendor.calls == 1


@pytest.mark.parametrize("fault", ["webhook_doubled", "webhook_reordered", "webhook_forged"])
def test_doubled_reordered_and_forged_webhooks_change_nothing(deliver, snapshot, vendor, sandbox, fault):
    sandbox.fault("purecallerid", fault, times=None)
    sandbox.switch("purecallerid", increment_rows=5)  # more of them
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    run.assert_accounted()
    if fault == "webhook_forged":
        answers = [hook["answer"] for hook in sandbox.state("purecallerid")["webhooks"]]
        assert 404 in answers  # the made-up token led nowhere


def test_a_late_webhook_heals_a_run_that_gave_up(deliver, snapshot, vendor, sandbox, ledger):
    """Clearing the load looks again, and sends nothing."""
    sandbox.fault("purecallerid", "webhook_late", nth=3, seconds=1)
    snapshot(20)
    run = deliver(ringcx(callback_hours=0.2 / 3600))
    assert run.summary["verdict"] == "uncertain"
    load = run.summary["load"]
    wait_until(lambda: any(event.body["status"] == "FINALIZED" for event in ledger.events(load, 1)))
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    run.assert_accounted()
    assert vendor.calls == 1
    assert deliver(ringcx()).summary["verdict"] == "unchanged"


def test_clearing_without_news_stays_uncertain_and_sends_nothing(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "webhook_lost", nth=3)
    snapshot(20)
    run = deliver(ringcx(callback_hours=0.2 / 3600))
    run.clear("load")
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    assert vendor.calls == 1


def test_an_open_load_bars_the_way_where_it_could_double(deliver, snapshot, vendor, sandbox, ledger):
    sandbox.fault("purecallerid", "webhook_lost", nth=3)
    snapshot(20)
    first = deliver(ringcx(callback_hours=0.2 / 3600))
    again = deliver(ringcx())
    assert (again.state, again.summary["verdict"], again.counts) == ("failed", "refused", {"held": 20})
    assert first.summary["load"] in again.problems
    assert vendor.calls == 1
    ledger.resolve(
        first.summary["load"], delivered=True, who="ana", why="seen", applied=first.folder("plan").path
    )
    assert deliver(ringcx()).summary["verdict"] == "unchanged"
    assert vendor.numbers("ringcx") == numbers(range(20))


def test_a_webhook_after_a_person_resolved_the_load_changes_nothing(
    deliver, snapshot, vendor, sandbox, ledger
):
    sandbox.fault("purecallerid", "webhook_late", nth=3, seconds=0.8)
    snapshot(20)
    run = deliver(ringcx(callback_hours=0.2 / 3600))
    load = run.summary["load"]
    ledger.resolve(load, delivered=False, who="ana", why="looked", applied=run.folder("plan").path)
    wait_until(lambda: any(event.body["status"] == "FINALIZED" for event in ledger.events(load, 1)))
    run.clear("load")
    assert ledger.batches(load)[0].state == "rejected"
    assert run.tasks["load"] == "success"


def test_without_a_public_address_the_outcome_is_uncertain_at_once(deliver, snapshot, vendor, monkeypatch):
    monkeypatch.delenv("LISTKEEPER_PUBLIC_URL")
    snapshot(20)
    run = deliver(flow_file(callback_hours=48))
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    assert "LISTKEEPER_PUBLIC_URL" in run.problems
    assert vendor.loads[0]["webhookUrl"] is None
    run.assert_accounted()


def test_an_address_the_vendor_would_not_call_stops_the_load_before_it_is_sent(
    deliver, snapshot, vendor, monkeypatch
):
    monkeypatch.setenv("LISTKEEPER_PUBLIC_URL", "http://listkeeper.example")
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert "https" in run.problems
    assert vendor.calls == 0


@pytest.fixture
def relay(state, monkeypatch):
    """A relay as a user would run it: it drops each body into a folder, and knows nothing else."""
    folder = state / "relay"

    class Drop(BaseHTTPRequestHandler):
        def do_POST(self):
            vendor, token = self.path.split("/")[-2:]
            place = folder / vendor / token
            place.mkdir(parents=True, exist_ok=True)
            number = len(list(place.iterdir()))
            scratch = place / f"{number}.part"
            scratch.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            scratch.rename(place / f"{number}-{threading.get_ident()}-{datetime.now(UTC):%H%M%S%f}.json")
            self.send_response(202)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Drop)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("LISTKEEPER_PUBLIC_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("LISTKEEPER_RELAY", str(folder))
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_relay(installation, relay, deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert not list(relay.glob("purecallerid/*/*.json"))
    run.assert_accounted()


def test_relay_that_was_late(installation, relay, deliver, snapshot, vendor, sandbox):
    """Nobody collects after the deadline; the cleared load does."""
    sandbox.fault("purecallerid", "webhook_late", nth=3, seconds=0.8)
    snapshot(20)
    run = deliver(ringcx(callback_hours=0.2 / 3600))
    assert run.summary["verdict"] == "uncertain"
    wait_until(lambda: any(b"FINALIZED" in file.read_bytes() for file in relay.glob("purecallerid/*/*.json")))
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 1


# Answers that get lost, and refusals


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "truncated"])
@pytest.mark.parametrize("make", SAFE.values(), ids=SAFE)
def test_a_lost_answer_is_sent_again_where_that_converges(deliver, snapshot, vendor, sandbox, make, fault):
    sandbox.fault("purecallerid", fault)
    if fault != "drop_before":
        sandbox.fault("purecallerid", "webhook_lost", times=3)  # those of the first upload
    snapshot(20)
    run = deliver(make())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 2
    assert vendor.numbers() == numbers(range(20))
    run.assert_accounted()


@pytest.mark.parametrize("fault", ["drop_after", "truncated", "broken_json"])
@pytest.mark.parametrize("make", UNSAFE.values(), ids=UNSAFE)
def test_a_lost_answer_is_never_sent_twice_elsewhere_and_heals_by_the_webhook(
    deliver, snapshot, vendor, sandbox, make, fault
):
    sandbox.fault("purecallerid", fault)
    snapshot(20)
    run = deliver(make())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 1
    assert vendor.numbers(dialer(make())) == numbers(range(20))
    run.assert_accounted()


@pytest.mark.parametrize("make", UNSAFE.values(), ids=UNSAFE)
def test_a_request_that_got_lost_on_its_way_is_uncertain_there(deliver, snapshot, vendor, sandbox, make):
    sandbox.fault("purecallerid", "drop_before")
    snapshot(20)
    run = deliver(make(callback_hours=0.2 / 3600))
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    assert vendor.calls == 1 and not vendor.loads
    run.assert_accounted()


def test_a_vendor_that_never_answers_leaves_a_replace_uncertain(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "drop_before", times=None)
    snapshot(20)
    run = deliver(retries=2)
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    assert "lost" in run.problems
    assert vendor.calls == 3
    run.assert_accounted()


def test_the_end_of_an_earlier_attempt_is_not_taken_for_that_of_the_last(
    deliver, snapshot, vendor, sandbox, ledger, monkeypatch
):
    """Twice taken in, twice unheard: the first ends well, the second stops half way and is what the list holds."""
    from listkeeper.operators.purecallerid import LoadListOperator

    load, tries = LoadListOperator.send, []

    def late_news(self, context):
        tries.append(self)
        if len(tries) == 3:
            wait_until(lambda: len(vendor.loads) == 2 and vendor.loads[1]["status"] == "ERROR")
            first = vendor.loads[0]
            assert first["status"] == "FINALIZED"
            token = first["webhookUrl"].rsplit("/", 1)[-1]
            assert ledger.receive("purecallerid", token, json.dumps(first).encode()).new
        return load(self, context)

    monkeypatch.setattr(LoadListOperator, "send", late_news)
    sandbox.fault("purecallerid", "drop_after", times=2)
    sandbox.fault("purecallerid", "webhook_lost", times=6)
    sandbox.fault("purecallerid", "load_error", nth=2)
    snapshot(20)
    run = deliver()
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 3 and vendor.numbers() == numbers(range(20))


@pytest.mark.parametrize(("status", "words"), [(404, "campaign"), (413, "fewer rows"), (400, "Check mode")])
def test_a_refused_load_is_not_tried_again(deliver, snapshot, vendor, sandbox, status, words):
    sandbox.fault("purecallerid", "status", status=status, times=None)
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert words in run.problems
    assert vendor.calls == 1
    run.assert_accounted()


def test_a_file_too_large_for_the_vendor(deliver, snapshot, vendor, sandbox):
    sandbox.switch("purecallerid", max_file_bytes=100)
    snapshot(20)
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "larger than the vendor allows" in run.problems


def test_a_wrong_key(deliver, snapshot, vendor, sandbox, monkeypatch, ledger):
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", connection(sandbox, "bm90IHRoZSBrZXk="))
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "does not accept the key" in run.problems
    assert vendor.calls == 1
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", connection(sandbox))
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": 20})


@pytest.mark.parametrize("make", [*SAFE.values(), *UNSAFE.values()], ids=[*SAFE, *UNSAFE])
def test_a_missing_connection_leaves_nothing_in_doubt(deliver, snapshot, vendor, sandbox, monkeypatch, make):
    monkeypatch.delenv("AIRFLOW_CONN_PURECALLERID_DEFAULT")
    snapshot(20)
    run = deliver(make(), retries=0)
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert "purecallerid_default" in run.problems
    monkeypatch.setenv("AIRFLOW_CONN_PURECALLERID_DEFAULT", connection(sandbox))
    run.clear("load")
    assert (run.state, run.counts) == ("success", {"delivered": 20})


def test_a_missing_connection_leaves_nothing_in_doubt_where_no_callback_is_asked_for(
    deliver, snapshot, vendor, monkeypatch
):
    monkeypatch.delenv("AIRFLOW_CONN_PURECALLERID_DEFAULT")
    monkeypatch.delenv("LISTKEEPER_PUBLIC_URL")
    snapshot(20)
    assert deliver(ringcx(), retries=1).counts == {"held": 20}
    assert vendor.calls == 0


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_is_tried_again_everywhere(deliver, snapshot, vendor, sandbox, status):
    sandbox.fault("purecallerid", "status", status=status, retry_after=0)
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("success", {"delivered": 20})
    assert vendor.calls == 2
    run.assert_accounted()


def test_the_vendors_own_wait_is_kept(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "status", status=429, retry_after=1)
    snapshot(20)
    started = datetime.now(UTC)
    run = deliver()
    assert run.state == "success"
    assert datetime.now(UTC) - started >= timedelta(seconds=1)


def test_not_now_until_no_try_is_left(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "status", status=503, times=None)
    snapshot(20)
    run = deliver(ringcx())
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert "503" in run.problems
    assert vendor.calls == 3
    run.assert_accounted()


def test_500_says_nothing_about_what_was_done(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "status", status=500, times=None)
    snapshot(20)
    safe = deliver(flow_file(), retries=1)
    assert (vendor.calls, safe.counts) == (2, {"uncertain": 20})
    unsafe = deliver(ringcx(callback_hours=0.2 / 3600, name="other"), retries=1)
    assert (vendor.calls, unsafe.counts) == (3, {"uncertain": 20})
    unsafe.assert_accounted()


# Guards


def test_an_empty_source(deliver, snapshot, vendor):
    snapshot(0)
    run = deliver(flow_file(approval={"ask": "never"}))
    assert (run.state, run.summary["verdict"]) == ("failed", "refused")
    assert "the source holds no lead" in run.problems
    assert vendor.calls == 0
    run.assert_accounted()


def test_an_empty_list_that_is_wanted(deliver, snapshot, vendor):
    flow = flow_file(guards={"allow_empty": True, "max_shrink_percent": 100})
    snapshot(5)
    deliver(flow)
    snapshot(0)
    run = deliver(flow)
    assert (run.state, run.counts) == ("success", {})
    assert vendor.numbers() == numbers()
    assert deliver(flow).summary["verdict"] == "unchanged"
    snapshot(5)
    assert deliver(flow).counts == {"delivered": 5}


def test_nothing_to_append_is_no_failure_where_that_is_allowed(deliver, snapshot, vendor):
    snapshot(0)
    run = deliver(ringcx(guards={"allow_empty": True}))
    assert (run.state, run.summary["verdict"]) == ("success", "unchanged")
    assert vendor.calls == 0


def test_a_shrink(deliver, snapshot, vendor):
    snapshot(20)
    deliver()
    snapshot(13)
    run = deliver(flow_file(approval={"ask": "never"}))
    assert (run.state, run.summary["verdict"], run.counts) == ("failed", "refused", {"held": 13})
    assert run.reasons == {"guard_stopped": 13} and run.tasks["approve"] == "skipped"
    assert "from 20 to 13 rows (35.0 %)" in run.problems
    assert vendor.numbers() == numbers(range(20))
    run.assert_accounted()
    assert deliver(flow_file(guards={"max_shrink_percent": 35})).counts == {"delivered": 13}


def test_a_stale_source(deliver, snapshot, vendor):
    snapshot(20, source_time=datetime.now(UTC) - timedelta(hours=37))
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "37.0 hours old" in run.problems
    assert vendor.calls == 0


def test_a_low_share_of_valid_leads(deliver, snapshot, vendor):
    snapshot([lead(n, phone1="x" if n < 11 else phone(n)) for n in range(20)])
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 9, "rejected": 11})
    assert "Only 45.0 % of 20 leads" in run.problems
    assert vendor.calls == 0
    run.assert_accounted()


def test_a_suppression_list_that_is_too_old(deliver, snapshot, vendor, state):
    (state / "stop.csv").write_text(f"phone\n{phone(1)}\n")
    entry = {"name": "stop", "file": str(state / "stop.csv"), "as_of": "2020-01-01", "max_age_days": 31}
    snapshot(20)
    run = deliver(flow_file(clean={"suppression": [entry]}))
    assert (run.state, run.counts) == ("failed", {"held": 19, "suppressed": 1})
    assert "Suppression list stop is" in run.problems
    assert vendor.calls == 0
    run.assert_accounted()


def test_a_suppression_list_that_is_missing(deliver, snapshot, vendor, state):
    snapshot(20)
    entry = {"name": "stop", "file": str(state / "stop.csv")}
    run = deliver(flow_file(clean={"suppression": [entry]}))
    assert (run.state, run.counts, run.reasons) == ("failed", {"held": 20}, {"not_sent": 20})
    assert "suppression list stop: there is no file" in run.problems
    assert vendor.calls == 0
    run.assert_accounted()


def test_a_paused_list(deliver, snapshot, vendor, ledger):
    snapshot(20)
    deliver()
    target = f"purecallerid:{flow_file()['campaign']}:{flow_file()['list']}"
    ledger.pause_target(target, True, "ana", "vendor's maintenance")
    snapshot(25)
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 25})
    assert "paused" in run.problems
    assert vendor.calls == 1
    ledger.pause_target(target, False, "ana", "over")
    assert deliver().counts == {"delivered": 25}


def test_a_list_paused_between_plan_and_write(deliver, snapshot, vendor, ledger, monkeypatch):
    from listkeeper.operators.purecallerid import LoadListOperator

    send = LoadListOperator._send_if_needed

    def pause_first(self, ledger, load):
        ledger.pause_target(load.target, True, "ana", "stop")
        send(self, ledger, load)

    monkeypatch.setattr(LoadListOperator, "_send_if_needed", pause_first)
    snapshot(20)
    run = deliver()
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "paused" in run.problems
    assert vendor.calls == 0


def test_an_append_whose_keys_are_gone_is_not_sent_again(deliver, snapshot, vendor):
    snapshot(20)
    deliver(ringcx()).folder("plan").remove()
    run = deliver(ringcx())
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "Sending all would call people twice" in run.problems
    assert vendor.calls == 1


def test_a_full_source_is_appended_once(deliver, snapshot, vendor):
    """A full pull holds all leads every night; only the new ones are appended."""
    full = {"mode": "full"}
    snapshot(20, night=OLDER, source_time=datetime.now(UTC) - timedelta(hours=26), facts=full)
    deliver(ringcx())
    snapshot(30, facts=full)
    assert deliver(ringcx()).counts == {"delivered": 10, "held": 20}
    snapshot(30, night="2026-11-21", source_time=datetime.now(UTC) - timedelta(hours=1), facts=full)
    run = deliver(ringcx())
    assert (run.state, run.summary["verdict"]) == ("success", "unchanged")
    assert vendor.numbers("ringcx") == numbers(range(30))


# Who asks for what


def test_plan_only(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(conf={"action": "plan"}, run_type="manual")
    assert (run.state, run.summary["verdict"], run.counts) == ("success", "planned", {"held": 20})
    assert run.tasks["load"] == "skipped" and run.reasons == {"plan_only": 20}
    assert vendor.calls == 0
    run.assert_accounted()


def test_a_flow_that_is_not_released_only_plans(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(flow_file(released=False))
    assert (run.state, run.summary["verdict"]) == ("success", "planned")
    assert vendor.calls == 0
    asked = deliver(
        flow_file(released=False), conf={"action": "apply", "reason": "to see"}, run_type="manual", retries=0
    )
    assert asked.state == "failed"
    assert "released: true" in asked.problems
    assert vendor.calls == 0


def test_to_apply_by_hand_needs_a_reason(deliver, snapshot, vendor, ledger):
    snapshot(20)
    run = deliver(conf={"action": "apply"}, run_type="manual")
    assert run.state == "failed" and "give the reason" in run.problems
    assert vendor.calls == 0
    run = deliver(conf={"action": "apply", "reason": "the vendor asked"}, run_type="manual")
    assert run.counts == {"delivered": 20}
    load = ledger.load(run.summary["load"])
    assert (load.requested_by, load.reason) == ("dag_test", "the vendor asked")


@pytest.mark.parametrize("conf", [{"nigth": NIGHT}, {"action": "plan", "list": "Other"}])
def test_an_unknown_key_is_refused(deliver, snapshot, vendor, conf):
    snapshot(20)
    run = deliver(conf=conf, run_type="manual")
    assert run.state == "failed" and "Unknown parameter" in run.problems
    assert vendor.calls == 0


def test_a_night_without_a_snapshot(deliver, snapshot, vendor):
    snapshot(20)
    run = deliver(partition="2026-11-18")
    assert run.state == "failed"
    assert "no complete snapshot of the night 2026-11-18" in run.problems
    run.assert_accounted()


def test_the_partition_names_the_night(deliver, snapshot, vendor):
    snapshot(10, night=OLDER)
    snapshot(20, night=NIGHT)
    run = deliver(partition=OLDER)
    assert run.plan["night"] == OLDER and run.counts == {"delivered": 10}


def test_what_follows_a_backfill_only_plans_and_is_no_failure(deliver, snapshot, vendor):
    """The nights are old: the plan shows what the guards would say, the run stays green."""
    snapshot(20)
    deliver()
    snapshot(
        30, night=OLDER, source_time=datetime.now(UTC) - timedelta(hours=50), facts={"run_type": "backfill"}
    )
    run = deliver(partition=OLDER)
    assert (run.state, run.summary["verdict"], run.counts) == ("success", "planned", {"held": 30})
    assert {refusal["guard"] for refusal in run.plan["refusals"]} == {"stale_source", "older_source"}
    assert vendor.calls == 1
    run.assert_accounted()


def test_a_changed_payload_is_not_sent(deliver, snapshot, vendor, monkeypatch):
    from listkeeper.operators.purecallerid import LoadListOperator

    send = LoadListOperator._send_if_needed

    def tamper_first(self, ledger, load):
        from include.staging import RunFolder

        folder = RunFolder(self.planned["plan"])
        content = folder.get("payload.csv") or b""
        folder.put("payload.csv", content.replace(phone(1).encode(), phone(9999).encode()))
        send(self, ledger, load)

    monkeypatch.setattr(LoadListOperator, "_send_if_needed", tamper_first)
    snapshot(20)
    run = deliver(retries=0)
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "not the file that was committed" in run.problems
    assert vendor.calls == 0


def test_another_plan_in_the_folder_is_not_sent(deliver, snapshot, vendor, monkeypatch):
    """Whole and committed, but not the plan whose hash was decided on."""
    from listkeeper.operators.purecallerid import LoadListOperator

    from include.staging import Manifest, RunFolder

    send = LoadListOperator._send_if_needed

    def replace_first(self, ledger, load):
        folder = RunFolder(self.planned["plan"])
        with folder.reading() as files, folder.writing() as scratch:
            for file in files:
                content = file.read_bytes()
                if file.name == "payload.csv":
                    content = content.replace(phone(1).encode(), phone(9999).encode())
                (scratch / file.name).write_bytes(content)
            folder.commit(scratch, Manifest(kind="plan", rows=20))
        send(self, ledger, load)

    monkeypatch.setattr(LoadListOperator, "_send_if_needed", replace_first)
    snapshot(20)
    run = deliver(retries=0)
    assert (run.state, run.counts) == ("failed", {"held": 20})
    assert "The payload is not the one that was planned" in run.problems
    assert vendor.calls == 0


def test_the_vendor_sees_exactly_one_upload_with_the_key_as_it_is(deliver, snapshot, vendor, sandbox):
    assert KEY.endswith("=") and KEY.startswith("+")
    snapshot(3)
    assert deliver().state == "success"
    assert [request["status"] for request in sandbox.state("purecallerid")["requests"]] == [200]


def wait_until(condition, seconds: float = 10.0) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=seconds)
    while not condition():
        assert datetime.now(UTC) < deadline, "waited in vain"
        threading.Event().wait(0.02)
