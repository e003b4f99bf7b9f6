from __future__ import annotations

import random

import phonenumbers
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.leads.phones import e164, national, to_e164
from include.leads.reasons import REASONS


def by_phonenumbers(raw: str, region: str) -> int | None:
    """What `phonenumbers` says, value by value."""
    try:
        number = phonenumbers.parse(raw, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return int(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:])


def differences(raw: list[str], region: str = "US") -> list[tuple[str, int | None, int | None]]:
    number, reason = to_e164(pl.Series(raw, dtype=pl.String), region)
    assert number.is_null().to_list() == reason.is_not_null().to_list()
    assert set(reason.drop_nulls()) <= REASONS.keys()
    return [
        (text, ours, theirs)
        for text, ours in zip(raw, number, strict=True)
        if ours != (theirs := by_phonenumbers(text, region))
    ]


def test_both_ftc_files_are_read_as_phonenumbers_does(
    ftc_complaints: list[str], ftc_reported: list[str]
) -> None:
    distinct = list(dict.fromkeys(ftc_complaints))
    assert differences(distinct) == []
    assert to_e164(pl.Series(distinct), "US")[0].count() == 11_680
    assert differences(list(dict.fromkeys(ftc_reported))) == []


def test_libphonenumbers_examples_in_every_form(examples: list[tuple[int, str, str]]) -> None:
    assert differences([f"+{code}{number}" for code, _, number in examples]) == []
    assert differences([f"+{code} {number}" for code, _, number in examples], "GB") == []
    assert differences([number for _, _, number in examples]) == []
    by_region: dict[str, list[str]] = {}
    for _, region, number in examples:
        if region in phonenumbers.SUPPORTED_REGIONS:
            by_region.setdefault(region, []).append(number)
    assert len(by_region) > 200
    for region, numbers in by_region.items():
        assert differences(numbers, region) == [], region


def test_a_sample_of_all_exchanges_is_as_phonenumbers_says() -> None:
    """All 1,000 area codes, each with seeded exchanges; `make bench` looks at all 900,000."""
    seed = random.Random(1)
    numbers = [
        f"{area:03}{seed.randrange(1000):03}{seed.randrange(10_000):04}"
        for area in range(1000)
        for _ in range(12)
    ]
    assert differences(numbers) == []
    for region in ("CA", "BS", "AG"):  # these have rules of their own for local numbers
        short = [f"{seed.randrange(10**7):07}" for _ in range(300)]
        assert differences(numbers[::20] + short, region) == [], region


@given(st.lists(st.text("0123456789+-() .xX#;,ext\u00a0１２３?`", max_size=22), max_size=30))
@settings(max_examples=150, deadline=None)
def test_odd_text_is_as_phonenumbers_says(raw: list[str]) -> None:
    assert differences(raw) == []
    assert differences(raw, "GB") == []


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("2025550123", 12025550123),
        ("(202) 555-0123", 12025550123),
        ("+1 202.555.0123", 12025550123),
        ("12025550123", 12025550123),
        ("202\u00a0555\u00a00123", 12025550123),
        ("２０２５５５０１２３", 12025550123),
        ("?2025550123`", 12025550123),
        ("2025550123 x123", 12025550123),
        ("2025550123#9", 12025550123),
        ("18883722468ex1", 18883722468),
        ("1-800-FLOWERS", 18003569377),
        ("+44 20 7946 0018", 442079460018),
        ("+39 02 3661 8300", 390236618300),
    ],
)
def test_how_people_write_numbers(raw: str, number: int) -> None:
    assert to_e164(pl.Series([raw]), "US")[0].to_list() == [number]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "phone_empty"),
        ("", "phone_empty"),
        (" \u00a0\t", "phone_empty"),
        ("-", "phone_empty"),
        ("__________", "phone_masked"),
        ("999xxxx", "phone_masked"),
        ("781558****", "phone_masked"),
        ("Multiple#s", "phone_masked"),
        ("na", "phone_letters"),
        ("401area missing", "phone_letters"),
        ("call 202-555-0123 ask Bob", "phone_letters"),
        ("404-555-1234; 404-555-1235", "phone_several"),
        ("4045551234 or 4045551235", "phone_several"),
        ("833", "phone_too_short"),
        ("5550123", "phone_too_short"),
        ("706287284", "phone_too_short"),
        ("70709081600048", "phone_too_long"),
        ("1" * 300, "phone_too_long"),
        ("+999123456789", "phone_impossible"),
        ("7194301`476", "phone_impossible"),
        ("2031819384", "phone_not_in_service_range"),
        ("+1 203 181 9384", "phone_not_in_service_range"),
        ("2031819384 ext 5", "phone_not_in_service_range"),
    ],
)
def test_each_reject_has_its_reason(raw: str | None, reason: str) -> None:
    number, reasons = to_e164(pl.Series([raw], dtype=pl.String), "US")
    assert (number.to_list(), reasons.to_list()) == ([None], [reason])


def test_seven_digit_310_numbers_are_valid_but_not_ten_digits() -> None:
    number, _ = to_e164(pl.Series(["+13101234", "3105550123", "+442079460018", None]), "US")
    frame = number.to_frame("n").select(e164=e164(pl.col("n")), national=national(pl.col("n")))
    assert frame["e164"].to_list() == ["+13101234", "+13105550123", "+442079460018", None]
    assert frame["national"].to_list() == [None, "3105550123", None, None]


def test_each_row_may_have_its_own_region() -> None:
    raw = pl.Series(["020 7946 0018", "2025550123", "020 7946 0018", "2025550123"])
    number, reason = to_e164(raw, pl.Series(["GB", "US", "US", "Atlantis"]))
    assert number.to_list() == [442079460018, 12025550123, None, None]
    assert reason.to_list()[3] == "phone_region_unknown"
    assert to_e164(raw[:0], raw[:0])[0].dtype == pl.Int64


def test_an_unknown_region_is_refused() -> None:
    with pytest.raises(ValueError, match="'XX' is not a country"):
        to_e164(pl.Series(["2025550123"]), "XX")


def test_the_longest_number_fits() -> None:
    """Int64 holds 19 digits only up to 9.2e18; the two longest plans begin with 62 and 81."""
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        for region in regions:
            if region != "001":
                metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
                longest = max(metadata.general_desc.possible_length)
                assert int(f"{code}{'9' * longest}") < 2**63
