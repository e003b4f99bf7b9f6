"""What a tester may switch in each vendor: one model per vendor, the vendor's documented default first.

A mark such as PL-14, PC-5, VA-4 or OZ-1 names a hole of the vendor's contract: the switch plays the other reading.
"""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from include.sandbox.isales_signature import QueryLine
from include.sandbox.vicidial_db import TEXT_WIDTHS


class PlatformSwitches(BaseModel):
    """Readings of the Platform API that the contract leaves open, and its speed."""

    model_config = ConfigDict(extra="forbid")

    page_size: int = Field(default=100, ge=1, description="items per cursor page (PL-14)")
    page_delay_ms: float = Field(default=0, ge=0, description="milliseconds that each cursor page takes")
    uri_without_prefix: bool = Field(
        default=False, description="nextUri and mediaUri start with /v3.0/ (case 36)"
    )
    offset_without_colon: bool = Field(
        default=False, description="times end in -0500 instead of -05:00 (case 37)"
    )
    times_in_utc: bool = Field(default=False, description="times end in Z")
    media_as_json: bool = Field(
        default=False, description="media come as a JSON string holding base64 (PL-6)"
    )
    created_status: int = Field(default=201, ge=200, le=299, description="what creating answers (PL-8)")
    update_answers_lead: bool = Field(
        default=False, description="an update answers 200 and the lead instead of 204 (PL-9)"
    )
    null_clears: bool = Field(default=False, description="a null in an update empties the field (PL-9)")
    reject_duplicate_customer_key: bool = Field(
        default=False, description="a customerKey may stand only once in a list (PL-19)"
    )
    bulk_step_seconds: float = Field(
        default=0.2, ge=0, description="an import is queued so long, then processed so long"
    )
    bulk_words: list[str] = Field(
        default=["queued", "processing", "completed", "failed"],
        min_length=4,
        max_length=4,
        description="the words for the four statuses of an import (PL-11)",
    )
    bulk_most_leads: int = Field(default=1_000, ge=1, description="longer imports answer 413 (PL-18)")
    error_list_as_object: bool = Field(
        default=False, description="errorList is an object by position instead of a list (PL-11)"
    )
    erased_come_back_at: AwareDatetime | None = Field(
        default=None, description="erased leads are uploaded anew at this time; null = never"
    )


class PureCallerIdSwitches(BaseModel):
    """Readings of the PureCallerID contract, and the pace of its loads."""

    model_config = ConfigDict(extra="forbid")

    step_seconds: float = Field(default=0.2, ge=0, description="pause before each step of a load (PC-13)")
    increment_rows: int = Field(
        default=10_000, ge=1, description="rows per increment; a webhook follows each but the last"
    )
    max_file_bytes: int = Field(default=50 * 1024 * 1024, ge=1, description="larger files answer 413 (PC-12)")
    allow_http_webhook: bool = Field(
        default=True, description="take webhooks to plain http, on loopback only (case 17)"
    )
    strip_us_prefix: bool = Field(
        default=False, description="drop a leading +1 or 1 before counting ten digits (PC-5)"
    )
    broken_name_json: bool = Field(
        default=False, description='answer the vendor\'s broken `"name": x.csv"` (case 18)'
    )
    unique_id_column: str = Field(
        default="uniqueId", description="columnId of Five9's Reserved Unique ID Field"
    )
    inactive: list[str] | None = Field(
        default=None, description="ten-digit numbers out of service; null = a hash rule"
    )
    dnc: list[str] | None = Field(
        default=None, description="ten-digit numbers on a watch list; null = a hash rule"
    )


