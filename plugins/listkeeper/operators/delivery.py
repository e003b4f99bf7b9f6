"""The steps that every delivery shares: find the snapshot, clean, plan, (the vendor's own load), reconcile, report.

Rows stay in run folders; what the steps hand on by XCom is a path and counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from include import settings
from include.flow_files import ArchiveFlow, Delivery
from include.nights import chosen_night
from listkeeper.links import PlanLink, RejectsLink, ReportLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.guards import Refusal
    from include.ledger import Batch, Ledger, Load, Target
    from include.plan import Before
    from include.staging import RunFolder

AS_RELEASED, PLAN, APPLY = "as released", "plan", "apply"
ACTIONS = (AS_RELEASED, PLAN, APPLY)
"""What a person may ask a run to do; scheduled runs do as the flow file is released."""


def run_folder(context: Context, step: str) -> RunFolder:
    """The run folder of one step of this DAG run."""
    from include.staging import RunFolder, run_path

    return RunFolder(run_path(context["dag_run"].dag_id, context["dag_run"].run_id, step))


STEPS = ("find_snapshot", "clean", "plan", "load")
"""The steps before the reconciliation: those that find the rows, decide on them, plan, and send."""


@contextmanager
def telling(context: Context) -> Iterator[None]:
    """Leave the reason of a failure as XCom `stopped`, for the reconciliation; the next try begins without it.

    Only messages of our own go there: those of other errors might quote a row.
    """
    try:
        yield
    except AirflowSkipException:
        raise
    except Exception as error:
        ours = isinstance(error, AirflowException) or type(error).__module__.startswith("include.")
        task = context["ti"].task_id
        why = str(error) if ours else f"{task} failed ({type(error).__name__}); see its log."
        context["ti"].xcom_push(key="stopped", value=why)
        raise


def refuse_unknown_params(dag_run: Any, known: Mapping[str, Any]) -> None:
    """Airflow takes any key in a run's `conf`; one that the form does not know is a mistake.

    :param known: the DAG's own params; those of the context hold whatever the conf brought along.
    """
    unknown = sorted(set(dag_run.conf or {}) - set(known))
    if unknown:
        raise AirflowFailException(
            f"Unknown parameter {', '.join(unknown)}. This DAG knows {', '.join(sorted(known))}."
        )


def asked_action(flow: Delivery | ArchiveFlow, params: Any, dag_run: Any, *, from_backfill: bool) -> str:
    """Whether a run may write (`apply`) or only shows (`plan`): by its form, and by whether the flow is released."""
    asked = params.get("action") or AS_RELEASED
    by_hand = dag_run.run_type == "manual"
    if asked == PLAN or (from_backfill and not by_hand):
        return PLAN
    if asked == APPLY and not flow.released:
        raise AirflowFailException(
            f"Flow {flow.name} only plans until its file says `released: true`. Look at a plan first, then "
            "release it there."
        )
    if asked == APPLY and by_hand and not params.get("reason"):
        raise AirflowFailException("To apply by hand, give the reason: it goes into the evidence.")
    return APPLY if flow.released else PLAN


class RunOperator(BaseOperator):
    """
    Base of the steps of a run that writes to a vendor.

    :param flow: the flow file, as it was read while parsing.
    """

    operator_extra_links = (PlanLink(), RejectsLink(), ReportLink())

    def __init__(self, *, flow: Delivery | ArchiveFlow, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flow = flow


class DeliveryOperator(RunOperator):
    """Base of the steps of a delivery."""

    flow: Delivery


class FindSnapshotOperator(DeliveryOperator):
    """
    Choose the snapshot to deliver, and whether this run may write.

    A run that follows a pull takes the night of its partition; a run by hand takes the night of the form, or the
    newest complete one. What follows a backfill only plans.

    Returns `{"snapshot", "night", "full", "rows_in", "source_time", "action", "requested_by", "reason"}`.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        with telling(context):
            return self._find(context)

    def _find(self, context: Context) -> dict[str, Any]:
        dag_run, params = context["dag_run"], context["params"]
        refuse_unknown_params(dag_run, self.dag.params)
        try:
            night = chosen_night(params.get("night"), dag_run.partition_key)
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        folder = self._snapshot(night.isoformat() if night else None)
        manifest = folder.manifest()
        return {
            "snapshot": folder.path,
            "night": manifest.night,
            "full": manifest.facts.get("mode") == "full",
            "rows_in": manifest.rows,
            "source_time": (manifest.source_time or manifest.created_at).isoformat(),
            "action": asked_action(
                self.flow, params, dag_run, from_backfill=manifest.facts.get("run_type") == "backfill"
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
        with telling(context):
            return self._clean(context)

    def _clean(self, context: Context) -> dict[str, Any]:
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
        with telling(context):
            return self._plan(context)

    def _plan(self, context: Context) -> dict[str, Any]:
        from include.plan import make_plan
        from include.staging import Manifest, RunFolder
        from listkeeper.hooks.ledger import open_ledger

        ledger, flow = open_ledger(), self.flow
        source_time = datetime.fromisoformat(self.found["source_time"])
        out = run_folder(context, "plan")
        with ExitStack() as stack:
            # The night whose leads an earlier append may have put on the list; a full snapshot holds those of all.
            night = None if self.found["full"] else self.found["night"]
            before = stack.enter_context(applied_before(ledger, flow, night))
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
                extra_refusals=ledger_refusals(ledger, flow, source_time, night, context["dag_run"].run_id),
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


class ReconcileOperator(RunOperator):
    """
    Add up where every row of the run ended, whatever happened before; writes the outcomes of the rows that were sent.

    Runs after failures too, and never turns a red run green: the report behind it judges. Pushes the XCom `summary`.

    :param steps: ids of the four tasks before it, in the order of `STEPS`; one task may do two steps.
    """

    def __init__(self, *, steps: Sequence[str] = STEPS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = tuple(steps)

    def execute(self, context: Context) -> dict[str, Any]:
        from include.ledger import UnknownLoadError, reconcile
        from include.outcomes import named_rows, write_outcomes
        from include.plan import HELD_REASON
        from include.staging import Manifest, RunFolder
        from listkeeper.hooks.ledger import open_ledger

        ledger = open_ledger()
        ti = context["ti"]
        finding, cleaning, planning, sending = self.steps
        found = ti.xcom_pull(task_ids=finding) or {}
        planned = ti.xcom_pull(task_ids=planning) or {}
        clean, plan_folder = run_folder(context, cleaning), run_folder(context, planning)
        batches: list[Batch] = []
        if planned:
            batches = ledger.batches(planned["load"])
            ledger.release_target(planned["load"])
        out = run_folder(context, "outcomes")
        with out.writing() as scratch:
            written = write_outcomes(
                scratch,
                snapshot=RunFolder(found["snapshot"]) if found else None,
                clean=clean if ti.xcom_pull(task_ids=cleaning) else None,
                plan=plan_folder if planned else None,
                batches=batches,
                held_reason=HELD_REASON[planned["decision"]] if planned else "not_sent",
                named=named_rows(run_folder(context, sending)),
            )
            out.commit(scratch, Manifest(kind="outcomes", rows=sum(written.by_state.values())))
        rows_in = found.get("rows_in", 0)
        result = reconcile(
            rows_in,
            Counter({state: n for state, n in written.decided.items() if n}),
            [batch for batch in batches if batch.state != "planned"],
            min_valid_share=getattr(self.flow, "min_valid_share", 0.0),
        )
        problems = [*result.problems, *self._problems(context, found, planned)]
        if (rows := sum(written.by_state.values())) != rows_in:
            problems.append(f"{rows_in:,} rows came in, but the outcome files hold {rows:,}.")
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
        """Why the steps before did not end well, in their own words."""
        ti = context["ti"]
        if planned.get("decision") == "refused":
            plan = json.loads(run_folder(context, "plan").get("plan.json") or b"{}")
            return [refusal["text"] for refusal in plan.get("refusals", [])]
        stopped = [ti.xcom_pull(task_ids=step, key="stopped") for step in dict.fromkeys(self.steps)]
        if why := [text for text in stopped if text]:
            return why
        if not found or not planned:
            return ["The run stopped before it had a plan; see the log of the first red task."]
        sending = self.steps[-1]
        if planned["decision"] == "apply" and not ti.xcom_pull(task_ids=sending):
            return [f"The {sending} did not end; see the log of the task {sending}."]
        return []

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


class ReportOperator(RunOperator):
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


@contextmanager
def applied_before(ledger: Ledger, flow: Delivery, night: str | None) -> Iterator[Before]:
    """What was applied to the flow's list last, its key file fetched.

    :param night: for an append: the night whose earlier loads count, None for those of any night.
    """
    from include.plan import KEYS, Before
    from include.staging import RunFolder

    applied = _applied(ledger, flow)
    if applied is None:
        yield Before()
        return
    target, load, path = applied
    replaces = flow.recipe.replaces
    last = ledger.last_sent(flow.target)
    rows = target.applied_rows if replaces else None
    plan_hash = target.applied_plan_hash if last is not None and last.id == load.id else None
    folder = RunFolder(path)
    if not (replaces or night in (None, load.night)) or not folder.exists():
        yield Before(rows=rows, plan_hash=plan_hash)
        return
    with folder.reading(KEYS) as files:
        yield Before(rows=rows, keys=files[0], plan_hash=plan_hash)


def ledger_refusals(
    ledger: Ledger, flow: Delivery, source_time: datetime, night: str | None, run_id: str
) -> list[Refusal]:
    """Refusals that only the ledger knows: an older source, a paused list, what may be on the list already.

    :param night: for an append: the night whose earlier loads count, None for those of any night.
    :param run_id: the run that plans; its own load does not stand in its way.
    """
    from include.guards import Refusal
    from include.ledger import UnknownTargetError
    from include.staging import RunFolder

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
    if flow.safe_to_resend:
        return refusals
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
    applied = _applied(ledger, flow)
    if applied is not None and night in (None, applied[1].night) and not RunFolder(applied[2]).exists():
        refusals.append(
            Refusal(
                "keys_lost",
                f"Some of these leads went to the list before, and the folder that says which is gone ({applied[2]}). "
                "Sending all would call people twice: restore it, or wait for the next night.",
            )
        )
    return refusals


def _applied(ledger: Ledger, flow: Delivery) -> tuple[Target, Load, str] | None:
    """The flow's list, the load applied to it last, and where that load's plan lies; None before the first."""
    from include.ledger import UnknownTargetError

    try:
        target = ledger.target(flow.target)
    except UnknownTargetError:
        return None
    if target.applied_load_id is None or target.applied is None:
        return None
    return target, ledger.load(target.applied_load_id), target.applied
