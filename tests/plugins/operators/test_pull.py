"""Pulling a night: which night, what a try after a crash asks for again, and what the snapshot says of itself."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from airflow.sdk.exceptions import AirflowFailException
from listkeeper.operators.platform import PullLeadsOperator, ReconcilePullOperator

from include import staging
from include.flow_files import PlatformSource
from include.snapshots import newest_snapshot, page_facts
from include.staging import MANIFEST, RunFolder, StagingError, slug
from include.vendors.errors import AuthenticationError, UnavailableError, VendorError
from include.vendors.platform import BadCursorError, CursorLoopError

TOMORROW = date.today() + timedelta(days=2)  # noqa: DTZ011  (two days ahead is ahead in every zone)


def make_source(**changes: Any) -> PlatformSource:
    keys = {
        "kind": "pull_platform_leads",
        "name": "callers",
        "zone": "America/New_York",
        "filters": {"listId": 100},
        "shards": 1,
    }
    return PlatformSource(**{**keys, **changes})


def context(
    run_id: str = "manual__1", partition: str | None = None, run_type: str = "manual"
) -> dict[str, Any]:
    run = SimpleNamespace(run_id=run_id, partition_key=partition, run_type=SimpleNamespace(value=run_type))
    return {"dag_run": run}


def pull(night: Any = None, source: PlatformSource | None = None, **about: Any) -> dict[str, Any]:
    """One try of the task, in a process that knows nothing of the one before."""
    operator = PullLeadsOperator(task_id="pull", source=source or make_source(), night=night)
    return operator.execute(context(**about))


def asked(sandbox) -> list[str]:
    return [r["uri"] for r in sandbox.state("platform")["requests"] if r["op"] == "list_leads"]


def ids(pulled: dict[str, Any]) -> list[int]:
    with RunFolder(pulled["snapshot"]).reading("part-*") as parts:
        return sorted(pl.concat([pl.read_parquet(part, columns=["lead_id"]) for part in parts])["lead_id"])


def pages_of(run_id: str = "manual__1") -> RunFolder:
    return RunFolder(f"pulls/callers/{slug(run_id)}")


# --- a night


@pytest.mark.parametrize("shards", [1, 4, 16])
def test_a_night_becomes_one_snapshot(sandbox, night, shards):
    pulled = pull(night, make_source(shards=shards))
    assert pulled.keys() == {"snapshot", "night", "rows"}
    assert (pulled["night"], pulled["rows"], len(ids(pulled))) == (night, 100, 100)
    manifest = RunFolder(pulled["snapshot"]).manifest()
    assert manifest.source_time == make_source().window(date.fromisoformat(night))[1]
    assert (manifest.kind, manifest.night, manifest.rows) == ("snapshot", night, 100)
    told = {
        name: manifest.facts[name] for name in ("source", "mode", "run_id", "run_type", "seen", "kept", "bad")
    }
    assert told == {
        "source": "callers", "mode": "night", "run_id": "manual__1", "run_type": "manual", "seen": 100, "kept": 100,
        "bad": 0,
    }  # fmt: skip
    assert len([uri for uri in asked(sandbox) if "cursor=" not in uri]) == shards
    assert newest_snapshot("callers", night).path == pulled["snapshot"]


def test_nights_without_leads_are_snapshots_of_no_rows(sandbox):
    assert pull("2020-02-29")["rows"] == 0


def test_each_run_makes_a_snapshot_of_its_own(sandbox, night):
    first, second = pull(night, run_id="manual__1"), pull(night, run_id="manual__2")
    assert first["snapshot"] != second["snapshot"]
    assert ids(first) == ids(second)
    assert newest_snapshot("callers", night).path == second["snapshot"]


@pytest.mark.parametrize(
    ("asked_for", "partition", "expected"),
    [
        ("2026-11-18", None, "2026-11-18"),
        ("2026-11-18", "2026-11-18", "2026-11-18"),
        (None, "2026-11-17", "2026-11-17"),
        ("", "2026-11-17", "2026-11-17"),
        (20261118, None, "2026-11-18"),  # what a native template makes of 20261118
        (date(2026, 11, 18), None, "2026-11-18"),
    ],
)
def test_which_night(sandbox, asked_for, partition, expected):
    assert pull(asked_for, partition=partition)["night"] == expected


def test_a_form_that_contradicts_the_partition_is_refused(sandbox):
    with pytest.raises(AirflowFailException, match="give only one of them"):
        pull("2026-11-18", partition="2026-11-17")


def test_without_a_night_it_is_the_last_that_is_over(sandbox, night):
    assert pull(None)["night"] == str(make_source().last_night(datetime.now(UTC)))


@pytest.mark.parametrize(
    "text",
    ["tomorrow", "2026-13-01", "2026-11-31", "20/11/2026", "acme|2026-11-20", "2026-11-20T00:00:00Z", 5, 1.5],
)
def test_what_is_no_night_is_refused(sandbox, text):
    with pytest.raises(AirflowFailException, match="write a date such as 2026-11-20"):
        pull(text)
    with pytest.raises(AirflowFailException):
        pull(None, partition=str(text))
    assert asked(sandbox) == []


@pytest.mark.parametrize("night", [str(TOMORROW), "2999-01-01"])
def test_a_night_in_the_future_is_refused(sandbox, night):
    with pytest.raises(AirflowFailException, match=r"has not begun in America/New_York"):
        pull(night)
    assert (asked(sandbox), newest_snapshot("callers", None)) == ([], None)


def test_a_night_that_is_not_over_is_as_old_as_its_pull(sandbox):
    today = datetime.now(UTC).astimezone(make_source().window(date(2026, 1, 1))[0].tzinfo).date()
    before = datetime.now(UTC)
    manifest = RunFolder(pull(str(today))["snapshot"]).manifest()
    assert before <= manifest.source_time <= datetime.now(UTC)


# --- a full list


def test_a_full_pull_is_as_old_as_its_beginning_and_found_by_its_night(sandbox, night):
    source = make_source(mode="full")
    sandbox.fault("platform", "status", op="list_leads", nth=4, status=500)
    before = datetime.now(UTC)
    with pytest.raises(UnavailableError):
        pull(night, source)
    after = datetime.now(UTC)
    pulled = pull(night, source)
    manifest = RunFolder(pulled["snapshot"]).manifest()
    assert before <= manifest.source_time <= after  # the first try's beginning
    assert (manifest.facts["mode"], manifest.night, pulled["rows"]) == ("full", night, 100)
    assert not [uri for uri in asked(sandbox) if "uploadedTimestamp" in uri]
    # A delivery that follows the asset asks for the snapshot of its partition's night.
    assert newest_snapshot("callers", night).path == pulled["snapshot"]
    assert newest_snapshot("callers", None).path == pulled["snapshot"]


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({"listId": 100}, 100),
        ({"campaignId": 1}, 100),
        ({"listId": 101}, 0),
        ({"customerKey": "SYN-00000007"}, 1),
    ],
)
def test_every_filter_reaches_the_vendor(sandbox, night, filters, rows):
    assert pull(night, make_source(filters=filters))["rows"] == rows
    [(name, value)] = filters.items()
    assert all(f"{name}={value}" in uri for uri in asked(sandbox))


# --- tries after a crash


@pytest.mark.parametrize("good", [0, 1, 5, 9])
def test_the_next_try_goes_on_behind_the_last_good_page(sandbox, night, good):
    sandbox.fault("platform", "status", op="list_leads", nth=good + 1, status=500)
    with pytest.raises(UnavailableError):
        pull(night)
    assert newest_snapshot("callers", None) is None
    pulled = pull(night)
    assert ids(pulled) == list(range(min(ids(pulled)), min(ids(pulled)) + 100))
    uris = asked(sandbox)
    assert len(uris) == 10 + 1
    assert len(set(uris)) == 10  # only the page that failed was asked for twice


def test_shards_keep_their_pages_whatever_becomes_of_the_others(sandbox, night):
    source = make_source(shards=4)
    sandbox.fault(
        "platform", "expired_token", op="list_leads", match="T06%3A00%3A00-05%3A00&uploadedTimestampTo"
    )
    with pytest.raises(AuthenticationError):
        pull(night, source)
    first = len(asked(sandbox))
    assert len({name[:3] for name in pages_of().names() if name.startswith("s0")}) == 3
    pulled = pull(night, source)
    assert pulled["rows"] == 100
    again = asked(sandbox)[first:]
    assert again
    assert all("From=" in uri and "T06%3A00%3A00" in uri for uri in again)


def test_another_run_starts_afresh(sandbox, night):
    sandbox.fault("platform", "status", op="list_leads", nth=6, status=500)
    with pytest.raises(UnavailableError):
        pull(night, run_id="manual__1")
    pull(night, run_id="manual__2")
    assert len(asked(sandbox)) == 6 + 10


@pytest.mark.parametrize(
    "change", [{"filters": {"campaignId": 1}}, {"shards": 3}, {"zone": "America/Chicago"}, {"mode": "full"}]
)
def test_changed_filters_start_over(sandbox, night, change):
    undisturbed = pull(night, make_source(**change), run_id="undisturbed")
    before = len(asked(sandbox))
    sandbox.fault("platform", "status", op="list_leads", nth=6, status=500)
    with pytest.raises(UnavailableError):
        pull(night)
    kept = pull(night, make_source(**change))
    assert ids(kept) == ids(undisturbed)
    facts = [RunFolder(p["snapshot"]).manifest().facts for p in (kept, undisturbed)]
    assert facts[0] | {"run_id": ""} == facts[1] | {"run_id": ""}
    assert len(asked(sandbox)) - before == 6 + before  # five pages and the failure of no use, then all over


def test_a_crash_while_starting_over_starts_over_again(sandbox, night, monkeypatch):
    """Whatever is left of the walk with other filters, nothing of it may join the new one."""
    sandbox.fault("platform", "status", op="list_leads", nth=6, status=500)
    with pytest.raises(UnavailableError):
        pull(night)
    other = make_source(filters={"listId": 100, "customerKey": "SYN-00000007"})
    left, real = [2], RunFolder.discard

    def discard(self, name):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "discard", discard)
        with pytest.raises(KeyboardInterrupt):
            pull(night, other)
    assert pull(night, other)["rows"] == 1


def stop_after(sandbox, night: str, pages: int) -> int:
    """A try that fails behind so many good pages; returns the requests so far."""
    sandbox.fault("platform", "status", op="list_leads", nth=pages + 1, status=500)
    with pytest.raises(UnavailableError):
        pull(night)
    return len(asked(sandbox))


def test_a_forgotten_cursor_starts_over_once(sandbox, night):
    before = stop_after(sandbox, night, 5)
    sandbox.fault("platform", "status", op="list_leads", match="cursor=", status=400)
    pulled = pull(night)
    assert (pulled["rows"], len(asked(sandbox)) - before) == (100, 1 + 10)


def test_a_cursor_that_is_forgotten_again_ends_the_try(sandbox, night):
    before = stop_after(sandbox, night, 5)
    sandbox.fault("platform", "status", op="list_leads", match="cursor=", status=400, times=None)
    with pytest.raises(BadCursorError):
        pull(night)
    assert len(asked(sandbox)) - before == 1 + 2  # the old cursor; then the first page, and the new one
    assert newest_snapshot("callers", None) is None


def test_a_cursor_forgotten_in_a_first_try_ends_it(sandbox, night):
    sandbox.fault("platform", "status", op="list_leads", nth=4, status=400)
    with pytest.raises(BadCursorError):
        pull(night)
    assert len(asked(sandbox)) == 4


def test_a_way_that_leads_in_a_circle_is_left_by_the_next_try(sandbox, night):
    """A checkpoint holds a wrong link of the vendor's: going on from it can never end well."""
    before = stop_after(sandbox, night, 5)
    name, wrong = "s00-0000004.parquet", page_facts(pages_of().get("s00-0000001.parquet"))["next"]
    page = io.BytesIO(pages_of().get(name))
    facts = json.dumps(page_facts(page.getvalue()) | {"next": wrong})
    changed = io.BytesIO()
    pl.read_parquet(page).write_parquet(changed, metadata={"listkeeper": facts})
    pages_of().put(name, changed.getvalue())
    pulled = pull(night)
    assert (pulled["rows"], len(ids(pulled))) == (100, 100)
    assert len(asked(sandbox)) - before == 10


