"""What a command answers, and how it is laid out for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

GOOD, WRONG = 0, 1


class CommandError(Exception):
    """A command cannot do what it was asked; the message says what to do."""


@dataclass(frozen=True)
class Answer:
    """What a command found: for a script, for a person, and whether all is good."""

    data: Any
    text: str
    good: bool = True


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay rows out in columns, numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(heads), *cells]) for i in range(len(heads))]
    numbers = [
        any(isinstance(row[i], int) and not isinstance(row[i], bool) for row in rows)
        for i in range(len(heads))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        for line in [list(heads), *cells]
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
