"""What the last net catches, what it lets through, and which errors may speak."""

from __future__ import annotations

import csv
import gzip
import re
import traceback
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from include.masking import Quietly, Withheld, mask, mask_value, quiet
from include.vendors.errors import UnavailableError

FTC = Path(__file__).parents[2] / "include" / "sandbox" / "data"
SENTENCES = (
    "Row 5: {} was refused.",
    "could not parse `{}` as dtype i64",
    '{{"phone1": "{}", "state": "NJ"}}',
    "number={}, 3 more",
    "[parameters: ('{}', 'NJ')]",
    "{}",
)


def examples():
    kinds = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE, PhoneNumberType.TOLL_FREE)
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in kinds:
            number = phonenumbers.example_number_for_type(region, kind)
            if number is not None:
                yield region, number


def last_digits(text: str) -> str:
    return re.sub(r"\D", "", text)[-4:]


def test_every_country_s_numbers_with_their_code():
    missed, seen = [], 0
    for _, number in examples():
        for shape in (PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.RFC3966):
            written = phonenumbers.format_number(number, shape)
            for sentence in SENTENCES:
                seen += 1
                if last_digits(written) in mask(sentence.format(written)):
                    missed.append((sentence, written))
    assert seen > 10_000 and missed == []


# Five countries whose packs we have: as people there write their numbers.
@pytest.mark.parametrize("region", ["US", "CA", "AU", "ZA", "IN", "GB"])
def test_numbers_as_a_country_writes_them(region):
    for _, number in (found for found in examples() if found[0] == region):
        written = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
        for sentence in SENTENCES:
            assert written not in mask(sentence.format(written))


def test_the_numbers_of_the_sandbox_s_data():
    with gzip.open(FTC / "ftc_dnc_complaints_2021-07-08.csv.gz", "rt", newline="") as opened:
        texts = [cell for row in csv.reader(opened) for cell in row]
    numbers = {n for n in (re.sub(r"\D", "", t) for t in texts) if re.fullmatch(r"[2-9]\d\d[2-9]\d{6}", n)}
    assert len(numbers) > 1000
    for n in sorted(numbers)[::3]:
        area, middle, rest = n[:3], n[3:6], n[6:]
        grouped = (f"({area}) {middle}-{rest}", f"{area}-{middle}-{rest}", f"{area}.{middle}.{rest}")
        for written in (n, f"1{n}", f"+1{n}", *grouped):
            for sentence in SENTENCES[:3]:
                assert n[6:] not in mask(sentence.format(written)), written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ask jane.doe+x@mail.example.com.au now", "ask <email> now"),
        ("GET https://b.s3.amazonaws.com/f.csv?X-Amz-Signature=ab12&X-Amz-Date=1", "GET https://b.s3.amazonaws.com/f.csv?<query>"),
        ('"GET /v3.0/leads?customerKey=Smith HTTP/1.1" 200', '"GET /v3.0/leads?<query> HTTP/1.1" 200'),
        ("POST /listkeeper/callbacks/ozonetel/Zm9vYmFy-_x/ 404", "POST /listkeeper/callbacks/ozonetel/<token>/ 404"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: <key>"),
        ("{'Authorization': 'Key=sesame', 'Host': 'x'}", "{'Authorization': <key>, 'Host': 'x'}"),
        ('{"apiKey": "KK73616e64", "userName": "lk"}', '{"apiKey": <key>, "userName": "lk"}'),
        ("password=hunter2 host=db", "password=<key> host=db"),
        ("X-Api-Key: 8f9a; Signature=deadbeef, x", "X-Api-Key: <key>; Signature=<key>, x"),
        ("postgresql://lk:pa55@db:5432/ledger", "postgresql://<key>@db:5432/ledger"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln back", "got <key> back"),
        ("token q3Ft0y0cUl2dYV5mJ9sN1wA7bR8xK4hE6gP0zT2vLuI was", "token <token> was"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\nNza\n-----END OPENSSH PRIVATE KEY-----.", "<key>."),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow", "<key>"),
        ("to=%2B12015550123&x", "to=<phone>&x"),
        ("call 0061 412 345 678, or 1300 123 456", "call <phone>, or <phone>"),
        ("msisdn 821234567 and phone1: 4123456", "msisdn <phone> and phone1: <phone>"),
        ("+1 (201) 555‑0123 x", "<phone> x"),
    ],
)  # fmt: skip
def test_what_is_hidden(text, shown):
    assert mask(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T12:04:40.123456+00:00 run manual__2026-11-21T02:00:00+00:00_x8sdfQ1w of load_ozonetel__winback",
        "Plan 48291d750012: apply, 10489 rows to send.",
        "10,489 leads came in, 8706 are kept; 1758 25 30 0 0",
        "Batch 7: 500 delivered, 0 refused, after 31.602345 s (epoch 1763712345, 1763712345123).",
        "Lead 102621: sent firstName, phone1.",
        "Load 3f0c9a1e4b7d42aa9d1e6c5b4a392817 of campaign 64be9f5c0c8d4a1f2b3c4d5e",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "runs/load_purecallerid__five9/asset_triggered__2026-11-21T10-52-24-906012-00-00-JFmGEG9U/plan",
        "snapshots/ftc_callers/2026-11-20/1763712345123456789 part-00000.parquet",
        "ti 019a9b1c-7b1e-7c3d-8e4f-0123456789ab on 127.0.0.1:8900, 192.168.100.200",
        "iSales task 100234 of file 3: 8763 new, 0 repeats, 0 failed. VDN 1",
        "Connection platform_default holds no key: put it into the password field.",
        "Vicidial asks us to wait 12.5 s (HTTP 429). Trying again in 20.0 s (1 of 3).",
        "5 requests a minute; the window ends at 18:30 (Africa/Johannesburg, +02:00).",
        "client encrypt: aes128-gcm@openssh.com, aes256-ctr; kex curve25519-sha256@libssh.org, hmac-sha256@ssh.com",
        "Airflow 3.3.2, Python 3.11.2, token: None, 20261120153045",
        "/home/me/.venv/lib/python3.11/site-packages/urllib3/connectionpool.py line 1234 in urlopen",
    ],
)
def test_what_stays_readable(text):
    assert mask(text) == text


