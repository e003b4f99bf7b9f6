"""How long each class of what Listkeeper keeps may stay."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Forever = Literal["forever"]


class KeepDays(BaseModel):
    """Days after which a class goes, or `forever`. What is still needed stays longer, and the report says why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    leads: Annotated[int, Field(ge=2)] | Forever = Field(
        30, description="Snapshots of leads: as long as a night can be delivered and its rejects sent again."
    )
    calls: Annotated[int, Field(ge=2)] | Forever = Field(
        400,
        description="Snapshots of calls. A night that a flow's `clean.calls` looks back at stays whatever stands here; "
        "with `do_not_call` that is every night.",
    )
    working: Annotated[int, Field(ge=7)] | Forever = Field(
        30, description="Working files of a run: kept leads, plan, payload, workbooks, notes."
    )
    rejects: Annotated[int, Field(ge=7)] | Forever = Field(
        90, description="Reports, reject files, and where each row ended (for `explain`)."
    )
    claims: Annotated[int, Field(ge=2)] | Forever = Field(
        30,
        description="Numbers that the lists of an `owner_group` claimed, once no lead of the night is staged.",
    )
    copies: Annotated[int, Field(ge=1)] | Forever = Field(
        7, description="Encrypted copies of what was applied, for `restore_list`."
    )
    uploads: Annotated[int, Field(ge=1)] | Forever = Field(
        7, description="Workbooks on iSales' file server, once their import is settled."
    )
    scrub: Annotated[int, Field(ge=1)] | Forever = Field(
        30, description="Answers of scrub services that no flow's `max_age_days` takes any more."
    )
    erasures: Annotated[int, Field(ge=7)] | Forever = Field(
        30, description="Notes of erasures, and sealed requests that nobody took up. Never the hashes."
    )
    unfinished: Annotated[int, Field(ge=2)] | Forever = Field(
        3, description="What a step that was killed left half written: pages of a pull, hidden files."
    )
    callbacks: Annotated[int, Field(ge=7)] | Forever = Field(
        90, description="What vendors called back about loads that are settled (ledger)."
    )
    history: Annotated[int, Field(ge=90)] | Forever = Field(
        1095, description="Loads and batches (ledger): ids, counts and times. The evidence stays for ever."
    )

    def of(self, kept: str) -> int | None:
        """Days of a class; None for ever."""
        days = getattr(self, kept)
        return None if days == "forever" else int(days)


CLASSES: Final = tuple(KeepDays.model_fields)
"""The classes, in the order in which a report names them."""
