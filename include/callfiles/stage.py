"""Writes a plan's payload as workbooks into a run folder, once: each file is one batch of the load."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from include.canary import Canary, first_size, option
from include.ledger import BatchPlan
from include.staging import Manifest, RunFolder
from include.vendors.isales_rows import COLUMNS, PRIORITY
from include.workbooks import csv_frames, write_workbooks


@dataclass(frozen=True)
class CallFile:
    """One workbook: its place among the load's, its name at the vendor, its records, and SHA-256."""

    seq: int
    name: str
    rows: int
    sha256: str


def headers(columns: Iterable[str]) -> Mapping[str, str]:
    """The template's columns and headers for rows that have these columns; `priority` only when it is among them."""
    return {**COLUMNS, **PRIORITY} if set(PRIORITY) & set(columns) else COLUMNS


def stage_payload(
    payload: Path,
    payload_sha256: str,
    out: RunFolder,
    stem: str,
    max_rows: int,
    canary: Canary | None = None,
) -> list[CallFile]:
    """Write the workbooks of a payload into a run folder; one that holds them already is left as it is.

    :param payload: CSV with the template's columns by their short names.
    :param stem: what the files' names begin with.
    :param max_rows: records of one file.
    :param canary: whose rows have a file of their own, the first.
    """
    asked = {"payload_sha256": payload_sha256, "stem": stem, "max_rows": max_rows, **option(canary)}
    if out.exists() and {name: out.manifest().facts.get(name) for name in asked} == asked:
        return [CallFile(**entry) for entry in out.manifest().facts["files"]]
    with out.writing() as scratch:
        columns = pl.scan_csv(payload, infer_schema=False, glob=False).collect_schema().names()
        first = first_size(max_rows, canary)
        books = write_workbooks(csv_frames(payload), headers(columns), scratch, stem, max_rows, first)
        files = [
            CallFile(number, book.path.name, book.rows, book.sha256) for number, book in enumerate(books, 1)
        ]
        facts = {**asked, "files": [asdict(file) for file in files]}
        out.commit(scratch, Manifest(kind="workbooks", rows=sum(file.rows for file in files), facts=facts))
    return files


def batch_plans(files: Sequence[CallFile], payload_sha256: str) -> list[BatchPlan]:
    """One batch per file. Its fingerprint is of the rows: written again, a workbook differs by its date."""
    plans, start = [], 0
    for file in files:
        rows = f"{payload_sha256}:{start}:{file.rows}"
        plans.append(BatchPlan(file.seq, file.rows, hashlib.sha256(rows.encode()).hexdigest()))
        start += file.rows
    return plans
