"""Measure the clean step against the obvious pandas + phonenumbers script, and its memory against more leads.

The clean step is whole: phones, suppression, duplicates, and rule packs with time zones and calling windows. The
script does the same row by row; it knows the federal hours only, so it does less.

`python tests/bench/clean.py [--rows N] [--rounds N] [--json]`; ends with 1 when a target is missed. `--rows
5000000` takes minutes. Every run is a fresh child process, the sides take turns, and the figures are ratios of
medians: seconds differ from machine to machine, ratios hardly do.

The leads are made from the real complaint numbers in `include/sandbox/data`: the area codes and exchanges, and the
share of blanks, odd shapes and repeats, are as in that file; the digits after the sixth are drawn by a seeded
generator, so that a million leads are not fourteen thousand repeated. The suppression list is the other file.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from lib.measuring import Figure, Runs, child, median, run_bench

ROOT = Path(__file__).parents[2]
DATA = ROOT / "include" / "sandbox" / "data"
PART_ROWS = 50_000
REPEATED = 0.15  # share of leads whose number is that of an earlier lead, as in the complaint file


def make_leads(folder: str, rows: int) -> dict[str, float]:
    """Write `rows` leads as Parquet parts, and the same as one CSV for the other side, plus the suppression list."""
    import polars as pl

    from include.leads.schema import LEAD_COLUMNS

    place = Path(folder)
    seed = random.Random(7)
    with gzip.open(DATA / "ftc_dnc_complaints_2021-07-08.csv.gz", "rt", encoding="utf-8", newline="") as file:
        real = [row["Company_Phone_Number"] for row in csv.DictReader(file)]
    place.mkdir(parents=True)
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
        frame.write_parquet(place / f"part-{start // PART_ROWS:05}.parquet")
        with (place / "leads.csv").open("a" if start else "w", encoding="utf-8") as file:
            file.write(frame.write_csv(include_header=not start))
    with gzip.open(DATA / "ftc_dnc_api_2020-02-14.json.gz", "rt", encoding="utf-8") as file:
        listed = [row["number"] for row in json.load(file)]
    (place / "suppression.csv").write_text("\n".join(["phone", *listed]) + "\n", encoding="utf-8")
    return {"rows": rows}


def ours(folder: str) -> dict[str, float]:
    """Run the clean step."""
    from include.leads.clean import clean
    from include.leads.rules import CleanRules, PackRules, SuppressionList

    rules = CleanRules(
        suppression=(SuppressionList(name="ftc", file="suppression.csv"),),
        packs=PackRules(countries=("US", "CA"), calls="live", outside_hours="schedule"),
    )
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        result = clean(sorted(Path(folder).glob("part-*.parquet")), rules, Path(out), base=Path(folder))
        return {"seconds": time.perf_counter() - start, "kept": result.kept}


def obvious(folder: str) -> dict[str, float]:
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
        leads = pd.read_csv(Path(folder) / "leads.csv", dtype=str)
        leads["data"] = leads["data"].map(tidy)
        for field in ("phone1", "phone2", "phone3"):
            leads["number_" + field] = leads[field].map(e164, na_action="ignore")
        leads["phone"] = leads["number_phone1"].fillna(leads["number_phone2"]).fillna(leads["number_phone3"])
        listed = set(pd.read_csv(Path(folder) / "suppression.csv", dtype=str)["phone"].map(e164).dropna())
        usable = leads[leads["phone"].notna() & ~leads["phone"].isin(listed)].copy()
        usable["call_from"] = [call_from(row) for row in usable.itertuples()]
        usable = usable[usable["call_from"].notna()]
        kept = usable.sort_values(["uploaded_at", "row_key"], ascending=False).drop_duplicates("customer_key")
        kept = kept.drop_duplicates("phone")
        kept.to_csv(Path(out) / "kept.csv", index=False)
        leads[~leads["row_key"].isin(kept["row_key"])].to_csv(Path(out) / "rejected.csv", index=False)
        return {"seconds": time.perf_counter() - start, "kept": len(kept)}


def measure(rows: int, rounds: int) -> list[Figure]:
    """The clean step against the obvious script on the same leads, and against itself on a tenth of them."""
    runs: Runs = {"ours": [], "few": [], "obvious": []}
    with tempfile.TemporaryDirectory() as folder:
        many, few = f"{folder}/many", f"{folder}/few"
        for path, count in ((many, rows), (few, rows // 10)):
            child(__file__, "make", folder=path, rows=count)
        for _ in range(rounds):
            runs["ours"].append(child(__file__, "ours", folder=many))
            runs["few"].append(child(__file__, "ours", folder=few))
            runs["obvious"].append(child(__file__, "obvious", folder=many))
    if median(runs, "ours", "kept") != median(runs, "obvious", "kept"):
        raise SystemExit(
            f"the sides disagree: {runs['ours'][0]['kept']} and {runs['obvious'][0]['kept']} kept"
        )
    memory = {side: median(runs, side, "peak_mb") for side in runs}
    return [
        Figure(
            f"time: obvious script / clean step, {rows:,} leads",
            median(runs, "obvious", "seconds") / median(runs, "ours", "seconds"),
            at_least=10,
        ),
        Figure("memory: the same / a tenth of the leads", memory["ours"] / memory["few"], at_most=1.3),
        Figure("memory: clean step / obvious script", memory["ours"] / memory["obvious"], at_most=0.5),
        Figure("memory: clean step, MB", memory["ours"]),
        Figure("time: clean step, s", median(runs, "ours", "seconds")),
        Figure("leads kept by both", median(runs, "ours", "kept")),
    ]


if __name__ == "__main__":
    sides = {"make": make_leads, "ours": ours, "obvious": obvious}
    sys.exit(run_bench("Clean step", __doc__, sides, measure, rows=1_000_000))
