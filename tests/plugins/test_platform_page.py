"""docs/platform.md: its table is what the code is, and its examples work."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from listkeeper.hooks.platform import PlatformHook

from include.flow_files import read_flow_file
from include.vendors.platform import ENDPOINTS

PAGE = (Path(__file__).parents[2] / "docs" / "platform.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip(" `") for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if re.match(r"\| \d+ \|", line)
]


def test_every_endpoint_has_a_method_of_its_name_and_a_test():
    assert [row[3] for row in ROWS] == list(ENDPOINTS)
    for number, path, _, method, _, cases in ROWS:
        endpoint = ENDPOINTS[method]
        assert (str(endpoint.number), f"{endpoint.method} {endpoint.path}") == (number, path)
        assert callable(getattr(PlatformHook, method))
        # More than the two cases that are put to every endpoint.
        assert len(cases.split(", ")) > 2, method


@pytest.mark.parametrize(
    ("method", "user"),
    [
        ("list_leads", "PullLeadsOperator"),
        ("bulk_errors", "PushLeadsOperator"),
        ("bulk_status", "PlatformImportTrigger"),
        ("list_users", "PlanPushOperator"),
        ("delete_lead", "DeleteLeadOperator"),
    ],
)
def test_the_table_finds_who_uses_an_endpoint(method, user):
    assert user in next(row for row in ROWS if row[3] == method)[4]


def test_the_extras_are_those_that_the_hook_knows():
    told = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE.partition("## Endpoints")[0], re.MULTILINE)
    assert {name.strip("` ") for cell in told for name in cell.split(",")} == set(PlatformHook.own_extras)


def test_the_flow_file_is_good(tmp_path):
    (tmp_path / "winback.yaml").write_text(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    assert read_flow_file(tmp_path / "winback.yaml").dag_id == "push_platform_leads__winback"


def test_the_example_is_a_dag():
    from airflow.sdk import DAG

    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(compile(example, "platform.md", "exec"), names)
    made = names["call_again_tomorrow"]()
    assert isinstance(made, DAG)
    assert made.task_dict["update"].lead_id == "{{ params.lead }}"


def test_no_method_of_the_hook_is_without_words():
    for name, method in inspect.getmembers(PlatformHook, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("listkeeper.hooks.platform"):
            assert method.__doc__, name
