"""Plans: what changes against a plain oracle, the payload as the vendor will parse it, and a hash that ties both."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.approval import Approval
from include.flow_files import Recipe
from include.guards import GuardLimits, Refusal
from include.leads.clean import KEPT_COLUMNS
from include.leads.reasons import REASONS
from include.plan import HELD_REASON, Before, PlanError, check_plan, make_plan, masked, plan_hash
from include.settings import PROJECT_ROOT

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
SOURCE_TIME = NOW - timedelta(hours=3)
COLUMNS = (("number1", "phone"), ("key", "customer_key"), ("zip", "data.zip"))
LOOSE = GuardLimits(allow_empty=True, max_shrink_percent=100, min_valid_percent=0)


def recipe(**changes) -> Recipe:
    values = {
        "columns": COLUMNS,
        "phone": "national",
        "replaces": True,
        "updates": False,
        "options": {"d": "x"},
    }
    return Recipe(**(values | changes))


APPEND = recipe(replaces=False)
UPDATE = recipe(replaces=False, updates=True, unique="key")


def lead(number: int, **changes):
    row = dict.fromkeys(KEPT_COLUMNS)
    row |= {
        "row_key": str(number),
        "lead_id": number,
        "customer_key": f"C{number}",
        "phone": f"+1201200{number:04d}",
        "national": f"201200{number:04d}",
        "data": json.dumps({"zip": f"{number:05d}"}),
    }
    return row | changes


def plan(folder: Path, rows, *, recipe=None, before=None, limits=LOOSE, parts=2, decided=None, **changes):
    """Plan these kept leads, cut into parts."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    size = max(1, -(-len(rows) // parts))
    for number, start in enumerate(range(0, max(1, len(rows)), size)):
        kept.append(folder.parent / f"{folder.name}-kept-{number}.parquet")
        pl.DataFrame(rows[start : start + size], schema=KEPT_COLUMNS).write_parquet(kept[-1])
    gone = sum(sum(reasons.values()) for reasons in (decided or {}).values())
    values = {
        "subject": {
            "flow": "f",
            "dag_id": "d",
            "vendor": "v",
            "target": "t",
            "list": "l",
            "mode": "REPLACE",
            "night": "2026-11-20",
            "snapshot": "s",
        },
        "cleaned": {
            "rows_in": len(rows) + gone,
            "decided": decided or {},
            "suppression": [],
            "changes": {},
        },
        "source_time": SOURCE_TIME,
        "action": "apply",
        "limits": limits,
        "now": NOW,
    }
    return make_plan(kept, recipe or globals()["recipe"](), before or Before(), folder, **(values | changes))


def payload(folder: Path) -> list[dict[str, str]]:
    with (folder / "payload.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def keys(folder: Path, name: str = "sent.parquet") -> list[str]:
    return pl.read_parquet(folder / name)["row_key"].to_list()


def held(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in sorted(folder.glob("outcomes-*.parquet"))])


def applied(folder: Path, made) -> Before:
    return Before(rows=made["to_send"], keys=folder / "keys.parquet", plan_hash=made["hash"])


# What is sent


def test_the_first_replace(tmp_path):
    out = tmp_path / "a"
    made = plan(out, [lead(n) for n in range(5)])
    assert made["decision"] == "apply"
    counts = {
        name: made[name] for name in ("now", "after", "added", "changed", "unchanged", "removed", "to_send")
    }
    assert counts == {
        "now": None,
        "after": 5,
        "added": 5,
        "changed": 0,
        "unchanged": 0,
        "removed": 0,
        "to_send": 5,
    }
    assert payload(out) == [
        {"number1": f"201200{n:04d}", "key": f"C{n}", "zip": f"{n:05d}"} for n in range(5)
    ]
    assert keys(out) == [str(n) for n in range(5)]
    assert json.loads((out / "plan.json").read_text()) == made


def test_no_leads_make_a_payload_with_a_header_only(tmp_path):
    out = tmp_path / "a"
    made = plan(out, [])
    assert (out / "payload.csv").read_bytes() == b"number1,key,zip\n"
    assert (made["to_send"], keys(out), held(out).height) == (0, [], 0)


