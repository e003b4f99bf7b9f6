"""The steps that every delivery begins with: find the snapshot, clean, plan.

Rows stay in run folders; what the steps hand on by XCom is a path and counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from include import settings
from include.approval import WRITES
from include.flow_files import Delivery
from include.nights import chosen_night
from listkeeper.operators.handed_in import taken_up, unreleased_backfill
from listkeeper.operators.run import (
    APPLY,
    RunOperator,
    asked_action,
    refuse_unknown_params,
    run_folder,
    telling,
)

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import Context

    from include.drift import Drift
    from include.flow_files import Recipe
    from include.guards import Refusal
    from include.handed_in import Order
    from include.leads.clean import CleanResult
    from include.leads.standing import Standing
    from include.ledger import Ledger
    from include.staging import RunFolder


class DeliveryOperator(RunOperator):
    """Base of the steps of a delivery."""

    flow: Delivery


class FindSnapshotOperator(DeliveryOperator):
    """
    Choose the snapshot to deliver, and whether this run may write.

    A run that follows a pull takes the night of its partition; a run by hand takes the night of the form, or the
    newest complete one; a run of `restore_list` or `resend_rejects` takes what these handed in for it. What follows a
    backfill only plans, unless the flow's file releases the backfill of that night.

    Returns `{"snapshot", "night", "full", "rows_in", "source_time", "action", "requested_by", "reason"}`.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        with telling(context):
            return self._find(context)

    def _find(self, context: Context) -> dict[str, Any]:
        if (handed := taken_up(context, self.flow)) is not None:
            return handed[1]
        dag_run, params = context["dag_run"], context["params"]
        refuse_unknown_params(dag_run, self.dag.params)
        try:
            night = chosen_night(params.get("night"), dag_run.partition_key)
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        folder = self._snapshot(night.isoformat() if night else None)
        if self.flow.goes_on and folder.manifest().facts.get("mode") != "full":
            folder = self._with_leftovers(context, folder)
        manifest = folder.manifest()
        self.log.info(
            "Night %s: %s leads in %s.", manifest.night or "none", f"{manifest.rows:,}", folder.path
        )
        return {
            "snapshot": folder.path,
            "night": manifest.night,
            "full": manifest.facts.get("mode") == "full",
            "rows_in": manifest.rows,
            "source_time": (manifest.source_time or manifest.created_at).isoformat(),
            "action": asked_action(
                self.flow, params, dag_run, from_backfill=unreleased_backfill(self.flow, manifest)
            ),
            # Who started the pull that this run follows has as good as started this run.
            "requested_by": getattr(dag_run, "triggering_user_name", None)
            or manifest.facts.get("requested_by"),
            "reason": params.get("reason"),
        }

    def _with_leftovers(self, context: Context, tonight: RunFolder) -> RunFolder:
        """Add what the load before could not send in time; a full snapshot holds those leads anyway."""
        from include.leftovers import with_leftovers
        from listkeeper.hooks.ledger import open_ledger

        run_id, out = context["dag_run"].run_id, run_folder(context, self.task_id)
        return with_leftovers(open_ledger(), self.flow, run_id, tonight, out)

    def _snapshot(self, night: str | None) -> RunFolder:
        from include.house.told import removed
        from include.snapshots import newest_snapshot, snapshot_place
        from listkeeper.hooks.ledger import open_ledger

        found = newest_snapshot(self.flow.source, night)
        if found is None:
            place = snapshot_place(self.flow.source, night) if night else f"snapshots/{self.flow.source}"
            gone = removed(open_ledger(), "Its leads", place)
            pull = f"pull_platform_leads__{self.flow.source}"
            which = f"of the night {night}" if night else "at all"
            raise AirflowFailException(
                f"Source {self.flow.source} has no complete snapshot {which}. {gone or ''}".rstrip()
                + f" Run {pull} for it first."
            )
        return found


