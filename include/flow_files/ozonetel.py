"""Ozonetel campaigns, loaded in paced batches."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from include import canary
from include.flow_files.base import Text
from include.flow_files.delivery import Delivery, Recipe
from include.vendors import ozonetel
from include.zones import Zone, next_at

if TYPE_CHECKING:
    import polars as pl


class OzonetelFlow(Delivery):
    """One Ozonetel campaign, loaded in paced batches: DAG `load_ozonetel__<name>`.

    `columns` are the `map` of the vendor's page: each `to` is a header of the campaign's mapping file, spelled
    exactly so, and PhoneNumber is among them.
    """

    vendor: ClassVar[str] = ozonetel.VENDOR

    kind: Literal["load_ozonetel"]
    connection: Text = Field("ozonetel_default", description="Airflow connection of type ozonetel.")
    campaign: Text = Field(description="Exact name of an outbound campaign of the account.")
    duplicates: ozonetel.Duplicates = Field(
        "skip_all",
        description="skip_all: a number that stands in the campaign, or comes twice, is added once (the vendor's "
        "checkDuplicate; only with it a batch whose answer was lost is sent again). skip_existing: only numbers in the "
        "campaign are looked for (its isDelete, which deletes nothing). add_all: no check.",
    )
    action: ozonetel.Action | None = Field(
        None, description="start or stop the campaign with each batch; left out, it stays as it is."
    )
    numbers: Literal["national", "international"] = Field(
        "national",
        description="national: without the country code, for numbers of clean.region only. international: with it.",
    )
    names: Literal["clean", "reject"] = Field(
        "clean", description="What happens to a Name with characters that the vendor refuses."
    )
    agent_wise: bool = Field(False, description="Whether the campaign is dialed by agent: AgentId is needed.")
    skill_wise: bool = Field(False, description="Whether the campaign is dialed by skill: skill is needed.")
    batch_size: int = Field(
        ozonetel.MAX_ROWS, ge=1, le=ozonetel.MAX_ROWS, description="Rows of one request, 500 at most."
    )
    max_row_chars: int = Field(
        ozonetel.MAX_ROW_CHARS,
        ge=1,
        le=ozonetel.MAX_ROW_CHARS,
        description="Characters of one row, the names of its columns counted in, 2,000 at most. Fewer where the vendor "
        "finds rows too long that we do not: its page does not say how it counts.",
    )
    preflight: bool = Field(
        True,
        description="Before new columns are used for the first time, send one row and wait for its callback: columns "
        "that do not fit the campaign fail only there. A canary takes this row's place.",
    )
    end_by: str | None = Field(
        None,
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="Time of day after which no batch is sent, such as 07:30; what is left is held for the next night.",
    )
    zone: Zone | None = Field(None, description="IANA time zone of end_by; needed with it.")
    callback_hours: float = Field(
        2.0,
        gt=0,
        le=24,
        description="How long to wait for a batch's callback before its rows count as uncertain.",
    )
    min_valid_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Smallest share of rows the vendor must add for a run to be green; numbers that stand in the "
        "campaign already count as added.",
    )

    @model_validator(mode="after")
    def _what_the_vendor_takes(self) -> OzonetelFlow:
        problems = ozonetel.load_problems(
            columns=self.targets,
            agent_wise=self.agent_wise,
            skill_wise=self.skill_wise,
        )
        if problems:
            raise ValueError("\n".join(problems))
        self.need_clean_phone(ozonetel.PHONE)
        if (self.end_by is None) != (self.zone is None):
            raise ValueError("end_by and zone: give both, or neither")
        return self

    @property
    def target(self) -> str:
        """The ledger's name for the campaign."""
        return f"{self.vendor}:{self.connection}:{self.campaign}"

    @property
    def list_name(self) -> str:
        """The campaign."""
        return self.campaign

    @property
    def recipe(self) -> Recipe:
        """Rows are only added; how they are shaped is `include.campaign.rows`."""
        return Recipe(
            columns=self.mapping,
            phone="phone",
            replaces=False,
            updates=False,
            options={
                name: getattr(self, name)
                for name in ("campaign", "duplicates", "action", "numbers", "names", "batch_size")
            }
            | canary.option(self.canary, self.batch_size),
            shape=self._shape,
        )

    def _shape(
        self, leads: pl.DataFrame, cells: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.Series, dict[str, int]]:
        from include.campaign.rows import RowRules, shape

        rules = RowRules(
            self.numbers, self.clean.region, self.names, self.agent_wise, self.skill_wise, self.max_row_chars
        )
        return shape(rules, leads, cells)

    @property
    def safe_to_resend(self) -> bool:
        """Whether a batch whose outcome is unknown may be sent again."""
        return ozonetel.safe_to_resend(self.duplicates)

    @property
    def goes_on(self) -> bool:
        """A load that stopped at its end time goes on the next night."""
        return True

    def latest_end(self, begun: datetime) -> datetime | None:
        """When a load that began at a moment (aware) must stop, None where it need not."""
        if self.end_by is None or self.zone is None:
            return None
        return next_at(self.end_by, self.zone, begun)
