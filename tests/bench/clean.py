"""Measure the clean step against the obvious pandas + phonenumbers script, and its memory against more leads.

The clean step is whole: phones, suppression, duplicates, and rule packs with time zones and calling windows. The
script does the same row by row; it knows the federal hours only, so it does less.

`python tests/bench/clean.py [--rows N] [--rounds N] [--json]`; `--rows 5000000` takes minutes. Every run is a fresh
child process, the sides take turns, and the figures are ratios of medians: seconds differ from machine to machine,
ratios hardly do.

The leads are made from the real complaint numbers in `include/sandbox/data`: the area codes and exchanges, and the
share of blanks, odd shapes and repeats, are as in that file; the digits after the sixth are drawn by a seeded
generator, so that a million leads are not fourteen thousand repeated. The suppression list is the other file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "include" / "sandbox" / "data"
PART_ROWS = 50_000
REPEATED = 0.15  # share of leads whose number is that of an earlier lead, as in the complaint file


def make_leads(folder: Path, rows: int) -> None:
    """Write `rows` leads as Parquet parts, and the same as one CSV for the other side, plus the suppression list."""
    import polars as pl

    sys.path.insert(0, str(ROOT))
    from include.leads.schema import LEAD_COLUMNS

    seed = random.Random(7)
    with gzip.open(DATA / "ftc_dnc_complaints_2021-07-08.csv.gz", "rt", encoding="utf-8", newline="") as file:
        real = [row["Company_Phone_Number"] for row in csv.DictReader(file)]
    folder.mkdir(parents=True)
    numbers: list[str] = []
    for start in range(0, rows, PART_ROWS):
        count = min(PART_ROWS, rows - start)
        phones = []
        for raw in seed.choices(real, k=count):
            raw = raw[:6] + re.sub("[0-9]", lambda _: seed.choice("0123456789"), raw[6:])
            if len(raw) == 10 and raw.isdigit():
                if numbers and seed.random() < REPEATED:
                    raw = seed.choice(numbers)
                elif len(numbers) < 200_000:
                    numbers.append(raw)
                raw = seed.choices((raw, f"({raw[:3]}) {raw[3:6]}-{raw[6:]}", f"+1{raw}"), (90, 7, 3))[0]
            phones.append(raw)
        ids = range(start, start + count)
        frame = pl.DataFrame(
            {
                "row_key": [str(id_) for id_ in ids],
                "lead_id": ids,
                "customer_key": [f"C{id_:09}" for id_ in ids],
                "list_id": [1] * count,
                "campaign_id": [1] * count,
                "timezone": seed.choices(["America/New_York", None], (40, 60), k=count),
                "phone1": phones,
                "phone2": [None] * count,
                "phone3": [None] * count,
                "status_code": [1] * count,
                "agent_id": [None] * count,
                "completed": [False] * count,
                "uploaded": ["2026-11-20T08:00:00Z"] * count,
                "uploaded_at": [1_795_000_000_000_000 + seed.randrange(86_400) * 1_000_000 for _ in ids],
                "last_attempt": [None] * count,
                "next_attempt": [None] * count,
                "data": [f'{{"first":"Ann","zip":"{seed.randrange(100_000):05}"}}' for _ in ids],
            },
            schema_overrides={"uploaded_at": pl.Int64},
        ).cast(dict(LEAD_COLUMNS))
        frame.write_parquet(folder / f"part-{start // PART_ROWS:05}.parquet")
        with (folder / "leads.csv").open("a" if start else "w", encoding="utf-8") as file:
            file.write(frame.write_csv(include_header=not start))
    with gzip.open(DATA / "ftc_dnc_api_2020-02-14.json.gz", "rt", encoding="utf-8") as file:
        listed = [row["number"] for row in json.load(file)]
    (folder / "suppression.csv").write_text("\n".join(["phone", *listed]) + "\n", encoding="utf-8")


def ours(folder: Path) -> dict[str, float]:
    """Run the clean step."""
    sys.path.insert(0, str(ROOT))
    from include.leads.clean import clean
    from include.leads.rules import CleanRules, PackRules, SuppressionList

    rules = CleanRules(
        suppression=(SuppressionList(name="ftc", file="suppression.csv"),),
        packs=PackRules(countries=("US", "CA"), calls="live", outside_hours="schedule"),
    )
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        result = clean(sorted(folder.glob("part-*.parquet")), rules, Path(out), base=folder)
        return {"seconds": time.perf_counter() - start, "kept": result.kept}


def obvious(folder: Path) -> dict[str, float]:
    """Do the same the way a script would: pandas, a function for each value, CSV in and out."""
    from datetime import UTC, datetime, timedelta
    from zoneinfo import ZoneInfo

    import pandas as pd
    import phonenumbers
    from phonenumbers import timezone

    now = datetime.now(UTC)
    countries = {"US", "PR", "VI", "GU", "AS", "MP", "CA"}

    def call_from(row: object) -> str | None:
        """The next quarter of an hour between 8 and 21 on every clock that may be the lead's."""
        number = phonenumbers.parse(row.phone)
        if phonenumbers.region_code_for_number(number) not in countries:
            return None
        zones = set()
        if phonenumbers.is_number_type_geographical(phonenumbers.number_type(number), number.country_code):
            zones = set(timezone.time_zones_for_number(number))
        if isinstance(row.timezone, str):
            clock = now.astimezone(ZoneInfo(row.timezone)).utcoffset()
            agree = clock in {now.astimezone(ZoneInfo(zone)).utcoffset() for zone in zones}
            zones = {row.timezone} if agree else zones | {row.timezone}
        moment = now
        while zones and moment < now + timedelta(days=14):
            if all(8 <= moment.astimezone(ZoneInfo(zone)).hour < 21 for zone in zones):
                return moment.isoformat()
            moment += timedelta(minutes=15)
        return None

    def tidy(text: str) -> str:
        data = json.loads(text)
        for name, value in data.items():
            if isinstance(value, str):
                data[name] = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", value).strip().lstrip("=+-@")
        return json.dumps(data)

    def e164(raw: object) -> str | None:
        try:
            number = phonenumbers.parse(str(raw), "US")
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_valid_number(number):
            return None
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        leads = pd.read_csv(folder / "leads.csv", dtype=str)
        leads["data"] = leads["data"].map(tidy)
        for field in ("phone1", "phone2", "phone3"):
            leads["number_" + field] = leads[field].map(e164, na_action="ignore")
        leads["phone"] = leads["number_phone1"].fillna(leads["number_phone2"]).fillna(leads["number_phone3"])
        listed = set(pd.read_csv(folder / "suppression.csv", dtype=str)["phone"].map(e164).dropna())
        usable = leads[leads["phone"].notna() & ~leads["phone"].isin(listed)].copy()
        usable["call_from"] = [call_from(row) for row in usable.itertuples()]
        usable = usable[usable["call_from"].notna()]
        kept = usable.sort_values(["uploaded_at", "row_key"], ascending=False).drop_duplicates("customer_key")
        kept = kept.drop_duplicates("phone")
        kept.to_csv(Path(out) / "kept.csv", index=False)
        leads[~leads["row_key"].isin(kept["row_key"])].to_csv(Path(out) / "rejected.csv", index=False)
        return {"seconds": time.perf_counter() - start, "kept": len(kept)}