@given(st.integers(0, 999_999_999), st.datetimes(), st.uuids())
def test_ids_times_and_uuids_stay(number, moment, one):
    text = f"row {number} at {moment.isoformat()} of {one} ({number:,}; {one.hex})"
    if not re.search(r"\d{9}", one.hex):
        assert mask(text) == text


@given(st.text())
def test_masking_again_changes_nothing(text):
    assert mask(mask(text)) == mask(text)


def test_values_are_masked_inside():
    value = {"a": ["+12015550123", 7, None], "b": {"me@example.com": True}, "path": "runs/x/y"}
    assert mask_value({"by": "me@example.com", "a": [{"by": 1}]}, kept=("by",)) == {
        "by": "me@example.com", "a": [{"by": 1}]
    }  # fmt: skip
    assert mask_value(value) == {"a": ["<phone>", 7, None], "b": {"<email>": True}, "path": "runs/x/y"}


ROW = "Smith, 201 555 0123"


def printed(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_a_library_s_words_about_a_row_are_not_repeated():
    def fails():
        try:
            try:
                int(ROW)
            except ValueError as first:
                raise UnavailableError("x", f"Cannot be read: {ROW}") from first
        except UnavailableError:
            float(ROW)

    with (
        pytest.raises(Withheld, match=r"builtins\.ValueError; its words are withheld") as caught,
        Quietly(),
    ):
        fails()
    text = printed(caught.value)
    assert (
        "UnavailableError: Cannot be read: Smith, <phone>" in text
        and text.count("builtins.ValueError; its") == 2
    )
    assert "in fails" in text  # where it happened stays
    assert "could not convert" not in text and "invalid literal" not in text and "201" not in text
    chain, seen = [caught.value], set()
    while chain:  # what a traceback does not print is there for a tool that walks the chain
        error = chain.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            assert "201" not in str(error)
            chain += [error.__cause__, error.__context__]
    assert len(seen) == 3


def test_our_own_and_the_machine_s_words_stay():
    for error in (
        UnavailableError("x", "Nothing listens."),
        FileNotFoundError(2, "No such file", "part"),
        KeyboardInterrupt(),
    ):
        assert quiet(error) is error
    with pytest.raises(UnavailableError, match="Nothing listens"), Quietly():
        raise UnavailableError("x", "Nothing listens.")


def test_a_value_error_that_we_raise_speaks_and_one_that_meets_us_does_not():
    from include.nights import chosen_night

    with pytest.raises(ValueError, match="write a date such as") as caught:
        chosen_night("yesterday", None)
    assert quiet(caught.value) is caught.value


def test_a_circle_of_causes_ends():
    one, two = ValueError("Jane"), ValueError("Smith")
    one.__cause__, two.__cause__ = two, one
    assert isinstance(quiet(one), Withheld)
