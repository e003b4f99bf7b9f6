"""The Platform API as a source of leads."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from include.flow_files.base import FlowFile, Text, known_zone


class LeadFilters(BaseModel):
    """The filters of the Platform's lead list, under the vendor's own names (platform.md, operation 8).

    The upload window is not among them: in mode `night` it is the night itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    campaignId: int | None = Field(None, description="Only leads of this campaign.")  # noqa: N815
    listId: int | None = Field(None, description="Only leads of this list.")  # noqa: N815
    statusCode: int | None = Field(None, description="Only leads with this last status code.")  # noqa: N815
    customerKey: str | None = Field(None, description="Only leads with this customer key.")  # noqa: N815


class PlatformSource(FlowFile):
    """Leads pulled from the Platform API every night: DAG `pull_platform_leads__<name>`."""

    kind: Literal["pull_platform_leads"]
    connection: Text = Field("platform_default", description="Airflow connection of type platform.")
    zone: Text = Field("UTC", description="IANA time zone of the night, such as Australia/Sydney.")
    schedule: str = Field("0 2 * * *", description="When to pull, in the zone: minute, hour, `* * *`.")
    mode: Literal["night", "full"] = Field(
        "night",
        description="night: leads uploaded in that night's calendar day, so that a backfill rebuilds it. "
        "full: the whole list as it stands.",
    )
    filters: LeadFilters = Field(LeadFilters(), description="Which leads.")  # type: ignore[call-arg]
    shards: int = Field(4, ge=1, le=16, description="How many parts of the night are pulled side by side.")

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return known_zone(value)

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
