"""The report of a run: words for however far it came."""

from __future__ import annotations

from itertools import pairwise

import pytest
from markdown_it import MarkdownIt

from include.leads.reasons import REASONS
from include.report.plan import PLAN_TITLE, plan_markdown
from include.report.reasons import REJECTS_TITLE
from include.report.run import report_markdown

PLAN = {
    "flow": "five9_daily",
    "dag_id": "load_purecallerid__five9_daily",
    "vendor": "purecallerid",
    "target": "purecallerid:64be:ATTEMPT",
    "list": "ATTEMPT|1",
    "mode": "REPLACE",
    "action": "apply",
    "decision": "apply",
    "night": "2026-11-20",
    "source_time": "2026-11-21T10:00:00+10:00",
    "rows_in": 10_000,
    "decided": {
        "rejected": {"phone_too_short": 210, "duplicate_phone": 40},
        "suppressed": {"on_suppression_list": 90},
    },
    "kept": 9660,
    "now": 9500,
    "after": 9660,
    "added": 400,
    "changed": 12,
    "removed": 240,
    "unchanged": 9248,
    "to_send": 9660,
    "held": {},
    "samples": [{"row_key": str(i), "phone": "…12"} for i in range(7)],
    "refusals": [],
    "suppression": [{"name": "dnc_2026", "rows": 5000, "hits": 90, "age_days": 3, "max_age_days": 31}],
    "changes": {"line_break": 3, "formula": 0},
}
SUMMARY = {
    "flow": "five9_daily",
    "rows_in": 10_000,
    "delivered": 9312,
    "rejected": 598,
    "suppressed": 90,
    "held": 0,
    "uncertain": 0,
    "verdict": "delivered",
}
BATCH = {
    "seq": 1,
    "rows": 9660,
    "state": "confirmed",
    "vendor_ref": "64bea|7",
    "vendor_counts": {"valid": 9312, "invalid": 300, "inactive": 48, "dnc": 0, "total": 9660},
    "note": None,
}


def headings(text):
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [after.content for before, after in pairwise(tokens) if before.type == "heading_open"]


def words(code):
    return f"| {REASONS[code].text} | {REASONS[code].fix} |"


def test_a_good_night_reads_verdict_first():
    text = report_markdown(PLAN, SUMMARY, [], [BATCH])
    assert headings(text) == [
        "five9_daily: delivered",
        "Rows",
        PLAN_TITLE,
        REJECTS_TITLE,
        "Suppression lists",
        "What the vendor counted",
        "Samples of what is sent",
        "What to do next",
    ]
    for line in (
        "Night 2026-11-20, data as of 2026-11-21 00:00 UTC, list `ATTEMPT|1`, mode REPLACE, through purecallerid",
        "| delivered | 9,312 | 93.1 % |",
        "| 9,500 | 9,660 | 400 | 240 | 12 | 9,248 | 9,660 |",
        "Cells cleaned on the way: line break 3.",
        "| rejected | `phone_too_short` | 210 " + words("phone_too_short"),
        "| rejected | `vendor_inactive` | 48 " + words("vendor_inactive"),
        "| dnc_2026 | 5,000 | 90 | 3 days | 31 days |",
        "| 1 | confirmed | 9,660 | 9,660 | 9,312 | 300 | 48 | 0 | `64bea\\|7` |  |",
    ):
        assert line in text.splitlines()
    assert text.count("…12") == 5


PACKS = {
    "packs": ["US 2026-11-21", "US-FL 2026-11-21"],
    "zone_from": {"field": 9000, "number": 900, "nothing": 100},
    "conflicts": 12,
    "unreadable": 0,
    "zone_conflict": "overlap",
    "unchecked": ["the do-not-call registry of US (no suppression list has `registry: US`)"],
}


def test_rule_packs_say_what_they_decided_by():
    decided = {**PLAN["decided"], "held": {"outside_calling_hours": 300}}
    plan = PLAN | {"decided": decided, "held": {"already_delivered": 5}, "packs": PACKS}
    text = report_markdown(plan, SUMMARY, [], [BATCH])
    for line in (
        "Decided by US 2026-11-21, US-FL 2026-11-21. Product rules, not legal advice.",
        "Of 12 leads the sources name zones with different clocks; they are called only when all of these allow it.",
        "Not checked: the do-not-call registry of US (no suppression list has \\`registry: US\\`).",
        "| the lead's own field | 9,000 |",
        "| nothing: held | 100 |",
        "| held | `outside_calling_hours` | 300 " + words("outside_calling_hours"),
        "| held | `already_delivered` | 5 " + words("already_delivered"),
    ):
        assert line in text.splitlines()
    assert "Rule packs" not in report_markdown(PLAN | {"packs": None}, SUMMARY, [], [BATCH])


def test_who_must_approve_sees_what_is_unusual():
    plan = PLAN | {"packs": PACKS, "warnings": ["The source has changed: data.x is new."]}
    text = plan_markdown(plan)
    assert "- The source has changed: data.x is new." in text.splitlines()
    assert "## Rule packs" in text.splitlines()
    assert "unlike" not in plan_markdown(PLAN)


