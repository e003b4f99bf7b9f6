"""The steps that every delivery shares: find the snapshot, clean, plan, (the vendor's own load), reconcile, report.

Rows stay in run folders; what the steps hand on by XCom is a path and counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include import settings
from include.flow_files import Delivery
from listkeeper.links import PlanLink, RejectsLink, ReportLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.ledger import Batch
    from include.staging import RunFolder

AS_RELEASED, PLAN, APPLY = "as released", "plan", "apply"
ACTIONS = (AS_RELEASED, PLAN, APPLY)
"""What a person may ask a run to do; scheduled runs do as the flow file is released."""


def run_folder(context: Context, step: str) -> RunFolder:
    """The run folder of one step of this DAG run."""
    from include.staging import RunFolder, run_path

    return RunFolder(run_path(context["dag_run"].dag_id, context["dag_run"].run_id, step))


class DeliveryOperator(BaseOperator):
    """
    Base of the delivery steps.

    :param flow: the flow file, as it was read while parsing.
    """

    operator_extra_links = (PlanLink(), RejectsLink(), ReportLink())

    def __init__(self, *, flow: Delivery, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flow = flow


class FindSnapshotOperator(DeliveryOperator):
    """
    Choose the snapshot to deliver, and whether this run may write.

    A run that follows a pull takes the night of its partition; a run by hand takes the night of the form, or the
    newest complete one. What follows a backfill only plans.

    Returns `{"snapshot", "night", "rows_in", "source_time", "action", "requested_by", "reason"}`.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        dag_run, params = context["dag_run"], context["params"]
        unknown = sorted(set(dag_run.conf or {}) - set(params))
        if unknown:
            raise AirflowFailException(
                f"Unknown parameter {', '.join(unknown)}. This DAG knows {', '.join(sorted(params))}."
            )
        night = params.get("night") or dag_run.partition_key
        folder = self._snapshot(night)
        manifest = folder.manifest()
        return {
            "snapshot": folder.path,
            "night": manifest.night,
            "rows_in": manifest.rows,
            "source_time": (manifest.source_time or manifest.created_at).isoformat(),
            "action": self._action(
                params, dag_run, from_backfill=manifest.facts.get("run_type") == "backfill"
            ),
            "requested_by": getattr(dag_run, "triggering_user_name", None),
            "reason": params.get("reason"),
        }

    def _snapshot(self, night: str | None) -> RunFolder:
        from include.snapshots import newest_snapshot

        found = newest_snapshot(self.flow.source, night)
        if found is None:
            pull = f"pull_platform_leads__{self.flow.source}"
            which = f"of the night {night}" if night else "at all"
            raise AirflowFailException(
                f"Source {self.flow.source} has no complete snapshot {which}. Run {pull} for it first."
            )
        return found

    def _action(self, params: Any, dag_run: Any, *, from_backfill: bool) -> str:
        asked = params.get("action") or AS_RELEASED
        by_hand = dag_run.run_type == "manual"
        if asked == PLAN or (from_backfill and not by_hand):
            return PLAN
        if asked == APPLY and not self.flow.released:
            raise AirflowFailException(
                f"Flow {self.flow.name} only plans until its file says `released: true`. Look at a plan first, then "
                "release it there."
            )
        if asked == APPLY and by_hand and not params.get("reason"):
            raise AirflowFailException("To apply by hand, give the reason: it goes into the evidence.")
        return APPLY if self.flow.released else PLAN


