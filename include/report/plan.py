"""What a plan would change and what the guards say: the sections that a person decides by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from include import canary
from include.report import markdown as md
from include.report.reasons import reasons

PLAN_TITLE: Final = "What changes on the list"

_ZONE_FROM: Final = {
    "field": "the lead's own field",
    "number": "its number",
    "address": "its address",
    "country": "its country only: the overlap of all zones there",
    "nothing": "nothing: held",
}

_CONFLICT: Final = {
    "overlap": "they are called only when all of these allow it",
    "first": "the first source was taken",
    "hold": "they are held",
}


def plan_markdown(plan: Mapping[str, Any]) -> str:
    """Return what a plan would change and what the guards say, for a person who must decide."""
    parts = [
        guards(plan),
        unlike(plan),
        changes(plan),
        timing(plan.get("timing") or {}),
        archive(plan.get("archive") or {}),
        samples(plan),
        reasons(plan, {}, []),
        suppression(plan),
        packs(plan),
        calls(plan),
    ]
    return "\n\n".join(part for part in parts if part)


def guards(plan: Mapping[str, Any]) -> str:
    """What the guards refused."""
    refusals = [
        f"**{md.text(refusal['guard'].replace('_', ' '))}**: {md.text(refusal['text'])}"
        for refusal in plan.get("refusals") or []
    ]
    return md.listed("What the guards refused", refusals)


def unlike(plan: Mapping[str, Any]) -> str:
    """What of this night is unlike the nights before."""
    return md.listed(
        "What is unlike other nights", [md.text(warning) for warning in plan.get("warnings") or []]
    )


def changes(plan: Mapping[str, Any]) -> str:
    """What the list holds now and after, and which cells were cleaned."""
    if not plan:
        return ""
    names = ("now", "after", "added", "removed", "changed", "unchanged", "to_send")
    heads = [f"{name.replace('_', ' ')}>" for name in names]
    lines = [md.table(heads, [[md.number(plan.get(name)) for name in names]])]
    if plan.get("now") is None and "archive" not in plan:
        lines.append("What the list held before is not known here: this is the first load of it.")
    if plan.get("to_update"):
        lines.append(
            f"{md.number(plan['to_update'])} leads that are on the list are changed, one by one: in what differs there "
            "from what the flow sends. What somebody else has written into those fields is lost."
        )
    elif plan.get("changed") and plan.get("to_send") == plan.get("added"):
        lines.append(
            f"The {md.number(plan['changed'])} changed rows are held: the list keeps them as they were."
        )
    if first := canary.told(plan):
        lines.append(first)
    if cleaned := {rule: n for rule, n in (plan.get("changes") or {}).items() if n}:
        words = ", ".join(f"{md.text(rule.replace('_', ' '))} {md.number(n)}" for rule, n in cleaned.items())
        lines.append(f"Cells cleaned on the way: {words}.")
    return md.section(PLAN_TITLE, *lines)


def timing(timing: Mapping[str, Any]) -> str:
    """How long a load takes at the vendor's limit, and what fits before its end time."""
    if not timing or not timing["batches"]:
        return ""
    zone = ZoneInfo(str(timing["zone"]))
    told = (
        f"{md.number(timing['batches'])} requests, at most {md.number(timing['calls'])} in "
        f"{timing['window_seconds']:g} s: about {timing['minutes']:g} minutes. Begun "
        f"{md.local(timing['begins'], zone)}, it ends about {md.local(timing['ends'], zone)} if nothing else uses "
        "the account."
    )
    if timing["latest"] is None:
        return md.section("How long it takes", told)
    fits = f"The last request may go out before {md.local(timing['latest'], zone)}: "
    if timing["fits"] == timing["batches"]:
        return md.section("How long it takes", told, fits + "all of them fit.")
    fits += (
        f"{md.number(timing['fits'])} of them fit, with {md.number(timing['rows_that_fit'])} rows. The rest is held "
        "and goes on the next night."
    )
    return md.section("How long it takes", told, fits)


