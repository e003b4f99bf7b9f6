"""The formatting dirt that the sandbox adds to real numbers, by a repeatable rule.

The FTC's file is cleaner than life: 94 % of its numbers are bare ten digits. About a fifth of those are
rewritten as people write them. Numbers that are odd already stay as they were reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_VANITY: Final = ("CALL", "CASH", "HOME", "HELP")
_EXTENSIONS: Final = (" x{}", " ext. {}", "#{}", " ex {}", ";ext={}")
_BLANKS: Final = ("", "   ", "n/a")

Dirt = dict[str, tuple[int, Callable[[str, int], str]]]

NUMBER_DIRT: Final[Dirt] = {
    "plus_one": (600, lambda n, v: f"+1{n}"),
    "brackets": (500, lambda n, v: f"({n[:3]}) {n[3:6]}-{n[6:]}"),
    "hyphens": (300, lambda n, v: f"{n[:3]}-{n[3:6]}-{n[6:]}"),
    "spaces": (200, lambda n, v: f" {n[:3]} {n[3:6]} {n[6:]} "),
    "extension": (150, lambda n, v: n + _EXTENSIONS[v % 5].format(100 + v // 5 % 900)),
    "dots": (100, lambda n, v: f"{n[:3]}.{n[3:6]}.{n[6:]}"),
    "leading_one": (100, lambda n, v: f"1{n}"),
    "no_break_spaces": (80, lambda n, v: f"{n[:3]}\u00a0{n[3:6]}\u00a0{n[6:]}"),
    "letters": (70, lambda n, v: n[:6] + _VANITY[v % 4]),
    "blank": (50, lambda n, v: _BLANKS[v % 3]),
}
"""Kind of dirt -> how many of 10,000 ten-digit numbers get it, and how a number and a variant make it."""

REPEATED_NUMBERS: Final = 150
"""How many of 10,000 leads carry the number of an earlier lead."""

REPEATED_KEYS: Final = 100
"""How many of 10,000 leads carry the customer key of an earlier lead."""

TEXT_DIRT: Final[Dirt] = {
    "formula": (
        60,
        lambda t, v: ("=1+1", "@SUM(A1:A9)", "-2+3", f'=HYPERLINK("https://example.invalid","{t}")')[v % 4],
    ),
    "control_character": (60, lambda t, v: t + "\x00\x07\x0b\x1f"[v % 4] + " "),
}
"""The same for the free text of a lead."""


def soil(text: str, draw: int, kinds: Dirt) -> tuple[str, str | None]:
    """Return the text as `draw` (a random non-negative integer) dirties it, and the kind of dirt or None."""
    variant, lot = divmod(draw, 10_000)
    for kind, (share, rewrite) in kinds.items():
        if lot < share:
            return rewrite(text, variant), kind
        lot -= share
    return text, None
