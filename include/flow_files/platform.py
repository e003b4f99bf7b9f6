"""The Platform API: a source of leads, and a list that leads are pushed to."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from include import canary
from include.contract import Contract
from include.flow_files.base import FlowFile, Text
from include.flow_files.delivery import Delivery, Recipe
from include.vendors import platform
from include.zones import Zone

if TYPE_CHECKING:
    import polars as pl


class LeadFilters(BaseModel):
    """The filters of the Platform's lead list, under the vendor's own names (platform.md, operation 8).

    The upload window is not among them: in mode `night` it is the night itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    campaignId: int | None = Field(None, description="Only leads of this campaign.")  # noqa: N815
    listId: int | None = Field(None, description="Only leads of this list.")  # noqa: N815
    statusCode: int | None = Field(None, description="Only leads with this last status code.")  # noqa: N815
    customerKey: str | None = Field(None, description="Only leads with this customer key.")  # noqa: N815


class Outcomes(BaseModel):
    """What is pulled every night besides the leads: what became of them (staged as `<name>_calls`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calls: bool = Field(True, description="Dialler calls: whom the dialler rang, and with what result.")
    activities: bool = Field(
        True, description="Activities: what agents said of calls (wrap codes), calls that came in."
    )
    days: int = Field(
        2,
        ge=1,
        le=92,
        description="How many days back calls are read, the night itself included: outcomes come late.",
    )
    campaign: int | None = Field(None, description="Only calls of this campaign.")
    outbound_statistics: tuple[int, ...] = Field(
        (), description="Outbound campaigns whose statistics are kept, by id."
    )
    inbound_statistics: tuple[int, ...] = Field(
        (), description="Inbound campaigns whose statistics of the last day are kept, by id."
    )

    @model_validator(mode="after")
    def _something(self) -> Outcomes:
        if not (self.calls or self.activities):
            raise ValueError(
                "calls, activities: at least one must be true; leave out `outcomes` to pull none"
            )
        return self


class PlatformSource(FlowFile):
    """Leads pulled from the Platform API every night: DAG `pull_platform_leads__<name>`."""

    kind: Literal["pull_platform_leads"]
    connection: Text = Field("platform_default", description="Airflow connection of type platform.")
    zone: Zone = Field("UTC", description="IANA time zone of the night, such as Australia/Sydney.")
    schedule: str = Field("0 2 * * *", description="When to pull, in the zone: minute, hour, `* * *`.")
    mode: Literal["night", "full"] = Field(
        "night",
        description="night: leads uploaded in that night's calendar day, so that a backfill rebuilds it. "
        "full: the whole list as it stands.",
    )
    filters: LeadFilters = Field(LeadFilters(), description="Which leads.")  # type: ignore[call-arg]
    shards: int = Field(4, ge=1, le=16, description="How many parts of the night are pulled side by side.")
    contract: Contract = Field(Contract(), description="What the leads look like.")  # type: ignore[call-arg]
    outcomes: Outcomes | None = Field(
        None,
        description="What is pulled besides the leads. `{}` for dialler calls and activities; left out: nothing.",
    )

    @field_validator("schedule")
    @classmethod
    def _once_a_day(cls, value: str) -> str:
        # Any other rhythm would leave nights out, or name two runs after the same night.
        if not re.fullmatch(r"[0-5]?\d ([01]?\d|2[0-3]) \* \* \*", value):
            raise ValueError('must run once a day; write minute and hour, such as "30 2 * * *"')
        return value

    @model_validator(mode="after")
    def _full_needs_a_list(self) -> PlatformSource:
        if self.mode == "full" and self.filters.listId is None and self.filters.campaignId is None:
            raise ValueError(
                "mode full needs filters.listId or filters.campaignId, or it would pull every list"
            )
        return self

    def window(self, night: date) -> tuple[datetime, datetime]:
        """First moment of a night and first moment after it, aware, in the source's zone (half-open)."""
        zone = ZoneInfo(self.zone)
        start = datetime.combine(night, time(), zone)
        return start, datetime.combine(night + timedelta(days=1), time(), zone)

    def last_night(self, now: datetime) -> date:
        """The last night that is over at `now`."""
        return now.astimezone(ZoneInfo(self.zone)).date() - timedelta(days=1)