class CleanLeadsOperator(DeliveryOperator):
    """
    Clean the snapshot's leads by the flow's rules: kept leads, and an outcome for every other.

    Returns `{"clean", "kept", "decided", "changes", "suppression"}`.

    :param found: what FindSnapshotOperator returned. (templated)
    """

    template_fields: Sequence[str] = ("found",)

    def __init__(self, *, found: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.found = found

    def execute(self, context: Context) -> dict[str, Any]:
        from include.leads.clean import clean
        from include.staging import Manifest, RunFolder

        snapshot, out = RunFolder(self.found["snapshot"]), run_folder(context, "clean")
        with snapshot.reading("part-*.parquet") as parts, out.writing() as scratch:
            result = clean(parts, self.flow.clean, scratch, base=settings.PROJECT_ROOT)
            facts = {
                "rows_in": result.rows_in,
                "decided": result.outcomes,
                "changes": result.changes,
                "suppression": list(result.suppression),
            }
            out.commit(
                scratch, Manifest(kind="clean", rows=result.kept, night=self.found["night"], facts=facts)
            )
        self.log.info("%d leads came in, %d are kept.", result.rows_in, result.kept)
        return {"clean": out.path, "kept": result.kept, **facts}


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

    def execute(self, context: Context) -> dict[str, Any]:
        from contextlib import ExitStack

        from include.plan import make_plan
        from include.staging import Manifest, RunFolder
        from listkeeper.hooks.ledger import open_ledger

        ledger, flow = open_ledger(), self.flow
        source_time = datetime.fromisoformat(self.found["source_time"])
        out = run_folder(context, "plan")
        with ExitStack() as stack:
            before = stack.enter_context(applied_before(ledger, flow, self.found["night"]))
            kept = stack.enter_context(RunFolder(self.cleaned["clean"]).reading("kept-*.parquet"))
            scratch = stack.enter_context(out.writing())
            plan = make_plan(
                kept,
                flow.recipe,
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
                extra_refusals=ledger_refusals(ledger, flow, source_time, context["dag_run"].run_id),
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
            mode="apply" if plan["decision"] == "apply" else "plan",
            requested_by=self.found["requested_by"],
            reason=self.found["reason"],
            rows_in=self.found["rows_in"],
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
                "refused_by": [refusal["guard"] for refusal in plan["refusals"]],
                "requested_by": self.found["requested_by"],
                "reason": self.found["reason"],
            },
        )
        for refusal in plan["refusals"]:
            self.log.warning("Guard %s: %s", refusal["guard"], refusal["text"])
        self.log.info("Plan %s: %s, %d rows to send.", plan["hash"][:12], plan["decision"], plan["to_send"])
        return {
            "plan": out.path,
            "hash": plan["hash"],
            "decision": plan["decision"],
            "load": load.id,
            "to_send": plan["to_send"],
        }


