"""The nights that are played, by name."""

from __future__ import annotations

from tests.crashes.handed_in import HandedIn
from tests.crashes.isales import Isales
from tests.crashes.night import Night
from tests.crashes.ozonetel import Ozonetel
from tests.crashes.platform import Platform
from tests.crashes.purecallerid import PureCallerId
from tests.crashes.vicidial import Vicidial

VENDORS: dict[str, type[Night]] = {
    one.vendor: one for one in (PureCallerId, Ozonetel, Isales, Platform, Vicidial)
}
"""A night of each vendor."""

NIGHTS: dict[str, type[Night]] = {**VENDORS, "handed_in": HandedIn}
"""Those, and the nights on which a list is put back or rejects are sent again."""
