"""Which night a run is for."""

from __future__ import annotations

from datetime import date


def chosen_night(form: str | None, partition: str | None) -> date | None:
    """The night that a run is for, None when nobody chose one.

    :param form: what the trigger form says.
    :param partition: the run's partition key.

    Raises ValueError for a text that is no ISO date, and when the two name different nights.
    """
    nights = set()
    for text in filter(None, (form, partition)):
        try:
            nights.add(date.fromisoformat(str(text)))
        except ValueError:
            raise ValueError(f"{text!r} is no night; write a date such as 2026-11-20.") from None
    if len(nights) > 1:
        raise ValueError(
            f"The form says the night {form}, the partition key says {partition}: give only one of them."
        )
    return next(iter(nights), None)
