"""What Airflow is told about the connection types: their forms, and the hooks behind their Test buttons.

Airflow finds it by the two text files in `listkeeper_provider-0.1.0.dist-info`, which must lie on PYTHONPATH. It is
plain data; it stands here because Airflow reads it before the plugins folder can be imported.
"""

from __future__ import annotations

from typing import Any


def _field(kind: str, label: str, description: str, **schema: Any) -> dict[str, Any]:
    """A field below a connection's form; it may be left empty."""
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}


_EVERYWHERE: dict[str, Any] = {
    "verify": _field(
        "string",
        "CA file",
        "Path of a CA file for a server with a certificate of its own. Empty: the usual authorities.",
    ),
    "timeout": _field(
        "integer",
        "Timeout (s)",
        "Seconds to wait for an answer. Empty: 10 to connect, 120 to answer.",
        minimum=1,
    ),
}


def _connection(
    name: str,
    title: str,
    hook: str,
    *,
    host: str,
    password: tuple[str, str],
    login: tuple[str, str] | None = None,
    fields: dict[str, Any],
) -> dict[str, Any]:
    """A connection type. :param password: and login: what the form calls the field, and a hint in it."""
    said = {"host": ("Base URL", host), **({"login": login} if login else {}), "password": password}
    return {
        "connection-type": name,
        "hook-class-name": f"listkeeper.hooks.{name}.{hook}",
        "hook-name": title,
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"] if login else ["schema", "login", "port"],
            "relabeling": {field: label for field, (label, _) in said.items()},
            "placeholders": {field: hint for field, (_, hint) in said.items()},
        },
        "conn-fields": fields | _EVERYWHERE,
    }


_PLATFORM = _connection(
    "platform",
    "Platform API (ipSCAPE)",
    "PlatformHook",
    host="https://<tenant>.ipscape.com.au",
    password=("API token", "the tenant's API token"),
    fields={
        "prefix": _field(
            "string",
            "Path prefix",
            "What stands before /v3.0 in the tenant's paths; / for nothing.",
            default="/platform-api",
        ),
        "auth_header": _field(
            "string", "Token header", "Header that carries the token. Empty: Authorization."
        ),
        "auth_scheme": _field(
            "string", "Token scheme", "Word before the token. Empty: Bearer; none: the token alone."
        ),
        "bulk_done": _field(
            "string",
            "Import has ended",
            "Status words of an import that went through, with commas. Empty: completed.",
        ),
        "bulk_failed": _field(
            "string",
            "Import broke off",
            "Status words of an import that broke off, with commas. Empty: failed.",
        ),
    },
)

_PURECALLERID = _connection(
    "purecallerid",
    "PureCallerID",
    "PureCallerIdHook",
    host="https://api.purecallerid.app",
    password=("API key", "the workspace's key, with its trailing ="),
    fields={
        "allow_http_webhook": _field(
            "boolean",
            "Webhook to plain http",
            "Only for a sandbox on this machine: real webhooks need https.",
            default=False,
        ),
    },
)

_VICIDIAL = _connection(
    "vicidial",
    "Vicidial lead archive (TForge)",
    "VicidialHook",
    host="https://<server>",
    password=("API key", "the key alone, without Key= before it"),
    fields={
        "path": _field(
            "string", "Path", "Only for a server of an earlier generation. Empty: /vicidial/leads/archive."
        ),
    },
)

_OZONETEL = _connection(
    "ozonetel",
    "Ozonetel CloudAgent",
    "OzonetelHook",
    host="https://in1-ccaas-api.ozonetel.com, or https://api.ccaas.ozonetel.com",
    login=("User name", "the account's user name"),
    password=("API key", "the account's API key"),
    fields={
        "encoding": _field(
            "string", "Encoding", "How a request is written: form, multipart or json. Empty: form."
        ),
        "path": _field("string", "Path", "Empty: that of Add Campaign Bulk Data V4."),
        "calls": _field(
            "integer",
            "Requests",
            "At most so many in any window, for all loads with this key. Empty: 5.",
            minimum=1,
        ),
        "window_seconds": _field("number", "Window (s)", "Empty: 60.", minimum=0),
        "spacing_seconds": _field(
            "number",
            "Spacing (s)",
            "Shortest time between two requests. Empty: none, they go in bursts.",
            minimum=0,
        ),
        "pace_account": _field(
            "string",
            "Account of the pace",
            "A name that all connections share whose requests count together. Empty: those with the same key.",
        ),
        "failed_file_hosts": _field(
            "string",
            "Hosts of failed rows",
            "Who may serve the file of failed rows; .host for everything below it. Empty: .amazonaws.com.",
        ),
        "duplicate_reason": _field(
            "string",
            "Word for duplicates",
            "What a failed row's reason holds when its number is there already. Empty: duplicate.",
        ),
        "allow_http": _field(
            "boolean",
            "Callbacks over plain http",
            "Only for a sandbox on this machine: real callbacks need https.",
            default=False,
        ),
    },
)

_ISALES = _connection(
    "isales",
    "iSales (Huawei CEC)",
    "IsalesHook",
    host="https://<server>:28443",
    login=("Access key (AK)", "the access key"),
    password=("Secret key (SK)", "the secret key"),
    fields={
        "vdn_id": _field(
            "integer",
            "VDN",
            "Number of the virtual call centre that Test asks; flows name their own.",
            minimum=1,
            maximum=9999,
        ),
        "locale": _field("string", "Language", "Of the vendor's words: zh_CN or en_US. Empty: the server's."),
        "empty_query_line": _field(
            "boolean",
            "Empty query line",
            "How a request without a query is signed. Empty: both forms are tried once.",
        ),
        "signed_headers": _field("string", "Signed headers", "Empty: content-length;content-type;host."),
        "milliseconds": _field("boolean", "Milliseconds", "Whether the signed time has them. Empty: yes."),
    },
)


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, in the shape of Airflow's provider info schema."""
    return {
        "package-name": "listkeeper-provider",
        "name": "Listkeeper",
        "description": "Contact-centre vendors whose call lists Listkeeper keeps clean.",
        "connection-types": [_PLATFORM, _PURECALLERID, _VICIDIAL, _OZONETEL, _ISALES],
    }
