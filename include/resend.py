"""Rejects that a person has fixed, put together with the leads they belong to: what `resend_rejects` hands in.

A list that is replaced gets the whole snapshot again with the fixed rows in it (otherwise it would shrink to them), as
old as that snapshot, so that the fence keeps it from a list that has a newer night. A list that is only appended to
gets the fixed rows; what stands on it already may not repeat there.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from include import handed_in
from include.fixed import FIELD, FIXABLE, KEY, Fix, FixedFile, Problem
from include.flow_files import Delivery
from include.leads.reasons import REASONS
from include.leads.schema import LEAD_COLUMNS
from include.leads.standing import STANDING
from include.ledger import Ledger, Load, UnknownTargetError
from include.report import markdown as md
from include.report.reasons import REJECTS_TITLE
from include.report.rejects import WORKBOOK_ROWS
from include.staging import RunFolder, run_path, slug

LEADS: Final = "part-*.parquet"


class ResendError(ValueError):
    """The rejects of this load cannot be sent again; the message says what to do instead."""


@dataclass(frozen=True)
class Chosen:
    """The rows of a file that can be sent again, and those that cannot.

    :param of: id of the load that the rows were rejected by first, where `load` is a resend itself.
    :param night: the night that they count as.
    :param source_time: what the fence compares.
    """

    load: Load
    of: str
    night: str | None
    source_time: datetime
    fixes: tuple[Fix, ...]
    problems: tuple[Problem, ...]
    earlier: tuple[Load, ...]


def load_problem(ledger: Ledger, flow: Delivery, load: Load, run_id: str | None = None) -> str | None:
    """Why no rejects of a load can be sent again, None when they can.

    :param run_id: the delivery's run that this is for.
    """
    if load.state in ("open", "planned"):
        return "This load sent nothing" + (" yet." if load.state == "open" else ": it only planned.")
    if load.target != flow.target:
        return "The flow file names another list since. Nothing can be sent again to the old one."
    if not flow.released:
        return f"Flow {flow.name} only plans until its file says `released: true`."
    if not (_folder(load, "outcomes").exists() and RunFolder(load.snapshot).exists()):
        return "House-keeping has removed this load's rows. Correct them at the source; the next pull takes them."
    if not flow.recipe.replaces:
        return None
    last = _applied(ledger, flow)
    newer = last is not None and last.id != load.id and last.opened_at > load.opened_at
    if last is not None and newer and last.run_id != run_id:
        return (
            f"Load {last.id} has replaced the list since (run {last.run_id}). Fix the rejects of that one; this one "
            "would take its changes off the list."
        )
    return None


def choose(ledger: Ledger, flow: Delivery, load: Load, file: FixedFile, run_id: str) -> Chosen:
    """Set the rows of a file against what became of them. Raises ResendError when no row can be sent again.

    :param run_id: the delivery's run that this is for; its own earlier try does not count.
    """
    if problem := load_problem(ledger, flow, load, run_id):
        raise ResendError(problem)
    of = _first(ledger, load)
    earlier = tuple(_resends(ledger, of, run_id))
    if open_ones := [one for one in earlier if one.state == "open"]:
        raise ResendError(
            f"An earlier resend (run {open_ones[0].run_id} of {open_ones[0].dag_id}) has not ended. Wait for it."
        )
    keys = pl.Series("row_key", [fix.row_key for fix in file.fixes], pl.String)
    ended = dict(_ended(load, keys).iter_rows())
    sent = set[str]()
    if not flow.recipe.replaces:
        for one in earlier:
            sent |= {
                key for key, state in _ended(one, keys).iter_rows() if state in ("delivered", "uncertain")
            }
    fixes: list[Fix] = []
    problems = list(file.problems)
    for fix in file.fixes:
        state = ended.get(fix.row_key)
        if state is None:
            problems.append(
                Problem(fix.row_key, "fix_unknown_key", f"row {fix.row}: the load had no such row_key")
            )
        elif state != "rejected":
            problems.append(Problem(fix.row_key, "fix_not_rejected", f"row {fix.row}: it was {state}"))
        elif fix.row_key in sent:
            problems.append(
                Problem(fix.row_key, "fix_delivered", f"row {fix.row}: an earlier resend has sent it")
            )
        else:
            fixes.append(fix)
    night, source_time = _counts_as(ledger, flow, load)
    return Chosen(load, of, night, source_time, tuple(fixes), tuple(problems), earlier)


def write(flow: Delivery, chosen: Chosen, out: Path) -> int:
    """Write the leads to hand in; return how many. One part is in memory at a time, and the fixes."""
    fixes = {fix.row_key: fix for fix in chosen.fixes}
    keys = pl.DataFrame({"row_key": list(fixes)}, schema={"row_key": pl.String})
    rows = found = 0
    with RunFolder(chosen.load.snapshot).reading(LEADS) as parts:
        for number, part in enumerate(parts):
            leads = pl.read_parquet(part, columns=list(LEAD_COLUMNS), glob=False)
            mine = leads.join(keys, on="row_key", how="semi", maintain_order="left")
            found += mine.height
            mended = _mended(mine, fixes)
            if flow.recipe.replaces:
                rest = leads.join(keys, on="row_key", how="anti", maintain_order="left")
                mended = pl.concat([rest, mended])
            if mended.height or not number:
                mended.write_parquet(out / f"part-{number:05d}.parquet", compression="zstd")
            rows += mended.height
    if found != len(fixes):
        raise ResendError(
            f"{len(fixes) - found:,} of the rejected rows are no longer in the snapshot (a customer may have been "
            "erased). Remove them from the file."
        )
    if not flow.recipe.replaces:
        _standing(chosen, keys).write_parquet(out / STANDING)
    return rows


def page(flow: Delivery, chosen: Chosen, run_id: str) -> str:
    """What a resend leaves for people, as Markdown: what is sent again, and what of the file is not."""
    refused = Counter(problem.code for problem in chosen.problems)
    again = "the whole night with them in it" if flow.recipe.replaces else "these rows only"
    parts = [
        f"# Fixed rejects of {md.text(flow.name)}",
        f"{len(chosen.fixes):,} rows of the file go out again, {len(chosen.problems):,} do not.",
        f"They are of load `{md.code(chosen.load.id)}`. The run `{md.code(run_id)}` of `{md.code(flow.dag_id)}` "
        f"delivers {again}: cleaned, planned and guarded as on any night. How it ended is on "
        f"[that run's page](../{flow.dag_id}/{slug(run_id)}).",
    ]
    if refused:
        rows = [
            (f"`{code}`", md.number(count), REASONS[code].text, REASONS[code].fix)
            for code, count in refused.most_common()
        ]
        parts += [
            "## " + REJECTS_TITLE,
            md.table(("reason", "rows>", "what it means", "how to fix it"), rows),
            "Row by row they are in `rejects.csv` and `rejects.xlsx`.",
        ]
    return "\n\n".join(parts) + "\n"


def facts(flow: Delivery, chosen: Chosen) -> dict[str, Any]:
    """What the manifest of the snapshot says that these leads come from, as far as it is still true."""
    known = RunFolder(chosen.load.snapshot).manifest().facts
    true_still = {name: known[name] for name in ("mode", "run_type", "contract") if name in known}
    return true_still | {"source": flow.source}


def workbook(flow: Delivery, load: Load) -> bytes:
    """A workbook of a load's rejects with what stands in the columns that the flow uses, ready to be fixed.

    It holds personal data; it is made for the person who asks and kept nowhere.
    """
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    columns = _columns_to_fix(flow)
    widths = {KEY: 18, **dict.fromkeys(columns, 22), "code": 26, "how_to_fix": 60, "detail": 40}
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Rejects")
    sheet.freeze_panes = "B2"
    for number, width in enumerate(widths.values(), 1):
        sheet.column_dimensions[get_column_letter(number)].width = width
    head = [WriteOnlyCell(sheet, name) for name in widths]
    for cell in head:
        cell.font = Font(bold=True)
    sheet.append(head)
    for row in _rejected_leads(load, columns).iter_rows(named=True):
        cells = []
        for name in widths:
            known = REASONS.get(row["code"])
            text = known.fix if known and name == "how_to_fix" else row.get(name)
            cell = WriteOnlyCell(sheet, None if text is None else _for_excel(text))
            if text is not None:
                cell.data_type = "s"  # also what begins as a formula does
            cell.number_format = "@"  # else Excel would make numbers of phones and zip codes
            cells.append(cell)
        sheet.append(cells)
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(widths))}1"
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _for_excel(text: str) -> str:
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    return str(ILLEGAL_CHARACTERS_RE.sub("", text))


def _columns_to_fix(flow: Delivery) -> list[str]:
    """The columns that the flow looks at, of those that can be fixed."""
    used = [*flow.clean.phones, *(column.source for column in flow.columns)]
    fixable = [name for name in used if name in FIXABLE or name.startswith(FIELD)]
    return list(dict.fromkeys(fixable))


def _rejected_leads(load: Load, columns: list[str]) -> pl.DataFrame:
    with (
        _folder(load, "outcomes").reading("*.parquet") as ended,
        RunFolder(load.snapshot).reading(LEADS) as parts,
    ):
        rejected = (
            pl.scan_parquet(ended, glob=False)
            .filter(state="rejected")
            .select("row_key", pl.col("reason").alias("code"), "detail")
            .head(WORKBOOK_ROWS)
        )
        leads = pl.scan_parquet(parts, glob=False).join(rejected, on="row_key", how="inner")
        cells = [
            pl.col("data").str.json_path_match(f"$['{name.removeprefix(FIELD)}']").alias(name)
            if name.startswith(FIELD)
            else pl.col(name)
            for name in columns
        ]
        return leads.select("row_key", *cells, "code", "detail").collect(engine="streaming")


def _mended(leads: pl.DataFrame, fixes: dict[str, Fix]) -> pl.DataFrame:
    """Leads with the fixed values in their places."""
    rows = []
    for lead in leads.iter_rows(named=True):
        values = fixes[lead["row_key"]].values
        free = {name.removeprefix(FIELD): text for name, text in values.items() if name.startswith(FIELD)}
        if free:
            lead["data"] = json.dumps(json.loads(lead["data"] or "{}") | free, ensure_ascii=False)
        rows.append(lead | {name: text for name, text in values.items() if name in FIXABLE})
    return pl.DataFrame(rows, schema=dict(LEAD_COLUMNS))


def _standing(chosen: Chosen, fixed: pl.DataFrame) -> pl.DataFrame:
    """Numbers and keys of the leads that this load and its resends kept, without those that are fixed now."""
    pieces = [pl.DataFrame(schema={"number": pl.Int64, "customer_key": pl.String})]
    for load in {load.id: load for load in (chosen.load, *chosen.earlier)}.values():
        folder = _folder(load, "clean")
        if not folder.exists():
            raise ResendError(
                "House-keeping has removed what this load kept, so that nobody can tell which numbers stand on the "
                "list."
            )
        with folder.reading("kept-*.parquet") as files:
            kept = pl.scan_parquet(files, glob=False).select(
                "row_key", "customer_key", number=pl.col("phone").str.slice(1).cast(pl.Int64)
            )
            pieces.append(
                kept.join(fixed.lazy(), on="row_key", how="anti").select("number", "customer_key").collect()
            )
    return pl.concat(pieces)


def _counts_as(ledger: Ledger, flow: Delivery, load: Load) -> tuple[str | None, datetime]:
    """The night that fixed rows count as, and how old they are for the fence.

    Rows that are only added overwrite nothing: they are as new as what the list has, and counted to its night, so that
    the keys of that night stay known. Rows that update or replace are as old as their own night.
    """
    own = RunFolder(load.snapshot).manifest()
    source_time = own.source_time or own.created_at
    last = _applied(ledger, flow)
    if flow.recipe.replaces or flow.recipe.updates or last is None:
        return load.night, source_time
    fence = ledger.target(flow.target).fence_source_time
    return last.night, max(source_time, fence or source_time)


def _applied(ledger: Ledger, flow: Delivery) -> Load | None:
    try:
        applied = ledger.target(flow.target).applied_load_id
    except UnknownTargetError:
        return None
    return None if applied is None else ledger.load(applied)


def _first(ledger: Ledger, load: Load) -> str:
    """Id of the load that rows were rejected by first: a resend knows it, any other load is it."""
    if handed_in.kind_of(load.run_id) != "resend":
        return load.id
    order, _ = handed_in.taken_up(ledger, load.dag_id, load.run_id, None)
    return order.of


def _resends(ledger: Ledger, of: str, run_id: str) -> Iterator[Load]:
    """The loads that have sent rejects of a load again, that load itself first."""
    yield ledger.load(of)
    for order in ledger.records(handed_in.EVIDENCE, of):
        if order["kind"] == "resend" and order["run_id"] != run_id:
            load = ledger.load_for_run(order["dag_id"], order["run_id"])
            if load is not None:
                yield load


def _ended(load: Load, keys: pl.Series) -> pl.DataFrame:
    """Row key and state of those of some rows that a load had. Raises ResendError where nobody knows any more."""
    folder = _folder(load, "outcomes")
    if not folder.exists():
        raise ResendError(
            "House-keeping has removed what became of an earlier resend of these rows, so that nobody can tell which "
            "of them stand on the list."
        )
    with folder.reading("*.parquet") as files:
        wanted = keys.to_frame().lazy()
        ended = pl.scan_parquet(files, glob=False).select("row_key", "state")
        return ended.join(wanted, on="row_key", how="semi").collect(engine="streaming")


def _folder(load: Load, step: str) -> RunFolder:
    return RunFolder(run_path(load.dag_id, load.run_id, step))
