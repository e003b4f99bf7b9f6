from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from include.leads.reasons import REASONS
from include.leads.schema import STATES

ROOT = Path(__file__).parents[3]


def test_every_reason_has_a_known_state_and_says_what_and_how() -> None:
    for code, reason in REASONS.items():
        assert code == reason.code
        assert reason.state in STATES
        assert reason.text.endswith(".")
        assert reason.fix.endswith(".")
        assert "|" not in reason.text + reason.fix  # it stands in a table
    assert {reason.state for reason in REASONS.values()} == set(STATES)


def test_the_list_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        REASONS["new"] = REASONS["delivered"]  # type: ignore[index]


@pytest.mark.parametrize("module", ["include.leads.reasons", "include.leads.rules"])
def test_a_dag_file_may_import_it_cheaply(module: str) -> None:
    heavy = {"pandas", "polars", "phonenumbers", "numpy", "sqlalchemy", "openpyxl"}
    code = f"import sys, {module}; print(sorted({heavy!r} & sys.modules.keys()))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
