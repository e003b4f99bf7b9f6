"""Five9 and RingCX lists, loaded through PureCallerID."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from include import canary
from include.flow_files.base import Text
from include.flow_files.delivery import Delivery, Recipe
from include.vendors import purecallerid


class PureCallerIdFlow(Delivery):
    """One Five9 or RingCX list loaded through PureCallerID: DAG `load_purecallerid__<name>`."""

    vendor: ClassVar[str] = purecallerid.VENDOR

    kind: Literal["load_purecallerid"]
    connection: Text = Field("purecallerid_default", description="Airflow connection of type purecallerid.")
    dialer: Literal["five9", "ringcx"] = Field(description="The dialer behind the campaign.")
    campaign: Text = Field(description="Id of the Pure CallerID campaign, as its edit dialog shows it.")
    list: Text = Field(description="Identifier of the list in the dialer. It must exist there.")
    mode: Literal["APPEND", "REPLACE"] = Field(description="Add to the list, or empty it and load again.")
    dedupe: purecallerid.Dedupe | None = Field(None, description="RingCX only, and needed there.")
    unique_column: str | None = Field(
        None,
        description="Five9's Unique ID column; when it is among the columns, APPEND is safe to send again.",
    )
    send: Literal["changed", "all"] = Field(
        "changed",
        description="Which rows an APPEND sends. changed: new ones, with unique_column changed ones. all: also those "
        "that an earlier load left there, in case somebody took them off the list; needs unique_column, or they "
        "would stand there twice. A REPLACE always sends all.",
    )
    callback_hours: float = Field(
        2.0, gt=0, le=72, description="How long to wait for the webhook before rows count as uncertain."
    )
    min_valid_share: float = Field(
        0.5, ge=0, le=1, description="Smallest share of rows the vendor must take for a run to be green."
    )

    @model_validator(mode="after")
    def _what_the_vendor_takes(self) -> PureCallerIdFlow:
        problems = purecallerid.load_problems(
            dialer=self.dialer,
            mode=self.mode,
            dedupe=self.dedupe,
            columns=self.targets,
        )
        if problems:
            raise ValueError("\n".join(problems))
        if self.unique_column is not None and self.dialer != "five9":
            raise ValueError("unique_column: only Five9 has one; leave it out for ringcx")
        if self.unique_column is not None and self.unique_column not in self.targets:
            raise ValueError(f"unique_column: {self.unique_column} is not among columns[].to")
        if self.send == "all" and (self.mode == "REPLACE" or self.unique_column is None):
            raise ValueError(
                "send: all is for mode APPEND with unique_column, where a row that comes again updates itself; leave "
                "it out elsewhere (a REPLACE sends all anyway)"
            )
        if self.canary is not None and self.mode == "REPLACE":
            raise ValueError(
                "canary: REPLACE empties the list first, so that it would hold nothing but the canary until the rest "
                "has come; write mode: APPEND, or leave canary out"
            )
        self.need_clean_phone(purecallerid.PHONE_COLUMN[self.dialer])
        return self

    @property
    def target(self) -> str:
        """The ledger's name for the dialer list."""
        return f"{self.vendor}:{self.campaign}:{self.list}"

    @property
    def list_name(self) -> str:
        """The list in the dialer."""
        return self.list

    @property
    def recipe(self) -> Recipe:
        """Ten-digit numbers; a replace empties the list, an append updates only with Five9's Unique ID."""
        return Recipe(
            columns=self.mapping,
            phone="national",
            replaces=self.mode == "REPLACE",
            updates=self.unique_column is not None,
            options={
                "dialer": self.dialer,
                "campaign": self.campaign,
                "dedupe": self.dedupe,
                **canary.option(self.canary),
            },
            unique=self.unique_column if self.mode == "APPEND" else None,
            resends=self.send == "all",
        )

    @property
    def safe_to_resend(self) -> bool:
        """Whether a load whose outcome is unknown may be sent again."""
        return purecallerid.safe_to_resend(
            self.dialer, self.mode, unique_mapped=self.unique_column is not None
        )