def test_leads_without_ten_digits_are_rejected(tmp_path):
    out = tmp_path / "a"
    made = plan(out, [lead(0), lead(1, national=None), lead(2, national=None), lead(3)])
    assert made["decided"] == {"rejected": {"not_ten_digits": 2}}
    assert (made["kept"], made["to_send"], keys(out)) == (2, 2, ["0", "3"])
    assert held(out).select("row_key", "state", "reason").rows() == [
        ("1", "rejected", "not_ten_digits"),
        ("2", "rejected", "not_ten_digits"),
    ]


def test_an_append_by_unique_id_rejects_leads_without_one(tmp_path):
    """On top of those that the clean step has rejected for the same reason."""
    out = tmp_path / "a"
    rows = [
        lead(0),
        lead(1, customer_key=None),
        lead(2, customer_key=""),
        lead(3, national=None, customer_key=""),
    ]
    made = plan(out, rows, recipe=UPDATE, decided={"rejected": {"key_missing": 4}})
    assert made["decided"] == {"rejected": {"key_missing": 6, "not_ten_digits": 1}}
    assert keys(out) == ["0"]
    assert plan(tmp_path / "b", rows, recipe=APPEND)["to_send"] == 3


def test_the_vendor_has_the_last_word_on_the_cells(tmp_path):
    def shape(leads, cells):
        shaped = cells.with_columns(zip="z" + pl.col("zip"))
        wrong = leads.select(problem=pl.when(pl.col("customer_key") == "C2").then(pl.lit("vendor_rejected")))[
            "problem"
        ]
        return shaped, wrong, {"zip_marked": len(cells)}

    rows = [lead(1), lead(2), lead(3, national=None)]
    made = plan(tmp_path / "a", rows, recipe=recipe(shape=shape))
    assert payload(tmp_path / "a") == [{"number1": "2012000001", "key": "C1", "zip": "z00001"}]
    assert keys(tmp_path / "a") == ["1"]
    assert made["decided"] == {"rejected": {"vendor_rejected": 1, "not_ten_digits": 1}}
    assert dict(held(tmp_path / "a").select("row_key", "reason").iter_rows()) == {
        "2": "vendor_rejected",
        "3": "not_ten_digits",
    }
    assert made["changes"] == {"zip_marked": 3}
    # The shaped cells are what is compared with what stands on the list.
    again = plan(
        tmp_path / "b", rows, recipe=recipe(replaces=False, shape=shape), before=applied(tmp_path / "a", made)
    )
    assert (again["added"], again["unchanged"]) == (0, 1)


@pytest.mark.parametrize(
    "target", ["row_key", "row_hash", "before", "row", "phone", "with,comma", 'with "quote"']
)
def test_target_columns_of_any_name(tmp_path, target):
    out = tmp_path / "a"
    plan(out, [lead(1)], recipe=recipe(columns=(("number1", "phone"), (target, "customer_key"))))
    assert payload(out) == [{"number1": "2012000001", target: "C1"}]


SOURCES = st.sampled_from(["zip", "a b", "a.b", 'a"b', "a'b", "a[0]", "é", "$", "*", "?"])
CELLS = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    st.sampled_from(
        ['"', '""', ",", "\n", "\r\n", "\r", " ", "=1+1", "'", "\ufeff", "\u2028", "null", "\\", "\x1f"]
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    field=SOURCES,
    cells=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
)
def test_the_payload_parses_back_to_exactly_the_rows(field, cells):
    """Whatever stands in a cell: RFC 4180, read by Python's own reader; an empty cell and none are the same."""
    rows = [
        lead(n, customer_key=key, data=None if value is None else json.dumps({field: value, "x": 1}))
        for n, (key, value) in enumerate(cells)
    ]
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "a"
        columns = (("number1", "phone"), ("key", "customer_key"), ("f", f"data.{field}"), ("id", "lead_id"))
        plan(out, rows, recipe=recipe(columns=columns))
        expected = [
            [f"201200{n:04d}", key or "", value or "", str(n)] for n, (key, value) in enumerate(cells)
        ]
        with (out / "payload.csv").open(newline="", encoding="utf-8") as file:
            assert list(csv.reader(file, strict=True)) == [["number1", "key", "f", "id"], *expected]


