"""A crash at the calls of each vendor, over real sockets and real SFTP.

`tests/crashes` kills every write there is and plays random nights, on a clock that jumps and without sockets; these
few nights hold it to the world.
"""

from __future__ import annotations

import json

import pytest

from tests.crashes.isales import ALL, Isales
from tests.crashes.night import ABOUT, ROWS, CrashingRun
from tests.crashes.platform import FLOW as PUSH
from tests.crashes.platform import GOOD, Platform
from tests.crashes.points import Crashes
from tests.flows.conftest import flow_file, lead, make_snapshot, numbers

POINTS = [
    (vendor, f"{when} {point}")
    for vendor, names in {
        "purecallerid": ("Ledger.intend", "PureCallerIdHook.load_list"),
        "platform": ("PlatformHook.create_list", "PlatformHook.bulk_create"),
        "isales": (
            "IsalesHook.import_file",
            "SftpUploadHook.upload",
            "SftpUploadHook._put",
            "SftpUploadHook._rename",
            "SftpUploadHook.remove",
        ),
    }.items()
    for point in names
    for when in ("before", "after")
]


@pytest.fixture
def connections(sandbox, monkeypatch):
    told = sandbox.info()
    host, isales, sftp = sandbox.base_url, told["isales"], told["isales"]["sftp"]
    values = {
        "PLATFORM_DEFAULT": {
            "conn_type": "platform",
            "host": host,
            "password": told["platform"]["token"],
        },
        "ISALES_DEFAULT": {
            "conn_type": "isales",
            "host": host,
            "login": isales["ak"],
            "password": isales["sk"],
            "extra": {"locale": "en_US"},
        },
        "ISALES_SFTP": {
            "conn_type": "sftp",
            "host": sftp["host"],
            "port": sftp["port"],
            "login": sftp["user"],
            "password": sftp["password"],
            "extra": {"host_key": sftp["host_key"]},
        },
    }
    for name, value in values.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(value))
    sandbox.switch("platform", bulk_step_seconds=0.02)
    sandbox.switch("isales", take_repeats=True, step_seconds=0.01)


@pytest.mark.parametrize(("vendor", "point"), POINTS)
def test_the_next_try_ends_the_night(make_dag, ledger, sandbox, connections, vendor, point):
    flow, leads = {
        "purecallerid": (flow_file(), [lead(number) for number in range(ROWS)]),
        "platform": (PUSH | {"lookup_minutes": 0.2 / 60}, Platform.leads(None, "")),
        "isales": (
            Isales.flows["import"] | {"poll_seconds": 0.05, "lookup_seconds": 0},
            Isales.leads(None, ""),
        ),
    }[vendor]
    make_snapshot(leads)
    with Crashes().armed() as crashes:
        crashes.begin([point])
        run = CrashingRun(make_dag(flow), ledger, "night", {}, **ABOUT)
        run.crashes = crashes
        run.go()
        assert not crashes.schedule, "there is no such point"
    assert run.state == "success", run.problems
    run.assert_accounted()
    state = sandbox.state(vendor)
    if vendor == "purecallerid":
        assert run.counts == {"delivered": ROWS}
        from collections import Counter

        assert Counter(row["number1"] for row in state["lists"][flow["list"]]) == numbers(range(ROWS))
    elif vendor == "platform":
        assert {one["customerKey"] for one in state["written"]} == set(GOOD) and len(state["written"]) == len(
            GOOD
        )
    else:
        assert Isales.sessions(state) == ALL and not state["files"]
