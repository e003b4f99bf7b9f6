"""The last steps of every run: add up where each row ended, and say so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from include import canary
from include.approval import WRITES
from include.flow_files import Delivery
from listkeeper.masking import masked_result
from listkeeper.operators.run import RunOperator, run_folder

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.ledger import Batch, Ledger, Load

STEPS = ("find_snapshot", "clean", "plan", "load")
"""The steps before the reconciliation: those that find the rows, decide on them, plan, and send."""

APPROVING = "approve"
"""The step between plan and sending that asks a person."""


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
        from include.ledger import UnknownLoadError
        from include.outcomes import add_up
        from include.plan import HELD_REASON, PLAN
        from include.staging import RunFolder
        from listkeeper.hooks.ledger import open_ledger

        ledger = open_ledger()
        ti = context["ti"]
        finding, cleaning, planning, sending = self.steps
        found = ti.xcom_pull(task_ids=finding) or {}
        planned = ti.xcom_pull(task_ids=planning) or {}
        clean, plan_folder = run_folder(context, cleaning), run_folder(context, planning)
        batches: list[Batch] = []
        approval: dict[str, Any] | None = None
        stopped = False
        if planned:
            batches = ledger.batches(planned["load"])
            ledger.release_target(planned["load"])
            approval = _approval(ledger.load(planned["load"]))
            plan = json.loads(plan_folder.get(PLAN) or b"{}")
            stopped = canary.problem(canary.planned(plan), batches) is not None
        approved = approval is None or approval["word"] == "approved"
        decision = planned.get("decision")
        if decision in WRITES:
            decision = "apply" if approved else "ask"
        result = add_up(
            run_folder(context, "outcomes"),
            rows_in=found.get("rows_in", 0),
            snapshot=RunFolder(found["snapshot"]) if found else None,
            clean=clean if ti.xcom_pull(task_ids=cleaning) else None,
            plan=plan_folder if planned else None,
            sending=run_folder(context, sending),
            batches=batches,
            held_reason=(canary.HELD_REASON if stopped else None)
            or (ti.xcom_pull(task_ids=sending) or {}).get("held_reason")
            or (HELD_REASON[decision] if decision else "not_sent"),
            min_valid_share=getattr(self.flow, "min_valid_share", 0.0),
        )
        problems = [*result.problems, *self._problems(context, found, decision)]
        verdict = self._verdict(decision, problems, result.counts.uncertain)
        if planned:
            try:
                state = {
                    "planned": "planned",
                    "refused": "refused",
                    "not approved": "refused",
                    "uncertain": "uncertain",
                }.get(verdict, "failed" if problems else "done")
                ledger.finish_load(planned["load"], state=state, counts=result.counts, verdict=verdict)  # type: ignore[arg-type]
            except UnknownLoadError:  # the ledger was replaced while the run was under way
                problems.append("The ledger no longer knows this load.")
        summary: dict[str, Any] = {
            "flow": self.flow.name,
            **result.counts.to_dict(),
            "verdict": verdict,
            "problems": problems,
            "approval": approval,
            "copy": self._copy(ledger, planned["load"]) if verdict == "delivered" and planned else None,
            "load": planned.get("load"),
            "report": run_folder(context, "report").path,
        }
        summary = dict(masked_result(summary))
        ti.xcom_push(key="summary", value=summary)
        self.log.info("%s: %s", verdict, json.dumps(result.counts.to_dict()))
        return summary

    def _problems(self, context: Context, found: dict[str, Any], decision: str | None) -> list[str]:
        """Why the steps before did not end well, in their own words."""
        ti = context["ti"]
        refusals: list[str] = []
        if decision in ("refused", "ask"):
            plan = json.loads(run_folder(context, "plan").get("plan.json") or b"{}")
            refusals = [refusal["text"] for refusal in plan.get("refusals", [])]
        if decision == "refused":
            return refusals
        steps = dict.fromkeys((*self.steps[:-1], APPROVING, self.steps[-1]))
        stopped = [ti.xcom_pull(task_ids=step, key="stopped") for step in steps]
        why = [text for text in stopped if text]
        if decision == "ask":
            return [*refusals, *(why or ["Nobody approved the plan, so nothing was sent."])]
        if why:
            return why
        if not found or not decision:
            return ["The run stopped before it had a plan; see the log of the first red task."]
        sending = self.steps[-1]
        if decision == "apply" and not ti.xcom_pull(task_ids=sending):
            return [f"The {sending} did not end; see the log of the task {sending}."]
        return []

    def _copy(self, ledger: Ledger, load_id: str) -> dict[str, Any] | None:
        """Keep what was put on the list, so that it can be put back; never a reason for a run to fail."""
        from include import safe
        from include.erasure.keys import ErasureKeyError
        from include.safe import SafeError
        from listkeeper.hooks.erasure import erasure_key

        load = ledger.load(load_id)
        replaces = isinstance(self.flow, Delivery) and self.flow.recipe.replaces
        if not replaces or ledger.target(load.target).applied_load_id != load.id:
            return None
        try:
            copy = safe.keep(erasure_key(), load)
        except (ErasureKeyError, SafeError) as error:
            return {"why": str(error)}
        except Exception as error:
            self.log.warning("No copy of what was applied could be kept (%s).", type(error).__name__)
            return {
                "why": f"It could not be written ({type(error).__name__}); see the log of the task reconcile."
            }
        return {"rows": copy.rows}

    @staticmethod
    def _verdict(decision: str | None, problems: list[str], uncertain: int) -> str:
        if decision == "refused":
            return "refused"
        if uncertain:
            return "uncertain"
        if decision == "ask":
            return "not approved"
        if problems:
            return "failed"
        return {"plan_only": "planned", "unchanged": "unchanged"}.get(str(decision), "delivered")


def _approval(load: Load) -> dict[str, Any] | None:
    """What a person said of a load's plan; None where nobody had to be asked."""
    if load.approval is None:
        return None
    return {
        "word": load.approval,
        "by": load.approved_by,
        "at": load.approved_at.isoformat() if load.approved_at else None,
        "why": load.approval_reason,
    }


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
        from include.report.rejects import write_rejects
        from include.report.run import report_markdown
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
