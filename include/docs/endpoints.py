"""The table of the Platform API's endpoints in `docs/platform.md`.

Path and method come from the client's own table; the hook's method, the operators and the tests are found in the
source, by what calls what.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from include import settings
from include.vendors.platform import ENDPOINTS, Endpoint

BEGIN: Final = "<!-- Made from the code: make docs -->"
END: Final = "<!-- The end of what is made from the code. -->"

HOOK: Final = "plugins/listkeeper/hooks/platform.py"
CASES: Final = "tests/plugins/hooks/test_platform_cases.py"
STEPS: Final = ("plugins/listkeeper/operators", "plugins/listkeeper/sensors", "plugins/listkeeper/triggers")
LOOPS: Final = ("include/push/loop.py", "include/push/updates.py")
"""Where an operator hands its hook to."""

ALL_ENDPOINTS: Final = frozenset({1, 35})
"""Cases that a test puts to every endpoint: a wrong token, and "not now"."""


def page() -> str:
    """The page with its table as the code is now."""
    text = (settings.PROJECT_ROOT / "docs" / "platform.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{rest.partition(END)[2]}"


def table() -> str:
    """One line an endpoint."""
    users, tests = _users(), _tests()
    lines = [
        "| # | endpoint | path known from | hook method | used by | contract cases tested |",
        "| ---: | --- | --- | --- | --- | --- |",
        *(
            f"| {endpoint.number} | `{endpoint.method} {endpoint.path}` | {_mark(endpoint)} | `{name}` | "
            f"{', '.join(f'`{user}`' for user in users.get(name, []))} | {tests[name]} |"
            for name, endpoint in ENDPOINTS.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _mark(endpoint: Endpoint) -> str:
    words = {"DOC": "the vendor's page", "PUB": "another page", "READ": "deduced", "ASSUMPTION": "assumed"}
    return words[endpoint.mark]


def _users() -> dict[str, list[str]]:
    """Endpoint -> the operators, sensors and triggers that come to it, by way of whatever they call."""
    helpers = {**_methods(HOOK), **{name: node for path in LOOPS for name, node in _tops(path).items()}}
    found: dict[str, list[str]] = {}
    for folder in STEPS:
        for path in sorted((settings.PROJECT_ROOT / folder).glob("*.py")):
            if "listkeeper.hooks.platform import" not in path.read_text(encoding="utf-8"):
                continue
            own = _tops(path)
            for name, node in own.items():
                if name.endswith(("Operator", "Sensor", "Trigger")):
                    for endpoint in _reached(node, helpers | own):
                        found.setdefault(endpoint, []).append(name)
    return found


def _tests() -> dict[str, str]:
    """Endpoint -> numbers of the contract's cases whose tests call it; 1 and 35 go through all of them."""
    found: dict[str, set[int]] = {name: set() for name in ENDPOINTS}
    tests, helpers = _tops(CASES), _methods(HOOK)
    for name, node in tests.items():
        if title := re.match(r"test_case_(\d+)(?:_(and|to)_(\d+))?_", name):
            first, last = int(title[1]), int(title[3] or title[1])
            cases = set(range(first, last + 1)) if title[2] == "to" else {first, last}
            for endpoint in _reached(node, helpers | tests):
                found[endpoint] |= cases
    return {name: ", ".join(map(str, sorted(cases | ALL_ENDPOINTS))) for name, cases in found.items()}


def _reached(node: ast.AST, known: dict[str, ast.AST]) -> list[str]:
    """Endpoints that a piece of code calls, itself or in what it calls, in the order of the vendor's page."""
    seen: set[str] = set()
    waiting = [node]
    while waiting:
        for name in set(_called(waiting.pop())) - seen:
            seen.add(name)
            if name in known and name not in ENDPOINTS:
                waiting.append(known[name])
    return [name for name in ENDPOINTS if name in seen]


def _called(node: ast.AST) -> Iterator[str]:
    """Names of what is called, or handed to a call."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            for part in (call.func, *call.args):
                if isinstance(part, ast.Attribute):
                    yield part.attr
                elif isinstance(part, ast.Name):
                    yield part.id


def _tops(path: str | Path) -> dict[str, ast.AST]:
    """Classes and functions of a module by name."""
    tree = ast.parse((settings.PROJECT_ROOT / path).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def _methods(path: str | Path) -> dict[str, ast.AST]:
    """Methods of a module's classes by name."""
    classes = [node for node in _tops(path).values() if isinstance(node, ast.ClassDef)]
    return {node.name: node for one in classes for node in one.body if isinstance(node, ast.FunctionDef)}
