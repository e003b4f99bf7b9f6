"""Flow files of kind import_isales: what a mistake says, and when a scheduled import is due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from include.flow_files import FlowFileError, IsalesFlow, read_flow_file

GOOD: dict[str, Any] = {
    "kind": "import_isales",
    "name": "renewals",
    "source": "callers",
    "vdn_id": 1,
    "campaign": "1803096731904991234",
    "server": "164690088271159234793429225848",
    "columns": [{"to": "called", "from": "phone"}],
}
CALLED = GOOD["columns"]


@pytest.fixture
def read(tmp_path):
    def reading(**changes: Any) -> IsalesFlow:
        path = tmp_path / "renewals.yaml"
        path.write_text(yaml.safe_dump(GOOD | changes))
        flow = read_flow_file(path)
        assert isinstance(flow, IsalesFlow)
        return flow

    return reading


def test_what_it_stands_for(read):
    flow = read()
    assert (flow.dag_id, flow.target) == ("import_isales__renewals", "isales:1:1803096731904991234")
    assert (flow.vendor, flow.list_name, flow.safe_to_resend) == ("isales", "1803096731904991234", False)
    recipe = flow.recipe
    assert (recipe.replaces, recipe.updates, recipe.unique, recipe.phone) == (False, False, None, "phone")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vdn_id": 0}, "vdn_id: must be at least 1"),
        ({"vdn_id": 10_000}, "vdn_id: must be at most 9,999"),
        ({"campaign": 1803096731904991234}, "campaign: must be text, and YAML reads"),
        ({"campaign": "a/b"}, "campaign: 'a/b' does not fit. Id of the campaign"),
        ({"folder": "/../x"}, "folder: must have at most 200 characters and hold no .."),
        ({"zone": "Mars/Phobos"}, "zone: 'Mars/Phobos' is no IANA time zone"),
        (
            {"import_at": "02:30", "canary": {}},
            "canary: with import_at the rest would be imported a day after",
        ),
        ({"import_at": "24:00"}, "import_at: '24:00' is no time of the day"),
        ({"number_prefix": "+"}, "number_prefix: '+' does not fit. Digits in front"),
        ({"delay_seconds": 7201}, "delay_seconds: must be at most 7,200"),
        ({"max_records": 500_001}, "max_records: must be at most 500,000"),
        ({"number_types": {"phone9": "x"}}, "number_types.phone9"),
        (
            {"number_types": {"phone2": "x"}, "clean": {"phones": ["phone1"]}},
            "phone2 is not among clean.phones",
        ),
        (
            {"columns": [{"to": "customField", "from": "phone"}]},
            "called, the column of numbers, is not among them",
        ),
        ({"columns": [{"to": "called", "from": "phone1"}]}, "the column called must come from `phone`"),
        ({"columns": [*CALLED, *CALLED]}, "called is mapped more than once"),
        ({"columns": [*CALLED, {"to": "name", "from": "data.x"}]}, "name is no column of the template"),
        ({"columns": [*CALLED, {"to": "callData.", "from": "data.x"}]}, "callData. is no column"),
        (
            {
                "columns": [
                    *CALLED,
                    {"to": "callData", "from": "data.x"},
                    {"to": "callData.x", "from": "data.x"},
                ]
            },
            "callData as a whole or field by field",
        ),
        ({"caller": "1" * 25}, "caller: '1111111111111111111111111' does not fit"),
        ({"caller": ""}, "caller: '' does not fit"),
        (
            {"caller": "1", "columns": [*CALLED, {"to": "caller", "from": "data.x"}]},
            "give the number here or map",
        ),
    ],
)
def test_mistakes_name_key_and_rule(read, changes, words):
    with pytest.raises(FlowFileError) as error:
        read(**changes)
    assert words in str(error.value)


@pytest.mark.parametrize("caller", ["4008", "+862161234567", "1" * 24])
def test_a_caller_has_up_to_24_characters(read, caller):
    assert read(caller=caller).caller == caller


@pytest.mark.parametrize(
    ("root", "folder", "path"),
    [
        ("", "", "x.xlsx"),
        ("/home/sftp", "", "/home/sftp/x.xlsx"),
        ("/home/sftp", "/a/b", "/home/sftp/a/b/x.xlsx"),
        ("", "a/", "a/x.xlsx"),
    ],
)
def test_where_a_file_lies_for_our_own_login(read, root, folder, path):
    assert read(sftp_root=root, folder=folder).remote_path("x.xlsx") == path


@pytest.mark.parametrize(
    ("at", "asked", "due"),
    [
        (None, "2026-11-21T05:00+00:00", "2026-11-21T05:00+00:00"),
        ("02:30", "2026-11-21T05:00+00:00", "2026-11-21T07:30+00:00"),
        ("2:30", "2026-11-21T07:30+00:00", "2026-11-22T07:30+00:00"),
        ("02:30", "2026-11-21T23:00+00:00", "2026-11-22T07:30+00:00"),
    ],
)
def test_when_an_import_is_due(read, at, asked, due):
    flow = read(import_at=at, zone="America/New_York")
    assert flow.due(datetime.fromisoformat(asked)).astimezone(UTC) == datetime.fromisoformat(due)


def test_the_plan_s_hash_knows_where_it_goes(read):
    for changes in (
        {"campaign": "7"},
        {"server": "7"},
        {"folder": "/x"},
        {"import_at": "1:00"},
        {"max_records": 5},
    ):
        assert read(**changes).recipe.options != read().recipe.options
