"""The settings of the clean step, as a flow file states them (section `clean:`).

Only pydantic is imported here, because flow files are read while Airflow parses DAGs.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

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
        "per line. A relative path starts at the project's folder.",
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
        None, description="Date of the list. Without it, a file's date is the day it was last changed."
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

    @field_validator("suppression")
    @classmethod
    def _names_differ(cls, value: tuple[SuppressionList, ...]) -> tuple[SuppressionList, ...]:
        names = [entry.name for entry in value]
        if len(set(names)) != len(names):
            raise ValueError("two suppression lists have the same name")
        return value
