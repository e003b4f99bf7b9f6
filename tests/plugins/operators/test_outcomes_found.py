"""What the sandbox planted among its calls is what the outcome rules find after a pull, lead by lead."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest
from listkeeper.operators.platform_outcomes import PullOutcomesOperator

from include.flow_files import PlatformSource
from include.leads.calls import CallHistory
from include.leads.phones import to_e164
from include.leads.rules import CallRules
from include.sandbox.book import LeadBook
from include.sandbox.data import Leads, midnight
from include.sandbox.history import DISCONNECTED, OPT_OUT, History
from include.sandbox.server import SandboxServer
from include.staging import RunFolder

DAYS, HOURS = 9, 72
RULES = {
    "source": "callers_calls",
    "do_not_call": {"wrap_code": ["do not call"]},
    "dead": {"dial_status": ["disconnected"]},
    "attempts": {"max": 6, "hours": HOURS},
}


@pytest.mark.parametrize(
    "switch", [{}, {"offset_without_colon": True, "uri_without_prefix": True}, {"times_in_utc": True}]
)
def test_the_rules_find_what_was_planted(staging_folder, monkeypatch, switch):
    with SandboxServer() as sandbox:
        sandbox.switch("platform", page_size=1_000, **switch)
        told = sandbox.info()
        connection = {
            "conn_type": "platform",
            "host": sandbox.base_url,
            "password": told["platform"]["token"],
        }
        monkeypatch.setenv("AIRFLOW_CONN_PLATFORM_DEFAULT", json.dumps(connection))
        today = date.fromisoformat(told["data"]["night"]) + timedelta(days=1)
        source = PlatformSource(
            kind="pull_platform_leads", name="callers", zone="America/New_York", outcomes={"days": DAYS}
        )
        operator = PullOutcomesOperator(task_id="pull_outcomes", source=source, night=today.isoformat())
        run = SimpleNamespace(run_id="r", partition_key=None, run_type=SimpleNamespace(value="manual"))
        pulled = operator.execute({"dag_run": run, "ti": SimpleNamespace(xcom_push=lambda **_: None)})
        leads = sandbox.sandbox.leads
    assert isinstance(leads, Leads)
    now = midnight(today)
    with RunFolder(pulled["snapshot"]).reading("part-*") as parts:
        rows = pl.concat([pl.read_parquet(part) for part in parts])
        history = CallHistory(parts, CallRules.model_validate(RULES), region="US", now=now)

    calls = list(History(LeadBook(leads), today).attempts(0, None, None, None))
    assert rows.filter(~pl.col("inbound")).height == len(calls) > 5_000
    numbers = dict(zip([call.number for call in calls], e164([call.number for call in calls]), strict=True))
    every = pl.Series(sorted({number for number in numbers.values() if number is not None}), dtype=pl.Int64)
    ids = pl.Series([lead.lead_id for lead in leads.rows], dtype=pl.Int64)
    nobody, nothing = (
        pl.Series([None] * len(every), dtype=pl.Int64),
        pl.Series([None] * len(ids), dtype=pl.Int64),
    )

    dead = {numbers[call.number] for call in calls if call.dial_status == DISCONNECTED} - {None}
    assert set(every.filter(history.is_dead(every))) == dead != set()
    asked = {numbers[call.number] for call in calls if call.wrap_code == OPT_OUT} - {None}
    assert set(every.filter(history.asked_not_to_call({"phone1": every}, nobody))) == asked != set()
    by_id = {call.lead_id for call in calls if call.wrap_code == OPT_OUT}
    assert set(ids.filter(history.asked_not_to_call({"phone1": nothing}, ids))) == by_id
    since = now - timedelta(hours=HOURS)
    made = Counter(call.lead_id for call in calls if whole_second(call.created) >= since)
    counts = history.counts({"phone1": nothing}, ids, HOURS)
    assert {lead: n for lead, n in zip(ids, counts, strict=True) if n} == made
    assert max(made.values()) >= 6


def e164(numbers: list[str]) -> list[int | None]:
    return to_e164(pl.Series(numbers, dtype=pl.String), "US")[0].to_list()


def whole_second(moment: datetime) -> datetime:
    """As the vendor shows it."""
    return moment.replace(microsecond=0)
