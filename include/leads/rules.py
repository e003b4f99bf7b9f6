"""The settings of the clean step, as a flow file states them (section `clean:`).

Only pydantic is imported here, because flow files are read while Airflow parses DAGs.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from include.leads import packs
from include.zones import Zone

PhoneField = Literal["phone1", "phone2", "phone3"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
Region = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class SuppressionList(BaseModel):
    """One list of numbers that must not be called: from a file, a table or a query."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = Field(description="Short name, shown in reports: small letters, digits, - and _.")
    file: str | None = Field(
        None,
        min_length=1,
        description="File with the numbers: .csv, .xlsx (first sheet), .parquet, or .txt with one number "
        "per line. A relative path starts at the project's folder; s3://... is fetched from object storage.",
    )
    url_env: str | None = Field(
        None,
        min_length=1,
        description="Environment variable that holds the SQLAlchemy URL of the database with the table.",
    )
    table: str | None = Field(
        None, min_length=1, description="Table or view to read, schema.table if needed."
    )
    query: str | None = Field(None, min_length=1, description="SELECT to read instead of a table.")
    column: str | None = Field(
        None,
        min_length=1,
        description="Column with the numbers. A file with one recognisable phone column needs none.",
    )
    as_of: date | None = Field(
        None,
        description="Date of the list. Without it, a file's (or object's) date is the day it was last changed.",
    )
    as_of_column: str | None = Field(
        None,
        min_length=1,
        description="Date or time column of the table; its newest value is the list's date.",
    )
    max_age_days: int | None = Field(
        None,
        ge=0,
        description="Oldest acceptable age in days. An older list, or one of unknown age, stops the load.",
    )

    registry: str | None = Field(
        None,
        description="Country (ISO code) whose do-not-call registry this is. Without max_age_days, the age that its "
        "rule pack allows holds.",
    )

    @field_validator("registry")
    @classmethod
    def _has_a_pack(cls, value: str | None) -> str | None:
        if value is not None and value not in packs.countries():
            raise ValueError(f"there is no rule pack for {value}; there are {', '.join(packs.countries())}")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> SuppressionList:
        if sum(source is not None for source in (self.file, self.table, self.query)) != 1:
            raise ValueError("give exactly one of file, table or query")
        if self.file is not None:
            if self.url_env is not None or self.as_of_column is not None:
                raise ValueError("url_env and as_of_column belong to a table or query, not to a file")
            return self
        if self.url_env is None or self.column is None:
            raise ValueError("a table or query needs url_env and column")
        if self.as_of is not None and self.as_of_column is not None:
            raise ValueError("give as_of or as_of_column, not both")
        return self


DataField = Annotated[str, StringConstraints(pattern=r"""^[^'"\\]+$""")]
ZoneSource = Literal["field", "number", "address"]


