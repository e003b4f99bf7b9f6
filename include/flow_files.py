"""Flow files: one YAML file per source, list or campaign. Adding a list is adding a file.

Each file says its `kind`; the models below are the schema. A mistake is reported with file, key and rule, and
breaks only the flow of that file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, cast
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from include import settings
from include.guards import GuardLimits
from include.hours import OfficeHours
from include.leads.columns import source_problem
from include.leads.retention import ArchiveGuards, Keep, Selection
from include.leads.rules import CleanRules
from include.vendors import purecallerid, vicidial

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=60)]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]
"""A tag or an owner: what is longer, Airflow refuses for the whole DAG file."""


class FlowFileError(Exception):
    """A flow file cannot be used. The message names the file and, one a line, each key with the rule it breaks."""

    def __init__(self, file: str, problems: list[str]) -> None:
        self.file, self.problems = file, problems
        super().__init__("\n".join([f"{file} cannot be used:", *(f"- {problem}" for problem in problems)]))


class FlowFile(BaseModel):
    """What every flow file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    name: Name = Field(description="Name of the flow: small letters, digits and _. It ends the DAG id.")
    title: str = Field("", description="One line for people, shown on the DAG's page.")
    owner: Label = Field("listkeeper", description="Who is asked when the flow fails.")
    tags: tuple[Label, ...] = Field((), description="Extra tags of the DAG in Airflow's UI.")

    @property
    def dag_id(self) -> str:
        """Id of the DAG this file becomes."""
        return f"{self.kind}__{self.name}"


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


@dataclass(frozen=True)
class Recipe:
    """What a flow wants sent, and how its vendor takes it; what a plan is made by.

    :param columns: target column and source of each, in order; sources are `phone`, a lead column or `data.<field>`.
    :param phone: column of the kept leads that holds numbers in the form the vendor takes; a lead without one is
        rejected as `not_ten_digits`.
    :param replaces: whether the load empties the list first.
    :param updates: whether a lead that is sent again updates its old self instead of standing there twice.
    :param unique: target column by which an append updates; a lead without a value there is rejected as
        `key_missing`, because it would stand there twice.
    :param options: everything else that changes what the vendor does; part of the plan's hash.
    """

    columns: tuple[tuple[str, str], ...]
    phone: Literal["national", "phone"]
    replaces: bool
    updates: bool
    options: dict[str, Any]
    unique: str | None = None


class Column(BaseModel):
    """One column of what is sent: where its values come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Text = Field(description="Id of the target column in the dialer, such as number1.")
    source: Text = Field(
        alias="from",
        description="`phone` (the cleaned number), a lead column such as customer_key, or data.<field>.",
    )

    @field_validator("source")
    @classmethod
    def _known_source(cls, value: str) -> str:
        if problem := source_problem(value):
            raise ValueError(problem)
        return value


class Delivery(FlowFile):
    """What every flow that writes to a vendor's list has in common."""

    source: Name = Field(description="Name of the source whose snapshot is delivered.")
    clean: CleanRules = Field(CleanRules(), description="How leads are cleaned.")  # type: ignore[call-arg]
    guards: GuardLimits = Field(GuardLimits(), description="When nothing may be written.")  # type: ignore[call-arg]
    released: bool = Field(
        False,
        description="false: every run only plans and holds its rows. true: scheduled runs deliver.",
    )
    columns: tuple[Column, ...] = Field(min_length=1, description="Columns to send, in order.")

    @property
    def vendor(self) -> str:
        """Name of the vendor that is called."""
        raise NotImplementedError

    @property
    def target(self) -> str:
        """The ledger's name for the list this flow writes to."""
        raise NotImplementedError

    @property
    def list_name(self) -> str:
        """The list or campaign by the name people know."""
        raise NotImplementedError

    @property
    def recipe(self) -> Recipe:
        """What is sent and how."""
        raise NotImplementedError

    @property
    def safe_to_resend(self) -> bool:
        """Whether a load whose outcome is unknown may be sent again (docs/decisions.md, the table of vendor calls)."""
        raise NotImplementedError