@pytest.mark.parametrize(
    ("data", "cell"),
    [
        ('{"zip": 7001}', "7001"),
        ('{"zip": true}', "true"),
        ('{"zip": null}', ""),
        ('{"zip": {"a": 1}}', '{"a":1}'),
        ("{}", ""),
        ("[]", ""),
        ("no json", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_free_fields_that_are_no_text(tmp_path, data, cell):
    out = tmp_path / "a"
    plan(out, [lead(1, data=data)])
    assert payload(out)[0]["zip"] == cell


# What changes


@st.composite
def nights(draw):
    """What was applied, and what comes now: leads by key, each with a version of its cells."""
    numbers = st.dictionaries(st.integers(0, 12), st.integers(0, 2), max_size=10)
    return draw(numbers), draw(numbers)


def rows_of(versions):
    return [lead(n, data=json.dumps({"zip": f"v{v}"})) for n, v in versions.items()]


@settings(max_examples=40, deadline=None)
@given(night=nights(), parts=st.integers(1, 3), how=st.sampled_from(["replace", "append", "update"]))
def test_what_changes_is_what_a_plain_loop_finds(night, parts, how):
    old, new = night
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        by = {"replace": recipe(), "append": APPEND, "update": UPDATE}[how]
        before = applied(place / "old", plan(place / "old", rows_of(old), recipe=by))
        if how != "replace":  # an append's list may hold more than it knows of
            before = Before(keys=before.keys, plan_hash=before.plan_hash)
        made = plan(place / "new", rows_of(new), recipe=by, before=before, parts=parts)

        added = [n for n in new if n not in old]
        changed = [n for n in new if n in old and new[n] != old[n]]
        same = [n for n in new if n in old and new[n] == old[n]]
        gone = [n for n in old if n not in new]
        assert (made["added"], made["changed"], made["unchanged"]) == (len(added), len(changed), len(same))
        assert made["removed"] == (len(gone) if how == "replace" else 0)
        goes = {"replace": list(new), "append": added, "update": [n for n in new if n not in same]}[how]
        assert keys(place / "new") == [str(n) for n in goes]
        assert [row["key"] for row in payload(place / "new")] == [f"C{n}" for n in goes]
        assert made["to_send"] == len(goes)
        stays = held(place / "new")
        assert sorted(stays["row_key"], key=int) == sorted((str(n) for n in new if n not in goes), key=int)
        assert set(stays["reason"]) <= {"already_delivered"}
        assert made["held"] == ({"already_delivered": stays.height} if stays.height else {})
        on_list = set(new) if how == "replace" else set(new) | set(old)
        assert sorted(keys(place / "new", "keys.parquet"), key=int) == sorted(map(str, on_list), key=int)
        assert made["after"] == (len(new) if how == "replace" else len(added))
        # A second time there is nothing to do.
        latest = before if made["decision"] == "unchanged" else applied(place / "new", made)
        again = plan(place / "again", rows_of(new), recipe=by, before=latest, parts=parts)
        assert again["decision"] == "unchanged"


def test_a_column_of_another_name_is_a_change(tmp_path):
    made = plan(tmp_path / "a", [lead(1)], recipe=UPDATE)
    renamed = recipe(
        columns=(("number1", "phone"), ("key", "customer_key"), ("zip2", "data.zip")),
        replaces=False,
        updates=True,
        unique="key",
    )
    again = plan(tmp_path / "b", [lead(1)], recipe=renamed, before=applied(tmp_path / "a", made))
    assert (again["changed"], again["to_send"]) == (1, 1)


def test_an_empty_cell_and_none_are_the_vendors_to_tell(tmp_path):
    """For us they differ: the row is sent again rather than left alone."""
    made = plan(tmp_path / "a", [lead(1, customer_key=None)], recipe=recipe(replaces=False, updates=True))
    before = applied(tmp_path / "a", made)
    again = plan(
        tmp_path / "b", [lead(1, customer_key="")], recipe=recipe(replaces=False, updates=True), before=before
    )
    assert again["changed"] == 1


# What is decided


def test_a_replace_is_unchanged_only_after_that_very_plan(tmp_path):
    rows = [lead(n) for n in range(3)]
    made = plan(tmp_path / "a", rows)
    before = applied(tmp_path / "a", made)
    assert plan(tmp_path / "b", rows, before=before)["decision"] == "unchanged"
    touched = Before(rows=3, keys=before.keys, plan_hash=None)  # something else was sent since
    assert plan(tmp_path / "c", rows, before=touched)["decision"] == "apply"
    newer = plan(tmp_path / "d", rows, before=before, source_time=SOURCE_TIME + timedelta(hours=1))
    assert newer["decision"] == "apply"
    assert plan(tmp_path / "e", rows[:2], before=before)["decision"] == "apply"
    assert plan(tmp_path / "f", rows, before=before, action="plan")["decision"] == "unchanged"


def test_an_append_with_nothing_new_is_unchanged_however_new_its_source(tmp_path):
    rows = [lead(n) for n in range(3)]
    before = applied(tmp_path / "a", plan(tmp_path / "a", rows, recipe=APPEND))
    again = plan(
        tmp_path / "b",
        rows,
        recipe=APPEND,
        before=before,
        source_time=SOURCE_TIME + timedelta(hours=2),
        limits=GuardLimits(),
    )
    assert (again["decision"], again["refusals"], again["held"]) == (
        "unchanged",
        [],
        {"already_delivered": 3},
    )


def test_an_append_of_nothing_at_all_is_refused_unless_that_is_allowed(tmp_path):
    strict = plan(tmp_path / "a", [], recipe=APPEND, limits=GuardLimits())
    assert [r["guard"] for r in strict["refusals"]] == ["empty_source"]
    assert plan(tmp_path / "b", [], recipe=APPEND)["decision"] == "unchanged"


def test_guards_refuse_to_apply_and_only_warn_who_plans(tmp_path):
    rows = [lead(n) for n in range(3)]
    old = NOW - timedelta(days=9)
    never = Approval(ask="never")
    refused = plan(tmp_path / "a", rows, limits=GuardLimits(), source_time=old, approval=never)
    asked = plan(tmp_path / "ask", rows, limits=GuardLimits(), source_time=old)
    assert asked["decision"] == "ask" and asked["hash"] != refused["hash"]
    assert (refused["decision"], [r["guard"] for r in refused["refusals"]]) == ("refused", ["stale_source"])
    planned = plan(tmp_path / "b", rows, limits=GuardLimits(), source_time=old, action="plan")
    assert planned["decision"] == "plan_only" and planned["refusals"] == refused["refusals"]
    assert (tmp_path / "b" / "payload.csv").exists()  # to be looked at


def test_refusals_of_the_ledger_come_first(tmp_path):
    made = plan(tmp_path / "a", [], limits=GuardLimits(), extra_refusals=[Refusal("paused", "It is paused.")])
    assert [r["guard"] for r in made["refusals"]] == ["paused", "empty_source"]
    assert made["decision"] == "refused"


def test_suppressed_and_repeated_leads_count_as_fit_to_call(tmp_path):
    decided = {
        "rejected": {"duplicate_key": 2, "duplicate_phone": 1, "phone_letters": 4},
        "suppressed": {"x": 3},
    }
    later = {"held": {"outside_calling_hours": 5, "zone_unknown": 5}}
    assert (
        plan(tmp_path / "c", [lead(0)], decided=later, limits=GuardLimits(min_valid_percent=54))["decision"]
        == "apply"
    )  # 6 of 11
    assert (
        plan(tmp_path / "d", [lead(0)], decided=later, limits=GuardLimits(min_valid_percent=55))["decision"]
        == "ask"
    )
    limits = GuardLimits(min_valid_percent=60)
    fit = plan(tmp_path / "a", [lead(0)], decided=decided, limits=limits)  # 7 of 11
    assert fit["decision"] == "apply"
    limits = GuardLimits(min_valid_percent=64)
    assert plan(tmp_path / "b", [lead(0)], decided=decided, limits=limits)["decision"] == "ask"


def test_the_shrink_is_measured_against_what_was_applied(tmp_path):
    limits = GuardLimits(max_shrink_percent=30)
    before = Before(rows=10)
    assert (
        plan(tmp_path / "a", [lead(n) for n in range(7)], before=before, limits=limits)["decision"] == "apply"
    )
    made = plan(tmp_path / "b", [lead(n) for n in range(6)], before=before, limits=limits)
    assert [r["guard"] for r in made["refusals"]] == ["shrink"]


def test_every_decision_has_a_reason_for_its_rows():
    assert {REASONS[reason].state for reason in HELD_REASON.values()} == {"held"}


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
            ["row_key", "packs"] if name.startswith("sent") else ["row_key", "row_hash"]
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
