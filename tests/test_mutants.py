"""What breaks the code on purpose breaks it, and tells who notices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.proof.lib.mutation import mutants_of
from tests.proof.mutants import GROUPS, ROOT, read_explained

TRY = """
from tests.proof.mutants import Group, try_all

for tests in ("tests/include/test_approval.py", "tests/include/test_nights.py"):
    ends = try_all(Group(("include/approval.py::reason_problem",), (tests,)), 2, ())
    print({end: len(mutants) for end, mutants in ends.items()})
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(a):\n    return a < 3", ["return None", "a <= 3", "4"]),
        ("def f(a: int = 0) -> bool: ...", ["1"]),
        ("if a and not b: g()", ["a or not b", "b", "if not (a and (not b))", "pass"]),
        ("x = [a for a in b if a]", ["for a in b"]),
        ("x = a + 1 if a == b else 'held'", ["a != b", "a - 1", "2", "'held_x'"]),
        ("raise ValueError(f'{a + 1} is too much')", ["pass"]),
        ('"""Says why."""\nx: Literal["yes"] = Field(description="no")', []),
    ],
)
def test_small_mistakes(tmp_path, code, expected):
    (tmp_path / "module.py").write_text(code)
    assert sorted(mutant.after for mutant in mutants_of(tmp_path, "module.py")) == sorted(expected)


def test_a_mutant_is_the_module_with_one_place_changed(tmp_path):
    (tmp_path / "module.py").write_text("def f(a):\n    return a < 3\n\n\ndef g(a):\n    return a > 3\n")
    [boundary] = [mutant for mutant in mutants_of(tmp_path, "module.py::g") if mutant.after == "a >= 3"]
    made: dict[str, object] = {}
    exec(boundary.code, made)
    assert (made["g"](3), made["f"](3)) == (True, False)  # type: ignore[operator]
    assert (boundary.line, boundary.id) == (6, "module.py::g | a > 3 -> a >= 3")


def test_tests_notice_what_they_look_at_and_others_do_not():
    done = subprocess.run([sys.executable, "-c", TRY], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    noticed, missed = (eval(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert noticed["killed"] > 3 and noticed["survived"] == 0
    assert missed == {"killed": 0, "timeout": 0, "survived": noticed["killed"]}


def test_what_is_broken_and_explained_exists():
    files = {spec.partition("::")[0] for group in GROUPS.values() for spec in group.modules}
    assert all(Path(ROOT, path).exists() for group in GROUPS.values() for path in (*files, *group.tests))
    named: dict[str, set[str]] = {}
    for mutant in read_explained():
        named.setdefault(mutant.partition("::")[0], set()).add(mutant)
    for file, ids in named.items():
        assert ids <= {mutant.id for mutant in mutants_of(ROOT, file)}
