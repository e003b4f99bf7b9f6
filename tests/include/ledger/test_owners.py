"""Claims of a night's numbers, on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from include.ledger import Claim

NIGHT = "2026-11-20"
FIRST, SECOND = Claim("load__first", "runs/a"), Claim("load__second", "runs/b")


def test_a_claim_stands_for_its_group_and_night(ledger):
    assert ledger.claims_of("us", NIGHT) == []
    assert ledger.claim_numbers("us", NIGHT, FIRST, seen=[])
    assert ledger.claims_of("us", NIGHT) == [FIRST]
    assert ledger.claims_of("us", "2026-11-21") == ledger.claims_of("au", NIGHT) == []


def test_who_has_not_looked_at_all_others_is_refused(ledger):
    ledger.claim_numbers("us", NIGHT, FIRST, seen=[])
    assert not ledger.claim_numbers("us", NIGHT, SECOND, seen=[])
    assert ledger.claims_of("us", NIGHT) == [FIRST], "a refused claim leaves nothing behind"
    assert ledger.claim_numbers("us", NIGHT, SECOND, seen=[FIRST])
    again = Claim(FIRST.dag_id, "runs/c")
    assert not ledger.claim_numbers("us", NIGHT, again, seen=[FIRST])
    assert ledger.claim_numbers("us", NIGHT, again, seen=[SECOND]), "its own claims need no look"
    assert ledger.claims_of("us", NIGHT) == [FIRST, SECOND, again]


def test_of_many_at_once_each_has_looked_at_all_before_it(ledger):
    def claim(number):
        mine, looks = Claim(f"load__{number}", f"runs/{number}"), 0
        while True:
            seen, looks = ledger.claims_of("us", NIGHT), looks + 1
            if ledger.claim_numbers("us", NIGHT, mine, seen=seen):
                return mine, seen

    with ThreadPoolExecutor(4) as pool:
        done = dict(pool.map(claim, range(8)))
    order = ledger.claims_of("us", NIGHT)
    assert len(order) == 8
    for place, mine in enumerate(order):
        assert done[mine] == order[:place]
