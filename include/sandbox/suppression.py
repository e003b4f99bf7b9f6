"""The demo's suppression list: `python -m include.sandbox.suppression OUT.csv` writes it (`phone,added`).

Its numbers are those that people reported to the FTC on another day; 15 also stand in the file of leads.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
from pathlib import Path
from typing import Final

from include.sandbox.data import DATA

REPORTED: Final = DATA / "ftc_dnc_api_2020-02-14.json.gz"
ADDED: Final = "2020-02-14"
"""The day on which the FTC published them."""


def write_suppression(path: Path) -> int:
    """Write each distinct ten-digit number once, in the FTC's order, and return how many there are."""
    with gzip.open(REPORTED, "rt", encoding="utf-8") as file:
        numbers = dict.fromkeys(row["number"] for row in json.load(file))
    kept = [number for number in numbers if re.fullmatch(r"[0-9]{10}", number)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("phone", "added"))
        writer.writerows((number, ADDED) for number in kept)
    return len(kept)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m include.sandbox.suppression OUT.csv")
    sys.stdout.write(f"{write_suppression(Path(sys.argv[1]))} numbers\n")
