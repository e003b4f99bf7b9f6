"""The one Airflow plugin of Listkeeper: its web app, its entry in the menu, its links on tasks, its run notes.

Every Airflow process loads this file, so it imports little; the web app is built by the first request.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin
from listkeeper import links, listener

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class LazyAsgi:
    """An ASGI app that is imported when it is first called."""

    def __init__(self, module: str) -> None:
        self.module = module

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Import the module, if nobody has, and let its `app` answer."""
        await import_module(self.module).app(scope, receive, send)


class ListkeeperPlugin(AirflowPlugin):
    """What Listkeeper adds to Airflow."""

    name = "listkeeper"
    fastapi_apps: list[Any] = [  # noqa: RUF012 - Airflow reads a plain class attribute
        {"app": LazyAsgi("listkeeper.web.app"), "url_prefix": links.PREFIX, "name": "Listkeeper"}
    ]
    external_views: list[Any] = [  # noqa: RUF012
        {"name": "Listkeeper", "href": f"{links.PREFIX}/", "destination": "nav", "url_route": "listkeeper"}
    ]
    operator_extra_links: list[Any] = [links.PlanLink(), links.RejectsLink(), links.ReportLink()]  # noqa: RUF012
    listeners: list[Any] = [listener]  # noqa: RUF012
