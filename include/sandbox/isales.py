"""Huawei's CC-iSales: imports of call data files from an SFTP server, and the calls around them.

Written from the contract's sections 1 to 7. Where the vendor says nothing (the shape of a campaign in an answer),
`docs/sandbox.md` tells what the sandbox decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from include.sandbox import isales_fields as fields
from include.sandbox.clock import Clock
from include.sandbox.faults import Faults
from include.sandbox.gate import json_response
from include.sandbox.isales_answers import (
    BAD_PARAMETER,
    EMPTY,
    NO_CAMPAIGN,
    NO_DATA,
    QUEUED,
    STATE_REFUSES,
    Json,
    RefusalError,
    answer,
    refusal,
)
from include.sandbox.isales_imports import Campaign, FileServer, Imports
from include.sandbox.isales_imports import state as task_state
from include.sandbox.isales_signature import Call, accepted
from include.sandbox.sftp import FOLDER, VENDOR_PASSWORD, VENDOR_USER, SftpServer
from include.sandbox.switches import IsalesSwitches

PREFIX: Final = "/rest/isales"
AK: Final = "sandbox-ak"
SK: Final = "sandbox-sk-0123456789"
VDN: Final = 1
SERVER_ID: Final = "164690088271159234793429225848"
PLAIN, IVR, DONE = "1803096731904991234", "1803096731904991235", "1803096731904991236"
"""The campaigns' ids: a plain one, one that runs an intelligent IVR, one that is finished."""

CONTENT_TYPE: Final = "application/json; charset=UTF-8"
STARTED: Final = 2
PAUSED: Final = 3
FINISHED: Final = 4
_OPENAPI: Final = f"{PREFIX}/v1/openapi/campaigns/{{vdn}}"

Work = Callable[[Request, Json], Json]


def error_body(error: HTTPException, now: datetime) -> Json:
    """Write an error of the gate or the router in the vendor's shape (IS-8)."""
    return {"resultCode": str(error.status_code), "resultDesc": error.detail}


