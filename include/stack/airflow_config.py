"""Writes the configuration of a stack's Airflow: `airflow.cfg`, its keys, and the passwords of its users.

A file rather than environment variables: every process reads the same, and Airflow's own commands do too.
"""

from __future__ import annotations

import base64
import configparser
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from include.settings import PROJECT_ROOT

# The log-ins of a stack that only this machine can reach, each with its own name as the password: an
# administrator, and an analyst who may start and approve runs but not change connections.
USERS = {"admin": "admin", "ana": "user"}


def write_config(
    home: Path,
    *,
    host: str,
    port: int,
    logs: Path,
    keys: Path | None = None,
    changes: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    """Write the configuration of an Airflow on SQLite in `home`, served on `host`:`port`, logging to `logs`.

    :param keys: file of the keys that all processes of an Airflow must have in common, by default one in `home`.
    :param changes: options that another kind of stack sets otherwise, by section.
    """
    url = f"http://{host}:{port}"
    kept = _secrets(keys or home / "secrets.json")
    settings: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": PROJECT_ROOT / "dags",
            "plugins_folder": PROJECT_ROOT / "plugins",
            "load_examples": False,
            "executor": "LocalExecutor",
            "parallelism": 4,
            "fernet_key": kept["fernet_key"],
            "execution_api_server_url": f"{url}/execution/",
            "simple_auth_manager_users": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "test_connection": "Enabled",
            # The default asks DNS for our name, which a machine without a network answers late or never.
            "hostname_callable": "platform.node",
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}"},
        "api": {
            "host": host,
            "port": port,
            "base_url": url,
            "workers": 1,
            "secret_key": kept["secret_key"],
        },
        "api_auth": {"jwt_secret": kept["jwt_secret"]},
        "dag_processor": {"refresh_interval": 10, "min_file_process_interval": 5},
        # A task whose machine was killed is taken up again after a minute, not after five.
        "scheduler": {"task_instance_heartbeat_timeout": 60, "orphaned_tasks_check_interval": 30},
        # How long a worker may sleep through the end of its task. The default of 5 seconds holds a worker, and
        # the end of the whole stack, that much longer.
        "workers": {"min_heartbeat_interval": 1},
        "logging": {
            "base_log_folder": logs / "tasks",
            "dag_processor_child_process_log_directory": logs / "dags",
        },
    }
    for section, options in (changes or {}).items():
        settings[section] = settings.get(section, {}) | dict(options)
    config = configparser.ConfigParser(interpolation=None)
    for section, options in settings.items():
        config[section] = {name: str(value).replace("%", "%%") for name, value in options.items()}
    with _private(home / "airflow.cfg") as file:
        config.write(file)
    with _private(home / "simple_auth_manager_passwords.json.generated") as file:
        json.dump({name: name for name in USERS}, file)


def _secrets(file: Path) -> dict[str, str]:
    """Read the stack's keys, made at random beside its database and as long-lived as that."""
    if not file.exists():
        with _private(file) as output:
            json.dump(
                {
                    "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                    "secret_key": secrets.token_urlsafe(64),
                    "jwt_secret": secrets.token_urlsafe(64),
                },
                output,
            )
    kept: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return kept


def _private(file: Path) -> IO[str]:
    """Open a new file for writing that only its owner can read."""
    file.unlink(missing_ok=True)
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
