"""The examples of docs/vicidial.md: flow files that are good, a DAG that Airflow reads."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from include.flow_files import ArchiveFlow, read_flow_file
from include.leads.reasons import REASONS

PAGE = (Path(__file__).parents[2] / "docs" / "vicidial.md").read_text(encoding="utf-8")
FLOW, IDS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(DAG_FILE,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_flow_files_are_good(tmp_path: Path) -> None:
    (tmp_path / "old_leads.yaml").write_text(FLOW)
    flow = read_flow_file(tmp_path / "old_leads.yaml")
    assert isinstance(flow, ArchiveFlow) and len(flow.select.rules) == 3
    other = yaml.safe_load(FLOW) | yaml.safe_load(IDS)
    del other["keep"]["phones"]
    (tmp_path / "from_file.yaml").write_text(yaml.safe_dump(other))
    flow = read_flow_file(tmp_path / "from_file.yaml")
    assert isinstance(flow, ArchiveFlow) and flow.select.ids is not None


def test_the_dag_is_read(tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import BundleDagBag

    (tmp_path / "rebuild.py").write_text(DAG_FILE)
    bag = BundleDagBag(dag_folder=str(tmp_path), bundle_path=tmp_path, bundle_name="dags-folder")
    assert bag.import_errors == {}
    assert set(bag.dags["rebuild_indexes"].task_dict) == {"evening", "rebuild"}


def test_the_reasons_are_those_of_the_code() -> None:
    named = re.findall(r"^\| (`.*?`) \| (\w+) \|", PAGE, re.MULTILINE)
    told = {reason: state for reasons, state in named for reason in re.findall(r"`(\w+)`", reasons)}
    told = {reason: state for reason, state in told.items() if state in ("delivered", "rejected", "held")}
    assert len(told) == 6
    assert {reason: REASONS[reason].state for reason in told} == told