class ReconcileOperator(DeliveryOperator):
    """
    Add up where every row of the run ended, whatever happened before; writes the outcomes of the rows that were sent.

    Runs after failures too, and never turns a red run green: the report behind it judges. Pushes the XCom `summary`.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from include.ledger import UnknownLoadError, reconcile
        from include.outcomes import write_outcomes
        from include.plan import HELD_REASON
        from include.staging import Manifest, RunFolder
        from listkeeper.hooks.ledger import open_ledger

        ledger = open_ledger()
        ti = context["ti"]
        found = ti.xcom_pull(task_ids="find_snapshot") or {}
        planned = ti.xcom_pull(task_ids="plan") or {}
        clean, plan_folder = run_folder(context, "clean"), run_folder(context, "plan")
        batches: list[Batch] = []
        if planned:
            batches = [batch for batch in ledger.batches(planned["load"]) if batch.state != "planned"]
            ledger.release_target(planned["load"])
        out = run_folder(context, "outcomes")
        with out.writing() as scratch:
            written = write_outcomes(
                scratch,
                snapshot=RunFolder(found["snapshot"]) if found else None,
                clean=clean if ti.xcom_pull(task_ids="clean") else None,
                plan=plan_folder if planned else None,
                batches=batches,
                held_reason=HELD_REASON[planned["decision"]] if planned else "not_sent",
            )
            out.commit(scratch, Manifest(kind="outcomes", rows=sum(written.by_state.values())))
        rows_in = found.get("rows_in", 0)
        result = reconcile(
            rows_in,
            Counter({state: n for state, n in written.decided.items() if n}),
            batches,
            min_valid_share=getattr(self.flow, "min_valid_share", 0.0),
        )
        problems = [*result.problems, *self._problems(context, found, planned)]
        verdict = self._verdict(planned, problems, result.counts.uncertain)
        if planned:
            try:
                state = {"planned": "planned", "refused": "refused", "uncertain": "uncertain"}.get(
                    verdict, "failed" if problems else "done"
                )
                ledger.finish_load(planned["load"], state=state, counts=result.counts, verdict=verdict)  # type: ignore[arg-type]
            except UnknownLoadError:  # the ledger was replaced while the run was under way
                problems.append("The ledger no longer knows this load.")
        summary = {
            "flow": self.flow.name,
            **result.counts.to_dict(),
            "verdict": verdict,
            "problems": problems,
            "load": planned.get("load"),
            "report": run_folder(context, "report").path,
        }
        ti.xcom_push(key="summary", value=summary)
        self.log.info("%s: %s", verdict, json.dumps(result.counts.to_dict()))
        return summary

    def _problems(self, context: Context, found: dict[str, Any], planned: dict[str, Any]) -> list[str]:
        problems = []
        if not found:
            problems.append("No snapshot was found to deliver; see the log of find_snapshot.")
        elif not planned:
            problems.append("The run stopped before it had a plan; see the log of the first red task.")
        elif planned["decision"] == "refused":
            plan = json.loads(run_folder(context, "plan").get("plan.json") or b"{}")
            problems += [refusal["text"] for refusal in plan.get("refusals", [])]
        elif planned["decision"] == "apply" and planned["to_send"]:
            why = context["ti"].xcom_pull(task_ids="load", key="stopped")
            if why:
                problems.append(why)
            elif not context["ti"].xcom_pull(task_ids="load"):
                problems.append("The load did not end; see the log of the task load.")
        return problems

    @staticmethod
    def _verdict(planned: dict[str, Any], problems: list[str], uncertain: int) -> str:
        decision = planned.get("decision")
        if decision == "refused":
            return "refused"
        if uncertain:
            return "uncertain"
        if problems:
            return "failed"
        return {"plan_only": "planned", "unchanged": "unchanged"}.get(str(decision), "delivered")


class ReportOperator(DeliveryOperator):
    """
    Write the report and the reject files, put the end into the evidence, and fail unless the run is good.

    :param summary: what ReconcileOperator returned. (templated)
    """

    template_fields: Sequence[str] = ("summary",)

    def __init__(self, *, summary: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.summary = summary

    def execute(self, context: Context) -> dict[str, Any]:
        from include.report import report_markdown, write_rejects
        from include.staging import Manifest
        from listkeeper.hooks.ledger import open_ledger

        ledger, summary = open_ledger(), self.summary
        plan = json.loads(run_folder(context, "plan").get("plan.json") or b"{}")
        batches = [asdict(batch) for batch in (ledger.batches(summary["load"]) if summary["load"] else [])]
        out = run_folder(context, "report")
        with run_folder(context, "outcomes").reading("*.parquet") as outcomes, out.writing() as scratch:
            rejects = write_rejects(outcomes, scratch)
            text = report_markdown(plan, summary, summary["problems"], batches)
            (scratch / "report.md").write_text(text, encoding="utf-8")
            (scratch / "summary.json").write_text(json.dumps(summary, indent=1))
            out.commit(scratch, Manifest(kind="report", rows=rejects))
        ledger.record(
            "ended", summary["load"], {name: value for name, value in summary.items() if name != "load"}
        )
        if summary["problems"] or summary["uncertain"]:
            raise AirflowFailException(f"{summary['verdict']}: " + " ".join(summary["problems"]))
        return {"report": out.path, "rows": rejects, "verdict": summary["verdict"]}


def applied_before(ledger: Any, flow: Delivery, night: str | None) -> Any:
    """What was applied to the flow's list last, its key file fetched; a context manager of `include.plan.Before`."""
    from contextlib import contextmanager

    from include.ledger import UnknownTargetError
    from include.plan import KEYS, Before
    from include.staging import RunFolder

    @contextmanager
    def opened() -> Any:
        try:
            target = ledger.target(flow.target)
        except UnknownTargetError:
            target = None
        if target is None or target.applied is None:
            yield Before()
            return
        applied_load = ledger.load(target.applied_load_id)
        comparable = flow.recipe.replaces or applied_load.night == night
        folder = RunFolder(target.applied)
        rows = target.applied_rows if flow.recipe.replaces else None
        if not comparable or not folder.exists():
            yield Before(rows=rows, source_time=target.applied_source_time)
            return
        with folder.reading(KEYS) as files:
            yield Before(rows=rows, keys=files[0], source_time=target.applied_source_time)

    return opened()


def ledger_refusals(ledger: Any, flow: Delivery, source_time: datetime, run_id: str) -> list[Any]:
    """Refusals that only the ledger knows: an older source, a paused list, an earlier load whose end is open."""
    from include.guards import Refusal
    from include.ledger import UnknownTargetError

    try:
        target = ledger.target(flow.target)
    except UnknownTargetError:
        return []
    refusals = []
    if target.paused:
        refusals.append(
            Refusal("paused", "The list is paused: nothing is sent to it until a person resumes it.")
        )
    if target.fence_source_time is not None and source_time < target.fence_source_time:
        refusals.append(
            Refusal(
                "older_source",
                f"The list already holds leads of {target.fence_source_time.isoformat()}; these are of "
                f"{source_time.isoformat()}. Old leads never overwrite newer ones.",
            )
        )
    if not flow.safe_to_resend:
        open_loads = [load.id for load in ledger.unresolved(flow.target) if load.run_id != run_id]
        if open_loads:
            refusals.append(
                Refusal(
                    "unresolved_load",
                    f"Load {open_loads[0]} to this list ended uncertain: its rows may be on the list, and sending them "
                    "again would call people twice. Find out at the vendor, then run "
                    f"`listkeeper resolve {open_loads[0]}`.",
                )
            )
    return refusals
