"""House-keeping's report: per class what goes and what stays, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from include.house.days import CLASSES, KeepDays
from include.house.house import NAMED, Cleaned, HousePlan, Stays
from include.report.markdown import listed, section, table, text

UNIT = 1_000_000


def house_markdown(plan: HousePlan, days: KeepDays, cleaned: Cleaned | None = None) -> str:
    """Return the report of a run in Markdown; `cleaned` is None while nothing was removed."""
    counts: Mapping[str, Mapping[str, int]] = plan.count() if cleaned is None else cleaned.removed
    going = sum(count.get("items", 0) for count in counts.values())
    verdict = (
        "this would go"
        if cleaned is None
        else "house kept"
        if not cleaned.failed
        else "not all could be removed"
    )
    parts = [
        f"# House-keeping: {verdict}",
        f"{going:,} things {'would go; nothing was removed' if cleaned is None else 'are gone'}.",
        section("What goes" if cleaned is None else "What went", overview(plan, days, counts)),
        _why("Old, and still needed", plan.stays),
        _why("Planned to go, but it stays", cleaned.stayed) if cleaned else "",
        listed("What could not be removed", _failed(cleaned)) if cleaned and cleaned.failed else "",
        listed("What to know", [text(note) for note in plan.notes]) if plan.notes else "",
        listed("Unknown, and left alone", [f"`{name}`" for name in plan.unknown[:NAMED]])
        if plan.unknown
        else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def overview(plan: HousePlan, days: KeepDays, counts: Mapping[str, Mapping[str, int]]) -> str:
    """A row per class."""
    old = Counter(stays.kept for stays in plan.stays)
    rows = []
    for kept in CLASSES:
        count, limit = counts.get(kept, {}), days.of(kept)
        rows.append(
            (
                kept,
                "for ever" if limit is None else f"{limit} days",
                f"{count.get('items', 0):,}",
                f"{count.get('pieces', 0):,}",
                f"{count.get('bytes', 0) / UNIT:,.1f}",
                f"{plan.young.get(kept, 0):,}",
                f"{old[kept]:,}",
            )
        )
    return table(("class", "kept", "goes>", "files or rows>", "MB>", "not old enough>", "old, needed>"), rows)


def _why(title: str, stays: Sequence[Stays]) -> str:
    if not stays:
        return ""
    reasons = Counter((entry.kept, entry.why) for entry in stays)
    lines = [f"{kept}, {count:,}: {text(why)}" for (kept, why), count in reasons.most_common(NAMED)]
    if len(reasons) > NAMED:
        lines.append(f"{len(reasons) - NAMED:,} more reasons are in the plan.")
    return listed(title, lines)


def _failed(cleaned: Cleaned) -> list[str]:
    return [f"`{place}`: {text(why)}" for place, why in list(cleaned.failed.items())[:NAMED]]
