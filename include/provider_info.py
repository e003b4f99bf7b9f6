"""What Airflow is told about the connection types: their forms, and the hooks behind their Test buttons.

Airflow finds it by the two text files in `listkeeper_provider-0.1.0.dist-info`, which must lie on PYTHONPATH. It is
plain data; it stands here because Airflow reads it before the plugins folder can be imported.
"""

from __future__ import annotations

from typing import Any

_TEXT = ["string", "null"]

_HTTP_FIELDS: dict[str, Any] = {
    "verify": {
        "label": "CA file",
        "description": "Path of a CA file for a server with a certificate of its own. Empty: the usual authorities.",
        "schema": {"type": _TEXT},
    },
    "timeout": {
        "label": "Timeout (s)",
        "description": "Seconds to wait for an answer. Empty: 10 to connect, 120 to answer.",
        "schema": {"type": ["integer", "null"], "minimum": 1},
    },
}


def _form(host: str, key: str, key_hint: str) -> dict[str, Any]:
    return {
        "hidden-fields": ["schema", "login", "port"],
        "relabeling": {"host": "Base URL", "password": key},
        "placeholders": {"host": host, "password": key_hint},
    }


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, in the shape of Airflow's provider info schema."""
    return {
        "package-name": "listkeeper-provider",
        "name": "Listkeeper",
        "description": "Contact-centre vendors whose call lists Listkeeper keeps clean.",
        "connection-types": [
            {
                "connection-type": "platform",
                "hook-class-name": "listkeeper.hooks.platform.PlatformHook",
                "hook-name": "Platform API (ipSCAPE)",
                "ui-field-behaviour": _form(
                    "https://<tenant>.ipscape.com.au", "API token", "the tenant's API token"
                ),
                "conn-fields": {
                    "prefix": {
                        "label": "Path prefix",
                        "description": "What stands before /v3.0 in the tenant's paths; / for nothing.",
                        "schema": {"type": _TEXT, "default": "/platform-api"},
                    },
                    "auth_header": {
                        "label": "Token header",
                        "description": "Header that carries the token. Empty: Authorization.",
                        "schema": {"type": _TEXT},
                    },
                    "auth_scheme": {
                        "label": "Token scheme",
                        "description": "Word before the token. Empty: Bearer; none: the token alone.",
                        "schema": {"type": _TEXT},
                    },
                    "bulk_done": {
                        "label": "Import has ended",
                        "description": "Status words of an import that went through, with commas. Empty: completed.",
                        "schema": {"type": _TEXT},
                    },
                    "bulk_failed": {
                        "label": "Import broke off",
                        "description": "Status words of an import that broke off, with commas. Empty: failed.",
                        "schema": {"type": _TEXT},
                    },
                    **_HTTP_FIELDS,
                },
            },
            {
                "connection-type": "purecallerid",
                "hook-class-name": "listkeeper.hooks.purecallerid.PureCallerIdHook",
                "hook-name": "PureCallerID",
                "ui-field-behaviour": _form(
                    "https://api.purecallerid.app", "API key", "the workspace's key, with its trailing ="
                ),
                "conn-fields": {
                    "allow_http_webhook": {
                        "label": "Webhook to plain http",
                        "description": "Only for a sandbox on this machine: real webhooks need https.",
                        "schema": {"type": ["boolean", "null"], "default": False},
                    },
                    **_HTTP_FIELDS,
                },
            },
            {
                "connection-type": "vicidial",
                "hook-class-name": "listkeeper.hooks.vicidial.VicidialHook",
                "hook-name": "Vicidial lead archive (TForge)",
                "ui-field-behaviour": _form(
                    "https://<server>", "API key", "the key alone, without Key= before it"
                ),
                "conn-fields": {
                    "path": {
                        "label": "Path",
                        "description": "Only for a server of an earlier generation. Empty: /vicidial/leads/archive.",
                        "schema": {"type": _TEXT},
                    },
                    **_HTTP_FIELDS,
                },
            },
            {
                "connection-type": "ozonetel",
                "hook-class-name": "listkeeper.hooks.ozonetel.OzonetelHook",
                "hook-name": "Ozonetel CloudAgent",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port"],
                    "relabeling": {"host": "Base URL", "login": "User name", "password": "API key"},
                    "placeholders": {
                        "host": "https://in1-ccaas-api.ozonetel.com, or https://api.ccaas.ozonetel.com",
                        "login": "the account's user name",
                        "password": "the account's API key",
                    },
                },
                "conn-fields": {
                    "encoding": {
                        "label": "Encoding",
                        "description": "How a request is written: form, multipart or json. Empty: form.",
                        "schema": {"type": _TEXT},
                    },
                    "path": {
                        "label": "Path",
                        "description": "Empty: that of Add Campaign Bulk Data V4.",
                        "schema": {"type": _TEXT},
                    },
                    "calls": {
                        "label": "Requests",
                        "description": "At most so many in any window, for all loads with this key. Empty: 5.",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                    },
                    "window_seconds": {
                        "label": "Window (s)",
                        "description": "Empty: 60.",
                        "schema": {"type": ["number", "null"], "minimum": 0},
                    },
                    "spacing_seconds": {
                        "label": "Spacing (s)",
                        "description": "Shortest time between two requests. Empty: none, they go in bursts.",
                        "schema": {"type": ["number", "null"], "minimum": 0},
                    },
                    "pace_account": {
                        "label": "Account of the pace",
                        "description": "A name that all connections share whose requests count together. Empty: those "
                        "with the same key.",
                        "schema": {"type": _TEXT},
                    },
                    "failed_file_hosts": {
                        "label": "Hosts of failed rows",
                        "description": "Who may serve the file of failed rows; .host for everything below it. Empty: "
                        ".amazonaws.com.",
                        "schema": {"type": _TEXT},
                    },
                    "duplicate_reason": {
                        "label": "Word for duplicates",
                        "description": "What a failed row's reason holds when its number is there already. Empty: "
                        "duplicate.",
                        "schema": {"type": _TEXT},
                    },
                    "allow_http": {
                        "label": "Callbacks over plain http",
                        "description": "Only for a sandbox on this machine: real callbacks need https.",
                        "schema": {"type": ["boolean", "null"], "default": False},
                    },
                    **_HTTP_FIELDS,
                },
            },
            {
                "connection-type": "isales",
                "hook-class-name": "listkeeper.hooks.isales.IsalesHook",
                "hook-name": "iSales (Huawei CEC)",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port"],
                    "relabeling": {
                        "host": "Base URL",
                        "login": "Access key (AK)",
                        "password": "Secret key (SK)",
                    },
                    "placeholders": {
                        "host": "https://<server>:28443",
                        "login": "the access key",
                        "password": "the secret key",
                    },
                },
                "conn-fields": {
                    "vdn_id": {
                        "label": "VDN",
                        "description": "Number of the virtual call centre that Test asks; flows name their own.",
                        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 9999},
                    },
                    "locale": {
                        "label": "Language",
                        "description": "Of the vendor's words: zh_CN or en_US. Empty: the server's.",
                        "schema": {"type": _TEXT},
                    },
                    "empty_query_line": {
                        "label": "Empty query line",
                        "description": "How a request without a query is signed. Empty: both forms are tried once.",
                        "schema": {"type": ["boolean", "null"]},
                    },
                    "signed_headers": {
                        "label": "Signed headers",
                        "description": "Empty: content-length;content-type;host.",
                        "schema": {"type": _TEXT},
                    },
                    "milliseconds": {
                        "label": "Milliseconds",
                        "description": "Whether the signed time has them. Empty: yes.",
                        "schema": {"type": ["boolean", "null"]},
                    },
                    **_HTTP_FIELDS,
                },
            },
        ],
    }
