"""Loads through PureCallerID, whole: what arrives, and what the vendor makes of it."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.flows.conftest import flow_file, lead, numbers, phone
from tests.flows.loads import OLDER, append, dialer, ringcx

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


def test_append_with_unique_id_sends_all_where_the_flow_wants_that(deliver, snapshot, vendor):
    """A lead that somebody took off the list in the dialer is back the next time, and the others stand there once."""
    snapshot(10)
    flow = append(unique=True, send="all")
    deliver(flow)
    assert deliver(flow).summary["verdict"] == "unchanged" and len(vendor.loads) == 1
    vendor.sandbox.reset()  # a new tenant: its list is empty
    snapshot(12, source_time=datetime.now(UTC))
    run = deliver(flow)
    assert (run.state, run.counts) == ("success", {"delivered": 12})
    assert (run.plan["added"], run.plan["unchanged"], run.plan["to_send"]) == (2, 10, 12)
    assert vendor.numbers() == numbers(range(12))
    assert deliver(append(unique=True)).summary["verdict"] == "unchanged"


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

    def newer_first(self, ledger, load, seq):
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
        plan_and_write(self, ledger, load, seq)

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
    assert "The dialer has no such list." in run.problems
    run.assert_accounted()


def test_a_load_that_is_never_heard_of_again(deliver, snapshot, vendor, sandbox):
    sandbox.fault("purecallerid", "load_crash")
    snapshot(20)
    run = deliver(flow_file(callback_hours=1 / 3600))
    assert (run.state, run.counts) == ("failed", {"uncertain": 20})
    run.assert_accounted()
