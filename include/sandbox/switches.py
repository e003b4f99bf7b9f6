"""What a tester may switch in each vendor: one model per vendor, the vendor's documented default first.

A mark such as PL-14 or PC-5 names a hole of the vendor's contract: the switch plays the other reading of it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
    media_as_json: bool = Field(
        default=False, description="media come as a JSON string holding base64 (PL-6)"
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


class Switches(BaseModel):
    """All switches of the sandbox."""

    model_config = ConfigDict(extra="forbid")

    platform: PlatformSwitches = PlatformSwitches()
    purecallerid: PureCallerIdSwitches = PureCallerIdSwitches()
