"""Files of fixed rejects as people should not send them: planted people wherever a file has room for one."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from typing import NamedTuple

from openpyxl import Workbook, load_workbook

from tests.proof.lib.planted import DOMAIN, FIRST, LAST, STREET, phone

WHO = f"{FIRST} {LAST}"
MAIL = f"{FIRST.lower()}@{DOMAIN}"
HEAD = ("row_key", "phone1", "customer_key", "data.note")
SHEET = "xl/worksheets/sheet1.xml"


class File(NamedTuple):
    """A file to upload, and what the page should answer."""

    name: str
    content: bytes
    status: int


def keys_of(workbook: bytes) -> list[str]:
    """Row keys of a workbook of rejects to fix."""
    rows = load_workbook(io.BytesIO(workbook)).active.iter_rows(min_row=2, max_col=1, values_only=True)
    return [str(key) for (key,) in rows]


def fixed_files(keys: Sequence[str]) -> list[File]:
    """Files that are refused; one that is taken and of which no row can be used; and, last, one whose rows go out.

    :param keys: of rejected rows, five at least.
    """
    rows = [
        (keys[0], f"+1 {phone(900)}", "", f"{WHO}, {MAIL}"),
        (keys[1], f"call {WHO} on {phone(901)}", MAIL, f"9 {STREET}"),
        (keys[2], f'=HYPERLINK("mailto:{MAIL}","{WHO}")', "", ""),
        (keys[3], phone(902), "", f"{WHO}, 9 {STREET}, " * 200),
        *((keys[4], phone(903), MAIL, WHO) for _ in range(2)),
    ]
    nobody = [
        (f"{WHO} {phone(904)}", phone(904), "", MAIL),
        (MAIL, phone(905), "", WHO),
        ("", phone(906), WHO, MAIL),
    ]
    good = workbook([HEAD, *rows, *nobody])
    return [
        File(f"{WHO} {phone(910)}.docx", good, 400),
        File(f"{WHO}.xlsx", good[: len(good) // 2], 400),
        File(f"{MAIL}.xlsx", workbook(rows), 400),
        File(f"{phone(911)}.csv", table([(*HEAD, f"{WHO} {phone(912)}"), *rows]), 400),
        File(f"{LAST}.csv", table([(*HEAD, f"data.{WHO}", f"data.{WHO}"), *rows]), 400),
        File(f"{FIRST}.csv", table([HEAD, *rows]).replace(STREET.encode(), b"Caf\xe9"), 400),
        File("long.csv", table([HEAD, (keys[0], f"{WHO} {phone(913)} " * 9000, "", "")]), 400),
        *(
            File(f"{LAST}.xlsx", with_cell(good, f"{WHO} {phone(914)}", kind), 400)
            for kind in ("n", "d", "s", "b")
        ),
        File(f"{WHO} {phone(915)}.csv", table([HEAD, *nobody]), 200),
        File(f"{WHO} {phone(916)}, {MAIL}.xlsx", good, 200),
    ]


def workbook(rows: Sequence[Sequence[str]]) -> bytes:
    """A workbook of these rows; what begins with = is a formula."""
    book, content = Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(content)
    return content.getvalue()


def table(rows: Sequence[Sequence[str]]) -> bytes:
    """A CSV of these rows."""
    content = io.StringIO()
    csv.writer(content).writerows(rows)
    return content.getvalue().encode()


def with_cell(book: bytes, text: str, kind: str) -> bytes:
    """The workbook with one more row, whose cell says it is a number (n), date (d), shared text (s) or bool (b)."""
    row = f'<row r="99"><c r="A99" t="{kind}"><v>{text}</v></c></row></sheetData>'
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, part.replace(b"</sheetData>", row.encode()) if name == SHEET else part)
    return content.getvalue()
