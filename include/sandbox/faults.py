"""Faults: a list of rules, each of which strikes the nth matching call, page, webhook, load or archive of a vendor.

A rule is `{"vendor", "fault", "nth": 1, "times": 1, "op": null, "match": null, ...}`. It counts what matches
from the moment it is set, and strikes from the nth match on, `times` times (`null` = for ever). `op` is the
name of the operation, as in `GET /_sandbox/state/<vendor>`; `match` is a part of the path and query as sent.

Where a fault strikes is a property of its name:

* calls: `drop_before` (the connection closes, nothing was done), `drop_after` (the work is done, the answer
  is lost), `delay` (`seconds`), `late_answer` (the work is done, the answer comes `seconds` later), `status`
  (`status`, `retry_after`; by default 429), `expired_token` (401), `broken_json` (the body is cut in half),
  `truncated` (the same, but Content-Length promises the whole, and the connection closes);
* cursor pages of the Platform API: `repeated_cursor` (the next page is this page), `looping_cursor` (the next
  page is the one before), `changed_filter` (the next page's first filter has another value), `no_metadata`,
  `empty_page` (no items yet, go on under another cursor);
* webhooks of PureCallerID and Ozonetel (`match`: a part of the URL): `webhook_lost`, `webhook_late` (`seconds`),
  `webhook_doubled`, `webhook_reordered` (after the next one), `webhook_garbage` (the body is cut in half),
  `webhook_forged` (also a call to a made-up token, and one with another load's id to the right URL);
* loads of PureCallerID and Ozonetel (`match`: a part of the list's or campaign's name), midway through the
  rows: `load_error` (ends as ERROR, or Fail), `load_crash` (is never heard of again);
* imports of iSales (`match`: a part of the file's name) and bulk imports of the Platform API: `import_error` (fails
  after half the rows, which are in), `import_stuck` (runs for ever), and of the Platform API `import_loses_row`
  (the last row is neither created nor among the errors);
* logins at the SFTP server, `login_refused`, `login_cut` (the connection closes), uploads to it (`match`: a part
  of the path; they strike after `after_bytes` of the file): `upload_cut` (the connection closes), `upload_full`
  (no space left), `upload_slow` (each block takes `seconds`), `upload_short` (the rest is lost, silently),
  `upload_corrupt` (one byte changes), and renames: `rename_refused`, `rename_lost` (done, then the connection closes);
* archives of Vicidial (calls that passed all checks): `crash_in_insert`, `crash_in_update`, `crash_in_delete`
  (the server dies when the step did half of the leads), `crash_after_insert`, `crash_after_update` (between
  the steps), `agent_edits` (an agent calls the first `leads` leads between update and delete).
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

Vendor = Literal["platform", "purecallerid", "vicidial", "ozonetel", "isales", "sftp"]
CallFault = Literal[
    "drop_before", "drop_after", "delay", "late_answer", "status", "expired_token", "broken_json", "truncated"
]
PageFault = Literal["repeated_cursor", "looping_cursor", "changed_filter", "no_metadata", "empty_page"]
WebhookFault = Literal[
    "webhook_lost",
    "webhook_late",
    "webhook_doubled",
    "webhook_reordered",
    "webhook_garbage",
    "webhook_forged",
]
LoadFault = Literal["load_error", "load_crash"]
ArchiveFault = Literal[
    "crash_in_insert",
    "crash_after_insert",
    "crash_in_update",
    "crash_after_update",
    "crash_in_delete",
    "agent_edits",
]
ImportFault = Literal["import_error", "import_stuck", "import_loses_row"]
LoginFault = Literal["login_refused", "login_cut"]
UploadFault = Literal["upload_cut", "upload_full", "upload_slow", "upload_short", "upload_corrupt"]
RenameFault = Literal["rename_refused", "rename_lost"]
Point = Literal["call", "page", "webhook", "load", "archive", "import", "login", "upload", "rename"]

POINTS: Final[dict[str, Point]] = {
    **dict.fromkeys(get_args(CallFault), "call"),
    **dict.fromkeys(get_args(PageFault), "page"),
    **dict.fromkeys(get_args(WebhookFault), "webhook"),
    **dict.fromkeys(get_args(LoadFault), "load"),
    **dict.fromkeys(get_args(ArchiveFault), "archive"),
    **dict.fromkeys(get_args(ImportFault), "import"),
    **dict.fromkeys(get_args(LoginFault), "login"),
    **dict.fromkeys(get_args(UploadFault), "upload"),
    **dict.fromkeys(get_args(RenameFault), "rename"),
}
"""Where each fault strikes."""

POINTS_OF: Final[dict[str, frozenset[Point]]] = {
    "platform": frozenset({"call", "page", "import"}),
    "purecallerid": frozenset({"call", "webhook", "load"}),
    "vicidial": frozenset({"call", "archive"}),
    "isales": frozenset({"call", "import"}),
    "sftp": frozenset({"login", "upload", "rename"}),
    "ozonetel": frozenset({"call", "webhook", "load"}),
}
"""Where each vendor can be struck."""


class Rule(BaseModel):
    """One fault, and which of the matching calls it strikes."""

    model_config = ConfigDict(extra="forbid")

    vendor: Vendor
    fault: (
        CallFault
        | PageFault
        | WebhookFault
        | LoadFault
        | ArchiveFault
        | ImportFault
        | LoginFault
        | UploadFault
        | RenameFault
    )
    nth: int = Field(default=1, ge=1)
    times: int | None = Field(default=1, ge=1)
    op: str | None = None
    match: str | None = None
    seconds: float = Field(default=1.0, ge=0)
    status: int = Field(default=429, ge=400, le=599)
    retry_after: int | None = Field(default=None, ge=0)
    leads: int = Field(default=1, ge=1)
    after_bytes: int = Field(default=0, ge=0)

    _seen: int = PrivateAttr(default=0)

    @model_validator(mode="after")
    def _vendor_has_it(self) -> Rule:
        if POINTS[self.fault] not in POINTS_OF[self.vendor]:
            raise ValueError(f"{self.vendor} has no {self.fault}")
        return self

    def strikes(self, vendor: str, point: Point, op: str, uri: str) -> bool:
        """Count one call if it matches, and tell whether this one is struck."""
        if (vendor, point) != (self.vendor, POINTS[self.fault]):
            return False
        if (self.op is not None and op != self.op) or (self.match is not None and self.match not in uri):
            return False
        self._seen += 1
        return self._seen >= self.nth and (self.times is None or self._seen < self.nth + self.times)


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def fire(self, vendor: str, point: Point, op: str, uri: str = "") -> list[Rule]:
        """Return the rules that strike this call, in the order they were set; every rule counts it."""
        return [rule for rule in self.rules if rule.strikes(vendor, point, op, uri)]
