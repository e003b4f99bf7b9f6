"""What an ended import says of each row: the vendor's counts, its errors, and whether the two agree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from include.vendors.platform import Import, RowError

REFUSED = "vendor_row_error"
BROKEN_OFF = "vendor_import_failed"
UNEXPLAINED = "vendor_unexplained"

_PERSONAL = re.compile(r"""(["'`“‘«]).*?["'`”’»]|\S*@\S*|\+?\d[\d\s().-]{3,}\d""")
"""What a message may quote of a lead: anything between quotes, an address, a run of digits."""

LONGEST_DETAIL = 120


@dataclass
class Verdict:
    """Where the rows of one import ended.

    :param named: place in the import -> the vendor's words, for rows that it refused.
    :param problem: why its answers cannot be believed as they are; then the leads themselves are looked up.
    """

    named: dict[int, str] = field(default_factory=dict)
    problem: str | None = None


def judge(done: Import, errors: Sequence[RowError], keys: Sequence[str]) -> Verdict:
    """Join the errors of an import to the rows that were sent, and check them against its counts.

    :param keys: customer keys of the leads of the import, in order. Where an error names a key it is believed, before
        the place it names: keys are ours, and what a place counts from is an assumption (PL-11).
    """
    places = {key: place for place, key in enumerate(keys)}
    verdict, strangers = Verdict(), 0
    for error in errors:
        place = error.index if error.customer_key is None else places.get(error.customer_key)
        if place is None or not 0 <= place < len(keys):
            strangers += 1
        else:
            verdict.named[place] = safe_words(error.message)
    total, created, failed = done.total, done.created, done.failed
    if total is None or created is None or failed is None:
        verdict.problem = "The vendor does not count what its import did."
    elif total != len(keys) or created + failed != total:
        verdict.problem = (
            f"{len(keys)} leads were sent; the vendor counts {total}: {created} created, {failed} failed."
        )
    elif strangers or len(verdict.named) != failed:
        verdict.problem = (
            f"The vendor counts {failed} failed leads and names {len(verdict.named)} of those that were sent"
            + (f", and {strangers} that were not." if strangers else ".")
        )
    return verdict


def safe_words(message: str) -> str:
    """A message of the vendor without what it may quote of a lead."""
    return _PERSONAL.sub("…", message)[:LONGEST_DETAIL].strip()
