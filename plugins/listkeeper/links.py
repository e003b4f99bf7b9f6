"""Links from a run's tasks to its page: Plan, Rejects, Report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from include import staging

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PREFIX: Final = "/listkeeper"
"""Where the web app is mounted in Airflow's API server."""


def run_page(dag_id: str, run_id: str) -> str:
    """Path of a run's page, from the root of the server that Airflow's `[api] base_url` names."""
    root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return f"{root}{PREFIX}/runs/{quote(dag_id)}/{quote(staging.slug(run_id))}"


class RunPageLink(BaseOperatorLink):
    """Base of the links: a place on the run's page. Runs on the worker, without a database."""

    name = "Run page"
    anchor = ""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Path of the page."""
        return run_page(ti_key.dag_id, ti_key.run_id) + self.anchor


class PlanLink(RunPageLink):
    """What the load would change, and whether it may."""

    name = "Plan"
    anchor = "#plan"


class RejectsLink(RunPageLink):
    """Why rows were not delivered, with the files to download."""

    name = "Rejects"
    anchor = "#rejects"


class ReportLink(RunPageLink):
    """The whole report."""

    name = "Report"
