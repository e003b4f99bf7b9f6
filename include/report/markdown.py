"""Markdown of a report: sections, tables, and words in which nothing is markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

MARKUP: Final = re.compile(r"[\\`*{}\[\]<>#|~!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Characters that Markdown takes for markup. A _ inside a word is none."""


def section(title: str, *parts: str) -> str:
    """A section with its heading; parts that are all points of a list stand close."""
    points = all(part.startswith("- ") for part in parts)
    return f"## {title}\n\n" + ("\n" if points else "\n\n").join(parts)


def listed(title: str, lines: Sequence[str]) -> str:
    """A section of points, nothing without any."""
    return section(title, *(f"- {line}" for line in lines)) if lines else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; heads that end in > are columns of numbers."""
    lines = [
        "| " + " | ".join(head.removesuffix(">") for head in heads) + " |",
        "| " + " | ".join("---:" if head.endswith(">") else "---" for head in heads) + " |",
    ]
    # A pipe ends a cell even between backticks.
    lines += ["| " + " | ".join(re.sub(r"(?<!\\)\|", r"\|", cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def text(value: object) -> str:
    """Words for Markdown: one line, and nothing in them is markup."""
    return MARKUP.sub(lambda found: f"\\{found[0]}", " ".join(str(value).split()))


def code(value: object) -> str:
    """Words to stand between backticks."""
    return " ".join(str(value).replace("`", "'").split())


def number(value: object) -> str:
    """A count with commas; ? where it is not known."""
    return f"{value:,}" if isinstance(value, int) else "?" if value is None else text(value)


def share(count: object, total: object) -> str:
    """A part of a total in percent, nothing where either is not known."""
    if not isinstance(count, int) or not isinstance(total, int) or not total:
        return ""
    return f"{100 * count / total:.1f} %"


def days(value: float | None, missing: str) -> str:
    """An age in days."""
    return missing if value is None else f"{value:g} days"


def local(value: str, zone: ZoneInfo) -> str:
    """A time in ISO 8601, for people in a zone: to the minute."""
    return f"{datetime.fromisoformat(value).astimezone(zone):%a %Y-%m-%d %H:%M %Z}"


def moment(value: str) -> str:
    """A time in ISO 8601, for people: in UTC, to the minute."""
    return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
