"""Clean-up of the free text that is sent: control characters, line breaks, outer blanks, formulas.

Phone fields and row keys are never touched. Cleaned are the customer key and the time zone (without the
formula rule: a leading sign may be part of a key) and every text value in the lead's `data`, whose numbers,
keys and order stay as they are, letter for letter.

A formula is text that begins with = or @, or with + or - and then more than a number. Its leading signs are
dropped, because the vendor's console and every later export would run it, and a quote in front would reach
the agent's screen. "-12.50" and "+1 202 555 0123" are numbers and stay.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Final, Literal

import polars as pl

Formulas = Literal["drop", "keep"]

RULES: Final = ("line_break", "control", "blank", "formula")
"""What a cell's change is counted under, in the order they are applied; a cell counts under each rule that
changed it.
"""

_LINE_BREAK: Final = re.compile(r"\s*[\t\n\v\f\r\x85\u2028\u2029]+\s*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # lone surrogates cannot be sent as UTF-8
_SIGNS: Final = "=+-@＝＋－＠"
_NUMBER: Final = re.compile(r"[+\-＋－][\s\d.,:()/%$€£-]*")
_STRING: Final = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?', re.DOTALL)

# What may need a change. Looking costs little, so that the rest costs only where there is something to do.
_DIRTY_TEXT: Final = rf"[\p{{Cc}}\x{{2028}}\x{{2029}}]|^\s|\s$|^[{re.escape(_SIGNS)}]"
_DIRTY_JSON: Final = rf'[\p{{Cc}}\x{{2028}}\x{{2029}}]|\\[nrtbfu]|"\s|\s"\s*[,}}\]]|"[{re.escape(_SIGNS)}]'

_DIRTY: Final = {"customer_key": _DIRTY_TEXT, "timezone": _DIRTY_TEXT, "data": _DIRTY_JSON}


def clean_text(text: str, formulas: Formulas = "drop") -> tuple[str, tuple[str, ...]]:
    """Return the text cleaned, and which of RULES changed it. Cleaning it again changes nothing more."""
    changed = []
    for rule in RULES:
        if rule == "line_break":
            after = _LINE_BREAK.sub(" ", text)
        elif rule == "control":
            after = _CONTROL.sub("", text)
        elif rule == "blank":
            after = text.strip()
        else:
            after = _without_formula(text) if formulas == "drop" else text
        if after != text:
            changed.append(rule)
            text = after
    return text, tuple(changed)


def clean_json(text: str, formulas: Formulas = "drop") -> tuple[str, tuple[str, ...]]:
    """Clean every text value in a JSON text; return it and the rules that changed a value, once per value.

    Only the changed values are written anew, so that numbers of any length, keys and order stay as they were.
    """
    changes: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[2]:  # a key
            return match[0]
        after, changed = clean_text(json.loads(match[1], strict=False), formulas)
        if not changed:
            return match[0]
        changes.extend(changed)
        return json.dumps(after, ensure_ascii=False)

    return _STRING.sub(value, text), tuple(changes)


def clean_fields(leads: pl.DataFrame, formulas: Formulas = "drop") -> tuple[pl.DataFrame, Counter[str]]:
    """Clean a lead frame's customer key, time zone and data; return it and the number of cells changed per
    rule.
    """
    changes: Counter[str] = Counter()
    suspects = leads.select(pl.col(column).str.contains(dirty) for column, dirty in _DIRTY.items())
    for column in suspects.columns:
        rows = suspects[column].arg_true()
        cleaned = []
        for text in leads[column].gather(rows):
            after, changed = clean_json(text, formulas) if column == "data" else clean_text(text, "keep")
            cleaned.append(after)
            changes.update(changed)
        if cleaned:
            leads = leads.with_columns(leads[column].scatter(rows, cleaned))
    return leads, changes


def _without_formula(text: str) -> str:
    while text and text[0] in _SIGNS and not _NUMBER.fullmatch(text):
        text = text[1:].lstrip()
    return text
