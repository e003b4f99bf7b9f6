"""How long things are kept: the one file, which need not be there, of house-keeping."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from include.flow_files.base import FlowFile, Name
from include.house.days import KeepDays
from include.zones import Zone


class KeepHouse(FlowFile):
    """Retention of everything that is staged or kept in the ledger: DAG `keep_house`."""

    kind: Literal["keep_house"]
    name: Name = Field("house", description="Any name: there is one such file, and its DAG is `keep_house`.")
    days: KeepDays = Field(KeepDays(), description="How long each class is kept.")  # type: ignore[call-arg]
    zone: Zone = Field("UTC", description="IANA time zone of the schedule.")
    schedule: str = Field("30 11 * * *", description="When, in the zone: minute, hour, `* * *`.")
    only_plan: bool = Field(
        False, description="true: every run only shows what would go, until you have seen it and write false."
    )

    @field_validator("schedule")
    @classmethod
    def _once_a_day(cls, value: str) -> str:
        if not re.fullmatch(r"[0-5]?\d ([01]?\d|2[0-3]) \* \* \*", value):
            raise ValueError('must run once a day; write minute and hour, such as "30 11 * * *"')
        return value

    @property
    def dag_id(self) -> str:
        """There is one house."""
        return self.kind