class PureCallerIdFlow(Delivery):
    """One Five9 or RingCX list loaded through PureCallerID: DAG `load_purecallerid__<name>`."""

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
            columns=[column.to for column in self.columns],
        )
        if problems:
            raise ValueError("; ".join(problems))
        if self.unique_column is not None and self.dialer != "five9":
            raise ValueError("unique_column: only Five9 has one; leave it out for ringcx")
        if self.unique_column is not None and self.unique_column not in [
            column.to for column in self.columns
        ]:
            raise ValueError(f"unique_column: {self.unique_column} is not among columns[].to")
        phone = purecallerid.PHONE_COLUMN[self.dialer]
        if next(column.source for column in self.columns if column.to == phone) != "phone":
            raise ValueError(f"the column {phone} must come from `phone`, the cleaned number")
        return self

    @property
    def vendor(self) -> str:
        """Name of the vendor that is called."""
        return purecallerid.VENDOR

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
            columns=tuple((column.to, column.source) for column in self.columns),
            phone="national",
            replaces=self.mode == "REPLACE",
            updates=self.unique_column is not None,
            options={"dialer": self.dialer, "campaign": self.campaign, "dedupe": self.dedupe},
            unique=self.unique_column if self.mode == "APPEND" else None,
        )

    @property
    def safe_to_resend(self) -> bool:
        """Whether a load whose outcome is unknown may be sent again."""
        return purecallerid.safe_to_resend(
            self.dialer, self.mode, unique_mapped=self.unique_column is not None
        )


