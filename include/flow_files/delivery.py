"""What every flow that writes to a vendor's list has in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from include.approval import Approval
from include.canary import Canary
from include.flow_files.base import FlowFile, Name, Text
from include.guards import GuardLimits
from include.leads.columns import DERIVED_FIELDS, source_problem
from include.leads.rules import CleanRules

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Recipe:
    """What a flow wants sent, and how its vendor takes it; what a plan is made by.

    :param columns: target column and source of each, in order; sources are `phone`, a lead column or `data.<field>`.
    :param phone: column of the kept leads that holds numbers in the form the vendor takes; a lead without one is
        rejected as `not_ten_digits`.
    :param replaces: whether the load empties the list first.
    :param updates: whether a lead that is sent again updates its old self instead of standing there twice.
    :param unique: target column by which an append updates; a lead without a value there is rejected as
        `key_missing`, because it would stand there twice.
    :param shape: the vendor's own last word on the cells, before they are compared and sent. Takes the kept leads and
        their cells (text, one column per target, same order of rows); returns the cells as they go out (the same
        columns for every piece), a reason per row (null: the row can be sent), and how many rows were changed, by rule.
    :param apart: whether changed rows go by another call than new ones: then they come last, and no batch holds both.
    :param resends: whether rows that are on the list as they are go again.
    :param options: everything else that changes what the vendor does; part of the plan's hash.
    """

    columns: tuple[tuple[str, str], ...]
    phone: Literal["national", "phone"]
    replaces: bool
    updates: bool
    options: dict[str, Any]
    unique: str | None = None
    apart: bool = False
    resends: bool = False
    shape: Callable[[pl.DataFrame, pl.DataFrame], tuple[pl.DataFrame, pl.Series, dict[str, int]]] | None = (
        None
    )

    @property
    def sends_all(self) -> bool:
        """Whether every row goes, also one that stands on the list as it is."""
        return self.replaces or self.resends


class Column(BaseModel):
    """One column of what is sent: where its values come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Text = Field(description="Id of the target column in the dialer, such as number1.")
    source: Text = Field(
        alias="from",
        description="`phone` (the cleaned number), a lead column such as customer_key, data.<field>, or with rule "
        "packs zone, call_from or call_until.",
    )

    @field_validator("source")
    @classmethod
    def _known_source(cls, value: str) -> str:
        if problem := source_problem(value):
            raise ValueError(problem)
        return value


class ReleasedBackfill(BaseModel):
    """Nights whose backfill may write. It stands in the flow file, so that no run's parameters can bring or lose it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_night: date = Field(description="First night that may be written.")
    last_night: date = Field(description="Last night that may be written.")
    until: date = Field(description="Last day (UTC) on which it may; afterwards backfills only plan again.")

    @model_validator(mode="after")
    def _in_order(self) -> ReleasedBackfill:
        if self.last_night < self.first_night:
            raise ValueError("last_night: must not be before first_night")
        return self

    def covers(self, night: str, today: date) -> bool:
        """Whether a backfill of this night may write today."""
        return self.first_night <= date.fromisoformat(night) <= self.last_night and today <= self.until


class Delivery(FlowFile):
    """What every flow that writes to a vendor's list has in common."""

    vendor: ClassVar[str]
    """Name of the vendor that is called."""

    source: Name = Field(description="Name of the source whose snapshot is delivered.")
    clean: CleanRules = Field(CleanRules(), description="How leads are cleaned.")  # type: ignore[call-arg]
    owner_group: Name | None = Field(
        None,
        description="Lists that share this name call each number from one list a night: a number that another list of "
        "the group has claimed is held (docs/hygiene.md).",
    )
    priority: int = Field(
        100,
        ge=1,
        description="Which list of the group chooses first: the lowest number; among equals the first DAG id.",
    )
    priority_wait_minutes: int = Field(
        120,
        ge=0,
        le=1440,
        description="How long a run waits for the released lists of the group that choose before it.",
    )
    priority_missing: Literal["stop", "go_on"] = Field(
        "stop",
        description="When one of them has still not chosen. stop: the run fails. go_on: the run takes what is free; "
        "the late list then holds those numbers.",
    )
    guards: GuardLimits = Field(GuardLimits(), description="When nothing may be written.")  # type: ignore[call-arg]
    approval: Approval = Field(Approval(), description="When a person must approve a plan.")  # type: ignore[call-arg]
    canary: Canary | None = Field(
        None,
        description="A small part that goes first, alone; the rest follows when the vendor's counts of it are good. "
        "`{}` for the defaults; left out: no canary.",
    )
    released: bool = Field(
        False,
        description="false: every run only plans and holds its rows. true: scheduled runs deliver.",
    )
    released_backfill: ReleasedBackfill | None = Field(
        None,
        description="Which backfilled nights are delivered too. Left out: what follows a backfill only plans.",
    )
    columns: tuple[Column, ...] = Field(min_length=1, description="Columns to send, in order.")

    @model_validator(mode="after")
    def _what_packs_add(self) -> Delivery:
        derived = {column.source for column in self.columns} & set(DERIVED_FIELDS)
        if derived and self.clean.packs is None:
            raise ValueError(
                f"columns: {', '.join(sorted(derived))} needs rule packs; say which under clean.packs"
            )
        if self.clean.packs and self.clean.packs.outside_hours == "schedule" and not derived - {"zone"}:
            raise ValueError(
                "clean.packs.outside_hours: schedule needs a column from call_from or call_until, or the leads would "
                "be called at any hour; map one, or write hold"
            )
        return self

    @property
    def mapping(self) -> tuple[tuple[str, str], ...]:
        """Target column and source of each, in order."""
        return tuple((column.to, column.source) for column in self.columns)

    @property
    def targets(self) -> list[str]:
        """Target columns, in order."""
        return [column.to for column in self.columns]

    def need_clean_phone(self, target: str) -> None:
        """Raise ValueError when the column that is called comes from anything but the cleaned number."""
        if dict(self.mapping).get(target) != "phone":
            raise ValueError(f"the column {target} must come from `phone`, the cleaned number")

    @property
    def target(self) -> str:
        """The ledger's name for the list this flow writes to."""
        raise NotImplementedError

    @property
    def list_name(self) -> str:
        """The list or campaign by the name people know."""
        raise NotImplementedError

    @property
    def recipe(self) -> Recipe:
        """What is sent and how."""
        raise NotImplementedError

    @property
    def safe_to_resend(self) -> bool:
        """Whether a load whose outcome is unknown may be sent again (docs/decisions.md, the table of vendor calls)."""
        raise NotImplementedError

    @property
    def goes_on(self) -> bool:
        """Whether a load may stop before its end, so that the next night takes the rest along."""
        return False