def test_earlier_calls_say_what_they_were_held_against():
    calls = {
        "source": "callers_calls",
        "nights": 14,
        "as_of": "2026-11-20T02:00:00+00:00",
        "max_age_hours": 36.0,
        "rows": 12_000,
        "do_not_call": 31,
        "dead": 400,
        "hits": {"number_dead": 12, "asked_not_to_call": 2},
    }
    text = report_markdown(PLAN | {"calls": calls}, SUMMARY, [], [BATCH])
    assert (
        "12,000 calls of 14 nights of `callers_calls`, the newest as of 2026-11-20 02:00 UTC: 31 numbers"
        in text
    )
    assert "| `number_dead` | 12 |" in text.splitlines()
    assert "Earlier calls" not in report_markdown(PLAN | {"calls": None}, SUMMARY, [], [BATCH])


TIMING = {
    "batches": 200,
    "calls": 5,
    "window_seconds": 60.0,
    "minutes": 39.0,
    "begins": "2026-11-21T20:00:00+00:00",
    "ends": "2026-11-21T20:39:00+00:00",
    "latest": "2026-11-21T20:30:00+00:00",
    "zone": "Asia/Kolkata",
    "fits": 150,
    "rows_that_fit": 75_000,
}


def test_a_slow_load_says_how_long_it_takes_and_what_fits():
    text = report_markdown(PLAN | {"timing": TIMING}, SUMMARY, [], [BATCH])
    assert (
        "200 requests, at most 5 in 60 s: about 39 minutes. Begun Sun 2026-11-22 01:30 IST, it ends about "
        "Sun 2026-11-22 02:09 IST if nothing else uses the account."
    ) in text
    assert "before Sun 2026-11-22 02:00 IST: 150 of them fit, with 75,000 rows." in text
    whole = report_markdown(PLAN | {"timing": TIMING | {"fits": 200}}, SUMMARY, [], [BATCH])
    assert "all of them fit" in whole
    free = report_markdown(PLAN | {"timing": TIMING | {"latest": None}}, SUMMARY, [], [BATCH])
    assert "may go out before" not in free and "about 39 minutes" in free
    assert "How long it takes" not in report_markdown(PLAN | {"timing": None}, SUMMARY, [], [BATCH])


def test_a_refused_night_says_why_and_what_to_do():
    refusal = {"guard": "shrink", "text": "The list would shrink from 100 to 3 rows."}
    plan = PLAN | {"decision": "refused", "refusals": [refusal]}
    summary = SUMMARY | {"delivered": 0, "rejected": 250, "held": 9660, "verdict": "refused"}
    text = report_markdown(plan, summary, [], [])
    assert "- **shrink**: The list would shrink from 100 to 3 rows." in text.splitlines()
    assert "| held | `guard_stopped` | 9,660 |" in text
    assert "Correct what the guards name" in text
    assert "What the vendor counted" not in text


def test_uncertain_rows_and_problems_are_named():
    summary = SUMMARY | {"uncertain": 9660, "delivered": 0, "verdict": "uncertain", "load": "27cd86b4" * 4}
    text = report_markdown(PLAN, summary, ["Batch 1: 9,660 of 9,660 rows are uncertain."], [])
    assert "## What speaks against it\n\n- Batch 1: 9,660 of 9,660 rows are uncertain." in text
    assert "9,660 rows are uncertain: look at the list" in text
    assert "`listkeeper resolve 27cd86b4 --delivered`" in text
    assert text.index("## What to do next") < text.index("## Rows"), (
        "somebody reads this at three in the morning"
    )


@pytest.mark.parametrize("summary", [{}, SUMMARY])
def test_a_run_without_a_plan_says_how_far_it_came(summary):
    text = report_markdown({}, summary, [], [])
    assert "did not come as far as a plan" in text
    assert "read the log of the failed task" in text
    assert ("## Rows" in text) == bool(summary)


def test_a_plan_without_an_end_says_so():
    text = report_markdown(PLAN, {}, [], [])
    assert text.startswith("# five9_daily: not ended")
    assert "has not written down how it ended" in text
    assert "## Rows" not in text


def test_what_is_quoted_is_never_markup():
    evil = "a|b <img src=x> [x](http://x) `c` *d*\n# e"
    plan = PLAN | {
        "list": evil,
        "refusals": [{"guard": "x", "text": evil}],
        "samples": [{"row_key": evil, "phone": evil}],
        "suppression": [{"name": evil, "rows": 1, "hits": 0, "age_days": None, "max_age_days": None}],
    }
    text = report_markdown(
        plan, SUMMARY | {"verdict": evil}, [evil], [BATCH | {"note": evil, "vendor_ref": evil}]
    )
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    assert "<img" not in html and "<a " not in html and "<em>" not in html
    assert html.count("<h1>") == 1
    assert html.count("<tr>") == MarkdownIt("commonmark").enable("table").render(
        report_markdown(PLAN | {"refusals": plan["refusals"]}, SUMMARY, ["x"], [BATCH])
    ).count("<tr>")