class ArchiveFlow(FlowFile):
    """Old Vicidial leads archived after hours: DAG `archive_vicidial_leads__<name>`."""

    kind: Literal["archive_vicidial_leads"]
    connection: Text = Field("vicidial_default", description="Airflow connection of type vicidial.")
    schedule: Text = Field(
        "5 18 * * *",
        pattern=r"^\S+ \S+ \S+ \S+ \S+$",
        description="When to select and plan: a cron expression, in the zone.",
    )
    zone: Text | None = Field(
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

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return None if value is None else known_zone(value)

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
    def vendor(self) -> str:
        """Name of the vendor that is called."""
        return vicidial.VENDOR

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


KINDS: Final[dict[str, type[FlowFile]]] = {
    "pull_platform_leads": PlatformSource,
    "load_purecallerid": PureCallerIdFlow,
    "archive_vicidial_leads": ArchiveFlow,
}

AnyFlow = TypeVar("AnyFlow", bound=FlowFile)


@dataclass(frozen=True)
class BrokenFlow:
    """A flow file with a mistake: the id its DAG would have, and what is wrong."""

    dag_id: str
    error: FlowFileError


def chosen_night(form: str | None, partition: str | None) -> date | None:
    """The night that a run is for, None when nobody chose one.

    :param form: what the trigger form says.
    :param partition: the run's partition key.

    Raises ValueError for a text that is no ISO date, and when the two name different nights.
    """
    nights = set()
    for text in filter(None, (form, partition)):
        try:
            nights.add(date.fromisoformat(str(text)))
        except ValueError:
            raise ValueError(f"{text!r} is no night; write a date such as 2026-11-20.") from None
    if len(nights) > 1:
        raise ValueError(
            f"The form says the night {form}, the partition key says {partition}: give only one of them."
        )
    return next(iter(nights), None)


def known_zone(value: str) -> str:
    """Return an IANA zone name unchanged. Raises ValueError for a name that is none."""
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{value!r} is no IANA time zone; write one such as Australia/Sydney") from None
    return value


class _Loader(yaml.SafeLoader):
    """YAML without its silent surprises: a key that stands twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in written:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value} stands twice", problem_mark=key.start_mark
                )
            written.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises FlowFileError."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise FlowFileError(
            path.name, [f"{where}this is no YAML ({getattr(error, 'problem', error)})"]
        ) from None
    except (ValueError, RecursionError, OSError) as error:  # a date such as 2026-13-45 is a ValueError
        why = str(error) if type(error) is ValueError else type(error).__name__
        raise FlowFileError(path.name, [f"the file cannot be read ({why})"]) from None


def read_flow_file(path: Path) -> FlowFile:
    """Read and check one flow file. Raises FlowFileError."""
    raw = _read_yaml(path)
    if not isinstance(raw, dict):
        raise FlowFileError(path.name, ["the file must hold keys and values, beginning with kind and name"])
    model = KINDS.get(str(raw.get("kind")))
    if model is None:
        raise FlowFileError(path.name, [f"kind: must be one of {', '.join(KINDS)}, not {raw.get('kind')!r}"])
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise FlowFileError(path.name, [_problem(item) for item in error.errors()]) from None


def load_flows(kind: type[AnyFlow], folder: Path | None = None) -> tuple[list[AnyFlow], list[BrokenFlow]]:
    """Read every flow file of one kind: the good ones in name order, and the broken ones.

    A second file that claims the name of an earlier one, or writes the same list, is broken. Files whose kind cannot
    be told are reported under the first kind of `KINDS`, so that no file is passed over in silence.
    """
    folder = folder or settings.flows_folder()
    good: dict[str, AnyFlow] = {}
    targets: dict[str, str] = {}
    wrong: list[tuple[str, Path, FlowFileError]] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        claimed, name = _claims(path)
        if KINDS.get(claimed, next(iter(KINDS.values()))) is not kind:
            continue
        prefix = claimed if claimed in KINDS else next(iter(KINDS))
        try:
            flow = cast("AnyFlow", read_flow_file(path))
            if flow.name in good:
                raise FlowFileError(path.name, [f"name: another file already defines {flow.dag_id}"])
            if isinstance(flow, Delivery) and targets.setdefault(flow.target, path.name) != path.name:
                raise FlowFileError(path.name, [f"list: {targets[flow.target]} already writes this list"])
            good[flow.name] = flow
        except FlowFileError as error:
            wrong.append((f"{prefix}__{name}", path, error))
    broken: list[BrokenFlow] = []
    taken = {flow.dag_id for flow in good.values()}
    # After all good ones, so that none of them loses its DAG to a broken file.
    for dag_id, path, mistake in wrong:
        free = dag_id if dag_id not in taken else f"{dag_id}_{_safe(path.name)}"
        taken.add(free)
        broken.append(BrokenFlow(free, mistake))
    return [good[name] for name in sorted(good)], broken


def find_flow(kind: type[AnyFlow], name: str, folder: Path | None = None) -> AnyFlow:
    """Read the flow of one name. Raises FlowFileError when no file defines it or its file is broken."""
    good, broken = load_flows(kind, folder)
    for flow in good:
        if flow.name == name:
            return flow
    for wrong in broken:
        if wrong.dag_id.endswith(f"__{name}"):
            raise wrong.error
    raise FlowFileError(str(folder or settings.flows_folder()), [f"no file defines {name}"])


def _claims(path: Path) -> tuple[str, str]:
    """The kind and name a file claims, as far as they can be read, to name the DAG of a broken one."""
    try:
        raw = _read_yaml(path)
    except FlowFileError:
        raw = None
    raw = raw if isinstance(raw, dict) else {}
    return str(raw.get("kind")), _safe(str(raw.get("name") or path.stem))


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in text.lower())[:60] or "unnamed"


def _problem(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "the file"
    if item["type"] == "extra_forbidden":
        return f"{key}: there is no such key"
    if item["type"] == "missing":
        return f"{key}: is needed"
    return f"{key}: {item['msg'].removeprefix('Value error, ')}"
