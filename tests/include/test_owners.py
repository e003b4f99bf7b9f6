"""Owners of a night's numbers under random schedules of runs, retries and deaths."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from include.ledger import Claim, Ledger

NIGHT = "2026-11-20"
LEADS = st.frozensets(st.integers(0, 5), min_size=1)


def a_run(
    ledger: Ledger, flow: str, leads: frozenset[int], held: dict[str, frozenset[int]]
) -> Iterator[None]:
    """A run, step by step: it may be left lying after any of them. `held` has the numbers of each run folder."""
    while True:
        seen = ledger.claims_of("us", NIGHT)
        yield
        kept = leads.difference(*(held[claim.path] for claim in seen if claim.dag_id != flow))
        mine = Claim(flow, f"{flow}/{len(held)}")
        held[mine.path] = kept
        yield
        if ledger.claim_numbers("us", NIGHT, mine, seen=seen):
            return
        yield


@settings(max_examples=40, deadline=None)
@given(
    runs=st.lists(st.tuples(st.sampled_from("abc"), LEADS), min_size=2, max_size=6),
    order=st.lists(st.integers(0, 5), max_size=40),
)
def test_no_two_flows_ever_claim_the_same_number(runs, order):
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{Path(folder) / 'l.db'}") as ledger:
        ledger.migrate()
        held: dict[str, frozenset[int]] = {}
        going = [a_run(ledger, flow, leads, held) for flow, leads in runs]
        for which in order:
            if which < len(going):
                next(going[which], None)
        owner: dict[int, str] = {}
        for claim in ledger.claims_of("us", NIGHT):
            for number in held[claim.path]:
                assert owner.setdefault(number, claim.dag_id) == claim.dag_id
