"""How long a load takes at the vendor's limit, and what fits before its end time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from include.canary import Canary, sizes
from include.ledger import Pace


def timing(
    rows: int,
    batch_size: int,
    pace: Pace,
    begins: datetime,
    latest: datetime | None,
    *,
    preflight: bool = False,
    canary: Canary | None = None,
) -> dict[str, Any]:
    """How a load runs at the limit, as plain JSON for its plan; times are UTC, the zone is for those who read them.

    :param latest: the load's end time; its zone is the flow's.
    :param preflight: whether one row goes out first; :param canary: more than one. The wait for the callback of either
        is the vendor's, and not counted.
    """
    trial = canary or (Canary(rows=1) if preflight else None)  # type: ignore[call-arg]
    cut = sizes(rows, batch_size, trial)
    batches = len(cut)
    seconds = sum(_gap(number, pace) for number in range(1, batches))
    fits = batches
    if latest is not None:
        room, fits = (latest - begins).total_seconds(), 0
        at = 0.0
        while fits < batches and at < room:
            fits += 1
            at += _gap(fits, pace)
    return {
        "batches": batches,
        "calls": pace.calls,
        "window_seconds": pace.window.total_seconds(),
        "minutes": round(seconds / 60, 1),
        "begins": begins.astimezone(UTC).isoformat(),
        "ends": (begins + timedelta(seconds=seconds)).astimezone(UTC).isoformat(),
        "latest": latest.astimezone(UTC).isoformat() if latest is not None else None,
        "zone": str(latest.tzinfo) if latest is not None else "UTC",
        "fits": fits,
        "rows_that_fit": sum(cut[:fits]),
    }


def _gap(number: int, pace: Pace) -> float:
    """Seconds between call `number` and the next: calls come in bursts, one a window, unless they are spaced."""
    if pace.spacing:
        return max(pace.spacing.total_seconds(), pace.window.total_seconds() / pace.calls)
    return pace.window.total_seconds() if number % pace.calls == 0 else 0.0
