"""Retention rules: which leads are old enough to be archived, and which are never touched.

These are the sections `select:`, `keep:` and `guards:` of an archive's flow file. Only pydantic is imported here,
because flow files are read while Airflow parses DAGs; `include.archive.selection` carries the rules out.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from include.leads.rules import SuppressionList

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
Status = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,6}$")]
Since = Literal["last_call_or_entry", "last_call", "entry"]

BUSY_STATUSES: Final = ("CALLBK", "CBHOLD", "DISPO", "INCALL", "QUEUE")
"""VICIdial's statuses of leads that somebody waits for or talks to: callbacks, and calls under way."""


class RetentionRule(BaseModel):
    """One reason to archive a lead. All its conditions must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = Field(description="Short name, shown in plans and reports.")
    older_than_days: int = Field(ge=1, description="Days that must have passed; no rule goes without an age.")
    since: Since = Field(
        "last_call_or_entry",
        description="What the days count from. last_call: leads never called do not fit. entry: when the lead came in. "
        "last_call_or_entry: the last call, or the entry of a lead never called.",
    )
    statuses: tuple[Status, ...] = Field(
        (), description="Only leads in one of these statuses. Empty: any status."
    )
    min_attempts: int | None = Field(None, ge=0, description="Only leads called at least so often.")
    max_attempts: int | None = Field(None, ge=0, description="Only leads called at most so often.")
    lists: tuple[int, ...] = Field((), description="Only leads of these list ids. Empty: any list.")

    @model_validator(mode="after")
    def _attempts_can_hold(self) -> RetentionRule:
        if (
            self.min_attempts is not None
            and self.max_attempts is not None
            and self.min_attempts > self.max_attempts
        ):
            raise ValueError("min_attempts is above max_attempts, so no lead would fit")
        return self


class IdFile(BaseModel):
    """A file of lead ids: CSV or Parquet, here or in object storage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(
        min_length=1,
        pattern=r"\.(csv|parquet)$",
        description="Path or URL (s3://...) of a .csv or .parquet. A relative path starts at the project's folder.",
    )
    column: str = Field("lead_id", min_length=1, description="Column that holds the lead ids.")
    max_age_days: float | None = Field(
        None, gt=0, description="Oldest acceptable age of the file in days. An older one stops the run."
    )


class Selection(BaseModel):
    """Where the leads to archive come from: the dialer's own database and rules, or a file of ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: str | None = Field(
        None,
        min_length=1,
        description="Airflow connection of the dialer's MySQL or MariaDB; a user that may only read will do.",
    )
    rules: tuple[RetentionRule, ...] = Field(
        (), description="Which leads are old. A lead counts under the first rule that it fits."
    )
    ids: IdFile | None = Field(
        None, description="A file of lead ids instead, for users without access to the database."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Selection:
        if (self.ids is None) == (self.database is None):
            raise ValueError("give either database and rules, or ids")
        if self.database is not None and not self.rules:
            raise ValueError("a database needs at least one rule, or every lead would be archived")
        if self.ids is not None and self.rules:
            raise ValueError("rules need the database; a file of ids is archived as it is")
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("two rules have the same name")
        return self


class Keep(BaseModel):
    """What is never archived, whatever the rules say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    statuses: tuple[Status, ...] = Field(
        BUSY_STATUSES, description="Leads in these statuses are not picked. By default callbacks and calls."
    )
    lists: tuple[int, ...] = Field((), description="Leads of these list ids are not picked.")
    leads: IdFile | None = Field(None, description="Keep-list of lead ids.")
    phones: SuppressionList | None = Field(
        None,
        description="Keep-list of phone numbers; needs the database. A lead is kept by its main number.",
    )
    region: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = Field(
        "US", description="Country (ISO code) of the keep-list's numbers without a country code."
    )


class ArchiveGuards(BaseModel):
    """When nothing may be archived (section `guards:` of an archive's flow file)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_empty: bool = Field(False, description="Whether a run that finds nothing to archive is a good one.")
    max_rows: int | None = Field(
        200_000, ge=1, description="Most leads of one run; no limit when set to null."
    )
    max_share_percent: float = Field(
        40.0,
        gt=0,
        le=100,
        description="Largest share of vicidial_list that one run may archive, in percent. Needs the database.",
    )
    max_source_age_hours: float = Field(
        96.0, gt=0, description="Oldest selection that may still be archived, in hours."
    )
    max_plan_age_hours: float = Field(
        96.0,
        gt=0,
        description="How long after it was made, or approved, a plan may begin, in hours. One that has begun goes on.",
    )
