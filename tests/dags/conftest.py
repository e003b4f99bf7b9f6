"""The tests' own Airflow, as for the plugins."""

from __future__ import annotations

from tests.plugins.conftest import airflow_home, state  # noqa: F401
