"""How the sandbox's iSales checks signatures; cases by their number."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.include.sandbox.isales.conftest import (
    AK,
    IVR,
    PLAIN,
    SK,
    SUCCESS,
    V1_PATH,
    IsalesClient,
    authorization,
)

MOMENT = "2024-03-01T08:30:00.000Z"
HOST = {"Host": "isales.example.com:28443"}

V1_BODY = (
    b'{"serverId":"164690088271159234793429225848","filePath":"/isales/20220310","fileName":"demo.xlsx"}'
)
V3_PATH = "/1?name=spring%20sale&status=0&deviceType=0&beginTime=&curPage=1&rowsPerPage=10"
V4_BODY = '{"serverId":"1","fileName":"客户 名单.xlsx"}'.encode()
THREE = f"auth-v2/{AK}/{MOMENT}/content-length;content-type;host/"
V1 = THREE + "3b40377476dda3f52cee7f8df6be776db0dca6d17d0e3557852a0e7e8db7bfc9"
V1_EMPTY_LINE = THREE + "cc94e160ec7f69350fe1b8503655596deb0c2f22f4ffeb76cca076acfdffeb9f"
V2 = f"auth-v2/{AK}/{MOMENT}/host/acefaa3fc48e9b3fce8d8798c8db445e42d1dee9a2b2fdf8dcf295c45b39ac86"
V3 = f"auth-v2/{AK}/{MOMENT}/content-type;host/2ceafb64249ca4600b818cbe12e16f6ba69bc3f07cecd94ba919f3479273a37a"
V4 = THREE + "af76176c74574d08dbfba6c683572624b25a98876cc054d33ba587a85b02d4c3"


@pytest.fixture
def at_the_vectors(isales: IsalesClient) -> IsalesClient:
    isales.server.clock(datetime.fromisoformat(MOMENT))
    return isales


@pytest.mark.parametrize(
    ("method", "path", "body", "value", "code"),
    [
        ("POST", V1_PATH, V1_BODY, V1, SUCCESS),
        ("POST", V1_PATH, V1_BODY, V2, SUCCESS),
        ("GET", V3_PATH, None, V3, SUCCESS),
        ("POST", V1_PATH, V4_BODY, V4, "0200001"),
    ],
    ids=["V1", "V2", "V3", "V4"],
)
def test_case_1_vectors(at_the_vectors, method, path, body, value, code):
    answer = at_the_vectors.call(method, path, body, sign=value, headers=HOST)
    assert at_the_vectors.code(answer) == code


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({"body": V1_BODY.replace(b"demo", b"Demo")}, V1),
        ({"path": f"/1/calldatafile/uploadFileServer/{IVR}"}, V1),
        ({"path": f"{V1_PATH}?a=1"}, V1),
        ({"headers": {"Host": "isales.example.com:28444"}}, V1),
        ({"headers": {**HOST, "Content-Type": "application/json;charset=UTF-8"}}, V1),
        ({}, V1[:-1] + "8"),
        ({}, V1.replace("08:30:00.000", "08:30:00.001")),
    ],
    ids=["body", "path", "query", "host", "content type", "signature", "time"],
)
def test_case_2_one_changed_byte(at_the_vectors, change, value):
    sent = {"path": V1_PATH, "body": V1_BODY, "headers": HOST, **change}
    answer = at_the_vectors.call("POST", sent.pop("path"), sent.pop("body"), sign=value, **sent)
    assert answer.status_code == 401
    assert answer.json() == {"resultCode": "401", "resultDesc": "Unauthorized"}


def test_case_2_another_query(at_the_vectors):
    answer = at_the_vectors.call("GET", V3_PATH.replace("status=0", "status=1"), sign=V3, headers=HOST)
    assert answer.status_code == 401


def test_case_2_another_secret(isales):
    assert isales.call("GET", f"/1/{PLAIN}", sk=SK).status_code == 200
    assert isales.call("GET", f"/1/{PLAIN}", sk=f"{SK}0").status_code == 401


@pytest.mark.parametrize(
    "value",
    ["", "Bearer x", V1.rpartition("/")[0], V1.replace(AK, "other-ak"), V1.replace("auth-v2", "auth-v1")],
)
def test_case_3_no_signature(at_the_vectors, value):
    assert at_the_vectors.call("POST", V1_PATH, V1_BODY, sign=value, headers=HOST).status_code == 401


@pytest.mark.parametrize(("minutes", "status"), [(-16, 401), (-14, 200), (14, 200), (16, 401)])
def test_case_4_clock_tolerance(isales, minutes, status):
    moment = isales.now() + timedelta(minutes=minutes)
    assert isales.call("GET", f"/1/{PLAIN}", moment=moment).status_code == status


def test_the_clock_tolerance_is_a_switch(isales):
    isales.server.switch("isales", clock_tolerance_minutes=None)
    assert isales.call("GET", f"/1/{PLAIN}", moment=MOMENT).status_code == 200


def test_case_5_without_milliseconds(isales):
    moment = isales.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert isales.call("GET", f"/1/{PLAIN}", moment=moment).status_code == 200
    assert isales.call("GET", f"/1/{PLAIN}", moment=moment.replace("Z", ".5Z")).status_code == 401


@pytest.mark.parametrize(
    "signed", ["content-type", "host;content-type", "content-type;Host", "host;x-missing"]
)
def test_case_6_signed_headers(isales, signed):
    request = isales.request("GET", f"/1/{PLAIN}", signed="host")
    request.headers["x-missing"] = "here while it is signed"
    request.headers["Authorization"] = authorization(
        request, isales.now().strftime("%Y-%m-%dT%H:%M:%SZ"), signed
    )
    del request.headers["x-missing"]
    assert isales.http.send(request).status_code == 401


@pytest.mark.parametrize(
    ("switch", "statuses"), [("left_out", (200, 401)), ("empty", (401, 200)), ("either", (200, 200))]
)
def test_case_7_empty_query_line(at_the_vectors, switch, statuses):
    at_the_vectors.server.switch("isales", query_line=switch)
    for value, status in zip((V1, V1_EMPTY_LINE), statuses, strict=True):
        answer = at_the_vectors.call("POST", V1_PATH, V1_BODY, sign=value, headers=HOST)
        assert answer.status_code == status