def archive(archive: Mapping[str, Any]) -> str:
    """Which rules picked the leads of an archive, and how long it takes."""
    if not archive:
        return ""
    zone = ZoneInfo(str(archive["zone"]))
    rules = [(f"`{md.code(rule)}`", md.number(rows)) for rule, rows in archive["rules"].items()]
    kept = [
        (md.text(entry["name"]), md.number(entry["rows"]), md.days(entry["age_days"], "unknown"))
        for entry in archive["keep_lists"]
    ]
    times = [
        f"{md.number(archive['batches'])} requests of {archive['seconds_per_call']:g} s each: "
        f"about {archive['minutes']:g} minutes.",
        f"It may begin {md.local(archive['begins'], zone)}; {md.number(archive['fits_first'])} requests fit before the "
        "office opens"
        + (
            f", and it ends about {md.local(archive['ends'], zone)}."
            if archive["ends"]
            else "; the rest takes longer than a year."
        ),
    ]
    if archive["windows"] > 1:
        times.append(f"It takes {archive['windows']} nights.")
    return md.section(
        "What is archived, and when",
        md.table(("rule", "leads>"), rules),
        *([md.table(("keep-list", "entries>", "age>"), kept)] if kept else []),
        " ".join(times),
    )


def samples(plan: Mapping[str, Any]) -> str:
    """A few of the rows that are sent, their phones masked."""
    samples = [
        f"`{md.code(sample['row_key'])}` {md.text(sample['phone'])}"
        for sample in (plan.get("samples") or [])[:5]
    ]
    return (
        md.section("Samples of what is sent", "Row and masked phone: " + ", ".join(samples))
        if samples
        else ""
    )


def suppression(plan: Mapping[str, Any]) -> str:
    """What the leads were held against, and how old it is."""
    table = [
        (
            md.text(entry.get("name")),
            md.number(entry.get("rows")),
            md.number(entry.get("hits")),
            md.days(entry.get("age_days"), "unknown"),
            md.days(entry.get("max_age_days"), "none"),
        )
        for entry in plan.get("suppression") or []
    ]
    heads = ("list", "entries>", "leads found on it>", "age>", "oldest allowed>")
    return md.section("Suppression lists", md.table(heads, table)) if table else ""


def packs(plan: Mapping[str, Any]) -> str:
    """By which rule packs the leads were decided, what told their time zones, and what nobody checked."""
    packs = plan.get("packs") or {}
    if not packs:
        return ""
    told = [
        (md.text(_ZONE_FROM.get(name, name)), md.number(rows)) for name, rows in packs["zone_from"].items()
    ]
    lines = [f"Decided by {md.text(', '.join(packs['packs']))}. Product rules, not legal advice."]
    if packs["conflicts"]:
        lines.append(
            f"Of {md.number(packs['conflicts'])} leads the sources name zones with different clocks; "
            f"{_CONFLICT[packs['zone_conflict']]}."
        )
    if packs["unreadable"]:
        lines.append(
            f"Of {md.number(packs['unreadable'])} leads the own field names no time zone of a place."
        )
    lines += [f"Not checked: {md.text(what)}." for what in packs["unchecked"]]
    return md.section("Rule packs", *lines, md.table(("time zone told by", "leads>"), told))


def calls(plan: Mapping[str, Any]) -> str:
    """What earlier calls the leads were held against."""
    calls = plan.get("calls") or {}
    if not calls:
        return ""
    told = [(f"`{md.code(code)}`", md.number(leads)) for code, leads in sorted(calls["hits"].items())]
    return md.section(
        "Earlier calls",
        f"{md.number(calls['rows'])} calls of {md.number(calls['nights'])} nights of `{md.code(calls['source'])}`, the "
        f"newest as of {md.moment(calls['as_of'])}: {md.number(calls['do_not_call'])} numbers asked not to be called, "
        f"{md.number(calls['dead'])} are out of service.",
        *([md.table(("found", "times>"), told)] if told else []),
    )
