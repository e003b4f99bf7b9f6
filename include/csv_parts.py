"""A part of a CSV file, as it stands: cut between records, every byte of a record kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO


def write_part(source: Path, part: Path, first: int, rows: int | None) -> None:
    """Write the header of a CSV and some of its records into a file of their own.

    :param first: how many records stand before the part.
    :param rows: how many it has; None for all that are left, which costs no more than copying them.
    """
    with source.open("rb") as whole, part.open("wb") as out:
        out.write(_record(whole))
        for _ in range(first):
            _record(whole)
        if rows is None:
            shutil.copyfileobj(whole, out)
        else:
            for _ in range(rows):
                out.write(_record(whole))


def _record(file: BinaryIO) -> bytes:
    """The next record: up to a line end that is not inside quotes."""
    record = file.readline()
    while record.count(b'"') % 2 and (line := file.readline()):
        record += line
    return record
