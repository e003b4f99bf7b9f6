"""The plan of a load: what a list would hold afterwards, what changes, and the very bytes that would be sent.

A plan is made from the leads the clean step kept. It renders the payload (one CSV with the flow's columns), sets
it against what was applied last, and asks the guards. Its hash ties the load to it: the load sends this payload or
nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl

from include import guards
from include.approval import WRITES, Approval, Decision, decide
from include.earlier_keys import EarlierKeys
from include.flow_files import Recipe
from include.leads.reasons import FIT_TO_CALL
from include.leads.schema import OUTCOME_COLUMNS
from include.masking import masked

PAYLOAD: Final = "payload.csv"
KEYS: Final = "keys.parquet"
SENT: Final = "sent.parquet"
PLAN: Final = "plan.json"
SAMPLES: Final = 5

HELD_REASON: Final[dict[Decision, str]] = {
    "plan_only": "plan_only",
    "refused": "guard_stopped",
    "unchanged": "already_delivered",
    "ask": "not_approved",
    "apply": "not_sent",
}
"""Why rows that were fit to send are held, by what the plan decided."""


class PlanError(Exception):
    """A plan cannot be made or is not the one it claims to be; the message says what to do."""


@dataclass(frozen=True)
class Before:
    """What stands on the list as far as we know: rows and keys applied last, and by which plan.

    :param keys: `keys.parquet` of the load applied last; for an append only when that was of the same night, which is
        when rows could be sent twice.
    :param plan_hash: hash of the plan applied last; None when something was sent to the list since, so that it may
        no longer hold what that plan left there.
    """

    rows: int | None = None
    keys: Path | None = None
    plan_hash: str | None = None


def make_plan(
    kept: Sequence[Path],
    recipe: Recipe,
    before: Before,
    out: Path,
    *,
    subject: dict[str, Any],
    cleaned: dict[str, Any],
    source_time: datetime,
    action: Literal["apply", "plan"],
    limits: guards.GuardLimits,
    approval: Approval = Approval(),  # type: ignore[call-arg]  # noqa: B008 (frozen)
    extra_refusals: Sequence[guards.Refusal] = (),
    warnings: Sequence[str] = (),
    timing: Callable[[int], dict[str, Any] | None] = lambda _rows: None,
    now: datetime,
) -> dict[str, Any]:
    """Make the plan, write it and its payload into `out`, return it as plain JSON.

    :param kept: Parquet files of the clean step, one at least.
    :param subject: what the plan is about (flow, dag_id, vendor, target, list, mode, night, snapshot), copied into it.
    :param cleaned: facts of the clean step: rows_in, decided (state -> reason -> rows), suppression, changes, packs,
        calls.
    :param extra_refusals: refusals that only the caller can know (the ledger's).
    :param warnings: what a person should know, and what stops nothing; sentences.
    :param timing: how long it takes to send so many rows, as plain JSON; None where that goes without saying.

    Writes `plan.json`, `payload.csv` (header and the rows to send), `sent.parquet` (their row keys, in order, the rule
    packs they were decided by, and `before`: the row hash by which the list holds them now, null for none),
    `keys.parquet` (row_key and row_hash of everything on the list after the load) and `outcomes-*.parquet` (rows
    rejected or held here). One part is in memory at a time, and 17 bytes for each key of `before`.
    """
    earlier = EarlierKeys(before.keys)
    counts = {"added": 0, "changed": 0, "unchanged": 0}
    rejected: Counter[str] = Counter()
    changes = Counter(cleaned["changes"])
    held = usable_rows = to_update = 0
    samples: list[dict[str, str]] = []
    later_samples: list[dict[str, str]] = []
    parts = out / ".parts"
    for name in ("keys", "sent"):
        (parts / name).mkdir(parents=True)
    with (out / PAYLOAD).open("wb") as payload, (parts / "updates.csv").open("w+b") as updates:
        for number, path in enumerate(kept):
            frame = pl.read_parquet(path, glob=False)
            cells, problem, changed = _cells(frame, recipe)
            changes.update(changed)
            fits = problem.is_null()
            usable, cells = frame.filter(fits), cells.filter(fits)
            usable_rows += usable.height
            unusable = frame.select("row_key", reason=problem).filter(pl.col("reason").is_not_null())
            for reason, count in unusable["reason"].value_counts().iter_rows():
                rejected[reason] += count
            hashes = _row_hash(cells)
            status = (
                pl.when(pl.col("before").is_null())
                .then(pl.lit("added"))
                .when(pl.col("before") == pl.col("now"))
                .then(pl.lit("unchanged"))
                .otherwise(pl.lit("changed"))
            )
            marked = pl.DataFrame({"before": earlier.take(usable["row_key"]), "now": hashes})
            statuses = marked.select(status=status)["status"]
            for name, count in statuses.value_counts().iter_rows():
                counts[name] += count
            goes, updating = _goes(statuses, recipe), _updating(statuses, recipe)
            cells.filter(goes & ~updating).write_csv(payload, include_header=number == 0)
            cells.filter(updating).write_csv(updates, include_header=False)
            to_update += cells.filter(updating).height
            staying = usable.filter(~goes)
            held += staying.height
            # A changed row that is held stands on the list as it was, and is changed still when the next plan looks.
            stands = marked.select(row_hash=pl.when(goes).then("now").otherwise("before"))["row_hash"]
            usable.select("row_key", stands).write_parquet(parts / "keys" / f"{number:05d}.parquet")
            now_there = pl.lit(None, pl.Int64) if recipe.replaces else marked["before"]
            told = usable.select("row_key", "phone", "packs", before=now_there)
            for rows, name, shown in (
                (told.filter(goes & ~updating), f"{number:05d}", samples),
                (told.filter(updating), f"updates-{number:05d}", later_samples),
            ):
                rows.drop("phone").write_parquet(parts / "sent" / f"{name}.parquet")
                first = rows.select("row_key", "phone").head(SAMPLES - len(shown))
                shown += [{"row_key": key, "phone": masked(phone)} for key, phone in first.iter_rows()]
            _outcomes(unusable, staying).write_parquet(out / f"outcomes-{number:05d}.parquet")
        updates.seek(0)
        shutil.copyfileobj(updates, payload)
    if not recipe.replaces:  # what an append finds on the list stays there
        for number, rest in enumerate(earlier.left()):
            rest.write_parquet(parts / "keys" / f"earlier-{number:05d}.parquet")
    of_sent = {"row_key": pl.String(), "packs": pl.String(), "before": pl.Int64()}
    to_send = _join_files(parts / "sent", out / SENT, of_sent)
    _join_files(parts / "keys", out / KEYS, {"row_key": pl.String(), "row_hash": pl.Int64()})
    shutil.rmtree(parts)
    decided = {state: dict(reasons) for state, reasons in cleaned["decided"].items()}
    for reason, count in rejected.items():
        of_state = decided.setdefault("rejected", {})
        of_state[reason] = of_state.get(reason, 0) + count
    plan: dict[str, Any] = {
        **subject,
        "action": action,
        "decision": "apply",
        "source_time": source_time.isoformat(),
        "rows_in": cleaned["rows_in"],
        "decided": decided,
        "kept": usable_rows,
        "now": before.rows,
        "after": to_send if recipe.replaces else (before.rows or 0) + counts["added"],
        **counts,
        "removed": earlier.gone if recipe.replaces else 0,
        "to_send": to_send,
        "to_update": to_update,
        "held": {"already_delivered": held} if held else {},
        "samples": [*samples, *later_samples][:SAMPLES],
        "refusals": [],
        "warnings": list(warnings),
        "timing": timing(to_send),
        "suppression": cleaned["suppression"],
        "packs": cleaned.get("packs"),
        "scrub": cleaned.get("scrub", []),
        "calls": cleaned.get("calls"),
        "changes": dict(changes),
        "columns": [{"to": target, "from": source} for target, source in recipe.columns],
        "options": recipe.options,
        "payload_sha256": _sha256(out / PAYLOAD),
    }
    nothing_to_add = to_send == 0 and (held > 0 or limits.allow_empty)
    if before.plan_hash == plan_hash(plan) if recipe.sends_all else nothing_to_add:
        plan["decision"] = "unchanged"
    else:
        refusals = [
            *extra_refusals,
            *guards.check_calls(cleaned.get("calls"), now),
            *guards.check(
                limits,
                rows_in=cleaned["rows_in"],
                rows_valid=_valid_rows(cleaned, usable_rows),
                rows_after=to_send,
                rows_now=before.rows,
                source_time=source_time,
                now=now,
                replaces=recipe.replaces,
                suppression=[
                    guards.SuppressionAge(entry["name"], entry["age_days"], entry["max_age_days"])
                    for entry in cleaned["suppression"]
                ],
            ),
        ]
        plan["refusals"] = [refusal.__dict__ for refusal in refusals]
        plan["decision"] = decide(
            approval,
            action=action,
            refusals=refusals,
            changes=recipe.replaces or to_send > 0,
            destructive=recipe.replaces or (recipe.updates and counts["changed"] > 0),
        )
    plan["hash"] = plan_hash(plan)
    (out / PLAN).write_text(json.dumps(plan, indent=1))
    return plan


def plan_hash(plan: dict[str, Any]) -> str:
    """The hash of what a plan does: its decision, target, source, options and payload; not when or by whom.

    A plan that a person has to approve does what one does that may be written at once.
    """
    tied = (
        "flow",
        "vendor",
        "target",
        "mode",
        "decision",
        "night",
        "source_time",
        "columns",
        "options",
        "payload_sha256",
        "to_send",
    )
    does = plan | {"decision": "apply" if plan["decision"] in WRITES else plan["decision"]}
    values = [does[name] for name in tied]
    if updates := plan.get("to_update"):  # the last rows of the payload: their number says which they are
        values.append(updates)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def check_plan(plan: dict[str, Any], payload: Path, expected_hash: str) -> None:
    """Refuse a plan that is not the one that was decided on, or whose payload differs. Raises PlanError."""
    if plan["hash"] != expected_hash or plan_hash(plan) != expected_hash:
        raise PlanError("This is not the plan that was decided on. Run the plan step again.")
    if _sha256(payload) != plan["payload_sha256"]:
        raise PlanError("The payload is not the one that was planned. Run the plan step again.")


def _cell(source: str, phone: str) -> pl.Expr:
    if source == "phone":
        return pl.col(phone)
    if source.startswith("data."):
        field = source.removeprefix("data.").replace("\\", "\\\\").replace('"', '\\"')
        return pl.col("data").str.json_path_match(f'$["{field}"]')
    return pl.col(source).cast(pl.String)


def _cells(frame: pl.DataFrame, recipe: Recipe) -> tuple[pl.DataFrame, pl.Series, dict[str, int]]:
    """The cells of leads as they go out, why a lead cannot be sent (null when it can), rows changed by rule."""
    cells = frame.select(_cell(source, recipe.phone).alias(to) for to, source in recipe.columns)
    problem = _problem(frame, recipe)
    if recipe.shape is None:
        return cells, problem, {}
    cells, wrong, changed = recipe.shape(frame, cells)
    return cells, problem.zip_with(problem.is_not_null(), wrong), changed


def _problem(frame: pl.DataFrame, recipe: Recipe) -> pl.Series:
    """Why a lead cannot be sent by this recipe, null when it can."""
    no_key = pl.lit(False)
    if recipe.unique is not None:
        no_key = _cell(dict(recipe.columns)[recipe.unique], recipe.phone).fill_null("") == ""
    no_phone = pl.col(recipe.phone).is_null()
    problem = pl.when(no_phone).then(pl.lit("not_ten_digits")).when(no_key).then(pl.lit("key_missing"))
    return frame.select(problem=problem)["problem"]


def _row_hash(cells: pl.DataFrame) -> pl.Series:
    """64 bits of BLAKE2 over a row's columns and cells: the same row has the same hash in every release."""
    names = "\x1f".join(cells.columns).encode()
    joined = cells.select(
        pl.concat_str(pl.all().fill_null("\x00"), separator="\x1f").alias("row"),
    )["row"]
    return pl.Series(
        "row_hash",
        [
            int.from_bytes(hashlib.blake2b(names + row.encode(), digest_size=8).digest(), "big", signed=True)
            for row in joined
        ],
        pl.Int64,
    )


def _goes(statuses: pl.Series, recipe: Recipe) -> pl.Series:
    """Which rows are sent: all, or the new ones, and changed ones where they update."""
    if recipe.sends_all:
        return pl.repeat(True, len(statuses), dtype=pl.Boolean, eager=True)
    return statuses.is_in(["added", "changed"] if recipe.updates else ["added"])


def _updating(statuses: pl.Series, recipe: Recipe) -> pl.Series:
    """Which rows go behind the others, by a call that changes what is there."""
    if recipe.apart:
        return statuses == "changed"
    return pl.repeat(False, len(statuses), dtype=pl.Boolean, eager=True)


def _outcomes(unusable: pl.DataFrame, staying: pl.DataFrame) -> pl.DataFrame:
    """Outcomes of the rows that end here. :param unusable: row_key and reason."""
    held = staying.select("row_key", reason=pl.lit("already_delivered"))
    return pl.concat(
        [
            frame.select(
                "row_key",
                pl.lit(state).alias("state"),
                "reason",
                pl.lit(None, pl.String).alias("detail"),
                pl.lit(None, pl.Int64).alias("batch"),
            ).cast(OUTCOME_COLUMNS)  # type: ignore[arg-type]
            for frame, state in ((unusable, "rejected"), (held, "held"))
        ]
    )


def _join_files(folder: Path, target: Path, schema: Mapping[str, pl.DataType]) -> int:
    """Put the Parquet files of a folder together, in name order; return the rows."""
    files = sorted(folder.iterdir())
    scan = pl.scan_parquet(files, glob=False) if files else pl.LazyFrame(schema=schema)
    scan.sink_parquet(target)
    rows: int = pl.scan_parquet(target, glob=False).select(pl.len()).collect().item()
    return rows


def _valid_rows(cleaned: dict[str, Any], usable: int) -> int:
    """Leads fit to call, now or later: usable ones, and those that only a suppression list, a duplicate or the hour
    took out.
    """
    decided = cleaned["decided"]
    repeats: int = sum(
        decided.get("rejected", {}).get(code, 0) for code in ("duplicate_key", "duplicate_phone")
    )
    later: int = sum(decided.get("held", {}).get(code, 0) for code in FIT_TO_CALL)
    suppressed: int = sum(decided.get("suppressed", {}).values())
    return usable + repeats + later + suppressed


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
