"""How PureCallerID sorts numbers into its counters (contract section 3, PC-5)."""

from __future__ import annotations

import re
import zlib
from typing import Final

from include.sandbox.switches import PureCallerIdSwitches

CLASS_SHARE: Final = 3
"""How many of 1,000 numbers the hash rule calls inactive, and how many it calls dnc."""

_PUNCTUATION: Final = str.maketrans("", "", " ()-.")
_TEN_DIGITS: Final = re.compile(r"[0-9]{10}")


class Classes:
    """Sorts numbers into the counters `valid`, `invalid`, `inactive` and `dnc` (PC-5)."""

    def __init__(self, switches: PureCallerIdSwitches) -> None:
        self._strip = switches.strip_us_prefix
        self._inactive = None if switches.inactive is None else frozenset(switches.inactive)
        self._dnc = None if switches.dnc is None else frozenset(switches.dnc)

    def number(self, text: str) -> str:
        """Return the number without spaces, brackets, hyphens and dots."""
        bare = text.translate(_PUNCTUATION)
        if self._strip:
            bare = bare.removeprefix("+")
            bare = bare.removeprefix("1") if len(bare) == 11 else bare
        return bare

    def of(self, number: str) -> str:
        """Return the counter of a cleaned number."""
        if not _TEN_DIGITS.fullmatch(number):
            return "invalid"
        if _in_class(number, "inactive", self._inactive):
            return "inactive"
        return "dnc" if _in_class(number, "dnc", self._dnc) else "valid"


def _in_class(number: str, name: str, explicit: frozenset[str] | None) -> bool:
    if explicit is not None:
        return number in explicit
    return zlib.crc32(f"{name}:{number}".encode()) % 1_000 < CLASS_SHARE
