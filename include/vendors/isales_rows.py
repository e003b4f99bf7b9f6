"""The rows of a CC-iSales call data file: the template's columns, and a lead's cells as the vendor takes them.

Source: the vendor's page "Importing an Outbound Call Data File from the Server", table of the template, and its
quirks: the sample cell holds single quotes and a bare number, where real JSON with text is meant. Column rules are data
at the top; whatever breaks one is a reject with its reason, and nothing is cut to fit. polars is imported where it is
used: flow files are read while Airflow parses DAGs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import polars as pl

    from include.leads.rules import CleanRules, PhoneField

COLUMNS: Final[Mapping[str, str]] = {
    "sessionId": "sessionId (Optional)",
    "called": "called (Mandatory)",
    "caller": "caller (Optional)",
    "callData": "callData (Optional)",
    "customField": "customField (Optional)",
    "recycleTime": "recycleTime (Optional)",
}
"""The template's columns and headers, in its order."""

PRIORITY: Final[Mapping[str, str]] = {"priority": "priority (Optional)"}
"""A seventh column that only newer servers know."""

LONGEST: Final[Mapping[str, int]] = {
    "sessionId": 32,
    "called": 32_767,  # of a workbook's cell; the vendor names none
    "caller": 24,
    "callData": 1024,
    "customField": 200,
}
"""Characters of a column, as Java counts them: one beyond the basic plane is two."""

MAX_NUMBER: Final = 24
"""Characters of each number in `called`."""

MAX_DELAY_SECONDS: Final = 7200

DATA_FIELD: Final = "callData."
"""What a target begins with whose value becomes a field of callData's JSON object."""

NumberForm = Literal["international", "national"]


@dataclass(frozen=True)
class RowRules:
    """How a flow's leads become cells.

    :param numbers: `international`: with the country code; `national`: without it, for numbers of the flow's region
        only.
    :param prefix: digits in front of every number, such as 00 or a line's 9.
    :param every_number: whether all usable numbers of a lead stand in its cell, tried in order, or only the first.
    :param delay_seconds: how long the dialer waits before each number after the first.
    :param kinds: phone field -> the `type` of its number.
    :param caller: the caller's number of rows that map none.
    :param zone: IANA zone of `recycleTime`.
    :param json_only: whether callData must be JSON (the campaign runs an intelligent IVR).
    """

    clean: CleanRules
    numbers: NumberForm = "international"
    prefix: str = ""
    every_number: bool = False
    delay_seconds: int = 0
    kinds: Mapping[PhoneField, str] = field(default_factory=dict)
    caller: str | None = None
    zone: str = "UTC"
    json_only: bool = False


def column_problems(targets: Sequence[str]) -> list[str]:
    """What is wrong with the columns of a flow file, in words; empty when nothing is."""
    problems = []
    if repeated := sorted({name for name in targets if list(targets).count(name) > 1}):
        problems.append(f"columns: {', '.join(repeated)} is mapped more than once")
    known = {*COLUMNS, *PRIORITY}
    wrong = [name for name in targets if name not in known and name.removeprefix(DATA_FIELD) in ("", name)]
    if wrong:
        problems.append(
            f"columns: {', '.join(wrong)} is no column of the template; write callData.<field>, or one of "
            f"{', '.join([*COLUMNS, *PRIORITY])}"
        )
    if "called" not in targets:
        problems.append("columns: called, the column of numbers, is not among them")
    if "callData" in targets and any(name.startswith(DATA_FIELD) for name in targets):
        problems.append("columns: map callData as a whole or field by field, not both")
    return problems


def shape(
    leads: pl.DataFrame, cells: pl.DataFrame, rules: RowRules
) -> tuple[pl.DataFrame, pl.Series, dict[str, int]]:
    """Turn a flow's cells into the template's columns, in the template's order (`include.flow_files.Recipe.shape`).

    :param leads: the kept leads, row by row those of the cells; their phone fields as the source wrote them.
    :param cells: text; `called` is the lead's first number, targets like `callData.state` are gathered into callData.
    """
    import polars as pl

    problems: list[tuple[pl.Series, str]] = []  # (which rows, reason), the first that applies counts
    called, foreign = _called(leads, rules)
    problems.append((foreign, "other_country"))
    out = {"called": called}
    for name in ("sessionId", "caller", "callData", "customField", "recycleTime", "priority"):
        if name in cells.columns:
            out[name] = cells[name].replace("", None)
    changes = {}
    out["sessionId"], changes["session_id_hashed"] = _session_ids(leads, out.get("sessionId"))
    if rules.caller is not None:
        out["caller"] = pl.repeat(rules.caller, leads.height, eager=True)
    fields = [name for name in cells.columns if name.startswith(DATA_FIELD)]
    if fields:
        out["callData"] = _json_objects(cells.select(fields))
    elif "callData" in out and rules.json_only:
        problems.append((~_is_json(out["callData"]), "not_json"))
    if "recycleTime" in out:
        written = out["recycleTime"]
        out["recycleTime"] = _local_times(written, rules.zone)
        problems.append((written.is_not_null() & out["recycleTime"].is_null(), "time_unreadable"))
    shaped = pl.DataFrame({name: out[name].cast(pl.String) for name in (*COLUMNS, *PRIORITY) if name in out})
    problems += [(_too_long(shaped), "text_too_long"), (_illegal(shaped), "text_illegal")]
    reason = pl.coalesce(
        *(pl.when(rows).then(pl.lit(code)) for rows, code in problems), pl.lit(None, pl.String)
    )
    return shaped, leads.select(reason=reason)["reason"], {name: n for name, n in changes.items() if n}


