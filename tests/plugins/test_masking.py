"""Where the net hangs in Airflow: the lines of a process, what a task returns, what a task and a trigger raise."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.sdk import BaseOperator
from airflow.triggers.base import TriggerEvent
from listkeeper.masking import Masked, MaskedTrigger, is_ours

from include.masking import Withheld
from include.settings import PROJECT_ROOT as ROOT

LEAK = "Jane Smith, 201 555 0123, jane@example.com"

SCRIPT = """
import io, logging, sys
sys.path[:0] = ["{root}", "{root}/plugins"]
from airflow.sdk.log import configure_logging
out = io.BytesIO()
configure_logging(json_output={json}, log_level="DEBUG", output=out, sending_to_supervisor=True)
import structlog
early = structlog.get_logger("task")
early.info("early +12015550123")
from types import SimpleNamespace
from airflow.sdk import BaseOperator
from listkeeper import listener
from listkeeper.masking import Masked
class Ours(Masked, BaseOperator):
    pass
task = Ours(task_id="x") if {ours} else BaseOperator(task_id="x")
listener.on_task_instance_running(SimpleNamespace(task=task))
listener.on_task_instance_running(SimpleNamespace(task=task))
early.warning("structlog %s", "+12015550123", row={{"phone": "2015550123"}}, ti_id="2015550123")
logging.getLogger("some.library").debug("stdlib {leak}")
logging.getLogger("listkeeper.hooks.vendor").info("ours {leak}")
logging.getLogger("botocore.hooks").debug("a body")
try:
    int("2015550123 x")
except ValueError:
    early.exception("failed")
    logging.getLogger("some.library").exception("failed too")
try:
    sys.__stdout__.buffer.write(out.getvalue())
except ValueError:
    pass
"""


def lines(*, ours: bool, as_json: bool = True) -> str:
    """What a process of its own logs, as a task's does."""
    script = SCRIPT.format(root=ROOT, json=as_json, ours=ours, leak=LEAK)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("as_json", [True, False])
def test_a_task_of_ours_logs_no_number(as_json):
    told = lines(ours=True, as_json=as_json)
    early, _, rest = told.partition("\n")
    assert "early +12015550123" in early  # before Airflow told that the task runs
    assert "structlog <phone>" in rest and "stdlib Jane Smith, <phone>, <email>" in rest
    assert "a body" not in rest and "invalid literal" in rest
    assert rest.count("2015550123") == 1 and rest.count("ti_id") == 1  # the one that Airflow's ids keep
    assert "201 555 0123" not in rest and "jane@" not in rest


def test_another_task_in_the_same_airflow_is_left_alone():
    told = lines(ours=False)
    assert "structlog +12015550123" in told and f"stdlib {LEAK}" in told and "a body" in told


class Returns(Masked, BaseOperator):
    def execute(self, context):
        return {"path": "runs/x", "said": [LEAK], "rows": 2015550123}

    def resume(self, context, event):
        raise KeyError(event)


class Raises(Masked, BaseOperator):
    def execute(self, context):
        try:
            json.loads(LEAK)
        except json.JSONDecodeError as error:
            raise LookupError(LEAK) from error


@pytest.fixture
def loosely(monkeypatch):
    from airflow.sdk.bases.operator import ExecutorSafeguard

    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


def test_what_a_task_returns_is_masked_and_told(loosely, caplog):
    with caplog.at_level(logging.WARNING):
        returned = Returns(task_id="x").execute({})
    assert returned == {"path": "runs/x", "said": ["Jane Smith, <phone>, <email>"], "rows": 2015550123}
    assert "held personal data" in caplog.text and "Jane" not in caplog.text


def test_what_a_task_raises_quotes_nothing(loosely):
    with pytest.raises(Withheld, match="LookupError; its words are withheld") as caught:
        Raises(task_id="x").execute({})
    assert isinstance(caught.value.__cause__, Withheld) and "Jane" not in str(caught.value.__cause__)
    with pytest.raises(Withheld, match="KeyError"):
        Returns(task_id="x").resume_execution("resume", {"event": LEAK}, {})


class Fails(MaskedTrigger):
    def serialize(self):
        return "x", {}

    async def watch(self):
        yield TriggerEvent(1)
        raise ValueError(LEAK)


def test_what_a_trigger_raises_quotes_nothing():
    async def run():
        return [event.payload async for event in Fails().run()]

    with pytest.raises(Withheld, match="ValueError; its words are withheld"):
        asyncio.run(run())


def modules(folder: str) -> list[Path]:
    return [
        file for file in (ROOT / "plugins" / "listkeeper" / folder).glob("*.py") if file.stem != "__init__"
    ]


def test_every_operator_sensor_and_trigger_of_ours_is_masked():
    import importlib

    from airflow.triggers.base import BaseTrigger

    found = []
    for folder in ("operators", "sensors", "triggers"):
        for file in modules(folder):
            module = importlib.import_module(f"listkeeper.{folder}.{file.stem}")
            for kind in vars(module).values():
                if isinstance(kind, type) and kind.__module__ == module.__name__:
                    if issubclass(kind, BaseOperator):
                        found.append(kind)
                        assert issubclass(kind, Masked) and kind.__mro__.index(Masked) < kind.__mro__.index(
                            BaseOperator
                        )
                    elif issubclass(kind, BaseTrigger):
                        found.append(kind)
                        assert issubclass(kind, MaskedTrigger) and kind.run is MaskedTrigger.run
    assert len(found) > 30
    assert is_ours(object.__new__(found[0])) and not is_ours(None)


def test_a_header_of_the_extras_is_a_secret_whatever_it_is_called(monkeypatch):
    from listkeeper.hooks import vendor
    from listkeeper.hooks.platform import PlatformHook

    told = {"conn_type": "platform", "host": "http://127.0.0.1:1", "password": "tok-5ecret"}
    extra = {"headers": {"X-Gateway": "gateway-9d41f0b7"}}
    monkeypatch.setenv("AIRFLOW_CONN_PLATFORM_DEFAULT", json.dumps(told | {"extra": extra}))
    masked = []
    monkeypatch.setattr(vendor, "mask_secret", masked.append)
    PlatformHook().session()
    assert masked == ["tok-5ecret", ["gateway-9d41f0b7"]]


def test_an_error_in_a_page_quotes_nothing():
    from fastapi.testclient import TestClient
    from listkeeper.web.app import create_app

    def fails():
        raise ValueError(LEAK)

    app = create_app()
    app.add_api_route("/fails", fails)
    with TestClient(app) as client, pytest.raises(Withheld, match="ValueError; its words are withheld"):
        client.get("/fails")
