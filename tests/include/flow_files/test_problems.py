"""What a person is told who made a slip of the pen in a flow file."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.flow_files import FlowFileError, read_flow_file

GOOD = """
kind: load_purecallerid
name: renewals
source: callers
dialer: five9
campaign: 64be9f5c0c8d4a1f2b3c4d5e
list: Renewals
mode: REPLACE
columns:
  - {to: number1, from: phone}
clean:
  region: US
guards:
  max_shrink_percent: 30
"""


def problems(folder: Path, text: str) -> list[str]:
    file = folder / "renewals.yaml"
    file.write_text(text)
    with pytest.raises(FlowFileError) as caught:
        read_flow_file(file)
    return caught.value.problems


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("mode: REPLACE", "mode: replace", "mode: must be 'APPEND' or 'REPLACE', not 'replace'"),
        ("columns:", "colums:", "colums: there is no such key; did you mean columns?"),
        ("shrink_percent", "shrink_percentage", "percentage: there is no such key; did you mean max_shrink_percent?"),
        ("from: phone", "form: phone", "columns.0.form: there is no such key; did you mean from?"),
        ("region: US", "xyzzy: US", "clean.xyzzy: there is no such key"),
        ("region: US", "region: NO", "clean.region: must be text, and YAML reads false here; write it in quotes"),
        ("max_shrink_percent: 30", "max_shrink_percent: 130", "max_shrink_percent: must be at most 100, not 130"),
        ("max_shrink_percent: 30", "max_shrink_percent: a lot", "max_shrink_percent: must be a number, not 'a lot'"),
        ("guards:\n  max_shrink_percent: 30", "guards: 30", "guards: must be keys and values, not 30"),
        ("mode: REPLACE", "mode:", "mode: must be 'APPEND' or 'REPLACE', not nothing"),
    ],
)  # fmt: skip
def test_the_key_the_rule_and_what_stands_there(tmp_path: Path, right: str, wrong: str, told: str) -> None:
    assert any(problem.endswith(told) for problem in problems(tmp_path, GOOD.replace(right, wrong)))


def test_rules_between_keys_are_told_one_by_one_each_with_its_key(tmp_path: Path) -> None:
    assert [told.split(": ")[0] for told in problems(tmp_path, GOOD.replace("five9", "ringcx"))] == [
        "mode",
        "dedupe",
        "columns",
    ]


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    [told] = problems(tmp_path, GOOD.replace("REPLACE", "R" * 200))
    assert told.startswith("mode: must be") and told.endswith("R...") and len(told) < 120
