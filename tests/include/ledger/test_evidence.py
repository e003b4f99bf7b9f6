"""The evidence chain: what was tampered with shows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, delete, select, update

from include.ledger import Head
from include.ledger.evidence import GENESIS, digest
from include.ledger.tables import evidence, evidence_head


@pytest.fixture
def tamper(url):
    """Change the tables behind the ledger's back."""
    engine = create_engine(url)

    def run(*statements):
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    yield run
    engine.dispose()


@pytest.fixture
def chain(ledger, clock):
    """Six records."""
    records = []
    for number in range(6):
        clock.forward(microseconds=1)
        records.append(ledger.record("plan", f"load{number}", {"rows": number, "rules": ["phone", "dnc"]}))
    return records


def at(seq):
    return evidence.c.seq == seq


def wrong(ledger, kept=None):
    return [problem.seq for problem in ledger.verify(kept)]


def test_an_empty_chain_holds(ledger):
    assert ledger.verify() == []
    assert ledger.head() == Head(0, GENESIS)


def test_an_untouched_chain_holds(ledger, chain):
    assert ledger.verify() == []
    assert ledger.head() == Head(6, chain[-1].hash)
    assert [record.seq for record in chain] == [1, 2, 3, 4, 5, 6]
    assert [record.previous for record in chain] == [GENESIS, *(record.hash for record in chain[:-1])]


def test_what_json_changes_on_the_way_does_not_break_the_chain(ledger):
    ledger.record("odd", None, {2: "a\u0000é\ud800", 10: ("b", 1.5)})
    assert ledger.verify() == []


def test_what_is_not_json_is_refused_and_leaves_no_gap(ledger):
    for body in ({"at": datetime.now(UTC)}, {"share": float("nan")}):
        with pytest.raises((TypeError, ValueError)):
            ledger.record("bad", None, body)
    ledger.record("good", None, {})
    assert ledger.head().count == 1
    assert ledger.verify() == []


@pytest.mark.parametrize(
    "change",
    [
        {"body": {"rows": 3_000_000, "rules": ["phone", "dnc"]}},
        {"kind": "approve"},
        {"load_id": "load9"},
        {"load_id": None},
        {"recorded_at": datetime(2026, 11, 20, tzinfo=UTC)},
        {"hash": "f" * 64},
        {"previous": "f" * 64},
    ],
)
def test_a_changed_record_shows(ledger, chain, tamper, change):
    tamper(update(evidence).where(at(4)).values(**change))
    assert 4 in wrong(ledger)


def test_a_change_with_a_new_hash_of_its_own_shows_at_the_next_record(ledger, chain, tamper):
    record = chain[3]
    forged = digest(4, record.kind, record.load_id, {"rows": 0}, record.recorded_at, record.previous)
    tamper(update(evidence).where(at(4)).values(body={"rows": 0}, hash=forged))
    assert wrong(ledger) == [5]


def test_a_removed_record_shows(ledger, chain, tamper):
    tamper(delete(evidence).where(at(3)))
    assert wrong(ledger) == [3, 4]


def test_a_removed_record_shows_when_the_rest_moves_up(ledger, chain, tamper):
    tamper(
        delete(evidence).where(at(3)),
        *(update(evidence).where(at(seq)).values(seq=seq - 1) for seq in (4, 5, 6)),
        update(evidence_head).values(count=5),
    )
    assert wrong(ledger)[0] == 3


def test_a_removed_beginning_shows(ledger, chain, tamper):
    tamper(delete(evidence).where(evidence.c.seq <= 2))
    assert wrong(ledger) == [1, 3]


@pytest.mark.parametrize("seq", [0, 7])
def test_an_inserted_record_shows(ledger, chain, tamper, seq):
    previous = chain[-1].hash if seq else GENESIS
    now = datetime(2026, 11, 21, tzinfo=UTC)
    tamper(
        evidence.insert().values(
            seq=seq,
            kind="approve",
            load_id="load3",
            body={"who": 1},
            recorded_at=now,
            previous=previous,
            hash=digest(seq, "approve", "load3", {"who": 1}, now, previous),
        )
    )
    assert wrong(ledger)


def test_swapped_records_show(ledger, chain, tamper):
    tamper(
        update(evidence).where(at(2)).values(seq=99),
        update(evidence).where(at(3)).values(seq=2),
        update(evidence).where(at(99)).values(seq=3),
    )
    assert set(wrong(ledger)) >= {2, 3, 4}


@pytest.mark.parametrize("cut", [1, 6])
def test_a_cut_off_tail_shows(ledger, chain, tamper, cut):
    tamper(delete(evidence).where(evidence.c.seq > 6 - cut))
    assert wrong(ledger) == [6 - cut]


def test_a_lost_head_shows(ledger, chain, tamper):
    tamper(delete(evidence_head))
    assert wrong(ledger) == [6]


def test_a_tail_cut_off_together_with_its_head_shows_only_against_a_kept_head(ledger, chain, tamper):
    kept = ledger.head()
    assert ledger.verify(kept) == []
    tamper(
        delete(evidence).where(evidence.c.seq > 4), update(evidence_head).values(count=4, hash=chain[3].hash)
    )
    assert ledger.verify() == []  # the limit that the module states
    assert wrong(ledger, kept) == [4]


def test_a_chain_forged_as_a_whole_shows_only_against_a_kept_head(ledger, chain, tamper, clock):
    kept = ledger.head()
    tamper(delete(evidence), update(evidence_head).values(count=0, hash=GENESIS))
    for _ in range(7):
        ledger.record("plan", None, {"rows": 0})
    assert ledger.verify() == []
    assert wrong(ledger, kept) == [6]


def test_a_kept_head_stays_good_while_the_chain_grows(ledger, chain):
    kept = ledger.head()
    ledger.record("apply", None, {})
    assert ledger.verify(kept) == []


def test_a_long_chain_is_read_in_pieces(ledger, tamper, clock):
    rows, previous = [], GENESIS
    for seq in range(1, 2501):
        link = digest(seq, "k", None, {}, clock(), previous)
        rows.append(
            {
                "seq": seq,
                "kind": "k",
                "load_id": None,
                "body": {},
                "recorded_at": clock(),
                "previous": previous,
                "hash": link,
            }
        )
        previous = link
    tamper(evidence.insert().values(rows[:1000]), evidence.insert().values(rows[1000:2000]))
    tamper(evidence.insert().values(rows[2000:]), update(evidence_head).values(count=2500, hash=previous))
    assert ledger.verify() == []
    tamper(update(evidence).where(at(1500)).values(kind="x"))
    assert wrong(ledger) == [1500]


def test_the_whole_row_is_under_the_hash(ledger, chain, url):
    """A column added to the table without being hashed would be free to change."""
    engine = create_engine(url)
    with engine.connect() as connection:
        row = connection.execute(select(evidence).where(at(1))).one()._asdict()
    engine.dispose()
    assert row.pop("hash") == digest(**row)