def test_a_circle_that_stays_ends_the_try(sandbox, night):
    sandbox.fault("platform", "looping_cursor", op="list_leads", nth=3, times=None)
    for _ in range(3):
        with pytest.raises(CursorLoopError):
            pull(night)
        assert newest_snapshot("callers", None) is None


def test_a_walk_of_yesterday_starts_over(sandbox, night):
    before = stop_after(sandbox, night, 5)
    pages_of().put("started.txt", (datetime.now(UTC) - timedelta(hours=7)).isoformat().encode())
    pull(night)
    assert len(asked(sandbox)) - before == 10


def test_pages_of_an_unknown_age_are_not_used(sandbox, night):
    """A crash while a stale walk is removed may leave its pages without their beginning."""
    before = stop_after(sandbox, night, 5)
    pages_of().discard("started.txt")
    pull(night)
    assert len(asked(sandbox)) - before == 10


def test_a_try_whose_end_nobody_heard_of_is_made_again_without_asking(sandbox, night):
    first, again = pull(night), pull(night)
    assert (ids(again), len(asked(sandbox))) == (ids(first), 10)
    # Once the snapshot is counted, its pages are gone: who clears the pull wants it made anew.
    reconcile(again)
    assert staging.places("pulls/callers") == []
    pull(night)
    assert len(asked(sandbox)) == 20


