"""Where the sandbox's leads come from: the FTC's complaint file, or a file of the user."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from include.sandbox.dirt import NUMBER_DIRT, REPEATED_KEYS, REPEATED_NUMBERS, TEXT_DIRT, Dirt, soil

DATA: Final = Path(__file__).parent / "data"
COMPLAINTS: Final = DATA / "ftc_dnc_complaints_2021-07-08.csv.gz"
ZONE: Final = ZoneInfo("America/New_York")
"""The tenant's zone: nights are its calendar days, and times are rendered with its offset."""

NIGHTLY_LIST: Final = 100
FIRST_LEAD_ID: Final = 100_001
_TEN_DIGITS: Final = re.compile(r"[0-9]{10}")
_STATES_BY_ZONE: Final = {
    "America/Chicago": "Alabama,Arkansas,Illinois,Iowa,Kansas,Louisiana,Minnesota,Mississippi,Missouri,"
    "Nebraska,North Dakota,Oklahoma,South Dakota,Tennessee,Texas,Wisconsin",
    "America/Denver": "Colorado,Idaho,Montana,New Mexico,Utah,Wyoming",
    "America/Phoenix": "Arizona",
    "America/Los_Angeles": "California,Nevada,Oregon,Washington",
    "America/Anchorage": "Alaska",
    "Pacific/Honolulu": "Hawaii",
    "America/Puerto_Rico": "Puerto Rico,Virgin Islands",
}
_ZONES: Final = {state: zone for zone, states in _STATES_BY_ZONE.items() for state in states.split(",")}


class LeadFileError(Exception):
    """The file given with `--leads` cannot serve as a call list; the message says why."""


class Lead(NamedTuple):
    """One lead as the Platform API stores it."""

    lead_id: int
    list_id: int
    customer_key: str | None
    timezone: str | None
    phones: tuple[str | None, str | None, str | None]
    uploaded: datetime
    data: dict[str, Any]
    status_code: int | None = None
    agent_id: int | None = None
    completed: bool = False
    last_attempt: datetime | None = None
    next_attempt: datetime | None = None


@dataclass
class Leads:
    """The leads of a tenant, in the order of their ids, and what `GET /_sandbox` says about them."""

    rows: tuple[Lead, ...]
    about: dict[str, Any]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _by_id(self) -> dict[int, Lead]:
        return {lead.lead_id: lead for lead in self.rows}

    def get(self, lead_id: int) -> Lead | None:
        """Return the lead with this id, or None."""
        return self._by_id.get(lead_id)

    def scan(self, after: int, start: datetime | None, end: datetime | None) -> Iterator[Lead]:
        """Yield leads with an id above `after`, at least those uploaded in [start, end], in order of id."""
        # Ids were given out without a gap, so an id is also a position.
        return iter(self.rows[max(0, after - FIRST_LEAD_ID + 1) :])

    @cached_property
    def tally(self) -> Counter[tuple[int, bool]]:
        """How many leads each list holds, those completed apart."""
        return Counter((lead.list_id, lead.completed) for lead in self.rows)

    @cached_property
    def _by_key(self) -> dict[str | None, list[int]]:
        found: dict[str | None, list[int]] = {}
        for lead in self.rows:
            found.setdefault(lead.customer_key, []).append(lead.lead_id)
        return found

    def with_key(self, key: str) -> list[int]:
        """Return the ids of the leads with this customer key."""
        return self._by_key.get(key, [])


def midnight(day: date) -> datetime:
    """Return the start of the tenant's calendar day, aware, in UTC."""
    return datetime.combine(day, time(), ZONE).astimezone(UTC)


def seconds_of(day: date) -> int:
    """Return how many seconds the tenant's calendar day has (23, 24 or 25 hours)."""
    return int((midnight(day + timedelta(days=1)) - midnight(day)).total_seconds())


