"""Reads `airflow_settings.yaml`, the one place that holds the sandbox's connections, pools and variables.

The file follows the Astro CLI's schema, so that `astro dev start` loads the same file. It names the sandbox
by its default address; `at_sandbox` is the one place that moves it to another port.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

SANDBOX_ADDRESS = "http://127.0.0.1:8900"


class SettingsError(Exception):
    """The settings file cannot be used; the message names file, key and rule."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ConnectionEntry(_Entry):
    """One connection. Secrets stay out of `repr`."""

    conn_id: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    conn_type: str = Field(min_length=1)
    conn_host: str | None = None
    conn_schema: str | None = None
    conn_login: str | None = None
    conn_password: str | None = Field(default=None, repr=False)
    conn_port: int | None = None
    conn_extra: dict[str, Any] | None = Field(default=None, repr=False)


class PoolEntry(_Entry):
    """One pool: how many tasks may talk to a vendor at the same time."""

    pool_name: str = Field(min_length=1)
    pool_slot: int = Field(ge=-1)
    pool_description: str = ""


class VariableEntry(_Entry):
    """One variable. Astro takes text only: quote numbers."""

    variable_name: str = Field(min_length=1)
    variable_value: str


class AirflowSettings(_Entry):
    """What the file holds below its `airflow` key."""

    connections: list[ConnectionEntry] = []
    pools: list[PoolEntry] = []
    variables: list[VariableEntry] = []


class _File(_Entry):
    airflow: AirflowSettings


def read_settings(path: Path) -> AirflowSettings:
    """Read and check the file.

    :raises SettingsError: unreadable, no YAML, or not the schema
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    try:
        return _File.model_validate(content).airflow
    except ValidationError as error:
        rules = "\n".join(
            f"  {'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"{path} does not follow the Astro schema:\n{rules}") from None


def at_sandbox(settings: AirflowSettings, address: str) -> AirflowSettings:
    """Return the settings with the sandbox's default address replaced by `address`, wherever it occurs.

    What else the sandbox serves on its host (SFTP) stands in a connection with a port, which moves as far.
    """
    moved = AirflowSettings.model_validate(_replace(settings.model_dump(), SANDBOX_ADDRESS, address))
    default, new = urlsplit(SANDBOX_ADDRESS), urlsplit(address)
    for connection in moved.connections:
        if connection.conn_port is not None and connection.conn_host == default.hostname:
            connection.conn_port += (new.port or 0) - (default.port or 0)
    return moved


def _replace(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {key: _replace(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, old, new) for item in value]
    return value
