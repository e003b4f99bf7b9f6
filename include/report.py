"""What a run leaves for people: the rejects as CSV and workbook, and a short report in Markdown.

Nothing here decides: the states and reasons come from the outcome files, everything else from the plan, the
summary and the ledger's batches, as plain dictionaries, so that a report can be written however far a run came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from include.leads.reasons import REASONS
from include.leads.schema import STATES
from include.plan import HELD_REASON

REJECT_COLUMNS: Final[Mapping[str, int]] = {
    "row_key": 18,
    "state": 12,
    "code": 26,
    "reason": 60,
    "how_to_fix": 60,
    "detail": 40,
    "batch": 8,
}
"""Columns of a reject file, and their widths in a workbook, in characters."""

WORKBOOK_ROWS: Final = 100_000
"""Rows of a workbook that still opens at once. The CSV always holds all."""

PLAN_TITLE: Final = "What changes on the list"
REJECTS_TITLE: Final = "Why rows were not delivered"

SHOWN_BATCHES: Final = 30
"""Batches that a report lists singly. Of more, it lists those in which something was odd."""

_CHUNK: Final = 20_000
_FORMULA: Final = r"^\s*[=+\-@＝＋－＠]"
_NOT_IN_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_EXCEL_ESCAPE: Final = re.compile(r"_(x[0-9A-Fa-f]{4}_)")


def write_rejects(outcome_files: Sequence[Path], folder: Path) -> int:
    """Write every row that was not delivered to `rejects.csv` and `rejects.xlsx`; return how many there are.

    :param outcome_files: Parquet files of outcome frames (`include.leads.schema.OUTCOME_COLUMNS`).

    The CSV is UTF-8 with a byte order mark, so that Excel reads it right; a cell that Excel would run as a
    formula begins with an apostrophe there. In the workbook such cells are text as they are. Memory stays flat.
    """
    rows = 0
    with (folder / "rejects.csv").open("wb") as file:
        file.write(b"\xef\xbb\xbf" + (",".join(REJECT_COLUMNS) + "\r\n").encode())

        def chunks() -> Iterator[pl.DataFrame]:
            nonlocal rows
            for frame in _rejects(outcome_files):
                rows += frame.height
                _harmless(frame).write_csv(file, include_header=False, line_terminator="\r\n")
                yield frame

        _write_workbook(folder / "rejects.xlsx", chunks())
    return rows


def _rejects(outcome_files: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Rows that were not delivered, in chunks, with the words of their reasons."""
    for path in outcome_files:
        scan = pl.scan_parquet(path, glob=False).filter(pl.col("state") != "delivered")
        yield from scan.select(
            "row_key",
            "state",
            pl.col("reason").alias("code"),
            pl.col("reason").replace_strict({c: r.text for c, r in REASONS.items()}, default=""),
            pl.col("reason")
            .replace_strict({c: r.fix for c, r in REASONS.items()}, default="")
            .alias("how_to_fix"),
            "detail",
            "batch",
        ).collect_batches(chunk_size=_CHUNK)


def _harmless(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(pl.col(name).str.contains(_FORMULA))
        .then(pl.lit("'") + pl.col(name))
        .otherwise(name)
        .alias(name)
        for name in ("row_key", "detail")
    )


def _write_workbook(path: Path, chunks: Iterable[pl.DataFrame]) -> None:
    """Write the first WORKBOOK_ROWS rows; goes through all chunks."""
    # openpyxl takes a fifth of a second to import; DAG files import this module.
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Rejects")
    sheet.freeze_panes = "A2"
    for number, width in enumerate(REJECT_COLUMNS.values(), 1):
        sheet.column_dimensions[get_column_letter(number)].width = width

    def cell(value: object) -> object:
        if not isinstance(value, str):
            return value
        value = _EXCEL_ESCAPE.sub(r"_x005F_\1", _NOT_IN_XML.sub("", value))
        if not value.startswith(("=", "#")):
            return value
        text = WriteOnlyCell(sheet, value)  # openpyxl would make a formula or an error of it
        text.data_type = "s"
        return text

    header = [WriteOnlyCell(sheet, name) for name in REJECT_COLUMNS]
    for name in header:
        name.font = Font(bold=True)
    sheet.append(header)
    written = total = 0
    for frame in chunks:
        for row in frame.head(max(0, WORKBOOK_ROWS - total)).iter_rows():
            sheet.append([cell(value) for value in row])
            written += 1
        total += frame.height
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(REJECT_COLUMNS))}{written + 1}"
    if total > written:
        sheet.append([f"{total - written:,} more rows are in rejects.csv, which holds all {total:,}."])
    book.save(path)


