"""Rule packs: what a jurisdiction asks of whoever calls its people, as dated data with a source beside each value.

Product rules, not legal advice. A pack is an entry of a YAML file in this folder; each of its values is a `Fact`
that says where it was read, when, and what is not settled. A flow chooses countries and may set any value itself
(`Values`). Only pydantic and YAML are imported here, because flow files are read while Airflow parses DAGs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from include.hours import Span, read_week

Calls = Literal["live", "automated"]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
MonthDay = Annotated[str, StringConstraints(pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]
Week = dict[str, str]
Value = TypeVar("Value")

FOLDER: Final = Path(__file__).parent
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a DAG file waits for it


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClosedOn(_Data):
    """Days on which nobody is called, whatever the weekday."""

    calendars: tuple[Code, ...] = Field(
        (), description="Countries, or parts of one (AU, US-RI), whose public holidays are meant."
    )
    dates: tuple[MonthDay, ...] = Field((), description="Days of every year, as MM-DD.")


class Attempts(_Data):
    """How often one number may be tried."""

    max: int = Field(ge=1, description="Most calls to one number ...")
    hours: float = Field(gt=0, description="... within so many hours.")


class Values(_Data):
    """Your own values for a jurisdiction; they replace those of its pack. `null` takes a rule away."""

    calling_hours: Week | None = Field(
        None,
        description="Weekday or range of weekdays -> hours at the called party's place, as in office_hours.",
    )
    closed_on: ClosedOn | None = Field(None, description="Days without calls.")
    registry_max_age_days: int | None = Field(
        None, ge=0, description="Oldest registry file that may still be used, in days."
    )
    attempts: Attempts | None = Field(None, description="Most attempts of one number.")
    opt_out_days: int | None = Field(
        None, ge=0, description="Days within which a request not to be called must be followed."
    )
    consent_for: tuple[Calls, ...] | None = Field(
        None, description="Kinds of call that need consent: live, automated, or both."
    )

    @field_validator("calling_hours")
    @classmethod
    def _readable(cls, value: Week | None) -> Week | None:
        if value is not None:
            read_week(value)
        return value


class Fact(_Data, Generic[Value]):
    """A value, and where it comes from."""

    value: Value
    source: str = Field(min_length=1)
    url: str = Field(pattern=r"^https?://")
    as_of: date
    unsure: str = ""


class Part(_Data):
    """A state or province: what tells that somebody is there, and its time zones."""

    name: str
    zones: tuple[str, ...] = Field(min_length=1)
    area_codes: tuple[int, ...] = ()

    @field_validator("zones")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for zone in value:
            ZoneInfo(zone)
        return value


class Pack(_Data):
    """One jurisdiction: a country (with its `regions` and `parts`), or a part of one whose code begins with it."""

    code: Code
    name: str
    regions: tuple[Code, ...] = ()
    parts: dict[str, Part] = Field(default_factory=dict)
    calling_hours: Fact[Week] | None = None
    closed_on: Fact[ClosedOn] | None = None
    registry_max_age_days: Fact[int] | None = None
    attempts: Fact[Attempts] | None = None
    opt_out_days: Fact[int] | None = None
    consent_for: Fact[tuple[Calls, ...]] | None = None

    @model_validator(mode="after")
    def _a_country_has_hours(self) -> Pack:
        if "-" not in self.code and (not self.regions or self.calling_hours is None):
            raise ValueError(f"{self.code}: a country needs regions and calling_hours")
        Values.model_validate({name: fact.value for name, fact in self.facts.items()})
        return self

    @property
    def facts(self) -> dict[str, Fact[object]]:
        """Its values by name, those that it has."""
        found = {name: getattr(self, name) for name in Values.model_fields}
        return {name: fact for name, fact in found.items() if fact is not None}


class PackFile(_Data):
    """A file of packs; its version is the date on which it was last gone through."""

    version: date
    packs: tuple[Pack, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Rules:
    """What holds in a jurisdiction for one flow: its pack's values, or the flow's own.

    :param label: code and version, as evidence shows them; `own` where the flow changed a value.
    :param week: open spans of each weekday, Monday first; None where the jurisdiction sets no hours of its own.
    """

    code: str
    label: str
    week: tuple[tuple[Span, ...], ...] | None
    closed_on: ClosedOn | None
    registry_max_age_days: int | None
    attempts: Attempts | None
    opt_out_days: int | None
    consent_for: tuple[Calls, ...]


@cache
def _files() -> tuple[PackFile, ...]:
    return tuple(
        PackFile.model_validate(yaml.load(path.read_text(encoding="utf-8"), _LOADER))  # noqa: S506 (a SafeLoader)
        for path in sorted(FOLDER.glob("*.yaml"))
    )


@cache
def packs() -> Mapping[str, Pack]:
    """Every pack by its code, in the order of the files."""
    return MappingProxyType({pack.code: pack for file in _files() for pack in file.packs})


@cache
def version(code: str) -> str:
    """The date of a pack's version, ISO."""
    return next(
        file.version for file in _files() if any(pack.code == code for pack in file.packs)
    ).isoformat()


def countries() -> tuple[str, ...]:
    """Codes of the countries that have a pack."""
    return tuple(code for code in packs() if "-" not in code)


def parts_with_rules(country: str, own: Mapping[str, Values]) -> tuple[str, ...]:
    """Codes of the parts of a country that have rules of their own, in a pack or in a flow file, in order."""
    return tuple(code for code in sorted({*packs(), *own}) if code.startswith(f"{country}-"))


def known(code: str) -> bool:
    """Whether a code is a country with a pack, or a part of one."""
    country, _, part = code.partition("-")
    return country in countries() and (not part or part in packs()[country].parts)


def rules_of(code: str, own: Values | None = None) -> Rules:
    """What holds in a jurisdiction, with a flow's own values in front of the pack's.

    A part without a pack has the flow's values only, under the version of its country's pack.
    """
    pack = packs().get(code)
    values: dict[str, object] = {name: fact.value for name, fact in pack.facts.items()} if pack else {}
    if own is not None:
        values |= {name: getattr(own, name) for name in own.model_fields_set}
    found = Values.model_validate(values)
    return Rules(
        code=code,
        label=f"{code} {version(code if pack else code[:2])}"
        + (" own" if own is not None and own.model_fields_set else ""),
        week=None if found.calling_hours is None else read_week(found.calling_hours),
        closed_on=found.closed_on,
        registry_max_age_days=found.registry_max_age_days,
        attempts=found.attempts,
        opt_out_days=found.opt_out_days,
        consent_for=found.consent_for or (),
    )
