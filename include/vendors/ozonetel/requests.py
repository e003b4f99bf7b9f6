"""What may be asked of Ozonetel: the limits, the columns, and the fields of a load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, get_args
from urllib.parse import urlencode

import orjson
from urllib3.filepost import encode_multipart_formdata

from include.vendors.errors import RequestRefusedError

VENDOR: Final = "ozonetel"

DEFAULT_HOST: Final = "https://in1-ccaas-api.ozonetel.com"

LOAD_PATH: Final = "/cloudAgentRestAPI/index.php/AddCampaignBulkDataV4/addBulkData/format/json"

MAX_ROWS: Final = 500
"""Rows of one request (DOC)."""

MAX_ROW_CHARS: Final = 2000
"""Characters of one row, the header names counted in (DOC; OZ-4 on how they are counted)."""

CALLS: Final = 5

WINDOW_SECONDS: Final = 60.0
"""At most so many requests in so many seconds (DOC; OZ-14: a sliding window per key)."""

PHONE: Final = "PhoneNumber"

NAME: Final = "Name"

PRIORITY: Final = "Priority"

EXPIRY: Final = "ExpiryDate"

AGENT: Final = "AgentId"

SKILL: Final = "skill"

NAME_CHARS: Final = r"A-Za-z0-9_ ().+$%:\-"
"""What a Name may hold, as the inside of a regular expression's brackets (DOC)."""

PRIORITIES: Final = (1, 99)

Encoding = Literal["form", "multipart", "json"]

ENCODINGS: Final[tuple[Encoding, ...]] = get_args(Encoding)

Duplicates = Literal["skip_all", "skip_existing", "add_all"]

DUPLICATE_FLAGS: Final[Mapping[Duplicates, Mapping[str, str]]] = {
    "skip_all": {"checkDuplicate": "true"},
    "skip_existing": {"isDelete": "true"},
    "add_all": {},
}
"""The vendor's flag for each way to treat numbers that are there already. Both flags at once is never sent: then only
`isDelete` counts, which deletes nothing (DOC)."""

Action = Literal["start", "stop"]


def load_problems(*, columns: Sequence[str], agent_wise: bool, skill_wise: bool) -> list[str]:
    """What is wrong with a campaign's columns before anything is sent, in words for a flow file (section 2)."""
    problems = []
    repeated = sorted({name for name in columns if list(columns).count(name) > 1})
    if repeated:
        problems.append(f"columns: {', '.join(repeated)} is mapped more than once")
    if PHONE not in columns:
        problems.append(f"columns: {PHONE} is not among them; the vendor needs it, spelled so")
    for wise, name, key in ((agent_wise, AGENT, "agent_wise"), (skill_wise, SKILL, "skill_wise")):
        if wise and name not in columns:
            problems.append(f"{key}: the campaign needs the column {name}, spelled so")
    return problems


def safe_to_resend(duplicates: Duplicates) -> bool:
    """Whether a batch whose outcome is unknown may be sent again: only where a repeat adds nothing (section 5)."""
    return duplicates == "skip_all"


def check_size(rows: int) -> None:
    """Raise RequestRefusedError for more rows than the vendor takes in a request, or none."""
    if not 1 <= rows <= MAX_ROWS:
        raise RequestRefusedError(
            VENDOR, f"A request to Ozonetel holds 1 to {MAX_ROWS} rows, not {rows}; it was not sent."
        )


def bulk_data(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The field `bulkData`: header names and rows as JSON text. A Priority goes as a number, all else as text."""
    numeric = list(header).index(PRIORITY) if PRIORITY in header else -1
    data = [[int(cell) if at == numeric and cell else cell for at, cell in enumerate(row)] for row in rows]
    return orjson.dumps({"map": list(header), "data": data}).decode()


def request_fields(
    *,
    key: str,
    user: str,
    campaign: str,
    bulk: str,
    duplicates: Duplicates,
    action: Action | None,
    callback_url: str | None,
) -> dict[str, str]:
    """The fields of one request (section 2). They hold the key: never log them."""
    fields = {"apiKey": key, "userName": user, "campaignName": campaign, "bulkData": bulk}
    fields |= DUPLICATE_FLAGS[duplicates]
    if action is not None:
        fields["action"] = action
    if callback_url is not None:
        fields["callBackUrl"] = callback_url
    return fields


def encode(fields: Mapping[str, str], encoding: Encoding) -> tuple[bytes, str]:
    """The body of a request and its content type (OZ-1)."""
    if encoding == "form":
        return urlencode(fields).encode(), "application/x-www-form-urlencoded"
    if encoding == "multipart":
        return encode_multipart_formdata(dict(fields))
    return orjson.dumps(dict(fields)), "application/json"