class VicidialSwitches(BaseModel):
    """Readings of the archive API that the contract leaves open, and the office's hours."""

    model_config = ConfigDict(extra="forbid")

    office_hours: bool = Field(default=True, description="refuse to archive inside office hours (VA-4)")
    office_opens: time = Field(default=time(8), description="the first moment inside, local time")
    office_closes: time = Field(default=time(17), description="the first moment outside, on the same day")
    office_weekdays: list[Annotated[int, Field(ge=1, le=7)]] = Field(
        default=[1, 2, 3, 4, 5], description="days with office hours; 1 is Monday"
    )
    office_zone: str = Field(default="Africa/Johannesburg", description="the office's IANA zone")
    broken_commas: bool = Field(
        default=False, description="four of the 400 bodies miss a comma, as printed by the vendor (case 25)"
    )
    legacy_status_code: bool = Field(default=False, description="bodies carry `http_code` too (case 26)")
    archive_widths: dict[str, int] = Field(
        default={}, description="text columns that are narrower in the archive, by name: an older schema"
    )

    @field_validator("office_zone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        return _zone(zone)

    @field_validator("archive_widths")
    @classmethod
    def _columns_are_text(cls, widths: dict[str, int]) -> dict[str, int]:
        for name, width in widths.items():
            if not 1 <= width <= TEXT_WIDTHS.get(name, 0):
                raise ValueError(f"{name} is no text column, or has no such width")
        return widths


class OzonetelSwitches(BaseModel):
    """Readings of the Ozonetel contract that its pages leave open, and the pace of its queue."""

    model_config = ConfigDict(extra="forbid")

    requests_per_minute: int = Field(
        default=5, ge=1, description="calls of one key in any 60 seconds (OZ-14)"
    )
    refused_hits_count: bool = Field(default=False, description="refused calls count as well (OZ-14)")
    work_seconds: float = Field(default=0.2, ge=0, description="pause before each load of the queue")
    strict_encoding: bool = Field(default=False, description="do not read JSON bodies (OZ-1)")
    error_http_status: int = Field(default=200, ge=200, le=599, description="status of all errors (OZ-7)")
    double_encoded: bool = Field(
        default=False, description="answers are JSON text in a JSON string (case 28)"
    )
    csv_quoted: bool = Field(default=False, description="answers are quoted as in a CSV (case 28)")
    bare_success: bool = Field(default=False, description="only `transactionId` tells of success (OZ-8)")
    callback_shape: Literal["string", "object", "form", "raw_unescaped"] = Field(
        default="string", description="how a callback holds `data` (OZ-11)"
    )
    row_length: Literal["names_and_values", "values", "json"] = Field(
        default="names_and_values", description="what counts for the 2000 characters of a row (OZ-4)"
    )
    bad_row_fails_all: bool = Field(default=False, description="one invalid row fails its load (OZ-5)")
    duplicate_key: Literal["digits", "text", "last_10_digits"] = Field(
        default="digits", description="what of a number is compared (OZ-15)"
    )
    duplicates: Literal["reported", "counted", "processed"] = Field(
        default="reported",
        description="in the failed file; only counted as not processed; or counted as processed (OZ-13)",
    )
    reason_column: str = Field(
        default="Reason", description="last column of the failed file; empty: none (OZ-12)"
    )
    failed_file_reversed: bool = Field(default=False, description="the failed file's last row first (OZ-16)")
    spaces_around_path: bool = Field(
        default=False, description="`failedFilePath` as printed, with stray spaces"
    )


class IsalesSwitches(BaseModel):
    """Readings of the iSales contract, and the pace of its imports."""

    model_config = ConfigDict(extra="forbid")

    step_seconds: float = Field(
        default=0.2, ge=0, description="pause before an import runs, and before it ends"
    )
    query_line: QueryLine = Field(
        default="left_out",
        description="the signature's line of an empty query: left_out, empty or either (IS-3)",
    )
    clock_tolerance_minutes: float | None = Field(
        default=15, ge=0, description="how far a signature's time may be off (IS-4); null = any time"
    )
    zone: str = Field(
        default="Asia/Shanghai", description="the tenant's IANA zone, for scheduled imports (IS-5)"
    )
    half_hours: bool = Field(default=False, description="`minute` may only be 00 or 30 (IS-5)")
    max_records: int = Field(default=500_000, ge=1, description="a longer workbook fails as a whole (IS-16)")
    max_file_bytes: int = Field(default=100 * 1024 * 1024, ge=1, description="a larger file fails (IS-13)")
    take_repeats: bool = Field(default=False, description="numbers that are known are taken again (IS-7)")
    blacklist: list[str] | None = Field(
        default=None, description="numbers that count as blackNum; null = an older version without that field"
    )
    import_code: str | None = Field(
        default=None, description="answer every import call with this code, and import nothing"
    )
    short_errors: bool = Field(
        default=False, description="errors carry only `resultCode` and `description` (case 32)"
    )
    broken_sample: bool = Field(
        default=False, description="an accepted import answers the vendor's broken JSON (case 33)"
    )
    ignore_task_filter: bool = Field(default=False, description="queries ignore `importTaskIds`")
    without_count: bool = Field(default=False, description="queries answer without `count`")
    oldest_first: bool = Field(default=False, description="queries list the oldest task first")
    visible_after_seconds: float = Field(
        default=0, ge=0, description="a new task shows in queries only after this time (IS-11)"
    )

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        return _zone(zone)


def _zone(name: str) -> str:
    """Check an IANA zone."""
    try:
        ZoneInfo(name)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise ValueError("is no IANA time zone") from None
    return name


class Switches(BaseModel):
    """All switches of the sandbox."""

    model_config = ConfigDict(extra="forbid")

    platform: PlatformSwitches = PlatformSwitches()
    purecallerid: PureCallerIdSwitches = PureCallerIdSwitches()
    vicidial: VicidialSwitches = VicidialSwitches()
    isales: IsalesSwitches = IsalesSwitches()
    ozonetel: OzonetelSwitches = OzonetelSwitches()