# --- reconcile


class Outlet:
    """What the context gives for an outlet."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}
        self.partitions: list[str] = []

    def add_partitions(self, keys: list[str]) -> None:
        self.partitions += keys


def reconcile(pulled: dict[str, Any], partition: str | None = None):
    from listkeeper.flow import source_asset

    asset, pushed, event = source_asset("callers"), {}, Outlet()
    operator = ReconcilePullOperator(
        task_id="reconcile", source=make_source(), pulled=pulled, outlets=[asset]
    )
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))
    ran: Any = None
    try:
        ran = operator.execute(context(partition=partition) | {"ti": ti, "outlet_events": {asset: event}})
    finally:
        reconcile.last = SimpleNamespace(event=event, summary=pushed.get("summary"))
    return ran


@pytest.mark.parametrize("partition", [None, "2026-11-20"])
def test_the_asset_tells_the_night_and_the_snapshot(sandbox, night, partition):
    pulled = pull(night)
    summary = reconcile(pulled, partition)
    assert summary == reconcile.last.summary
    assert (summary["rows_in"], summary["delivered"], summary["rejected"], summary["verdict"]) == (
        100,
        100,
        0,
        "pulled",
    )
    assert reconcile.last.event.extra == {"snapshot": pulled["snapshot"], "night": night}
    assert reconcile.last.event.partitions == ([] if partition else [night])


def harm(pulled: dict[str, Any], **facts: Any) -> None:
    file = RunFolder(pulled["snapshot"])._root / MANIFEST
    raw = json.loads(file.read_bytes())
    raw["facts"] |= facts
    file.write_bytes(json.dumps(raw).encode())


def test_a_lead_that_was_seen_and_ended_nowhere_is_red(sandbox, night):
    pulled = pull(night)
    harm(pulled, seen=101)
    with pytest.raises(AirflowFailException, match="101 leads were seen"):
        reconcile(pulled)
    assert reconcile.last.summary["verdict"] == "failed"
    assert (reconcile.last.event.extra, reconcile.last.event.partitions) == ({}, [])


def test_a_snapshot_that_was_changed_is_red(sandbox, night):
    pulled = pull(night)
    part = RunFolder(pulled["snapshot"])._root / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StagingError, match="part-00000"):
        reconcile(pulled)
    assert reconcile.last.event.partitions == []


def test_no_vendor_error_is_taken_for_an_empty_night(sandbox, night):
    for fault in ("drop_before", "broken_json", "truncated", "no_metadata", "expired_token"):
        sandbox.fault("platform", fault, op="list_leads")
        with pytest.raises(VendorError):
            pull(night)
        sandbox._control("DELETE", "/faults")
        assert newest_snapshot("callers", None) is None


# --- the schema contract


def test_a_field_that_the_file_wants_is_missed(sandbox, night):
    source = make_source(contract={"fields": {"data.nope": "text"}})
    facts = RunFolder(pull(night, source)["snapshot"]).manifest().facts
    assert "data.nope is missing: no lead has it" in facts["contract"]
    assert facts["fields"]["leadId"] == {"number": 100}


def test_a_changed_source_stops_where_the_file_wants_that(sandbox, night):
    fields = {"data.nope": "text"}
    with pytest.raises(AirflowFailException, match=r"no snapshot: .*data\.nope is missing"):
        pull(night, make_source(contract={"fields": fields, "on_change": "stop"}))
    assert newest_snapshot("callers", night) is None
    before = len(asked(sandbox))
    assert pull(night, make_source(contract={"fields": fields}))["rows"] == 100  # the pages are still there
    assert len(asked(sandbox)) == before


def test_a_night_is_held_against_the_newest_one_before(sandbox, night):
    first = RunFolder(pull(night)["snapshot"])
    assert first.manifest().facts["contract"] == []
    told = first.manifest()
    told.facts["fields"].pop("leadId")
    told.facts["fields"]["data.gone"] = {"text": 100}
    first.put(MANIFEST, told.to_json())
    facts = RunFolder(pull(night, run_id="manual__2")["snapshot"]).manifest().facts
    assert facts["contract"] == ["leadId is new", "data.gone is missing: no lead has it any more"]
