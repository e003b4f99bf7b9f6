"""What a lead is while it travels: the columns of a snapshot, and of a row's outcome.

A pull writes lead frames, the clean step reads them, and every step that decides over a row writes outcome
frames. Both are Parquet files in a run folder (`include.staging`).
"""

from __future__ import annotations

from typing import Final, Literal

import polars as pl

OutcomeState = Literal["delivered", "rejected", "suppressed", "held", "uncertain"]
"""Where a row ends. Each input row ends as exactly one of these."""

STATES: Final[tuple[OutcomeState, ...]] = ("delivered", "rejected", "suppressed", "held", "uncertain")

LEAD_COLUMNS: Final[dict[str, pl.DataType]] = {
    "row_key": pl.String(),  # unique in a snapshot; for the Platform API the leadId
    "lead_id": pl.Int64(),
    "customer_key": pl.String(),
    "list_id": pl.Int64(),
    "campaign_id": pl.Int64(),
    "timezone": pl.String(),
    "phone1": pl.String(),
    "phone2": pl.String(),
    "phone3": pl.String(),
    "status_code": pl.Int64(),
    "agent_id": pl.Int64(),
    "completed": pl.Boolean(),
    "uploaded": pl.String(),  # as the vendor wrote it
    "uploaded_at": pl.Datetime("us", "UTC"),
    "last_attempt": pl.String(),
    "next_attempt": pl.String(),
    "data": pl.String(),  # the lead's free fields, one JSON object as text
}

CALL_COLUMNS: Final[dict[str, pl.DataType]] = {
    "call_key": pl.String(),  # unique; for the Platform API the attemptId
    "lead_id": pl.Int64(),
    "phone": pl.String(),  # as the vendor wrote it
    "called_at": pl.Datetime("us", "UTC"),
    "dial_status_id": pl.Int64(),
    "dial_status": pl.String(),  # in the vendor's words, such as Answered
    "wrap_code": pl.Int64(),
    "wrap": pl.String(),  # what the agent said of the call, in the vendor's words
    "inbound": pl.Boolean(),  # true: the customer called us, so it is no attempt of ours
}
"""A call that was made: the columns of a snapshot of calls (`snapshots/<source>/<night>`, part-*.parquet)."""

SCREENED_COLUMNS: Final[dict[str, pl.DataType]] = {
    "zone": pl.String(),  # IANA time zones of the lead, with blanks between several
    "call_from": pl.String(),  # when it may next be called, as the flow's `packs.time_format` writes it
    "call_until": pl.String(),  # the end of that window, likewise
    "packs": pl.String(),  # the rules that it was decided by: code and version of each pack
}
"""What a flow with rule packs adds to every kept lead."""

OUTCOME_COLUMNS: Final[dict[str, pl.DataType]] = {
    "row_key": pl.String(),
    "state": pl.String(),
    "reason": pl.String(),  # a code of include.leads.reasons
    "detail": pl.String(),  # a few words for a person; never a phone, a name or an address
    "batch": pl.Int64(),  # sequence of the batch it went out with, null when it never did
}
