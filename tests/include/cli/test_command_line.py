"""How commands end: wrong command lines, no ledger, and the script itself."""

from __future__ import annotations

import json
import subprocess

import pytest

from include import cli
from tests.include.cli.conftest import ROOT, WHO


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["plan"],
        ["plan", "a", "b", "c"],
        ["resolve", "x", *WHO],
        ["resolve", "x", "--delivered", "--not-delivered", *WHO],
        ["resolve", "x", "--delivered", "--who", " ", "--why", "y"],
        ["pause", "x", "--who", "Ana"],
        ["verify", "--head", "12"],
        ["loads", "--limit", "0"],
    ],
)
def test_a_wrong_command_line_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert "usage: listkeeper" in capsys.readouterr().err


def test_no_ledger_is_said_and_none_is_made(call, place):
    code, answer = call("loads", "--json")
    assert code == 1
    assert "There is no ledger at" in answer["error"]
    assert not (place / "ledger.db").exists()


def test_a_database_that_does_not_answer_tells_no_address(call, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_LISTKEEPER_LEDGER", "postgres://lk:secret@127.0.0.1:9/ledger")
    code, text = call("loads")
    assert code == 1
    assert "cannot be used" in text
    assert "secret" not in text
    assert "127.0.0.1" not in text


def test_the_script_works_from_any_folder(run, tmp_path):
    load = run()
    done = subprocess.run(
        [ROOT / ".venv" / "bin" / "listkeeper", "loads", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["id"] == load.id