def row_problems(cells: pl.DataFrame) -> pl.Series:
    """Why the vendor would not take a row of finished cells, in words; null where it would."""
    import polars as pl

    distinct = cells["called"].fill_null("").unique()
    told = [called_problem(text) for text in distinct]
    called = cells["called"].fill_null("").replace_strict(distinct, pl.Series(told, dtype=pl.String))
    return pl.select(
        problem=pl.coalesce(
            called,
            pl.when(_not_a_time(cells)).then(pl.lit("recycleTime is no time written yyyy-mm-dd hh:mm:ss")),
            pl.when(_too_long(cells)).then(pl.lit("a text is longer than the vendor takes")),
            pl.when(_illegal(cells)).then(pl.lit("a text holds a character that no workbook holds")),
        )
    )["problem"]


def called_problem(cell: str) -> str | None:
    """Why a cell `called` cannot be taken, None when it can: real JSON, numbers as text, at most two hours of delay."""
    try:
        entries = json.loads(cell)
    except (ValueError, RecursionError):
        return "called is no JSON"
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        return "called is no list of objects"
    for entry in entries:
        number, delay = entry.get("calledNo"), entry.get("delayTime", 0)
        if not isinstance(number, str) or not re.fullmatch(rf"[0-9*#]{{1,{MAX_NUMBER}}}", number, re.ASCII):
            return f"a calledNo is not a text of at most {MAX_NUMBER} digits, * and #"
        if type(delay) is not int or not 0 <= delay <= MAX_DELAY_SECONDS:
            return f"a delayTime is not 0 to {MAX_DELAY_SECONDS}"
    return None


