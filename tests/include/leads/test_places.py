from __future__ import annotations

import random
import zoneinfo

import phonenumbers
import polars as pl
import pytest
from phonenumbers import timezone as number_zones

from include.leads import packs
from include.leads.phones import to_e164
from include.leads.places import keys, part_named, place_of, zone_named, zones_of_part


def by_phonenumbers(number: int) -> tuple[str | None, tuple[str, ...], bool]:
    """Region, zones, and whether the number is tied to an area, as `phonenumbers` says it of one number."""
    parsed = phonenumbers.parse(f"+{number}")
    zones = number_zones.time_zones_for_number(parsed)
    region = phonenumbers.region_code_for_number(parsed)
    kind = phonenumbers.number_type(parsed)
    local = phonenumbers.is_number_type_geographical(kind, parsed.country_code)
    if zones == ("Etc/Unknown",) or (parsed.country_code == 1 and not local):
        zones = ()  # what is tied to no area of +1 might be in any of two dozen countries
    return (None if region == "001" else region), zones, local


def differences(numbers: list[int]) -> list[int]:
    distinct = [
        n for n in dict.fromkeys(numbers) if phonenumbers.is_valid_number(phonenumbers.parse(f"+{n}"))
    ]
    assert len(distinct) > 0.1 * len(numbers)
    found = {key: place_of(key) for key in keys(pl.Series(distinct, dtype=pl.Int64)).unique()}
    wrong = []
    for number, key in zip(distinct, keys(pl.Series(distinct, dtype=pl.Int64)), strict=True):
        place, (region, zones, local) = found[key], by_phonenumbers(number)
        alike = key < 0  # one zone in the whole country: it tells the zone whatever the kind of number
        if (place.region, place.zones) != (region, zones) or (place.local != local and not alike):
            wrong.append(number)
    return wrong


def test_both_ftc_files_are_placed_as_phonenumbers_does(
    ftc_complaints: list[str], ftc_reported: list[str]
) -> None:
    numbers = to_e164(pl.Series(ftc_complaints + ftc_reported), "US")[0].drop_nulls().unique()
    assert len(numbers) > 15_000
    assert differences(numbers.to_list()) == []


def test_libphonenumbers_examples_are_placed_as_phonenumbers_does(
    examples: list[tuple[int, str, str]],
) -> None:
    assert differences([int(f"{code}{number}") for code, _, number in examples]) == []


def test_random_numbers_are_placed_as_phonenumbers_does() -> None:
    seed = random.Random(2)
    american = [
        int(f"1{seed.randrange(200, 1000)}{seed.randrange(1000):03}{seed.randrange(10_000):04}")
        for _ in range(6_000)
    ]
    abroad = [
        int(f"{code}{seed.randrange(10**digits):0{digits}}")
        for code, digits in ((44, 10), (61, 9), (91, 10), (7, 10), (52, 10), (1310, 4))
        for _ in range(300)
    ]
    assert differences(american) == []
    assert differences(abroad) == []


def test_an_area_code_tells_the_state() -> None:
    places = {
        number: place_of(keys(pl.Series([number]))[0])
        for number in (12125550100, 13055550100, 19025550100, 17875550100, 18005550100, 13101234, 61412345678)
    }
    assert places[12125550100].parts == ("US-NY",)
    assert places[13055550100].parts == ("US-FL",)
    assert places[19025550100].parts == ("CA-NS", "CA-PE")
    assert (places[17875550100].region, places[17875550100].parts) == ("PR", ("US-PR",))
    assert (places[18005550100].zones, places[18005550100].local) == ((), False)
    assert places[61412345678].region == "AU"
    assert len(places[61412345678].zones) > 4
    assert not places[61412345678].local


def test_no_number_has_no_key() -> None:
    assert keys(pl.Series([None, 12125550100, 442079460018], dtype=pl.Int64)).to_list() == [
        None,
        1212555,
        442079460018,
    ]


def test_area_codes_of_the_packs_agree_with_the_installed_map() -> None:
    """Each area code belongs to the country of its pack, and its zones show clocks of the states that share it."""
    seed = random.Random(3)
    for country in ("US", "CA"):
        parts = packs.packs()[country].parts
        assert all(part.area_codes for part in parts.values())
        for area in {area for part in parts.values() for area in part.area_codes}:
            sharing = {f"{country}-{code}": part for code, part in parts.items() if area in part.area_codes}
            # Small territories have few exchanges: then all are tried.
            for exchanges in (seed.sample(range(200, 1000), 40), range(200, 1000)):
                tried = [place_of(1_000_000 + area * 1000 + exchange) for exchange in exchanges]
                if known := [place for place in tried if place.local]:
                    break
            assert known, area
            assert {place.region for place in known} <= set(packs.packs()[country].regions), area
            assert {place.parts for place in known} == {tuple(sharing)}, area
            clocks = {clock(zone) for part in sharing.values() for zone in part.zones}
            assert {clock(zone) for place in known for zone in place.zones} & clocks, area


def clock(zone: str) -> tuple[int, int]:
    """Offset in winter and in summer."""
    from include.leads.windows import offset

    return offset(zone, 1_768_478_400), offset(zone, 1_784_116_800)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("FL", "US-FL"),
        ("fl ", "US-FL"),
        ("Florida", "US-FL"),
        ("new  york", "US-NY"),
        ("US-TX", "US-TX"),
        ("Ontario", None),
        ("", None),
    ],
)
def test_states_of_addresses(text: str, part: str | None) -> None:
    assert part_named("US", text) == part


def test_zones_of_states() -> None:
    assert zones_of_part("US-FL") == ("America/Chicago", "America/New_York")
    assert zones_of_part("AU-NT") == ("Australia/Darwin",)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("America/New_York", "America/New_York"),
        ("america/new york", "America/New_York"),
        (" Australia/Sydney ", "Australia/Sydney"),
        ("US/Eastern", "US/Eastern"),
        ("UTC", None),  # nobody lives there: it is what a system writes that does not know
        ("Etc/GMT+5", None),
        ("GMT", None),
        ("EST (approx.)", None),
        ("+10:00", None),
    ],
)
def test_a_leads_own_zone(text: str, zone: str | None) -> None:
    assert zone_named(text) == zone
    assert zone is None or zone in zoneinfo.available_timezones()