class CleanLeadsOperator(DeliveryOperator):
    """
    Clean the snapshot's leads by the flow's rules: kept leads, and an outcome for every other.

    A flow of an `owner_group` first waits, deferred, until the lists before it have claimed their numbers of the night,
    and claims its own when it has cleaned. A run that only plans waits for nobody and claims nothing.

    Returns `{"clean", "kept", "decided", "changes", "suppression", "scrub", "packs", "calls", "late"}`; `late` names
    the lists that should have chosen before this one and did not.

    :param found: what FindSnapshotOperator returned. (templated)
    """

    template_fields: Sequence[str] = ("found",)

    def __init__(self, *, found: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.found = found

    def execute(self, context: Context) -> dict[str, Any]:
        from include.owners import before
        from listkeeper.triggers.owners import OwnersTrigger

        with telling(context):
            late = self._late(before(self.flow))
            if late and self._claims:
                wait = timedelta(minutes=self.flow.priority_wait_minutes)
                self.log.info("Waiting for %s to claim their numbers, at most %s.", ", ".join(late), wait)
                self.defer(
                    trigger=OwnersTrigger(
                        group=str(self.flow.owner_group),
                        night=self.found["night"],
                        flows=late,
                        deadline=(datetime.now(UTC) + wait).isoformat(),
                    ),
                    method_name="resume",
                )
            return self._clean(context, late)

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the wait for the lists before this one, whatever it brought."""
        from include.owners import before

        with telling(context):
            late = self._late(before(self.flow))
            if late and self.flow.priority_missing == "stop":
                raise AirflowFailException(
                    f"{', '.join(late)} choose their numbers of the night {self.found['night']} before this list "
                    f"(owner_group {self.flow.owner_group}), and have not. Nothing was sent. Start them and clear this "
                    "task, or write `priority_missing: go_on` in this flow's file."
                )
            return self._clean(context, late)

    @property
    def _claims(self) -> bool:
        """Whether this run claims its numbers: one that sends nothing must not keep them from others."""
        return self.flow.owner_group is not None and self.found["action"] == APPLY

    def _late(self, flows: list[str]) -> list[str]:
        """Those of the lists before this one that have not claimed their numbers of the night yet."""
        from include.owners import missing
        from listkeeper.hooks.ledger import open_ledger

        if not flows:
            return []
        return missing(open_ledger(), str(self.flow.owner_group), self.found["night"], flows)

    def _clean(self, context: Context, late: list[str]) -> dict[str, Any]:
        from include.leads.standing import STANDING
        from include.staging import Manifest, RunFolder

        snapshot, out = RunFolder(self.found["snapshot"]), run_folder(context, "clean")
        with ExitStack() as stack:
            parts = stack.enter_context(snapshot.reading("part-*.parquet"))
            standing = _standing(stack.enter_context(snapshot.reading(STANDING)))
            calls, about_calls = self._calls(stack)
            scratch = stack.enter_context(out.writing())
            result = self._clean_and_claim(context, parts, calls, standing, scratch)
            facts = {
                "rows_in": result.rows_in,
                "decided": result.outcomes,
                "changes": result.changes,
                "suppression": list(result.suppression),
                "scrub": list(result.scrub),
                "packs": result.packs,
                "calls": None if result.calls is None else {**about_calls, **result.calls},
                "late": late,
            }
            # The areas stay here: too many for an XCom, and only wanted to set nights against each other.
            told = facts | {"areas": result.areas}
            out.commit(
                scratch, Manifest(kind="clean", rows=result.kept, night=self.found["night"], facts=told)
            )
        self.log.info("%s leads came in, %s are kept.", f"{result.rows_in:,}", f"{result.kept:,}")
        return {"clean": out.path, "kept": result.kept, **facts}

    def _clean_and_claim(
        self,
        context: Context,
        parts: list[Path],
        calls: list[Path],
        standing: Standing | None,
        out: Path,
    ) -> CleanResult:
        """Clean, then claim the kept numbers; clean anew whenever another list of the group was faster."""
        from include.leads.clean import clean
        from include.owners import owned_by_others, write_claim
        from listkeeper.hooks.erasure import erased_customers
        from listkeeper.hooks.ledger import open_ledger

        dag_run, group, night = context["dag_run"], self.flow.owner_group, self.found["night"]
        while True:
            seen = open_ledger().claims_of(group, night) if group else []
            owned = owned_by_others(seen, dag_run.dag_id)
            result = clean(
                parts,
                self.flow.clean,
                out,
                base=settings.PROJECT_ROOT,
                calls=calls,
                owned=owned,
                standing=standing,
                erased=erased_customers(),
            )
            if group is None or not self._claims:
                return result
            mine = write_claim(dag_run.dag_id, dag_run.run_id, result.kept_files)
            if open_ledger().claim_numbers(group, night, mine, seen=seen):
                return result
            self.log.info("Another list of %s has claimed numbers meanwhile; cleaning anew.", group)

    def _calls(self, stack: ExitStack) -> tuple[list[Path], dict[str, Any]]:
        """The staged calls that the flow's rules look at, and how old the newest of them are."""
        from include.snapshots import newest_of_every_night

        rules = self.flow.clean.calls
        if rules is None:
            return [], {}
        nights = newest_of_every_night(rules.source)
        if not nights:
            raise AirflowFailException(
                f"clean.calls: source {rules.source} has no complete snapshot of calls. Pull them first, or take the "
                "rules over calls out of the flow file."
            )
        newest = nights[0].manifest()
        about = {
            "source": rules.source,
            "nights": len(nights),
            "as_of": (newest.source_time or newest.created_at).isoformat(),
            "max_age_hours": self.flow.clean.calls_max_age_hours,
        }
        files = [file for night in nights for file in stack.enter_context(night.reading("part-*.parquet"))]
        return files, about


def _standing(files: list[Path]) -> Standing | None:
    """What stands on the list already, where fixed rejects of it were handed in."""
    import polars as pl

    from include.leads.standing import Standing

    if not files:
        return None
    frame = pl.read_parquet(files[0], glob=False)
    return Standing(frame["number"], frame["customer_key"])


class PlanLoadOperator(DeliveryOperator):
    """
    Plan the load: render what would be sent, set it against what stands on the list, ask the guards.

    Returns `{"plan", "hash", "decision", "load", "to_send"}`; the plan itself is in the run folder.

    :param found: what FindSnapshotOperator returned. (templated)
    :param cleaned: what CleanLeadsOperator returned. (templated)
    """

    template_fields: Sequence[str] = ("found", "cleaned")

    def __init__(self, *, found: Any, cleaned: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.found, self.cleaned = found, cleaned
        self._handed_in: Order | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        with telling(context):
            handed = taken_up(context, self.flow)
            if handed is not None and handed[1] != self.found:
                raise AirflowFailException(
                    "The first step hands on something else than what was handed in for this run. Nothing was sent. "
                    "Clear the task find_snapshot."
                )
            self._handed_in = None if handed is None else handed[0]
            return self._plan(context)

    def recipe(self) -> Recipe:
        """What is sent and how; a vendor's own plan step may ask the vendor first."""
        return self.flow.recipe

    def refusals(self) -> list[Refusal]:
        """Refusals that only the vendor knows."""
        return []

    def timing(self, rows: int) -> dict[str, Any] | None:
        """How long it takes to send so many rows, where the vendor's limits make that worth telling."""
        return None

    def _restore(self) -> list[Refusal]:
        """Nothing is put back without a person, whatever the other guards say."""
        from include.guards import Refusal

        if self._handed_in is None or self._handed_in.kind != "restore":
            return []
        return [Refusal("restore", self._handed_in.text)]

    def _contract_changes(self) -> list[str]:
        """What the pull found changed in the source's fields."""
        from include.staging import RunFolder

        changes: list[str] = RunFolder(self.found["snapshot"]).manifest().facts.get("contract", [])
        return changes

    def _drift(self, ledger: Ledger) -> list[Drift]:
        """What of tonight's clean step is unlike the last nights of this flow; what was handed in is no night."""
        from include.drift import find
        from include.handed_in import kind_of
        from include.staging import RunFolder, run_path

        limits = self.flow.guards.drift
        if self._handed_in is not None:
            return []
        tonight = RunFolder(self.cleaned["clean"]).manifest()
        earlier: dict[str, dict[str, Any]] = {}
        for load in ledger.loads(10 * limits.nights, flow=self.flow.name):
            folder = RunFolder(run_path(load.dag_id, load.run_id, "clean"))
            known = load.night in (None, tonight.night, *earlier) or kind_of(load.run_id)
            if len(earlier) < limits.nights and not known and folder.exists():
                earlier[str(load.night)] = folder.manifest().facts
        return find(tonight.facts, list(earlier.values()), limits)

    def _plan(self, context: Context) -> dict[str, Any]:
        from include.applied import applied_before, ledger_refusals
        from include.guards import check_drift
        from include.plan import make_plan
        from include.staging import Manifest, RunFolder
        from listkeeper.hooks.ledger import open_ledger

        ledger, flow = open_ledger(), self.flow
        source_time = datetime.fromisoformat(self.found["source_time"])
        out = run_folder(context, "plan")
        standing = ledger.standing_of(flow.target)
        with ExitStack() as stack:
            # The night whose leads an earlier append may have put on the list; a full snapshot holds those of all.
            night = None if self.found["full"] else self.found["night"]
            before = stack.enter_context(applied_before(ledger, flow, night))
            kept = stack.enter_context(RunFolder(self.cleaned["clean"]).reading("kept-*.parquet"))
            scratch = stack.enter_context(out.writing())
            drift = self._drift(ledger)
            plan = make_plan(
                kept,
                self.recipe(),
                before,
                scratch,
                subject={
                    "flow": flow.name,
                    "dag_id": context["dag_run"].dag_id,
                    "vendor": flow.vendor,
                    "target": flow.target,
                    "list": flow.list_name,
                    "mode": "REPLACE" if flow.recipe.replaces else "APPEND",
                    "night": self.found["night"],
                    "snapshot": self.found["snapshot"],
                },
                cleaned=self.cleaned,
                source_time=source_time,
                action=self.found["action"],
                limits=flow.guards,
                approval=flow.approval,
                extra_refusals=[
                    *ledger_refusals(ledger, flow, source_time, night, context["dag_run"].run_id),
                    *self.refusals(),
                    *self._restore(),
                    *check_drift(drift, flow.guards.drift),
                ],
                warnings=[
                    *(f"The source has changed: {change}." for change in self._contract_changes()),
                    *(found.text for found in drift),
                    *(
                        f"{late} comes before this list (owner_group {flow.owner_group}), and had not claimed its "
                        "numbers of the night when this run did."
                        for late in self.cleaned["late"]
                    ),
                ],
                timing=self.timing,
                now=datetime.now(UTC),
            )
            out.commit(scratch, Manifest(kind="plan", rows=plan["to_send"], source_time=source_time))
        load = ledger.open_load(
            flow=flow.name,
            vendor=flow.vendor,
            dag_id=context["dag_run"].dag_id,
            run_id=context["dag_run"].run_id,
            target=flow.target,
            night=self.found["night"],
            source_time=source_time,
            snapshot=self.found["snapshot"],
            plan_hash=plan["hash"],
            mode="apply" if plan["decision"] in WRITES else "plan",
            requested_by=self.found["requested_by"],
            reason=self.found["reason"],
            rows_in=self.found["rows_in"],
            standing=standing,
            good_for=timedelta(hours=flow.guards.max_plan_age_hours),
            needs_approval=plan["decision"] == "ask",
        )
        ledger.record(
            "planned",
            load.id,
            {
                name: plan[name]
                for name in ("flow", "target", "mode", "night", "source_time", "decision", "hash", "rows_in")
            }
            | {
                "to_send": plan["to_send"],
                "suppression": plan["suppression"],
                "scrub": plan["scrub"],
                "packs": plan["packs"],
                "calls": plan["calls"],
                "refused_by": [refusal["guard"] for refusal in plan["refusals"]],
                "requested_by": self.found["requested_by"],
                "reason": self.found["reason"],
            },
        )
        for refusal in plan["refusals"]:
            self.log.warning("Guard %s: %s", refusal["guard"], refusal["text"])
        # The decision in words: `plan_only` is "plan only".
        decision = plan["decision"].replace("_", " ")
        self.log.info("Plan %s: %s, %s rows to send.", plan["hash"][:12], decision, f"{plan['to_send']:,}")
        return {
            "plan": out.path,
            "hash": plan["hash"],
            "decision": plan["decision"],
            "load": load.id,
            "to_send": plan["to_send"],
        }