def report_markdown(
    plan: Mapping[str, Any],
    summary: Mapping[str, Any],
    problems: Sequence[str],
    batches: Sequence[Mapping[str, Any]],
) -> str:
    """Return the report of one run, as far as it came; any of the four may be empty.

    :param plan: the plan as `include.plan` writes it.
    :param summary: flow, rows_in, the five states in rows, and the verdict.
    :param problems: what speaks against the load, in plain words (`include.ledger.reconcile`).
    :param batches: the ledger's batches as dictionaries.
    """
    parts = [
        _head(plan, summary),
        _listed("What speaks against it", [_text(problem) for problem in problems]),
        _guards(plan),
        _unlike(plan),
        _approval(summary),
        _rows(summary),
        _changes(plan),
        _timing(plan.get("timing") or {}),
        _archive(plan.get("archive") or {}),
        _reasons(plan, summary, batches),
        _suppression(plan),
        _packs(plan),
        _calls(plan),
        _vendor(batches),
        _samples(plan),
        _listed("What to do next", _advice(plan, summary, problems)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plan_markdown(plan: Mapping[str, Any]) -> str:
    """Return what a plan would change and what the guards say, for a person who must decide."""
    parts = [
        _guards(plan),
        _unlike(plan),
        _changes(plan),
        _timing(plan.get("timing") or {}),
        _archive(plan.get("archive") or {}),
        _samples(plan),
        _reasons(plan, {}, []),
        _suppression(plan),
        _packs(plan),
        _calls(plan),
    ]
    return "\n\n".join(part for part in parts if part)


def _approval(summary: Mapping[str, Any]) -> str:
    """Who approved, or did not."""
    approval = summary.get("approval") or {}
    if not approval:
        return ""
    why = f" Reason: {_text(approval['why'])}." if approval.get("why") else ""
    if approval["word"] == "approved":
        told = f"{_text(approval['by'])} approved this plan {_moment(approval['at'])}.{why}"
    elif approval["word"] == "rejected":
        told = f"A person rejected this plan.{why}"
    else:
        told = "Nobody approved this plan in time. No answer means no."
    return _section("Approval", told)


_DECISIONS: Final = {
    "plan_only": "The run only planned. Nothing was sent.",
    "refused": "A guard refused the plan. Nothing was sent.",
    "ask": "The plan needed a person's approval.",
    "unchanged": "The list already holds exactly this. Nothing was sent.",
}


def _head(plan: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    name = summary.get("flow") or plan.get("flow") or "This run"
    lines = [f"# {_text(name)}: {_text(summary.get('verdict') or 'not ended')}"]
    if not plan:
        lines.append("The run did not come as far as a plan, so nothing was sent to the vendor.")
        return "\n\n".join(lines)
    if not summary:
        lines.append("There is a plan, but the run has not written down how it ended.")
    lines.append(_DECISIONS.get(str(plan.get("decision")), ""))
    facts = [
        f"Night {_text(plan['night'])}" if plan.get("night") else "",
        f"data as of {_moment(plan['source_time'])}" if plan.get("source_time") else "",
        f"list `{_code(plan['list'])}`" if plan.get("list") else "",
        f"mode {_text(plan['mode'])}" if plan.get("mode") else "",
        f"through {_text(plan['vendor'])}" if plan.get("vendor") else "",
    ]
    lines.append(", ".join(fact for fact in facts if fact))
    return "\n\n".join(line for line in lines if line)


def _rows(summary: Mapping[str, Any]) -> str:
    if not summary:
        return ""
    rows_in = summary.get("rows_in")
    counts = [("came in", rows_in), *((state, summary.get(state)) for state in STATES)]
    table = [(word, _number(count), _share(count, rows_in)) for word, count in counts]
    return _section("Rows", _table(("", "rows>", "share>"), table))


def _changes(plan: Mapping[str, Any]) -> str:
    if not plan:
        return ""
    names = ("now", "after", "added", "removed", "changed", "unchanged", "to_send")
    heads = [f"{name.replace('_', ' ')}>" for name in names]
    lines = [_table(heads, [[_number(plan.get(name)) for name in names]])]
    if plan.get("now") is None and "archive" not in plan:
        lines.append("What the list held before is not known here: this is the first load of it.")
    if cleaned := {rule: n for rule, n in (plan.get("changes") or {}).items() if n}:
        words = ", ".join(f"{_text(rule.replace('_', ' '))} {_number(n)}" for rule, n in cleaned.items())
        lines.append(f"Cells cleaned on the way: {words}.")
    return _section(PLAN_TITLE, *lines)


def _timing(timing: Mapping[str, Any]) -> str:
    """How long a load takes at the vendor's limit, and what fits before its end time."""
    if not timing or not timing["batches"]:
        return ""
    zone = ZoneInfo(str(timing["zone"]))
    told = (
        f"{_number(timing['batches'])} requests, at most {_number(timing['calls'])} in {timing['window_seconds']:g} s: "
        f"about {timing['minutes']:g} minutes. Begun {_local(timing['begins'], zone)}, it ends about "
        f"{_local(timing['ends'], zone)} if nothing else uses the account."
    )
    if timing["latest"] is None:
        return _section("How long it takes", told)
    fits = f"The last request may go out before {_local(timing['latest'], zone)}: "
    if timing["fits"] == timing["batches"]:
        return _section("How long it takes", told, fits + "all of them fit.")
    fits += (
        f"{_number(timing['fits'])} of them fit, with {_number(timing['rows_that_fit'])} rows. The rest is held and "
        "goes on the next night."
    )
    return _section("How long it takes", told, fits)


def _archive(archive: Mapping[str, Any]) -> str:
    """Which rules picked the leads of an archive, and how long it takes."""
    if not archive:
        return ""
    zone = ZoneInfo(str(archive["zone"]))
    rules = [(f"`{_code(rule)}`", _number(rows)) for rule, rows in archive["rules"].items()]
    kept = [
        (_text(entry["name"]), _number(entry["rows"]), _days(entry["age_days"], "unknown"))
        for entry in archive["keep_lists"]
    ]
    times = [
        f"{_number(archive['batches'])} requests of {archive['seconds_per_call']:g} s each: "
        f"about {archive['minutes']:g} minutes.",
        f"It may begin {_local(archive['begins'], zone)}; {_number(archive['fits_first'])} requests fit before the "
        "office opens"
        + (
            f", and it ends about {_local(archive['ends'], zone)}."
            if archive["ends"]
            else "; the rest takes longer than a year."
        ),
    ]
    if archive["windows"] > 1:
        times.append(f"It takes {archive['windows']} nights.")
    return _section(
        "What is archived, and when",
        _table(("rule", "leads>"), rules),
        *([_table(("keep-list", "entries>", "age>"), kept)] if kept else []),
        " ".join(times),
    )


def _reasons(
    plan: Mapping[str, Any], summary: Mapping[str, Any], batches: Sequence[Mapping[str, Any]]
) -> str:
    counts = _undelivered(plan, summary)
    for name, count in _refused_by_vendor(batches).items():
        code = name if name in REASONS else f"vendor_{name}"
        if code in REASONS:
            counts.setdefault("rejected", {})[code] = count
    rows = [
        (state, code, count)
        for state in STATES
        for code, count in sorted(counts.get(state, {}).items(), key=lambda item: -item[1])
        if count
    ]
    table = [
        (
            state,
            f"`{_code(code)}`",
            _number(count),
            REASONS[code].text if code in REASONS else "",
            REASONS[code].fix if code in REASONS else "",
        )
        for state, code, count in rows
    ]
    if not table:
        return ""
    lines = [_table(("", "reason", "rows>", "what it means", "how to fix it"), table)]
    if summary:
        lines.append("Row by row they are in `rejects.csv` and `rejects.xlsx`.")
    return _section(REJECTS_TITLE, *lines)


def _guards(plan: Mapping[str, Any]) -> str:
    refusals = [
        f"**{_text(refusal['guard'].replace('_', ' '))}**: {_text(refusal['text'])}"
        for refusal in plan.get("refusals") or []
    ]
    return _section("What the guards refused", *(f"- {line}" for line in refusals)) if refusals else ""


def _unlike(plan: Mapping[str, Any]) -> str:
    """What of this night is unlike the nights before."""
    return _listed("What is unlike other nights", [_text(warning) for warning in plan.get("warnings") or []])


def _suppression(plan: Mapping[str, Any]) -> str:
    table = [
        (
            _text(entry.get("name")),
            _number(entry.get("rows")),
            _number(entry.get("hits")),
            _days(entry.get("age_days"), "unknown"),
            _days(entry.get("max_age_days"), "none"),
        )
        for entry in plan.get("suppression") or []
    ]
    heads = ("list", "entries>", "leads found on it>", "age>", "oldest allowed>")
    return _section("Suppression lists", _table(heads, table)) if table else ""


_ZONE_FROM: Final = {
    "field": "the lead's own field",
    "number": "its number",
    "address": "its address",
    "country": "its country only: the overlap of all zones there",
    "nothing": "nothing: held",
}
_CONFLICT: Final = {
    "overlap": "they are called only when all of these allow it",
    "first": "the first source was taken",
    "hold": "they are held",
}


def _packs(plan: Mapping[str, Any]) -> str:
    """By which rule packs the leads were decided, what told their time zones, and what nobody checked."""
    packs = plan.get("packs") or {}
    if not packs:
        return ""
    told = [(_text(_ZONE_FROM.get(name, name)), _number(rows)) for name, rows in packs["zone_from"].items()]
    lines = [f"Decided by {_text(', '.join(packs['packs']))}. Product rules, not legal advice."]
    if packs["conflicts"]:
        lines.append(
            f"Of {_number(packs['conflicts'])} leads the sources name zones with different clocks; "
            f"{_CONFLICT[packs['zone_conflict']]}."
        )
    if packs["unreadable"]:
        lines.append(f"Of {_number(packs['unreadable'])} leads the own field names no time zone of a place.")
    lines += [f"Not checked: {_text(what)}." for what in packs["unchecked"]]
    return _section("Rule packs", *lines, _table(("time zone told by", "leads>"), told))


def _calls(plan: Mapping[str, Any]) -> str:
    """What earlier calls the leads were held against."""
    calls = plan.get("calls") or {}
    if not calls:
        return ""
    told = [(f"`{_code(code)}`", _number(leads)) for code, leads in sorted(calls["hits"].items())]
    return _section(
        "Earlier calls",
        f"{_number(calls['rows'])} calls of {_number(calls['nights'])} nights of `{_code(calls['source'])}`, the "
        f"newest as of {_moment(calls['as_of'])}: {_number(calls['do_not_call'])} numbers asked not to be called, "
        f"{_number(calls['dead'])} are out of service.",
        *([_table(("found", "times>"), told)] if told else []),
    )


def _vendor(batches: Sequence[Mapping[str, Any]]) -> str:
    if not batches:
        return ""
    counted = dict.fromkeys(name for batch in batches for name in batch.get("vendor_counts") or {})
    names = sorted(counted, key=lambda name: ("total", "valid", name).index(name))
    shown = batches if len(batches) <= SHOWN_BATCHES else [b for b in batches if not _is_whole(b)]
    table = [
        [
            _number(batch.get("seq")),
            _text(batch.get("state")),
            _number(batch.get("rows")),
            *(_number((batch.get("vendor_counts") or {}).get(name)) for name in names),
            f"`{_code(batch['vendor_ref'])}`" if batch.get("vendor_ref") else "",
            _text(batch.get("note") or ""),
        ]
        for batch in shown[:SHOWN_BATCHES]
    ]
    if len(shown) < len(batches):
        sums = [sum((batch.get("vendor_counts") or {}).get(name, 0) for batch in batches) for name in names]
        sent = sum(batch.get("rows", 0) for batch in batches)
        table.insert(
            0, ["all", "", _number(sent), *map(_number, sums), "", f"{_number(len(batches))} batches"]
        )
    heads = ["batch>", "state", "sent>", *(f"{_text(name)}>" for name in names), "vendor's id", "note"]
    return _section("What the vendor counted", _table(heads, table))


def _is_whole(batch: Mapping[str, Any]) -> bool:
    """Whether a batch was delivered without exception, so that a long table can do without it."""
    return batch.get("state") == "confirmed" and batch.get("delivered") == batch.get("rows")


def _samples(plan: Mapping[str, Any]) -> str:
    samples = [
        f"`{_code(sample['row_key'])}` {_text(sample['phone'])}" for sample in (plan.get("samples") or [])[:5]
    ]
    return (
        _section("Samples of what is sent", "Row and masked phone: " + ", ".join(samples)) if samples else ""
    )


def _advice(plan: Mapping[str, Any], summary: Mapping[str, Any], problems: Sequence[str]) -> list[str]:
    """What a person should do now, the most pressing first."""
    if not plan:
        return [
            "Open the run in Airflow, read the log of the failed task, correct the cause and clear the task."
        ]
    advice = []
    decision = plan.get("decision")
    if summary.get("uncertain") and "archive" in plan:
        advice.append(
            f"{_number(summary['uncertain'])} rows are uncertain: clear the task `archive`. It goes on where it "
            "stopped, and no lead is archived twice."
        )
    elif summary.get("uncertain"):
        advice.append(
            f"{_number(summary['uncertain'])} rows are uncertain: look at the list in the vendor's own console, "
            "then resolve the load as delivered or not."
        )
    if decision == "refused":
        advice.append(
            "Correct what the guards name above, then start a new run; a limit is changed in the flow file."
        )
    elif decision == "ask" and summary and (summary.get("approval") or {}).get("word") != "approved":
        advice.append(
            "To ask again, clear the task `approve` in Airflow; to plan anew, start a new run. Nothing was sent."
        )
    elif decision == "plan_only":
        advice.append(
            "To deliver this, start a run that applies; `released: true` in the flow file does it nightly."
        )
    elif problems and not summary.get("uncertain") and "archive" not in plan:
        advice.append("Do not call from this list before the points above are understood.")
    rejected = (plan.get("decided") or {}).get("rejected") or {}
    for code, count in sorted(rejected.items(), key=lambda item: -item[1])[:2]:
        if count and code in REASONS:
            advice.append(f"{_number(count)} rows `{_code(code)}`: {REASONS[code].fix}")
    if not summary:
        advice.append("The run is still going, or stopped on the way: its tasks in Airflow tell which.")
    return advice or ["Nothing to do."]


def _undelivered(plan: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """State -> reason -> rows, as far as the plan decided."""
    counts = {state: dict(reasons) for state, reasons in (plan.get("decided") or {}).items()}
    held = counts.pop("held", {})
    for reason, rows in (plan.get("held") or {}).items():
        held[reason] = held.get(reason, 0) + rows
    decision = plan.get("decision", "apply")
    approved = (summary.get("approval") or {}).get("word") == "approved"
    if decision == "ask" and (
        approved or not summary
    ):  # what was approved is sent, what is open is nobody's loss yet
        decision = "apply"
    if decision != "apply" and decision in HELD_REASON:
        reason = HELD_REASON[decision]
        held[reason] = held.get(reason, 0) + plan.get("to_send", 0)
    return {**counts, "held": held}


def _refused_by_vendor(batches: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The vendor's own classes of refused rows, over all batches."""
    totals: dict[str, int] = {}
    for batch in batches:
        for name, count in (batch.get("vendor_counts") or {}).items():
            if name not in ("total", "valid") and count:
                totals[name] = totals.get(name, 0) + count
    return totals


def _section(title: str, *parts: str) -> str:
    listed = all(part.startswith("- ") for part in parts)
    return f"## {title}\n\n" + ("\n" if listed else "\n\n").join(parts)


def _listed(title: str, lines: Sequence[str]) -> str:
    return _section(title, *(f"- {line}" for line in lines)) if lines else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; heads that end in > are columns of numbers."""
    lines = [
        "| " + " | ".join(head.removesuffix(">") for head in heads) + " |",
        "| " + " | ".join("---:" if head.endswith(">") else "---" for head in heads) + " |",
    ]
    # A pipe ends a cell even between backticks.
    lines += ["| " + " | ".join(re.sub(r"(?<!\\)\|", r"\|", cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: object) -> str:
    """Words for Markdown: one line, and nothing in them is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!])", r"\\\1", " ".join(str(value).split()))


def _code(value: object) -> str:
    """Words to stand between backticks."""
    return " ".join(str(value).replace("`", "'").split())


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "?" if value is None else _text(value)


def _share(count: object, total: object) -> str:
    if not isinstance(count, int) or not isinstance(total, int) or not total:
        return ""
    return f"{100 * count / total:.1f} %"


def _days(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:g} days"


def _local(value: str, zone: ZoneInfo) -> str:
    """A time in ISO 8601, for people in a zone: to the minute."""
    return f"{datetime.fromisoformat(value).astimezone(zone):%a %Y-%m-%d %H:%M %Z}"


def _moment(value: str) -> str:
    """A time in ISO 8601, for people: in UTC, to the minute."""
    return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
