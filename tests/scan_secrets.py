"""Looks for keys in the files that git knows or would take: `python -m tests.scan_secrets`, a part of `make check`.

`detect-secrets` does the looking, offline. `.secrets.json` holds the hashes of what it may find: the made-up keys of
the sandbox, of tests and of the vendors' samples, each of which a person has looked at. What is new fails, and is shown
by file, line and kind. `--accept` writes the list anew, for a person to look at in the diff.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

ROOT = Path(__file__).parents[1]
KNOWN = ".secrets.json"
NO_TEXT = (".gz", ".png", ".xlsx", ".parquet", ".lock", KNOWN)
MADE = {".venv", ".listkeeper", ".airflow", ".hypothesis", "__pycache__", "logs"} | {
    f".{tool}_cache" for tool in ("pytest", "mypy", "ruff")
}

Found = dict[tuple[str, str], tuple[str, int]]
"""File and hash -> kind and line."""


def files(root: Path) -> list[str]:
    """Files that git follows, or would with the next `git add`; without git, all that is not made by tools."""
    if (root / ".git").exists() and shutil.which("git"):
        listed = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    else:
        names = [
            str(Path(folder, name).relative_to(root))
            for folder, _, here in os.walk(root)
            for name in here
            if not {*Path(folder).relative_to(root).parts} & MADE
        ]
    return sorted(name for name in names if name and not name.endswith(NO_TEXT) and (root / name).is_file())


def scan(root: Path, names: list[str]) -> Found:
    """What looks like a key in these files."""
    with default_settings():
        secrets = SecretsCollection(root=str(root))
        for name in names:
            secrets.scan_file(str(root / name))
    return {
        (os.path.relpath(root / name, root), one.secret_hash): (one.type, one.line_number)
        for name, one in sorted(secrets, key=lambda pair: (pair[0], pair[1].line_number))
    }


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Compare what is found with what is known; 1 when there is more."""
    parser = argparse.ArgumentParser(prog="python -m tests.scan_secrets", description=__doc__)
    parser.add_argument("--accept", action="store_true", help=f"write {KNOWN} anew")
    asked = parser.parse_args(argv)
    names = files(root)
    found = scan(root, names)
    file = root / KNOWN
    if asked.accept:
        listed = {digest: f"{kind}, {name}" for (name, digest), (kind, _) in reversed(found.items())}
        file.write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n")
        print(f"{len(listed)} in {KNOWN}; look at what has changed there.")
        return 0
    known = json.loads(file.read_text()) if file.exists() else {}
    new = {place: what for place, what in found.items() if place[1] not in known}
    for (name, _), (kind, line) in new.items():
        print(f"{name}:{line}: {kind}")
    if new:
        print(
            f"{len(new)} that look like keys. Take them out (and change them at the vendor, where they were real); "
            f"what is made up goes into {KNOWN} by --accept, or its line ends with `pragma: allowlist secret`."
        )
        return 1
    print(f"No key in {len(names)} files; {len(known)} made-up ones are known.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
