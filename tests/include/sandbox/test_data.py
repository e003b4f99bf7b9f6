"""What leads the sandbox serves: real numbers, stated dirt, the nights; a user's file; synthetic ones; suppression."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from datetime import date, datetime, timedelta

import pytest

from include.sandbox.data import ZONE, LeadFileError, complaints, file_leads, ftc_leads, midnight
from include.sandbox.suppression import write_suppression
from include.sandbox.synthetic import SyntheticLeads

TODAY = date(2026, 11, 21)
YESTERDAY = TODAY - timedelta(days=1)
LEADS = ftc_leads(TODAY, 1)


def bare(number):
    return re.sub(r"[^0-9]", "", number)[-10:]


def test_numbers_are_real():
    real = {row["Company_Phone_Number"] for row in complaints()}
    ten = {number for number in real if re.fullmatch("[0-9]{10}", number)}
    phones = [lead.phones[0] for lead in LEADS.rows]
    assert len(phones) == 14_034
    untouched = sum(phone in real for phone in phones)
    assert 0.75 < untouched / len(phones) < 0.85
    extended = re.compile(r"^([0-9]{10})(?: x| ext\. |#| ex |;ext=)[0-9]{3}$")
    vanity = re.compile(r"^[0-9]{6}[A-Z]{4}$")
    for phone in phones:
        if phone not in real and phone.strip() and phone != "n/a" and not vanity.match(phone):
            match = extended.match(phone)
            assert (match[1] if match else bare(phone)) in ten, phone


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("plus_one", r"\+1[0-9]{10}"),
        ("brackets", r"\([0-9]{3}\) [0-9]{3}-[0-9]{4}"),
        ("hyphens", r"[0-9]{3}-[0-9]{3}-[0-9]{4}"),
        ("spaces", r" [0-9]{3} [0-9]{3} [0-9]{4} "),
        ("dots", r"[0-9]{3}\.[0-9]{3}\.[0-9]{4}"),
        ("no_break_spaces", "[0-9]{3}\u00a0[0-9]{3}\u00a0[0-9]{4}"),
        ("extension", r"[0-9]{10}(?: x| ext\. |#| ex |;ext=)[0-9]{3}"),
        ("letters", "[0-9]{6}[A-Z]{4}"),
        ("blank", r" {3}|n/a|"),
    ],
)
def test_dirt_is_there_as_stated(kind, shape):
    found = sum(bool(re.fullmatch(shape, lead.phones[0])) for lead in LEADS.rows)
    stated = LEADS.about["dirt"][kind]
    assert stated > 40
    assert found >= stated  # life itself adds some


def test_keys_and_numbers_repeat():
    keys = Counter(lead.customer_key for lead in LEADS.rows)
    assert all(keys)
    assert len(LEADS.rows) - len(keys) == LEADS.about["dirt"]["repeated_key"] > 50
    assert len({lead.lead_id for lead in LEADS.rows}) == len(LEADS.rows)


def test_falling_back_matters():
    blank = [lead for lead in LEADS.rows if not lead.phones[0].strip()]
    assert sum(lead.phones[1] is not None for lead in blank) > 200
    assert sum(lead.phones[2] is not None for lead in LEADS.rows) > 300


def test_free_text_is_dirty_in_places():
    subjects = [lead.data["subject"] for lead in LEADS.rows]
    assert (
        sum(subject[:1] in "=@-+" for subject in subjects if subject) == LEADS.about["dirt"]["formula"] > 40
    )
    assert sum(bool(re.search("[\x00-\x1f]", subject)) for subject in subjects) > 40


def test_nights():
    nightly = [lead for lead in LEADS.rows if lead.list_id == 100]
    nights = Counter(lead.uploaded.astimezone(ZONE).date() for lead in nightly)
    assert nights[YESTERDAY] > 10_000
    assert 0.78 < nights[YESTERDAY] / len(nightly) < 0.86
    assert set(nights) == {TODAY - timedelta(days=days) for days in range(8)}
    assert {str(day): n for day, n in nights.items()} == LEADS.about["nights"]
    on_the_edge = {lead.uploaded for lead in nightly} & {midnight(YESTERDAY), midnight(TODAY)}
    assert len(on_the_edge) == 2
    hours = Counter(lead.uploaded.astimezone(ZONE).hour for lead in nightly)
    assert min(hours.values()) > 300
    assert [lead.uploaded for lead in LEADS.rows] == sorted(lead.uploaded for lead in LEADS.rows)


def test_the_seed_decides():
    again = ftc_leads.__wrapped__(TODAY, 1)
    assert again.rows == LEADS.rows
    assert ftc_leads(TODAY, 2).rows != LEADS.rows


@pytest.mark.parametrize("today", [date(2026, 3, 9), date(2026, 11, 2)])
def test_days_when_the_clocks_change(today):
    start, end = midnight(today - timedelta(days=1)), midnight(today)
    night = [lead.uploaded for lead in ftc_leads(today, 1).rows if start <= lead.uploaded < end]
    assert {moment.astimezone(ZONE).date() for moment in night} == {today - timedelta(days=1)}


# --- a file of the user


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "phones"),
    [
        ("phone", 1), ("Phone Number", 1), ("Company_Phone_Number", 1), ("number1,number2", 2), ("MOBILE", 1),
        ("phone1,phone2,phone3,phone4", 3), ("Home Phone;Work Phone", 2), ("cell", 1), ("telephone_no", 1),
    ],
)  # fmt: skip
def test_phone_columns_are_known_by_name(tmp_path, header, phones):
    width = len(re.split("[,;]", header))
    delimiter = ";" if ";" in header else ","
    text = f"{header}\n{delimiter.join(['2012000001'] * width)}\n"
    (lead,) = file_leads(write(tmp_path / "a.csv", text), TODAY).rows
    assert lead.phones == ("2012000001",) * phones + (None,) * (3 - phones)


def test_other_columns(tmp_path):
    header = "Customer ID,Mobile,ZIP Code,E-Mail,tz,Account Number,First Name"
    path = write(
        tmp_path / "a.csv", f"\ufeff{header}\r\n007,(201) 200-0001,07001,a@example.com,America/Denver,5,\r\n"
    )
    (lead,) = file_leads(path, TODAY).rows
    assert (lead.customer_key, lead.phones[0], lead.timezone) == ("007", "(201) 200-0001", "America/Denver")
    assert lead.data == {"zip": "07001", "email": "a@example.com", "Account Number": "5", "firstName": ""}
    assert (lead.list_id, lead.status_code) == (100, None)


def test_json(tmp_path):
    rows = [{"number": 2012000001, "id": 7, "tags": ["a"]}, {"number": None}]
    leads = file_leads(write(tmp_path / "a.json", json.dumps(rows)), TODAY).rows
    assert [(lead.customer_key, lead.phones[0]) for lead in leads] == [
        ("7", "2012000001"),
        ("ROW-000002", None),
    ]
    assert leads[0].data == {"tags": ["a"]}


def test_all_rows_of_a_file_were_uploaded_last_night(tmp_path):
    text = "phone\n" + "2012000001\n" * 1000
    leads = file_leads(write(tmp_path / "a.csv", text), TODAY)
    assert {lead.uploaded.astimezone(ZONE).date() for lead in leads.rows} == {YESTERDAY}
    assert leads.about["nights"] == {str(YESTERDAY): 1000}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,town\nx,y\n", "Columns seen: name, town"),
        ("phone\n", "holds no rows"),
        ("", "holds no rows"),
        ("[1]", "list of objects"),
        ('{"a": 1}', "list of objects"),
        ("[{", "not valid JSON"),
    ],
)
def test_unusable_files_are_refused_with_a_reason(tmp_path, text, complaint):
    with pytest.raises(LeadFileError, match=complaint):
        file_leads(write(tmp_path / "a.csv", text), TODAY)


def test_a_missing_or_foreign_file(tmp_path):
    with pytest.raises(LeadFileError, match="cannot be read"):
        file_leads(tmp_path / "none.csv", TODAY)
    (tmp_path / "a.csv").write_bytes(b"phone\n\xff\n")
    with pytest.raises(LeadFileError, match="not UTF-8"):
        file_leads(tmp_path / "a.csv", TODAY)


# --- synthetic leads


@pytest.mark.parametrize("size", [1, 999, 250_000])
def test_synthetic_windows_are_exact(size):
    leads = SyntheticLeads(size, TODAY)
    start = midnight(YESTERDAY) + timedelta(hours=5)
    end = start + timedelta(minutes=10, milliseconds=300)
    scanned = {lead.lead_id for lead in leads.scan(0, start, end) if start <= lead.uploaded <= end}
    every = {lead.lead_id for lead in leads.scan(0, None, None) if start <= lead.uploaded <= end}
    assert scanned == every
    assert len(list(leads.scan(0, start, end))) == len(every)  # or a window would cost as much as the night


def test_synthetic_leads_look_real():
    leads = list(SyntheticLeads(20_000, TODAY).scan(0, None, None))
    assert [lead.lead_id for lead in leads] == list(range(100_001, 120_001))
    assert SyntheticLeads(20_000, TODAY).get(110_000) == leads[9_999]
    exchanges = {row["Company_Phone_Number"][:6] for row in complaints()}
    ten = [lead.phones[0] for lead in leads if re.fullmatch("[0-9]{10}", lead.phones[0])]
    assert 0.70 < len(ten) / len(leads) < 0.80
    assert {number[:6] for number in ten} <= exchanges
    assert len(set(ten)) / len(ten) > 0.9
    assert all(midnight(YESTERDAY) <= lead.uploaded < midnight(TODAY) for lead in leads)


# --- suppression


def test_the_suppression_list_meets_the_leads(tmp_path):
    path = tmp_path / "new" / "suppression.csv"
    size = write_suppression(path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == size > 9_000
    assert {row["added"] for row in rows} == {"2020-02-14"}
    numbers = {row["phone"] for row in rows}
    assert len(numbers) == size
    reported = [row["Company_Phone_Number"] for row in complaints()]
    assert len(numbers & set(reported)) == 15
    assert sum(number in numbers for number in reported) == 35
    assert datetime.fromisoformat(rows[0]["added"])
