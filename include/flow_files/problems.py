"""Says what is wrong with a key of a flow file, in words for the person who wrote the file."""

from __future__ import annotations

import difflib
from typing import Any, Final, get_args

from pydantic import BaseModel

LIMITS: Final = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
"""Type of the error -> where it keeps the limit, and the words for it."""

KINDS_OF_VALUE: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "date": "a date, such as 2026-11-30",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys and values",
    "model": "keys and values",
}
"""How the type of an error begins -> what should stand there."""

LONGEST: Final = 60  # of a value that is quoted


def problems_of(item: Any, model: type[BaseModel]) -> list[str]:
    """
    One error of pydantic as `key: rule`; several where a model names several rules of its own, one a line.

    :param item: the error, as `ValidationError.errors()` lists it
    :param model: of the whole file
    """
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":
        rules = str(item["msg"]).removeprefix("Value error, ").split("\n")
        return [f"{key}: {rule}" if key else rule if ": " in rule else f"the file: {rule}" for rule in rules]
    return [f"{key or 'the file'}: {_rule(item, model)}"]


def _rule(item: Any, model: type[BaseModel]) -> str:
    kind, told, found = item["type"], item.get("ctx", {}), _quoted(item["input"])
    holder, name = _holder(model, item["loc"]), str(item["loc"][-1]) if item["loc"] else ""
    if kind == "extra_forbidden":
        keys = [field.alias or key for key, field in holder.model_fields.items()] if holder else []
        near = difflib.get_close_matches(name, keys, n=1)
        return "there is no such key" + (f"; did you mean {near[0]}?" if near else "")
    if kind == "missing":
        return "is needed"
    if kind == "literal_error":
        return f"must be {told['expected']}, not {found}"
    if kind in LIMITS:
        limit, words = LIMITS[kind]
        return f"must be {words} {told[limit]:,}, not {found}".replace(".0,", ",")
    if kind == "string_type":
        return f"must be text, and YAML reads {found} here; write it in quotes"
    if kind == "string_pattern_mismatch":
        field = holder.model_fields.get(name) if holder else None
        return (
            f"{found} does not fit. {field.description if field and field.description else told['pattern']}"
        )
    if kind == "string_too_long":
        return f"must have at most {told['max_length']} characters"
    if kind in ("string_too_short", "too_short"):
        return "must not be empty"
    wanted = KINDS_OF_VALUE.get(kind.split("_")[0])
    return f"must be {wanted}, not {found}" if wanted else str(item["msg"])


def _quoted(value: Any) -> str:
    """A value as it stands in the file, cut where it is long."""
    if value is None:
        text = "nothing"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _holder(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model whose key an error is about, None where that cannot be told."""
    found: type[BaseModel] | None = model
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        fields = found.model_fields if found else {}
        field = next((field for key, field in fields.items() if part in (key, field.alias)), None)
        found = _model_in(field.annotation) if field else None
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model in a type such as `tuple[Column, ...]` or `Canary | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
