"""Phone numbers as people write them to E.164, with a reason for each that is not usable.

`phonenumbers` decides what is valid. A column is read in two steps: plain North American shapes go through
one regular expression, made when first needed from the metadata of the installed `phonenumbers`; every
distinct other value goes through `phonenumbers` itself. Both steps give what `phonenumbers` gives (held by
tests).

A number is an Int64 of its E.164 digits: country codes never begin with 0, so `"+" + str(number)` is the
E.164 text. `phonenumbers` also takes seven-digit 310 numbers as valid under +1; they stay valid here, but
`national` is empty for them, since ten digits is what North American vendors mean.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import phonenumbers
import polars as pl
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, NumberParseException, PhoneMetadata, ValidationResult

_NANP: Final = 10_000_000_000  # country code 1 in front of ten digits
_SEPARATORS: Final = r"[ ().\-]"
_TYPES: Final = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "personal_number",
    "voip",
    "pager",
    "uan",
    "voicemail",
)

_SEVERAL: Final = re.compile(r"[;,|&/\n]|\b(?:or|and)\b", re.IGNORECASE)
_MASK: Final = re.compile(r"multiple|[x*_#•]{2,}", re.IGNORECASE)
_PARSE_REASONS: Final = {
    NumberParseException.TOO_SHORT_NSN: "phone_too_short",
    NumberParseException.TOO_SHORT_AFTER_IDD: "phone_too_short",
    NumberParseException.TOO_LONG: "phone_too_long",
}
_LENGTH_REASONS: Final = {
    ValidationResult.IS_POSSIBLE: "phone_not_in_service_range",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "phone_too_short",
    ValidationResult.TOO_SHORT: "phone_too_short",
    ValidationResult.TOO_LONG: "phone_too_long",
}


def to_e164(column: pl.Series, region: str | pl.Series) -> tuple[pl.Series, pl.Series]:
    """Read a text column of phones as (number, reason), each as long as the column.

    `number` is Int64, null where unusable; `reason` is a code of `include.leads.reasons`, null where usable.
    An extension is left out of the number. `region` is the ISO country of numbers without a country code, or
    a text column of them. Raises ValueError for a `region` that `phonenumbers` does not know; in a column it
    is a reason.
    """
    if isinstance(region, str):
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(
                f"region {region!r} is not a country that phonenumbers knows: give an ISO code like US"
            )
        return _read(column, region)
    frame = pl.DataFrame({"raw": column, "region": region}).with_row_index("row")
    parts = []
    for (code,), part in frame.group_by("region"):
        if code in phonenumbers.SUPPORTED_REGIONS:
            number, reason = _read(part["raw"], str(code))
        else:
            number = pl.Series([None] * part.height, dtype=pl.Int64)
            reason = pl.Series(["phone_region_unknown"] * part.height, dtype=pl.String)
        parts.append(part.select("row", number=number, reason=reason))
    if not parts:
        return pl.Series("number", [], pl.Int64), pl.Series("reason", [], pl.String)
    read = pl.concat(parts).sort("row")
    return read["number"], read["reason"]


def e164(number: pl.Expr) -> pl.Expr:
    """Return the E.164 text of Int64 numbers, as in +12025550123."""
    return "+" + number.cast(pl.String)


def national(number: pl.Expr) -> pl.Expr:
    """Return the ten digits of North American numbers, null for every other number."""
    return pl.when((number // _NANP) == 1).then(number.cast(pl.String).str.tail(10))


def _read(column: pl.Series, region: str) -> tuple[pl.Series, pl.Series]:
    if column.null_count() == len(column):  # often so for phone2 and phone3
        return pl.repeat(None, len(column), dtype=pl.Int64, eager=True), pl.repeat(
            "phone_empty", len(column), eager=True
        )
    prefix = r"(?:\+?1)?" if region in COUNTRY_CODE_TO_REGION_CODE[1] else r"\+1"
    frame = pl.DataFrame({"raw": column.fill_null("")}).with_columns(
        ten=pl.col("raw").str.replace_all(_SEPARATORS, "").str.extract(f"^{prefix}([2-9][0-9]{{9}})$", 1)
    )
    odd = frame.filter(pl.col("ten").is_null())["raw"].unique()
    read = [_read_one(raw, region) for raw in odd]
    odd_number = pl.Series([number for number, _ in read], dtype=pl.Int64)
    odd_reason = pl.Series([reason for _, reason in read], dtype=pl.String)
    is_odd = pl.col("ten").is_null()
    in_service = pl.col("ten").str.contains(_nanp_pattern())
    frame = frame.select(
        number=pl.when(is_odd)
        .then(pl.col("raw").replace_strict(odd, odd_number, default=None))
        .when(in_service)
        .then(pl.col("ten").cast(pl.Int64) + _NANP),
        reason=pl.when(is_odd)
        .then(pl.col("raw").replace_strict(odd, odd_reason, default=None))
        .when(~in_service)
        .then(pl.lit("phone_not_in_service_range")),
    )
    return frame["number"], frame["reason"]


@cache
def _nanp_pattern() -> str:
    """Return the pattern of all numbers in service under +1, from the installed metadata.

    `phonenumbers` tries 25 regions and up to ten kinds of number for each; one pattern of all is the same answer.
    """
    patterns = set()
    for region in COUNTRY_CODE_TO_REGION_CODE[1]:
        metadata = PhoneMetadata.metadata_for_region(region)
        patterns |= {
            kind.national_number_pattern
            for kind in (getattr(metadata, name) for name in _TYPES)
            if kind is not None and kind.national_number_pattern
        }
    return f"^(?:{'|'.join(sorted(patterns))})$"


def _read_one(raw: str, region: str) -> tuple[int | None, str | None]:
    """Read one phone with `phonenumbers`: (number, None) or (None, reason)."""
    try:
        parsed = phonenumbers.parse(raw, region)
    except NumberParseException as error:
        return None, _words(raw) or _PARSE_REASONS.get(error.error_type) or _by_digits(raw)
    digits = phonenumbers.national_significant_number(parsed)
    if (
        re.fullmatch(_nanp_pattern(), digits)
        if parsed.country_code == 1
        else phonenumbers.is_valid_number(parsed)
    ):
        return int(f"{parsed.country_code}{digits}"), None
    length = phonenumbers.is_possible_number_with_reason(parsed)
    reason = None if parsed.extension else _words(raw)
    return None, reason or _LENGTH_REASONS.get(length, "phone_impossible")


def _words(raw: str) -> str | None:
    """Return the reason of a text that is no single number, None if it may be one."""
    if not any(character.isalnum() for character in raw) and not _MASK.search(raw):
        return "phone_empty"
    if sum(len(re.findall(r"\d", piece)) >= 7 for piece in _SEVERAL.split(raw)) > 1:
        return "phone_several"
    if _MASK.search(raw):
        return "phone_masked"
    if any(character.isalpha() for character in raw):
        return "phone_letters"
    return None


def _by_digits(raw: str) -> str:
    return "phone_too_short" if len(re.findall(r"\d", raw)) < 7 else "phone_impossible"
