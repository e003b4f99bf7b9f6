"""The schema contract of a pull: which fields a lead has, and of which type, in what the source sends.

What was seen is counted page by page and kept beside the snapshot. A night whose fields are new, missing or of another
type than they were (or than the source's file says) is told, or stops, as the file wants. Only names, types and counts
are looked at, never a value. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["text", "number", "boolean", "list", "object"]
Fields = dict[str, dict[str, int]]
"""Field -> type -> leads that have it so; `nothing` stands for null. Fields of the lead's data begin with data."""

NOTHING: Final = "nothing"
LEADS: Final = "*"
"""Stands among the fields for the leads themselves, so that shares can be told."""

_KINDS: Final[dict[type, str]] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "boolean",
    list: "list",
    dict: "object",
    type(None): NOTHING,
}
_MOST: Final = 0.5


class Contract(BaseModel):
    """What the source's leads look like (section `contract:` of a source's file)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_change: Literal["ignore", "warn", "stop"] = Field(
        "warn",
        description="When fields are new, missing or of another type: ignore it; warn in the log and in the reports of "
        "the deliveries; stop, so that there is no snapshot.",
    )
    fields: dict[str, Kind] = Field(
        default_factory=dict,
        description="Fields of the lead's data that must be there, with their type: {data.state: text}. Left out: "
        "those of the newest night before.",
    )


class ContractError(ValueError):
    """The source's leads do not look as they should; the message names each field and what is wrong with it."""


def count(leads: Iterable[Mapping[str, Any]]) -> Fields:
    """Count the fields and types of leads as the vendor sent them; `dataFields` are told one by one."""
    shapes: Counter[tuple[Any, ...]] = Counter()
    for lead in leads:
        data = lead.get("dataFields")
        inner = (tuple(data), tuple(map(type, data.values()))) if isinstance(data, dict) else ((), ())
        shapes[tuple(lead), tuple(map(type, lead.values())), *inner] += 1
    found: Fields = {}
    for (names, kinds, data_names, data_kinds), rows in shapes.items():
        told = [*zip(names, kinds, strict=True)]
        told += [(f"data.{name}", kind) for name, kind in zip(data_names, data_kinds, strict=True)]
        for name, kind in [(LEADS, dict), *told]:
            of_field = found.setdefault(name, {})
            word = _KINDS.get(kind, "object")
            of_field[word] = of_field.get(word, 0) + rows
    return found


def total(parts: Iterable[Fields]) -> Fields:
    """The sum of several counts."""
    found: Fields = {}
    for part in parts:
        for name, kinds in part.items():
            of_field = found.setdefault(name, {})
            for kind, rows in kinds.items():
                of_field[kind] = of_field.get(kind, 0) + rows
    return found


def changes(tonight: Fields, before: Fields | None, contract: Contract) -> list[str]:
    """What is new, missing or of another type, a sentence each.

    A field of the night before is missed only if at least half of its leads had it: what a few leads have may well be
    absent from a night. Nothing is said of a night without leads, nor of the first one.
    """
    leads = _rows(tonight, LEADS)
    if contract.on_change == "ignore" or not leads:
        return []
    if contract.fields:
        data = {name for name in tonight if name.startswith("data.")}
        found = [f"{name} is new" for name in sorted(data - set(contract.fields))]
        for name, kind in contract.fields.items():
            if name not in tonight:
                found.append(f"{name} is missing: no lead has it")
            else:
                found += _retyped(name, tonight[name], {kind})
        return found
    if not before or not _rows(before, LEADS):
        return []
    found = [f"{name} is new" for name in sorted(set(tonight) - set(before))]
    for name, kinds in sorted(before.items()):
        if name in tonight:
            found += _retyped(name, tonight[name], set(kinds) - {NOTHING})
        elif _rows(before, name) >= _MOST * _rows(before, LEADS):
            found.append(f"{name} is missing: no lead has it any more")
    return found


def _retyped(name: str, kinds: Mapping[str, int], known: set[str]) -> list[str]:
    odd = {kind: rows for kind, rows in kinds.items() if kind not in known and kind != NOTHING}
    if not odd or not known:
        return []
    told = " and ".join(f"{kind} in {rows:,} leads" for kind, rows in sorted(odd.items()))
    return [f"{name} was {' or '.join(sorted(known))}, and is {told}"]


def _rows(fields: Fields, name: str) -> int:
    return sum(fields.get(name, {}).values())
