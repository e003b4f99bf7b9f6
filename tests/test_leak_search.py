"""The search of the leak proof finds what is planted, wherever and however it is written; and nothing else."""

from __future__ import annotations

import base64
import csv
import json
import sqlite3
from contextlib import closing

import httpx
import pytest

from tests.proof.lib.planted import DOMAIN, FIRST, LAST, STREET, Needles, Parrot, Search, phone, write_leads

SECRET = "KK0f1e2d3c+/4b5a6978="


@pytest.fixture
def needles() -> Needles:
    return Needles([SECRET])


def test_every_lead_of_the_list_is_found_by_each_of_its_cells(needles, tmp_path):
    write_leads(tmp_path / "leads.csv", 50)
    with (tmp_path / "leads.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name in ("phone", "first name", "last name", "name", "e-mail", "street"):
                assert needles.find(row[name].encode()), (name, row[name])
            assert not needles.find(row["state"].encode())


@pytest.mark.parametrize("word", [FIRST, LAST, STREET, DOMAIN, SECRET, "201200"])
@pytest.mark.parametrize("shift", range(3))
def test_inside_base64(needles, word, shift):
    if word != SECRET:
        assert needles.find(base64.b64encode(b"x" * shift + word.encode() + b"0001 and more"))


@pytest.mark.parametrize(
    "text",
    [
        f"Bearer {SECRET}", "KK0f1e2d3c%2B%2F4b5a6978%3D", base64.b64encode(SECRET.encode()).decode(),
        "17%20Marzipan%20Crescent", "marzipan+crescent", "XANTHIPPE", "(201) 200-0001", "+12012000001",
        "201.200.0001", "https://b/f?X-Amz-Signature=0a1b",
    ],
)  # fmt: skip
def test_however_it_is_written(needles, text):
    assert needles.find(text.encode())


def test_what_is_masked_is_no_find(needles):
    for text in (
        "<phone>",
        "…01",
        "https://b/f?<query>",
        "row 20120, 200 rows, 201 kept",
        "X-Amz-Signature=***",
    ):
        assert not needles.find(text.encode())


def test_every_column_of_every_table_and_every_byte_of_a_file(needles, tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("CREATE TABLE xcom (key TEXT, value JSON)")
        database.execute("CREATE TABLE odd (a BLOB, b INTEGER)")
        database.execute("INSERT INTO xcom VALUES ('x', ?)", [json.dumps({"rows": 7})])
        database.commit()
        clean = Search(needles)
        clean.database("others", tmp_path / "a.db", apart={"xcom": "XCom"})
        assert clean.finds == 0 and clean.surfaces["XCom"].size > 0
        database.execute("INSERT INTO odd VALUES (?, ?)", [b"\x80" + LAST.encode(), int(phone(5))])
        database.execute("INSERT INTO xcom VALUES (?, 1)", [f"{FIRST}"])
        database.commit()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_bytes(b"\xff\xfe" + phone(5).encode() + b"\n")
    found = Search(needles)
    found.database("others", tmp_path / "a.db", apart={"xcom": "XCom"})
    found.files("logs", tmp_path / "logs", "*.log")
    counts = {name: len(surface.finds) for name, surface in found.surfaces.items()}
    assert counts == {"XCom": 1, "others": 2, "logs": 1} and found.finds == 4
    assert "XCom" in found.table() and "a.log" in found.table()


def test_the_parrot_repeats_what_it_hears_in_every_way_and_hands_on_the_rest(small_sandbox):
    parrot = Parrot(small_sandbox.base_url)
    told = set()
    try:
        with httpx.Client(base_url=parrot.url, trust_env=False) as client:
            assert client.get("/_sandbox").json()["data"] == small_sandbox.info()["data"]
            parrot.bad = ("/",)
            for _ in Parrot.WAYS:
                answer = client.post(
                    "/_sandbox/clock", content=json.dumps({"now": FIRST}), headers={"X-Key": SECRET}
                )
                told.add((answer.status_code, SECRET in answer.text and FIRST in answer.text))
    finally:
        parrot.close()
    assert {(400, True), (422, True), (500, True), (200, True)} <= told and parrot.said == len(Parrot.WAYS)