def session_id(row_key: str) -> str:
    """A row's `sessionId`, the same in every load: its key, or a hash of one that is too long."""
    if len(row_key.encode("utf-16-le")) <= 2 * LONGEST["sessionId"]:
        return row_key
    return hashlib.blake2b(row_key.encode(), digest_size=LONGEST["sessionId"] // 2).hexdigest()


def _called(leads: pl.DataFrame, rules: RowRules) -> tuple[pl.Series, pl.Series]:
    """The cell `called`, and whether a lead's first number is of a country that cannot be written."""
    import polars as pl

    from include.leads import phones
    from include.leads.clean import region_of

    region, found = region_of(leads, rules.clean), []
    for phone in rules.clean.phones:
        number, _ = phones.to_e164(leads[phone], region)
        found.append(number.alias(phone))
    numbers = pl.DataFrame(found)
    first = pl.coalesce(pl.all())
    texts = {name: _text(pl.col(name), rules) for name in rules.clean.phones}
    taken: list[pl.Expr] = []
    items = []
    for name in rules.clean.phones:
        here = pl.col(name)
        again = (
            pl.any_horizontal(here == earlier for earlier in taken).fill_null(value=False)
            if taken
            else pl.lit(False)
        )
        is_first = (here == first) & ~again
        wanted = is_first | (pl.lit(rules.every_number) & ~again)
        delay = (
            pl.when(is_first | pl.lit(rules.delay_seconds == 0))
            .then(pl.lit(""))
            .otherwise(pl.lit(f',"delayTime":{rules.delay_seconds}'))
        )
        kind = f',"type":{json.dumps(rules.kinds[name], ensure_ascii=False)}' if name in rules.kinds else ""
        item = pl.concat_str(pl.lit('{"calledNo":"'), texts[name], pl.lit('"'), delay, pl.lit(kind + "}"))
        items.append(pl.when(wanted).then(item))
        taken.append(here)
    cell = pl.concat_str(items, separator=",", ignore_nulls=True)
    told = numbers.select(
        cell=pl.when(cell != "").then(pl.concat_str(pl.lit("["), cell, pl.lit("]"))),
        foreign=first.is_not_null() & _text(first, rules).is_null(),
    )
    return told["cell"], told["foreign"]


def _text(number: pl.Expr, rules: RowRules) -> pl.Expr:
    """A number (Int64 of its E.164 digits) as the dialer dials it; null where this form cannot say it."""
    import phonenumbers
    import polars as pl

    digits = number.cast(pl.String)
    if rules.numbers == "national":
        code = str(phonenumbers.country_code_for_region(rules.clean.region))
        digits = pl.when(digits.str.starts_with(code)).then(digits.str.slice(len(code)))
    return pl.lit(rules.prefix) + digits


def _session_ids(leads: pl.DataFrame, given: pl.Series | None) -> tuple[pl.Series, int]:
    """The column sessionId, and how many row keys were too long for it."""
    import polars as pl

    from include.workbooks import utf16_length

    keys = leads["row_key"]
    long = leads.select(utf16_length(pl.col("row_key")) > LONGEST["sessionId"]).to_series()
    if long.any():
        rows = long.arg_true()
        keys = keys.scatter(rows, [session_id(key) for key in keys.gather(rows)])
    if given is None:
        return keys, int(long.sum())
    joined = pl.DataFrame({"given": given, "key": keys})
    return joined.select(pl.coalesce("given", "key"))["given"], int((long & given.is_null()).sum())


def _json_objects(cells: pl.DataFrame) -> pl.Series:
    """One JSON object per row, of the fields that hold something; null where none does."""
    import polars as pl

    def member(name: str) -> pl.Expr:
        # json_encode of {"v": text} puts the text, escaped and quoted, between {"v": and }.
        text = pl.struct(pl.col(name).alias("v")).struct.json_encode().str.slice(5).str.head(-1)
        key = json.dumps(name.removeprefix(DATA_FIELD), ensure_ascii=False)
        return pl.when(pl.col(name).fill_null("") != "").then(pl.concat_str(pl.lit(f"{key}:"), text))

    members = pl.concat_str([member(name) for name in cells.columns], separator=",", ignore_nulls=True)
    return cells.select(
        callData=pl.when(members != "").then(pl.concat_str(pl.lit("{"), members, pl.lit("}")))
    )["callData"]


def _is_json(texts: pl.Series) -> pl.Series:
    """Whether each text is JSON as other languages read it, without NaN and half characters; an empty cell is fine."""
    import orjson
    import polars as pl

    def good(text: str) -> bool:
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        return True

    distinct = texts.drop_nulls().unique()
    return texts.replace_strict(
        distinct, [good(text) for text in distinct], default=True, return_dtype=pl.Boolean
    )


def _local_times(texts: pl.Series, zone: str) -> pl.Series:
    """ISO times as `yyyy-mm-dd hh:mm:ss` in a zone; a time without an offset is in that zone already.

    A time that comes twice when the clock is set back is the first of the two; one that never comes is none.
    """
    import polars as pl

    text = pl.col("text").str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d)[ T]", "${1}T")
    bare = pl.when(text.str.len_chars() == 10).then(pl.concat_str(text, pl.lit("T00:00:00"))).otherwise(text)
    bare = bare.str.replace(r"T(\d\d:\d\d)($|[Z+-])", "T${1}:00${2}")
    aware = bare.str.replace("Z$", "+00:00").str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%z", time_zone="UTC", strict=False
    )
    naive = bare.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")
    here = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    local = pl.coalesce(aware.dt.convert_time_zone(zone), here)
    written = pl.when(local.dt.year().is_between(1, 9999)).then(local.dt.strftime("%Y-%m-%d %H:%M:%S"))
    return texts.to_frame("text").select(written=written)["written"]


def _not_a_time(cells: pl.DataFrame) -> pl.Series:
    import polars as pl

    if "recycleTime" not in cells.columns:
        return pl.repeat(value=False, n=cells.height, eager=True)
    text = pl.col("recycleTime").replace("", None)
    fits = text.str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$")
    time = text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
    return cells.select(wrong=text.is_not_null() & (~fits | time.is_null()))["wrong"]


def _too_long(cells: pl.DataFrame) -> pl.Series:
    import polars as pl

    from include.workbooks import utf16_length

    over = [utf16_length(pl.col(name)) > most for name, most in LONGEST.items() if name in cells.columns]
    return cells.select(over=pl.any_horizontal(over).fill_null(value=False))["over"]


def _illegal(cells: pl.DataFrame) -> pl.Series:
    import polars as pl

    from include.workbooks import NOT_IN_XML

    return cells.select(
        found=pl.any_horizontal(pl.all().str.contains_any(NOT_IN_XML)).fill_null(value=False)
    )["found"]
