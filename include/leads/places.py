"""Where a lead is: country, state and time zones out of its number, its own zone field, its address.

Numbers are looked up in the maps of the installed `phonenumbers`: once for each area code and exchange of North
America (ten digits), once for each calling code whose numbers are all alike, and number by number for the rest. Each
way gives what `phonenumbers` gives (held by tests).
"""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from functools import cache
from typing import Final

import phonenumbers
import polars as pl
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneNumber, PhoneNumberType
from phonenumbers import timezone as number_zones
from phonenumbers.tzdata import TIMEZONE_DATA

from include.leads.packs import packs

_NANP_TEN: Final = (
    12_000_000_000,
    20_000_000_000,
)  # ten digits behind a 1; shorter ones are looked up singly
_LINE: Final = 2345  # stands for any line: no range in service is cut finer than the exchange
_NOWHERE: Final = ("Etc/", "SystemV/")
_NO_PLACE: Final = frozenset(
    {"UTC", "GMT", "UCT", "Zulu", "Universal", "Greenwich", "GMT0", "GMT+0", "GMT-0", "Factory"}
)


@dataclass(frozen=True)
class Place:
    """What a number says of where its owner is.

    :param region: ISO country of the number; None for international services.
    :param parts: codes of the states that its area code belongs to, most often one; empty where nothing is known.
    :param zones: IANA zones of that area or, where `local` is not so, of the whole country.
    :param local: whether the number tells more than the country: it is tied to an area.
    """

    region: str | None
    parts: tuple[str, ...]
    zones: tuple[str, ...]
    local: bool


def keys(number: pl.Series) -> pl.Series:
    """What each Int64 number is looked up by: numbers of one key have the same place. Null stays null."""
    ten = number.is_between(*_NANP_TEN, closed="left").fill_null(value=True)
    key = number // 10_000
    if ten.all():
        return key
    rows = (~ten).arg_true()
    foreign = number.gather(rows).cast(pl.String).to_frame("n")
    code = pl.col("n").str.extract(f"^({'|'.join(map(str, sorted(_alike())))})").cast(pl.Int64)
    return key.scatter(rows, foreign.select(key=pl.coalesce(-code, pl.col("n").cast(pl.Int64)))["key"])


def is_single(key: int) -> bool:
    """Whether a key stands for one number only, so that it is not worth remembering."""
    return key >= 2_000_000 or 0 <= key < 1_000_000


def place_of(key: int) -> Place:
    """The place of a key that `keys` made."""
    if key < 0:
        return _country(-key)
    if is_single(key):
        return _look_up(phonenumbers.parse(f"+{key}"))
    return _look_up(PhoneNumber(country_code=1, national_number=(key - 1_000_000) * 10_000 + _LINE))


def _look_up(number: PhoneNumber) -> Place:
    """Ask `phonenumbers` about one number."""
    zones = number_zones.time_zones_for_number(number)
    zones = () if zones == (number_zones.UNKNOWN_TIMEZONE,) else zones
    kind = phonenumbers.number_type(number)
    calling_code, national = number.country_code or 0, number.national_number or 0
    local = phonenumbers.is_number_type_geographical(kind, calling_code)
    region = phonenumbers.region_code_for_number(number)
    if region == "001" or kind == PhoneNumberType.UNKNOWN:
        region = None
    if not local and calling_code == 1:
        zones = ()  # those of two dozen countries: nothing that a call could go by
    area = national // 10_000_000 if local and calling_code == 1 else 0
    parts = (part for part in _parts_by_area_code().get(area, ()) if region in packs()[part[:2]].regions)
    return Place(region, tuple(parts), zones, local)


@cache
def _country(calling_code: int) -> Place:
    (region,) = COUNTRY_CODE_TO_REGION_CODE[calling_code]
    return Place(region, (), TIMEZONE_DATA[str(calling_code)], local=True)


@cache
def _alike() -> frozenset[int]:
    """Calling codes of one country and one time zone, so that no look-up of a number could say more."""
    longer = {prefix[:digits] for prefix in TIMEZONE_DATA for digits in range(1, len(prefix))}
    return frozenset(
        code
        for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()
        if len(regions) == 1
        and regions != ("001",)
        and str(code) not in longer
        and len(TIMEZONE_DATA.get(str(code), ())) == 1
    )


@cache
def _parts_by_area_code() -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for pack in packs().values():
        for code, part in pack.parts.items():
            for area in part.area_codes:
                found[area] = (*found.get(area, ()), f"{pack.code}-{code}")
    return found


@cache
def part_named(country: str, text: str) -> str | None:
    """The code (US-FL) of a state that an address names, by code or name in any case; None for none of the country."""
    wanted = " ".join(text.upper().split()).removeprefix(f"{country}-")
    for code, part in packs()[country].parts.items():
        if wanted in (code, part.name.upper()):
            return f"{country}-{code}"
    return None


def zones_of_part(part: str) -> tuple[str, ...]:
    """The time zones of a state."""
    country, _, code = part.partition("-")
    return packs()[country].parts[code].zones


@cache
def zone_named(text: str) -> str | None:
    """The IANA zone that a lead's own field names, in any case; None for a text that names no place."""
    return _zones_by_name().get(text.strip().lower().replace(" ", "_"))


@cache
def _zones_by_name() -> dict[str, str]:
    return {
        name.lower(): name
        for name in zoneinfo.available_timezones()
        if not name.startswith(_NOWHERE) and name not in _NO_PLACE
    }
