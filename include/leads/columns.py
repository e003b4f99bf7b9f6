"""The names of a lead's columns, for whoever checks a flow file: their types are in `include.leads.schema`.

Apart from that module because flow files are read while Airflow parses DAGs, and polars is too heavy for that.
"""

from __future__ import annotations

from typing import Final

LEAD_FIELDS: Final = (
    "row_key",
    "lead_id",
    "customer_key",
    "list_id",
    "campaign_id",
    "timezone",
    "phone1",
    "phone2",
    "phone3",
    "status_code",
    "agent_id",
    "completed",
    "uploaded",
    "uploaded_at",
    "last_attempt",
    "next_attempt",
    "data",
)

DERIVED_FIELDS: Final = ("zone", "call_from", "call_until")
"""What rule packs add to a lead: its time zones, and when it may next be called (`include.leads.screening`)."""


def source_problem(source: str) -> str | None:
    """Why a column of a payload cannot come from `source`, None when it can."""
    if "\\" in source:
        return f"{source!r} cannot be read: a field's name must not hold a backslash"
    if (
        source == "phone"
        or source in LEAD_FIELDS
        or source in DERIVED_FIELDS
        or source.removeprefix("data.") not in ("", source)
    ):
        return None
    return f"{source!r} is no source; write phone, data.<field>, or one of {', '.join((*LEAD_FIELDS, *DERIVED_FIELDS))}"