UNIQUE_SOURCES = ("customer_key", "row_key", "lead_id")
"""What a customer key may come from: columns in which no two leads of a snapshot have the same."""


class PlatformPushFlow(Delivery):
    """One list of the Platform API that leads are pushed to: DAG `push_platform_leads__<name>`."""

    vendor: ClassVar[str] = platform.VENDOR

    kind: Literal["push_platform_leads"]
    connection: Text = Field("platform_default", description="Airflow connection of type platform.")
    campaign: int = Field(description="Id of the outbound campaign that the list belongs to.")
    list: Text = Field(max_length=100, description="Name of the list.")
    create_list: bool = Field(
        False, description="Whether the list is created when the campaign has none of this name."
    )
    when_live: Literal["refuse", "allow"] = Field(
        "refuse",
        description="Whether leads may be added while the list is loaded in the dialler and its campaign is active: "
        "they would be called at once.",
    )
    changed: Literal["hold", "update"] = Field(
        "hold",
        description="Leads that are on the list and have changed since they were pushed. hold: the list keeps them as "
        "they were. update: each is found by its customer key and changed, in what differs; two calls a lead.",
    )
    chunk_rows: int = Field(
        500,
        ge=1,
        le=platform.MAX_LEADS,
        description="Leads of one import, 1,000 at most; and of one batch of changed leads.",
    )
    import_hours: float = Field(
        2.0, gt=0, le=72, description="How long an import may take before its rows count as uncertain."
    )
    lookup_minutes: float = Field(
        10.0,
        ge=0,
        le=1440,
        description="After a lost answer: how long to wait before the leads are looked up, so that an import that is "
        "still running is over by then.",
    )
    min_valid_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Smallest share of the sent rows that must be on the list for a run to be green. Rows are checked "
        "before they are sent, so a refused one is news.",
    )

    @model_validator(mode="after")
    def _what_the_vendor_takes(self) -> PlatformPushFlow:
        sources = dict(self.mapping)
        if len(sources) != len(self.columns):
            raise ValueError("columns: each target may stand only once")
        fields = set(platform.WRITE_FIELDS) - {"listId", "leadData"}
        for name in sources:
            if name not in fields and name.removeprefix(platform.DATA_PREFIX) in ("", name):
                raise ValueError(
                    f"columns: {name} is no field of a lead; write {platform.DATA_PREFIX}<field>, or one of "
                    f"{', '.join(sorted(fields))}"
                )
        self.need_clean_phone("phone1")
        if sources.get("customerKey") not in UNIQUE_SOURCES:
            raise ValueError(
                f"columns: customerKey must come from one of {', '.join(UNIQUE_SOURCES)}; by it a lead is found again "
                "when an answer was lost"
            )
        if sources["customerKey"] == "customer_key" and "key" not in self.clean.unique_by:
            raise ValueError("clean.unique_by: must hold `key`, because customerKey comes from customer_key")
        return self

    @property
    def target(self) -> str:
        """The ledger's name for the list."""
        return f"{self.vendor}:{self.connection}:{self.campaign}:{self.list}"

    @property
    def list_name(self) -> str:
        """The list by its name."""
        return self.list

    @property
    def recipe(self) -> Recipe:
        """International numbers. New leads are added; changed ones are updated by a call each, or held (`changed`)."""
        return self.recipe_for(None)

    def recipe_for(self, agents: frozenset[int] | None) -> Recipe:
        """The recipe, where leads that are assigned to others than these agents are rejected; None: to anybody."""

        def shape(frame: pl.DataFrame, cells: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series, dict[str, int]]:
            from include.push.rows import fit_cells

            return fit_cells(cells, agents=agents)

        return Recipe(
            columns=self.mapping,
            phone="phone",
            replaces=False,
            updates=self.changed == "update",
            apart=self.changed == "update",
            options={
                "campaign": self.campaign,
                "list": self.list,
                "chunk_rows": self.chunk_rows,
                **canary.option(self.canary, self.chunk_rows),
            },
            unique="customerKey",
            shape=shape,
        )

    @property
    def assigns_agents(self) -> bool:
        """Whether leads are assigned to agents."""
        return "agentId" in self.targets

    @property
    def safe_to_resend(self) -> bool:
        """Never blindly: what a broken load left there is looked up first, lead by lead, by that load itself."""
        return False
