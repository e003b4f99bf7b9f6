"""Makes the leads that `vicidial_list` holds after a reset: a call centre's last two and a half years.

Ids are 1 to N. Six in ten came more than 180 days ago, most of them were last called soon after they came, and
the status follows from how that went. Numbers are the FTC's, whole ones only; there are no names of people.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from include.sandbox.data import complaints

ZONE: Final = ZoneInfo("Africa/Johannesburg")
"""Where the call centre is; the tables hold its local times."""

FEWEST: Final = 600
"""The contract's cases want leads 1 to 600."""

LISTS: Final = (1001, 1002, 1003, 1004)
CALLED: Final = {
    "NA": 22,
    "A": 12,
    "AA": 12,
    "B": 10,
    "N": 8,
    "NI": 12,
    "DC": 8,
    "DNC": 4,
    "CALLBK": 5,
    "SALE": 7,
}
"""Statuses of leads that were called, with their weights; leads never called are NEW."""

BY_THE_DIALER: Final = frozenset({"NA", "AA", "B", "DC"})


def vicidial_leads(count: int, today: date) -> Iterator[dict[str, Any]]:
    """Yield leads 1 to `count` as they are on the morning of a day; more of them begin with the same ones."""
    rng = random.Random(20211107)
    numbers = [n for row in complaints() if len(n := row["Company_Phone_Number"]) == 10 and n.isdigit()]
    statuses, weights = list(CALLED), list(CALLED.values())
    midnight = datetime.combine(today, time())
    for lead_id in range(1, count + 1):
        age = rng.randrange(181, 900) if rng.random() < 0.6 else rng.randrange(1, 181)
        entry = midnight - timedelta(days=age) + timedelta(seconds=rng.randrange(64_800))
        status, calls, last = "NEW", 0, None
        if rng.random() < 0.85:
            days = rng.randrange(60) if rng.random() < 0.95 else rng.randrange(900)
            last = min(entry + timedelta(days=days, minutes=rng.randrange(1, 300)), midnight)
            status, calls = rng.choices(statuses, weights)[0], rng.randrange(1, 13)
        yield {
            "lead_id": lead_id,
            "entry_date": entry,
            "modify_date": last or entry,
            "status": status,
            "user": None if last is None else "VDAD" if status in BY_THE_DIALER else f"{1001 + lead_id % 9}",
            "vendor_lead_code": f"FTC-{lead_id:06d}",
            "source_id": "FTC" if lead_id % 3 else None,
            "list_id": LISTS[lead_id % len(LISTS)],
            "gmt_offset_now": -5.0,
            "called_since_last_reset": "Y" if calls else "N",
            "phone_code": "1",
            "phone_number": numbers[(lead_id - 1) % len(numbers)],
            "first_name": "Lead",
            "last_name": f"{lead_id:06d}",
            "country_code": "USA",
            "gender": "U",
            "comments": "" if lead_id % 2 else None,
            "called_count": calls,
            "last_local_call_time": last,
            "rank": 0,
            "owner": "",
            "entry_list_id": 0,
        }
