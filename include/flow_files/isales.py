"""Call data files imported into a campaign of iSales (Huawei CEC)."""

from __future__ import annotations

import posixpath
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from include import canary
from include.flow_files.base import Text
from include.flow_files.delivery import Delivery, Recipe
from include.leads.rules import PhoneField
from include.vendors import isales, isales_rows
from include.zones import Zone, next_at

if TYPE_CHECKING:
    import polars as pl

Prefix = Annotated[str, StringConstraints(pattern=r"^[0-9*#]*$", max_length=9)]
Caller = Annotated[str, StringConstraints(pattern=rf"^[0-9*#+]{{1,{isales_rows.LONGEST['caller']}}}$")]


class IsalesFlow(Delivery):
    """One iSales campaign that call data files are imported into: DAG `import_isales__<name>`.

    `columns` are those of the vendor's template: called, and what is wanted of sessionId (the row key when left out),
    caller, customField, recycleTime, priority and callData. Targets `callData.<field>` are gathered into one JSON
    object.
    """

    vendor: ClassVar[str] = isales.VENDOR

    kind: Literal["import_isales"]
    connection: Text = Field("isales_default", description="Airflow connection of type isales.")
    sftp_connection: Text = Field(
        "isales_sftp",
        description="Airflow connection of type sftp: the file server that iSales fetches from.",
    )
    vdn_id: int = Field(ge=1, le=9999, description="Number of the virtual call centre (VDN).")
    campaign: str = Field(
        pattern=r"^[\w.-]{1,64}$", description="Id of the campaign, in quotes: it has up to 19 digits."
    )
    server: Text = Field(
        max_length=64, description="Id under which the file server is registered at iSales, in quotes."
    )
    folder: str = Field(
        "",
        description="Folder of the files, below the file server's registered path; empty: that path itself.",
    )
    sftp_root: str = Field(
        "",
        description="The file server's registered path as our own login sees it, such as /home/sftp; empty: the "
        "login's own folder.",
    )
    zone: Zone = Field("UTC", description="IANA time zone of the tenant: of recycleTime and import_at.")
    import_at: str | None = Field(
        None, description="Time of day (HH:MM) at which iSales imports; left out, at once."
    )
    numbers: isales_rows.NumberForm = Field(
        "international",
        description="international: country code and number, without +. national: without the country code, for "
        "numbers of clean.region only.",
    )
    number_prefix: Prefix = Field(
        "", description="Digits in front of every number, in quotes, such as 00 or a line's 9."
    )
    every_number: bool = Field(
        False,
        description="Whether all usable numbers of a lead are sent, tried in the order of clean.phones, or only the "
        "first.",
    )
    delay_seconds: int = Field(
        0,
        ge=0,
        le=isales_rows.MAX_DELAY_SECONDS,
        description="How long the dialer waits before each number after the first.",
    )
    number_types: dict[PhoneField, Text] = Field(
        {}, description="Phone field -> kind of its number, as the campaign knows it."
    )
    caller: Caller | None = Field(
        None, description="Caller's number of all rows, in quotes; or map a column to caller."
    )
    intelligent_ivr: bool = Field(
        False, description="Whether the campaign runs an intelligent IVR: callData must be JSON then."
    )
    when_live: Literal["refuse", "allow"] = Field(
        "refuse",
        description="Whether a campaign that is started may be filled: its new numbers would be called at once.",
    )
    max_records: int = Field(
        isales.MAX_RECORDS, ge=1, le=isales.MAX_RECORDS, description="Records of one file, 500,000 at most."
    )
    check_upload: Literal["hash", "size"] = Field(
        "hash",
        description="How an uploaded file is compared with ours: by content (read back where the server tells no "
        "hash), or only by size.",
    )
    remove_uploaded: bool = Field(
        False, description="Whether files are taken off the server once their import is confirmed."
    )
    outcome_hours: float = Field(
        4.0, gt=0, le=72, description="How long an import may take before its rows count as uncertain."
    )
    poll_seconds: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Seconds between two questions for the outcome.",
    )
    lookup_seconds: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="After a lost answer: how long a new import may stay out of sight before it is asked for again.",
    )
    min_valid_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Smallest share of rows that must be new to the campaign for a green run.",
    )

    @field_validator("folder")
    @classmethod
    def _folder_fits(cls, value: str) -> str:
        if problem := isales.folder_problem(value):
            raise ValueError(problem.removeprefix("folder: "))
        return value

    @field_validator("import_at")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None:
            isales.read_time(value)
        return value

    @model_validator(mode="after")
    def _what_the_vendor_takes(self) -> IsalesFlow:
        problems = isales_rows.column_problems(self.targets)
        if problems:
            raise ValueError("\n".join(problems))
        self.need_clean_phone("called")
        if self.canary is not None and self.import_at is not None:
            raise ValueError(
                "canary: with import_at the rest would be imported a day after the canary; leave one of the two out"
            )
        if self.caller is not None and "caller" in self.targets:
            raise ValueError("caller: give the number here or map a column to it, not both")
        if unknown := sorted(set(self.number_types) - set(self.clean.phones)):
            raise ValueError(f"number_types: {', '.join(unknown)} is not among clean.phones")
        return self

    @property
    def target(self) -> str:
        """The ledger's name for the campaign."""
        return f"{self.vendor}:{self.vdn_id}:{self.campaign}"

    @property
    def list_name(self) -> str:
        """The campaign by its id."""
        return self.campaign

    @property
    def recipe(self) -> Recipe:
        """Rows are only added, and a row that comes again is a repeat."""
        return Recipe(
            columns=self.mapping,
            phone="phone",
            replaces=False,
            updates=False,
            options={
                name: getattr(self, name)
                for name in ("vdn_id", "campaign", "server", "folder", "import_at", "max_records")
            }
            | canary.option(self.canary, self.max_records),
            shape=self._shape,
        )

    def _shape(
        self, leads: pl.DataFrame, cells: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.Series, dict[str, int]]:
        rules = isales_rows.RowRules(
            clean=self.clean,
            numbers=self.numbers,
            prefix=self.number_prefix,
            every_number=self.every_number,
            delay_seconds=self.delay_seconds,
            kinds=self.number_types,
            caller=self.caller,
            zone=self.zone,
            json_only=self.intelligent_ivr,
        )
        return isales_rows.shape(leads, cells, rules)

    @property
    def safe_to_resend(self) -> bool:
        """Never blindly: the load itself reads the newest import tasks first."""
        return False

    def remote_path(self, file_name: str) -> str:
        """Where a file lies for our own login."""
        return posixpath.join(self.sftp_root, self.folder.strip("/"), file_name)

    def due(self, asked: datetime) -> datetime:
        """When iSales begins an import that was asked for at a moment (aware)."""
        if self.import_at is None:
            return asked
        return next_at(self.import_at, self.zone, asked)
