"""The tenant's book of leads against a plain dictionary, under random writing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from include.sandbox.book import LeadBook
from include.sandbox.data import Lead
from include.sandbox.synthetic import SyntheticLeads

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIRST = SyntheticLeads(6, date(2026, 11, 21))
KEYS = ["A", "B", "SYN-00000001", None]

ACTIONS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(KEYS), st.sampled_from([100, 300]), st.booleans()),
    st.tuples(
        st.just("put"), st.sampled_from(KEYS), st.sampled_from([100, 300]), st.booleans(), st.integers(0, 20)
    ),
    st.tuples(st.just("delete"), st.integers(0, 20)),
    st.tuples(st.just("come"), st.sampled_from(KEYS), st.integers(0, 5)),
    st.tuples(st.just("settle"), st.integers(0, 5)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ACTIONS, max_size=30))
def test_a_book_is_a_dictionary_that_remembers_its_beginning(actions):
    book, model, coming = LeadBook(FIRST), {lead.lead_id: lead for lead in FIRST.scan(0, None, None)}, []

    def new(key, list_id, completed=False, hours=0):
        uploaded = NOW + timedelta(hours=hours)
        return Lead(0, list_id, key, None, (None, None, None), uploaded, {}, completed=completed)

    for action, *rest in actions:
        if action == "add":
            key, list_id, completed = rest
            lead = book.add(new(key, list_id, completed))
            assert lead.lead_id not in model
            model[lead.lead_id] = lead
        elif action == "come":
            lead = new(rest[0], 300, hours=rest[1])
            book.come(lead)
            coming.append(lead)
        elif action == "settle":
            now = NOW + timedelta(hours=rest[0])
            before = set(model)
            book.settle(now)
            model |= {lead.lead_id: lead for lead in book.added() if lead.lead_id not in before}
            due = [lead for lead in coming if lead.uploaded <= now]
            coming = [lead for lead in coming if lead.uploaded > now]
            assert [lead._replace(lead_id=0) for id_, lead in model.items() if id_ not in before] == due
        elif model:
            lead_id = sorted(model)[rest[-1] % len(model)]
            if action == "delete":
                book.delete(lead_id)
                del model[lead_id]
            else:
                key, list_id, completed, _ = rest
                model[lead_id] = model[lead_id]._replace(
                    customer_key=key, list_id=list_id, completed=completed
                )
                book.put(model[lead_id])
        check(book, model)


def check(book, model):
    rows = [model[lead_id] for lead_id in sorted(model)]
    assert list(book.scan(0, None, None)) == rows
    assert len(book) == len(rows)
    middle = 100_004
    assert list(book.scan(middle, None, None)) == [lead for lead in rows if lead.lead_id > middle]
    counts = Counter((lead.list_id, lead.completed) for lead in rows)
    for list_id in (100, 300):
        assert book.count(list_id) == counts[list_id, False] + counts[list_id, True]
        assert book.count(list_id, completed=True) == counts[list_id, True]
    for key in KEYS[:3]:
        assert list(book.with_key(key)) == [lead for lead in rows if lead.customer_key == key]
    for lead_id in range(100_000, 100_040):
        assert book.get(lead_id) == model.get(lead_id)