class PackRules(BaseModel):
    """Which rule packs hold for a flow's leads (docs/hygiene.md). Product rules, not legal advice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    countries: tuple[str, ...] = Field(
        min_length=1,
        description="Countries (ISO codes) whose rules hold, with those of their states. A lead of any other country "
        "is held.",
    )
    calls: packs.Calls = Field(
        description="How the leads are called. live: a person dials or talks from the first word. automated: a dialer "
        "chooses and dials, or a recorded voice speaks."
    )
    override: dict[str, packs.Values] = Field(
        default_factory=dict,
        description="Your own values by code of a country or state (US, US-FL); each replaces that of the pack.",
    )
    zone_from: tuple[ZoneSource, ...] = Field(
        ("field", "number", "address"),
        min_length=1,
        description="What tells a lead's time zone, in order: its own field, its number, its address.",
    )
    zone_field: DataField | None = Field(
        None, description="Field of the lead's data with its time zone. Left out: the lead's column timezone."
    )
    state_field: DataField | None = Field(
        None, description="Field of the lead's data with its state or province, by code or name."
    )
    zone_conflict: Literal["overlap", "first", "hold"] = Field(
        "overlap",
        description="When the sources name zones with different clocks. overlap: a lead is called only when all of "
        "them allow it. first: the first source is right. hold: the lead is held.",
    )
    outside_hours: Literal["hold", "schedule", "dialer"] = Field(
        "hold",
        description="What becomes of a lead that may not be called at this moment. hold: it is held. schedule: it is "
        "sent, with its next moment in a column from call_from or call_until. dialer: it is sent; the dialer keeps the "
        "hours itself.",
    )
    at_least_minutes: int = Field(
        0,
        ge=0,
        le=1440,
        description="A window counts only if it stays open for so long: the list is dialled later than it is loaded.",
    )
    time_format: str = Field(
        "%Y-%m-%dT%H:%M:%SZ",
        min_length=2,
        description="How call_from and call_until are written, as for strftime: %Y-%m-%d is a day only.",
    )
    time_zone: Zone = Field("UTC", description="IANA time zone that call_from and call_until are written in.")
    consent_date: DataField | None = Field(
        None, description="Field of the lead's data with the date of its consent, beginning YYYY-MM-DD."
    )
    consent_source: DataField | None = Field(
        None, description="Field of the lead's data that says where the consent was given."
    )

    @field_validator("countries")
    @classmethod
    def _have_packs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - set(packs.countries())):
            raise ValueError(
                f"there is no rule pack for {', '.join(unknown)}; there are {', '.join(packs.countries())}"
            )
        return value

    @model_validator(mode="after")
    def _utc_is_marked_as_utc(self) -> PackRules:
        if self.time_format.endswith("Z") and self.time_zone != "UTC":
            raise ValueError("time_format: Z stands for UTC; with another time_zone take it off, or write %z")
        return self

    @property
    def rules(self) -> tuple[packs.Rules, ...]:
        """The rules of every jurisdiction that may come up: the countries' and those of their parts."""
        codes = [
            code
            for country in self.countries
            for code in (country, *packs.parts_with_rules(country, self.override))
        ]
        return tuple(packs.rules_of(code, self.override.get(code)) for code in codes)

    @model_validator(mode="after")
    def _codes_are_known(self) -> PackRules:
        for code in self.override:
            if not packs.known(code) or code[:2] not in self.countries:
                raise ValueError(f"override: {code} is none of the countries, and no part of one")
        return self


class Marks(BaseModel):
    """Calls by what the dialer or the agent said of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dial_status: tuple[int | str, ...] = Field((), description="Dial statuses, by id or name.")
    wrap_code: tuple[int | str, ...] = Field((), description="Wrap codes, by id or description.")


class CallRules(BaseModel):
    """What earlier calls say of a lead (docs/hygiene.md, outcome rules)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Name = Field(description="Name of the source whose staged calls are looked at.")
    max_age_hours: float = Field(
        36.0,
        gt=0,
        description="Oldest acceptable age of the newest staged night, in hours. Older calls stop the load.",
    )
    do_not_call: Marks = Field(
        Marks(),  # type: ignore[call-arg]
        description="Calls after which a lead is not called any more, by any of its numbers.",
    )
    dead: Marks = Field(
        Marks(),  # type: ignore[call-arg]
        description="Calls that say that a number is out of service.",
    )
    dead_days: int = Field(90, ge=1, description="How long a number counts as out of service, in days.")
    not_within_hours: float | None = Field(
        None, gt=0, description="Hours that must have passed since the last call of a lead."
    )
    attempts: packs.Attempts | None = Field(
        None, description="Most attempts of a lead, besides those of its rule packs."
    )


