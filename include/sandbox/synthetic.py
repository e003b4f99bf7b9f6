"""Leads made on the fly from their index, for benchmarks: a million of them need no memory.

Area codes, exchanges and odd values follow the FTC's file, one real number after the other; the last four
digits come from the index. The same share of dirt is added as to the real leads. They are uploaded evenly
over last night, and three in ten were called at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from math import ceil, floor
from typing import Any

from include.sandbox.data import FIRST_LEAD_ID, NIGHTLY_LIST, ZONE, Lead, complaints, midnight, seconds_of
from include.sandbox.dirt import NUMBER_DIRT, soil


@dataclass
class SyntheticLeads:
    """`size` leads of list 100, uploaded in the night before `today`; a stand-in for `data.Leads`."""

    size: int
    today: date
    about: dict[str, Any] = field(init=False)
    tally: Counter[tuple[int, bool]] = field(init=False)
    """How many leads each list holds, those completed apart."""

    def __post_init__(self) -> None:
        self._shapes = [row["Company_Phone_Number"] for row in complaints()]
        night = self.today - timedelta(days=1)
        self._start, self._seconds = midnight(night), seconds_of(night)
        self._end = midnight(self.today)
        self.tally = Counter({(NIGHTLY_LIST, False): self.size})
        self.about = {
            "source": "synthetic: real area codes and exchanges, made-up last digits",
            "leads": self.size,
            "timezone": ZONE.key,
            "night": str(night),
            "nights": {str(night): self.size},
            "lists": {str(NIGHTLY_LIST): self.size},
        }

    def __len__(self) -> int:
        return self.size

    def _lead(self, index: int) -> Lead:
        draw = (index * 2_654_435_761 + 97) & 0x7FFFFFFF  # Knuth's multiplicative hash: spread, and cheap
        number = self._shapes[index % len(self._shapes)]
        if len(number) == 10 and number.isdigit():
            number = soil(f"{number[:6]}{draw % 9_973:04d}", draw, NUMBER_DIRT)[0]
        uploaded = self._start + timedelta(seconds=index * self._seconds // self.size)
        data = {"name": f"Lead {index:07d}", "subject": "Synthetic"}
        lot = draw >> 12
        status = 1 + (lot >> 8) % 4 if lot % 10 < 3 else None
        attempt = min(uploaded + timedelta(minutes=1 + lot % 599), self._end) if status else None
        return Lead(
            FIRST_LEAD_ID + index,
            NIGHTLY_LIST,
            f"SYN-{index:08d}",
            ZONE.key,
            (number, None, None),
            uploaded,
            data,
            status_code=status,
            agent_id=1001 + index % 3 if status == 1 else None,
            last_attempt=attempt,
        )

    def get(self, lead_id: int) -> Lead | None:
        """Return the lead with this id, or None."""
        index = lead_id - FIRST_LEAD_ID
        return self._lead(index) if 0 <= index < self.size else None

    def scan(self, after: int, start: datetime | None, end: datetime | None) -> Iterator[Lead]:
        """Yield leads with an id above `after`, uploaded in [start, end], in order of id."""
        first = self._first_from(ceil((start - self._start).total_seconds())) if start else 0
        last = self._first_from(floor((end - self._start).total_seconds()) + 1) if end else self.size
        return (self._lead(index) for index in range(max(0, first, after - FIRST_LEAD_ID + 1), last))

    def _first_from(self, second: int) -> int:
        """Return the first index uploaded in this second of the night or later."""
        return min(self.size, max(0, -(-second * self.size // self._seconds)))

    def with_key(self, key: str) -> list[int]:
        """Return the ids of the leads with this customer key."""
        index = int(key[4:]) if re.fullmatch(r"SYN-[0-9]{8}", key) else self.size
        return [FIRST_LEAD_ID + index] if index < self.size else []
