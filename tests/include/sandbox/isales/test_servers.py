"""File servers and campaigns of the sandbox's iSales; cases by their number."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.include.sandbox.isales.conftest import (
    AK,
    DONE,
    GOOD,
    IVR,
    PLAIN,
    SERVER,
    SK,
    SUCCESS,
    IsalesClient,
    workbook,
)


def server_body(isales: IsalesClient, **changes: Any) -> dict[str, Any]:
    where = isales.info["sftp"]
    info = {"ip": "127.0.0.1", "port": str(where["port"]), "filePath": "/other"}
    body = {"userName": where["user"], "serverPwd": where["password"], "serverInfo": info}
    return {name: value for name, value in {**body, **changes}.items() if value is not ...}


def test_file_servers(isales):
    def call(what: str, **body: Any) -> httpx.Response:
        return isales.call("POST", f"/1/file/{what}", body)

    added = call("addServer", **server_body(isales))
    assert isales.code(added) == SUCCESS
    server = added.json()["serverId"]
    told = call("queryServer", offset=0, limit=10).json()
    assert (told["count"], [one["serverId"] for one in told["server"]]) == (2, [SERVER, server])
    (found,) = call("queryServer", offset=0, limit=10, serverIds=[server]).json()["server"]
    assert found == {
        "port": str(isales.info["sftp"]["port"]), "ip": "127.0.0.1", "filePath": "/other",
        "userName": "listkeeper", "serverId": server,
    }  # fmt: skip
    isales.put(workbook(GOOD), "/home/sftp/other/leads.xlsx")
    moved = server_body(isales, serverPwd=...)
    moved["serverInfo"]["filePath"] = "/home/sftp/other"
    assert isales.code(call(f"{server}/updateServer", **moved)) == SUCCESS
    assert isales.ended(isales.ask(serverId=server).json()["importTaskId"])["succNum"] == 1
    assert isales.code(call(f"{server}/deleteServer")) == SUCCESS
    assert isales.code(call(f"{server}/deleteServer")) == "0200033"
    assert isales.code(isales.ask(serverId=server)) == "0200001"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"userName": "x" * 31}, "02000003"),
        ({"userName": "a;b"}, "02000002"),
        ({"userName": ...}, "02000001"),
        ({"serverPwd": "short"}, "02000005"),
        ({"serverPwd": "x" * 81}, "02000005"),
        ({"serverPwd": ...}, "02000001"),
        ({"serverInfo": ...}, "02000001"),
        ({"serverInfo": {"ip": "127.0.0.1", "port": 22, "filePath": "/a"}}, "02000006"),
        ({"serverInfo": {"ip": "127.0.0.1", "port": "x", "filePath": "/a"}}, "02000007"),
        ({"serverInfo": {"ip": "127.0.0.1", "port": "22"}}, "02000001"),
    ],
)
def test_file_servers_that_are_refused(isales, changes, code):
    assert isales.code(isales.call("POST", "/1/file/addServer", server_body(isales, **changes))) == code


def test_file_servers_are_unique_and_a_new_address_needs_the_password(isales):
    add = server_body(isales)
    server = isales.call("POST", "/1/file/addServer", add).json()["serverId"]
    assert isales.code(isales.call("POST", "/1/file/addServer", add)) == "0200001"
    moved = server_body(isales, serverPwd=...)
    moved["serverInfo"]["ip"] = "127.0.0.2"
    assert isales.code(isales.call("POST", f"/1/file/{server}/updateServer", moved)) == "02000001"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"serverPwd": "wrong-password"}, "The login at the file server failed."),
        (
            {"serverInfo": {"ip": "127.0.0.1", "port": "1", "filePath": "/"}},
            "The file server cannot be reached.",
        ),
    ],
)
def test_servers_that_do_not_let_isales_in(isales, changes, reason):
    server = isales.call("POST", "/1/file/addServer", server_body(isales, **changes)).json()["serverId"]
    told = isales.ended(isales.ask(serverId=server).json()["importTaskId"])
    assert (told["status"], told["errMsg"]) == ("3", reason)


def test_campaigns(isales):
    told = isales.call("GET", "/1?name=&status=4&deviceType=0&curPage=1&rowsPerPage=10").json()
    assert [one["campaignId"] for one in told["result"]] == [DONE]
    assert isales.call("GET", f"/1/{IVR}").json()["result"]["deviceType"] == 1
    assert isales.code(isales.call("GET", "/1/17")) == "0200007"


def test_a_campaign_is_paused_until_somebody_resumes_it(isales):
    def status(campaign):
        return isales.call("GET", f"/1/{campaign}").json()["result"]["status"]

    assert [status(one) for one in (PLAIN, IVR, DONE)] == [3, 2, 4]
    assert isales.code(isales.call("PUT", f"/1/{PLAIN}/resume")) == "0200000"
    assert isales.code(isales.call("PUT", f"/1/{DONE}/resume")) == "0200019"
    assert [status(one) for one in (PLAIN, IVR, DONE)] == [2, 2, 4]


def test_info_names_what_a_client_needs(isales):
    assert isales.info["campaigns"] == {"plain": PLAIN, "ivr": IVR, "finished": DONE}
    assert (isales.info["ak"], isales.info["sk"], isales.info["vdn_id"]) == (AK, SK, 1)
    assert isales.info["server_id"] == SERVER
    (server,) = isales.server.state("isales")["servers"]
    assert (server["filePath"], server["port"]) == ("/home/sftp", str(isales.info["sftp"]["port"]))
