"""Old Vicidial leads, archived after hours."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from include.approval import Approval
from include.canary import Canary
from include.flow_files.base import FlowFile, Text
from include.hours import OfficeHours
from include.leads.retention import ArchiveGuards, Keep, Selection
from include.vendors import vicidial
from include.zones import Zone


class ArchiveFlow(FlowFile):
    """Old Vicidial leads archived after hours: DAG `archive_vicidial_leads__<name>`."""

    vendor: ClassVar[str] = vicidial.VENDOR

    kind: Literal["archive_vicidial_leads"]
    connection: Text = Field("vicidial_default", description="Airflow connection of type vicidial.")
    schedule: Text = Field(
        "5 18 * * *",
        pattern=r"^\S+ \S+ \S+ \S+ \S+$",
        description="When to select and plan: a cron expression, in the zone.",
    )
    zone: Zone | None = Field(
        None,
        description="IANA time zone of the schedule and of the dialer's database. Left out: the office's, else UTC.",
    )
    office_hours: OfficeHours | None = Field(
        None,
        description="When the office is open, so that nothing is asked of the server. Left out: the server's own "
        '"not now" decides.',
    )
    select: Selection = Field(description="Which leads are archived.")
    keep: Keep = Field(Keep(), description="Which leads are never archived.")  # type: ignore[call-arg]
    guards: ArchiveGuards = Field(ArchiveGuards(), description="When nothing may be archived.")  # type: ignore[call-arg]
    approval: Approval = Field(Approval(), description="When a person must approve a plan.")  # type: ignore[call-arg]
    released: bool = Field(
        False, description="false: every run only plans and holds its rows. true: scheduled runs archive."
    )
    update: bool = Field(True, description="Whether leads that are archived already are brought up to date.")
    delete: bool = Field(
        True, description="Whether archived leads are taken off the list; only with update, never in a plan."
    )
    limit: int | None = Field(None, ge=1, description="Most leads of one run; no limit when left out.")
    batch_size: int = Field(
        vicidial.MAX_IDS, ge=1, le=vicidial.MAX_IDS, description="Leads of one request, 500 at most."
    )
    canary: Canary | None = Field(
        None,
        description="A small part that is archived first, alone; the rest follows when the server's counts of it are "
        "good. `{}` for the defaults; left out: no canary.",
    )
    seconds_per_call: float = Field(
        2.0, gt=0, description="How long one request takes, for the first plan; later ones measure it."
    )
    stop_before_minutes: float = Field(
        3.0, gt=0, description="How long before the office opens the last request may begin."
    )
    recheck_minutes: float = Field(
        15.0, gt=0, description='How long to wait when the server says "not now" outside our office hours.'
    )
    patience_hours: float = Field(
        72.0, gt=0, description='How long the server may say "not now" outside our office hours, in a row.'
    )
    min_valid_share: float = Field(
        0.5, ge=0, le=1, description="Smallest share of the leads sent that must be archived for a green run."
    )

    @model_validator(mode="after")
    def _what_the_vendor_takes(self) -> ArchiveFlow:
        if self.delete and not self.update:
            raise ValueError("delete: needs update, so that a lead is only deleted once its copy is whole")
        if self.keep.phones is not None and self.select.database is None:
            raise ValueError("keep.phones: needs select.database; without it give lead ids under keep.leads")
        return self

    @property
    def flags(self) -> vicidial.Flags:
        """What an apply asks of the server."""
        return vicidial.Flags(insert=True, update=self.update, delete=self.delete)

    @property
    def local_zone(self) -> str:
        """The zone of the schedule, of the dialer's database, and of a plan's dates."""
        return self.zone or (self.office_hours.zone if self.office_hours is not None else "UTC")

    @property
    def target(self) -> str:
        """The ledger's name for what this flow archives; each flow has a claim and a pause of its own."""
        return f"{self.vendor}:{self.connection}:{self.name}"

    @property
    def list_name(self) -> str:
        """The table that the leads leave."""
        return "vicidial_list"

    @property
    def safe_to_resend(self) -> bool:
        """Always: what is archived already is named, and never archived twice."""
        return True