class ScrubCheck(BaseModel):
    """One question to a scrub service: on a registry, reassigned since the consent, or which type of line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = Field(description="Short name, shown in reports: small letters, digits, - and _.")
    checks: Literal["registry", "reassigned", "line_type"] = Field(
        description="What is asked. Answers are clear or listed; clear or reassigned; or the type of line."
    )
    file: str | None = Field(
        None,
        pattern=r"\.(csv|parquet)$",
        description="The service's answers as a file, here or s3://...: columns phone, answer, checked (YYYY-MM-DD), "
        "and for reassigned consent_date, the date that was asked about.",
    )
    service: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description='Your own service instead, as "package.module:make": called with the name, it returns an '
        "`include.leads.scrub.ScrubService`. Its answers are kept for max_age_days.",
    )
    max_age_days: int = Field(ge=0, description="Oldest answer that counts, in days.")
    words: dict[str, str] = Field(
        default_factory=dict,
        description="The service's own words (small letters) for ours, such as {no: clear, yes: reassigned}.",
    )
    allow: tuple[str, ...] = Field((), description="line_type: the types that may be called.")
    consent_date: DataField | None = Field(
        None, description="reassigned: field of the lead's data with the date of its consent."
    )

    @model_validator(mode="after")
    def _whole(self) -> ScrubCheck:
        if (self.file is None) == (self.service is None):
            raise ValueError("give exactly one of file and service")
        if (self.checks == "line_type") != bool(self.allow):
            raise ValueError("allow: line_type needs it, the others have none")
        if (self.checks == "reassigned") != (self.consent_date is not None):
            raise ValueError("consent_date: reassigned needs it, the others have none")
        return self


class CleanRules(BaseModel):
    """How a flow cleans its leads before it loads them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: Region = Field(
        "US",
        description="Country (ISO code, two capitals) of numbers without a country code. "
        'Write "NO" in quotes, or YAML reads it as false.',
    )
    region_field: str | None = Field(
        None,
        pattern=r"""^[^'"\\]+$""",
        description="Field of the lead's data that holds its own ISO country code; "
        "where it is empty, region holds.",
    )
    phones: tuple[PhoneField, ...] = Field(
        ("phone1", "phone2", "phone3"),
        min_length=1,
        description="Phone fields in order of preference; the first usable number is taken.",
    )
    keep: Literal["newest", "first"] = Field(
        "newest",
        description="Which of several equal leads stays: the last uploaded (then the largest row key), "
        "or the first in the snapshot.",
    )
    unique_by: tuple[Literal["key", "phone"], ...] = Field(
        ("key", "phone"),
        description="What must not repeat in one night: the customer key, the number, both, or nothing.",
    )
    suppression: tuple[SuppressionList, ...] = Field(
        (), description="Lists of numbers that must not be called."
    )
    packs: PackRules | None = Field(
        None,
        description="Rules of the called party's country: calling hours, time zone, consent. Left out: none are asked.",
    )
    calls: CallRules | None = Field(
        None, description="Rules over earlier calls: opt-outs, dead numbers, called recently, attempts."
    )
    scrub: tuple[ScrubCheck, ...] = Field(
        (), description="Questions to scrub services. A lead without an answer that counts is held."
    )
    rule: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description='Your own rule as "package.module:function": gets a pandas.DataFrame of leads and '
        "returns a pandas.Series of reasons, empty for leads to keep.",
    )
    require_key: bool = Field(False, description="Whether a lead without a customer key is rejected.")
    formulas: Literal["drop", "keep"] = Field(
        "drop",
        description="What happens to = + - @ in front of a text in the data that a spreadsheet would run.",
    )

    @field_validator("phones", "unique_by")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each entry may stand only once")
        return value

    @field_validator("suppression", "scrub")
    @classmethod
    def _names_differ(cls, value: tuple[SuppressionList | ScrubCheck, ...]) -> Any:
        names = [entry.name for entry in value]
        if len(set(names)) != len(names):
            raise ValueError("two entries have the same name")
        return value

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Rules of the flow's packs that nothing in the flow checks, in words."""
        if self.packs is None:
            return ()
        scrubbed = {entry.registry for entry in self.suppression}
        rules = self.packs.rules
        found = [
            f"the do-not-call registry of {rule.code} (no suppression list has `registry: {rule.code}`)"
            for rule in rules
            if rule.registry_max_age_days is not None and rule.code not in scrubbed
        ]
        capped = ", ".join(rule.code for rule in rules if rule.attempts is not None)
        if capped and self.calls is None:
            found.append(f"the attempt caps of {capped} (the flow has no `calls`)")
        return tuple(found)

    @property
    def calls_max_age_hours(self) -> float:
        """How old the newest staged calls may be: as `calls` says, and no older than an opt-out may stay open."""
        limit = self.calls.max_age_hours if self.calls else 0.0
        days = [rule.opt_out_days for rule in self.packs.rules if rule.opt_out_days] if self.packs else []
        return min([limit, *(24.0 * most for most in days)])

    @property
    def dated_suppression(self) -> tuple[SuppressionList, ...]:
        """The suppression lists, a registry's with the age that its rule pack allows where none is given."""
        override = self.packs.override if self.packs else {}
        return tuple(
            entry
            if entry.registry is None or entry.max_age_days is not None
            else entry.model_copy(
                update={
                    "max_age_days": packs.rules_of(
                        entry.registry, override.get(entry.registry)
                    ).registry_max_age_days
                }
            )
            for entry in self.suppression
        )
