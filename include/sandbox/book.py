"""The leads of a Platform tenant: those it began with, and what was written since.

The first leads are shared by all resets (and need no memory when they are synthetic), so nothing changes them:
what is written lies over them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from include.sandbox.data import FIRST_LEAD_ID, Lead, Leads
from include.sandbox.synthetic import SyntheticLeads

AnyLeads = Leads | SyntheticLeads


class LeadBook:
    """Leads by id, in the order of their ids; new ones get the next id."""

    def __init__(self, first: AnyLeads) -> None:
        self.first = first
        self._written: dict[int, Lead | None] = {}  # first leads that were changed; None: deleted
        self._added: list[Lead | None] = []  # position 0 has the id after the last first lead's
        self._start = FIRST_LEAD_ID + len(first)
        self._keys: dict[
            str, list[int]
        ] = {}  # customer key -> ids of written and added leads that have or had it
        self._coming: list[Lead] = []
        self._tally = Counter(first.tally)

    def __len__(self) -> int:
        return self._tally.total()

    def count(self, list_id: int, *, completed: bool = False) -> int:
        """Return how many leads a list holds, or how many of them are completed."""
        return self._tally[list_id, True] + (0 if completed else self._tally[list_id, False])

    def get(self, lead_id: int) -> Lead | None:
        """Return the lead with this id, or None."""
        if lead_id >= self._start:
            index = lead_id - self._start
            return self._added[index] if index < len(self._added) else None
        return self._written[lead_id] if lead_id in self._written else self.first.get(lead_id)

    def scan(self, after: int, start: datetime | None, end: datetime | None) -> Iterator[Lead]:
        """Yield leads with an id above `after`, at least those uploaded in [start, end], in order of id."""
        for lead in self.first.scan(after, start, end):
            now = self._written.get(lead.lead_id, lead) if self._written else lead
            if now is not None:
                yield now
        yield from self.added(after)

    def added(self, after: int = 0) -> Iterator[Lead]:
        """Yield the leads that did not belong to the first, with an id above `after`."""
        for lead in self._added[max(0, after - self._start + 1) :]:
            if lead is not None:
                yield lead

    def with_key(self, key: str, after: int = 0) -> Iterator[Lead]:
        """Yield the leads with a customer key and an id above `after`, in order of id."""
        for lead_id in sorted({*self.first.with_key(key), *self._keys.get(key, ())}):
            lead = self.get(lead_id)
            if lead_id > after and lead is not None and lead.customer_key == key:
                yield lead

    # --- writing

    def add(self, lead: Lead) -> Lead:
        """Add a lead under the next id, and return it."""
        lead = lead._replace(lead_id=self._start + len(self._added))
        self._added.append(lead)
        self._note(lead)
        return lead

    def put(self, lead: Lead) -> None:
        """Replace the lead with this id."""
        self._take(lead.lead_id, lead)
        self._note(lead)

    def delete(self, lead_id: int) -> None:
        """Delete the lead with this id."""
        self._take(lead_id, None)

    def come(self, lead: Lead) -> None:
        """Let a lead come in (again) when the clock reaches its time of upload."""
        self._coming.append(lead)

    def settle(self, now: datetime) -> None:
        """Add the leads whose time has come."""
        if self._coming:
            for lead in self._coming:
                if lead.uploaded <= now:
                    self.add(lead)
            self._coming = [lead for lead in self._coming if lead.uploaded > now]

    def _take(self, lead_id: int, lead: Lead | None) -> None:
        """Put something else (None: nothing) into the place of a lead."""
        old = self.get(lead_id)
        assert old is not None
        self._tally[old.list_id, old.completed] -= 1
        if lead_id >= self._start:
            self._added[lead_id - self._start] = lead
        else:
            self._written[lead_id] = lead

    def _note(self, lead: Lead) -> None:
        self._tally[lead.list_id, lead.completed] += 1
        if lead.customer_key is not None:
            self._keys.setdefault(lead.customer_key, []).append(lead.lead_id)
