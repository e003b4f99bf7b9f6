"""The page of flow files, `docs/flows.md`: from the models of their kinds and the docstrings of the DAG files."""

from __future__ import annotations

import ast
import json
from typing import Any, Final

from include import settings
from include.flow_files import KINDS

HEAD: Final = """# Flow files

One YAML file per source or list in `include/flows` (or the folder that `LISTKEEPER_FLOWS` names). Each becomes one DAG,
`<kind>__<name>`; house-keeping has at most one file, and its DAG `keep_house` is there without it. A mistake is
reported with file, key and rule, and breaks only the DAG of that file; `listkeeper validate` finds it before Airflow
does.

Made from the code: `make docs`.
"""

WORDS: Final = {"string": "text", "boolean": "true or false", "integer": "whole number"}
BOUNDS: Final = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}


def page() -> str:
    """Return `docs/flows.md`: per kind the manual of its DAG and its keys, then the sections that kinds share.

    A kind that no DAG file speaks of is left out: its files would do nothing.
    """
    sections: dict[str, dict[str, Any]] = {}
    parts = [HEAD]
    for kind, model in KINDS.items():
        manual = _manual(kind)
        if manual is None:
            continue
        schema = model.model_json_schema()
        sections |= schema.get("$defs", {})
        parts.append(f"## `{kind}`\n\n{manual}\n\n### Keys\n\n{_keys(schema)}")
    for name, schema in sections.items():
        parts.append(f"## {name}\n\n{_one_line(schema.get('description', ''))}\n\n{_keys(schema)}")
    return "\n".join(f"{part.rstrip()}\n" for part in parts)


def _manual(kind: str) -> str | None:
    """The docstring of the DAG file that makes the DAGs of a kind, its title in bold; None when there is none."""
    for path in sorted((settings.PROJECT_ROOT / "dags").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if f"`kind: {kind}`" in text:
            return text.replace("### ", "**", 1).replace("\n", "**\n", 1)
    return None


def _keys(schema: dict[str, Any]) -> str:
    lines = ["| key | what it is | default | |", "| --- | --- | --- | --- |"]
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        default = "needed" if name in required else _default(field)
        words = _one_line(field.get("description", ""))
        lines.append(f"| `{name}` | {_type(field)} | {default} | {words} |")
    return "\n".join(lines)


def _type(field: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"] if choice.get("type") != "null")
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    told = [f"{word} {field[bound]:g}" for bound, word in BOUNDS.items() if bound in field]
    return " ".join([field.get("format") or WORDS.get(field["type"], field["type"]), *told])


def _default(field: dict[str, Any]) -> str:
    """The default, where it says something: a section's own defaults stand in its own table."""
    default = field.get("default")
    if default in (None, "", []) or isinstance(default, dict):
        return ""
    if isinstance(default, list):
        return f"`[{', '.join(default)}]`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "\\<").split())
