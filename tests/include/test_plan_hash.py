"""A plan is told by its hash, holds no number, and takes no more memory for more leads."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.leads.clean import KEPT_COLUMNS
from include.masking import masked
from include.plan import PlanError, check_plan, plan_hash
from include.settings import PROJECT_ROOT
from tests.include.plans import COLUMNS, NOW, SOURCE_TIME, lead, plan, recipe

# The hash


def test_the_same_leads_make_the_same_plan(tmp_path):
    rows = [lead(n) for n in range(10)]
    first = plan(tmp_path / "a", rows, parts=1)
    again = plan(tmp_path / "b", rows, parts=4, now=NOW + timedelta(minutes=5))
    assert first["hash"] == again["hash"]
    assert (tmp_path / "a" / "payload.csv").read_bytes() == (tmp_path / "b" / "payload.csv").read_bytes()
    text = (tmp_path / "a" / "payload.csv").read_bytes()
    assert first["payload_sha256"] == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"source_time": SOURCE_TIME + timedelta(seconds=1)},
        {"action": "plan"},
        {"recipe": recipe(options={"d": "y"})},
        {"recipe": recipe(columns=COLUMNS[:2])},
        {"recipe": recipe(columns=(*COLUMNS[:2], ("zip2", "data.zip")))},
    ],
)
def test_another_plan_has_another_hash(tmp_path, changes):
    rows = [lead(n) for n in range(3)]
    assert plan(tmp_path / "a", rows)["hash"] != plan(tmp_path / "b", rows, **changes)["hash"]


@pytest.mark.parametrize("key", ["flow", "vendor", "target", "mode", "night"])
def test_the_hash_ties_the_subject(tmp_path, key):
    made = plan(tmp_path / "a", [lead(1)])
    assert plan_hash(made) == made["hash"]
    assert plan_hash({**made, key: "another"}) != made["hash"]


def test_another_lead_another_hash(tmp_path):
    first = plan(tmp_path / "a", [lead(1)])["hash"]
    assert plan(tmp_path / "b", [lead(2)])["hash"] != first
    assert plan(tmp_path / "c", [lead(1), lead(2)])["hash"] != first


def test_a_plan_that_is_not_the_one_decided_on_is_refused(tmp_path):
    out = tmp_path / "a"
    made = plan(out, [lead(1), lead(2)])
    file = out / "payload.csv"
    check_plan(made, file, made["hash"])
    other = plan(tmp_path / "b", [lead(3)])
    for wrong, expected in [
        (other, made["hash"]),
        ({**made, "target": "another"}, made["hash"]),
        ({**made, "decision": "plan_only"}, made["hash"]),
        ({**made, "target": "another", "hash": plan_hash({**made, "target": "another"})}, made["hash"]),
        (made, other["hash"]),
    ]:
        with pytest.raises(PlanError, match="not the plan that was decided on"):
            check_plan(wrong, file, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"0001", b"0009"),
        lambda text: text[:-1],
        lambda text: text + b"2012000005,C5,00005\n",
        lambda text: b"",
    ],
)
def test_a_payload_that_was_changed_is_refused(tmp_path, change):
    out = tmp_path / "a"
    made = plan(out, [lead(1), lead(2)])
    (out / "payload.csv").write_bytes(change((out / "payload.csv").read_bytes()))
    with pytest.raises(PlanError, match="payload is not the one that was planned"):
        check_plan(made, out / "payload.csv", made["hash"])


# Personal data


@given(st.integers(10**6, 10**14))
def test_a_masked_number_shows_two_digits(number):
    assert re.fullmatch(r"…\d{2}", masked(f"+{number}"))


def test_the_plan_holds_no_number(tmp_path):
    made = plan(tmp_path / "a", [lead(n) for n in range(40)], parts=4)
    assert [sample["row_key"] for sample in made["samples"]] == ["0", "1", "2", "3", "4"]
    assert not re.search(r"\d{7}", re.sub(r'"[0-9a-f]{64}"|\.\d+|\d{4}-\d\d-\d\d', "", json.dumps(made)))
    for name in ("sent.parquet", "keys.parquet"):
        assert pl.read_parquet(tmp_path / "a" / name).columns == (
            ["row_key", "packs", "before"] if name.startswith("sent") else ["row_key", "row_hash"]
        )


# Memory

PEAK = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from include.flow_files import Recipe
from include.guards import GuardLimits
from include.plan import Before, make_plan

kept, out, before = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
columns = (("number1", "phone"), ("key", "customer_key"), ("zip", "data.zip"))
subject = dict.fromkeys(("flow", "vendor", "target", "mode", "night"), "x")
cleaned = {"rows_in": 1, "decided": {}, "suppression": [], "changes": {}}
now = datetime.now(UTC)
made = make_plan(sorted(kept.glob("*.parquet"))[: int(sys.argv[4])], Recipe(columns, "national", True, False, {}),
    Before(keys=Path(before) if before else None), out, subject=subject, cleaned=cleaned, source_time=now,
    action="apply", limits=GuardLimits(min_valid_percent=0), now=now)
print(made["to_send"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak(kept: Path, out: Path, parts: int, before: str = "") -> tuple[int, int]:
    """Rows planned and peak memory in MiB, in a process of its own."""
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(kept), str(out), before, str(parts)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT_ROOT,
    )
    rows, megabytes = done.stdout.split()
    return int(rows), int(megabytes)


def test_memory_does_not_grow_with_the_leads(tmp_path):
    """Ten times the leads need no more; ten times the keys of the load before need their hashes."""
    kept = tmp_path / "kept"
    kept.mkdir()
    part = pl.DataFrame([lead(n) for n in range(2_000)], schema=KEPT_COLUMNS)
    for number in range(40):
        pl.concat([part] * 12 + [part.head(1_000)]).with_columns(
            row_key=pl.format("{}", pl.int_range(25_000) + number * 25_000)
        ).write_parquet(kept / f"kept-{number:05d}.parquet")
    small = peak(kept, tmp_path / "small", 4)
    large = peak(kept, tmp_path / "large", 40)
    again = peak(kept, tmp_path / "again", 40, str(tmp_path / "large" / "keys.parquet"))
    assert (small[0], large[0], again[0]) == (100_000, 1_000_000, 1_000_000)
    assert large[1] < 1.25 * small[1], (small, large)
    assert again[1] < 1.25 * small[1] + 50, (small, again)  # 17 bytes a key, and sorting them
