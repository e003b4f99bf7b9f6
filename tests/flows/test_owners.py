"""One number, one list a night: flows of one group, in their order, run again, crashed, backfilled."""

from __future__ import annotations

from functools import partial

import pytest
import yaml
from listkeeper.operators.delivery import CleanLeadsOperator
from listkeeper.triggers import owners as trigger

from include import owners
from include.flow_files import deliveries
from include.staging import Manifest, RunFolder
from tests.flows.conftest import NIGHT, flow_file, lead, make_snapshot, numbers

GROUP = "nightly_us"
FIRST, SECOND = "load_purecallerid__first", "load_purecallerid__second"


@pytest.fixture
def deliver_beside(deliver, installation, monkeypatch):
    """Deliver one of two flows of a group; the other one's file stands beside it."""
    beside = installation.parent / "beside"
    beside.mkdir()
    monkeypatch.setattr(owners, "deliveries", partial(deliveries, beside))

    def run(flow, *others, **about):
        for each in (flow, *others):
            (beside / f"{each['name']}.yaml").write_text(yaml.safe_dump(each))
        return deliver(flow, **about)

    return run


def first(**changes):
    return flow_file(name="first") | {"owner_group": GROUP, "priority": 1} | changes


def second(**changes):
    made = flow_file("ringcx", name="second", owner_group=GROUP, priority=2, priority_wait_minutes=0)
    return made | {"source": "others"} | changes


def both(ours=range(6), theirs=range(4, 10)):
    make_snapshot([lead(n) for n in ours])
    make_snapshot([lead(n) for n in theirs], source="others")


def test_the_list_of_higher_priority_owns_the_number(deliver_beside, vendor, ledger):
    both()
    assert deliver_beside(first(), second()).reasons == {"delivered": 6}
    run = deliver_beside(second(), first())
    assert run.reasons == {"delivered": 4, "owned_by_another_list": 2}
    assert vendor.numbers("five9") == numbers(range(6))
    assert vendor.numbers("ringcx") == numbers(range(6, 10))
    run.assert_accounted()
    held = run.outcomes.filter(run.outcomes["reason"] == "owned_by_another_list")
    assert set(held["detail"]) == {FIRST}
    assert set(held["state"]) == {"held"}
    assert [claim.dag_id for claim in ledger.claims_of(GROUP, NIGHT)] == [FIRST, SECOND]


def test_the_later_list_stops_while_the_first_has_not_chosen(deliver_beside, vendor, ledger):
    both()
    run = deliver_beside(second(), first())
    assert run.tasks["clean"] == "failed"
    assert f"{FIRST} choose their numbers of the night {NIGHT} before this list" in run.problems
    assert vendor.loads == []
    assert ledger.claims_of(GROUP, NIGHT) == []
    deliver_beside(first(), second())
    run.clear("clean")
    assert run.reasons == {"delivered": 4, "owned_by_another_list": 2}


def test_it_waits_for_the_first_list(deliver_beside, monkeypatch, vendor):
    both()
    look, looks = owners.missing, []

    def claimed_at_the_third_look(*args):
        looks.append(args)
        if len(looks) == 3:
            claim(FIRST, [12012000004, 12012000005])
        return look(*args)

    monkeypatch.setattr(owners, "missing", claimed_at_the_third_look)
    monkeypatch.setattr(trigger, "NAP", 0.01)
    run = deliver_beside(second(priority_wait_minutes=60), first())
    assert len(looks) == 4, "the task, twice the trigger, the task again"
    assert run.reasons == {"delivered": 4, "owned_by_another_list": 2}


def claim(dag_id, phones, night=NIGHT):
    """Claim numbers as a run of another flow does."""
    import polars as pl
    from listkeeper.hooks.ledger import open_ledger

    from include.ledger import Claim

    folder = RunFolder(f"runs/{dag_id}/{len(phones)}-{night}/owned-1")
    with folder.writing() as scratch:
        pl.DataFrame({"number": sorted(phones)}, schema={"number": pl.Int64}).write_parquet(
            scratch / "numbers.parquet"
        )
        folder.commit(scratch, Manifest(kind="owned", rows=len(phones)))
    ledger = open_ledger()
    mine = Claim(dag_id, folder.path)
    assert ledger.claim_numbers(GROUP, night, mine, seen=ledger.claims_of(GROUP, night))


