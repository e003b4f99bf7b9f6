"""Flow files of Ozonetel campaigns: what they refuse, and when a night ends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml

from include.flow_files import FlowFileError, OzonetelFlow, read_flow_file

GOOD = {
    "kind": "load_ozonetel",
    "name": "renewals",
    "source": "callers",
    "campaign": "Renewals",
    "columns": [{"to": "PhoneNumber", "from": "phone"}, {"to": "Name", "from": "data.name"}],
}


def read(tmp_path: Path, **changes: object) -> OzonetelFlow:
    keys = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    (tmp_path / "flow.yaml").write_text(yaml.safe_dump(keys))
    flow = read_flow_file(tmp_path / "flow.yaml")
    assert isinstance(flow, OzonetelFlow)
    return flow


def test_the_defaults_are_the_safe_ones(tmp_path):
    flow = read(tmp_path)
    assert (flow.duplicates, flow.action, flow.batch_size, flow.preflight) == ("skip_all", None, 500, True)
    assert flow.safe_to_resend and not flow.released and flow.min_valid_share == 1
    assert flow.target == "ozonetel:ozonetel_default:Renewals"
    assert flow.dag_id == "load_ozonetel__renewals"
    assert not flow.recipe.replaces and not flow.recipe.updates


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"campaign": None}, "campaign: is needed"),
        ({"columns": GOOD["columns"][1:]}, "columns: PhoneNumber is not among them"),
        ({"columns": [{"to": "phoneNumber", "from": "phone"}]}, "columns: PhoneNumber is not among them"),
        ({"columns": [*GOOD["columns"], GOOD["columns"][1]]}, "Name is mapped more than once"),
        ({"columns": [{"to": "PhoneNumber", "from": "customer_key"}]}, "must come from `phone`"),
        ({"checkDuplicate": True, "isDelete": True}, "checkDuplicate: there is no such key"),
        ({"duplicates": ["skip_all", "skip_existing"]}, "duplicates: must be 'skip_all'"),
        ({"duplicates": "delete"}, "duplicates: must be"),
        ({"action": "pause"}, "action: must be 'start' or 'stop'"),
        ({"batch_size": 501}, "batch_size: must be at most 500"),
        ({"batch_size": 0}, "batch_size: must be at least 1"),
        ({"max_row_chars": 2001}, "max_row_chars: must be at most 2,000"),
        ({"agent_wise": True}, "agent_wise: the campaign needs the column AgentId"),
        ({"skill_wise": True}, "skill_wise: the campaign needs the column skill"),
        ({"end_by": "24:00", "zone": "UTC"}, "end_by: '24:00' does not fit. Time of day"),
        ({"end_by": "7:30", "zone": "UTC"}, "end_by: '7:30' does not fit. Time of day"),
        ({"end_by": "07:30"}, "end_by and zone: give both, or neither"),
        ({"zone": "UTC"}, "end_by and zone: give both, or neither"),
        ({"end_by": "07:30", "zone": "India"}, "zone: 'India' is no IANA time zone"),
        ({"callback_hours": 0}, "callback_hours: must be above 0"),
        ({"callback_hours": 25}, "callback_hours: must be at most 24"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, why):
    with pytest.raises(FlowFileError) as caught:
        read(tmp_path, **changes)
    assert why in str(caught.value)


def test_only_skip_all_is_safe_to_send_again(tmp_path):
    assert not read(tmp_path, duplicates="skip_existing").safe_to_resend
    assert not read(tmp_path, duplicates="add_all").safe_to_resend


@pytest.mark.parametrize(
    ("begun", "ends"),
    [
        ("2026-11-21T20:00+00:00", "2026-11-22T07:30+05:30"),  # 01:30 in India
        ("2026-11-22T01:59+00:00", "2026-11-22T07:30+05:30"),
        ("2026-11-22T02:00+00:00", "2026-11-23T07:30+05:30"),  # the very moment is too late
        ("2026-11-22T02:01+00:00", "2026-11-23T07:30+05:30"),
    ],
)
def test_the_end_of_a_night_is_the_next_time_the_clock_shows_it(tmp_path, begun, ends):
    flow = read(tmp_path, end_by="07:30", zone="Asia/Kolkata")
    end = flow.latest_end(datetime.fromisoformat(begun))
    assert end == datetime.fromisoformat(ends) and str(end.tzinfo) == "Asia/Kolkata"
    assert read(tmp_path).latest_end(datetime.now(UTC)) is None


def test_a_clock_change_moves_the_end_with_the_wall_clock(tmp_path):
    flow = read(tmp_path, end_by="07:30", zone="America/New_York")
    end = flow.latest_end(datetime(2026, 11, 1, 2, tzinfo=UTC))  # the night that has an hour more
    assert end is not None and end.astimezone(UTC) == datetime(2026, 11, 1, 12, 30, tzinfo=UTC)


def test_what_a_load_does_is_in_its_hash(tmp_path):
    plain = read(tmp_path).recipe.options
    for changes in (
        {"duplicates": "add_all"},
        {"action": "start"},
        {"numbers": "international"},
        {"names": "reject"},
        {"batch_size": 100},
    ):
        assert read(tmp_path, **changes).recipe.options != plain


def test_how_long_a_row_may_be_is_a_setting(tmp_path):
    leads = pl.DataFrame({"row_key": ["1"]})
    cells = pl.DataFrame({"PhoneNumber": ["+12012000001"], "Name": ["x" * 20]})
    assert read(tmp_path).recipe.shape(leads, cells)[1].to_list() == [None]
    assert read(tmp_path, max_row_chars=44).recipe.shape(leads, cells)[1].to_list() == ["row_too_long"]
    assert read(tmp_path, max_row_chars=45).recipe.shape(leads, cells)[1].to_list() == [None]