@cache
def complaints() -> list[dict[str, str]]:
    """Read the FTC's complaints, as published."""
    with gzip.open(COMPLAINTS, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache  # resets and servers share them: nothing may change them in place
def ftc_leads(today: date, seed: int) -> Leads:
    """Make leads of the FTC's complaints: real numbers, added dirt, uploaded in the week before `today`."""
    rng = random.Random(seed)
    rows = complaints()
    numbers = [row["Company_Phone_Number"] for row in rows]
    dirt: Counter[str] = Counter()

    def soiled(text: str, kinds: Dirt) -> str:
        text, kind = soil(text, rng.getrandbits(31), kinds)
        dirt.update([kind] if kind else ())
        return text

    leads: list[Lead] = []
    for index, row in enumerate(rows):
        number, key = numbers[index], f"FTC-{index:06d}"
        if index and rng.randrange(10_000) < REPEATED_NUMBERS:
            number = numbers[rng.randrange(index)]
            dirt["repeated_number"] += 1
        if index and rng.randrange(10_000) < REPEATED_KEYS:
            key = str(leads[rng.randrange(index)].customer_key)
            dirt["repeated_key"] += 1
        phone1 = soiled(number, NUMBER_DIRT) if _TEN_DIGITS.fullmatch(number) else number
        # A blank first number has a second one half the time, so that falling back matters.
        phone2 = rng.choice(numbers) if rng.random() < (0.12 if phone1.strip() else 0.5) else None
        phone3 = rng.choice(numbers) if rng.random() < 0.04 else None
        list_id = rng.choices((NIGHTLY_LIST, 101, 200), (92, 4, 4))[0]
        uploaded = _upload_time(today, index, list_id, rng)
        status = rng.choice((1, 2, 3, 4)) if rng.random() < 0.3 else None
        answered = status == 1
        attempt = (
            min(uploaded + timedelta(minutes=rng.randrange(1, 600)), midnight(today)) if status else None
        )
        data = {
            "name": f"Lead {index:05d}",
            "subject": soiled(row["Subject"], TEXT_DIRT),
            "state": row["Consumer_State"],
            "areaCode": row["Consumer_Area_Code"],
            "complaintDate": row["Created_Date"],
            "recorded": row["Recorded_Message_Or_Robocall"],
        }
        lead = Lead(
            lead_id=0,
            list_id=list_id,
            customer_key=key,
            timezone=_ZONES.get(row["Consumer_State"], ZONE.key),
            phones=(phone1, phone2, phone3),
            uploaded=uploaded,
            data=data,
            status_code=status,
            agent_id=1001 + index % 3 if answered else None,
            completed=answered and index % 3 == 0,
            last_attempt=attempt,
            next_attempt=attempt + timedelta(days=2) if attempt and not answered else None,
        )
        leads.append(lead)
    source = "FTC complaints of 2021-07-07: real numbers, public domain; formatting dirt added by the sandbox"
    return _numbered(leads, today, source, dirt, seed)


def _upload_time(today: date, index: int, list_id: int, rng: random.Random) -> datetime:
    """Draw when a lead was uploaded: four in five last night, the others in the six nights before."""
    if list_id == NIGHTLY_LIST and index % 2_500 == 0:
        return midnight(
            today
        )  # already the next night: a window that includes its end takes these by mistake
    day = today - timedelta(days=1 if rng.random() < 0.815 else rng.randrange(2, 8))
    second = 0 if rng.random() < 0.002 else rng.randrange(seconds_of(day))
    return midnight(day) + timedelta(seconds=second)


def _numbered(leads: list[Lead], today: date, source: str, dirt: Counter[str], seed: int | None) -> Leads:
    """Give ids in the order of upload, and say what there is."""
    leads.sort(key=lambda lead: lead.uploaded)
    leads = [lead._replace(lead_id=lead_id) for lead_id, lead in enumerate(leads, FIRST_LEAD_ID)]
    nights = Counter(lead.uploaded.astimezone(ZONE).date() for lead in leads if lead.list_id == NIGHTLY_LIST)
    about = {
        "source": source,
        "leads": len(leads),
        "timezone": ZONE.key,
        "night": str(today - timedelta(days=1)),
        "nights": {str(day): nights[day] for day in sorted(nights)},
        "lists": {str(list_id): n for list_id, n in sorted(Counter(lead.list_id for lead in leads).items())},
        "dirt": dict(sorted(dirt.items())),
        "seed": seed,
    }
    return Leads(tuple(leads), about)


# --- a file of the user

_PHONE_NAME: Final = re.compile(
    r"(company|customer|contact|lead|primary|main|home|work|alt|alternate|other|day|evening)*"
    r"(phone|telephone|tel|mobile|cell|cellphone|mobilephone|number|msisdn)(number|no)?[0-9]?"
)
_NAMES: Final = {
    "customerKey": {"customerkey", "key", "id", "customerid", "externid", "externalid", "uniqueid", "leadid"},
    "timezone": {"timezone", "tz"},
    "zip": {"zip", "zipcode", "postcode", "postalcode"},
    "email": {"email", "emailaddress", "mail"},
    "name": {"name", "fullname"},
    "firstName": {"firstname", "givenname", "first"},
    "lastName": {"lastname", "surname", "familyname", "last"},
}


def file_leads(path: Path, today: date) -> Leads:
    """Make leads of a CSV file or a JSON list of objects: all in list 100, uploaded last night, undirtied.

    Columns are known by their common names (docs/sandbox.md); what is not known becomes a free field.
    """
    records = _records(path)
    columns = list(dict.fromkeys(name for record in records for name in record))
    plain = {column: re.sub(r"[^a-z0-9]", "", column.lower()) for column in columns}
    phones = [column for column in columns if _PHONE_NAME.fullmatch(plain[column])][:3]
    if not phones:
        raise LeadFileError(
            f"{path.name}: no column looks like a phone number. Columns seen: {', '.join(columns)}. "
            "Name one of them phone, phone1, number or mobile."
        )
    known: dict[str, str] = {}
    for name, spellings in _NAMES.items():
        column = next((c for c in columns if plain[c] in spellings and c not in phones), None)
        if column is not None:
            known[column] = name
    evening, seconds = midnight(today - timedelta(days=1)), seconds_of(today - timedelta(days=1))
    leads = []
    for index, record in enumerate(records):
        data = {known.get(c, c): v for c, v in record.items() if c not in phones}
        key = _text(data.pop("customerKey", None)) or f"ROW-{index + 1:06d}"
        zone = _text(data.pop("timezone", None)) or ZONE.key
        numbers = [_text(record.get(column)) for column in phones] + [None, None]
        uploaded = evening + timedelta(seconds=index * seconds // len(records))
        leads.append(Lead(0, NIGHTLY_LIST, key, zone, (numbers[0], numbers[1], numbers[2]), uploaded, data))
    return _numbered(leads, today, f"the file {path.name}, as it is", Counter(), None)


def _records(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a CSV or JSON file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LeadFileError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise LeadFileError(f"{path.name}: is not UTF-8. Save it as 'CSV UTF-8' and try again.") from error
    if text.lstrip()[:1] in ("[", "{"):
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise LeadFileError(f"{path.name}: is not valid JSON ({error}).") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise LeadFileError(f"{path.name}: must be a JSON list of objects, one per lead.")
    else:
        header = text.split("\n", 1)[0]
        delimiter = max(",;\t|", key=header.count)
        reader = csv.DictReader(
            io.StringIO(text, newline=""), delimiter=delimiter, restkey="extra", restval=""
        )
        rows = [row for row in reader if any(row.values())]
    if not rows:
        raise LeadFileError(f"{path.name}: holds no rows.")
    return rows


def _text(value: Any) -> str | None:
    """Return a cell as text; numbers as they are written, nothing as None."""
    return None if value is None else str(value)
