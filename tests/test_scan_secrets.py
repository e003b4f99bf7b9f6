"""The secret scanner finds a key that somebody has left in a file, tells where, and does not repeat it."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

import pytest

from tests import scan_secrets


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository with one made-up key that is known, and one file that git ignores."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "known.py").write_text('password = "s4ndb0x-pass-w0rd"\n')
    (tmp_path / ".gitignore").write_text("*.ignored\n")
    (tmp_path / "mine.ignored").write_text('password = "another-pass-w0rd"\n')
    assert scan_secrets.main(["--accept"], tmp_path) == 0
    return tmp_path


def test_what_is_known_passes_wherever_it_moves(copy, capsys):
    assert scan_secrets.main([], copy) == 0
    (copy / "known.py").rename(copy / "moved.py")
    assert scan_secrets.main([], copy) == 0
    assert "1 made-up ones are known" in capsys.readouterr().out


def test_files_are_named_from_the_project_on(copy, capsys):
    assert "known.py" in (copy / scan_secrets.KNOWN).read_text()
    (copy / "new.py").write_text('password = "another-pass-w0rd"\n')
    assert scan_secrets.main([], copy) == 1
    said = (copy / scan_secrets.KNOWN).read_text() + capsys.readouterr().out
    assert str(copy) not in said, "where somebody's checkout lies is nobody's business"


KEYS = {
    "an API key": lambda: f'api_key = "{secrets.token_urlsafe(24)}"',
    "an AWS key": lambda: f"AKIA{secrets.token_hex(8).upper()}",
    "a log-in in a URL": lambda: f"postgresql://lk:{secrets.token_hex(8)}@db.example.com/ledger",
    "a key file": lambda: "-----BEGIN OPENSSH PRIVATE " + "KEY-----\nb3BlbnNzaC1rZXk",
}


@pytest.mark.parametrize("what", KEYS)
def test_a_planted_key_is_found(copy, capsys, what):
    planted = KEYS[what]()
    (copy / "hook.py").write_text(f"import os\n\n# {planted}\n{planted}\n")
    assert scan_secrets.main([], copy) == 1
    out = capsys.readouterr().out
    assert "hook.py:3: " in out or "hook.py:4: " in out
    assert planted not in out and planted.split('"')[-2 if '"' in planted else 0] not in out


def test_without_git_all_files_are_looked_at(copy, monkeypatch, capsys):
    monkeypatch.setattr(scan_secrets.shutil, "which", lambda name: None)
    (copy / ".venv").mkdir()
    (copy / ".venv" / "theirs.py").write_text('password = "a-package-s-own-pass"\n')
    assert scan_secrets.main([], copy) == 1
    assert "mine.ignored:1" in capsys.readouterr().out
    (copy / "mine.ignored").unlink()
    assert scan_secrets.main([], copy) == 0