class Isales:
    """One tenant: its campaigns, file servers and imports."""

    def __init__(self, sftp: SftpServer, switches: IsalesSwitches, clock: Clock, faults: Faults) -> None:
        self._sftp = sftp
        self._switches = switches
        self._clock = clock
        self._campaigns = {
            campaign.id: campaign
            for campaign in (
                Campaign(PLAIN, "Renewals", status=PAUSED, device_type=2),
                Campaign(IVR, "Survey", status=STARTED, device_type=1, intelligent_ivr=True),
                Campaign(DONE, "Last spring", status=FINISHED, device_type=2),
            )
        }
        own = FileServer(SERVER_ID, VENDOR_USER, VENDOR_PASSWORD, sftp.reachable_host, str(sftp.port), FOLDER)
        self._servers = {own.id: own}
        self.imports = Imports(self._servers, switches, clock, faults)

    def routes(self) -> list[Route]:
        """List the vendor's operations."""
        campaign, files, server = (
            f"{_OPENAPI}/{{campaign}}",
            f"{_OPENAPI}/file",
            f"{_OPENAPI}/file/{{server}}",
        )
        data = f"{_OPENAPI}/calldatafile"
        return [
            self._route("POST", f"{data}/uploadFileServer/{{campaign}}", "import", self._import),
            self._route("POST", f"{data}/queryDataImportTask/{{campaign}}", "query_imports", self._query),
            self._route("POST", f"{files}/addServer", "add_server", self._add_server),
            self._route("POST", f"{files}/queryServer", "query_servers", self._query_servers),
            self._route("POST", f"{server}/updateServer", "update_server", self._update_server),
            self._route("POST", f"{server}/deleteServer", "delete_server", self._delete_server),
            self._route("GET", _OPENAPI, "list_campaigns", self._list_campaigns),
            self._route("GET", campaign, "show_campaign", self._show_campaign),
            self._route("PUT", f"{campaign}/resume", "resume_campaign", self._resume_campaign),
        ]

    def about(self, host: str) -> Json:
        """Tell what a client needs; `host` is where the caller reached the sandbox."""
        return {
            "ak": AK,
            "sk": SK,
            "vdn_id": VDN,
            "campaigns": {"plain": PLAIN, "ivr": IVR, "finished": DONE},
            "server_id": SERVER_ID,
            "sftp": self._sftp.about(host),
        }

    def state(self, *, rows: bool) -> Json:
        """Tell a tester what it holds: campaigns with their rows, tasks, file servers, files, SFTP events."""
        return {
            "campaigns": {
                campaign.id: {
                    "name": campaign.name,
                    "status": campaign.status,
                    "intelligent_ivr": campaign.intelligent_ivr,
                    "count": len(campaign.rows),
                    **({"rows": campaign.rows} if rows else {}),
                }
                for campaign in self._campaigns.values()
            },
            "tasks": task_state(self.imports.tasks),
            "servers": [_server(server) for server in self._servers.values()],
            "files": self._sftp.files(),
            "sftp": list(self._sftp.events),
        }

    # --- every call

    def _route(self, method: str, path: str, op: str, work: Work) -> Route:
        async def serve(request: Request) -> Response:
            return await self._serve(request, op, work)

        return Route(path, serve, methods=[method], name=f"isales:{op}")

    async def _serve(self, request: Request, op: str, work: Work) -> Response:
        """Check the signature, the content type, then the fields; work, and answer."""
        body, locale = await request.body(), request.headers.get("locale")
        if not self._is_signed(request, body):
            raise HTTPException(401, "Unauthorized")
        if request.method == "POST" and request.headers.get("content-type") != CONTENT_TYPE:
            raise HTTPException(415, "Unsupported Media Type")  # IS-19
        broken = False
        try:
            if op == "import" and self._switches.import_code is not None:
                raise RefusalError(self._switches.import_code)
            if fields.vdn(request.path_params["vdn"]) != VDN:
                raise RefusalError(NO_CAMPAIGN)
            told = work(request, fields.read_object(body) if body else {})
            broken = op == "import" and self._switches.broken_sample
        except RefusalError as error:
            told = refusal(error, locale, short=self._switches.short_errors)
        if broken:
            return Response(b"{" + orjson.dumps(told)[:-1] + b",}", media_type="application/json")
        return json_response(told)

    def _is_signed(self, request: Request, body: bytes) -> bool:
        tolerance = self._switches.clock_tolerance_minutes
        call = Call(
            request.method,
            request.scope["raw_path"].decode("latin-1"),
            request.scope["query_string"].decode("latin-1"),
            request.headers,
            body,
        )
        return accepted(
            call,
            {AK: SK},
            self._clock.now(),
            None if tolerance is None else timedelta(minutes=tolerance),
            self._switches.query_line,
        )

    def _campaign(self, request: Request) -> Campaign:
        campaign = self._campaigns.get(request.path_params["campaign"])
        if campaign is None:
            raise RefusalError(NO_CAMPAIGN)
        return campaign

    # --- imports

    def _import(self, request: Request, asked: Json) -> Json:
        """Queue the import of a file; whether it is there shows when the import runs (IS-6)."""
        server_id = fields.text(asked, "serverId", 64)
        name, folder = fields.file_name(asked), fields.file_path(asked)
        at = fields.schedule(asked, half_hours=self._switches.half_hours)
        campaign = self._campaign(request)
        if campaign.status == FINISHED:
            raise RefusalError(STATE_REFUSES)  # IS-18
        if server_id not in self._servers:
            raise RefusalError(BAD_PARAMETER, "serverId")  # IS-10
        task = self.imports.queue(campaign, server_id, folder, name, at)
        return answer(_locale(request), QUEUED, importTaskId=task.id)

    def _query(self, request: Request, asked: Json) -> Json:
        page, wanted = fields.page(asked), fields.ids(asked, "importTaskIds")
        tasks = self.imports.shown(self._campaign(request))
        if wanted is not None and not self._switches.ignore_task_filter:
            tasks = [task for task in tasks if task.id in wanted]
        total: Json = {} if self._switches.without_count else {"count": len(tasks)}
        locale = _locale(request)
        return answer(locale, **total, result=[task.told(locale, self._switches) for task in tasks[page]])

    # --- file servers

    def _add_server(self, request: Request, asked: Json) -> Json:
        user, password, (ip, port, path) = (
            fields.user_name(asked),
            fields.password(asked),
            fields.address(asked),
        )
        if not password:
            raise RefusalError(EMPTY, "serverPwd")
        server_id = f"{int(self._clock.now().timestamp() * 1000):013d}{len(self._servers) + 5:017d}"
        server = FileServer(server_id, user, password, ip, port, path)
        if any(_same(server, other) for other in self._servers.values()):
            raise RefusalError(BAD_PARAMETER, "This file server exists already.")
        self._servers[server.id] = server
        return answer(_locale(request), serverId=server.id)

    def _query_servers(self, request: Request, asked: Json) -> Json:
        page, wanted = fields.page(asked), fields.ids(asked, "serverIds")
        servers = [one for one in self._servers.values() if wanted is None or one.id in wanted]
        return answer(_locale(request), server=[_server(one) for one in servers[page]], count=len(servers))

    def _update_server(self, request: Request, asked: Json) -> Json:
        """Change a file server; a new IP needs the password again."""
        server = self._server(request)
        password, (ip, port, path) = fields.password(asked), fields.address(asked)
        if ip != server.ip and not password:
            raise RefusalError(EMPTY, "serverPwd")
        self._servers[server.id] = replace(
            server,
            user=fields.user_name(asked),
            password=password or server.password,
            ip=ip,
            port=port,
            path=path,
        )
        return answer(_locale(request))

    def _delete_server(self, request: Request, asked: Json) -> Json:
        del self._servers[self._server(request).id]
        return answer(_locale(request))

    def _server(self, request: Request) -> FileServer:
        server = self._servers.get(request.path_params["server"])
        if server is None:
            raise RefusalError(NO_DATA)
        return server

    # --- campaigns

    def _list_campaigns(self, request: Request, asked: Json) -> Json:
        """List campaigns by name and status; other filters are taken and change nothing."""
        name, status = request.query_params.get("name", ""), request.query_params.get("status", "0")
        found = [
            campaign
            for campaign in self._campaigns.values()
            if name in campaign.name and status in ("0", str(campaign.status))
        ]
        return answer(_locale(request), count=len(found), result=[_described(one) for one in found])

    def _show_campaign(self, request: Request, asked: Json) -> Json:
        return answer(_locale(request), result=_described(self._campaign(request)))

    def _resume_campaign(self, request: Request, asked: Json) -> Json:
        campaign = self._campaign(request)
        if campaign.status == FINISHED:
            raise RefusalError(STATE_REFUSES)
        campaign.status = STARTED
        return answer(_locale(request))


def _locale(request: Request) -> str | None:
    return request.headers.get("locale")


def _described(campaign: Campaign) -> Json:
    return {
        "campaignId": campaign.id,
        "name": campaign.name,
        "status": campaign.status,
        "deviceType": campaign.device_type,
    }


def _same(server: FileServer, other: FileServer) -> bool:
    return _server(server) == _server(other) | {"serverId": server.id}


def _server(server: FileServer) -> dict[str, Any]:
    return {
        "port": server.port,
        "ip": server.ip,
        "filePath": server.path,
        "userName": server.user,
        "serverId": server.id,
    }