def test_a_flow_may_go_on_without_it_and_the_late_list_yields(deliver_beside, vendor):
    both()
    run = deliver_beside(second(priority_missing="go_on"), first())
    assert run.reasons == {"delivered": 6}
    assert any(FIRST in warning for warning in run.plan["warnings"])
    late = deliver_beside(first(), second())
    assert late.reasons == {"delivered": 4, "owned_by_another_list": 2}
    assert vendor.numbers("five9") == numbers(range(4))


def test_a_second_run_of_the_first_list_leaves_the_second_its_numbers(deliver_beside, vendor):
    both(ours=range(4))
    deliver_beside(first(), second())
    deliver_beside(second(), first())
    make_snapshot([lead(n) for n in range(8)])
    again = deliver_beside(first(), second())
    assert again.reasons == {"delivered": 4, "owned_by_another_list": 4}
    # What the first run claimed stays its own, also when a later snapshot lacks it.
    make_snapshot([lead(n) for n in range(2)])
    deliver_beside(first(guards={"max_shrink_percent": 100}), second())
    make_snapshot([lead(n) for n in range(2, 10)], source="others")
    assert deliver_beside(second(), first()).outcomes["reason"].to_list().count("owned_by_another_list") == 2


def test_another_list_that_claims_meanwhile_makes_it_clean_anew(deliver_beside, monkeypatch, vendor):
    both()
    write, tries = owners.write_claim, []

    def and_another_is_faster(*args):
        tries.append(args)
        if len(tries) == 1:
            claim("load_purecallerid__third", [12012000001])
        return write(*args)

    monkeypatch.setattr(owners, "write_claim", and_another_is_faster)
    run = deliver_beside(first(), second())
    assert len(tries) == 2
    assert run.reasons == {"delivered": 5, "owned_by_another_list": 1}
    assert not vendor.numbers("five9") & numbers(1)


def test_a_crash_after_the_claim_loses_nothing(deliver_beside, monkeypatch, vendor, ledger):
    both()
    clean, tries = CleanLeadsOperator._clean_and_claim, []

    def dies_once(self, *args):
        result = clean(self, *args)
        tries.append(result)
        if len(tries) == 1:
            raise ConnectionError
        return result

    monkeypatch.setattr(CleanLeadsOperator, "_clean_and_claim", dies_once)
    assert deliver_beside(first(), second()).reasons == {"delivered": 6}
    assert [claim.dag_id for claim in ledger.claims_of(GROUP, NIGHT)] == [FIRST, FIRST]
    monkeypatch.undo()


def test_a_run_that_only_plans_waits_for_nobody_and_keeps_nothing(deliver_beside, ledger):
    both()
    planned = deliver_beside(second(), first(), conf={"action": "plan"}, run_type="manual")
    assert planned.tasks["clean"] == "success"
    assert any("had not claimed" in warning for warning in planned.plan["warnings"])
    assert ledger.claims_of(GROUP, NIGHT) == []
    deliver_beside(first(released=False), second())
    assert ledger.claims_of(GROUP, NIGHT) == []
    # A list that is not released is not waited for either.
    assert deliver_beside(second(), first(released=False)).reasons == {"delivered": 6}


def test_a_night_of_a_backfill_has_its_own_owners(deliver_beside, ledger):
    both()
    deliver_beside(first(), second())
    earlier = {"night": "2026-11-19", "facts": {"run_type": "backfill"}}
    make_snapshot([lead(n) for n in range(4, 10)], source="others", **earlier)
    released = {"first_night": "2026-11-19", "last_night": "2026-11-19", "until": "2099-01-01"}
    flow = second(released_backfill=released)
    conf = {"night": "2026-11-19"}
    stopped = deliver_beside(flow, first(), conf=conf)
    assert stopped.tasks["clean"] == "failed"
    assert "2026-11-19" in stopped.problems
    claim(FIRST, [12012000009], night="2026-11-19")
    assert deliver_beside(flow, first(), conf=conf).reasons == {"delivered": 5, "owned_by_another_list": 1}


def test_equal_priorities_go_by_dag_id(deliver_beside):
    both()
    assert deliver_beside(first(priority=2), second()).reasons == {"delivered": 6}
    run = deliver_beside(second(), first(priority=2))
    assert run.reasons == {"delivered": 4, "owned_by_another_list": 2}


def test_claims_whose_numbers_are_gone_stop_the_load(deliver_beside, ledger, vendor):
    both()
    deliver_beside(first(), second())
    (claimed,) = ledger.claims_of(GROUP, NIGHT)
    RunFolder(claimed.path).remove()
    run = deliver_beside(second(), first(), retries=0)
    assert run.tasks["clean"] == "failed"
    assert vendor.numbers("ringcx") == numbers()
