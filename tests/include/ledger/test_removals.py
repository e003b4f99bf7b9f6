"""What house-keeping writes into the ledger, and what the ledger still needs, on both databases."""

from __future__ import annotations

from datetime import timedelta

from include.ledger import BatchPlan, Claim, Counts, Removal

HOUR = timedelta(hours=1)


def send(ledger, load, state=None):
    ledger.claim_target(load.id, HOUR)
    ledger.plan_batches(load.id, [BatchPlan(1, 1000, "x")])
    token = ledger.intend(load.id, 1)
    ledger.accept(load.id, 1, "v", {})
    if state:
        sums = {"confirmed": (1000, 0, 0), "uncertain": (0, 0, 1000)}[state]
        counts = dict(zip(("delivered", "rejected", "uncertain"), sums, strict=True))
        ledger.settle(load.id, 1, state, **counts, vendor_counts={})
    ledger.release_target(load.id)
    return token


def finish(ledger, load, state="failed"):
    ledger.finish_load(load.id, state=state, counts=Counts(1000, 0, 0, 0, 1000, 0), verdict=state)


def ids(loads):
    return [load.id for load in loads]


def test_the_ledger_tells_what_it_still_needs(ledger, open_load, clock):
    done, waiting = open_load(run_id="done"), open_load(run_id="waiting")
    send(ledger, done, "confirmed")
    finish(ledger, done)
    ledger.mark_applied(done.id, "runs/a/b/plan")
    anew = open_load(
        run_id="waiting", plan_hash="another"
    )  # the run planned again: the first plan is no more
    lost = open_load(run_id="lost", target="other")
    send(ledger, lost)
    again = open_load(
        run_id="lost", plan_hash="another", target="other"
    )  # but what was sent is not forgotten
    finish(ledger, again, "uncertain")
    ledger.claim_numbers("family", "2026-11-20", Claim("a", "runs/a/b/owned-1"), seen=())
    holding = ledger.holding()
    assert ids(holding.unfinished) == [lost.id, anew.id] and waiting.id != anew.id
    assert ids(holding.unresolved) == [again.id, lost.id]
    assert holding.applied == {done.target: "runs/a/b/plan"}
    assert {target: ids(loads) for target, loads in holding.written.items()} == {
        done.target: [done.id],
        "other": [again.id],
    }
    assert holding.kept_loads == {done.id, lost.id}
    assert holding.claims == {("family", "2026-11-20"): (Claim("a", "runs/a/b/owned-1"),)}


def removal(place, clock, kept="leads", pieces=2):
    return Removal(place, kept, 30, pieces, 10, clock(), None, None)


def test_each_removal_is_told_once(ledger, clock):
    for place in ("a/1", "a/2", "b/1"):
        ledger.intend_removal(removal(place, clock))
    ledger.end_removal("a/1", gone=True)
    ledger.end_removal("b/1", gone=False)
    assert [found.place for found in ledger.interrupted_removals()] == ["a/2"]
    assert ledger.removal_of("b") is None and ledger.removal_of("a/2") is None
    found = ledger.removal_of("a")
    assert found is not None and (found.place, found.gone_at) == ("a/1", clock())
    assert ledger.removal_of("a", "calls") is None and ledger.removal_of("a_") is None
    counts = {"items": 1, "pieces": 2, "bytes": 10, "days": 30}
    assert ledger.tell_removed({"run_id": "r"}).body == {"run_id": "r", "removed": {"leads": counts}}
    ledger.end_removal("a/2", gone=True)
    ledger.intend_removal(removal("c", clock, pieces=0))
    ledger.end_removal("c", gone=True)  # somebody else had removed it
    assert ledger.tell_removed({}).body == {"removed": {"leads": counts}}
    assert ledger.tell_removed({}).body == {"removed": {}}
    ledger.intend_removal(removal("a/1", clock))  # it came back, and goes again
    ledger.end_removal("a/1", gone=True)
    assert ledger.tell_removed({}).body == {"removed": {"leads": counts}}
    clock.forward(hours=1)
    ledger.forget_old_removals(clock())
    assert ledger.removal_of("a") is None
    assert ledger.verify() == []


def test_rows_are_forgotten_only_while_nobody_needs_them(ledger, open_load, clock):
    load = open_load()
    token = send(ledger, load, "confirmed")
    ledger.receive("purecallerid", token, b"{}")
    finish(ledger, load)
    clock.forward(hours=1)
    assert ledger.called_back(clock()) == [(load.id, 1, clock() - HOUR)]
    assert ledger.ended_loads(clock()) == [(load.id, 2, clock() - HOUR)]
    assert ledger.ended_loads(clock() - HOUR) == []
    about = removal(f"callbacks/{load.id}", clock, "callbacks")
    assert not ledger.forget(about, ("callbacks", load.id), lambda holding: False)
    assert len(ledger.events(load.id, 1)) == 1
    assert ledger.forget(about, ("callbacks", load.id), lambda holding: load.id in holding.kept_loads)
    assert ledger.events(load.id, 1) == [] and len(ledger.batches(load.id)) == 1
    assert not ledger.forget(about, ("callbacks", load.id), lambda holding: True)  # there is nothing left
    assert ledger.forget(removal("h", clock, "history"), ("history", load.id), lambda holding: True)
    assert ledger.loads(5) == []
    ledger.claim_numbers("family", "2026-11-20", Claim("a", "b"), seen=())
    assert ledger.forget(
        removal("c", clock, "claims"), ("claims", "family", "2026-11-20"), lambda holding: True
    )
    assert ledger.claims_of("family", "2026-11-20") == []
    told = ledger.tell_removed({}).body["removed"]
    assert {kept: count["pieces"] for kept, count in told.items()} == {
        "callbacks": 1,
        "history": 2,
        "claims": 1,
    }