def measure(rows: int = 1_000_000, rounds: int = 3) -> dict[str, float]:
    """Return the ratios: `speedup` (obvious / ours, same leads), `rss_growth` (ours at `rows` / at a tenth)."""
    with tempfile.TemporaryDirectory() as folder:
        many, few = Path(folder) / "many", Path(folder) / "few"
        for path, count in ((many, rows), (few, rows // 10)):
            _child("make", path, count)
        runs: dict[str, list[dict[str, float]]] = {"ours": [], "few": [], "obvious": []}
        for _ in range(rounds):
            runs["ours"].append(_child("ours", many))
            runs["few"].append(_child("ours", few))
            runs["obvious"].append(_child("obvious", many))

    def median(side: str, what: str) -> float:
        return statistics.median(run[what] for run in runs[side])

    if median("ours", "kept") != median("obvious", "kept"):
        raise SystemExit(
            f"the sides disagree: {median('ours', 'kept')} kept, {median('obvious', 'kept')} expected"
        )
    return {
        "rows": rows,
        "rounds": rounds,
        "kept": median("ours", "kept"),
        "speedup": round(median("obvious", "seconds") / median("ours", "seconds"), 1),
        "rss_growth": round(median("ours", "rss_mb") / median("few", "rss_mb"), 3),
        "rss_to_obvious": round(median("ours", "rss_mb") / median("obvious", "rss_mb"), 3),
        "seconds": round(median("ours", "seconds"), 2),
        "rss_mb": round(median("ours", "rss_mb")),
    }


def _child(side: str, folder: Path, rows: int = 0) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", side, str(folder), "--rows", str(rows)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Run one child, or measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        side, folder = options.child[0], Path(options.child[1])
        figures = (
            make_leads(folder, options.rows)
            if side == "make"
            else {"ours": ours, "obvious": obvious}[side](folder)
        )
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**(figures or {}), "rss_mb": rss}))
        return
    figures = measure(options.rows, options.rounds)
    print(
        json.dumps(figures)
        if options.json
        else "\n".join(f"{name}: {value}" for name, value in figures.items())
    )


if __name__ == "__main__":
    main()
