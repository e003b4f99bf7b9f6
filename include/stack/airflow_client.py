"""A small client of Airflow's public REST API: what the demo, `make up` and the tests ask of it."""

from __future__ import annotations

import json
import time
from typing import Any, Self

import httpx

from include.stack.airflow_settings import AirflowSettings

Json = dict[str, Any]

LOCKED_TRIES = 10
"""How often a call is made again, a second apart, while Airflow's SQLite file is locked."""


class AirflowError(Exception):
    """Airflow refused a call; the message says which and why."""


class Airflow:
    """Airflow's REST API at `base_url`, used as one user. Logs in at the first call."""

    def __init__(self, base_url: str, user: str, password: str) -> None:
        self.base_url = base_url
        self._login = {"username": user, "password": password}
        self._token: str | None = None
        # A proxy named in the environment must not see calls to our own machine.
        self._http = httpx.Client(base_url=base_url, timeout=30, trust_env=False)

    def __repr__(self) -> str:
        return f"Airflow({self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the server."""
        self._http.close()

    def health(self) -> Json:
        """Read what each component says of itself; needs no login.

        :raises httpx.TransportError: nobody answers (yet)
        """
        answer: Json = self._http.get("/api/v2/monitor/health", timeout=5).raise_for_status().json()
        return answer

    def load(self, settings: AirflowSettings) -> None:
        """Create or overwrite the connections, pools and variables of `settings`."""
        self._upsert(
            "connections",
            [
                {
                    "connection_id": c.conn_id,
                    "conn_type": c.conn_type,
                    "host": c.conn_host,
                    "schema": c.conn_schema,
                    "login": c.conn_login,
                    "password": c.conn_password,
                    "port": c.conn_port,
                    "extra": json.dumps(c.conn_extra) if c.conn_extra is not None else None,
                }
                for c in settings.connections
            ],
        )
        self._upsert(
            "pools",
            [
                # A deferred task still waits for its vendor: it must go on holding its slot.
                {
                    "name": p.pool_name,
                    "slots": p.pool_slot,
                    "description": p.pool_description,
                    "include_deferred": True,
                }
                for p in settings.pools
            ],
        )
        self._upsert(
            "variables", [{"key": v.variable_name, "value": v.variable_value} for v in settings.variables]
        )

    def _upsert(self, kind: str, entities: list[Json]) -> None:
        if not entities:
            return
        action = {"action": "create", "action_on_existence": "overwrite", "entities": entities}
        answer = self._call("PATCH", kind, json={"actions": [action]})
        if errors := (answer.get("create") or {}).get("errors"):
            raise AirflowError(f"Airflow did not take these {kind}: {errors}")

    def dags(self) -> list[Json]:
        """List every DAG that is not stale."""
        return self._list("dags", "dags")

    def dag(self, dag_id: str) -> Json:
        """Read one DAG's details (`timezone`, `asset_expression`, ...)."""
        return self._call("GET", f"dags/{dag_id}/details")

    def import_errors(self) -> list[Json]:
        """List DAG files that could not be read: `filename`, `stack_trace`."""
        return self._list("importErrors", "import_errors")

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler work on this DAG."""
        self._call("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def trigger(
        self,
        dag_id: str,
        *,
        partition_key: str | None = None,
        conf: Json | None = None,
        note: str | None = None,
    ) -> str:
        """Start one run and return its run id. A partitioned DAG without a key starts no followers."""
        body = {"logical_date": None, "partition_key": partition_key, "conf": conf or {}, "note": note}
        return str(self._call("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str, fields: Json) -> None:
        """Answer a task that waits for a person, in the name of the user that is logged in."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        self._call("PATCH", path, json={"chosen_options": [option], "params_input": fields})

    def runs(self, dag_id: str = "~", *, partition_key: str | None = None) -> list[Json]:
        """List the runs of one DAG or ("~") of all, oldest first, of one partition key or of all."""
        runs = self._list(f"dags/{dag_id}/dagRuns", "dag_runs", order_by="id")
        return [run for run in runs if partition_key is None or run["partition_key"] == partition_key]

    def run(self, dag_id: str, run_id: str) -> Json:
        """Read one run."""
        return self._call("GET", f"dags/{dag_id}/dagRuns/{run_id}")

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """List a run's task instances, mapped ones singly (`task_id`, `map_index`, `state`, `try_number`)."""
        return self._list(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances")

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Read what a task left under `key`, or None when it left nothing."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        try:
            return self._call("GET", path, params={"deserialize": "false"})["value"]
        except AirflowNotFoundError:
            return None

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> list[str]:
        """Read a task's log as lines of text (message, and the traceback when there is one)."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        params = {"map_index": map_index, "full_content": "true"}
        content = self._call("GET", path, params=params)["content"]
        return [line for entry in content for line in _log_lines(entry)]

    def _list(self, path: str, key: str, **params: str) -> list[Json]:
        """Read all pages of a collection."""
        found: list[Json] = []
        while True:
            page = self._call("GET", path, params={**params, "limit": 100, "offset": len(found)})
            found += page[key]
            if not page[key] or len(found) >= page["total_entries"]:
                return found

    def _call(self, method: str, path: str, **arguments: Any) -> Json:
        if self._token is None:
            self._log_in()
        response = self._request(method, path, **arguments)
        if response.status_code == httpx.codes.UNAUTHORIZED:  # the token has expired
            self._log_in()
            response = self._request(method, path, **arguments)
        for _ in range(LOCKED_TRIES):
            if not _was_locked(response):
                break
            time.sleep(1)
            response = self._request(method, path, **arguments)
        if response.status_code == httpx.codes.NOT_FOUND:
            raise AirflowNotFoundError(f"Airflow knows no {path}.")
        if response.is_error:
            raise AirflowError(
                f"{method} /api/v2/{path} answered {response.status_code}: {_reason(response)}"
            )
        answer: Json = response.json()
        return answer

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self._http.request(method, f"/api/v2/{path}", headers=self._headers(), **arguments)

    def _log_in(self) -> None:
        response = self._http.post("/auth/token", json=self._login)
        if response.is_error:
            raise AirflowError(f"Log-in as {self._login['username']} answered {response.status_code}.")
        self._token = response.json()["access_token"]

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}


class AirflowNotFoundError(AirflowError):
    """The thing asked for is not there."""


def _was_locked(response: httpx.Response) -> bool:
    """Whether the scheduler held Airflow's SQLite file: the call was rolled back, and may be made again."""
    return response.status_code == httpx.codes.INTERNAL_SERVER_ERROR and "Database error" in response.text


def _reason(response: httpx.Response) -> str:
    """Say why a call was refused, without the input that Airflow echoes (it may hold a password)."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, d.get('loc', [])))}: {d.get('msg')}" for d in detail)
    return str(detail)[:500]


def _log_lines(entry: Json | str) -> list[str]:
    """Turn one entry into lines, without Airflow's folding marks and the frames of installed packages."""
    if isinstance(entry, str):
        return [entry]
    event = str(entry.get("event", ""))
    lines = [] if event.startswith(("::group::", "::endgroup::")) else [event]
    for detail in entry.get("error_detail") or []:
        lines += [
            f"  {frame['filename']}:{frame['lineno']} in {frame['name']}"
            for frame in detail.get("frames", [])
            if "site-packages" not in frame["filename"]
        ]
        lines.append(f"{detail.get('exc_type')}: {detail.get('exc_value')}")
    return lines
