"""Platform API (ipSCAPE): all 23 endpoints, their requests and answers, without I/O.

The contract is in the vendor's page "Design for Platform API (0.0.1)". Where that page is silent the value is a
setting of the connection (`PlatformSettings`), named after the assumption it stands for (PL-1 to PL-20).
"""

from __future__ import annotations

from include.vendors.platform.answers import (
    VENDOR,
    FieldsRefusedError,
    NotFoundError,
    Page,
    id_in,
    lost,
    parse_time,
    read_answer,
    read_page,
    require_done,
    resolve_uri,
)
from include.vendors.platform.bulk import (
    ERROR_PAGE,
    MAX_LEADS,
    BulkWords,
    ErrorPage,
    Import,
    RowError,
    bulk_body,
    read_error_page,
    read_import,
)
from include.vendors.platform.calls import called_at, read_activity, read_call
from include.vendors.platform.customers import Erased, customer_params, read_erased
from include.vendors.platform.endpoints import DEFAULT_PREFIX, ENDPOINTS, Endpoint, PlatformSettings
from include.vendors.platform.leads import BadLeadError, read_lead, uploaded_at
from include.vendors.platform.media import Media, read_media
from include.vendors.platform.queries import (
    ActivityQuery,
    BadCursorError,
    CallQuery,
    ChangedFilterError,
    CursorLoopError,
    LeadQuery,
    ListQuery,
    Query,
    UserQuery,
    Walk,
    check_item,
    query_text,
    window_shards,
)
from include.vendors.platform.writing import (
    DATA_PREFIX,
    WRITE_FIELDS,
    LeadFieldError,
    as_written,
    body_of_cells,
    change_of_cells,
    lead_body,
    update_body,
)

__all__ = [
    "DATA_PREFIX",
    "DEFAULT_PREFIX",
    "ENDPOINTS",
    "ERROR_PAGE",
    "MAX_LEADS",
    "VENDOR",
    "WRITE_FIELDS",
    "ActivityQuery",
    "BadCursorError",
    "BadLeadError",
    "BulkWords",
    "CallQuery",
    "ChangedFilterError",
    "CursorLoopError",
    "Endpoint",
    "Erased",
    "ErrorPage",
    "FieldsRefusedError",
    "Import",
    "LeadFieldError",
    "LeadQuery",
    "ListQuery",
    "Media",
    "NotFoundError",
    "Page",
    "PlatformSettings",
    "Query",
    "RowError",
    "UserQuery",
    "Walk",
    "as_written",
    "body_of_cells",
    "bulk_body",
    "called_at",
    "change_of_cells",
    "check_item",
    "customer_params",
    "id_in",
    "lead_body",
    "lost",
    "parse_time",
    "query_text",
    "read_activity",
    "read_answer",
    "read_call",
    "read_erased",
    "read_error_page",
    "read_import",
    "read_lead",
    "read_media",
    "read_page",
    "require_done",
    "resolve_uri",
    "update_body",
    "uploaded_at",
    "window_shards",
]
