"""What a process of the stack calls its machine: Airflow writes it beside every task that ran there.

All processes of a fleet (`include.stack.fleet`) share one machine in truth, so each is told its name.
"""

from __future__ import annotations

import os
import platform

VARIABLE = "LISTKEEPER_MACHINE"


def name() -> str:
    """Return the name given to this process, by default the machine's own; asks no DNS."""
    return os.environ.get(VARIABLE) or platform.node()
