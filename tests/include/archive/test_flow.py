"""The flow file of an archive: what it holds by default, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from include.flow_files import ArchiveFlow, FlowFileError, find_flow, read_flow_file
from include.leads.retention import BUSY_STATUSES
from include.vendors.vicidial import Flags

LEAST: dict[str, Any] = {
    "kind": "archive_vicidial_leads",
    "name": "old",
    "select": {"database": "vicidial_db", "rules": [{"name": "a", "older_than_days": 90}]},
}


def read(tmp_path: Path, **changes: Any) -> ArchiveFlow:
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(LEAST | changes))
    flow = read_flow_file(tmp_path / "old.yaml")
    assert isinstance(flow, ArchiveFlow)
    return flow


def test_the_least_that_is_needed_only_plans(tmp_path: Path) -> None:
    flow = read(tmp_path)
    assert not flow.released and flow.safe_to_resend
    assert flow.flags == Flags(insert=True, update=True, delete=True)
    assert (flow.dag_id, flow.target) == ("archive_vicidial_leads__old", "vicidial:vicidial_default:old")
    assert flow.keep.statuses == BUSY_STATUSES and "CALLBK" in BUSY_STATUSES
    assert (flow.batch_size, flow.local_zone) == (500, "UTC")
    assert find_flow(ArchiveFlow, "old", tmp_path) == flow


def test_the_zone_is_the_offices_unless_it_is_given(tmp_path: Path) -> None:
    office = {"zone": "Africa/Johannesburg", "week": {"mon-fri": "08:00-17:00"}}
    assert read(tmp_path, office_hours=office).local_zone == "Africa/Johannesburg"
    assert read(tmp_path, office_hours=office, zone="Europe/London").local_zone == "Europe/London"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"update": False}, "delete: needs update"),
        ({"batch_size": 501}, "batch_size"),
        ({"zone": "Mars"}, "IANA"),
        ({"schedule": "nightly"}, "schedule"),
        ({"office_hours": {"zone": "UTC", "week": {"mon": "17:00-08:00"}}}, "two spans"),
        ({"office_hours": {"zone": "UTC", "week": {"mon-sun": "00:00-24:00"}}}, "never closes"),
        (
            {"select": {"ids": {"file": "a.csv"}}, "keep": {"phones": {"name": "vips", "file": "v.csv"}}},
            "keep.phones: needs select.database",
        ),
        ({"select": {}}, "either database and rules, or ids"),
        ({"selct": {}}, "selct"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(FlowFileError) as caught:
        read(tmp_path, **changes)
    assert words in str(caught.value) and "old.yaml" in str(caught.value)


def test_a_copy_without_delete_may_leave_update_out(tmp_path: Path) -> None:
    assert read(tmp_path, update=False, delete=False).flags == Flags(insert=True, update=False, delete=False)
